"""BAR0: identity, interrupt status and mask, per-channel interrupts, address translation (driver.md 2.1, 5, 10.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from openhailo.twin.observe import Observers
from openhailo.twin.regfile import RegisterFile

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec


class ConfigBlock:
    """The registers of BAR0.

    Status bits are latched: they stay until the host writes one to them, whatever the mask says (driver.md 12 rows 4
    and 5 leave that open). A message goes out when (status & mask) becomes non-zero or gains a bit.
    """

    def __init__(self, spec: ChipSpec, *, send_message: Callable[[], None], observers: Observers) -> None:
        block = spec.config
        self._regs = RegisterFile(block, narrow_reads=("DEVICE_ID",))
        self.values = self._regs.values
        self._send_message = send_message
        self._observers = observers
        self._mask_at = block["IMASK_HOST"].offset
        self._status_at = block["ISTATUS_HOST"].offset
        self._active = 0
        self._acknowledged: Callable[[], None] = lambda: None
        status = block["ISTATUS_HOST"]
        self.soft_reset_done = status["soft_reset_done"].mask
        self.boot_done = status["boot_done_or_notification"].mask
        self.notification = self.boot_done
        self.control_response = status["control_response"].mask
        self.shutdown_ack = status["driver_shutdown_ack"].mask
        self._channel_bits = self._lay_out_channels(spec)
        self._regs.on_write(self._mask_at, self._masked)
        self._regs.on_write(self._status_at, self._cleared)
        self.read = self._regs.read
        self.write = self._regs.write

    @staticmethod
    def _lay_out_channels(spec: ChipSpec) -> tuple[tuple[int, int, int], ...]:
        """Per channel: offset of its per-channel register, its bit there, its bit in the status register (5.1)."""
        block, rules = spec.config, spec.interrupts
        status = block["ISTATUS_HOST"]
        sides = (
            (block["SOURCE_INTERRUPT_PER_CHANNEL"].offset, status["vdma_source"]),
            (block["DESTINATION_INTERRUPT_PER_CHANNEL"].offset, status["vdma_destination"]),
        )
        laid = []
        for channel in range(spec.vdma.channels):
            offset, group = sides[channel >= rules.source_channels]
            laid.append((offset, 1 << channel, group.put(1 << channel // rules.channels_per_status_bit)))
        return tuple(laid)

    def on_atr_write(self, offset: int, hook: Callable[[int, int], None]) -> None:
        """Call ``hook`` after each host write of an address translation register."""
        self._regs.on_write(offset, hook)

    def on_acknowledge(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` after the host cleared status bits."""
        self._acknowledged = hook

    def reset(self) -> None:
        """Back to power-on values."""
        self._regs.reset()
        self._active = 0

    @property
    def status(self) -> int:
        """The latched interrupt status."""
        return self.values[self._status_at]

    def raise_status(self, bits: int, channel: int | None = None) -> None:
        """Set interrupt status ``bits`` and send a message if the mask lets them through."""
        values = self.values
        values[self._status_at] |= bits
        if self._observers.watched:
            self._observers.report("interrupt", {"bits": bits, "channel": channel})
        active = values[self._status_at] & values[self._mask_at]
        if active & ~self._active:
            self._active = active
            self._send_message()

    def raise_channel(self, channel: int) -> None:
        """Set the interrupt of ``channel``: its own bit first, then its group's status bit."""
        offset, own, group = self._channel_bits[channel]
        self.values[offset] |= own
        self.raise_status(group, channel)

    def _masked(self, _written: int, stored: int) -> None:
        active = self.values[self._status_at] & stored
        gained = active & ~self._active
        self._active = active
        if gained:
            self._send_message()

    def _cleared(self, _written: int, stored: int) -> None:
        self._active = stored & self.values[self._mask_at]
        self._acknowledged()
