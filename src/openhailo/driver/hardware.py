"""The chip as a PCI function has it: windows, DMA, interrupts, mailbox, channels; and how all that is made quiet."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from openhailo.bus.protocols import PciFunction
from openhailo.errors import OpenHailoError
from openhailo.spec.chip import ChipSpec

from . import pci_config
from .buffers import DmaArena
from .interrupts import InterruptHub
from .mailbox import Mailbox
from .notifications import NotificationBox
from .vdma import Channel

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkOptions:
    """How a `PcieLink` behaves.

    ``reload_running``: firmware that runs already is restarted when an image is given (as the kernel driver does since
    4.20); otherwise it is used as it is. ``vendor_accesses``: make exactly the register accesses of the kernel driver
    4.23, also where fewer would do. ``announce_shutdown``: tell the firmware that the host leaves (the kernel driver
    does so only after somebody used the device for networks). ``clock`` and ``pause`` are seconds, for tests.
    """

    board_config: bytes = b""
    firmware_config: bytes = b""
    reload_running: bool = True
    vendor_accesses: bool = False
    announce_shutdown: bool = True
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


class Hardware:
    """Everything that must be made quiet at the end; knows nothing of the link, so that it can outlive it."""

    def __init__(self, function: PciFunction, spec: ChipSpec, options: LinkOptions) -> None:
        self.function, self.spec, self._options = function, spec, options
        self.arena = DmaArena(function.dma)
        self.config, self.vdma, self.window = (
            function.window(bar) for bar in (spec.pci.config_bar, spec.pci.vdma_bar, spec.pci.fw_access_bar)
        )
        self.window_lock = threading.RLock()
        self.notifications = NotificationBox(self.window, self.window_lock, spec)
        self.hub = InterruptHub(
            function.name,
            function.irq,
            self.config,
            spec,
            on_notification=self.notifications.collect,
            clock=options.clock,
            vendor_accesses=options.vendor_accesses,
        )
        self.mailbox = Mailbox(
            function.name,
            (self.config, self.window),
            self.window_lock,
            self.hub,
            spec,
            clock=options.clock,
            vendor_accesses=options.vendor_accesses,
        )
        self.channels = [
            Channel(index, self.vdma, spec, vendor_accesses=options.vendor_accesses)
            for index in range(spec.vdma.channels)
        ]

    def shut_down(self) -> None:
        """Leave the chip quiet whatever state it is in; no step keeps the next from being made."""
        steps: tuple[Callable[[], None], ...] = (
            self._disable_channels,
            self._announce_shutdown,
            self.hub.disable,
            self.hub.retire,
            self.function.irq.disable,
            lambda: pci_config.stop_mastering(self.function.config),
            self.arena.close,
            self.function.close,
        )
        with contextlib.ExitStack() as stack:
            for step in reversed(steps):
                stack.callback(self._try, step)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (OpenHailoError, OSError) as error:
            _log.debug("closing %s: %s", self.function.name, error)

    def _disable_channels(self) -> None:
        self.hub.set_channels(0)
        for channel in self.channels:
            channel.disable()

    def _announce_shutdown(self) -> None:
        """Have the firmware close its channels before their memory goes away (driver.md 8.2 row 17)."""
        options = self._options
        if not options.announce_shutdown or not (options.vendor_accesses or self.mailbox.is_firmware_running()):
            return
        before = self.hub.shutdowns
        self.window.write32(self.spec.mailbox.doorbell, self.spec.doorbell.driver_shutdown)
        if not self.hub.wait(lambda: self.hub.shutdowns != before, self.spec.limits.shutdown_timeout_s):
            _log.debug("%s does not acknowledge the shutdown", self.function.name)
