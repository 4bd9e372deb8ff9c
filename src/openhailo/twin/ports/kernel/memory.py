"""Memory of an open file: the client's buffers, descriptor lists, what the driver allocates (driver.md 7.5).

The client of an in-process driver is this process, so a ``user_address`` is a pointer into it. The driver reaches
exactly what the call names: the bytes from that pointer on. What a real driver maps besides, from the start of the page
of an unaligned pointer (driver.md 8.1 row 7), must lie in memory that the client declared with `UserMemory.own`.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openhailo._units import align_up
from openhailo.bus.protocols import DmaDirection
from openhailo.errors import DmaMapError

from .registers import failure

if TYPE_CHECKING:
    from openhailo.twin.ports.function import TwinBuffer, TwinDma

LIST_ALIGNMENT, DESCRIPTOR_BYTES = 0x10000, 16
#: ``allocated_buffer_handle`` of a buffer that the client allocated itself (8.1 row 23).
NO_HANDLE = 0xFFFF_FFFF_FFFF_FFFF
_MAPS = Path("/proc/self/maps")


class UserMemory:
    """The client's memory as a kernel sees it: by address, page by page."""

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self._owned: dict[int, tuple[int, int]] = {}
        self._count = 0

    def own(self, buffer: memoryview | bytearray | mmap.mmap) -> Callable[[], None]:
        """Declare ``buffer`` as the client's; return what ends that.

        Only needed around unaligned pointers, which the driver maps from the start of their page.
        """
        bytes_ = np.frombuffer(buffer, np.uint8)
        self._count += 1
        key = self._count
        self._owned[key] = (bytes_.ctypes.data, bytes_.ctypes.data + bytes_.nbytes)

        def end() -> None:
            self._owned.pop(key, None)

        return end

    def pin(self, address: int, size_bytes: int, *, writable: bool) -> memoryview:
        """Return ``size_bytes`` from the start of the page of ``address`` on; EFAULT where that is not the client's."""
        start = address & ~(self.page_size - 1)
        if start != address and not self._is_owned(start, max(address, start + size_bytes)):
            raise failure(
                errno.EFAULT, f"0x{address:X} is not at the start of a page, and what is before it is foreign"
            )
        if not _is_mapped(address if start == address else start, size_bytes, writable=writable):
            raise failure(errno.EFAULT, f"{size_bytes} bytes at 0x{address:X} are not this process's")
        return memoryview((ctypes.c_ubyte * size_bytes).from_address(start)).cast("B")

    def _is_owned(self, start: int, end: int) -> bool:
        return any(first <= start and end <= last for first, last in self._owned.values())


def _is_mapped(start: int, size_bytes: int, *, writable: bool) -> bool:
    """Tell whether the process has memory at ``[start, start + size_bytes)``; believed where nothing says so."""
    if start == 0 or start + size_bytes >> 63:
        return False
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return True
    need = "w" if writable else "r"
    at, end = start, start + size_bytes
    for line in lines:
        span, access = line.split(" ", 2)[:2]
        first, last = (int(text, 16) for text in span.split("-"))
        if first <= at < last and need in access:
            at = last
            if at >= end:
                return True
    return False


class MappedBuffer:
    """A mapped buffer: where the client has it and where the device reaches it.

    ``address`` is the pointer of the call; the mapping starts at its page. A scatter entry is at most
    ``segment_bytes`` long, so descriptors never cross a multiple of it.
    """

    def __init__(self, handle: int, address: int, size_bytes: int, direction: int, dma: TwinBuffer) -> None:
        self.handle, self.address, self.size_bytes, self.direction = handle, address, size_bytes, direction
        self.dma = dma
        self.closed = False

    @property
    def iova(self) -> int:
        """Where the device sees the first byte."""
        return self.dma.iova

    def close(self) -> None:
        """Unmap. What is in flight is not looked at (8.1 row 10)."""
        self.closed = True
        self.dma.close()


