"""The onnx kernel: wire layouts, batches, bit equality with ONNX Runtime under the same options, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from openhailo.errors import BadProgram
from openhailo.spec.chip import CHIP
from openhailo.twin.core import NeuralCore, parse_program
from openhailo.twin.core.onnx import MAX_BATCH, OnnxKernel, make_session_options


def kernel_of(images: Any, records: list[bytes], model: bytes) -> OnnxKernel:
    return OnnxKernel(parse_program(CHIP, images.image(records, model)))


def run(kernel: OnnxKernel, frames: list[list[bytes]]) -> list[list[bytes]]:
    """``frames[n][port]`` in, the same out."""
    count = len(frames)
    for port, spec in enumerate(kernel.inputs):
        view = kernel.input_view(port, count)
        for n, frame in enumerate(frames):
            view[n * spec.frame_bytes : (n + 1) * spec.frame_bytes] = frame[port]
    kernel.compute(count)
    return [
        [
            bytes(kernel.output_view(port, count)[n * spec.frame_bytes : (n + 1) * spec.frame_bytes])
            for port, spec in enumerate(kernel.outputs)
        ]
        for n in range(count)
    ]


def noise(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def test_plain_layout_is_not_copied(images: Any) -> None:
    shape = (4, 4, 8)
    records = [images.record(0, 0, 1, shape, 128, "x"), images.record(1, 0, 1, shape, 128, "y")]
    kernel = kernel_of(images, records, images.identity(["N", *shape]))
    assert kernel.max_batch == MAX_BATCH
    assert all(port.layout is None for port in (*kernel._inputs, *kernel._outputs))
    frames = [[noise(128, seed=n).tobytes()] for n in range(5)]
    assert run(kernel, frames) == frames


def test_transfer_padding(images: Any) -> None:
    shape = (7, 13, 3)  # 273 bytes on a wire of 280
    records = [images.record(0, 0, 1, shape, 280, "x"), images.record(1, 0, 1, shape, 280, "y")]
    kernel = kernel_of(images, records, images.identity(["N", *shape]))
    frames = [[noise(280, seed=n).tobytes()] for n in range(3)]
    assert run(kernel, frames) == [[frame[0][:273] + bytes(7)] for frame in frames]


def test_nhcw_and_padding_of_every_axis(images: Any) -> None:
    real, padded = (2, 3, 5), (4, 8, 8)
    records = [
        images.record(0, 0, 2, real, 256, "x", padded=padded),
        images.record(1, 0, 1, real, 256, "y", padded=padded),
    ]
    kernel = kernel_of(images, records, images.identity(["N", *real]))
    wire = noise(2, 4, 8, 8)  # frames, height, features, width
    out = run(kernel, [[frame.tobytes()] for frame in wire])
    expected = np.zeros((2, 4, 8, 8), np.uint8)
    expected[:, :2, :3, :5] = wire[:, :2, :5, :3].transpose(0, 1, 3, 2)
    assert [frame[0] for frame in out] == [frame.tobytes() for frame in expected]


def test_two_byte_values(images: Any) -> None:
    shape = (1, 1, 10)
    records = [
        images.record(0, 0, 6, shape, 24, "x", data_bytes=2),
        images.record(1, 0, 6, shape, 24, "y", data_bytes=2),
    ]
    kernel = kernel_of(images, records, images.identity(["N", 10], TensorProto.UINT16))
    values = noise(10, dtype=np.uint16)
    assert run(kernel, [[values.astype("<u2").tobytes() + b"abcd"]]) == [[values.astype("<u2").tobytes() + bytes(4)]]


def test_fixed_batch_axis(images: Any) -> None:
    records = [images.record(0, 0, 6, (1, 1, 8), 8, "x"), images.record(1, 0, 6, (1, 1, 8), 8, "y")]
    assert kernel_of(images, records, images.identity([1, 8])).max_batch == 1
    with pytest.raises(BadProgram, match="symbolic or 1"):
        kernel_of(images, records, images.identity([4, 8]))


def test_big_frames_are_not_batched(images: Any) -> None:
    shape = (416, 416, 3)
    size = 416 * 416 * 3
    records = [images.record(0, 0, 1, shape, size, "x"), images.record(1, 0, 1, shape, size, "y")]
    assert kernel_of(images, records, images.identity(["N", *shape])).max_batch == 1


def quantized_conv(images: Any) -> tuple[list[bytes], bytes]:
    """Two inputs, two outputs, convolution and addition in integers."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Transpose", ["a"], ["an"], perm=[0, 3, 1, 2]),
        helper.make_node("QLinearConv", ["an", "s", "z", "w", "ws", "wz", "s", "z"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]),
        helper.make_node("QLinearMatMul", ["b", "s", "z", "m", "ws", "wz", "s", "z"], ["v"]),
    ]
    constants = {
        "s": np.float32(0.02),
        "z": np.uint8(3),
        "w": rng.integers(-60, 60, (8, 3, 3, 3), dtype=np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "m": rng.integers(-60, 60, (17, 9), dtype=np.int8),
    }
    model = images.model(
        {"a": ["N", 9, 5, 3], "b": ["N", 17]}, {"y": ["N", 9, 5, 8], "v": ["N", 9]}, nodes, **constants
    )
    records = [
        images.record(1, 4, 6, (1, 1, 9), 16, "v"),
        images.record(0, 1, 1, (9, 5, 3), 136, "a"),
        images.record(0, 2, 6, (1, 1, 17), 24, "b"),
        images.record(1, 3, 1, (9, 5, 8), 360, "y"),
    ]
    return records, model


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_bit_equal_with_onnx_runtime(images: Any, batch: int) -> None:
    records, model = quantized_conv(images)
    kernel = kernel_of(images, records, model)
    assert [p.stream_index for p in kernel.inputs] == [1, 2]
    assert [p.stream_index for p in kernel.outputs] == [4, 3]
    a, b = noise(batch, 9, 5, 3, seed=batch), noise(batch, 17, seed=batch + 1)
    out = run(kernel, [[a[n].tobytes() + b"\xee", b[n].tobytes() + bytes(7)] for n in range(batch)])
    oracle = onnxruntime.InferenceSession(model, make_session_options(), providers=["CPUExecutionProvider"])
    for n in range(batch):
        y, v = oracle.run(["y", "v"], {"a": a[n : n + 1], "b": b[n : n + 1]})
        assert out[n] == [v.tobytes() + bytes(7), y.tobytes()]


def test_refusals(images: Any) -> None:
    good = [images.record(0, 0, 6, (1, 1, 8), 8, "x"), images.record(1, 0, 6, (1, 1, 8), 8, "y")]
    with pytest.raises(BadProgram, match="ONNX Runtime refuses"):
        kernel_of(images, good, b"\x08\x08")  # a version and no graph
    with pytest.raises(BadProgram, match="the graph has"):
        kernel_of(images, good, b"not a model")
    model = images.identity(["N", 8])
    with pytest.raises(BadProgram, match=r"graph inputs \['x'\], records \['q'\]"):
        kernel_of(images, [images.record(0, 0, 6, (1, 1, 8), 8, "q"), good[1]], model)
    with pytest.raises(BadProgram, match="the graph has shape"):
        kernel_of(images, [images.record(0, 0, 6, (1, 1, 7), 8, "x"), good[1]], model)
    with pytest.raises(BadProgram, match="does not carry 2 byte"):
        kernel_of(images, [images.record(0, 0, 6, (1, 1, 8), 16, "x", data_bytes=2), good[1]], model)
    with pytest.raises(BadProgram, match="not static"):
        kernel_of(images, good, images.identity(["N", "M"]))


def test_a_name_of_an_axis_that_is_no_text(images: Any) -> None:
    records = [images.record(0, 0, 6, (1, 1, 8), 8, "x"), images.record(1, 0, 6, (1, 1, 8), 8, "y")]
    model = images.identity(["axis", 8]).replace(b"axis", b"a\xce\xceb")
    with pytest.raises(BadProgram, match="not UTF-8"):
        kernel_of(images, records, model)


def test_kernels_are_cached_by_content(images: Any) -> None:
    core = NeuralCore(CHIP)
    records = [images.record(0, 0, 6, (1, 1, 8), 8, "x"), images.record(1, 0, 6, (1, 1, 8), 8, "y")]
    image = images.image(records, images.identity(["N", 8]))
    first = core.load(image)
    assert core.load(bytes(bytearray(image))) is first
    core.forget_kernels()
    assert core.load(image) is not first


def test_images_are_joined_from_pieces(images: Any) -> None:
    core = NeuralCore(CHIP)
    records = [images.record(0, 0, 6, (1, 1, 8), 8, "x"), images.record(1, 0, 6, (1, 1, 8), 8, "y")]
    image = images.image(records, images.identity(["N", 8]))
    core.configure(-1, 0, image[:100])
    core.configure(-1, 1, b"another config stream")
    core.configure(-1, 0, image[100:200])
    core.configure(0, 0, image[200:])
    assert core.image(0) == image
    core.begin_context(0)
    assert core.image(0) == image[:200] + b"another config stream", "what one stream cannot carry goes on in the next"
    core.configure(1, 0, image)
    assert core.image(1) == image
    core.reset()
    assert core.image(0) is None


def test_other_kinds_are_refused(images: Any) -> None:
    records = [images.record(0, 0, 6, (1, 1, 8), 8, "x"), images.record(1, 0, 6, (1, 1, 8), 8, "y")]
    with pytest.raises(BadProgram, match="kind 3"):
        NeuralCore(CHIP).load(images.image(records, b"", kind=3))
