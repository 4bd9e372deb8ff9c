"""Composing a HEF from streams and configuration bytes."""

from __future__ import annotations

import pytest

from openhailo.errors import InvalidHef
from openhailo.hef import StreamSpec, check, compose, ops, read, write
from openhailo.hef import model as m
from openhailo.hef.composer import GROUP_BYTES, core_registers
from openhailo.hef.operations import WriteCcw
from openhailo.spec.program import FormatOrder

IN = StreamSpec("net/in", (8, 8, 3))
OUT = StreamSpec("net/out", (1, 1, 16), FormatOrder.NC)


def test_streams_are_numbered_inputs_first() -> None:
    hef = compose("net", [IN, StreamSpec("net/in2", (4, 4, 8))], [OUT, StreamSpec("net/out2", (2, 2, 8))], [b"x" * 8])
    assert check(hef) == []
    group = hef.network_group()
    streams = group.input_streams + group.output_streams
    assert [(stream.name, stream.index) for stream in streams] == [
        ("net/in", 0),
        ("net/in2", 1),
        ("net/out", 2),
        ("net/out2", 3),
    ]
    assert read(write(hef)) == hef


def test_registers_of_the_smallest_network_are_those_of_the_facts() -> None:
    layers = compose("net", [IN], [OUT], [bytes(256)]).network_group().core_op_for().contexts[0].edge_layers
    assert [(layer.core_bytes_per_buffer, layer.core_buffers_per_frame) for layer in layers] == [(24, 8), (16, 1)]


@pytest.mark.parametrize(
    ("shape", "data_bytes", "registers"),
    [((1, 1, 70000), 1, (35000, 2)), ((2, 65537, 1), 1, (1, 65535)), ((70000, 1, 8), 1, (8, 65535))],
)
def test_long_rows_are_split(shape: tuple[int, int, int], data_bytes: int, registers: tuple[int, int]) -> None:
    assert core_registers(m.Shape(*shape), data_bytes) == registers


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 13, 3), (1, 1, 1000), (416, 416, 3), (301, 301, 3), (1, 1, 65537)])
@pytest.mark.parametrize("data_bytes", [1, 2])
def test_frames_of_any_shape_can_travel(shape: tuple[int, int, int], data_bytes: int) -> None:
    hef = compose(
        "net", [StreamSpec("a", shape, data_bytes=data_bytes)], [StreamSpec("b", shape, data_bytes=data_bytes)], [b""]
    )
    assert check(hef) == []
    for stream in hef.network_group().input_streams:
        assert stream.hw_frame_size_bytes % 8 == 0
        assert stream.shape == shape


def test_configuration_is_cut_into_groups_that_a_fetch_can_take() -> None:
    content = bytes(GROUP_BYTES + 8)
    hef = compose("net", [IN], [OUT], [content, b"second"])
    writes = [op.actions for op in hef.network_group().core_op_for().preliminary]
    assert all(len(actions) == 1 for actions in writes)
    pieces = [action for (action,) in writes if isinstance(action, WriteCcw)]
    assert [(len(piece.data), piece.cfg_channel_index) for piece in pieces] == [(GROUP_BYTES, 0), (8, 0), (6, 1)]
    assert hef.network_group().core_op_for().cfg_channels_count == 2
    assert check(hef) == []


def test_extensions_follow_from_the_content() -> None:
    per_feature = m.QuantInfo(0, 1, 0, 255, (0.0,) * 16, (0.5,) * 16)
    op = m.Op(
        ops.NmsOp(0.3, 0.6, 10, 3, method=ops.Yolov8NmsOp(64, 64, 0, (ops.Yolov8BboxDecoder(8, 1, 2),), 4)),
        "nms",
        (m.Pad(10), m.Pad(11)),
        (m.Pad(12, "boxes"),),
    )
    outputs = [
        StreamSpec("net/reg", (4, 4, 16), FormatOrder.NHCW, quant=per_feature),
        StreamSpec("net/cls", (4, 4, 16), FormatOrder.NHCW, quant=per_feature),
    ]
    inputs = [StreamSpec("net/in", (7, 7, 3), quant=m.QuantInfo(0, 1, 0, 255, (0.0,), (1.0,)))]
    edges = [m.PadEdge(1, 10), m.PadEdge(2, 11)]
    hef = compose("net", inputs, outputs, [b"x"], host_ops=[op], pad_edges=edges)
    assert check(hef) == []
    assert [extension.type_index for extension in hef.extensions] == [13, 25, 26, 27]
    assert [extension.type_index for extension in hef.optional_extensions] == [11]
    assert [vstream.name for vstream in hef.network_group().output_vstreams] == ["boxes"]


def test_hailo8l_has_a_version_per_layout() -> None:
    hef = compose("net", [IN], [OUT], [b"x"], hw_arch=m.HwArch.HAILO8L)
    assert check(hef) == []
    assert hef.network_group().core_op.layouts == (0xFF,)


def test_an_order_no_device_has_is_refused() -> None:
    with pytest.raises(InvalidHef, match="NCHW"):
        compose("net", [StreamSpec("a", (1, 1, 1), FormatOrder.NCHW)], [OUT], [])
