"""The in-process port: the twin as an ordinary PCI function (`openhailo.bus.protocols.PciFunction`)."""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Callable

import numpy as np

from openhailo._units import align_up
from openhailo.bus.protocols import DmaDirection
from openhailo.errors import DeviceLost, DmaMapError
from openhailo.twin.blocks import pci_config as pci
from openhailo.twin.chip import Chip
from openhailo.twin.hostmem import Bytes

PAGE = 4096
#: The first address handed out: above 4 GiB, so that a driver that loses the high half is caught.
FIRST_IOVA = 0x12_0000_0000
#: Largest alignment of an allocation: what a descriptor list needs, and huge pages.
_MAX_ALIGNMENT = 1 << 30


class TwinBuffer:
    """Memory that the twin reaches at ``iova``; implements `openhailo.bus.protocols.DmaBuffer`."""

    def __init__(self, dma: TwinDma, iova: int, view: memoryview, *, writable: bool) -> None:
        self.iova, self.size_bytes, self.view = iova, len(view), view
        self.bytes: Bytes = np.frombuffer(view, np.uint8)
        self.writable = writable
        self._dma = dma

    def close(self) -> None:
        """Take it away from the device. Idempotent."""
        self._dma.release(self)


class TwinDma:
    """Host memory as the twin sees it: an address space of its own, like the one an IOMMU gives.

    Implements `openhailo.bus.protocols.DmaSpace` for drivers and `openhailo.twin.hostmem.HostMemory` for the chip.
    Addresses are never used twice, and ranges never touch, so a stale or overrunning address is always noticed.
    """

    def __init__(self, lock: threading.RLock | None = None) -> None:
        self._lock = lock or threading.RLock()
        self._released: list[Callable[[], None]] = []
        self._starts: list[int] = []
        self._buffers: dict[int, TwinBuffer] = {}
        self._next = FIRST_IOVA
        self._last: TwinBuffer | None = None

    def __len__(self) -> int:
        return len(self._buffers)

    def alloc(self, size_bytes: int, *, alignment: int = PAGE) -> TwinBuffer:
        """Allocate zeroed, page-aligned memory."""
        if size_bytes < 1 or alignment < 1 or alignment & (alignment - 1) or alignment > _MAX_ALIGNMENT:
            raise DmaMapError(
                size_bytes=size_bytes,
                detail=f"needs a positive size, a power-of-two alignment up to 1 GiB, got {alignment}",
            )
        try:
            raw = np.zeros(size_bytes + PAGE, np.uint8)
        except MemoryError as error:
            raise DmaMapError(size_bytes=size_bytes, detail="out of memory") from error
        skip = -raw.ctypes.data % PAGE
        return self._register(raw[skip : skip + size_bytes].data, max(alignment, PAGE), writable=True)

    def map(self, buffer: memoryview, direction: DmaDirection) -> TwinBuffer:
        """Make the caller's buffer visible without a copy."""
        view = memoryview(buffer)
        if not view.c_contiguous or view.nbytes == 0:
            raise DmaMapError(size_bytes=view.nbytes, detail="the buffer is empty or not contiguous")
        writable = direction is not DmaDirection.TO_DEVICE
        if writable and view.readonly:
            raise DmaMapError(size_bytes=view.nbytes, detail=f"the buffer is read only, direction {direction.name}")
        return self._register(view.cast("B"), PAGE, writable=writable)

    def _register(self, view: memoryview, alignment: int, *, writable: bool) -> TwinBuffer:
        with self._lock:
            iova = align_up(self._next, alignment)
            self._next = align_up(iova + len(view), PAGE) + PAGE
            buffer = TwinBuffer(self, iova, view, writable=writable)
            insort(self._starts, iova)
            self._buffers[iova] = buffer
        return buffer

    def release(self, buffer: TwinBuffer) -> None:
        """Unregister ``buffer``; nothing happens if it already was."""
        with self._lock:
            if self._buffers.get(buffer.iova) is not buffer:
                return
            del self._buffers[buffer.iova]
            self._starts.remove(buffer.iova)
            self._last = None
            buffer.bytes = np.empty(0, np.uint8)
            for callback in self._released:
                callback()

    def release_all(self) -> None:
        """Unregister everything."""
        for buffer in list(self._buffers.values()):
            self.release(buffer)

    def on_release(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when a buffer is taken away."""
        self._released.append(callback)

    def view(self, iova: int, size_bytes: int, *, write: bool) -> Bytes | None:
        """Return the registered bytes at ``[iova, iova + size_bytes)``, or None."""
        buffer = self._last
        if buffer is None or not 0 <= iova - buffer.iova < buffer.size_bytes:
            place = bisect_right(self._starts, iova)
            if place == 0:
                return None
            buffer = self._last = self._buffers[self._starts[place - 1]]
        offset = iova - buffer.iova
        if offset + size_bytes > buffer.size_bytes or (write and not buffer.writable):
            return None
        return buffer.bytes[offset : offset + size_bytes]


class TwinWindow:
    """A BAR of the twin; implements `openhailo.bus.protocols.Window`."""

    def __init__(self, function: TwinFunction, bar: int) -> None:
        self._function, self._bar = function, bar
        self.size_bytes = function.chip.bar_size(bar)
        self._chip_read, self._chip_write = function.chip.bar_read, function.chip.bar_write

    def read32(self, offset: int) -> int:
        """Load the dword at ``offset``."""
        if self._function.closed:
            raise self._function.gone()
        return self._chip_read(self._bar, offset, 4)

    def write32(self, offset: int, value: int) -> None:
        """Store ``value`` at ``offset``."""
        if self._function.closed:
            raise self._function.gone()
        if not 0 <= value <= 0xFFFFFFFF:
            raise ValueError(f"0x{value:X} is not a dword")
        self._chip_write(self._bar, offset, 4, value)

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        """Load ``size_bytes`` as consecutive dwords."""
        _check_block(offset, size_bytes)
        words = np.fromiter(
            (self.read32(at) for at in range(offset, offset + size_bytes, 4)), dtype="<u4", count=size_bytes // 4
        )
        return words.tobytes()

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        """Store ``data`` as consecutive dwords."""
        _check_block(offset, len(data))
        for at, word in zip(range(offset, offset + len(data), 4), np.frombuffer(data, "<u4").tolist(), strict=True):
            self.write32(at, word)


def _check_block(offset: int, size_bytes: int) -> None:
    if offset & 3 or size_bytes & 3:
        raise ValueError(f"block of {size_bytes} bytes at 0x{offset:X} is not made of aligned dwords")


class TwinConfigSpace:
    """Configuration space of the twin; implements `openhailo.bus.protocols.ConfigSpace`."""

    def __init__(self, function: TwinFunction) -> None:
        self._function = function

    def read(self, offset: int, width: int) -> int:
        """Read ``width`` bytes at ``offset``."""
        if self._function.closed:
            raise self._function.gone()
        return self._function.chip.config_read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write ``width`` bytes at ``offset``."""
        if self._function.closed:
            raise self._function.gone()
        self._function.chip.config_write(offset, width, value)


class TwinInterrupts:
    """The function's message; the waiting thread is what runs the twin. Implements `bus.protocols.Interrupts`."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip

    def enable(self) -> None:
        """Switch MSI on (one vector)."""
        control = self._chip.config_read(pci.MSI_CONTROL, 2)
        self._chip.config_write(pci.MSI_CONTROL, 2, control | pci.MSI_ENABLE)

    def wait(self, timeout_s: float) -> bool:
        """Run the twin until a message arrives; True when at least one did since the last call."""
        return self._chip.loop.wait(self._chip.msi.take, timeout_s)

    def wake(self) -> None:
        """Make a concurrent or the next `wait` return early."""
        self._chip.loop.wake()

    def disable(self) -> None:
        """Switch MSI off. Idempotent."""
        control = self._chip.config_read(pci.MSI_CONTROL, 2)
        self._chip.config_write(pci.MSI_CONTROL, 2, control & ~pci.MSI_ENABLE & 0xFFFF)


class TwinFunction:
    """The twin as a PCI function; implements `openhailo.bus.protocols.PciFunction`."""

    def __init__(self, chip: Chip, dma: TwinDma, name: str) -> None:
        self.chip, self.dma, self.name = chip, dma, name
        self.closed = False
        self.config = TwinConfigSpace(self)
        self.irq = TwinInterrupts(chip)
        self._windows: dict[int, TwinWindow] = {}
        chip.msi.on_message(chip.loop.notify)

    def gone(self) -> DeviceLost:
        """Make the error for use after close."""
        return DeviceLost(name=self.name, detail="the function was closed")

    def window(self, bar: int) -> TwinWindow:
        """Return BAR ``bar``; the same object each time. A BAR the function does not have is a `DeviceLost`."""
        if bar not in self._windows:
            if all(b.index != bar for b in self.chip.spec.pci.bars):
                raise DeviceLost(name=self.name, detail=f"it has no BAR {bar}")
            self._windows[bar] = TwinWindow(self, bar)
        return self._windows[bar]

    def reset(self) -> None:
        """Function-level reset; command, device and link control are put back, as an operating system does."""
        saved = [(at, self.config.read(at, 2)) for at in (pci.DEVCTL, pci.PCIE + 0x10, pci.MSI_CONTROL, pci.COMMAND)]
        self.config.write(pci.DEVCTL, 2, saved[0][1] | pci.FUNCTION_RESET)
        for at, value in saved:
            self.config.write(at, 2, value)

    def close(self) -> None:
        """Stop messages and bus mastering, take all memory away from the chip. Idempotent."""
        if self.closed:
            return
        self.irq.disable()
        command = self.config.read(pci.COMMAND, 2)
        self.config.write(pci.COMMAND, 2, command & ~(pci.COMMAND_MASTER | pci.COMMAND_MEMORY) & 0xFFFF)
        with self.chip.loop.lock:
            self.dma.release_all()
            self.chip.msi.take()
            self.closed = True
        self.irq.wake()
