"""The system calls that VFIO needs, as one object: tests put a kernel of their own here."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from openhailo._units import align_up
from openhailo.bus.mmio import map_window
from openhailo.bus.protocols import Window


class Kernel(Protocol):
    """Everything raises ``OSError`` with the kernel's errno."""

    def exists(self, path: Path) -> bool:
        """Tell whether a device node is there."""
        ...

    def open(self, path: Path) -> int:
        """Open a device node for reading and writing; a child process does not inherit it."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def ioctl(self, fd: int, request: int, argument: bytearray | int = 0) -> int:
        """Make a request; a ``bytearray`` is read and written in place. Returns what the kernel returns."""
        ...

    def pread(self, fd: int, size_bytes: int, offset: int) -> bytes:
        """Read a region."""
        ...

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write a region."""
        ...

    def map_bar(self, fd: int, size_bytes: int, offset: int) -> tuple[Window, Callable[[], None]]:
        """Map a BAR; returns its window, and what unmaps it (after which the window raises ``ValueError``)."""
        ...

    def pages(self, size_bytes: int) -> memoryview:
        """Return zeroed, page-aligned memory; it lives as long as a view of it."""
        ...


class LinuxKernel:
    """The real one."""

    def exists(self, path: Path) -> bool:
        """Tell whether a device node is there."""
        return path.exists()

    def open(self, path: Path) -> int:
        """Open a device node."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def ioctl(self, fd: int, request: int, argument: bytearray | int = 0) -> int:
        """Make a request. Only a mutable buffer is both written to and leaves the result alone (vm-rig.md 9)."""
        return fcntl.ioctl(fd, request, argument)

    def pread(self, fd: int, size_bytes: int, offset: int) -> bytes:
        """Read a region."""
        return os.pread(fd, size_bytes, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write a region."""
        return os.pwrite(fd, data, offset)

    def map_bar(self, fd: int, size_bytes: int, offset: int) -> tuple[Window, Callable[[], None]]:
        """Map a BAR. Pages are mapped whole, also where the BAR is smaller than one (16 KiB pages of a Pi 5)."""
        mapping = mmap.mmap(fd, align_up(size_bytes, mmap.PAGESIZE), flags=mmap.MAP_SHARED, offset=offset)
        window = map_window(memoryview(mapping)[:size_bytes])

        def unmap() -> None:
            window.close()
            mapping.close()

        return window, unmap

    def pages(self, size_bytes: int) -> memoryview:
        """Return shared anonymous memory: a child that is forked cannot pull its pages from under the device."""
        return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS))
