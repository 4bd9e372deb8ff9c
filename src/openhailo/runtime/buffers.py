"""Frame slots: page-aligned device memory that is allocated and described once, when a network is configured."""

from __future__ import annotations

from openhailo._units import align_up
from openhailo.driver.link import BufferRange, ChipLink, DmaDirection

#: Slots start on a page of the host, which every link can map.
SLOT_ALIGNMENT = 4096


class SlotRing:
    """``count`` slots of ``transfer_bytes``, ``stride`` bytes apart, in one host buffer.

    ``ranges[i]`` is what a launch of slot i is given, `run` the same for several.
    """

    def __init__(self, link: ChipLink, transfer_bytes: int, count: int, direction: DmaDirection) -> None:
        """Allocate zeroed memory. Raises `DmaMapError`."""
        self.transfer_bytes, self.count = transfer_bytes, count
        self.stride = align_up(transfer_bytes, SLOT_ALIGNMENT)
        self.buffer = link.alloc_buffer(self.stride * count, direction)
        self.view = self.buffer.view
        self.ranges: list[tuple[BufferRange]] = [
            ((self.buffer, slot * self.stride, transfer_bytes),) for slot in range(count)
        ]
        self._runs: dict[tuple[int, int], tuple[tuple[BufferRange], ...]] = {}

    def run(self, first: int, count: int) -> tuple[tuple[BufferRange], ...]:
        """Return the ranges of slots [first, first + count): the same object every time, which a link can recognise."""
        known = self._runs.get((first, count))
        if known is None:
            known = self._runs[first, count] = tuple(self.ranges[first : first + count])
        return known

    def close(self) -> None:
        """Give the memory back; nothing may be in flight. Idempotent."""
        self.buffer.close()
