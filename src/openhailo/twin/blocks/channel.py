"""One vDMA channel: its registers, its ring and where it stands (driver.md 6.1, 10.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openhailo.twin.hostmem import HostMemory, copy_in, copy_out
from openhailo.twin.violation import TwinViolation

from .ring import Words

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

    from .frames import Frames


class ChannelLayout:
    """Offsets, masks and shifts of a channel half, taken from the declaration once."""

    def __init__(self, spec: ChipSpec) -> None:
        block, rules = spec.channel, spec.vdma
        offsets = {reg.name: reg.offset for reg in block}
        if any(at & 3 for at in offsets.values()) or rules.channel_stride & 3 or rules.destination_half_offset & 3:
            raise ValueError("channel registers must be aligned dwords")
        self.control_at = offsets["CONTROL_AVAIL"]
        self.processed_at = offsets["PROCESSED_ONGOING"]
        self.error_at = offsets["ERROR_ADDRESS_MID"]
        self.high_at = offsets["ADDRESS_HIGH"]
        control = block["CONTROL_AVAIL"]
        self.start, self.pause = control["start"].mask, control["pause"].mask
        self.depth, self.data_id = control["depth"], control["data_id"]
        self.avail = control["num_available"]
        self.setup_mask = self.depth.mask | self.data_id.mask
        self.quiet_mask = 0xFFFFFFFF & ~self.avail.mask
        position = block["PROCESSED_ONGOING"]
        self.processed, self.ongoing = position["num_processed"], position["num_ongoing"]
        self.processed_lsb, self.processed_mask = self.processed.lsb, self.processed.mask
        self.ongoing_lsb, self.ongoing_mask = self.ongoing.lsb, self.ongoing.mask
        error = block["ERROR_ADDRESS_MID"]
        self.error, self.address_mid = error["error"], error["address_31_16"]


class Channel:
    """State of one channel. Registers live in ``regs`` (dwords of BAR2), so a host read is one list access."""

    __slots__ = (
        "_descriptor_bytes",
        "_layout",
        "_mapped",
        "_memory",
        "_no_ring",
        "_regs",
        "active",
        "available",
        "control_index",
        "device_shift",
        "direct",
        "error_index",
        "from_host",
        "high_index",
        "index",
        "list_address",
        "managed",
        "page_size",
        "paused",
        "plans",
        "position",
        "position_index",
        "queued",
        "ring",
        "size",
        "wrap_value",
    )

    def __init__(self, index: int, spec: ChipSpec, layout: ChannelLayout, regs: list[int], memory: HostMemory) -> None:
        rules = spec.vdma
        self.index = index
        self.from_host = index < rules.host_to_device_channels
        host_half = index * rules.channel_stride + (0 if self.from_host else rules.destination_half_offset)
        #: From a host-half register to its device-half twin, in dwords.
        self.device_shift = (rules.destination_half_offset >> 2) * (1 if self.from_host else -1)
        self.control_index = (host_half + layout.control_at) >> 2
        self.position_index = (host_half + layout.processed_at) >> 2
        self.error_index = (host_half + layout.error_at) >> 2
        self.high_index = (host_half + layout.high_at) >> 2
        self._layout, self._regs, self._memory = layout, regs, memory
        self._descriptor_bytes = rules.descriptor_size_bytes
        self.queued = False
        #: What stretches of descriptors mean, with views of host memory (kept by `FramePlanner`).
        self.plans: dict[tuple[int, int, int], Frames] = {}
        self._no_ring: Words = np.empty((0, rules.descriptor_size_bytes // 4), np.uint32)
        self.forget()

    def forget(self) -> None:
        """Become a channel without a list; registers are left alone."""
        self.active = self.paused = self.managed = False
        self.list_address = self.page_size = self.position = self.available = 0
        self.size = self.wrap_value = 0
        self.unmap()

    def open(self, *, list_address: int, size: int, page_size: int, managed: bool) -> None:
        """Start afresh on a list of ``size`` descriptors."""
        self.forget()
        self.list_address, self.size, self.page_size, self.managed = list_address, size, page_size, managed
        #: What num processed shows after the last index: `size`, not 0, where 16 bits can hold it (10.4).
        self.wrap_value = size if size <= self._layout.processed.mask >> self._layout.processed.lsb else 0
        self.active = True

    def ready(self) -> int:
        """Return how many descriptors may be used now."""
        if not self.active or self.paused:
            return 0
        if self.managed:
            return self.size
        return (self.available - self.position) % self.size

    def host_moved(self, available: int) -> bool:
        """Take a new num available; True if descriptors are waiting."""
        if available > self.size:
            raise TwinViolation(f"channel {self.index}: num available {available} in a ring of {self.size}")
        self.available = available % self.size
        return self.available != self.position

    def advance(self, count: int) -> None:
        """Move num ongoing and num processed past ``count`` descriptors."""
        self.position = position = (self.position + count) % self.size
        shown = position or self.wrap_value
        layout = self._layout
        processed = shown << layout.processed_lsb & layout.processed_mask
        self._regs[self.position_index] = processed | shown << layout.ongoing_lsb & layout.ongoing_mask

    # --- the list in host memory ----------------------------------------------------------------------------------

    def rows(self, first: int, count: int) -> Words | None:
        """Return ``count`` descriptors from index ``first`` (not wrapping); None where nothing is registered.

        ``direct`` tells whether the rows are the host's memory itself, so that status can be stored in place.
        """
        if not self._mapped:
            self._map()
        if self.direct:
            return self.ring[first : first + count]
        size = self._descriptor_bytes
        out = np.empty(count * size, np.uint8)
        if not copy_in(self._memory, self.list_address + first * size, out):
            return None
        return out.view(np.uint32).reshape(count, size // 4)

    def _map(self) -> None:
        view = self._memory.view(self.list_address, self.size * self._descriptor_bytes, write=True)
        self.direct = view is not None
        if view is not None:
            self.ring = view.view(np.uint32).reshape(self.size, -1)
        self._mapped = True

    def unmap(self) -> None:
        """Let go of host memory; it is looked up again when needed."""
        self.plans.clear()
        self.ring = self._no_ring
        self._mapped = self.direct = False

    def store_status(self, first: int, which: list[int], column: int, value: int) -> None:
        """Write ``value`` to the status dword of descriptors ``first + i`` for i in ``which``."""
        if self.direct:
            self.ring[[first + i for i in which], column] = value
            return
        data = np.frombuffer(value.to_bytes(4, "little"), np.uint8)
        for i in which:
            address = self.list_address + (first + i) * self._descriptor_bytes + 4 * column
            copy_out(self._memory, address, data)
