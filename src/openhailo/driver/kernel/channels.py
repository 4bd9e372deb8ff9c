"""Channels of the driver: launches, and which transfers completed (driver.md 6.6, 6.7, 8.1 rows 14-20)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from openhailo.bus.protocols import DmaDirection
from openhailo.driver.link import BufferRange, ChannelError, ChannelEvent
from openhailo.errors import InputError, OpenHailoError, QueueFull, StateError
from openhailo.spec.ioctl import BufferType

from .calls import Calls, codec
from .lists import KernelDescriptorList
from .memory import KernelBuffer

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

_NAME = "VDMA_LAUNCH_TRANSFER"
#: Checked and packed transfers kept per channel.
_KNOWN_TRANSFERS = 512

#: Members before and after the array of buffers, in the order in which `KernelChannel` packs them.
_HEAD = ("engine_index", "channel_index", "desc_handle", "starting_desc", "should_bind", "buffers_count")
_TAIL = ("first_interrupts_domain", "last_interrupts_domain", "is_debug")

Ranges = Sequence[BufferRange]


class _Plan(NamedTuple):
    """A transfer that was checked; ``ranges`` is kept so that no other object can have its identity."""

    ranges: Ranges
    descriptors: int
    packed: bytes
    buffers: tuple[KernelBuffer, ...]
    copied: bool


class LaunchFormat:
    """Where things are in the release's launch structure, looked up once."""

    def __init__(self, calls: Calls) -> None:
        layout = calls.release[_NAME].struct
        names = tuple(member.name for member in layout.members)
        split = names.index("buffers")
        assert (names[:split], names[split + 1 : split + 4]) == (_HEAD, _TAIL), "they are packed by place"
        self.size = layout.size
        self.head = codec(layout.members[:split])
        self.buffers = slice(layout["buffers"].offset, layout["buffers"].offset + layout["buffers"].size_bytes)
        self.tail = codec(layout.members[split + 1 : split + 4])
        self.layout = layout
        self._by_address = calls.release.behaviour.buffers_by_address

    def pack(self, ranges: Ranges) -> bytes:
        """Return the array of buffers, unused ones zero."""
        array = [self._entry(*entry) for entry in ranges]
        return self.layout.pack(buffers=array)[self.buffers]

    def _entry(self, buffer: Any, offset: int, size_bytes: int) -> dict[str, int]:
        if self._by_address:
            kind = BufferType.USER_POINTER
            return {"buffer_type": kind, "addr_or_fd": buffer.address + offset, "size": size_bytes}
        return {"mapped_buffer_handle": buffer.handle, "offset": offset, "size": size_bytes}


