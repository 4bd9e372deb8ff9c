"""Memory for a device without an IOMMU: what it is told are physical addresses.

Nothing confines such a device: it can read and write all memory of the machine. Everything that uses this module is
opt-in for that reason (docs/vfio.md).
"""

from __future__ import annotations

import mmap
from typing import Final

import numpy as np

from openhailo._units import align_up, format_bytes
from openhailo.errors import AccessDenied, DeviceError, DmaMapError

from .arena import Arena, ArenaBuffer, Chunk
from .protocols import DmaDirection
from .syscalls import Kernel

RISK: Final = (
    "without an IOMMU the device can read and write all memory of this machine, and a wrong address corrupts it; "
    "only on a host that trusts the card and everybody who may use it: open it with unsafe=True in Python, or "
    'as "pci:ADDRESS,trusted-host" on the command line'
)
#: Several huge pages are rarely neighbours by chance; they are when reserved at boot.
_ATTEMPTS: Final = 8


class PhysicalMemory:
    """Huge pages, by physical address; implements `openhailo.bus.protocols.DmaSpace`."""

    def __init__(self, kernel: Kernel) -> None:
        """Find out what huge pages there are. Raises `DeviceError`, `AccessDenied`."""
        self._kernel = kernel
        try:
            self._huge = kernel.huge_page_bytes()
        except OSError as error:
            raise DeviceError(f"the size of huge pages cannot be read: {error.strerror}; is /proc mounted?") from error
        if not self._huge:
            raise DeviceError("this kernel has no huge pages, and memory of another kind moves; use an IOMMU")
        self._arena = Arena(self._attach, self._huge)

    def alloc(self, size_bytes: int, *, alignment: int = mmap.PAGESIZE) -> ArenaBuffer:
        """Allocate zeroed memory that is contiguous in the machine. Raises `DmaMapError`, `AccessDenied`."""
        return self._arena.alloc(size_bytes, alignment=alignment)

    def map(self, buffer: memoryview, direction: DmaDirection) -> ArenaBuffer:
        """Refuse: the caller's pages lie anywhere, and the kernel may move them."""
        del direction
        raise DmaMapError(size_bytes=buffer.nbytes, detail="without an IOMMU only memory from `alloc` can be used")

    def close(self) -> None:
        """Give all memory back. Idempotent."""
        self._arena.close()

    def _attach(self, size_bytes: int, alignment: int) -> Chunk:
        if alignment > self._huge:
            raise DmaMapError(size_bytes=size_bytes, detail=f"nothing is aligned to more than {self._huge} bytes")
        size = align_up(size_bytes, self._huge)
        kept = []  # so that the next attempt gets other pages
        for _ in range(_ATTEMPTS if size > self._huge else 1):
            view = self._pages(size)
            start = self._run(view)
            if start is not None:
                return Chunk(start, view, _nothing)
            kept.append(view)
        raise DmaMapError(
            size_bytes=size_bytes,
            detail=f"no {size // self._huge} huge pages in a row; reserve them at boot (hugepages=N on the kernel "
            "command line), or use smaller frames or batches",
        )

    def _pages(self, size: int) -> memoryview:
        try:
            return self._kernel.huge_pages(size)
        except (OSError, OverflowError) as error:
            needed = f"{size // self._huge} huge pages of {format_bytes(self._huge)}"
            hint = "reserve some: echo 64 > /proc/sys/vm/nr_hugepages"
            raise DmaMapError(size_bytes=size, detail=f"{needed} are not free ({error}); {hint}") from error

    def _run(self, view: memoryview) -> int | None:
        """Return the physical address of ``view`` if its huge pages follow each other."""
        base: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
        try:
            places = [self._kernel.physical_address(base + at) for at in range(0, len(view), self._huge)]
        except OSError as error:
            raise AccessDenied(name="/proc/self/pagemap", hint=f"{error.strerror}; run as root") from error
        if 0 in places:
            raise AccessDenied(name="/proc/self/pagemap", hint="only root may see physical addresses; run as root")
        if places[0] % self._huge:
            raise DmaMapError(size_bytes=len(view), detail=f"a huge page at 0x{places[0]:X} cannot be")
        follow = all(place == places[0] + index * self._huge for index, place in enumerate(places))
        return places[0] if follow else None


def _nothing() -> None:
    """Nothing has to be told to a device that reaches everything."""
