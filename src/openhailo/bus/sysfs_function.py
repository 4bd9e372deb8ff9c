"""A PCI function through the files that the kernel shows under ``/sys``: without VFIO, without an IOMMU.

The device can then read and write all memory of the machine (`openhailo.bus.physical`), and there are no interrupts.
"""

from __future__ import annotations

import logging
import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from openhailo.errors import AccessDenied, DeviceBusy, DeviceError, DeviceLost, OpenHailoError
from openhailo.spec.pci import CONFIG, PciIdentity

from .capabilities import forbid_no_snoop
from .message import MessageEvents
from .physical import PhysicalMemory
from .protocols import Window
from .regions import Bars, Region, RegionFile
from .syscalls import Kernel
from .sysfs import SYSFS, PciFunctionInfo

_log = logging.getLogger(__name__)
_CONFIG_BYTES: Final = 256
_COMMAND, _MASTER, _NO_INTX = 0x04, 0x0004, 0x0400
_VENDOR: Final = 0x00
#: Between two looks at the status: at once, then after twice as long each time, in seconds.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 50e-6, 1e-3


class PollingInterrupts:
    """Looks at the interrupt status instead of being told. Implements `openhailo.bus.protocols.Interrupts`.

    The status register does not depend on messages being switched on (driver.md 9, an inference there).
    """

    def __init__(self, status: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        """Take what reads the status register, and a clock in seconds."""
        self._status, self._clock = status, clock
        self._events = MessageEvents()

    def enable(self) -> None:
        """Do nothing: there is no message to switch on."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until the status asks for something, at most ``timeout_s``."""
        deadline, pause_s = self._clock() + timeout_s, _FIRST_PAUSE_S
        while True:
            if self._status():
                return True
            remaining_s = deadline - self._clock()
            if remaining_s <= 0 or self._events.wait(min(pause_s, remaining_s)):
                return False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def wake(self) -> None:
        """Make a concurrent or the next `wait` return early."""
        self._events.wake()

    def disable(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close the eventfds. Idempotent."""
        self._events.close()


class SysfsFunction:
    """Implements `openhailo.bus.protocols.PciFunction`."""

    def __init__(self, kernel: Kernel, info: PciFunctionInfo, root: Path = SYSFS) -> None:
        """Switch it on. Raises `DeviceBusy` (a driver has it), `AccessDenied`, `DeviceLost`, `DeviceError`."""
        self.name = f"pci:{info.address}"
        if info.driver:
            raise DeviceBusy(
                name=self.name,
                detail=f"the kernel driver {info.driver!r} has it; `openhailo bind none {info.address} --apply` takes "
                "it away from there",
            )
        self._kernel, self._info = kernel, info
        self._folder = root / "bus" / "pci" / "devices" / info.address
        self._closers: list[Callable[[], None]] = []
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._write("enable", "1")
        self._closers.append(lambda: self._write("enable", "0"))
        config = Region(-1, self._file("config"), _CONFIG_BYTES, 0, mappable=False)
        self.config = RegionFile(self._kernel, self.name, config)
        if self.config.read(_VENDOR, 2) != PciIdentity().vendor_id:
            raise DeviceLost(name=self.name, detail="its configuration space does not show its vendor")
        forbid_no_snoop(self.config)
        self.config.write(_COMMAND, 2, self.config.read(_COMMAND, 2) | _NO_INTX)
        self.dma = PhysicalMemory(self._kernel)
        self._closers.append(self.dma.close)
        self._bars = Bars(self._kernel, self.name, self._bar, self.config)
        self._closers.append(self._bars.close)
        registers = self._bars.window(PciIdentity().config_bar)
        status = CONFIG["ISTATUS_HOST"].offset
        self.irq = PollingInterrupts(lambda: registers.read32(status))
        self._closers += [self.irq.close, self._stop_mastering]

    def _file(self, name: str) -> int:
        try:
            fd = self._kernel.open(self._folder / name)
        except OSError as error:
            raise self._error(name, error) from error
        self._closers.append(lambda: self._kernel.close(fd))
        return fd

    def _write(self, name: str, text: str) -> None:
        try:
            self._kernel.write_attribute(self._folder / name, text)
        except OSError as error:
            raise self._error(name, error) from error

    def _error(self, name: str, error: OSError) -> OpenHailoError:
        path = self._folder / name
        if isinstance(error, PermissionError):
            return AccessDenied(
                name=str(path), hint="run as root; a locked-down kernel (Secure Boot) refuses it to all"
            )
        if isinstance(error, FileNotFoundError):
            return DeviceLost(name=self.name, detail=f"{path} does not exist")
        return DeviceError(f"{path} cannot be used: {error.strerror}; the kernel log says why")

    def _bar(self, bar: int) -> Region | None:
        """Return a BAR; one that does not start on a page lies inside the page that is mapped."""
        for index, address, size in self._info.bars:
            if index == bar:
                return Region(bar, self._file(f"resource{bar}"), size, address % mmap.PAGESIZE, mappable=True)
        return None

    def window(self, bar: int) -> Window:
        """Return BAR ``bar``; the same object each time. Raises `DeviceLost` for a BAR the function does not have."""
        return self._bars.window(bar)

    def reset(self) -> None:
        """Function-level reset, by the kernel. Raises `DeviceLost` where it knows no way to."""
        self._write("reset", "1")

    def _stop_mastering(self) -> None:
        self.config.write(_COMMAND, 2, self.config.read(_COMMAND, 2) & ~_MASTER)

    def close(self) -> None:
        """Stop DMA and release everything; what fails (the device may be gone) stops nothing. Idempotent."""
        while self._closers:
            try:
                self._closers.pop()()
            except (OpenHailoError, OSError, BufferError) as error:
                _log.debug("closing %s: %s", self.name, error)
