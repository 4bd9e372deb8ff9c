"""MSI by eventfd, and what else the kernel wants to say about the device."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from openhailo.bus.message import MessageEvents
from openhailo.errors import DeviceError, DeviceLost
from openhailo.spec.vfio import Irq

from .requests import DeviceRequests

#: What the other eventfds mean.
_NOTICES: Final = {
    Irq.ERROR: "the bus reported an error of it that cannot be corrected",
    Irq.REQUEST: "the kernel wants it back (it is being unplugged or unbound)",
}


class VfioInterrupts:
    """Implements `openhailo.bus.protocols.Interrupts`.

    An error of the bus, and the kernel's wish to have the device back, end every wait with `DeviceLost`: the owner is
    to close the function, which the kernel waits for.
    """

    def __init__(self, device: DeviceRequests) -> None:
        """Ask to be told of errors and of removal. Raises `DeviceError` for a function without MSI."""
        self._device = device
        if not device.irq_count(Irq.MSI):
            raise DeviceError(f"{device.name} has no MSI; check what card it is")
        self._events = MessageEvents()
        self._enabled = False
        #: Why the device is lost; empty while it is not.
        self.lost = ""
        self._notices: dict[int, Irq] = {}
        try:
            for irq in _NOTICES:
                if device.irq_count(irq):
                    fd = self._events.watch()
                    device.set_irq(irq, [fd])
                    self._notices[fd] = irq
        except BaseException:
            self._events.close()
            raise

    def enable(self) -> None:
        """Switch MSI on (one vector)."""
        self._device.set_irq(Irq.MSI, [self._events.message])
        self._enabled = True

    def wait(self, timeout_s: float) -> bool:
        """Wait for a message; True when at least one arrived since the last call. Raises `DeviceLost`."""
        if self.lost:
            raise DeviceLost(name=self._device.name, detail=self.lost)
        ready = self._events.wait(timeout_s)
        if self._notices.keys() & ready:
            self._note(ready)
            raise DeviceLost(name=self._device.name, detail=self.lost)
        return self._events.message in ready

    def _note(self, ready: set[int]) -> None:
        self.lost = "; ".join(_NOTICES[irq] for fd, irq in self._notices.items() if fd in ready)

    def poll(self) -> bool:
        """Look, without waiting, whether the kernel announced that the device is lost or has to go."""
        if not self.lost:
            ready = self._events.peek(self._notices)
            if ready:
                self._note(ready)
        return bool(self.lost)

    def wake(self) -> None:
        """Make a concurrent or the next `wait` return early."""
        self._events.wake()

    def disable(self) -> None:
        """Switch MSI off. Idempotent."""
        if self._enabled:
            self._enabled = False
            self._device.set_irq(Irq.MSI, [])

    def close(self) -> None:
        """Switch everything off as far as the device is still there. Idempotent."""
        for irq in self._notices.values():
            with suppress(DeviceError):
                self._device.set_irq(irq, [])
        self._notices.clear()
        with suppress(DeviceError):
            self.disable()
        self._events.close()
