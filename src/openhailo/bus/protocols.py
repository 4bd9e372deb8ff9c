"""How bytes reach a PCI function or a kernel driver: the interfaces that everything above is written against.

Implementations live beside this file (VFIO, sysfs) and in `openhailo.twin.ports` (the virtual chip); nothing above the
bus may ask which one it holds.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol, runtime_checkable


class DmaDirection(IntEnum):
    """Who writes a mapped buffer. Values: driver.md 7.4."""

    BOTH = 0
    TO_DEVICE = 1
    FROM_DEVICE = 2


@runtime_checkable
class Window(Protocol):
    """A BAR. Offsets and sizes are in bytes and 4-aligned; every access is one aligned 32-bit load or store."""

    size_bytes: int

    def read32(self, offset: int) -> int:
        """Load the dword at ``offset``."""
        ...

    def write32(self, offset: int, value: int) -> None:
        """Store ``value`` (0..2**32-1) at ``offset``."""
        ...

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        """Load ``size_bytes`` as consecutive dwords."""
        ...

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        """Store ``data`` as consecutive dwords."""
        ...


class DmaBuffer(Protocol):
    """Memory that the device reaches at ``[iova, iova + size_bytes)`` and the host through ``view``."""

    iova: int
    size_bytes: int
    view: memoryview

    def close(self) -> None:
        """Take it away from the device. The caller makes sure that nothing is in flight. Idempotent."""
        ...


class DmaSpace(Protocol):
    """The function's view of host memory."""

    def alloc(self, size_bytes: int, *, alignment: int = 4096) -> DmaBuffer:
        """Allocate zeroed memory, contiguous in the device's address space. Raises `DmaMapError`."""
        ...

    def map(self, buffer: memoryview, direction: DmaDirection) -> DmaBuffer:
        """Make the caller's contiguous byte buffer visible to the device without a copy. Raises `DmaMapError`.

        The caller keeps ``buffer`` alive until ``close``. A space that needs page alignment refuses other buffers.
        """
        ...


class Interrupts(Protocol):
    """Message-signalled interrupts of the function."""

    def enable(self) -> None:
        """Switch MSI on (one vector)."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait for a message; True when at least one arrived since the last call. Never longer than ``timeout_s``."""
        ...

    def wake(self) -> None:
        """Make a concurrent or the next `wait` return early (used to shut down)."""
        ...

    def disable(self) -> None:
        """Switch MSI off. Idempotent."""
        ...


class ConfigSpace(Protocol):
    """PCI configuration space; ``width`` is 1, 2 or 4 bytes."""

    def read(self, offset: int, width: int) -> int:
        """Read ``width`` bytes at ``offset``."""
        ...

    def write(self, offset: int, width: int, value: int) -> None:
        """Write ``width`` bytes at ``offset``."""
        ...


class PciFunction(Protocol):
    """One PCI function, owned exclusively until ``close``."""

    name: str
    config: ConfigSpace
    dma: DmaSpace
    irq: Interrupts

    def window(self, bar: int) -> Window:
        """Return BAR ``bar``; the same object each time."""
        ...

    def reset(self) -> None:
        """Function-level reset."""
        ...

    def close(self) -> None:
        """Release everything. Idempotent."""
        ...


@runtime_checkable
class DeviceFile(Protocol):
    """One open of the kernel driver's device node. Calls may block; several threads may be inside at once."""

    name: str

    @property
    def page_size(self) -> int:
        """Bytes of a page of the kernel that the driver runs in: 4096, or 16384 on a Raspberry Pi 5."""
        ...

    def ioctl(self, request: int, argument: bytearray) -> int:
        """Make one request; the driver reads and writes ``argument`` in place, which has the size the request names.

        Returns what the driver returns, which is a count for some requests. Raises ``OSError`` with the driver's errno;
        a call that a signal interrupted is ``EINTR``.
        """
        ...

    def mmap(self, length: int, offset: int) -> memoryview:
        """Map ``length`` bytes of the buffer whose handle is ``offset``, shared and writable. Raises ``OSError``."""
        ...

    def is_alive(self) -> bool:
        """Tell whether the driver finds the card alive, which it checks when its node is opened (driver.md 1.3)."""
        ...

    def close(self) -> None:
        """Give up the open. No call may be inside. Idempotent."""
        ...
