"""BAR2: 32 vDMA channels of two register halves, and the engine behind them (driver.md 6, 10.2, 10.4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from openhailo.spec.layout import Access
from openhailo.twin.board import Buffer, ChannelFault
from openhailo.twin.faults import Faults
from openhailo.twin.hostmem import Bytes, HostMemory
from openhailo.twin.observe import Observers
from openhailo.twin.violation import TwinViolation

from .channel import Channel, ChannelLayout
from .engine import Engine
from .ring import ERRORS

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

#: What a host store to a register of a channel does.
Store = Callable[[Channel, int], None]
#: From the host's doorbell write to the engine looking at the ring.
WORK_DELAY_NS = 500


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
        self._schedule, self._faults = schedule, faults
        self._regs = [0] * (self._rules.channels * self._rules.channel_stride // 4)
        self._channels = [Channel(i, spec, self._layout, self._regs, memory) for i in range(self._rules.channels)]
        self._engine = Engine(
            spec,
            self._layout,
            self._regs,
            memory=memory,
            may_master=may_master,
            raise_channel=raise_channel,
            faults=faults,
            observers=observers,
        )
        self._readable, self._decode = self._lay_out()
        memory.on_release(self._release_views)
        self._work: Callable[[int], None] = lambda _channel: None
        self._run_work = [partial(self._work_due, channel) for channel in self._channels]

    def _lay_out(self) -> tuple[frozenset[int], dict[int, tuple[Channel, Store | None]]]:
        """Return the readable dwords, and per dword of a host half the channel and what a host store does."""
        rules = self._rules
        halves = [
            c * rules.channel_stride + h for c in range(rules.channels) for h in (0, rules.destination_half_offset)
        ]
        readable = frozenset((half + reg.offset) >> 2 for half in halves for reg in self._block)
        if len(readable) != len(halves) * len(self._block.regs) or max(readable) >= len(self._regs):
            raise ValueError("channel registers overlap or leave the block")
        decode: dict[int, tuple[Channel, Store | None]] = {}
        for channel in self._channels:
            for name, index, store in (
                ("CONTROL_AVAIL", channel.control_index, self._host_control),
                ("PROCESSED_ONGOING", channel.position_index, self._store_plain),
                ("ERROR_ADDRESS_MID", channel.error_index, self._store_error),
                ("ADDRESS_HIGH", channel.high_index, self._store_high),
            ):
                decode[index] = (channel, self._by_access(self._block[name].access, index, store))
        return readable, decode

    def _by_access(self, access: Access, index: int, store: Store) -> Store | None:
        """Return what a host store to dword ``index`` does: nothing allowed, ``store``, or clearing by ones."""
        if access is Access.R:
            return None
        return store if access is Access.RW else partial(self._clear_ones, index, store)

    def _clear_ones(self, index: int, store: Store, channel: Channel, value: int) -> None:
        store(channel, self._regs[index] & ~value)

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

    def _store_plain(self, channel: Channel, value: int) -> None:
        self._regs[channel.position_index] = value

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
            self._engine.report(channel, "abort")

    def _host_start(self, channel: Channel, value: int) -> None:
        layout = self._layout
        middle = layout.address_mid.get(self._regs[channel.error_index])
        address = self._regs[channel.high_index] << 32 | middle << 16
        depth = layout.depth.get(value) or self._rules.max_descriptors.bit_length() - 1
        self._regs[channel.position_index] = 0
        channel.open(list_address=address, size=1 << depth, page_size=0, managed=False)
        self._engine.report(channel, "open", list_address=address, size=1 << depth)

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
            raise self._engine.fault(
                channel, ERRORS.list_fetch, f"list address 0x{list_address:X} is not 64 KiB aligned"
            )
        if not 2 <= desc_count <= rules.max_descriptors:
            raise self._engine.fault(
                channel, ERRORS.list_fetch, f"list of {desc_count} descriptors (2..{rules.max_descriptors})"
            )
        depth = (desc_count - 1).bit_length()
        size = desc_count if device_managed else 1 << depth
        self._program(channel, list_address, depth)
        channel.open(list_address=list_address, size=size, page_size=page_size, managed=device_managed)
        self._engine.report(channel, "open", list_address=list_address, size=size, managed=device_managed)

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
            self._engine.report(channel, "close")
        clear = ~(self._layout.start | self._layout.pause)
        self._regs[channel.control_index] &= clear
        self._regs[channel.control_index + channel.device_shift] &= clear
        channel.forget()

    def fail_channel(self, index: int, reason: str) -> None:
        """Stop a running boundary channel with an error that the host is told about."""
        channel = self._channel(index)
        if channel.active and not channel.managed:
            self._engine.fail(channel, reason)

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
        self._engine.report(channel, "pause")

    def resume_channel(self, index: int) -> None:
        """Clear the pause bit; descriptors that waited are announced."""
        channel = self._channel(index)
        channel.paused = False
        self._regs[channel.control_index] &= ~self._layout.pause
        self._engine.report(channel, "resume")
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
        plan = self._engine.plan(channel, size_bytes, ready, exact=True) if ready else None
        if not plan:
            return None
        data = np.empty(size_bytes, np.uint8) if out is None else _as_bytes(out)
        if len(data) != size_bytes:
            raise ValueError(f"out holds {len(data)} bytes, the transfer has {size_bytes}")
        self._engine.execute(channel, plan, data)
        return data.data

    def push(self, index: int, data: Buffer) -> bool:
        """Fill the next descriptors with one transfer; False if too few are available."""
        channel = self._channel(index)
        source = _as_bytes(data)
        ready = self._usable(channel, len(source), from_host=False)
        plan = self._engine.plan(channel, len(source), ready, exact=False) if ready else None
        if not plan:
            return False
        self._engine.execute(channel, plan, source)
        return True

    def pull_frames(self, index: int, out: Bytes) -> int:
        """Consume up to ``len(out)`` transfers of one row of ``out`` each; return how many there were."""
        channel, (limit, size_bytes) = self._channel(index), out.shape
        moved = 0
        while moved < limit and (ready := self._usable(channel, size_bytes, from_host=True)):
            frames = self._engine.plan_frames(channel, size_bytes, ready, limit - moved)
            if frames is not None:
                out[moved : moved + frames.frames] = frames.host
                self._engine.finish(channel, frames)
                moved += frames.frames
            elif self.pull(index, size_bytes, out[moved]) is not None:
                moved += 1
            else:
                break
        return moved

    def push_frames(self, index: int, data: Bytes) -> int:
        """Fill the next descriptors with the rows of ``data``, a transfer each; return for how many there was room."""
        channel, (limit, size_bytes) = self._channel(index), data.shape
        moved = 0
        while moved < limit and (ready := self._usable(channel, size_bytes, from_host=False)):
            frames = self._engine.plan_frames(channel, size_bytes, ready, limit - moved)
            if frames is not None:
                frames.host[:] = data[moved : moved + frames.frames]
                self._engine.finish(channel, frames)
                moved += frames.frames
            elif self.push(index, data[moved]):
                moved += 1
            else:
                break
        return moved

    def fetch(self, index: int, descriptors: int) -> bytes:
        """Return the bytes of the next ``descriptors`` descriptors of a device-managed list."""
        channel = self._channel(index)
        if not channel.managed or not channel.from_host:
            # The host may have started a config channel again, for itself.
            reason = f"fetch from channel {index}, which is not a device-managed host-to-device channel"
            raise self._engine.fault(channel, ERRORS.list_fetch, reason)
        if descriptors < 1:
            return b""
        if channel.position + descriptors > channel.size:
            reason = f"fetch of {descriptors} descriptors at {channel.position} of {channel.size}"
            raise self._engine.fault(channel, ERRORS.list_fetch, reason)
        rows = self._engine.rows(channel, channel.position, descriptors)
        size_bytes = int(np.minimum(self._engine.mover.sizes(rows), self._engine.format.max_bytes).sum())
        data = np.empty(size_bytes, np.uint8)
        self._engine.execute(channel, descriptors, data)
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


def _as_bytes(data: Buffer) -> Bytes:
    """View any C-contiguous buffer as bytes, without a copy."""
    view = memoryview(data)
    return np.frombuffer(view if view.format == "B" and view.ndim == 1 else view.cast("B"), np.uint8)
