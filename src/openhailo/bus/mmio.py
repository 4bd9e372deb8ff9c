"""The only load and store: one aligned 32-bit access per call.

The chip takes aligned 32-bit accesses only (driver.md 2.1 and 8.2 row 1). Of everything that Python offers, single item
access on a ``memoryview`` of format "I" is one such access; slices, ``struct.pack_into`` and ``ctypes`` values are not.
"""

from __future__ import annotations

import platform
import threading
from array import array
from mmap import mmap
from typing import Final

from openhailo.errors import InputError

#: Reads of a function that left its bus.
ALL_ONES: Final = 0xFFFFFFFF

_STRONGLY_ORDERED = platform.machine() in {"x86_64", "AMD64", "i686"}


class MappedWindow:
    """A BAR that is mapped into memory (`openhailo.bus.protocols.Window`)."""

    def __init__(self, memory: mmap | bytearray | memoryview) -> None:
        """Take ``memory``: a writable buffer whose length is a multiple of 4 bytes; it stays the caller's to unmap."""
        view = memoryview(memory).cast("B")
        if len(view) % 4 or view.readonly:
            raise InputError(what="BAR", detail=f"{len(view)} bytes cannot be used as writable dwords")
        self.size_bytes = len(view)
        self._dwords = view.cast("I")
        self._barrier = None if _STRONGLY_ORDERED else threading.Lock()

    def read32(self, offset: int) -> int:
        """Load the dword at ``offset``."""
        if offset & 3 or not 0 <= offset < self.size_bytes:
            raise _bad_access(offset, 4, self.size_bytes)
        return self._dwords[offset >> 2]

    def write32(self, offset: int, value: int) -> None:
        """Store ``value`` at ``offset``, after every earlier store of this thread to ordinary memory."""
        if offset & 3 or not 0 <= offset < self.size_bytes:
            raise _bad_access(offset, 4, self.size_bytes)
        if self._barrier is not None:
            store_barrier(self._barrier)
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
            raise _bad_access(offset, size_bytes, self.size_bytes)
        return offset >> 2, (offset + size_bytes) >> 2


def store_barrier(lock: threading.Lock) -> None:
    """Order earlier stores to memory before later ones to the device (driver.md 8.2 row 3).

    Taking and releasing a lock is the only full barrier the language offers; x86 needs none.
    """
    with lock:
        pass


def _bad_access(offset: int, size_bytes: int, limit: int) -> InputError:
    return InputError(
        what="BAR access", detail=f"{size_bytes} bytes at 0x{offset:X} are not aligned dwords inside 0x{limit:X} bytes"
    )
