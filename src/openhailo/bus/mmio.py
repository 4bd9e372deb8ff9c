"""The only load and store: one aligned 32-bit access per call.

The chip takes aligned 32-bit accesses only (driver.md 2.1 and 8.2 row 1). Of everything that Python offers, single item
access on a ``memoryview`` of format "I" is one such access; slices, ``struct.pack_into`` and ``ctypes`` values are not.
"""

from __future__ import annotations

from array import array
from mmap import mmap
from typing import Final

from openhailo.errors import InputError

from .barrier import Barrier, host_barrier

#: Reads of a function that left its bus.
ALL_ONES: Final = 0xFFFFFFFF


class MappedWindow:
    """A BAR that is mapped into memory (`openhailo.bus.protocols.Window`), for processors that keep the order.

    `map_window` chooses between this one and `OrderedWindow`.
    """

    def __init__(self, memory: mmap | bytearray | memoryview) -> None:
        """Take ``memory``: a writable buffer whose length is a multiple of 4 bytes; it stays the caller's to unmap."""
        view = memoryview(memory).cast("B")
        if len(view) % 4 or view.readonly:
            raise InputError(what="BAR", detail=f"{len(view)} bytes cannot be used as writable dwords")
        self.size_bytes = len(view)
        self._dwords = view.cast("I")

    def read32(self, offset: int) -> int:
        """Load the dword at ``offset``."""
        if offset & 3 or not 0 <= offset < self.size_bytes:
            raise bad_access(offset, 4, self.size_bytes)
        return self._dwords[offset >> 2]

    def write32(self, offset: int, value: int) -> None:
        """Store ``value`` at ``offset``."""
        if offset & 3 or not 0 <= offset < self.size_bytes:
            raise bad_access(offset, 4, self.size_bytes)
        self._dwords[offset >> 2] = value

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        """Load ``size_bytes`` (a multiple of 4) as consecutive dwords."""
        first, end = self._span(offset, size_bytes)
        dwords = self._dwords
        return array("I", [dwords[i] for i in range(first, end)]).tobytes()

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        """Store ``data`` (a multiple of 4 bytes) as consecutive dwords."""
        first, _ = self._span(offset, len(data))
        dwords = self._dwords
        for index, value in enumerate(memoryview(data).cast("B").cast("I"), first):
            dwords[index] = value

    def close(self) -> None:
        """Let go of the mapping; later accesses raise ``ValueError``. Idempotent."""
        self._dwords.release()

    def _span(self, offset: int, size_bytes: int) -> tuple[int, int]:
        if offset & 3 or size_bytes & 3 or offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise bad_access(offset, size_bytes, self.size_bytes)
        return offset >> 2, (offset + size_bytes) >> 2


class OrderedWindow(MappedWindow):
    """A BAR on a processor that reorders accesses (driver.md 8.2 row 3).

    What was stored to memory is visible before the device is told, and what the device says is known before memory is
    looked at. Accesses to the device itself keep their order: its pages are mapped as device memory.
    """

    def __init__(self, memory: mmap | bytearray | memoryview, barrier: Barrier) -> None:
        """Take the mapped ``memory`` and the processor's ``barrier``."""
        super().__init__(memory)
        self._barrier = barrier

    def read32(self, offset: int) -> int:
        """Load the dword at ``offset``, before every later load of ordinary memory."""
        value = super().read32(offset)
        self._barrier()
        return value

    def write32(self, offset: int, value: int) -> None:
        """Store ``value`` at ``offset``, after every earlier store to ordinary memory."""
        self._barrier()
        super().write32(offset, value)

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        """Load ``size_bytes`` as consecutive dwords, before every later load of ordinary memory."""
        data = super().read_block(offset, size_bytes)
        self._barrier()
        return data

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        """Store ``data`` as consecutive dwords, after every earlier store to ordinary memory."""
        self._barrier()
        super().write_block(offset, data)


def map_window(memory: mmap | bytearray | memoryview) -> MappedWindow:
    """Return the window of a mapped BAR as this processor needs it. Raises `InputError`, `DeviceError`."""
    barrier = host_barrier()
    return MappedWindow(memory) if barrier is None else OrderedWindow(memory, barrier)


def bad_access(offset: int, size_bytes: int, limit: int) -> InputError:
    """Return the error for an access that is no run of aligned dwords inside ``limit`` bytes."""
    return InputError(
        what="BAR access", detail=f"{size_bytes} bytes at 0x{offset:X} are not aligned dwords inside 0x{limit:X} bytes"
    )
