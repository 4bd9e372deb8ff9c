"""The driver's state of the vDMA channels: launch, completion, enable, disable (driver.md 6.6-6.8)."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from openhailo.twin.violation import TwinViolation

from .descriptors import Span, add_first_bits, program, restore, succeeded
from .memory import DescriptorList, MappedBuffer
from .registers import Registers, failure
from .releases import Release

CHANNELS = 32
MAX_ONGOING, MAX_TIMESTAMPS = 127, 255


@dataclass(frozen=True)
class Transfer:
    """A launched transfer. The list and the buffers are only borrowed (driver.md 8.1 row 10)."""

    last: int
    dirty: tuple[int, ...]
    buffers: tuple[MappedBuffer, ...]
    debug: bool


class ChannelState:
    """What the driver remembers of one channel."""

    def __init__(self) -> None:
        self.enabled = self.measures = False
        self.timestamps: deque[tuple[int, int]] = deque()
        self.descriptors: DescriptorList | None = None
        self.num_available = self.num_processed = 0
        self.ongoing: deque[Transfer] = deque()

    def forget(self) -> None:
        """Counters to 0, no list; descriptors of transfers in flight are restored."""
        while self.ongoing:
            self.clean(self.ongoing.popleft())
        self.descriptors = None
        self.num_available = self.num_processed = 0

    def clean(self, transfer: Transfer) -> None:
        """Restore the descriptors that ``transfer`` changed."""
        descriptors = self.descriptors
        assert descriptors is not None
        if descriptors.closed:
            raise TwinViolation("a released descriptor list is still in flight: the kernel uses freed memory")
        for index in transfer.dirty:
            restore(descriptors, index)


@dataclass(frozen=True)
class ChannelReport:
    """What a wait says of one channel; ``processed`` is the masked hardware counter."""

    channel: int
    completed: int
    processed: int
    active: bool
    host_error: int
    device_error: int
    valid: bool


class Channels:
    """All channels of a board. Every method needs the board's lock."""

    def __init__(
        self, registers: Registers, release: Release, *, segment_bytes: int, now_ns: Callable[[], int]
    ) -> None:
        self._registers, self._release = registers, release
        self._segment_bytes, self._now_ns = segment_bytes, now_ns
        self.states = [ChannelState() for _ in range(CHANNELS)]
        self.pending = 0

    @property
    def enabled(self) -> int:
        """Bitmap of the enabled channels."""
        return sum(1 << n for n, state in enumerate(self.states) if state.enabled)

    # --- enable and disable -------------------------------------------------------------------------------------------

    def enable(self, bitmap: int, *, measure: bool) -> None:
        """Enable channels; EINVAL if anybody has one of them already."""
        if self.enabled & bitmap:
            raise failure(errno.EINVAL, f"channels 0x{self.enabled & bitmap:08X} are enabled already")
        for state in self._chosen(bitmap):
            state.enabled, state.measures = True, measure
            state.timestamps.clear()
        self._mask_groups()

    def disable(self, bitmap: int) -> None:
        """Disable channels and forget what was in flight; up to 4.18 all channels forget.

        GUESS: pending bits are dropped for the given channels only, also up to 4.18 (6.8 does not say).
        """
        if self._release.family == "A" and bitmap & ~self.enabled:
            raise failure(errno.EINVAL, f"channels 0x{bitmap & ~self.enabled:08X} are not enabled")
        for state in self._chosen(bitmap):
            state.enabled = False
        self._mask_groups()
        for state in self.states if self._release.wipes_all_channels else self._chosen(bitmap):
            state.forget()
        self.pending &= ~bitmap

    def _chosen(self, bitmap: int) -> Iterable[ChannelState]:
        return (state for n, state in enumerate(self.states) if bitmap >> n & 1)

    def _mask_groups(self) -> None:
        """Up to 4.20.1 the interrupt mask has a bit per four enabled channels (5.1, 5.2)."""
        if not self._release.masks_channels:
            return
        groups = 0
        for n in range(CHANNELS):
            if self.states[n].enabled:
                groups |= 1 << n // 4 + (0 if n < 16 else 8)
        mask = self._registers.read32(0, 0x188)
        self._registers.write32(0, 0x188, mask & ~0xFFFF | groups)

    # --- launch -------------------------------------------------------------------------------------------------------

    def launch(
        self, channel: int, descriptors: DescriptorList, start: int, spans: Sequence[Span], first_domain: int
    ) -> int:
        """Program ``spans`` and move num available; return the number of descriptors.

        From 4.18 on a span that cannot be programmed does not end the launch: its negative errno counts as descriptors,
        num available moves all the same, and the result is negative (driver.md 8.1 row 14). Raises `OSError`.
        """
        state = self.states[channel]
        if not descriptors.count:
            raise TwinViolation(
                "a list of 0 descriptors is launched: the kernel divides by zero (driver.md 8.1 row 11)"
            )
        self._check(state, channel, descriptors, start, spans)
        mask, at, dirty = descriptors.mask, start, []
        total = 0
        for span in spans:
            count = self._program(descriptors, at, span)
            dirty += [at, (at + count - 1) & mask]
            at = (at + count) & mask
            total += count
        if first_domain:
            add_first_bits(descriptors, start, first_domain, debug=any(span.debug for span in spans))
        if len(state.ongoing) >= MAX_ONGOING:
            raise failure(errno.EFAULT, f"channel {channel} has {MAX_ONGOING} transfers in flight")
        last = (start + total - 1) & mask
        buffers = tuple(span.buffer for span in spans)
        state.ongoing.append(Transfer(last, tuple(dirty), buffers, any(span.debug for span in spans)))
        state.num_available = (last + 1) % descriptors.count
        self._registers.set_num_available(channel, state.num_available)
        return total

    def _check(
        self, state: ChannelState, channel: int, descriptors: DescriptorList, start: int, spans: Sequence[Span]
    ) -> None:
        """Steps 2-6 of 6.6."""
        if state.descriptors is None:
            state.descriptors = descriptors
        if state.descriptors is not descriptors:
            raise failure(errno.EINVAL, f"channel {channel} has another descriptor list")
        if self._release.checks_channel:
            self._check_hardware(state, channel, errno.ECONNRESET)
        if start != state.num_available:
            raise failure(errno.EFAULT, f"starts at {start}, the channel is at {state.num_available}")
        if not self._release.checks_channel and any(span.debug for span in spans):
            self._check_hardware(state, channel, errno.EBUSY)

    def _check_hardware(self, state: ChannelState, channel: int, inactive: int) -> None:
        control, available = self._registers.channel_control(channel)
        if not control & 1:
            raise failure(inactive, f"channel {channel} is not running")
        if available != state.num_available:
            raise failure(errno.EFAULT, f"num available is {available}, the driver left {state.num_available}")

    def _program(self, descriptors: DescriptorList, at: int, span: Span) -> int:
        try:
            return program(descriptors, at, span, self._release, self._segment_bytes)
        except OSError as error:
            if not self._release.checks_channel:
                raise
            return -(error.errno or 0)

    # --- completion ---------------------------------------------------------------------------------------------------

    def interrupted(self, bitmap: int) -> None:
        """The interrupt handler saw ``bitmap``: note the time where it is measured, and who has to be told.

        GUESS: the counter is noted as the hardware shows it, and a full ring drops the newest (driver.md 6.4, 7.5).
        """
        for n in range(CHANNELS):
            state = self.states[n]
            if bitmap >> n & 1 and state.enabled and state.measures and len(state.timestamps) < MAX_TIMESTAMPS:
                state.timestamps.append((self._now_ns(), self._registers.num_processed(n)))
        self.pending |= bitmap

    def is_due(self, requested: int) -> bool:
        """Tell whether a wait for ``requested`` returns: something is pending, or a channel is not enabled."""
        return bool(requested & (self.pending | ~self.enabled))

    def collect(self, requested: int) -> list[ChannelReport]:
        """Complete what is done on the requested, enabled, pending channels (6.7)."""
        chosen = requested & self.pending & self.enabled
        self.pending &= ~chosen
        reports = []
        valid = True
        for n in range(CHANNELS):
            if not chosen >> n & 1 or self.states[n].descriptors is None:
                continue
            report = self._complete(n)
            valid = report.valid and (valid or not self._sticky)
            reports.append(report if report.valid == valid else _invalid(report))
        return reports

    @property
    def _sticky(self) -> bool:
        """Up to 4.20.1 one failed transfer spoils what a wait says of all later channels."""
        return self._release.family in "AB"

    def _complete(self, channel: int) -> ChannelReport:
        state, registers = self.states[channel], self._registers
        descriptors = state.descriptors
        assert descriptors is not None
        processed = registers.num_processed(channel) & descriptors.mask
        completed, valid = 0, True
        while state.ongoing and _is_done(state, state.ongoing[0], processed):
            transfer = state.ongoing.popleft()
            valid &= not transfer.debug or succeeded(descriptors, transfer.last)
            if any(buffer.closed for buffer in transfer.buffers):
                raise TwinViolation(f"channel {channel}: a buffer was unmapped in flight: the kernel uses freed memory")
            state.clean(transfer)
            state.num_processed = (transfer.last + 1) & descriptors.mask
            completed += 1
        active, errors = self._health(channel, valid)
        return ChannelReport(channel, completed, processed, active, *errors, valid)

    def _health(self, channel: int, valid: bool) -> tuple[bool, tuple[int, int]]:
        """Return whether the channel is active, and its host and device error bytes (6.7).

        GUESS: the order of the reads up to 4.20.1; "active" is control bit 0, as at a launch.
        """
        registers = self._registers
        active = registers.is_running(channel, host=True)
        if self._sticky:
            active = registers.is_running(channel, host=False) and active
        if not self._sticky and valid:
            return active, (0, 0)
        return active, (registers.channel_error(channel, host=True), registers.channel_error(channel, host=False))

    def drain_timestamps(self, channel: int) -> list[tuple[int, int]]:
        """Return and forget what was measured on ``channel``: (nanoseconds, num processed)."""
        stamps = list(self.states[channel].timestamps)
        self.states[channel].timestamps.clear()
        return stamps


def _is_done(state: ChannelState, transfer: Transfer, processed: int) -> bool:
    if state.num_available == processed:
        return True
    if state.num_processed <= processed:
        return state.num_processed <= transfer.last < processed
    return transfer.last >= state.num_processed or transfer.last < processed


def _invalid(report: ChannelReport) -> ChannelReport:
    return ChannelReport(
        report.channel,
        report.completed,
        report.processed,
        report.active,
        report.host_error,
        report.device_error,
        valid=False,
    )