class KernelChannel:
    """Our account of one channel: positions are ever-growing counts, the driver has them modulo the ring.

    A ring entry is (position after the last descriptor, ranges of the transfer).
    """

    def __init__(self, index: int, calls: Calls, spec: ChipSpec, name: str) -> None:
        self.index, self._calls, self._name = index, calls, name
        self.from_device = index >= spec.vdma.host_to_device_channels
        self._direction = DmaDirection.FROM_DEVICE if self.from_device else DmaDirection.TO_DEVICE
        self._behaviour, self._format = calls.release.behaviour, LaunchFormat(calls)
        self._max_transfers = calls.rules.max_transfers_in_flight
        self._lock = threading.Lock()
        self._argument = bytearray(self._format.size)
        self._plans: dict[int, _Plan] = {}
        self._past_transfers = self._past_descriptors = 0
        self.enabled = False
        self._list: KernelDescriptorList | None = None
        self._available = self._processed = self.completed_total = 0
        self._ring: deque[tuple[int, Ranges]] = deque()
        self._broken = ""

    @property
    def in_flight(self) -> int:
        """Transfers that were launched and did not complete."""
        return len(self._ring)

    @property
    def lifetime(self) -> tuple[int, int]:
        """Transfers and descriptors that completed since the link was opened."""
        return self._past_transfers + self.completed_total, self._past_descriptors + self._processed

    def set_enabled(self, enabled: bool) -> None:
        """Forget the list and all transfers; the driver begins at descriptor 0 as well (driver.md 6.8)."""
        with self._lock:
            self.enabled = enabled
            self._forget()
            self._broken = ""

    def lose(self, reason: str) -> bool:
        """The driver forgot this channel: nothing can be launched until it is disabled and enabled. False: idle."""
        with self._lock:
            if self._list is None:
                return False
            self._forget()
            self._broken = reason
            return True

    def uses(self, thing: object) -> bool:
        """Tell whether a transfer in flight, or the ring itself, needs ``thing``."""
        with self._lock:
            if thing is self._list:
                return True
            return any(buffer is thing for _, ranges in self._ring for buffer, _, _ in ranges)

    def launch(
        self,
        dlist: KernelDescriptorList,
        starting_desc: int,
        transfers: Sequence[Ranges],
        bind: bool,
        first: int,
        last: int,
    ) -> int:
        """Start ``transfers`` one after the other; return their descriptors. All of them are checked before the first.

        The lock is held until the driver has them, so that completions are counted after their launch.
        """
        if not transfers:
            raise InputError(what="launch", detail="no transfer was given")
        with self._lock:
            self._adopt(dlist)
            begin, mask = self._available, dlist.count - 1
            if starting_desc != begin & mask:
                raise InputError(
                    what=f"channel {self.index}",
                    detail=f"launch at descriptor {starting_desc}, the ring stands at {begin & mask}",
                )
            plans = [self._plan(dlist, ranges) for ranges in transfers]
            self._check_space(sum(plan.descriptors for plan in plans), len(plans), mask)
            for plan in plans:
                self._start(dlist, plan, bind, first, last)
            return self._available - begin

    def count(self, completed: int, error: ChannelError) -> ChannelEvent | None:
        """The driver says that the ``completed`` oldest transfers are done (4.18 and later)."""
        with self._lock:
            if not self._ring:
                return None
            if completed > len(self._ring):
                return self._fail(0, ChannelError.ENGINE)
            self._complete(completed)
            return self._fail(completed, error) if error else self._event(completed)

    def reach(self, position: int, error: ChannelError) -> ChannelEvent | None:
        """The driver says where the hardware stands, modulo the ring; count what lies before (4.17; driver.md 6.7)."""
        with self._lock:
            if not self._ring or self._list is None:
                return None
            moved = (position - self._processed) & (self._list.count - 1)
            if moved > self._available - self._processed:
                return self._fail(0, ChannelError.ENGINE)
            reached = self._processed + moved
            completed = sum(end <= reached for end, _ in self._ring)
            self._complete(completed)
            return self._fail(completed, error) if error else self._event(completed)

    def _event(self, completed: int) -> ChannelEvent | None:
        return ChannelEvent(self.index, completed) if completed else None

    def _fail(self, completed: int, error: ChannelError) -> ChannelEvent:
        self._broken = "stopped" if error is ChannelError.INACTIVE else "in error"
        return ChannelEvent(self.index, completed, error)

    def _complete(self, count: int) -> None:
        for _ in range(count):
            self._processed, ranges = self._ring.popleft()
            if self.from_device:
                for buffer, offset, size_bytes in ranges:
                    buffer.from_device(offset, size_bytes)  # type: ignore[attr-defined]
        self.completed_total += count

    def _forget(self) -> None:
        self._past_transfers += self.completed_total
        self._past_descriptors += self._processed
        self._available = self._processed = self.completed_total = 0
        self._ring.clear()
        self._plans.clear()
        self._list = None

    def _adopt(self, dlist: KernelDescriptorList) -> None:
        if not self.enabled:
            raise StateError(
                what="launch", state=f"channel {self.index} is disabled", hint="call enable_channels first"
            )
        if self._broken:
            raise StateError(
                what="launch",
                state=f"channel {self.index} is {self._broken}",
                hint="activate the network again, which disables and enables the channel",
            )
        if dlist is self._list:
            return
        if not isinstance(dlist, KernelDescriptorList) or dlist.closed:
            raise InputError(what="launch", detail="the descriptor list is closed or belongs to another kind of link")
        if self._list is not None:
            raise InputError(what=f"channel {self.index}", detail="launched with another descriptor list than before")
        if dlist.count & (dlist.count - 1) or dlist.count < 2:
            # The driver wraps with count - 1 as a mask (driver.md 8.1 row 17).
            raise InputError(
                what=f"channel {self.index}", detail=f"{dlist.count} descriptors; a ring needs a power of two above 1"
            )
        self._list = dlist

    def _plan(self, dlist: KernelDescriptorList, ranges: Ranges) -> _Plan:
        plan = self._plans.get(id(ranges))
        if plan is not None and plan.ranges is ranges and not any(buffer.closed for buffer in plan.buffers):
            return plan
        limit = self._behaviour.max_buffers_per_launch
        if not 1 <= len(ranges) <= limit:
            raise InputError(what="launch", detail=f"{len(ranges)} buffers; 1 to {limit} are possible")
        for buffer, offset, size_bytes in ranges:
            dlist.check_range(buffer, offset, size_bytes)  # type: ignore[arg-type]
            if buffer.direction not in (DmaDirection.BOTH, self._direction):
                raise InputError(what="buffer", detail=f"mapped {buffer.direction.name}, channel {self.index} differs")
        buffers = tuple(buffer for buffer, _, _ in ranges if isinstance(buffer, KernelBuffer))
        used = sum(dlist.descriptors_of(size_bytes) for _, _, size_bytes in ranges)
        copied = any(buffer.bounce is not None for buffer in buffers)
        plan = _Plan(ranges, used, self._format.pack(ranges), buffers, copied)
        if isinstance(ranges, tuple):  # a list could change
            if len(self._plans) >= _KNOWN_TRANSFERS:
                self._plans.clear()
            self._plans[id(ranges)] = plan
        return plan

    def _check_space(self, descriptors: int, transfers: int, mask: int) -> None:
        """The driver does not look: equal positions would mean "all done" to it (driver.md 6.6, 8.1 row 16)."""
        full = len(self._ring) + transfers > self._max_transfers
        if full or self._available + descriptors - self._processed > mask:
            raise QueueFull(name=f"channel {self.index}", depth=len(self._ring))

    def _start(self, dlist: KernelDescriptorList, plan: _Plan, bind: bool, first: int, last: int) -> None:
        form, argument = self._format, self._argument
        start = self._available & (dlist.count - 1)
        form.head.pack_into(argument, 0, 0, self.index, dlist.handle, start, bind, len(plan.ranges))
        argument[form.buffers] = plan.packed
        # 4.17 looks whether the channel runs in debug launches only; the first of a ring is enough to tell.
        debug = self._behaviour.debug_checks_activity and not self._available
        form.tail.pack_into(argument, form.buffers.stop, first, last, debug)
        if plan.copied and not self.from_device:
            for buffer, offset, size_bytes in plan.ranges:
                buffer.to_device(offset, size_bytes)  # type: ignore[attr-defined]
        try:
            used = self._calls.raw(_NAME, argument)
        except OSError as error:
            raise self._launch_failed(error) from error
        if not self._behaviour.launch_returns_count:
            used = form.layout.unpack(argument)["descs_programed"]
        self._available += used
        self._ring.append((self._available, plan.ranges))

    def _launch_failed(self, error: OSError) -> OpenHailoError:
        """After most errors the channel has moved all the same, and nothing can be launched any more (8.1 row 14)."""
        if self._behaviour.launch_moves_on_error and error.errno != self._behaviour.inactive_errno:
            self._broken = "in an unknown position after a refused launch"
        return self._calls.typed(error, _NAME)
