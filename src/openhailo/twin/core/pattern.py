"""The frame contents of the recorded runs, so that they can be replayed (traces/README.md 1)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .reference import FrameInfo


class PatternReference:
    """Byte i of frame f on channel c is (7 i + f + 31 (c - 16)) mod 256; f counts since the activation."""

    def __call__(self, inputs: Mapping[int, memoryview], frame: FrameInfo) -> dict[int, npt.NDArray[np.uint8]]:
        """Return the pattern for every output; the input is consumed and ignored, as the recording's device did."""
        return {
            stream.stream_index: pattern(frame.index, stream.channel, stream.frame_bytes) for stream in frame.outputs
        }


def pattern(frame: int, channel: int, size_bytes: int) -> npt.NDArray[np.uint8]:
    """Return the bytes of one frame."""
    start = frame + 31 * (channel - 16)
    return ((np.arange(size_bytes, dtype=np.int64) * 7 + start) & 0xFF).astype(np.uint8)
