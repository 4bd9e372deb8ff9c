"""Names, shapes, orders and sizes of streams and vstreams (hef.md 6, 10 to 13)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hef_samples import (
    anchored_hef,
    boxes_hef,
    edit_core,
    edit_layer,
    hailo8l_hef,
    minimal_hef,
    mux_hef,
    nms_hef,
    planes_hef,
)

from openhailo.errors import InputError, InvalidHef, UnsupportedHef
from openhailo.hef import model as m
from openhailo.hef import ops
from openhailo.hef.enums import LogitsType, PadFormatOrder, PadFormatType
from openhailo.spec.program import FormatOrder


def output(hef: m.Hef) -> m.VStream:
    (vstream,) = hef.network_group().output_vstreams
    return vstream


def test_a_plain_network() -> None:
    group = minimal_hef().network_group("net")
    (stream,) = group.input_streams
    assert (stream.name, stream.index, stream.network_name) == ("net/in", 0, "net/net")
    assert (stream.shape, stream.order, stream.hw_frame_size_bytes) == ((8, 8, 3), FormatOrder.NHWC, 192)
    assert [vstream.name for vstream in group.vstreams] == ["net/in", "net/out"]
    assert output(minimal_hef()).order is FormatOrder.NC
    assert output(minimal_hef()).op is None


def test_groups_are_found_by_name() -> None:
    hef = minimal_hef()
    assert hef.network_group() is hef.network_groups[0]
    with pytest.raises(InputError, match="no 'other' in this HEF; it has: net"):
        hef.network_group("other")


def test_extensions_count_only_above_header_version_0() -> None:
    hef = replace(minimal_hef(), optional_extensions=(m.Extension(11),))
    assert hef.extension(13)
    assert not hef.extension(11)
    assert hef.optional_extension(11)
    assert hef.features.hw_padding
    old = replace(hef, header=m.HefHeader(version=0), included_features=m.IncludedFeatures(is_multi_context=True))
    assert not old.extension(13)
    assert old.features == m.Features(net_flow=False, multi_context=True)


def test_two_networks_of_a_group() -> None:
    hef = replace(edit_layer(minimal_hef(), 1, network_index=1), optional_extensions=(m.Extension(8),))
    group = replace(hef.network_groups[0], networks_names=("a", "b"))
    group = replace(hef, network_groups=(group,)).network_group()
    assert group.network_names == ("net/a", "net/b")
    assert [stream.network_name for stream in group.input_streams + group.output_streams] == ["net/a", "net/b"]


def test_transposed_layers_are_shown_as_the_user_sees_them() -> None:
    shape = {"shape": m.Shape(4, 6, 8), "padded_shape": m.Shape(4, 8, 8), "format_code": 0}
    by_layer = edit_layer(minimal_hef(), 1, transposed=True, **shape)
    by_network = edit_core(
        edit_layer(minimal_hef(), 1, **shape),
        lambda core: replace(core, metadata=replace(core.metadata, transposed_net=True)),
    )
    for hef in (by_layer, by_network):
        (stream,) = hef.network_group().output_streams
        assert stream.transposed
        assert (stream.shape, stream.hw_shape) == ((6, 4, 8), (4, 8, 8))
        assert output(hef).shape == (6, 4, 8)


# --- sizes (hef.md 10) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "hw_padding", "size"),
    [
        ({"shape": (28, 28, 1), "padded": (28, 28, 1), "format_code": 1}, True, 784),
        ({"shape": (1, 1, 11), "padded": (1, 1, 11), "format_code": 2}, True, 16),
        ({"shape": (5, 5, 3), "padded": (5, 5, 4), "data_bytes": 2}, False, 200),
        ({"shape": (4, 6, 3), "padded": (4, 8, 3), "format_code": 8}, False, 128),
        # The last row: NHCW, a buffer per row, rows of a multiple of 8 elements: the frame travels unpadded ...
        ({"shape": (4, 6, 4), "padded": (4, 8, 4), "format_code": 1, "core_buffers_per_frame": 4}, False, 96),
        # ... but not with extension 11, another number of buffers, other rows or another order.
        ({"shape": (4, 6, 4), "padded": (4, 8, 4), "format_code": 1, "core_buffers_per_frame": 4}, True, 128),
        ({"shape": (4, 6, 4), "padded": (4, 8, 4), "format_code": 1, "core_buffers_per_frame": 8}, False, 128),
        ({"shape": (4, 6, 3), "padded": (4, 8, 3), "format_code": 1, "core_buffers_per_frame": 4}, False, 96),
        ({"shape": (4, 6, 4), "padded": (4, 8, 4), "format_code": 0, "core_buffers_per_frame": 4}, False, 128),
    ],
)
def test_bytes_of_a_frame_on_the_wire(changes: dict[str, object], hw_padding: bool, size: int) -> None:
    shape, padded = changes.pop("shape"), changes.pop("padded")
    assert isinstance(shape, tuple)
    assert isinstance(padded, tuple)
    hef = edit_layer(minimal_hef(), 1, shape=m.Shape(*shape), padded_shape=m.Shape(*padded), **changes)
    optional = (m.Extension(11),) if hw_padding else ()
    (stream,) = replace(hef, optional_extensions=optional).network_group().output_streams
    assert stream.hw_frame_size_bytes == size


def test_rows_the_periphery_cannot_take_travel_padded() -> None:
    shape, padded = m.Shape(2, 1024, 16), m.Shape(2, 1032, 16)
    hef = edit_layer(minimal_hef(), 1, shape=shape, padded_shape=padded, format_code=1, core_buffers_per_frame=2)
    layer = hef.network_group().core_op_for().contexts[0].edge_layers[1]
    assert layer.hw_shape(hw_padding=False) == shape
    assert layer.hw_shape(hw_padding=False, max_periph_bytes=16384) == padded


def test_an_unknown_format_code_is_named() -> None:
    layer = minimal_hef().network_group().core_op_for().contexts[0].edge_layers[0]
    with pytest.raises(UnsupportedHef, match="format code 9 of 'net/in'"):
        replace(layer, format_code=9).order  # noqa: B018


# --- mux, planes, boxes -----------------------------------------------------------------------------------------------


def test_a_mux_is_one_stream_and_a_vstream_per_leaf() -> None:
    group = mux_hef().network_group()
    (stream,) = group.output_streams
    assert stream.name == "net/mux"
    assert stream.hw_frame_size_bytes == 3 * 4 * 8 * 8
    assert [(v.name, v.shape, v.streams) for v in group.output_vstreams] == [
        ("net/leaf2", (4, 6, 3), ("net/mux",)),
        ("net/leaf0", (4, 6, 1), ("net/mux",)),
        ("net/leaf1", (4, 6, 2), ("net/mux",)),
    ]


def test_planes_are_a_stream_each_and_one_vstream() -> None:
    group = planes_hef().network_group()
    assert [(s.name, s.index, s.hw_frame_size_bytes) for s in group.input_streams] == [
        ("net/plane0", 0, 64),
        ("net/plane1", 1, 32),
    ]
    (vstream,) = group.input_vstreams
    assert (vstream.name, vstream.order, vstream.shape) == ("net/image", FormatOrder.NV12, (8, 8, 3))
    assert vstream.streams == ("net/plane0", "net/plane1")


def test_streams_of_boxes_make_one_output() -> None:
    group = boxes_hef().network_group()
    assert [stream.name for stream in group.output_streams] == ["net/part0", "net/part1"]
    assert [stream.order for stream in group.output_streams] == [FormatOrder.HAILO_NMS_ON_CHIP] * 2
    assert [stream.hw_frame_size_bytes for stream in group.output_streams] == [2 * (2 + 8 * 4), 2 + 8 * 4]
    vstream = output(boxes_hef())
    assert (vstream.name, vstream.order) == ("net/fused", FormatOrder.HAILO_NMS_BY_CLASS)
    assert (vstream.nms_classes, vstream.nms_max_per_class) == (3, 4)
    assert vstream.streams == ("net/part0", "net/part1")


# --- host ops ---------------------------------------------------------------------------------------------------------


def test_the_result_of_a_host_op_takes_the_place_of_its_inputs() -> None:
    vstream = output(anchored_hef())
    assert (vstream.name, vstream.order) == ("boxes", FormatOrder.HAILO_NMS_BY_CLASS)
    assert (vstream.nms_classes, vstream.nms_max_per_class, vstream.shape) == (3, 10, (3, 5, 10))
    assert vstream.streams == ("net/out",)
    assert vstream.op is not None
    assert vstream.op.name == "nms"


def test_a_background_class_is_not_part_of_the_result() -> None:
    assert output(nms_hef(ops.SsdNmsOp(), background_removal=True)).nms_classes == 2


def test_masks_have_an_order_of_their_own() -> None:
    assert output(nms_hef(ops.YoloSegNmsOp())).order is FormatOrder.HAILO_NMS_WITH_BYTE_MASK


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        (ops.YoloNmsOp(bbox_decoders=(ops.YoloBboxDecoder((1, 2), (1, 2), 8, 1),)), (1, 32, 8)),
        (ops.Yolov8NmsOp(bbox_decoders=(ops.Yolov8BboxDecoder(8, 1, 1),)), (1, 16, 7)),
    ],
)
def test_boxes_without_suppression_are_a_table(method: ops.NmsMethod, shape: tuple[int, ...]) -> None:
    vstream = output(nms_hef(method, bbox_decoding_only=True))
    assert (vstream.shape, vstream.order, vstream.nms_classes) == (shape, FormatOrder.NHWC, 0)


def test_only_two_methods_can_do_without_suppression() -> None:
    with pytest.raises(InvalidHef, match="bbox decoding"):
        output(nms_hef(ops.SsdNmsOp(), bbox_decoding_only=True))


@pytest.mark.parametrize(("kind", "shape"), [(LogitsType.ARGMAX, (4, 4, 1)), (LogitsType.SOFTMAX, (4, 4, 32))])
def test_logits(kind: LogitsType, shape: tuple[int, ...]) -> None:
    hef = anchored_hef()
    group = hef.network_groups[0]
    pad = m.Pad(8, "classes", PadFormatOrder.NHWC, format_type=PadFormatType.UINT16, numeric_info=m.QuantInfo(1, 2))
    op = replace(group.ops[1], body=ops.LogitsOp(kind), output_pads=(pad,))
    group = replace(group, ops=(group.ops[0], op), sorted_outputs_order=("classes",))
    vstream = output(replace(hef, network_groups=(group,)))
    assert (vstream.name, vstream.shape, vstream.order) == ("classes", shape, FormatOrder.NHWC)
    assert (vstream.data_bytes, vstream.quant.qp_zp) == (2, 1)


def test_an_op_that_is_wired_to_nothing_has_no_output() -> None:
    hef = anchored_hef()
    group = replace(hef.network_groups[0], pad_edges=())
    with pytest.raises(InvalidHef, match="host op wiring"):
        output(replace(hef, network_groups=(group,)))


# --- cluster layouts (hef.md 17) --------------------------------------------------------------------------------------


def test_without_a_device_the_smallest_layout_counts() -> None:
    core_op = hailo8l_hef().network_group().core_op
    assert core_op.layouts == (0x3C, 0x0F)
    assert core_op.for_layout() is core_op.partial_core_ops[1].core_op
    assert core_op.for_layout(0x3C) is core_op.partial_core_ops[0].core_op
    with pytest.raises(InvalidHef, match="layout 0xFF"):
        core_op.for_layout(0xFF)


def test_the_name_is_that_of_the_first_partial_group() -> None:
    hef = hailo8l_hef()
    group = hef.network_groups[0]
    renamed = replace(group, metadata=m.GroupMetadata("outer"))
    assert renamed.name == "net"


def test_old_files_keep_the_versions_in_partial_groups() -> None:
    core_op = minimal_hef().network_group().core_op
    groups = tuple(
        m.PartialNetworkGroup(m.NetworkGroup(m.GroupMetadata("net"), legacy=core_op), layout) for layout in (9, 6)
    )
    hef = replace(
        minimal_hef(),
        network_groups=(m.NetworkGroup(m.GroupMetadata(), partial_network_groups=groups),),
        extensions=(m.Extension(26),),
    )
    assert hef.network_group().core_op_for() == core_op
    assert [vstream.name for vstream in hef.network_group().vstreams] == ["net/in", "net/out"]
