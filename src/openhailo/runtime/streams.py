"""Boundary streams: a descriptor ring, its slots, and where in them the next frame goes.

A stream is driven by one thread at a time (`openhailo.runtime.pipeline.Pipeline` holds the lock).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial

from openhailo.driver.link import DOMAIN_HOST, BufferRange, ChipLink, DescriptorList, DmaDirection
from openhailo.runtime.buffers import SlotRing
from openhailo.runtime.configure.requirements import Ring
from openhailo.runtime.formats import Array
from openhailo.runtime.stages import Stage, StageTimes
from openhailo.runtime.transforms import FramesCopy

#: Frame memory of one stream: large frames get fewer slots than the descriptor ring would take, so that they stay in
#: the processor's caches while they go round.
MAX_SLOT_BYTES = 4 << 20
MIN_SLOTS = 2


def slot_count(ring: Ring) -> int:
    """Return the slots of a stream: a power of two, so that a slot meets the same descriptors again and again."""
    wanted = min(ring.depth, max(MIN_SLOTS, MAX_SLOT_BYTES // ring.transfer_bytes))
    return 1 << (wanted.bit_length() - 1)


class BoundaryStream:
    """One channel's ring and slots.

    ``in_flight`` slots were launched and have not completed; ``ready`` completed ones wait to be read (outputs only).
    """

    direction: DmaDirection

    def __init__(self, link: ChipLink, name: str, channel: int, dlist: DescriptorList, ring: Ring) -> None:
        """Allocate the slots. Raises `DmaMapError`."""
        self.name, self.channel, self.ring, self.dlist = name, channel, ring, dlist
        self.slots = SlotRing(link, ring.transfer_bytes, slot_count(ring), self.direction)
        self.depth = self.slots.count
        self._launch_many = self._unmeasured = link.launch_many
        self._mask = dlist.count - 1
        self.rewind()

    def rewind(self) -> None:
        """Start again at slot 0 and descriptor 0, where an activation puts the channel."""
        self._slot = self._desc = 0
        self.in_flight = self.ready = 0

    def launch(self, count: int) -> None:
        """Give the next ``count`` slots to the device. Raises `QueueFull`, `StateError`, `DeviceLost`."""
        while count:
            slot = self._slot
            run = min(count, self.depth - slot)
            used = self._launch_many(self.channel, self.dlist, self._desc, self.slots.run(slot, run))
            self._desc = (self._desc + used) & self._mask
            self._slot = (slot + run) % self.depth
            self.in_flight += run
            count -= run

    def launch_ranges(self, transfers: Sequence[Sequence[BufferRange]]) -> None:
        """Give memory of others to the device in place of the next slots, one transfer for each.

        Raises what `launch` does, and `InputError`.
        """
        used = self._launch_many(self.channel, self.dlist, self._desc, transfers)
        self._desc = (self._desc + used) & self._mask
        self._slot = (self._slot + len(transfers)) % self.depth
        self.in_flight += len(transfers)

    def measure(self, times: StageTimes | None) -> None:
        """Add the time of launches to ``times`` from now on."""
        launch = self._unmeasured
        self._launch_many = launch if times is None else times.timed(Stage.LAUNCH, launch)

    def close(self) -> None:
        """Give memory and descriptors back; the channel must be disabled. Idempotent."""
        self.slots.close()
        self.dlist.close()


class InputStream(BoundaryStream):
    """Frames on their way to the device."""

    direction = DmaDirection.TO_DEVICE

    def interrupt_at_start(self) -> None:
        """From now on the host is interrupted when a frame begins as well, as the vendor measures latency."""
        self._launch_many = self._unmeasured = partial(self._launch_many, first_domain=DOMAIN_HOST)

    def rewind(self) -> None:
        """Start again at slot 0 and descriptor 0; nothing is filled."""
        super().rewind()
        self._filled = 0

    @property
    def room(self) -> int:
        """Slots that can be filled now."""
        return self.depth - self.in_flight - self._filled

    def complete(self, count: int) -> None:
        """Account for ``count`` transfers that the device has read."""
        self.in_flight -= count

    def fill(self, write: FramesCopy, frames: Array, first: int, count: int) -> None:
        """Write ``frames[first : first + count]`` into the next slots, for `push`; ``count`` is at most `room`."""
        while count:
            slot = (self._slot + self._filled) % self.depth
            run = min(count, self.depth - slot)
            write(frames[first : first + run], slot, slot + run)
            self._filled += run
            first += run
            count -= run

    def push(self) -> None:
        """Launch the slots that were filled. Raises what `launch` raises."""
        count, self._filled = self._filled, 0
        self.launch(count)


class OutputRefill(StrEnum):
    """When slots of an output are handed to the device.

    ``HALF``: all at the start, and again when half of them are with the host: a doorbell costs more than a small frame.
    ``EACH``: all at the start, and each as soon as it was read, like the vendor's streams. ``PAIRED``: one for each
    input frame, right after it, like the vendor's asynchronous interface; so the device never runs ahead.
    """

    HALF = "half"
    EACH = "each"
    PAIRED = "paired"


class OutputStream(BoundaryStream):
    """Frames on their way from the device; ``refill`` says when it gets slots to write to."""

    direction = DmaDirection.FROM_DEVICE
    refill = OutputRefill.HALF

    @property
    def is_paired(self) -> bool:
        """Whether slots have to be launched together with input frames."""
        return self.refill is OutputRefill.PAIRED

    @property
    def room(self) -> int:
        """Slots that are with the host and hold nothing to be read."""
        return self.depth - self.in_flight - self.ready

    def start(self) -> None:
        """Hand out slots after an activation."""
        if not self.is_paired:
            self.launch(self.depth)

    def rewind(self) -> None:
        """Start again at slot 0 and descriptor 0; nothing waits to be read."""
        super().rewind()
        self._tail = self._read = 0

    def complete(self, count: int) -> None:
        """Account for ``count`` transfers that the device has written."""
        self.in_flight -= count
        self.ready += count

    def pull(self, read: FramesCopy, out: Array, first: int, count: int) -> None:
        """Read the ``count`` oldest frames into ``out[first : first + count]``; their slots are free again."""
        self.ready -= count
        self._read += count
        while count:
            slot = self._tail
            run = min(count, self.depth - slot)
            read(out[first : first + run], slot, slot + run)
            self._tail = (slot + run) % self.depth
            first += run
            count -= run
        if self.in_flight <= self.depth // 2 or self.refill is not OutputRefill.HALF:
            self._hand_back()

    def skip(self, count: int) -> None:
        """Leave the ``count`` oldest frames where they are: the device wrote them to memory of the user's."""
        self.ready -= count
        self._tail = (self._tail + count) % self.depth

    def _hand_back(self) -> None:
        count, self._read = self._read, 0
        if not self.is_paired:
            self.launch(count)
