"""Recognises runs of frames in a ring: one look at the descriptors, one copy (driver.md 6.3, 10.4).

A host that streams describes frame after frame in the same way, and its ring shows the same descriptors again and
again. What a stretch of descriptors means follows from its bytes alone, so it is worked out once; every later time the
bytes are read anew and compared, and only equal bytes mean the same. Everything unusual is left to the general way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from openhailo.twin.hostmem import Bytes

from .channel import Channel
from .ring import Mover, Words

#: Plans kept per channel; a host that describes more than this differently starts over.
_KEPT_PLANS = 128


class Frames(NamedTuple):
    """Whole transfers that lie in host memory at equal distances.

    ``raw`` are the descriptors as read, ``host`` the frames' memory, (frames, bytes of one).
    """

    raw: bytes
    host: np.ndarray[Any, np.dtype[np.uint8]]
    frames: int
    descriptors: int
    interrupt: bool


class FramePlanner:
    """Finds `Frames` at the position of a channel."""

    def __init__(self, mover: Mover) -> None:
        self._mover, self._format = mover, mover.format

    def plan(self, channel: Channel, rows: Words, each: int, size_bytes: int) -> Frames | None:
        """Return the transfers of ``size_bytes`` that ``rows`` begin with, ``each`` descriptors long.

        None when they are not the usual: equal pages in one stretch of registered memory per frame, no status to write.
        """
        first: int = rows.item(0, self._format.low_at)
        key = (first, len(rows), size_bytes)
        raw = rows.tobytes()
        known = channel.plans.get(key)
        if known is not None and known.raw == raw:
            return known
        made = self._make(channel, raw, each, size_bytes)
        if made is not None:
            if len(channel.plans) >= _KEPT_PLANS:
                channel.plans.clear()
            channel.plans[key] = made
        return made

    def _make(self, channel: Channel, raw: bytes, each: int, size_bytes: int) -> Frames | None:
        rows = np.frombuffer(raw, np.uint32).reshape(-1, self._format.dwords)
        run = self._mover.as_run(rows[:each], size_bytes, exact=channel.from_host)
        if run is None:
            return None
        frames, stride = self._count_alike(rows.reshape(len(rows) // each, -1), size_bytes)
        span = (frames - 1) * stride + size_bytes
        host = self._mover.memory.view(run.address, span, write=not channel.from_host)
        if host is None:
            return None
        return Frames(raw, _every(host, frames, stride, size_bytes), frames, frames * each, run.interrupt)

    def _count_alike(self, table: Words, size_bytes: int) -> tuple[int, int]:
        """Return how many rows of ``table`` (one per frame) repeat the first at a fixed distance, and that distance.

        Frames behind each other in memory only: a distance below their size, or an address beyond 32 bits, ends it.
        """
        fmt, frames = self._format, len(table)
        if frames == 1:
            return 1, size_bytes
        low = table[:, fmt.low_at]
        stride = int(low[1]) - int(low[0])
        if stride < size_bytes or int(low[0]) + frames * stride > 0xFFFFFFFF:
            return 1, size_bytes
        step = np.zeros(table.shape[1], np.uint32)
        step[fmt.low_at :: fmt.dwords] = stride
        different = np.flatnonzero(((table[1:] - table[:-1]) != step).any(axis=1))
        return (int(different[0]) + 1 if len(different) else frames), stride


def _every(host: Bytes, frames: int, stride: int, size_bytes: int) -> Bytes:
    """View ``host`` as its ``size_bytes`` at every multiple of ``stride``."""
    return np.lib.stride_tricks.as_strided(host, (frames, size_bytes), (stride, 1))
