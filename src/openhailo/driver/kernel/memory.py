"""Host memory that the driver maps for the chip (driver.md 7.5 BUFFER_MAP, 8.1 rows 7-10, 23-25)."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from openhailo._units import align_up
from openhailo.bus.protocols import DmaDirection
from openhailo.errors import DmaMapError, InputError, OpenHailoError
from openhailo.spec.ioctl import AllocationMode, BufferType, SyncType

from .calls import Calls

#: The driver keeps sizes in 32 bits (driver.md 7.5).
_MAX_BYTES = (1 << 32) - 1


class KernelBuffer:
    """A mapped buffer (`openhailo.driver.link.HostBuffer`).

    ``address`` and ``handle`` name the memory that the device reaches; ``bounce`` is that memory when it is not the
    caller's ``view``, else None.
    """

    __slots__ = ("_memory", "address", "bounce", "closed", "direction", "handle", "low_memory", "size_bytes", "view")

    def __init__(
        self, memory: KernelMemory, view: memoryview, direction: DmaDirection, handle: int, low_memory: int
    ) -> None:
        self._memory, self.view, self.size_bytes, self.direction = memory, view, len(view), direction
        self.handle, self.low_memory, self.address = handle, low_memory, address_of(view)
        self.bounce: memoryview | None = None
        self.closed = False

    def to_device(self, offset: int, size_bytes: int) -> None:
        """Bring our copy up to date before the device reads it."""
        if self.bounce is not None:
            self.bounce[offset : offset + size_bytes] = self.view[offset : offset + size_bytes]

    def from_device(self, offset: int, size_bytes: int) -> None:
        """Bring our copy to its owner after the device wrote it."""
        if self.bounce is not None:
            self.view[offset : offset + size_bytes] = self.bounce[offset : offset + size_bytes]

    def close(self) -> None:
        """Take the memory away from the device. Idempotent."""
        if not self.closed:
            self.closed = True
            self._memory.release(self)


class ContinuousBuffer:
    """Memory that is contiguous on the bus, at ``dma_address``; ``view`` is the host's side."""

    def __init__(self, calls: Calls, size_bytes: int) -> None:
        """Allocate. Raises `DmaMapError`."""
        self._calls, self.size_bytes = calls, size_bytes
        made = calls.call("VDMA_CONTINUOUS_BUFFER_ALLOC", buffer_size=size_bytes)
        self.handle, self.dma_address, self.closed = made["buffer_handle"], made["dma_address"], False
        self.view = map_handle(calls, self.handle, size_bytes)

    def close(self) -> None:
        """Free it; the device must not use it any more. Idempotent."""
        if not self.closed:
            self.closed = True
            self._calls.call("VDMA_CONTINUOUS_BUFFER_FREE", buffer_handle=self.handle)


