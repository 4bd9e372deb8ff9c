"""The driver's interrupt handler, and switching interrupts on and off (driver.md 4.1, 5)."""

from __future__ import annotations

from collections.abc import Callable

from .channels import Channels
from .registers import ACCESS_BAR, CONFIG_BAR, Registers
from .releases import Release

MASK, STATUS, SOURCE, DESTINATION = 0x188, 0x18C, 0x400, 0x500
CLEAR = 0xFFFFFFFF
SOURCE_BITS, DESTINATION_BITS = 0x000000FF, 0x0000FF00
SOFT_RESET, BOOT_OR_NOTIFICATION, CONTROL, SHUTDOWN = 1 << 24, 1 << 25, 1 << 26, 1 << 27
NOTIFICATION, MAX_NOTIFICATION = 0xC80, 1500
#: A status that never becomes zero is a broken chip; a kernel would be stuck there.
MAX_ROUNDS = 1000


class Interrupts:
    """What the handler knows: completions for those who wait, and the last notification.

    Args:
        on_notification: called when the cached notification changed.
    """

    def __init__(
        self, registers: Registers, release: Release, channels: Channels, on_notification: Callable[[], None]
    ) -> None:
        self._registers, self._release, self._channels = registers, release, channels
        self._on_notification = on_notification
        self.booting = False
        self.soft_reset_done = self.boot_done = self.control_done = self.shutdown_done = False
        #: The board's single cached notification: length and bytes; a new one overwrites the old (4.1).
        self.notification_length = 0
        self.notification = bytearray(MAX_NOTIFICATION)

    def enable(self) -> None:
        """Unmask and clear, in the order of the release (5.2)."""
        if self._release.mask_first:
            self._unmask()
        for offset in (STATUS, DESTINATION, SOURCE):
            self._registers.write32(CONFIG_BAR, offset, CLEAR)
        if not self._release.mask_first:
            self._unmask()

    def _unmask(self) -> None:
        mask = self._registers.read32(CONFIG_BAR, MASK)
        self._registers.write32(CONFIG_BAR, MASK, mask | self._release.mask)

    def disable(self) -> None:
        """Mask everything."""
        self._registers.write32(CONFIG_BAR, MASK, 0)

    def handle(self) -> None:
        """Do what an interrupt message asks for (5.3)."""
        registers = self._registers
        for _ in range(MAX_ROUNDS):
            if not registers.is_connected():
                return
            status = registers.read32(CONFIG_BAR, STATUS)
            if not status:
                return
            registers.write32(CONFIG_BAR, STATUS, status)
            bitmap = self._take(status & SOURCE_BITS, SOURCE) | self._take(status & DESTINATION_BITS, DESTINATION)
            if self.booting and self._release.reloads:
                self._boot_phase(status)
                continue
            self._act(status)
            if bitmap:
                self._channels.interrupted(bitmap)

    def _take(self, group: int, offset: int) -> int:
        """Read and clear a per-channel register if its group has something."""
        if not group:
            return 0
        bitmap = self._registers.read32(CONFIG_BAR, offset)
        if bitmap or not self._release.clears_set_bits_only:
            self._registers.write32(CONFIG_BAR, offset, bitmap)
        return bitmap

    def _boot_phase(self, status: int) -> None:
        """While firmware is loaded, 4.20 and later look at nothing else (2.4)."""
        self.soft_reset_done |= bool(status & SOFT_RESET)
        self.boot_done |= bool(status & BOOT_OR_NOTIFICATION)

    def _act(self, status: int) -> None:
        self.control_done |= bool(status & CONTROL)
        self.shutdown_done |= bool(status & SHUTDOWN)
        if not status & BOOT_OR_NOTIFICATION:
            return
        if not self._release.reloads and not self.boot_done:
            self.boot_done = True  # up to 4.19 the first one is taken for the boot, whatever it is (4.1)
        else:
            self._read_notification()

    def _read_notification(self) -> None:
        header = self._registers.read_block(ACCESS_BAR, NOTIFICATION, 4)
        in_use, length = int.from_bytes(header[:2], "little"), int.from_bytes(header[2:], "little")
        if not in_use or length > MAX_NOTIFICATION:
            return
        self.notification[:length] = self._registers.read_block(ACCESS_BAR, NOTIFICATION + 4, length)
        self.notification_length = length
        self._registers.clear16(ACCESS_BAR, NOTIFICATION)
        self._on_notification()
