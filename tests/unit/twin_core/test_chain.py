"""Several programs of one context: read, joined, refused."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto

from openhailo.errors import BadProgram
from openhailo.spec.chip import CHIP
from openhailo.twin.core import ChainKernel, NeuralCore
from openhailo.twin.core.onnx import OnnxKernel
from openhailo.twin.core.program import MAX_CHAIN, parse_programs


def step(images: Any, source: int, target: int, size: int = 8, dtype: int = TensorProto.UINT8) -> bytes:
    records = [
        images.record(0, source, 6, (1, 1, size), size, "x"),
        images.record(1, target, 6, (1, 1, size), size, "y"),
    ]
    return bytes(images.image(records, images.identity(["N", size], dtype)))


def test_images_follow_each_other(images: Any) -> None:
    chain = step(images, 0, 2) + step(images, 3, 1)
    programs = parse_programs(CHIP, chain)
    assert [[record.stream_index for record in program.io] for program in programs] == [[0, 2], [3, 1]]
    assert len(parse_programs(CHIP, step(images, 0, 1))) == 1


def test_what_follows_a_program_is_not_skipped(images: Any) -> None:
    for tail in (bytes(8), b"OHPROG\0\2", step(images, 3, 1)[:-8], b"OHPROG\0\1"):
        with pytest.raises(BadProgram):
            parse_programs(CHIP, step(images, 0, 2) + tail)
    with pytest.raises(BadProgram, match=f"more than {MAX_CHAIN} programs"):
        parse_programs(CHIP, step(images, 0, 1) * (MAX_CHAIN + 1))
    with pytest.raises(BadProgram, match="magic"):
        parse_programs(CHIP, b"")


def test_a_chain_has_the_ports_of_all_stages(images: Any) -> None:
    kernel = NeuralCore(CHIP).load(step(images, 0, 2) + step(images, 3, 1))
    assert isinstance(kernel, ChainKernel)
    assert [port.stream_index for port in kernel.inputs] == [0, 3]
    assert [port.stream_index for port in kernel.outputs] == [2, 1]
    assert [place.stage for place in kernel.input_places] == [0, 1]
    kernel.input_view(0, 2)[:] = bytes(range(16))
    kernel.compute(2)
    assert bytes(kernel.output_view(0, 2)) == bytes(range(16))
    assert bytes(kernel.output_view(1, 2)) == bytes(16)
    kernel.input_view(1, 2)[:] = kernel.output_view(0, 2)
    kernel.compute_stage(1, 2)
    assert bytes(kernel.output_view(1, 2)) == bytes(range(16))


def test_stages_share_no_stream(images: Any) -> None:
    for wrong in (step(images, 0, 1), step(images, 3, 2), step(images, 0, 2)):
        with pytest.raises(BadProgram, match="stream in common"):
            NeuralCore(CHIP).load(step(images, 0, 2) + wrong)


def test_signed_codes(images: Any) -> None:
    (program,) = parse_programs(CHIP, step(images, 0, 1, dtype=TensorProto.INT8))
    kernel = OnnxKernel(program)
    kernel.input_view(0, 1)[:] = bytes(range(124, 132))
    kernel.compute(1)
    assert bytes(kernel.output_view(0, 1)) == bytes(range(124, 132))