class KernelMemory:
    """Every mapping of one open. A buffer that transfers use is kept until they are gone.

    The driver's transfers hold no reference to their mapping: unmapping under them is a use after free in the kernel
    (driver.md 8.1 row 10). ``in_use`` tells whether a transfer in flight names an object.
    """

    def __init__(self, calls: Calls, mode: int, in_use: Callable[[object], bool]) -> None:
        """Take the allocation mode that the driver reports."""
        self._calls, self._in_use = calls, in_use
        self._page = max(calls.file.page_size, mmap.PAGESIZE)
        self._from_driver = mode == AllocationMode.DRIVER
        self._lock = threading.Lock()
        self._live: dict[int, Any] = {}
        self._waiting: list[KernelBuffer] = []
        self._none = calls.rules.no_allocated_buffer

    def alloc(self, size_bytes: int, direction: DmaDirection) -> KernelBuffer:
        """Allocate zeroed, page-aligned memory and map it. Raises `DmaMapError`, `InputError`."""
        if not 0 < size_bytes <= _MAX_BYTES:
            raise InputError(what="buffer", detail=f"{size_bytes} bytes cannot be allocated")
        if self._from_driver:
            return self._alloc_low(size_bytes, direction)
        # Shared, because pinned private pages are replaced by copies after a fork (driver.md 8.1 row 9).
        spare = self._page - mmap.PAGESIZE
        room = memoryview(
            mmap.mmap(-1, align_up(size_bytes, self._page) + spare, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        )
        start = -address_of(room) % self._page
        return self._map(room[start : start + size_bytes], direction, self._none)

    def map(self, view: memoryview, direction: DmaDirection) -> KernelBuffer:
        """Map the caller's memory; what cannot be mapped travels through memory of ours.

        The driver pins whole pages from the page border on, for writing (driver.md 8.1 rows 7, 8), so memory that
        starts inside a page or is read-only is not for it.
        """
        if not (self._from_driver or view.readonly or address_of(view) % self._page):
            try:
                return self._map(view, direction, self._none)
            except OpenHailoError:
                pass  # memory of another device or a file may not be pinned: copy instead
        buffer = self.alloc(len(view), direction)
        buffer.bounce, buffer.view = buffer.view, view
        buffer.to_device(0, 0 if direction is DmaDirection.FROM_DEVICE else len(view))
        return buffer

    def sync(self, buffer: KernelBuffer, offset: int, size_bytes: int, to_device: bool) -> None:
        """Hand a range over to the other side."""
        if to_device:
            buffer.to_device(offset, size_bytes)
        if size_bytes:
            kind = SyncType.FOR_DEVICE if to_device else SyncType.FOR_CPU
            self._calls.call("VDMA_BUFFER_SYNC", handle=buffer.handle, sync_type=kind, offset=offset, count=size_bytes)
        if not to_device:
            buffer.from_device(offset, size_bytes)

    def release(self, buffer: KernelBuffer) -> None:
        """Unmap, now or when no transfer in flight uses the buffer any more."""
        with self._lock:
            if id(buffer) not in self._live:
                return
            if self._in_use(buffer):
                self._waiting.append(buffer)
                return
            del self._live[id(buffer)]
        self._unmap(buffer)

    def sweep(self) -> None:
        """Unmap what waited for transfers that are gone."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for buffer in waiting:
            self.release(buffer)

    def close(self) -> None:
        """Unmap everything; all channels must be disabled."""
        while self._live:
            _, buffer = self._live.popitem()
            buffer.closed = True
            self._unmap(buffer)

    def _alloc_low(self, size_bytes: int, direction: DmaDirection) -> KernelBuffer:
        """Memory from the driver, for hosts whose DMA does not reach all of memory (driver.md 8.1 row 24)."""
        handle = self._calls.call("VDMA_LOW_MEMORY_BUFFER_ALLOC", buffer_size=size_bytes)["buffer_handle"]
        try:
            view = map_handle(self._calls, handle, size_bytes)
            view[:] = bytes(size_bytes)  # the driver does not clear its pages
            return self._map(view, direction, handle)
        except BaseException:
            self._calls.call("VDMA_LOW_MEMORY_BUFFER_FREE", buffer_handle=handle)
            raise

    def _map(self, view: memoryview, direction: DmaDirection, allocated: int) -> KernelBuffer:
        behaviour = self._calls.release.behaviour
        kind = {"buffer_type": BufferType.USER_POINTER} if behaviour.map_has_type else {}
        made = self._calls.call(
            "VDMA_BUFFER_MAP",
            user_address=address_of(view),
            size=len(view),
            data_direction=int(direction),
            allocated_buffer_handle=allocated,
            **kind,
        )
        buffer = KernelBuffer(self, view, direction, made["mapped_handle"], 0 if allocated == self._none else allocated)
        with self._lock:
            self._live[id(buffer)] = buffer
        return buffer

    def _unmap(self, buffer: KernelBuffer) -> None:
        self._calls.call("VDMA_BUFFER_UNMAP", mapped_handle=buffer.handle)
        if buffer.low_memory:
            self._calls.call("VDMA_LOW_MEMORY_BUFFER_FREE", buffer_handle=buffer.low_memory)


def map_handle(calls: Calls, handle: int, size_bytes: int) -> memoryview:
    """Map an object of the driver by its handle. Raises `DmaMapError`."""
    try:
        return calls.file.mmap(size_bytes, handle)
    except OSError as error:
        raise DmaMapError(
            detail=f"mmap of {calls.file.name} at 0x{handle:X}: {error.strerror}", size_bytes=size_bytes
        ) from error


def flat(buffer: memoryview) -> memoryview:
    """Return ``buffer`` as bytes; empty or scattered memory is an `InputError`."""
    try:
        view = memoryview(buffer).cast("B")
    except TypeError as error:
        raise InputError(what="buffer", detail=f"not contiguous memory: {error}") from error
    if not len(view):
        raise InputError(what="buffer", detail="empty")
    return view


def address_of(view: memoryview) -> int:
    """Return the address of the first byte."""
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address
