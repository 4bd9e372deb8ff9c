"""Memory of the user's that a chip reads and writes where it is: page-aligned arrays, mapped once and kept mapped."""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from openhailo.driver.link import BufferRange, ChipLink, DmaDirection, HostBuffer
from openhailo.errors import OpenHailoError
from openhailo.runtime.formats import Array

#: Mappings that are kept for the next frame in the same memory; the kernel pins the pages of each.
KEPT = 64
_Key = tuple[int, int, DmaDirection]


def aligned_empty(shape: Sequence[int], dtype: np.dtype[np.generic] | type = np.uint8) -> Array:
    """Return an uninitialised array that owns whole pages, so that a chip can use it in place.

    NumPy's own arrays begin inside a page and are copied.
    """
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    # Shared, because pinned private pages are replaced by copies after a fork (driver.md 8.1 row 9).
    room = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    return np.frombuffer(room, kind, size // kind.itemsize).reshape(tuple(shape))


def is_page_aligned(array: Array) -> bool:
    """Whether ``array`` begins on a page of the host and has no gaps."""
    return array.flags.c_contiguous and array.__array_interface__["data"][0] % mmap.PAGESIZE == 0


class UserMapping:
    """One array that the chip reaches; ``users`` jobs are under way in it."""

    __slots__ = ("buffer", "transfers", "users")

    def __init__(self, buffer: HostBuffer) -> None:
        self.buffer, self.users = buffer, 0
        self.transfers: dict[tuple[int, int], tuple[tuple[BufferRange], ...]] = {}


class UserMemory:
    """Mappings of one chip. A mapping keeps the memory alive; the least recently used one that is idle goes first."""

    def __init__(self, link: ChipLink, kept: int = KEPT) -> None:
        self._link, self._kept = link, kept
        self._lock = threading.Lock()
        self._mappings: OrderedDict[_Key, UserMapping] = OrderedDict()

    def __len__(self) -> int:
        return len(self._mappings)

    def acquire(
        self, frames: Array, frame_bytes: int, direction: DmaDirection
    ) -> tuple[UserMapping, tuple[tuple[BufferRange], ...]] | None:
        """Return the mapping of ``frames`` (n, ...) and one transfer per frame; None where a copy is needed.

        Whoever gets a mapping has to `release` it when no transfer uses it any more.
        """
        count = len(frames)
        if (count > 1 and frame_bytes % mmap.PAGESIZE) or not is_page_aligned(frames):
            return None
        key = (frames.__array_interface__["data"][0], frames.nbytes, direction)
        with self._lock:
            mapping = self._mappings.get(key) or self._map(key, frames)
            if mapping is None:
                return None
            self._mappings.move_to_end(key)
            mapping.users += 1
        shape = (count, frame_bytes)
        if shape not in mapping.transfers:
            ranges = [((mapping.buffer, frame * frame_bytes, frame_bytes),) for frame in range(count)]
            mapping.transfers[shape] = tuple(ranges)
        return mapping, mapping.transfers[shape]

    def release(self, mappings: Sequence[UserMapping]) -> None:
        """Give mappings back."""
        with self._lock:
            for mapping in mappings:
                mapping.users -= 1
            self._evict()

    def close(self) -> None:
        """Unmap everything; nothing may be in flight. Idempotent."""
        with self._lock:
            while self._mappings:
                self._mappings.popitem()[1].buffer.close()

    def _map(self, key: _Key, frames: Array) -> UserMapping | None:
        try:
            mapping = UserMapping(self._link.map_buffer(frames.data.cast("B"), key[2]))
        except OpenHailoError:
            return None  # memory of a file or of another device may not be pinned: copy instead
        self._mappings[key] = mapping
        return mapping

    def _evict(self) -> None:
        surplus = len(self._mappings) - self._kept
        if surplus <= 0:
            return
        for key in [key for key, mapping in self._mappings.items() if not mapping.users][:surplus]:
            self._mappings.pop(key).buffer.close()
