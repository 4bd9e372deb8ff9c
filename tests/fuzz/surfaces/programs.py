"""Program images for the twin's core: parsed, opened in ONNX Runtime and run for a frame."""

from __future__ import annotations

import struct
from functools import cache
from random import Random
from typing import Any

import numpy as np
import onnx
import xxhash
from onnx import TensorProto, helper, numpy_helper

from openhailo.errors import BadProgram
from openhailo.spec.chip import CHIP
from openhailo.twin.core import ChainKernel, NeuralCore
from tests.fuzz.materials import load_test_module
from tests.fuzz.messages import mutate_message
from tests.fuzz.mutate import edge, mutate_bytes
from tests.fuzz.surface import Surface, require

_HEADER, _RECORD = 64, 192


@cache
def _seeds() -> tuple[tuple[tuple[bytes, ...], bytes], ...]:
    """Return (records, payload) pairs."""
    host: Any = load_test_module("twin_firmware/conftest.py")
    record = host.io_record
    flat = (record(0, 0, (8, 8, 3), 192, "x", 1), record(1, 1, (1, 1, 16), 16, "y", 6))
    image = (record(0, 0, (4, 4, 2), 32, "x", 1), record(1, 1, (4, 4, 2), 32, "y", 2))
    return (flat, host.reverse_model()), (flat, host.reverse_model(batch=1)), (image, _convolution())


def _convolution() -> bytes:
    """A quantized 1x1 convolution in NHWC, as the compiler writes it."""
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "s")
    zero = numpy_helper.from_array(np.array(3, np.uint8), "z")
    weights = numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1), "w")
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["real"]),
        helper.make_node("Transpose", ["real"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["chw", "w"], ["out"], kernel_shape=[1, 1]),
        helper.make_node("Transpose", ["out"], ["hwc"], perm=[0, 2, 3, 1]),
        helper.make_node("QuantizeLinear", ["hwc", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.UINT8, ["N", 4, 4, 2]) for n in "xy"]
    graph = helper.make_graph(nodes, "conv", ends[:1], ends[1:], [scale, zero, weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def make_case(rng: Random) -> bytes:
    """Damage records or the graph, and make header and hash right again; or damage the whole. Some are chains."""
    records, payload = rng.choice(_seeds())
    kind = rng.random()
    if kind < 0.4:
        payload = mutate_message(rng, payload)
    elif kind < 0.7:
        records = tuple(_change_record(rng, record) if rng.random() < 0.6 else record for record in records)
        if rng.random() < 0.1:
            records += (rng.choice(records),)
    image = _build(records, payload)
    if rng.random() < 0.3:
        more, graph = rng.choice(_seeds())
        # Streams of their own, most of the time.
        image += _build(tuple(_moved(record, rng.choice((0, 2, 2, 2))) for record in more), graph)
    return mutate_bytes(rng, image) if kind >= 0.7 else image


def _moved(record: bytes, streams: int) -> bytes:
    return record[:1] + bytes([record[1] + streams]) + record[2:]


def _change_record(rng: Random, record: bytes) -> bytes:
    out = bytearray(record)
    if rng.random() < 0.4:
        out[rng.randrange(4)] = rng.choice((0, 1, 2, 3, 6, 31, 32, 255))
    elif rng.random() < 0.8:
        at = 4 + 4 * rng.randrange(7)
        struct.pack_into("<I", out, at, edge(rng, 32) if rng.random() < 0.5 else rng.choice((1, 2, 4, 8, 16, 64, 192)))
    else:
        out[32 + rng.randrange(128)] = rng.randrange(256)
    return bytes(out)


def _build(records: tuple[bytes, ...], payload: bytes) -> bytes:
    header = b"OHPROG\0\1" + struct.pack("<IIQQ", 1, len(records), len(payload), xxhash.xxh3_64_intdigest(payload))
    image = header.ljust(_HEADER, b"\0") + b"".join(records) + payload
    return image + bytes(-len(image) % 8)


def run(case: bytes) -> int:
    """Load, and compute one frame and a batch."""
    core = NeuralCore(CHIP)
    core.configure(-1, 0, case)
    image = core.image(0)
    if image is None:
        raise BadProgram(detail="it does not begin as a program does")
    kernel = core.load(image)
    require(1 <= kernel.max_batch <= 32, f"a batch of {kernel.max_batch}")
    for frames in (1, kernel.max_batch):
        for port, stream in enumerate(kernel.inputs):
            view = kernel.input_view(port, frames)
            require(len(view) == frames * stream.frame_bytes, "an input view of the wrong size")
            view[:] = bytes(len(view))
        kernel.compute(frames)
        for stage in range(1, len(kernel.stages)) if isinstance(kernel, ChainKernel) else ():
            kernel.compute_stage(stage, frames)
        for port, stream in enumerate(kernel.outputs):
            require(len(kernel.output_view(port, frames)) == frames * stream.frame_bytes, "an output of the wrong size")
    return 1


SURFACE = Surface("programs", make_case, run, (BadProgram,))
