"""References: numerics bound to a network that the core cannot execute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from openhailo.errors import BadProgram
from openhailo.spec.chip import CHIP
from openhailo.twin.core import FrameInfo, NeuralCore, OutputStream, ReferenceKernel, ReferenceRun, StreamPort
from openhailo.twin.core.pattern import pattern


def swap(inputs: Mapping[int, memoryview], frame: FrameInfo) -> dict[int, bytes]:
    assert [o.stream_index for o in frame.outputs] == [7, 8]
    return {7: bytes(inputs[1]), 8: bytes([frame.index, inputs[0][0]])}


def make_run() -> ReferenceRun:
    return ReferenceRun(swap, [0, 1], [OutputStream(7, 16, 3), OutputStream(8, 17, 2)])


def test_one_context() -> None:
    kernel = ReferenceKernel(make_run(), [StreamPort(0, 2), StreamPort(1, 3)], [StreamPort(8, 2), StreamPort(7, 3)])
    for n in range(3):
        kernel.input_view(0, 1)[:] = bytes([n + 10, 0])
        kernel.input_view(1, 1)[:] = b"abc"
        kernel.compute(1)
        assert bytes(kernel.output_view(0, 1)) == bytes([n, n + 10])
        assert bytes(kernel.output_view(1, 1)) == b"abc"


def test_inputs_of_two_contexts_meet() -> None:
    run = make_run()
    first = ReferenceKernel(run, [StreamPort(0, 2)], [StreamPort(2, 4)], hidden_outputs=frozenset({2}))
    second = ReferenceKernel(
        run, [StreamPort(2, 4), StreamPort(1, 3)], [StreamPort(7, 3), StreamPort(8, 2)], hidden_inputs=frozenset({2})
    )
    for n in (5, 6):
        first.input_view(0, 1)[:] = bytes([n, 0])
        first.compute(1)
        assert bytes(first.output_view(0, 1)) == bytes(4)
    for n in (5, 6):
        second.input_view(1, 1)[:] = bytes([n] * 3)
        second.compute(1)
        assert bytes(second.output_view(0, 1)) == bytes([n] * 3)
        assert bytes(second.output_view(1, 1)) == bytes([n - 5, n])


def test_output_before_its_inputs() -> None:
    kernel = ReferenceKernel(make_run(), [StreamPort(0, 2)], [StreamPort(7, 3)])
    with pytest.raises(BadProgram, match="before every input"):
        kernel.compute(1)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [({}, "gives nothing"), ({7: b"ab", 8: b"ab"}, "gives 2 bytes"), (ZeroDivisionError("x"), "the reference failed")],
)
def test_bad_answers(answer: Any, detail: str) -> None:
    def reference(inputs: Mapping[int, memoryview], frame: FrameInfo) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    run = ReferenceRun(reference, [0], [OutputStream(7, 16, 3), OutputStream(8, 17, 2)])
    with pytest.raises(BadProgram, match=detail):
        run.put(0, memoryview(b"x"))


def test_binding_by_application() -> None:
    core = NeuralCore(CHIP)
    assert core.reference(0) is None
    core.bind_reference(swap)
    core.bind_reference(lambda inputs, frame: {}, application=1)
    assert core.reference(0) is swap
    assert core.reference(1) is not swap
    core.bind_reference(None, application=1)
    assert core.reference(1) is swap
    core.bind_reference(None)
    assert core.reference(1) is None


def test_recorded_pattern() -> None:
    """Literals of traces/README.md 1: (7 i + f + 31 (c - 16)) mod 256."""
    assert bytes(pattern(0, 16, 5)) == bytes([0, 7, 14, 21, 28])
    assert bytes(pattern(3, 17, 3)) == bytes([34, 41, 48])
    assert bytes(pattern(250, 16, 2)) == bytes([250, 1])
