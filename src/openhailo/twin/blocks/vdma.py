"""BAR2: 32 vDMA channels of two register halves, and the engine behind them (driver.md 6, 10.2, 10.4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from openhailo.twin.board import Buffer, ChannelFault
from openhailo.twin.faults import Faults
from openhailo.twin.hostmem import Bytes, HostMemory
from openhailo.twin.observe import Observers
from openhailo.twin.violation import TwinViolation

from .channel import Channel, ChannelLayout
from .ring import ERRORS, DescriptorError, Mover, Words

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

#: From the host's doorbell write to the engine looking at the ring.
WORK_DELAY_NS = 500
#: The host splits a frame into at most this many buffers, each of which may end in a short descriptor.
_EXTRA_DESCRIPTORS = 8


class VdmaBlock:
    """The engine; implements `openhailo.twin.board.VdmaEngine`.

    Args:
        memory: host memory by registered address.
        may_master: tells whether bus mastering is on; without it all DMA is refused.
        raise_channel: sets a channel's host interrupt.
        schedule: puts an event on the chip's clock.
    """

    def __init__(
        self,
        spec: ChipSpec,
        *,
        memory: HostMemory,
        may_master: Callable[[], bool],
        raise_channel: Callable[[int], None],
        schedule: Callable[[int, Callable[[], None]], None],
        faults: Faults,
        observers: Observers,
    ) -> None:
        self._rules, self._layout, self._block = spec.vdma, ChannelLayout(spec), spec.channel
        self._mover = Mover(spec, memory)
        self._format = self._mover.format
        self._may_master, self._raise_channel, self._schedule = may_master, raise_channel, schedule
        self._faults, self._observers = faults, observers
        self._regs = [0] * (self._rules.channels * self._rules.channel_stride // 4)
        self._channels = [Channel(i, spec, self._layout, self._regs, memory) for i in range(self._rules.channels)]
        self._readable, self._decode = self._lay_out()
        memory.on_release(self._release_views)
        self._work: Callable[[int], None] = lambda _channel: None
        self._run_work = [partial(self._work_due, channel) for channel in self._channels]

    def _lay_out(self) -> tuple[frozenset[int], dict[int, tuple[Channel, Callable[[Channel, int], None] | None]]]:
        """Return the readable dwords, and per dword of a host half the channel and what a host store does."""
        rules = self._rules
        halves = [
            c * rules.channel_stride + h for c in range(rules.channels) for h in (0, rules.destination_half_offset)
        ]
        readable = frozenset((half + reg.offset) >> 2 for half in halves for reg in self._block)
        if len(readable) != len(halves) * len(self._block.regs) or max(readable) >= len(self._regs):
            raise ValueError("channel registers overlap or leave the block")
        decode: dict[int, tuple[Channel, Callable[[Channel, int], None] | None]] = {}
        for channel in self._channels:
            decode[channel.control_index] = (channel, self._host_control)
            decode[channel.position_index] = (channel, None)
            decode[channel.error_index] = (channel, self._store_error)
            decode[channel.high_index] = (channel, self._store_high)
        return readable, decode

    # --- host side ------------------------------------------------------------------------------------------------

    def read(self, offset: int, width: int = 4) -> int:
        """Host load; 8 and 16 bits for kernel driver 4.17 (10.2)."""
        index = offset >> 2
        if index not in self._readable or width not in (1, 2, 4) or offset % width:
            raise TwinViolation(f"vdma: {8 * width}-bit read at 0x{offset:X}")
        if width == 4:
            return self._regs[index]
        return (self._regs[index] >> 8 * (offset & 3)) & ((1 << 8 * width) - 1)

    def write(self, offset: int, width: int, value: int) -> None:
        """Host store; 8 and 16 bits for kernel driver 4.17 (10.2)."""
        channel, store = self._decode.get(offset >> 2, (None, None))
        if channel is None or store is None or width not in (1, 2, 4) or offset % width:
            raise TwinViolation(f"vdma: {8 * width}-bit write at 0x{offset:X} (0x{value:X}), not the host's to write")
        if width != 4:
            shift, mask = 8 * (offset & 3), (1 << 8 * width) - 1
            value = self._regs[offset >> 2] & ~(mask << shift) | (value & mask) << shift
        store(channel, value & 0xFFFFFFFF)

    def _store_error(self, channel: Channel, value: int) -> None:
        self._regs[channel.error_index] = value

    def _store_high(self, channel: Channel, value: int) -> None:
        self._regs[channel.high_index] = value

    def _host_control(self, channel: Channel, value: int) -> None:
        layout, index = self._layout, channel.control_index
        changed = self._regs[index] ^ value
        if changed & layout.quiet_mask:
            self._host_changed_control(channel, self._regs[index], value)
        self._regs[index] = value
        if channel.active and not channel.managed:
            available = (value & layout.avail.mask) >> layout.avail.lsb
            if channel.host_moved(available) and not channel.queued:
                channel.queued = True
                self._schedule(WORK_DELAY_NS, self._run_work[channel.index])

    def _host_changed_control(self, channel: Channel, old: int, value: int) -> None:
        """The host itself starts, stops or pauses a channel (6.2)."""
        layout = self._layout
        if value & layout.start:
            if old & layout.start and (old ^ value) & layout.setup_mask:
                raise TwinViolation(f"channel {channel.index}: depth or data id changed while running (0x{value:X})")
            if not old & layout.start:
                self._host_start(channel, value)
            channel.paused = bool(value & layout.pause)
        elif old & layout.start:
            channel.active = False
            self._report(channel, "abort")

    def _host_start(self, channel: Channel, value: int) -> None:
        layout = self._layout
        middle = layout.address_mid.get(self._regs[channel.error_index])
        address = self._regs[channel.high_index] << 32 | middle << 16
        depth = layout.depth.get(value) or self._rules.max_descriptors.bit_length() - 1
        self._regs[channel.position_index] = 0
        channel.open(list_address=address, size=1 << depth, page_size=0, managed=False)
        self._report(channel, "open", list_address=address, size=1 << depth)

    def _work_due(self, channel: Channel) -> None:
        channel.queued = False
        if channel.ready():
            self._work(channel.index)

    # --- firmware side --------------------------------------------------------------------------------------------

    def on_work(self, callback: Callable[[int], None]) -> None:
        """Register what is called when an open boundary channel has new descriptors."""
        self._work = callback

    def open_channel(
        self, index: int, *, list_address: int, desc_count: int, page_size: int, device_managed: bool = False
    ) -> None:
        """Program both halves, zero the counters and start."""
        channel, rules = self._channel(index), self._rules
        if list_address % rules.list_alignment or list_address >> 64:
            raise self._fault(channel, ERRORS.list_fetch, f"list address 0x{list_address:X} is not 64 KiB aligned")
        if not 2 <= desc_count <= rules.max_descriptors:
            raise self._fault(
                channel, ERRORS.list_fetch, f"list of {desc_count} descriptors (2..{rules.max_descriptors})"
            )
        depth = (desc_count - 1).bit_length()
        size = desc_count if device_managed else 1 << depth
        self._program(channel, list_address, depth)
        channel.open(list_address=list_address, size=size, page_size=page_size, managed=device_managed)
        self._report(channel, "open", list_address=list_address, size=size, managed=device_managed)

    def _program(self, channel: Channel, list_address: int, depth: int) -> None:
        layout, regs, rules = self._layout, self._regs, self._rules
        depth_bits = layout.depth.put(depth & (layout.depth.mask >> layout.depth.lsb))
        for move, data_id in ((0, rules.host_memory_data_id), (channel.device_shift, rules.device_half_data_id)):
            regs[channel.control_index + move] = layout.start | depth_bits | layout.data_id.put(data_id)
            regs[channel.position_index + move] = 0
            regs[channel.error_index + move] = layout.address_mid.put(list_address >> 16 & 0xFFFF)
            regs[channel.high_index + move] = list_address >> 32

    def close_channel(self, index: int) -> None:
        """Abort the channel and forget its list. Idempotent."""
        channel = self._channel(index)
        if channel.list_address or channel.active:
            self._report(channel, "close")
        clear = ~(self._layout.start | self._layout.pause)
        self._regs[channel.control_index] &= clear
        self._regs[channel.control_index + channel.device_shift] &= clear
        channel.forget()

    def _release_views(self) -> None:
        for channel in self._channels:
            channel.unmap()

    def close_all(self) -> None:
        """Abort every channel."""
        for channel in self._channels:
            self.close_channel(channel.index)

    def reset(self) -> None:
        """Back to power-on: no channel has a list, all registers zero."""
        self._regs[:] = [0] * len(self._regs)
        for channel in self._channels:
            channel.forget()
            channel.queued = False

    def pause_channel(self, index: int) -> None:
        """Set the pause bit."""
        channel = self._channel(index)
        channel.paused = True
        self._regs[channel.control_index] |= self._layout.pause
        self._report(channel, "pause")

    def resume_channel(self, index: int) -> None:
        """Clear the pause bit; descriptors that waited are announced."""
        channel = self._channel(index)
        channel.paused = False
        self._regs[channel.control_index] &= ~self._layout.pause
        self._report(channel, "resume")
        self._announce(channel)

    def is_open(self, index: int) -> bool:
        """Tell whether the channel is started."""
        return self._channel(index).active

    def available(self, index: int) -> int:
        """Return how many descriptors may be used now."""
        return self._channel(index).ready()

    def pull(self, index: int, size_bytes: int, out: Buffer | None = None) -> memoryview | None:
        """Consume the descriptors that total ``size_bytes``; None while they are not all available."""
        channel = self._channel(index)
        ready = self._usable(channel, size_bytes, from_host=True)
        count = self._span(channel, size_bytes, ready, exact=True) if ready else 0
        if not count:
            return None
        data = np.empty(size_bytes, np.uint8) if out is None else _as_bytes(out)
        if len(data) != size_bytes:
            raise ValueError(f"out holds {len(data)} bytes, the transfer has {size_bytes}")
        self._transfer(channel, count, data)
        return data.data

    def push(self, index: int, data: Buffer) -> bool:
        """Fill the next descriptors with one transfer; False if too few are available."""
        channel = self._channel(index)
        source = _as_bytes(data)
        ready = self._usable(channel, len(source), from_host=False)
        count = self._span(channel, len(source), ready, exact=False) if ready else 0
        if not count:
            return False
        self._transfer(channel, count, source)
        return True

    def fetch(self, index: int, descriptors: int) -> bytes:
        """Return the bytes of the next ``descriptors`` descriptors of a device-managed list."""
        channel = self._channel(index)
        if not channel.managed or not channel.from_host:
            raise ValueError(f"channel {index} is not a device-managed host-to-device channel")
        if descriptors < 1:
            return b""
        if channel.position + descriptors > channel.size:
            reason = f"fetch of {descriptors} descriptors at {channel.position} of {channel.size}"
            raise self._fault(channel, ERRORS.list_fetch, reason)
        rows = self._rows(channel, channel.position, descriptors)
        size_bytes = int(np.minimum(self._mover.sizes(rows), self._format.max_bytes).sum())
        data = np.empty(size_bytes, np.uint8)
        self._transfer(channel, descriptors, data)
        return data.tobytes()

    # --- the engine -----------------------------------------------------------------------------------------------

    def _channel(self, index: int) -> Channel:
        if not 0 <= index < len(self._channels):
            raise ChannelFault(channel=index, code=ERRORS.list_fetch, reason="no such channel")
        return self._channels[index]

    def _announce(self, channel: Channel) -> None:
        if channel.ready() and not channel.managed and not channel.queued:
            channel.queued = True
            self._schedule(WORK_DELAY_NS, self._run_work[channel.index])

    def _usable(self, channel: Channel, size_bytes: int, *, from_host: bool) -> int:
        """Return how many descriptors this transfer may use; 0 while it has to wait."""
        if channel.from_host is not from_host:
            raise ValueError(f"channel {channel.index} moves the other way")
        if size_bytes < 1:
            raise ValueError(f"transfer of {size_bytes} bytes")
        if channel.index in self._faults.stalled_channels:
            return 0
        return channel.ready()

    def _rows(self, channel: Channel, first: int, count: int) -> Words:
        """Read descriptors ``first``..., which do not wrap."""
        if not self._may_master():
            raise self._fault(channel, ERRORS.bus_master, "DMA while bus mastering is off")
        rows = channel.rows(first, count)
        if rows is None:
            raise self._fault(channel, ERRORS.list_fetch, f"list at unregistered 0x{channel.list_address:X}")
        return rows

    def _sizes(self, channel: Channel, count: int) -> Words:
        """Read the byte counts of the next ``count`` descriptors, around the end of the ring."""
        first = channel.position
        head = min(count, channel.size - first)
        sizes = self._mover.sizes(self._rows(channel, first, head))
        if head == count:
            return sizes
        return np.concatenate((sizes, self._mover.sizes(self._rows(channel, 0, count - head))))

    def _span(self, channel: Channel, size_bytes: int, ready: int, *, exact: bool) -> int:
        """Return how many of the next ``ready`` descriptors hold ``size_bytes``; 0 if they do not reach.

        ``exact``: a transfer ends with a descriptor (host to device); otherwise the last may have room left.
        """
        page = channel.page_size
        guess = min(ready, -(-size_bytes // page)) if page else ready
        for count in dict.fromkeys((guess, min(ready, guess + _EXTRA_DESCRIPTORS), ready)):
            totals = np.cumsum(self._sizes(channel, count), dtype=np.int64)
            last = int(totals.searchsorted(size_bytes))
            if last < count:
                total = int(totals[last])
                if exact and total != size_bytes:
                    reason = f"descriptors step over the end of the {size_bytes}-byte transfer (to {total})"
                    raise self._fault(channel, ERRORS.descriptor, reason, at=last)
                return last + 1
        return 0

    def _transfer(self, channel: Channel, count: int, data: Bytes) -> None:
        """Move ``data`` through the next ``count`` descriptors, then account for them."""
        first = channel.position
        head = min(count, channel.size - first)
        if head == count:
            interrupt = self._segment(channel, first, count, data, 0)
        else:
            rows = self._rows(channel, first, head)
            split = int(self._mover.sizes(rows).sum())
            interrupt = self._segment(channel, first, head, data[:split], 0)
            interrupt |= self._segment(channel, 0, count - head, data[split:], head)
        channel.advance(count)
        if self._observers.watched:
            fields = {"channel": channel.index, "size_bytes": len(data), "processed": channel.position}
            self._observers.report("transfer", fields)
        if interrupt and not channel.managed:
            self._raise_channel(channel.index)

    def _segment(self, channel: Channel, first: int, count: int, data: Bytes, done: int) -> bool:
        """Move one stretch that does not wrap; True if a descriptor asks for a host interrupt."""
        rows, fmt = self._rows(channel, first, count), self._format
        if self._observers.watched:
            self._report_rows(channel, first, rows)
        if self._faults.descriptor_errors and self._faults.descriptor_fails(channel.index):
            raise self._fault(channel, ERRORS.injected, "injected descriptor error", at=done)
        try:
            left = self._mover.move(rows, data, to_device=channel.from_host)
        except DescriptorError as error:
            raise self._fault(channel, error.code, error.reason, at=done + error.at) from None
        interrupt = False
        if count <= self._mover.FEW:
            controls = [row[fmt.size_at] for row in rows.tolist()]
            interrupt = any(c & fmt.host_irq == fmt.host_irq for c in controls)
            marked = [i for i, c in enumerate(controls) if c & fmt.status_on_done]
        else:
            column = rows[:, fmt.size_at]
            interrupt = bool(((column & fmt.host_irq) == fmt.host_irq).any())
            marked = np.flatnonzero(column & fmt.status_on_done).tolist()
        if marked:
            channel.store_status(first, marked, fmt.status_at, fmt.done)
            if marked[-1] == count - 1 and left:
                channel.store_status(first, [count - 1], fmt.status_at, fmt.remaining.put(left, fmt.done))
        return interrupt

    def _fault(self, channel: Channel, code: int, reason: str, at: int | None = None) -> ChannelFault:
        """Stop the channel with an error; ``at`` is the failing descriptor, counted from the position."""
        layout = self._layout
        if at is not None:
            if at:
                channel.advance(at)
            self._mark_failed(channel)
        channel.active = False
        word = self._regs[channel.error_index]
        self._regs[channel.error_index] = layout.error.put(layout.error.get(word) | code, word)
        self._report(channel, "error", code=code, reason=reason)
        return ChannelFault(channel=channel.index, code=code, reason=reason)

    def _mark_failed(self, channel: Channel) -> None:
        """Write the error status into the descriptor at the position, and interrupt if it asks for that."""
        fmt = self._format
        rows = channel.rows(channel.position, 1)
        control = int(rows[0, fmt.size_at]) if rows is not None else 0
        if control & fmt.status_on_error:
            channel.store_status(channel.position, [0], fmt.status_at, fmt.error)
        if control & fmt.host_error_irq == fmt.host_error_irq and not channel.managed:
            self._raise_channel(channel.index)

    # --- reports --------------------------------------------------------------------------------------------------

    def _report(self, channel: Channel, action: str, **details: Any) -> None:
        if self._observers.watched:
            self._observers.report("channel", {"channel": channel.index, "action": action, **details})

    def _report_rows(self, channel: Channel, first: int, rows: Words) -> None:
        sizes = self._mover.sizes(rows)
        controls = (rows[:, self._format.size_at] >> self._format.control_lsb) & 0xFF
        fields = {
            "channel": channel.index,
            "first": first,
            "count": len(rows),
            "sizes": sizes.tolist(),
            "controls": controls.tolist(),
            "addresses": self._mover.addresses(rows).tolist(),
        }
        self._observers.report("descriptors", fields)


def _as_bytes(data: Buffer) -> Bytes:
    """View any C-contiguous buffer as bytes, without a copy."""
    view = memoryview(data)
    return np.frombuffer(view if view.format == "B" and view.ndim == 1 else view.cast("B"), np.uint8)
