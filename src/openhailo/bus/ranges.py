"""Which parts of an address space are free: first fit, aligned, neighbours always joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openhailo._units import align_up


class FreeRanges:
    """Free ranges of a space. Not thread safe: its owner has a lock."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Take the free ranges as (start, size), which may not overlap."""
        self._free = {start: size for start, size in sorted(ranges) if size > 0}

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the free ranges as (start, size), lowest first."""
        return iter(sorted(self._free.items()))

    def take(self, size: int, alignment: int) -> int | None:
        """Take ``size`` at a multiple of ``alignment``, the lowest there is; None when there is no room."""
        for start, room in sorted(self._free.items()):
            at = align_up(start, alignment)
            if at + size <= start + room:
                del self._free[start]
                self._put(start, at - start)
                self._put(at + size, start + room - at - size)
                return at
        return None

    def give(self, start: int, size: int) -> None:
        """Return what was taken."""
        joined: dict[int, int] = {}
        last = -1
        for at, room in sorted((*self._free.items(), (start, size))):
            if last >= 0 and last + joined[last] == at:
                joined[last] += room
            else:
                joined[at], last = room, at
        self._free = joined

    def exclude(self, start: int, size: int) -> None:
        """Never hand out any of ``[start, start + size)``, whether it is free or not."""
        for at, room in list(self._free.items()):
            if size > 0 and at < start + size and start < at + room:
                del self._free[at]
                self._put(at, start - at)
                self._put(start + size, at + room - start - size)

    def _put(self, start: int, size: int) -> None:
        if size > 0:
            self._free[start] = size
