"""Device-visible memory in few, large pieces.

Making memory visible is slow (10 to 37 ms per MiB behind an emulated IOMMU, vm-rig.md 9) and every range costs an
entry somewhere, so allocations share chunks that are attached once.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from openhailo._units import MIB, align_up
from openhailo.errors import DmaMapError

from .ranges import FreeRanges

PAGE: Final = mmap.PAGESIZE
CHUNK_BYTES: Final = 2 * MIB
#: Largest alignment of an allocation: a huge page.
MAX_ALIGNMENT: Final = 1 << 30


@dataclass
class Chunk:
    """Zeroed memory that the device reaches at ``iova``; ``detach`` takes it away from the device."""

    iova: int
    view: memoryview
    detach: Callable[[], None]
    free: FreeRanges = field(init=False)

    def __post_init__(self) -> None:
        self.free = FreeRanges([(self.iova, len(self.view))])

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is handed out."""
        return list(self.free) == [(self.iova, len(self.view))]


#: Makes at least so many bytes (a multiple of the page) visible, at a multiple of the alignment. Raises `DmaMapError`.
Attach = Callable[[int, int], Chunk]


class ArenaBuffer:
    """A part of a chunk; implements `openhailo.bus.protocols.DmaBuffer`."""

    def __init__(self, arena: Arena, chunk: Chunk, iova: int, size_bytes: int) -> None:
        start = iova - chunk.iova
        self.iova, self.size_bytes, self.view = iova, size_bytes, chunk.view[start : start + size_bytes]
        self.chunk = chunk
        self._arena: Arena | None = arena

    def close(self) -> None:
        """Give it back. Idempotent."""
        arena, self._arena = self._arena, None
        if arena is not None:
            arena.release(self)


class Arena:
    """The allocating half of a `openhailo.bus.protocols.DmaSpace`. Thread safe."""

    def __init__(self, attach: Attach, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Take what makes memory visible, and how much of it to ask for at least."""
        self._attach, self._chunk_bytes = attach, chunk_bytes
        self._lock = threading.Lock()
        self._chunks: list[Chunk] = []

    def alloc(self, size_bytes: int, *, alignment: int = PAGE) -> ArenaBuffer:
        """Allocate zeroed, page-aligned memory that is contiguous for the device. Raises `DmaMapError`."""
        if size_bytes < 1 or alignment < 1 or alignment & (alignment - 1) or alignment > MAX_ALIGNMENT:
            raise DmaMapError(
                size_bytes=size_bytes,
                detail=f"needs a positive size and a power-of-two alignment up to 1 GiB, got {alignment}",
            )
        size, alignment = align_up(size_bytes, PAGE), max(alignment, PAGE)
        with self._lock:
            chunk, iova = self._take(size, alignment)
            buffer = ArenaBuffer(self, chunk, iova, size_bytes)
        # A chunk is handed out again after use, so what is left in it must go.
        np.frombuffer(buffer.view, np.uint8).fill(0)
        return buffer

    def _take(self, size: int, alignment: int) -> tuple[Chunk, int]:
        for chunk in self._chunks:
            iova = chunk.free.take(size, alignment)
            if iova is not None:
                return chunk, iova
        chunk = self._grow(size, alignment)
        self._chunks.append(chunk)
        iova = chunk.free.take(size, alignment)
        assert iova is not None
        return chunk, iova

    def _grow(self, size: int, alignment: int) -> Chunk:
        """Attach a chunk; where there is no room for a large one (a limit of locked memory), one of just that size."""
        if size < self._chunk_bytes:
            with suppress(DmaMapError):
                return self._attach(self._chunk_bytes, alignment)
        return self._attach(size, alignment)

    def release(self, buffer: ArenaBuffer) -> None:
        """Free ``buffer``; of the chunks that nobody uses any more one is kept for the next allocation."""
        with self._lock:
            if buffer.chunk not in self._chunks:
                return
            buffer.chunk.free.give(buffer.iova, align_up(buffer.size_bytes, PAGE))
            idle = [chunk for chunk in self._chunks if chunk.is_empty]
            for chunk in sorted(idle, key=lambda c: len(c.view))[1:]:
                self._chunks.remove(chunk)
                chunk.detach()

    def close(self) -> None:
        """Take everything away from the device; views stay valid as long as somebody holds them. Idempotent."""
        with self._lock:
            while self._chunks:
                self._chunks.pop().detach()
