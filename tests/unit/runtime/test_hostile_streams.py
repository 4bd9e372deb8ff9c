"""Absurd muxes, planes and boxes: typed errors when they are described or opened, bounded time and memory."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.driver.link import LinkInfo
from openhailo.driver.results import HwConsts
from openhailo.errors import DmaMapError, InvalidHef, OpenHailoError, UnsupportedHef
from openhailo.hef import model as hm
from openhailo.hef.operations import AllowInputDataflow, TriggerNone
from openhailo.runtime.describe import describe
from openhailo.runtime.ports import Ports, StreamOptions
from openhailo.runtime.session import Session
from openhailo.runtime.streams import OutputRefill

H2D, D2H = hm.Direction.HOST_TO_DEVICE, hm.Direction.DEVICE_TO_HOST
MOST_BYTES = 64 << 20
QUANT = hm.QuantInfo(0, 1, 0, 255)


class DryLink:
    """Takes everything, allocates little."""

    info = LinkInfo("dry", "dry")

    def alloc_buffer(self, size_bytes, direction):
        if size_bytes > MOST_BYTES:
            raise DmaMapError(detail="too much for a test", size_bytes=size_bytes)
        return SimpleNamespace(view=memoryview(bytearray(size_bytes)), close=lambda: None)

    def create_descriptor_list(self, count, page_size, *, circular):
        assert 2 <= count <= 65536
        return SimpleNamespace(dma_address=0x10000, count=count, page_size=page_size, close=lambda: None)

    def program(self, dlist, buffer, **how):
        return -(-how["size_bytes"] // dlist.page_size)

    def launch_many(self, *args, **how):
        raise AssertionError("nothing runs here")


FIRMWARE = SimpleNamespace(
    hw_consts=lambda: HwConsts(8, 16383, 16384, 16376, 16384, 1, 2048),
    set_application_header=lambda fields: None,
    set_context_info_chunk=lambda kind, chunk, is_first, is_last: None,
)


def edge(name, direction, stream, shape, code=0, data_bytes=1, **more):
    core = (shape[1] * shape[2] * data_bytes, shape[0])
    return hm.EdgeLayer(
        name, direction, hm.Shape(*shape), hm.Shape(*shape), code, data_bytes, stream, *core, QUANT, **more
    )


def boxes(name, stream, part):
    info = hm.NmsInfo(0, 2, 4, 8, True, hm.NmsDefuseInfo(part, "boxes"))
    return edge(name, D2H, stream, (1, 1, 8), 6, 2, nms=info)


def parts():
    """A planar input, a mux of two, and one output of boxes in two streams."""
    planes = (edge("y", H2D, 0, (4, 8, 1)), edge("uv", H2D, 1, (2, 4, 2)))
    image = hm.EdgeLayer("image", H2D, hm.Shape(4, 8, 1), hm.Shape(), planes=hm.PlanesInfo(planes=planes))
    leaves = (edge("a", D2H, 0, (4, 8, 1)), edge("b", D2H, 0, (8, 8, 2)))
    mux = edge("mux", D2H, 2, (4, 40, 1), mux=hm.MuxInfo(4, (1, 2), leaves))
    whole = hm.FusedLayer(edge("boxes", D2H, 0, (1, 1, 8), 6, 2), ("b0", "b1"), hm.NmsInfo(0, 4, 4, 8))
    return [image, mux, boxes("b0", 3, 0), boxes("b1", 4, 1)], whole


def open_file(layers, fused):
    metadata = hm.GroupMetadata("net")
    release = hm.Operation(TriggerNone(), (AllowInputDataflow(sys_index=0), AllowInputDataflow(sys_index=1)))
    core_op = hm.CoreOp(
        metadata,
        (hm.Context(0, (release,), tuple(layers)),),
        fused_layers=hm.FusedLayers(True, ("boxes",), (fused,) if fused else ()),
    )
    group = hm.NetworkGroup(metadata, (hm.Op(core_op),), sorted_outputs_order=("b", "boxes", "a"))
    file = hm.Hef(hm.HefHeader(), (group,), tuple(hm.Extension(n) for n in (13, 26)), (hm.Extension(11),))
    description = describe(file, None, 1, 0)
    session = Session(DryLink(), FIRMWARE, description)
    session.configure()
    ports = Ports(DryLink(), description, lambda layer: layer.user_order, StreamOptions(OutputRefill.HALF, False), [])
    ports.open(session.boundary)
    session.close()
    return description, ports


def test_the_unchanged_file_opens():
    description, ports = open_file(*parts())
    assert description.outputs == ("boxes", "a", "b"), "the fused layers' own order counts, the rest goes last"
    assert [(port.info.name, port.info.shape) for port in ports.inputs] == [("image", (6, 8))]
    assert {info.name: info.shape for port in ports.outputs for info in port.infos} == {
        "a": (4, 8, 1),
        "b": (8, 8, 2),
        "boxes": (4, 5, 4),
    }


NUMBERS = st.sampled_from([0, 1, 2, 4, 8, 65535, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
SHAPES = st.builds(hm.Shape, NUMBERS, NUMBERS, NUMBERS) | st.builds(hm.Shape, *[st.integers(0, 9)] * 3)
LEAF = {
    "shape": SHAPES,
    "padded_shape": SHAPES,
    "format_code": st.integers(0, 20),
    "data_bytes": st.integers(0, 3),
    "sys_index": NUMBERS,
    "transposed": st.booleans(),
    "name": st.sampled_from(["a", "b", "boxes", ""]),
    "nms": st.none()
    | st.builds(
        hm.NmsInfo, NUMBERS, NUMBERS, NUMBERS, st.sampled_from([0, 8]) | NUMBERS, st.booleans(),
        st.none() | st.builds(hm.NmsDefuseInfo, NUMBERS, st.sampled_from(["boxes", "a", ""])), NUMBERS,
    ),
}  # fmt: skip


def changed(data, layer):
    names = data.draw(st.lists(st.sampled_from(sorted(LEAF)), min_size=1, max_size=2, unique=True))
    return replace(layer, **{name: data.draw(LEAF[name], label=name) for name in names})


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_absurd_streams_raise_nothing_but_our_errors(data):
    (image, mux, *rest), fused = parts()
    match data.draw(st.sampled_from(["plane", "leaf", "mux", "rounds", "boxes", "fused"])):
        case "plane":
            planes = (changed(data, image.planes.planes[0]), image.planes.planes[1])
            image = replace(image, planes=replace(image.planes, planes=planes))
        case "leaf":
            first, second = mux.mux.predecessors
            mux = replace(mux, mux=replace(mux.mux, predecessors=(first, changed(data, second))))
        case "mux":
            mux = changed(data, mux)
        case "rounds":
            rows = data.draw(st.lists(NUMBERS, max_size=3))
            mux = replace(mux, mux=hm.MuxInfo(data.draw(NUMBERS), tuple(rows), mux.mux.predecessors))
        case "boxes":
            rest[0] = changed(data, rest[0])
        case "fused":
            info = data.draw(LEAF["nms"])
            fused = data.draw(st.sampled_from([None, replace(fused, nms_info=info)]))
    try:
        open_file([image, mux, *rest], fused)
    except OpenHailoError as error:
        assert str(error)


def test_what_is_wrong_is_named():
    (image, mux, *rest), fused = parts()
    with pytest.raises(InvalidHef, match="nothing describes it"):
        open_file([image, mux, *rest], None)
    with pytest.raises(InvalidHef, match="numbered"):
        open_file([image, mux, rest[0], boxes("b1", 4, 2)], fused)
    with pytest.raises(InvalidHef, match="by turns"):
        open_file([image, mux, *rest], replace(fused, nms_info=hm.NmsInfo(0, 5, 4, 8)))
    with pytest.raises(UnsupportedHef, match="inside a multiplexed output"):
        inner = replace(mux.mux.predecessors[0], nms=hm.NmsInfo(0, 1, 1, 8))
        open_file([image, replace(mux, mux=replace(mux.mux, predecessors=(inner, mux.mux.predecessors[1])))], None)
    planes = (image.planes.planes[0], replace(image.planes.planes[1], data_bytes=2))
    with pytest.raises(InvalidHef, match="element size"):
        open_file([replace(image, planes=replace(image.planes, planes=planes)), mux, *rest], fused)
