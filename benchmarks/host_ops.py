"""Host operations: boxes of a YOLOv8, and turning integers into real numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from tools.report import Row

from benchmarks.pairs import measure_pair
from benchmarks.vision import suppressed
from openhailo.hef import model as hm
from openhailo.hef import ops as o
from openhailo.hef.composer import StreamSpec, compose
from openhailo.runtime.describe import describe
from openhailo.runtime.formats import FormatOrder, FormatType, FrameLayout, Quantization
from openhailo.runtime.host_ops.logits import argmax
from openhailo.runtime.host_ops.port import op_port
from openhailo.runtime.transforms import plan_output
from openhailo.spec.enums import DeviceArchitecture

SIDE, CLASSES, BINS, STRIDES = 640, 80, 16, (8, 16, 32)
SCORE, IOU, MOST = 0.3, 0.7, 100
OBJECTS, AROUND = 30, 6
QUANT = hm.QuantInfo(0.0, 1 / 256, 0.0, 1.0)
SIDE_QUANT = hm.QuantInfo(100.0, 0.0625, -6.25, 9.6875)
Array = np.ndarray[Any, Any]


def rows() -> list[Row]:
    """Measure decoding and suppression of 8400 cells, and dequantisation of a layer of as many numbers."""
    return [yolov8_row(), argmax_row(), dequantize_row()]


def yolov8_row() -> Row:
    """Ours reads device frames (uint8, NHCW) and gives boxes by class; so does the peer, the obvious way."""
    frames = detector_frames()
    ours, peer = our_decoder(frames), lambda: plain_yolov8(frames)
    for mine, theirs in zip(ours(), peer(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    pair = measure_pair(ours, peer, rounds=9)
    what = "dequantize, softmax and decode all cells, then one box at a time"
    return Row("yolov8_nms_vs_numpy", pair.ours_s * 1e3, "ms", what, pair.speed_ratio, ">= 2")


def detector_frames() -> dict[str, Array]:
    """Frames (rows, columns, channels) by layer: objects with several overlapping boxes each, the rest far below."""
    rng = np.random.default_rng(5)
    frames = {}
    for level, stride in enumerate(STRIDES):
        side = SIDE // stride
        frames[f"net/reg{level}"] = rng.integers(60, 180, (side, side, 4 * BINS), np.uint8)
        scores = rng.integers(0, 60, (side, side, CLASSES), np.uint8)
        for _ in range(OBJECTS // len(STRIDES)):
            row, column = rng.integers(1, side - 3, 2)
            number = rng.integers(CLASSES)
            for _ in range(AROUND):
                dy, dx = rng.integers(0, 3, 2)
                scores[row + dy, column + dx, number] = rng.integers(80, 250)
        frames[f"net/cls{level}"] = scores
    return frames


def our_decoder(frames: Mapping[str, Array]) -> Callable[[], Any]:
    """Return the function that does one frame, whose layers lie in slots as a device leaves them there."""
    specs = []
    for name, frame in frames.items():
        quant = SIDE_QUANT if "reg" in name else QUANT
        specs.append(StreamSpec(name, frame.shape, FormatOrder.NHCW, 1, quant))
    decoders = tuple(o.Yolov8BboxDecoder(stride, 1 + 2 * i, 2 + 2 * i) for i, stride in enumerate(STRIDES))
    method = o.Yolov8NmsOp(SIDE, SIDE, 0, decoders, BINS)
    body = o.NmsOp(SCORE, IOU, MOST, CLASSES, method=method)
    pads = tuple(o.Pad(101 + index) for index in range(len(specs)))
    op = hm.Op(body, "nms", pads, (o.Pad(200, "net/boxes"),))
    edges = [o.PadEdge(1 + index, pad.index) for index, pad in enumerate(pads)]
    pixels = StreamSpec("net/in", (SIDE, SIDE, 3))
    file = compose("net", [pixels], specs, [bytes(8)], host_ops=[op], pad_edges=edges)
    streams = {name: _stream(frame) for name, frame in frames.items()}
    port = op_port(describe(file, None, DeviceArchitecture.HAILO8, 0).host_ops[0], streams, None)

    def decode() -> Any:
        sinks = port.begin(1, FormatType.FLOAT32)
        for out, read in sinks:
            read(out[0:1], 0, 1)
        return port.finish([out for out, _ in sinks], 1, False)[0]

    return decode


def _stream(frame: Array) -> Any:
    wire = np.ascontiguousarray(frame.transpose(0, 2, 1))
    return SimpleNamespace(slots=SimpleNamespace(view=memoryview(bytearray(wire.tobytes())), stride=wire.size))


def plain_yolov8(frames: Mapping[str, Array]) -> list[Array]:
    """Everything in real numbers, whole arrays at a time; boxes (n, 5) by class."""
    wire = {name: np.ascontiguousarray(frame.transpose(0, 2, 1)) for name, frame in frames.items()}
    boxes, scores = [], []
    for level, stride in enumerate(STRIDES):
        sides, classes = (wire[f"net/{kind}{level}"].transpose(0, 2, 1) for kind in ("reg", "cls"))
        scores.append(((classes.astype(np.float32) - QUANT.qp_zp) * np.float32(QUANT.qp_scale)).reshape(-1, CLASSES))
        real = (sides.astype(np.float32) - np.float32(SIDE_QUANT.qp_zp)) * np.float32(SIDE_QUANT.qp_scale)
        powers = np.exp(real.reshape(-1, 4, BINS))
        distance = (powers / powers.sum(axis=2, keepdims=True)) @ np.arange(BINS, dtype=np.float32)
        row, column = np.divmod(np.arange(len(distance)), SIDE // stride)
        y, x = (row + 0.5) * stride / SIDE, (column + 0.5) * stride / SIDE
        step = stride / SIDE
        corners = [y - distance[:, 1] * step, x - distance[:, 0] * step, y + distance[:, 3] * step]
        boxes.append(np.stack([*corners, x + distance[:, 2] * step], axis=1).astype(np.float32))
    every_box, every_score = np.concatenate(boxes), np.concatenate(scores)
    result = []
    for number in range(CLASSES):
        passing = np.flatnonzero(every_score[:, number] >= np.float32(SCORE))
        found = np.column_stack([every_box[passing], every_score[passing, number]])
        result.append(found[suppressed(found[:, :4], found[:, 4], IOU)[:MOST]])
    return result


def argmax_row() -> Row:
    """Classes of the pixels of a segmentation, in the device's order NHCW."""
    rng = np.random.default_rng(7)
    frames = rng.integers(0, 256, (1, 512, 19, 1024), np.uint8).transpose(0, 1, 3, 2)
    out = np.empty((1, 512, 1024), np.uint8)
    argmax(frames, out)
    np.testing.assert_array_equal(out, frames.argmax(axis=3))
    pair = measure_pair(lambda: argmax(frames, out), lambda: frames.argmax(axis=3), rounds=9)
    return Row("argmax_vs_numpy", pair.ours_s * 1e3, "ms", "argmax of NumPy, 512 x 1024 x 19", pair.speed_ratio, ">= 2")


def dequantize_row() -> Row:
    """The numbers of a layer to float32, against a copy of as many float32."""
    layout = FrameLayout(FormatOrder.NHWC, 80, 80, 144, 80, 80, 144)
    plan = plan_output(layout, Quantization((7.0,), (0.02,)), order=FormatOrder.NHWC, user_type=FormatType.FLOAT32)
    rng = np.random.default_rng(6)
    slot = rng.integers(0, 256, layout.frame_bytes, np.uint8)
    copy = plan.bind(memoryview(bytearray(slot.tobytes())), layout.frame_bytes)
    out = np.empty((1, *plan.shape), np.float32)
    copy(out, 0, 1)
    np.testing.assert_allclose(out.reshape(-1), (slot.astype(np.float32) - 7) * np.float32(0.02), rtol=1e-6)
    source, target = out.copy(), np.empty_like(out)
    pair = measure_pair(lambda: copy(out, 0, 1), lambda: np.copyto(target, source), rounds=9)
    return Row("dequantize_vs_memcpy", pair.ours_s * 1e6, "us", "memcpy of the float32 result", pair.speed_ratio)