class DescriptorList:
    """A descriptor list: ``words`` is its memory, shape (count, 4), uint32."""

    def __init__(self, handle: int, count: int, page_size: int, circular: bool, memory: TwinBuffer) -> None:
        self.handle, self.count, self.page_size, self.circular = handle, count, page_size, circular
        self.memory = memory
        self.words: NDArray[np.uint32] = memory.bytes[: count * DESCRIPTOR_BYTES].view(np.uint32).reshape(count, 4)
        self.closed = False

    @property
    def mask(self) -> int:
        """What the driver takes positions modulo the count with; right for powers of two only (8.1 row 17)."""
        return (self.count - 1) & 0xFFFFFFFF

    def close(self) -> None:
        """Free it."""
        self.closed = True
        self.memory.close()


class PageBuffer:
    """Pages that the driver allocated for a client, for it to map ("low memory"): its own, not contiguous."""

    def __init__(self, handle: int, size_bytes: int, page_size: int) -> None:
        self.handle = handle
        self.pages = -(-size_bytes // page_size)
        self.memory = mmap.mmap(-1, self.pages * page_size)


class OpenMemory:
    """All memory of one open, by handle (7.1 "Handles").

    Args:
        dma: the device's view of memory.
        user: the client's memory.
        contiguous_limit_bytes: the largest contiguous allocation that succeeds.
        contiguous_errno: what a larger one fails with.
    """

    def __init__(self, dma: TwinDma, user: UserMemory, *, contiguous_limit_bytes: int, contiguous_errno: int) -> None:
        self._dma, self._user = dma, user
        self._limit, self._errno = contiguous_limit_bytes, contiguous_errno
        self._last_handle = 0
        self._last_mapping = 0
        self.mapped: dict[int, MappedBuffer] = {}
        self.lists: dict[int, DescriptorList] = {}
        self.pages: dict[int, PageBuffer] = {}
        self.continuous: dict[int, TwinBuffer] = {}

    def _next_handle(self) -> int:
        """Handles are mmap offsets: multiples of the page size, one counter for all three kinds."""
        self._last_handle += self._user.page_size
        return self._last_handle

    # --- mapped buffers ---------------------------------------------------------------------------------------------

    def map(self, address: int, size_bytes: int, direction: int, allocated: int) -> MappedBuffer:
        """Pin and map a buffer; ``allocated`` names driver-allocated pages or is all ones."""
        if allocated == NO_HANDLE:
            view = self._user.pin(address, size_bytes, writable=direction != DmaDirection.TO_DEVICE)
        else:
            view = self._allocated(allocated, size_bytes)
        try:
            dma = self._dma.map(view, DmaDirection(direction))
        except DmaMapError as error:
            raise failure(errno.ENXIO, str(error)) from error
        self._last_mapping += 1
        buffer = MappedBuffer(self._last_mapping, address, size_bytes, direction, dma)
        self.mapped[buffer.handle] = buffer
        return buffer

    def _allocated(self, handle: int, size_bytes: int) -> memoryview:
        buffer = self.pages.get(handle)
        if buffer is None:
            raise failure(errno.EINVAL, f"no low-memory buffer has handle {handle}")
        if -(-size_bytes // self._user.page_size) != buffer.pages:
            raise failure(errno.EINVAL, f"{size_bytes} bytes are not {buffer.pages} pages")
        return memoryview(buffer.memory)[:size_bytes]

    def unmap(self, handle: int) -> None:
        """Undo `map`."""
        buffer = self.mapped.pop(handle, None)
        if buffer is None:
            raise failure(errno.EINVAL, f"no mapped buffer has handle {handle}")
        buffer.close()

    def find(self, address: int, size_bytes: int, *, to_device: bool) -> MappedBuffer | None:
        """Return the mapping that holds ``[address, address + size_bytes)`` and suits the direction (7.5)."""
        suited = (DmaDirection.BOTH, DmaDirection.TO_DEVICE if to_device else DmaDirection.FROM_DEVICE)
        for buffer in self.mapped.values():
            inside = buffer.address <= address and address + size_bytes <= buffer.address + buffer.size_bytes
            if inside and buffer.direction in suited:
                return buffer
        return None

    # --- descriptor lists ---------------------------------------------------------------------------------------------

    def create_list(self, count: int, page_size: int, *, circular: bool) -> DescriptorList:
        """Allocate a descriptor list. Checks are the caller's."""
        memory = self._contiguous(align_up(max(count, 1) * DESCRIPTOR_BYTES, LIST_ALIGNMENT), LIST_ALIGNMENT)
        descriptors = DescriptorList(self._next_handle(), count, page_size, circular, memory)
        self.lists[descriptors.handle] = descriptors
        return descriptors

    def release_list(self, handle: int) -> None:
        """Free a descriptor list."""
        descriptors = self.lists.pop(handle, None)
        if descriptors is None:
            raise failure(errno.EINVAL, f"no descriptor list has handle {handle}")
        descriptors.close()

    # --- memory of the driver -----------------------------------------------------------------------------------------

    def allocate_pages(self, size_bytes: int) -> PageBuffer:
        """Allocate a low-memory buffer."""
        if not 0 < size_bytes <= 1 << 30:
            raise failure(errno.ENOMEM, f"{size_bytes} bytes of low memory")
        buffer = PageBuffer(self._next_handle(), size_bytes, self._user.page_size)
        self.pages[buffer.handle] = buffer
        return buffer

    def free_pages(self, handle: int) -> None:
        """Free a low-memory buffer; the client's own mapping of it lives on, as on Linux."""
        if self.pages.pop(handle, None) is None:
            raise failure(errno.EINVAL, f"no low-memory buffer has handle {handle}")

    def allocate_continuous(self, size_bytes: int) -> tuple[int, TwinBuffer]:
        """Allocate a contiguous buffer; return its handle and itself."""
        memory = self._contiguous(align_up(size_bytes, self._user.page_size), self._user.page_size)
        handle = self._next_handle()
        self.continuous[handle] = memory
        return handle, memory

    def free_continuous(self, handle: int) -> None:
        """Free a contiguous buffer."""
        memory = self.continuous.pop(handle, None)
        if memory is None:
            raise failure(errno.EINVAL, f"no continuous buffer has handle {handle}")
        memory.close()

    def _contiguous(self, size_bytes: int, alignment: int) -> TwinBuffer:
        if not 0 < size_bytes <= self._limit:
            raise failure(self._errno, f"no {size_bytes} bytes of contiguous memory")
        try:
            return self._dma.alloc(size_bytes, alignment=alignment)
        except DmaMapError as error:
            raise failure(self._errno, str(error)) from error

    # --- mmap and the end ---------------------------------------------------------------------------------------------

    def mmap(self, size_bytes: int, offset: int, *, lists: bool) -> memoryview:
        """Return the memory behind handle ``offset`` (7.1 "mmap"); ``lists``: descriptor lists too (4.17)."""
        rounded = align_up(size_bytes, self._user.page_size)
        if offset in self.pages:
            buffer = self.pages[offset]
            if rounded != buffer.pages * self._user.page_size:
                raise failure(errno.EINVAL, f"{size_bytes} bytes are not {buffer.pages} pages")
            return memoryview(buffer.memory)[:size_bytes]
        memory = self.continuous.get(offset)
        if memory is None and lists and offset in self.lists:
            memory = self.lists[offset].memory
        if memory is None or not 0 < size_bytes <= memory.size_bytes:
            raise failure(errno.EINVAL, f"nothing of {size_bytes} bytes has handle {offset}")
        return memory.view[:size_bytes]

    def close(self) -> None:
        """Free everything, in the driver's order (1.3)."""
        for handle in list(self.mapped):
            self.unmap(handle)
        for handle in list(self.lists):
            self.release_list(handle)
        self.pages.clear()
        for handle in list(self.continuous):
            self.free_continuous(handle)
