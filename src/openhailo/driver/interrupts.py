"""Interrupts: one message, one handler, many waiters (driver.md 5).

There is no thread of its own. Whoever waits for something and finds nobody doing so becomes the driver of the
interrupt: it waits for messages, runs the handler and wakes the others, until its own wish is fulfilled. So a
single-threaded program works, and so do several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from openhailo.bus.mmio import ALL_ONES
from openhailo.bus.protocols import Interrupts, Window
from openhailo.errors import DeviceLost, MalformedReply

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

_T = TypeVar("_T")

#: A healthy card settles in two rounds; this many without rest is a broken one.
_MAX_ROUNDS = 1000
_RETIRE_TIMEOUT_S = 1.0


class InterruptHub:
    """Owns the interrupt registers of BAR0."""

    def __init__(
        self,
        name: str,
        irq: Interrupts,
        window: Window,
        spec: ChipSpec,
        *,
        on_notification: Callable[[], None],
        clock: Callable[[], float],
        vendor_accesses: bool = False,
    ) -> None:
        registers, rules = spec.config, spec.interrupts
        self._name, self._irq, self._clock, self._exact = name, irq, clock, vendor_accesses
        self._read, self._write = window.read32, window.write32
        self._id_at, self._id_field = registers["DEVICE_ID"].offset, registers["DEVICE_ID"]["vendor"]
        self._vendor_id = spec.pci.vendor_id
        self._mask_at, self._status_at = registers["IMASK_HOST"].offset, registers["ISTATUS_HOST"].offset
        self._enable_mask, self._clear_all = rules.enable_mask, rules.clear_all
        status = registers["ISTATUS_HOST"]
        inputs = (1 << spec.vdma.host_to_device_channels) - 1
        outputs = (1 << spec.vdma.channels) - 1 & ~inputs
        #: (status bits, per-channel register, channels whose host side that is)
        self._sides = (
            (status["vdma_source"].mask, registers["SOURCE_INTERRUPT_PER_CHANNEL"].offset, inputs),
            (status["vdma_destination"].mask, registers["DESTINATION_INTERRUPT_PER_CHANNEL"].offset, outputs),
        )
        self._vdma_mask = self._sides[0][0] | self._sides[1][0]
        self._reset_mask = status["soft_reset_done"].mask
        self._boot_mask = status["boot_done_or_notification"].mask
        self._control_mask = status["control_response"].mask
        self._shutdown_mask = status["driver_shutdown_ack"].mask
        self._on_notification = on_notification
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._sleepers = 0
        self._driving = self._wake_sent = self._retired = False
        self._wakes = self._pending = 0
        #: Times the status register asked for something.
        self.interrupts = 0
        #: Channels whose events are wanted.
        self.enabled_channels = 0
        #: While firmware loads, bit 25 means "booted" and the channel bits are ignored (driver.md 2.4).
        self.booting = False
        #: How many of each arrived since the start.
        self.boots = self.soft_resets = self.control_answers = self.shutdowns = 0

    def check_alive(self) -> None:
        """Raise `DeviceLost` unless the id register shows the vendor (driver.md 1.1)."""
        word = self._read(self._id_at)
        if self._id_field.get(word) != self._vendor_id:
            raise DeviceLost(name=self._name, detail=f"its id register reads 0x{word:08X}")

    def enable(self) -> None:
        """Unmask first, then clear what is old (driver.md 5.2, 4.21 and later)."""
        mask = self._read(self._mask_at) | self._enable_mask
        self._write(self._mask_at, mask)
        self._write(self._status_at, self._clear_all)
        self._write(self._sides[1][1], self._clear_all)
        self._write(self._sides[0][1], self._clear_all)

    def disable(self) -> None:
        """Mask everything."""
        self._write(self._mask_at, 0)

    def wait(self, ready: Callable[[], _T], timeout_s: float, *, wakeable: bool = False) -> _T:
        """Wait until ``ready()`` is true and return it; after ``timeout_s`` return its last, false value.

        ``ready`` runs under the hub's lock. With ``wakeable`` a `wake` ends the wait early.
        """
        wakes = self._wakes
        deadline: float | None = None
        while True:
            with self._lock:
                result = ready()
                if result or self._retired or (wakeable and self._wakes != wakes):
                    return result
                now = self._clock()
                if deadline is None:
                    deadline, remaining = now + timeout_s, max(timeout_s, 0.0)
                else:
                    remaining = deadline - now
                    if remaining <= 0:
                        return result
                if self._driving:
                    self._sleep(remaining)
                    continue
                self._driving = True
            if self._drive(remaining):
                with self._lock:
                    return ready()

    def wait_for_answer(self, answers: int, timeout_s: float) -> bool:
        """Wait until another control answer than the first ``answers`` arrived."""
        return self.wait(lambda: self.control_answers != answers, timeout_s)

    def take_channels(self, bitmap: int) -> int:
        """Return and forget the pending channels of ``bitmap`` that are enabled; call it as a ``ready``."""
        hit = self._pending & bitmap & self.enabled_channels
        self._pending &= ~hit
        return hit

    def set_channels(self, enabled: int) -> None:
        """Change which channels are listened to; events of others are dropped."""
        with self._lock:
            self.enabled_channels = enabled
            self._pending &= enabled

    def wake(self) -> None:
        """Make wakeable waits of other threads return."""
        with self._lock:
            self._wakes += 1
            self._wake_sent = True
            self._condition.notify_all()
        self._irq.wake()

    def retire(self) -> None:
        """End every wait, now and later, and let the thread that waits for messages come home."""
        with self._lock:
            self._retired = True
        self.wake()
        with self._lock:
            self._sleepers += 1
            self._condition.wait_for(lambda: not self._driving, _RETIRE_TIMEOUT_S)
            self._sleepers -= 1

    def service(self) -> None:
        """Run the handler once (driver.md 5.3): until the status reads zero."""
        for _ in range(_MAX_ROUNDS):
            if self._exact or self.booting:
                self.check_alive()
            status = self._read(self._status_at)
            if not status:
                return
            if status == ALL_ONES:
                self.check_alive()
            self.interrupts += 1
            # The status is cleared before the per-channel registers, or an event in between would be lost.
            self._write(self._status_at, status)
            channels = 0
            if status & self._vdma_mask and not self.booting:
                for mask, register, candidates in self._sides:
                    if status & mask:
                        channels |= self._take_side(register, candidates & self.enabled_channels)
            self._dispatch(status, channels)
        raise MalformedReply(what="interrupt status", detail=f"0x{status:08X} does not clear")

    def _take_side(self, register: int, candidates: int) -> int:
        """Clear a per-channel register and return the channels that may have caused the interrupt.

        With one candidate there is nothing to find out, and the read is spared.
        """
        if candidates and not candidates & (candidates - 1) and not self._exact:
            self._write(register, self._clear_all)
            return candidates
        channels = self._read(register)
        if channels:
            self._write(register, channels)
        return channels

    def _dispatch(self, status: int, channels: int) -> None:
        is_boot_bit = bool(status & self._boot_mask)
        if is_boot_bit and not self.booting:
            self._on_notification()
        with self._lock:
            self._pending |= channels
            if status & ~self._vdma_mask:
                self.boots += is_boot_bit and self.booting
                self.soft_resets += bool(status & self._reset_mask)
                self.control_answers += bool(status & self._control_mask)
                self.shutdowns += bool(status & self._shutdown_mask)
            if self._sleepers:
                self._condition.notify_all()

    def _sleep(self, timeout_s: float) -> None:
        """Let the thread that waits for messages do the work; the lock is held and given up meanwhile."""
        self._sleepers += 1
        try:
            self._condition.wait(timeout_s)
        finally:
            self._sleepers -= 1

    def _drive(self, timeout_s: float) -> bool:
        """Wait for one message and handle it; True when the time is over.

        Without a message the status is looked at all the same: a message can be lost between clearing and unmasking
        (driver.md 8.2 row 9), and a card that left its bus shows here.
        """
        try:
            arrived = self._irq.wait(timeout_s)
            woken = False
            if not arrived:
                with self._lock:
                    woken, self._wake_sent = self._wake_sent, False
            # The kernel driver's handler runs for messages only.
            if arrived or not (woken or self._exact):
                self.service()
            return not arrived and not woken
        finally:
            with self._lock:
                self._driving = False
                if self._sleepers:
                    self._condition.notify_all()
