"""Hardware-only inference: the chip alone, fed from descriptors that were set up beforehand (context-switch.md 20)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openhailo.driver.control import FirmwareClient
from openhailo.driver.events import Notification
from openhailo.driver.link import DOMAIN_DEVICE, DOMAIN_NONE, ChipLink, DmaDirection, HostBuffer
from openhailo.errors import DeviceError, DeviceTimeout, DoesNotFit
from openhailo.runtime.configure.layers import H2D
from openhailo.runtime.session import BoundaryChannel
from openhailo.spec.enums import EventId

#: The firmware counts in units of this (context-switch.md 20).
CYCLE_S = 5e-9
#: The firmware is told a number of batches in 16 bits.
MOST_BATCHES = 0xFFFF
DONE_TIMEOUT_S = 120.0
#: A list that is set up whole keeps one descriptor free.
SPARE_DESCS = 1


@dataclass(frozen=True)
class CoreSpeed:
    """What the chip does when no host is in its way: ``frames`` in ``cycles`` of 5 ns."""

    frames: int
    batch_size: int
    cycles: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.cycles * CYCLE_S

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.cycles else 0.0


def measure_core(
    link: ChipLink,
    firmware: FirmwareClient,
    boundary: Sequence[BoundaryChannel],
    application: int,
    *,
    batch_size: int = 1,
    read_notification: Callable[[float], Notification | None],
    clock: Callable[[], float] = time.monotonic,
    timeout_s: float = DONE_TIMEOUT_S,
) -> CoreSpeed:
    """Let the chip run as many frames of zeros as all rings hold at once; nothing may be active.

    Args:
        link: the way to the chip.
        firmware: its client.
        boundary: the channels of the network, which is configured.
        application: its index.
        batch_size: frames of a cycle through the contexts.
        read_notification: of the device.
        clock: in seconds.
        timeout_s: longest time for all frames.

    Raises:
        DoesNotFit: not even one batch fits into the rings.
        DeviceTimeout: the chip never says that it is done.
        DeviceError: it reports a failure instead.
        ControlFailed: the firmware refuses.
    """
    buffers: list[HostBuffer] = []
    frames = _frames_at_once(boundary, batch_size)
    try:
        used = _set_up_rings(link, boundary, frames, batch_size, buffers)
        firmware.start_hw_infer(
            application, list(used.items()), dynamic_batch_size=batch_size, batch_count=frames // batch_size
        )
        try:
            await_done(read_notification, clock, timeout_s)
        finally:
            result = firmware.stop_hw_infer()
    finally:
        for buffer in buffers:
            buffer.close()
    return CoreSpeed(frames, batch_size, result.cycles)


def _frames_at_once(boundary: Sequence[BoundaryChannel], batch_size: int) -> int:
    """Return how many frames, a multiple of the batch, every ring holds."""
    held = min((item.dlist.count - SPARE_DESCS) // (_descs(item) * item.layer.transfers_per_frame) for item in boundary)
    batches = min(held // batch_size, MOST_BATCHES)
    if not batches:
        raise DoesNotFit(resource="frames in the rings", need=batch_size, have=held)
    return batches * batch_size


def _descs(item: BoundaryChannel) -> int:
    return -(-item.ring.transfer_bytes // item.dlist.page_size)


def _set_up_rings(
    link: ChipLink, boundary: Sequence[BoundaryChannel], frames: int, batch_size: int, buffers: list[HostBuffer]
) -> dict[int, int]:
    """Point every ring at memory; the last frame of each batch interrupts the device. Return descriptors used."""
    inputs = [item for item in boundary if item.layer.direction is H2D]
    outputs = [item for item in boundary if item.layer.direction is not H2D]

    def alloc(item: BoundaryChannel, size_bytes: int) -> HostBuffer:
        direction = DmaDirection.TO_DEVICE if item.layer.direction is H2D else DmaDirection.FROM_DEVICE
        buffers.append(link.alloc_buffer(size_bytes, direction))
        return buffers[-1]

    # The vendor's library binds whole rings, outputs first, and then the frames, inputs first (recorded).
    for item in (*outputs, *inputs):
        size = item.dlist.count * item.dlist.page_size
        link.program(item.dlist, alloc(item, size), size_bytes=size, channel=item.channel)
    used = {}
    for item in (*inputs, *outputs):
        each, transfers = _descs(item), frames * item.layer.transfers_per_frame
        buffer = alloc(item, transfers * each * item.dlist.page_size)
        link.program(item.dlist, buffer, size_bytes=buffer.size_bytes, channel=item.channel)
        per_batch = batch_size * item.layer.transfers_per_frame
        for index in range(transfers):
            link.program(
                item.dlist,
                buffer,
                size_bytes=item.ring.transfer_bytes,
                offset=index * each * item.dlist.page_size,
                starting_desc=index * each,
                bind=False,
                last_domain=DOMAIN_NONE if (index + 1) % per_batch else DOMAIN_DEVICE,
                channel=item.channel,
            )
        used[item.channel] = transfers * each
    return used


def await_done(
    read_notification: Callable[[float], Notification | None], clock: Callable[[], float], timeout_s: float
) -> None:
    """Wait until the firmware says that every frame is through. Raises `DeviceTimeout`, `DeviceError`."""
    started = clock()
    while (elapsed := clock() - started) < timeout_s:
        notification = read_notification(min(1.0, timeout_s - elapsed))
        if notification is None:
            continue
        if notification.event_id == EventId.HW_INFER_MANAGER_INFER_DONE:
            return
        if notification.event_id == EventId.CONTEXT_SWITCH_RUN_TIME_ERROR:
            raise DeviceError(f"hardware-only inference failed: {notification.name} {dict(notification.values)}")
    raise DeviceTimeout(what="hardware-only inference", budget_s=timeout_s, elapsed_s=clock() - started)
