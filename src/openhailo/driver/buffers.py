"""Host memory that the chip reaches, page borders and alignment included (driver.md 6.4, 6.5, 9)."""

from __future__ import annotations

import mmap
from typing import NamedTuple

import numpy as np

from openhailo.bus.protocols import DmaBuffer, DmaDirection, DmaSpace
from openhailo.errors import DmaMapError, InputError


class Segment(NamedTuple):
    """A piece of a buffer that is contiguous on the bus: bytes ``[start, start + size_bytes)`` live at ``iova``."""

    start: int
    size_bytes: int
    iova: int


class Bounce(NamedTuple):
    """A piece whose bytes travel through memory of our own, because the caller's cannot be mapped there."""

    start: int
    ours: memoryview
    theirs: memoryview


class PcieBuffer:
    """A host buffer (`openhailo.driver.link.HostBuffer`) as one or two bus segments.

    ``bounces`` is empty for memory that the device reaches directly; then no byte is copied.
    """

    __slots__ = ("_arena", "_mapped", "bounces", "closed", "direction", "segments", "size_bytes", "templates", "view")

    def __init__(
        self,
        arena: DmaArena,
        view: memoryview,
        direction: DmaDirection,
        segments: tuple[Segment, ...],
        mapped: tuple[DmaBuffer, ...],
        bounces: tuple[Bounce, ...] = (),
    ) -> None:
        self._arena, self._mapped = arena, mapped
        self.view, self.size_bytes, self.direction = view, len(view), direction
        self.segments, self.bounces = segments, bounces
        self.closed = False
        #: Ready-made descriptors, kept by `openhailo.driver.descriptors`.
        self.templates: dict[tuple[int, ...], np.ndarray[tuple[int, int], np.dtype[np.uint32]]] = {}

    @property
    def iova(self) -> int:
        """Bus address of the first byte."""
        return self.segments[0].iova

    def to_device(self, offset: int, size_bytes: int) -> None:
        """Bring the bounced part of a range up to date before the device reads it."""
        for start, ours, theirs in self.bounces:
            low, high = max(offset - start, 0), min(offset + size_bytes - start, len(ours))
            if low < high:
                ours[low:high] = theirs[low:high]

    def from_device(self, offset: int, size_bytes: int) -> None:
        """Bring the bounced part of a range to its owner after the device wrote it."""
        for start, ours, theirs in self.bounces:
            low, high = max(offset - start, 0), min(offset + size_bytes - start, len(ours))
            if low < high:
                theirs[low:high] = ours[low:high]

    def close(self) -> None:
        """Take the memory away from the device. Idempotent."""
        if not self.closed:
            self.closed = True
            self.templates.clear()
            for mapped in self._mapped:
                self._arena.release(mapped)


class DmaArena:
    """Every piece of memory the device was given, so that closing a link can take all of it back."""

    def __init__(self, space: DmaSpace) -> None:
        self._space = space
        self._live: dict[int, DmaBuffer] = {}

    def alloc(self, size_bytes: int, alignment: int = mmap.PAGESIZE) -> DmaBuffer:
        """Allocate zeroed, bus-contiguous memory. Raises `DmaMapError`, `InputError`."""
        if size_bytes <= 0:
            raise InputError(what="buffer", detail=f"{size_bytes} bytes cannot be allocated")
        return self._keep(self._space.alloc(size_bytes, alignment=alignment))

    def alloc_buffer(self, size_bytes: int, direction: DmaDirection) -> PcieBuffer:
        """Allocate a page-aligned host buffer."""
        memory = self.alloc(size_bytes)
        segments = (Segment(0, size_bytes, memory.iova),)
        return PcieBuffer(self, memory.view[:size_bytes], direction, segments, (memory,))

    def map_buffer(self, buffer: memoryview, direction: DmaDirection) -> PcieBuffer:
        """Map the caller's memory.

        Only whole pages can be mapped. An input that starts inside a page is split at the next page border: the head
        is copied through a page of ours, the rest is mapped; so a short descriptor sits in the middle of a frame
        (context-switch.md trap 17). An output that starts inside a page is bounced as a whole.
        """
        view = _flat(buffer)
        head = min(-_address(view) % mmap.PAGESIZE, len(view))
        if head and (direction is not DmaDirection.TO_DEVICE or head == len(view)):
            return self._bounce_all(view, direction)
        try:
            rest = self._keep(self._space.map(view[head:], direction))
        except DmaMapError:
            return self._bounce_all(view, direction)
        tail = Segment(head, len(view) - head, rest.iova)
        if not head:
            return PcieBuffer(self, view, direction, (tail,), (rest,))
        page = self.alloc(mmap.PAGESIZE)
        bounce = Bounce(0, page.view[:head], view[:head])
        return PcieBuffer(self, view, direction, (Segment(0, head, page.iova), tail), (rest, page), (bounce,))

    def release(self, memory: DmaBuffer) -> None:
        """Give one allocation or mapping back. Idempotent."""
        if self._live.pop(id(memory), None) is not None:
            memory.close()

    def close(self) -> None:
        """Give everything back; the device must be quiet."""
        while self._live:
            self._live.popitem()[1].close()

    def _keep(self, memory: DmaBuffer) -> DmaBuffer:
        self._live[id(memory)] = memory
        return memory

    def _bounce_all(self, view: memoryview, direction: DmaDirection) -> PcieBuffer:
        memory = self.alloc(len(view))
        bounce = Bounce(0, memory.view[: len(view)], view)
        return PcieBuffer(self, view, direction, (Segment(0, len(view), memory.iova),), (memory,), (bounce,))


def _flat(buffer: memoryview) -> memoryview:
    """Return ``buffer`` as bytes; empty or scattered memory is an `InputError`."""
    try:
        view = memoryview(buffer).cast("B")
    except TypeError as error:
        raise InputError(what="buffer", detail=f"not contiguous memory: {error}") from error
    if not len(view):
        raise InputError(what="buffer", detail="empty")
    return view


def _address(view: memoryview) -> int:
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address
