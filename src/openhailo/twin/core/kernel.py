"""What the dataflow pump needs from something that computes frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StreamPort:
    """One stream of a kernel: its index in its direction and the bytes of one frame on the wire."""

    stream_index: int
    frame_bytes: int


class Kernel(Protocol):
    """Computes up to ``max_batch`` frames at a time, between buffers that it owns.

    The pump fills the first ``frames`` frames of every input view, calls `compute` (possibly outside the chip lock, in
    any thread, but never twice at a time) and then reads the first ``frames`` frames of every output view.
    """

    inputs: tuple[StreamPort, ...]
    outputs: tuple[StreamPort, ...]
    max_batch: int
    #: The views stay the same memory from one `compute` to the next.
    is_stable: bool

    def input_view(self, port: int, frames: int) -> memoryview:
        """Writable bytes of the first ``frames`` frames of input ``port`` (an index into `inputs`)."""
        ...

    def output_view(self, port: int, frames: int) -> memoryview:
        """Bytes of the first ``frames`` frames of output ``port`` (an index into `outputs`)."""
        ...

    def compute(self, frames: int) -> None:
        """Turn the first ``frames`` input frames into output frames. Raises `errors.BadProgram`."""
        ...
