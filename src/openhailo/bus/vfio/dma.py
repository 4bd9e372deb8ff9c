"""Memory behind the IOMMU: addresses are ours to choose, so everything is contiguous for the device."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import numpy as np

from openhailo._units import align_up
from openhailo.bus.arena import Arena, ArenaBuffer, Chunk
from openhailo.bus.protocols import DmaDirection
from openhailo.bus.ranges import FreeRanges
from openhailo.bus.syscalls import Kernel
from openhailo.errors import DeviceError, DmaMapError

from .iommu import Iommu

#: Addresses below are left alone: zero must never be a valid address. GUESS: any small number does.
FIRST_IOVA: Final = 1 << 20
#: Addresses above need longer transfers on the bus, and not every bridge passes them: they are used last.
_HIGH: Final = 1 << 32
#: A descriptor list needs its base at a multiple of this (driver.md 9).
_ALIGNMENT: Final = 1 << 16


class IovaSpace:
    """Addresses that the device may use and nobody else answers to. Thread safe."""

    def __init__(self, iommu: Iommu, excluded: Iterable[tuple[int, int]] = ()) -> None:
        """Take the IOMMU's ranges; ``excluded`` are (start, size) of windows that the bus may route elsewhere."""
        usable = [(max(start, FIRST_IOVA), last + 1) for start, last in iommu.ranges]
        pages = [
            (align_up(start, iommu.page_bytes), end // iommu.page_bytes * iommu.page_bytes) for start, end in usable
        ]
        self._low = FreeRanges((start, min(end, _HIGH) - start) for start, end in pages)
        self._high = FreeRanges((max(start, _HIGH), end - max(start, _HIGH)) for start, end in pages)
        self._lock = threading.Lock()
        for start, size in excluded:
            self._low.exclude(start, size)
            self._high.exclude(start, size)

    def take(self, size_bytes: int, alignment: int) -> int:
        """Take a range. Raises `DmaMapError`."""
        with self._lock:
            for ranges in (self._low, self._high):
                start = ranges.take(size_bytes, alignment)
                if start is not None:
                    return start
        raise DmaMapError(size_bytes=size_bytes, detail="the IOMMU has no free address range of that size")

    def give(self, start: int, size_bytes: int) -> None:
        """Return a range."""
        with self._lock:
            (self._low if start < _HIGH else self._high).give(start, size_bytes)


class CallerBuffer:
    """Memory of the caller that is mapped; implements `openhailo.bus.protocols.DmaBuffer`."""

    def __init__(self, dma: VfioDma, iova: int, view: memoryview, mapped_bytes: int) -> None:
        self.iova, self.size_bytes, self.view = iova, len(view), view
        self.mapped_bytes = mapped_bytes
        self._dma: VfioDma | None = dma

    def close(self) -> None:
        """Take it away from the device. Idempotent."""
        dma, self._dma = self._dma, None
        if dma is not None:
            dma.release(self)


class VfioDma:
    """Implements `openhailo.bus.protocols.DmaSpace`."""

    def __init__(self, kernel: Kernel, iommu: Iommu, excluded: Iterable[tuple[int, int]] = ()) -> None:
        """Take the IOMMU, and (start, size) of bus addresses that must not be used."""
        self._kernel, self._iommu = kernel, iommu
        self._space = IovaSpace(iommu, excluded)
        self._arena = Arena(self._attach)
        self._page = max(iommu.page_bytes, mmap.PAGESIZE)
        self._mapped: set[CallerBuffer] = set()

    def alloc(self, size_bytes: int, *, alignment: int = mmap.PAGESIZE) -> ArenaBuffer:
        """Allocate zeroed memory. Raises `DmaMapError`."""
        return self._arena.alloc(size_bytes, alignment=alignment)

    def map(self, buffer: memoryview, direction: DmaDirection) -> CallerBuffer:
        """Map the caller's memory as it is; it must start on a page. Raises `DmaMapError`."""
        view = memoryview(buffer)
        if not view.c_contiguous or not view.nbytes:
            raise DmaMapError(size_bytes=view.nbytes, detail="the buffer is empty or not contiguous")
        writable = direction is not DmaDirection.TO_DEVICE
        if writable and view.readonly:
            raise DmaMapError(size_bytes=view.nbytes, detail=f"the buffer is read only, direction {direction.name}")
        view = view.cast("B")
        address = _address(view)
        if address % self._page:
            raise DmaMapError(size_bytes=len(view), detail=f"it does not start at a multiple of {self._page} bytes")
        size = align_up(len(view), self._page)
        mapped = CallerBuffer(self, self._map(address, size, self._page, writable=writable), view, size)
        self._mapped.add(mapped)
        return mapped

    def _map(self, address: int, size: int, alignment: int, *, writable: bool) -> int:
        iova = self._space.take(size, alignment)
        try:
            self._iommu.map(iova, address, size, writable=writable)
        except BaseException:
            self._space.give(iova, size)
            raise
        return iova

    def _attach(self, size_bytes: int, alignment: int) -> Chunk:
        size = align_up(size_bytes, self._page)
        try:
            view = self._kernel.pages(size)
        except (OSError, OverflowError) as error:
            raise DmaMapError(size_bytes=size, detail=f"no memory: {error}") from error
        iova = self._map(_address(view), size, max(alignment, _ALIGNMENT), writable=True)
        return Chunk(iova, view, lambda: self._unmap(iova, size))

    def _unmap(self, iova: int, size: int) -> None:
        """Unmap; an address range that the IOMMU keeps (the device is gone) is not used again."""
        with suppress(DeviceError):
            self._iommu.unmap(iova, size)
            self._space.give(iova, size)

    def release(self, buffer: CallerBuffer) -> None:
        """Unmap a buffer of the caller; nothing happens if it already was."""
        if buffer in self._mapped:
            self._mapped.discard(buffer)
            self._unmap(buffer.iova, buffer.mapped_bytes)

    def close(self) -> None:
        """Take all memory away from the device. Idempotent."""
        for buffer in list(self._mapped):
            buffer.close()
        self._arena.close()


def _address(view: memoryview) -> int:
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address
