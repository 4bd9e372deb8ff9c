"""The PCI function that VFIO gives to this process alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from openhailo.bus.capabilities import forbid_no_snoop
from openhailo.bus.physical import PhysicalMemory
from openhailo.bus.protocols import DmaSpace, Window
from openhailo.bus.regions import Bars
from openhailo.bus.syscalls import Kernel
from openhailo.errors import OpenHailoError

from .dma import VfioDma
from .interrupts import VfioInterrupts
from .iommu import OpenedDevice
from .requests import DeviceRequests

_log = logging.getLogger(__name__)
_COMMAND, _COMMAND_MASTER = 0x04, 0x4


class ClosableDma(DmaSpace, Protocol):
    """Memory that can be taken back as a whole."""

    def close(self) -> None:
        """Take all memory away from the device. Idempotent."""
        ...


class VfioFunction:
    """Implements `openhailo.bus.protocols.PciFunction`. The kernel resets the function when it is opened and closed."""

    def __init__(
        self,
        kernel: Kernel,
        opened: OpenedDevice,
        name: str,
        *,
        excluded: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Take over ``opened``, also when this raises: `DeviceError`, `DeviceLost`, `MalformedReply`.

        ``excluded`` are bus addresses (start, size) that memory must not be put at.
        """
        self.name, self.way = name, opened.way
        self._kernel, self._opened = kernel, opened
        self._closers: list[Callable[[], None]] = [opened.close, lambda: kernel.close(opened.fd)]
        try:
            self._device = DeviceRequests(kernel, opened.fd, name)
            self.config = self._device.config()
            forbid_no_snoop(self.config)
            self._bars = Bars(kernel, name, self._device.bar, self.config)
            self._closers.append(self._bars.close)
            self.dma: ClosableDma = (
                PhysicalMemory(kernel) if opened.iommu is None else VfioDma(kernel, opened.iommu, excluded)
            )
            self._closers.append(self.dma.close)
            self._closers.append(self._stop_mastering)
            self.irq = VfioInterrupts(self._device)
            self._closers.append(self.irq.close)
        except BaseException:
            self.close()
            raise

    def window(self, bar: int) -> Window:
        """Return BAR ``bar``; the same object each time. Raises `DeviceLost` for a BAR the function does not have."""
        return self._bars.window(bar)

    def reset(self) -> None:
        """Function-level reset; the kernel puts configuration space and messages back. Raises `DeviceError`."""
        self._device.reset()

    @property
    def lost(self) -> bool:
        """Whether the kernel announced that the device failed or has to be given back: close it then."""
        return self.irq.poll()

    def _stop_mastering(self) -> None:
        """No DMA may be on its way when memory is taken back."""
        self.config.write(_COMMAND, 2, self.config.read(_COMMAND, 2) & ~_COMMAND_MASTER)

    def close(self) -> None:
        """Release everything, last things first; what fails (the device may be gone) stops nothing. Idempotent."""
        while self._closers:
            try:
                self._closers.pop()()
            except (OpenHailoError, OSError, BufferError) as error:
                _log.debug("closing %s: %s", self.name, error)
