"""The system calls that reach a PCI function, as one object: tests put a kernel of their own here."""

from __future__ import annotations

import fcntl
import mmap
import os
import re
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

    def write_attribute(self, path: Path, text: str) -> None:
        """Write a file under ``/sys``."""
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

    def huge_page_bytes(self) -> int:
        """Return the size of a huge page; 0 where there are none."""
        ...

    def huge_pages(self, size_bytes: int) -> memoryview:
        """Return zeroed memory made of huge pages, which stay where they are."""
        ...

    def physical_address(self, address: int) -> int:
        """Return where the page at ``address`` of this process lies in the machine; 0 where that is kept secret."""
        ...


#: Flags of ``mmap`` that the module of the same name does not have (the kernel's generic values).
_MAP_LOCKED, _MAP_HUGETLB = 0x2000, 0x40000
#: An entry of pagemap: the page is in memory, and in which frame.
_PAGE_PRESENT, _PAGE_FRAME = 1 << 63, (1 << 55) - 1
_MEMINFO = Path("/proc/meminfo")
_PAGEMAP = "/proc/self/pagemap"


class LinuxKernel:
    """The real one."""

    def exists(self, path: Path) -> bool:
        """Tell whether a device node is there."""
        return path.exists()

    def write_attribute(self, path: Path, text: str) -> None:
        """Write a file under ``/sys``; it must be there."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)

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
        """Map a BAR. Pages are mapped whole, also where the BAR is less than one (16 KiB pages of a Pi 5)."""
        skip = offset % mmap.PAGESIZE
        length = align_up(skip + size_bytes, mmap.PAGESIZE)
        mapping = mmap.mmap(fd, length, flags=mmap.MAP_SHARED, offset=offset - skip)
        window = map_window(memoryview(mapping)[skip : skip + size_bytes])

        def unmap() -> None:
            window.close()
            mapping.close()

        return window, unmap

    def pages(self, size_bytes: int) -> memoryview:
        """Return shared anonymous memory: a child that is forked cannot pull its pages from under the device."""
        return memoryview(mmap.mmap(-1, size_bytes, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS))

    def huge_page_bytes(self) -> int:
        """Return the default size of huge pages."""
        found = re.search(r"^Hugepagesize:\s*(\d+) kB$", _MEMINFO.read_text("ascii"), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def huge_pages(self, size_bytes: int) -> memoryview:
        """Return huge pages, all of them there from now on; a child that is forked shares them."""
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE | _MAP_LOCKED | _MAP_HUGETLB
        return memoryview(mmap.mmap(-1, size_bytes, flags=flags))

    def physical_address(self, address: int) -> int:
        """Ask the kernel's pagemap, which shows frames to root only."""
        fd = os.open(_PAGEMAP, os.O_RDONLY | os.O_CLOEXEC)
        try:
            entry = int.from_bytes(os.pread(fd, 8, address // mmap.PAGESIZE * 8), "little")
        finally:
            os.close(fd)
        return (entry & _PAGE_FRAME) * mmap.PAGESIZE if entry & _PAGE_PRESENT else 0
