"""vDMA channels: transfers in flight, the doorbell of a channel, and completions (driver.md 6.5-6.8).

The firmware starts and stops channels (6.2); the host fills descriptors, moves "num available" and reads "num
processed". Positions are kept as ever-growing counts; a register shows them modulo the ring.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from openhailo.bus.mmio import ALL_ONES
from openhailo.bus.protocols import Window
from openhailo.errors import DeviceLost, InputError, QueueFull, StateError

from .buffers import PcieBuffer
from .descriptors import PcieDescriptorList, Ranges
from .link import DOMAIN_NONE, ChannelError, ChannelEvent

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec


class Channel:
    """The host half of one channel.

    A ring entry is (position after its last descriptor, ranges to copy back or None).
    """

    def __init__(self, index: int, window: Window, spec: ChipSpec, *, vendor_accesses: bool = False) -> None:
        rules, half = spec.vdma, spec.channel
        self._from_device = index >= rules.host_to_device_channels
        base = index * rules.channel_stride + (rules.destination_half_offset if self._from_device else 0)
        self.index, self._window, self._vendor_accesses = index, window, vendor_accesses
        self._max_transfers, self._max_buffers = rules.max_transfers_in_flight, rules.max_buffers_per_launch
        control = half["CONTROL_AVAIL"]
        self._control_at = base + control.offset
        self._start_mask = control["start"].mask
        self._available_shift = control["num_available"].lsb
        self._keep_mask = ALL_ONES & ~control["num_available"].mask
        processed = half["PROCESSED_ONGOING"]
        self._processed_at = base + processed.offset
        self._processed_shift = processed["num_processed"].lsb
        error = half["ERROR_ADDRESS_MID"]
        self._error_at, self._error_mask = base + error.offset, error["error"].mask
        self._lock = threading.Lock()
        self.enabled = False
        self.available = self.processed = self.completed_total = 0
        self._past_transfers = self._past_descriptors = 0
        self.reset()

    def reset(self) -> None:
        """Forget the list and all transfers (driver.md 6.8)."""
        dlist = getattr(self, "_list", None)
        if dlist is not None and not dlist.closed:
            dlist.forget()
            dlist.clear_status()
        self._list: PcieDescriptorList | None = None
        self._mask = 0
        self._past_transfers += self.completed_total
        self._past_descriptors += self.processed
        self.available = self.processed = self.completed_total = 0
        self._ring: deque[tuple[int, Ranges | None]] = deque()

    def enable(self) -> None:
        """Begin at descriptor 0."""
        with self._lock:
            self.reset()
            self.enabled = True

    def disable(self) -> None:
        """Drop every transfer. Idempotent."""
        with self._lock:
            self.enabled = False
            self.reset()

    @property
    def lifetime(self) -> tuple[int, int]:
        """Transfers and descriptors that completed since the link was opened."""
        return self._past_transfers + self.completed_total, self._past_descriptors + self.processed

    @property
    def from_device(self) -> bool:
        """Whether the device writes."""
        return self._from_device

    @property
    def in_flight(self) -> int:
        """Transfers that were launched and not yet harvested."""
        return len(self._ring)

    def launch(
        self, dlist: PcieDescriptorList, starting_desc: int, ranges: Ranges, bind: bool, first: int, last: int
    ) -> int:
        """Start one transfer; return its descriptors (driver.md 6.6)."""
        return self.launch_many(dlist, starting_desc, [ranges], bind, first, last)

    def launch_many(
        self,
        dlist: PcieDescriptorList,
        starting_desc: int,
        transfers: Sequence[Ranges],
        bind: bool,
        first: int,
        last: int,
    ) -> int:
        """Start several transfers with one write of the channel's register; return their descriptors.

        All of them are started, or none.
        """
        if not transfers:
            raise InputError(what="launch", detail="no transfer was given")
        with self._lock:
            if dlist is not self._list:
                self._adopt(dlist, transfers[0])
            begin, ring = self.available, self._ring
            if starting_desc != begin & self._mask:
                raise InputError(
                    what=f"channel {self.index}",
                    detail=f"launch at descriptor {starting_desc}, the ring stands at {begin & self._mask}",
                )
            before = len(ring)
            if before + len(transfers) > self._max_transfers:
                raise QueueFull(name=f"channel {self.index}", depth=before)
            word = self._running_word(begin)
            try:
                self._load_all(dlist, transfers, bind, first, last)
            except BaseException:
                self.available = begin
                while len(ring) > before:
                    ring.pop()
                raise
            available = self.available
            self._window.write32(
                self._control_at, (word & self._keep_mask) | (available & self._mask) << self._available_shift
            )
            return available - begin

    def launch_singly(
        self,
        dlist: PcieDescriptorList,
        starting_desc: int,
        transfers: Sequence[Ranges],
        bind: bool,
        first: int,
        last: int,
    ) -> int:
        """Start several transfers as the kernel driver does, with a write of the register for each."""
        used = 0
        for ranges in transfers:
            used += self.launch(dlist, (starting_desc + used) % dlist.count, ranges, bind, first, last)
        return used

    def _load_all(
        self, dlist: PcieDescriptorList, transfers: Sequence[Ranges], bind: bool, first: int, last: int
    ) -> None:
        """Fill the descriptors of ``transfers``, where they are not there since an earlier time, and queue them."""
        begin = self.available
        start = begin & self._mask
        known = dlist.known_launch(start, transfers, first, last) if bind else None
        if known is not None:
            self._check_space(known.ends[-1])
            self._ring.extend([(begin + end, None) for end in known.ends])
            self.available = begin + known.ends[-1]
            return
        for ranges in transfers:
            self._load(dlist, ranges, bind, first, last)
        if bind:
            dlist.remember_launch(start, transfers, first, last)

    def _load(self, dlist: PcieDescriptorList, ranges: Ranges, bind: bool, first: int, last: int) -> None:
        """Fill the descriptors of one transfer at the present position and queue it."""
        start = self.available & self._mask
        if len(ranges) == 1 and bind:
            buffer, offset, size_bytes = ranges[0]
            rows = dlist.rows_for_launch(buffer, offset, size_bytes, first, last)
            used = len(rows)
            self._check_space(used)
            dlist.load_rows(start, rows)
            copied = bool(buffer.bounces)
        else:
            used = self._load_many(dlist, start, ranges, bind, first, last)
            copied = any(buffer.bounces for buffer, _, _ in ranges)
        if copied and not self._from_device:
            for buffer, offset, size_bytes in ranges:
                buffer.to_device(offset, size_bytes)
        self.available += used
        self._ring.append((self.available, ranges if copied and self._from_device else None))

    def harvest(self) -> ChannelEvent | None:
        """Count what completed since the last call, oldest first (driver.md 6.7); None when nothing happened."""
        with self._lock:
            ring = self._ring
            if not ring:
                return None
            word = self._window.read32(self._processed_at)
            if self._vendor_accesses:
                self._window.read32(self._control_at)  # the kernel driver looks whether the channel still runs
            moved = ((word >> self._processed_shift) - self.processed) & self._mask
            if moved > self.available - self.processed:
                return self._overrun(word)
            reached = self.processed + moved
            completed = 0
            while ring and ring[0][0] <= reached:
                self.processed, copy_back = ring.popleft()
                for buffer, offset, size_bytes in copy_back or ():
                    buffer.from_device(offset, size_bytes)
                completed += 1
            self.completed_total += completed
            error = self._diagnose(reached, completed) if ring else ChannelError.NONE
            return ChannelEvent(self.index, completed, error) if completed or error else None

    def _overrun(self, word: int) -> ChannelEvent:
        """The engine claims more than it was given: a dead bus, or a channel that was restarted underneath."""
        if word == ALL_ONES:
            raise DeviceLost(name=f"channel {self.index}", detail="its registers read all ones")
        return ChannelEvent(self.index, 0, ChannelError.ENGINE)

    def _diagnose(self, reached: int, completed: int) -> ChannelError:
        """Look for an error while transfers remain.

        The descriptors around the position are in host memory and cost nothing to look at; the registers are read only
        when there was no progress at all.
        """
        dlist, mask = self._list, self._mask
        live = dlist is not None and not dlist.closed
        if live and dlist is not None and (dlist.has_error(reached & mask) or dlist.has_error((reached - 1) & mask)):
            return ChannelError.ENGINE
        if completed:
            return ChannelError.NONE
        if self._window.read32(self._error_at) & self._error_mask:
            return ChannelError.ENGINE
        running = self._window.read32(self._control_at) & self._start_mask
        return ChannelError.NONE if running else ChannelError.INACTIVE

    def _adopt(self, dlist: PcieDescriptorList, ranges: Ranges) -> None:
        if not self.enabled:
            raise StateError(
                what="launch", state=f"channel {self.index} is disabled", hint="call enable_channels first"
            )
        if not isinstance(dlist, PcieDescriptorList) or not all(isinstance(r[0], PcieBuffer) for r in ranges):
            raise InputError(what="launch", detail="the descriptor list or a buffer belongs to another kind of link")
        if self._list is not None:
            raise InputError(what=f"channel {self.index}", detail="launched with another descriptor list than before")
        if dlist.count & (dlist.count - 1) or dlist.count < 2:
            raise InputError(
                what=f"channel {self.index}", detail=f"{dlist.count} descriptors; a ring needs a power of two above 1"
            )
        self._list, self._mask = dlist, dlist.count - 1

    def _running_word(self, available: int) -> int:
        """Read dword 0 and check that the ring is the one we think it is (driver.md 6.6 step 3)."""
        word = self._window.read32(self._control_at)
        if self._vendor_accesses:
            # The kernel driver reads once to validate and once to modify.
            word = self._window.read32(self._control_at)
        seen = word >> self._available_shift
        if word & self._start_mask and seen == available & self._mask:
            return word
        if word == ALL_ONES:
            raise DeviceLost(name=f"channel {self.index}", detail="its registers read all ones")
        if not word & self._start_mask:
            raise StateError(
                what="launch",
                state=f"channel {self.index} is stopped",
                hint="activate the network first, or activate it again after an error",
            )
        raise StateError(
            what="launch",
            state=f"channel {self.index} stands at {seen} instead of {available & self._mask}",
            hint="somebody restarted it; disable and enable the channel",
        )

    def _check_space(self, used: int) -> None:
        # One descriptor stays free: equal positions mean "all done" (driver.md 6.6).
        if self.available + used - self.processed > self._mask:
            raise QueueFull(name=f"channel {self.index}", depth=len(self._ring))

    def _load_many(
        self, dlist: PcieDescriptorList, start: int, ranges: Ranges, bind: bool, first: int, last: int
    ) -> int:
        if not 1 <= len(ranges) <= self._max_buffers:
            raise InputError(what="launch", detail=f"{len(ranges)} buffers; 1 to {self._max_buffers} are possible")
        final = len(ranges) - 1
        domains = [(first if i == 0 else DOMAIN_NONE, last if i == final else DOMAIN_NONE) for i in range(final + 1)]
        for buffer, offset, size_bytes in ranges:
            dlist.check_range(buffer, offset, size_bytes)
        if bind:
            pieces = [dlist.rows_for_launch(*r, *d) for r, d in zip(ranges, domains, strict=True)]
            rows = np.concatenate(pieces)
            self._check_space(len(rows))
            dlist.load_rows(start, rows)
            return len(rows)
        self._check_space(sum(dlist.descriptors_of(size_bytes) for _, _, size_bytes in ranges))
        used = 0
        for (_, _, size_bytes), (head, tail) in zip(ranges, domains, strict=True):
            used += dlist.load_sizes((start + used) & self._mask, size_bytes, head, tail)
        return used
