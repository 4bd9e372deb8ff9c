"""Numerics that the user binds to a network compiled for silicon.

The core cannot execute such a network (design: nothing is ever invented silently); a *reference* computes its frames
instead, and everything else, configuration and DMA included, takes the ordinary path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openhailo.errors import BadProgram

from .kernel import StreamPort


@dataclass(frozen=True)
class OutputStream:
    """An output that a reference has to fill: ``frame_bytes`` is 0 where the device does not know (on-chip NMS)."""

    stream_index: int
    channel: int
    frame_bytes: int


@dataclass(frozen=True)
class FrameInfo:
    """Which frame is computed: ``index`` counts from 0 since the activation."""

    index: int
    outputs: tuple[OutputStream, ...]


class Reference(Protocol):
    """Computes one frame in device format (quantized bytes, device order, padding included).

    Called outside the chip lock, one frame at a time, in frame order.
    """

    def __call__(self, inputs: Mapping[int, memoryview], frame: FrameInfo) -> Mapping[int, Any]:
        """Return output stream -> bytes-like of that stream's frame, from input stream -> bytes of its frame."""
        ...


class ReferenceRun:
    """One activation of a network computed by a reference.

    The reference knows the boundary of the whole network only, so inputs are collected (over contexts, if there are
    several) until a frame has all of them, and outputs wait until the context that owns them asks.
    """

    def __init__(self, reference: Reference, inputs: Sequence[int], outputs: Sequence[OutputStream]) -> None:
        self._reference = reference
        self._inputs: dict[int, deque[bytes]] = {stream: deque() for stream in inputs}
        self._outputs: dict[int, deque[npt.NDArray[np.uint8]]] = {o.stream_index: deque() for o in outputs}
        self._streams = tuple(outputs)
        self._index = 0

    def put(self, stream: int, frame: memoryview) -> None:
        """Take one input frame, and compute as soon as every input has one."""
        self._inputs[stream].append(bytes(frame))
        if all(self._inputs.values()):
            frames = {index: memoryview(queue.popleft()) for index, queue in self._inputs.items()}
            self._compute(frames)

    def _compute(self, frames: Mapping[int, memoryview]) -> None:
        try:
            results = self._reference(frames, FrameInfo(self._index, self._streams))
        except Exception as error:
            raise BadProgram(detail=f"the reference failed: {error}") from error
        self._index += 1
        for stream in self._streams:
            self._outputs[stream.stream_index].append(_checked(stream, results))

    def take(self, stream: int) -> npt.NDArray[np.uint8]:
        """Return the next frame of output ``stream``. Raises `BadProgram` when its inputs have not all come yet."""
        if not self._outputs[stream]:
            raise BadProgram(detail=f"output stream {stream} is due before every input of its frame was there")
        return self._outputs[stream].popleft()


def _checked(stream: OutputStream, results: Mapping[int, Any]) -> npt.NDArray[np.uint8]:
    if stream.stream_index not in results:
        raise BadProgram(detail=f"the reference gives nothing for output stream {stream.stream_index}")
    data = np.frombuffer(results[stream.stream_index], np.uint8)
    if stream.frame_bytes and len(data) != stream.frame_bytes:
        raise BadProgram(
            detail=f"the reference gives {len(data)} bytes for output stream {stream.stream_index}, "
            f"a frame has {stream.frame_bytes}"
        )
    return data


class ReferenceKernel:
    """The part of a `ReferenceRun` that one context moves: one frame at a time.

    ``hidden_inputs`` and ``hidden_outputs`` are its inter-context streams: what they carry is known to silicon only, so
    it is consumed unread and produced as zeros.
    """

    max_batch = 1
    is_stable = False

    def __init__(
        self,
        run: ReferenceRun,
        inputs: Sequence[StreamPort],
        outputs: Sequence[StreamPort],
        hidden_inputs: frozenset[int] = frozenset(),
        hidden_outputs: frozenset[int] = frozenset(),
    ) -> None:
        self._run, self.inputs, self.outputs = run, tuple(inputs), tuple(outputs)
        self._hidden_inputs, self._hidden_outputs = hidden_inputs, hidden_outputs
        self._in = [np.zeros(port.frame_bytes, np.uint8) for port in self.inputs]
        self._out = [np.zeros(port.frame_bytes, np.uint8) for port in self.outputs]

    def input_view(self, port: int, frames: int) -> memoryview:
        """Writable bytes of the one frame."""
        assert frames == 1, "a reference takes one frame at a time"
        return self._in[port].data

    def output_view(self, port: int, frames: int) -> memoryview:
        """Bytes of the one frame; a new buffer after every `compute`."""
        assert frames == 1, "a reference gives one frame at a time"
        return self._out[port].data

    def compute(self, frames: int) -> None:
        """Hand the inputs over and fetch the outputs. Raises `BadProgram`."""
        for port, data in zip(self.inputs, self._in, strict=True):
            if port.stream_index not in self._hidden_inputs:
                self._run.put(port.stream_index, data.data)
        for index, port in enumerate(self.outputs):
            if port.stream_index not in self._hidden_outputs:
                self._out[index] = self._run.take(port.stream_index)
