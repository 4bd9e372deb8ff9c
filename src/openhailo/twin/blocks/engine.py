"""The vDMA engine: executes transfers on a channel's descriptors (driver.md 6.3, 10.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from openhailo.twin.board import ChannelFault
from openhailo.twin.faults import Faults
from openhailo.twin.hostmem import Bytes, HostMemory
from openhailo.twin.observe import Observers

from .channel import Channel, ChannelLayout
from .frames import FramePlanner, Frames
from .ring import ERRORS, DescriptorError, Mover, Run, Words

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

#: The host splits a frame into at most this many buffers, each of which may end in a short descriptor.
_EXTRA_DESCRIPTORS = 8
#: Up to this many descriptors a plain loop beats array operations.
FEW = 6

#: Descriptors as lists of dwords.
Rows = list[list[int]]
#: What a transfer uses: few descriptors themselves, one stretch of memory, or a number of descriptors.
Plan = Rows | Run | int


class Engine:
    """Plans and executes transfers, and stops channels that fail.

    Args:
        regs: the dwords of BAR2, for the error byte.
        memory, may_master, raise_channel, faults, observers: as for `VdmaBlock`.
    """

    def __init__(
        self,
        spec: ChipSpec,
        layout: ChannelLayout,
        regs: list[int],
        *,
        memory: HostMemory,
        may_master: Callable[[], bool],
        raise_channel: Callable[[int], None],
        faults: Faults,
        observers: Observers,
    ) -> None:
        self._layout, self._regs = layout, regs
        self.mover = Mover(spec, memory)
        self.format = self.mover.format
        self._planner = FramePlanner(self.mover)
        self._may_master, self._raise_channel = may_master, raise_channel
        self._faults, self._observers = faults, observers

    def rows(self, channel: Channel, first: int, count: int) -> Words:
        """Read descriptors ``first``..., which do not wrap."""
        if not self._may_master():
            raise self.fault(channel, ERRORS.bus_master, "DMA while bus mastering is off")
        rows = channel.rows(first, count)
        if rows is None:
            raise self.fault(channel, ERRORS.list_fetch, f"list at unregistered 0x{channel.list_address:X}")
        return rows

    def _sizes(self, channel: Channel, count: int) -> Words:
        """Read the byte counts of the next ``count`` descriptors, around the end of the ring."""
        first = channel.position
        head = min(count, channel.size - first)
        sizes = self.mover.sizes(self.rows(channel, first, head))
        if head == count:
            return sizes
        return np.concatenate((sizes, self.mover.sizes(self.rows(channel, 0, count - head))))

    def plan(self, channel: Channel, size_bytes: int, ready: int, *, exact: bool) -> Plan | None:
        """Return the next descriptors that hold ``size_bytes``; None if there are too few.

        ``exact``: a transfer ends with a descriptor (host to device); otherwise the last may have room left.
        """
        page, max_bytes = channel.page_size, np.uint32(self.format.max_bytes)
        guess = min(ready, -(-size_bytes // page)) if page else ready
        if guess <= FEW:
            rows = self._few_rows(channel, min(ready, FEW))
            count, total = self._count_few(channel, rows, size_bytes)
            if total >= size_bytes:
                self._check_end(channel, count - 1, total, size_bytes, exact=exact)
                return rows[:count]
            if len(rows) == ready:
                return None
        elif channel.position + guess <= channel.size:
            run = self.mover.as_run(self.rows(channel, channel.position, guess), size_bytes, exact=exact)
            if run is not None:
                return run
        for count in dict.fromkeys((guess, min(ready, guess + _EXTRA_DESCRIPTORS), ready)):
            sizes = self._sizes(channel, count)
            totals = np.cumsum(sizes, dtype=np.int64)
            last = int(totals.searchsorted(size_bytes))
            wrong = np.flatnonzero(sizes[: last + 1] - np.uint32(1) >= max_bytes)
            if len(wrong):
                raise self._wrong_size(channel, int(wrong[0]), int(sizes[wrong[0]]))
            if last < count:
                self._check_end(channel, last, int(totals[last]), size_bytes, exact=exact)
                return last + 1
        return None

    def plan_frames(self, channel: Channel, size_bytes: int, ready: int, limit: int) -> Frames | None:
        """Return the next transfers of ``size_bytes``, at most ``limit``, if they can be moved at once.

        None leaves it to `plan` and `execute`: also where each transfer counts, for observers and faults.
        """
        page = channel.page_size
        if not page or self._observers.watched or self._faults.descriptor_errors:
            return None
        each = -(-size_bytes // page)
        frames = min(limit, ready // each, (channel.size - channel.position) // each)
        if not frames:
            return None
        rows = self.rows(channel, channel.position, frames * each)
        return self._planner.plan(channel, rows, each, size_bytes)

    def finish(self, channel: Channel, frames: Frames) -> None:
        """Account for ``frames``, whose bytes were moved: positions, and the interrupt, which the host sees once."""
        channel.advance(frames.descriptors)
        if frames.interrupt and not channel.managed:
            self._raise_channel(channel.index)

    def _few_rows(self, channel: Channel, count: int) -> Rows:
        """Read the next ``count`` descriptors, around the end of the ring, as lists of dwords."""
        first = channel.position
        head = min(count, channel.size - first)
        rows: Rows = self.rows(channel, first, head).tolist()
        if head < count:
            rows += self.rows(channel, 0, count - head).tolist()
        return rows

    def _count_few(self, channel: Channel, rows: Rows, size_bytes: int) -> tuple[int, int]:
        """Return how many of ``rows`` it takes to reach ``size_bytes``, and what they hold."""
        fmt, total = self.format, 0
        for count, row in enumerate(rows, 1):
            size = (row[fmt.size_at] & fmt.size_mask) >> fmt.size_lsb
            if not 0 < size <= fmt.max_bytes:
                raise self._wrong_size(channel, count - 1, size)
            total += size
            if total >= size_bytes:
                return count, total
        return len(rows), total

    def _wrong_size(self, channel: Channel, at: int, size: int) -> ChannelFault:
        reason = f"descriptor of {size} bytes (1..{self.format.max_bytes})"
        return self.fault(channel, ERRORS.descriptor, reason, at=at)

    def _check_end(self, channel: Channel, last: int, total: int, size_bytes: int, *, exact: bool) -> None:
        if exact and total != size_bytes:
            reason = f"descriptors step over the end of the {size_bytes}-byte transfer (to {total})"
            raise self.fault(channel, ERRORS.descriptor, reason, at=last)

    def execute(self, channel: Channel, plan: Plan, data: Bytes) -> None:
        """Move ``data`` through the next descriptors, then account for them."""
        if self._faults.descriptor_errors and self._faults.descriptor_fails(channel.index):
            raise self.fault(channel, ERRORS.injected, "injected descriptor error", at=0)
        if isinstance(plan, Run):
            count, interrupt = plan.descriptors, self._move_run(channel, plan, data)
        elif isinstance(plan, int):
            count, interrupt = plan, self._move_many(channel, plan, data)
        else:
            count, interrupt = len(plan), self._move_few(channel, plan, data)
        channel.advance(count)
        if self._observers.watched:
            fields = {"channel": channel.index, "size_bytes": len(data), "processed": channel.position}
            self._observers.report("transfer", fields)
        if interrupt and not channel.managed:
            self._raise_channel(channel.index)

    def _move_few(self, channel: Channel, rows: Rows, data: Bytes) -> bool:
        """Move a transfer of few descriptors; True if one of them asks for a host interrupt."""
        fmt = self.format
        if self._observers.watched:
            self._report_rows(channel, channel.position, np.array(rows, np.uint32))
        try:
            left = self.mover.move_few(rows, data, to_device=channel.from_host)
        except DescriptorError as error:
            raise self.fault(channel, error.code, error.reason, at=error.at) from None
        interrupt = False
        for i, row in enumerate(rows):
            control = row[fmt.size_at]
            interrupt |= control & fmt.host_irq == fmt.host_irq
            if control & fmt.status_on_done:
                done = fmt.remaining.put(left, fmt.done) if left and i == len(rows) - 1 else fmt.done
                channel.store_status((channel.position + i) % channel.size, [0], fmt.status_at, done)
        return interrupt

    def _move_run(self, channel: Channel, run: Run, data: Bytes) -> bool:
        """Move a transfer that is one stretch of memory; True if it asks for a host interrupt."""
        if self._observers.watched:
            self._report_rows(channel, channel.position, self.rows(channel, channel.position, run.descriptors))
        try:
            self.mover.move_run(run, data, to_device=channel.from_host)
        except DescriptorError as error:
            raise self.fault(channel, error.code, error.reason, at=error.at) from None
        return run.interrupt

    def _move_many(self, channel: Channel, count: int, data: Bytes) -> bool:
        """Move a transfer of ``count`` descriptors; True if one of them asks for a host interrupt."""
        first = channel.position
        head = min(count, channel.size - first)
        if head == count:
            return self._segment(channel, first, count, data, 0)
        split = int(self.mover.sizes(self.rows(channel, first, head)).sum())
        interrupt = self._segment(channel, first, head, data[:split], 0)
        return self._segment(channel, 0, count - head, data[split:], head) or interrupt

    def _segment(self, channel: Channel, first: int, count: int, data: Bytes, done: int) -> bool:
        """Move one stretch that does not wrap; ``done`` descriptors of the transfer came before it."""
        rows, fmt = self.rows(channel, first, count), self.format
        if self._observers.watched:
            self._report_rows(channel, first, rows)
        try:
            left = self.mover.move(rows, data, to_device=channel.from_host)
        except DescriptorError as error:
            raise self.fault(channel, error.code, error.reason, at=done + error.at) from None
        column = rows[:, fmt.size_at]
        marked = np.flatnonzero(column & fmt.status_on_done).tolist()
        if marked:
            channel.store_status(first, marked, fmt.status_at, fmt.done)
            if left and marked[-1] == count - 1:
                channel.store_status(first, [count - 1], fmt.status_at, fmt.remaining.put(left, fmt.done))
        return bool(((column & fmt.host_irq) == fmt.host_irq).any())

    def fault(self, channel: Channel, code: int, reason: str, at: int | None = None) -> ChannelFault:
        """Stop the channel with an error; ``at`` is the failing descriptor, counted from the position."""
        layout = self._layout
        if at is not None:
            if at:
                channel.advance(at)
            self._mark_failed(channel)
        channel.active = False
        word = self._regs[channel.error_index]
        self._regs[channel.error_index] = layout.error.put(layout.error.get(word) | code, word)
        self.report(channel, "error", code=code, reason=reason)
        return ChannelFault(channel=channel.index, code=code, reason=reason)

    def fail(self, channel: Channel, reason: str) -> None:
        """Firmware gives the channel up: error byte, status of the descriptor that waits, and an interrupt."""
        self.fault(channel, ERRORS.stopped, reason, at=0 if channel.ready() else None)
        self._raise_channel(channel.index)

    def _mark_failed(self, channel: Channel) -> None:
        """Write the error status into the descriptor at the position, and interrupt if it asks for that."""
        fmt = self.format
        rows = channel.rows(channel.position, 1)
        control = int(rows[0, fmt.size_at]) if rows is not None else 0
        if control & fmt.status_on_error:
            channel.store_status(channel.position, [0], fmt.status_at, fmt.error)
        if control & fmt.host_error_irq == fmt.host_error_irq and not channel.managed:
            self._raise_channel(channel.index)

    def report(self, channel: Channel, action: str, **details: Any) -> None:
        """Tell observers what happened to ``channel``."""
        if self._observers.watched:
            self._observers.report("channel", {"channel": channel.index, "action": action, **details})

    def _report_rows(self, channel: Channel, first: int, rows: Words) -> None:
        sizes = self.mover.sizes(rows)
        controls = (rows[:, self.format.size_at] >> self.format.control_lsb) & 0xFF
        fields = {
            "channel": channel.index,
            "first": first,
            "count": len(rows),
            "sizes": sizes.tolist(),
            "controls": controls.tolist(),
            "addresses": self.mover.addresses(rows).tolist(),
        }
        self._observers.report("descriptors", fields)
