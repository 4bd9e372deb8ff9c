"""Resources, and the program image in the hands of those who read it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
from compiler_graphs import pixels, small_cnn, two_heads

from openhailo.compiler import compile_model
from openhailo.compiler.allocate import config_pieces, core_counters, pad_columns, pad_features
from openhailo.compiler.emit import build_hef, build_program
from openhailo.errors import DoesNotFit
from openhailo.hef import read, write
from openhailo.hef.layers import Shape
from openhailo.spec.chip import CHIP
from openhailo.spec.program import ProgramRules
from openhailo.twin.core.onnx import OnnxKernel
from openhailo.twin.core.program import parse_program


def test_padding():
    assert pad_features(Shape(1, 1, 10)) == (1, 1, 16)
    assert pad_columns(Shape(416, 416, 3)) == (416, 416, 3)
    assert pad_columns(Shape(13, 13, 255)) == (13, 16, 255)
    assert pad_columns(Shape(26, 26, 255)) == (26, 28, 255)
    assert pad_columns(Shape(28, 28, 1)) == (28, 28, 1)
    assert pad_columns(Shape(1, 1, 3)) == (1, 8, 3)


@pytest.mark.parametrize(
    ("shape", "counters"),
    [((416, 416, 3), (1248, 416)), ((1, 1, 1000), (1000, 1)), ((1, 1, 80000), (40000, 2)), ((3, 30000, 4), (60000, 6))],
)
def test_core_counters(shape, counters):
    assert core_counters(Shape(*shape)) == counters
    assert counters[0] * counters[1] == np.prod(shape)


def test_a_frame_too_large_for_the_counters():
    with pytest.raises(DoesNotFit, match="core buffers"):
        core_counters(Shape(1, 1, 8 * 65537 * 65539))


def test_config_pieces():
    full = 65535 * 512
    assert config_pieces(0) == ()
    assert config_pieces(256) == (256,)
    assert config_pieces(full) == (full,)
    assert config_pieces(2 * full + 8) == (full, full, 8)
    with pytest.raises(DoesNotFit, match="configuration"):
        config_pieces(300 << 20)


def test_a_program_of_several_pieces_arrives_whole():
    compiled = compile_model(small_cnn(), name="x", calibration=pixels(8, 16, 16, 3))
    program = build_program(os.urandom(40 << 20), compiled.streams)
    core_op = read(write(build_hef("x", program, compiled.streams))).network_groups[0].core_op_for()
    pieces = [bytes(action.data) for operation in core_op.preliminary for action in operation.actions]
    assert [len(piece) for piece in pieces] == [65535 * 512, len(program) - 65535 * 512]
    assert len(core_op.preliminary) == 2
    assert b"".join(pieces) == program


def test_program_limits():
    compiled = compile_model(small_cnn(), name="x", calibration=pixels(8, 16, 16, 3))
    tight = replace(CHIP, program=ProgramRules(max_io=1))
    with pytest.raises(DoesNotFit, match="streams: 2 needed, 1 there"):
        build_program(b"", compiled.streams, tight)
    tight = replace(CHIP, program=ProgramRules(max_payload_bytes=3))
    with pytest.raises(DoesNotFit, match="program bytes"):
        build_program(b"1234", compiled.streams, tight)


def wire_frame(array, stream):
    """Lay one (h, w, c) or (c,) frame out as it travels, padding zero."""
    frame = np.zeros(tuple(stream.padded_shape), np.uint8)
    height, width, features = stream.shape
    frame[:height, :width, :features] = array.reshape(stream.shape)
    return frame.tobytes().ljust(stream.transfer_bytes, b"\0")


@pytest.mark.parametrize("model", [small_cnn(), two_heads()], ids=["cnn", "heads"])
def test_the_twin_core_computes_what_onnx_runtime_does(model):
    compiled = compile_model(model, name="m", calibration="random:8")
    core_op = read(compiled.hef_bytes).network_groups[0].core_op_for()
    image = b"".join(bytes(action.data) for operation in core_op.preliminary for action in operation.actions)
    kernel = OnnxKernel(parse_program(CHIP, image))
    rng = np.random.default_rng(0)
    inputs = [s for s in compiled.streams if s.is_input]
    feeds = {s.name: rng.integers(0, 256, (1, *s.shape)).astype(np.uint8) for s in inputs}
    for port, stream in enumerate(inputs):
        kernel.input_view(port, 1)[:] = wire_frame(feeds[stream.name], stream)
    kernel.compute(1)
    expected = ort.InferenceSession(compiled.quantized_model.SerializeToString()).run(None, feeds)
    outputs = [s for s in compiled.streams if not s.is_input]
    for port, (stream, array) in enumerate(zip(outputs, expected, strict=True)):
        assert bytes(kernel.output_view(port, 1)) == wire_frame(array, stream)


def test_bytes_do_not_depend_on_the_process():
    """Hash seeds differ between processes; the file must not."""
    script = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1]);"
        "from compiler_graphs import two_heads; from openhailo.compiler import compile_model;"
        "print(hashlib.sha256(compile_model(two_heads(), name='n', calibration='random:4').hef_bytes).hexdigest())"
    )
    folder = os.path.dirname(__file__)  # noqa: PTH120 - handed to another process as text
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, folder],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("arch", ["hailo8", "hailo8l"])
def test_a_whole_device_computes_what_onnx_runtime_does(arch):
    import openhailo

    compiled = compile_model(two_heads(), name="m", calibration="random:8", arch=arch)
    rng = np.random.default_rng(0)
    feeds = {s.name: rng.integers(0, 256, tuple(s.shape)).astype(np.uint8) for s in compiled.streams if s.is_input}
    session = ort.InferenceSession(compiled.quantized_model.SerializeToString())
    expected = session.run(None, {name: array[None] for name, array in feeds.items()})
    with openhailo.open(f"twin:{arch}") as device:
        seen = device.load(compiled.hef_bytes)(feeds, raw=True)
    for stream, array in zip([s for s in compiled.streams if not s.is_input], expected, strict=True):
        np.testing.assert_array_equal(seen[stream.name], array[0])
