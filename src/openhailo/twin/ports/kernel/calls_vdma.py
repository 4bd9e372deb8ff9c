"""Requests about vDMA: buffers, lists, channels, launch, interrupts (driver.md 6, 7.5); as in `calls_board`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from openhailo.bus.protocols import DmaDirection
from openhailo.twin.violation import TwinViolation

from .channels import CHANNELS, ChannelReport
from .descriptors import Span, program
from .memory import DescriptorList, MappedBuffer
from .registers import failure

if TYPE_CHECKING:
    from .files import VirtualDeviceFile

Handler = Callable[["VirtualDeviceFile", Mapping[str, Any], bytearray], int]

ENGINES = 1
TO_DEVICE_CHANNELS = 16
MAX_BUFFERS = {"A": 2, "B": 2, "C": 8, "D": 8}
NOT_ACTIVE, WITH_ERROR, MAX_COUNT = 0xFF, 0xFE, 0xFF
USER_POINTER, DMABUF = 0, 1
MAX_LIST = 0x8000_0000
LAST_DIRECTION = 2
#: More descriptors than any list has (driver.md 6.4); no fact says what the driver does with a longer batch.
MAX_BATCH = 65536


# --- buffers ----------------------------------------------------------------------------------------------------------


def buffer_map(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Pin and map a buffer. There are no dma-bufs in one process: every descriptor number is a bad one.

    GUESS: EINVAL for an empty buffer and for an unknown low-memory handle.
    """
    if values["data_direction"] > LAST_DIRECTION:
        raise failure(errno.EINVAL, f"direction {values['data_direction']}")
    if values.get("buffer_type", USER_POINTER) != USER_POINTER:
        raise failure(errno.EINVAL, f"{values['user_address']} is not a dma-buf")
    size_bytes = values["size"] & 0xFFFFFFFF
    if size_bytes == 0:
        raise failure(errno.EINVAL, "an empty buffer")
    buffer = file.memory.map(
        values["user_address"], size_bytes, values["data_direction"], values["allocated_buffer_handle"]
    )
    file.store(argument, "vdma_buffer_map_params", mapped_handle=buffer.handle)
    return 0


def buffer_unmap(file: VirtualDeviceFile, values: Mapping[str, Any], _argument: bytearray) -> int:
    """Unmap; in flight or not."""
    file.memory.unmap(values["handle"])
    return 0


def buffer_sync(file: VirtualDeviceFile, values: Mapping[str, Any], _argument: bytearray) -> int:
    """Check the arguments and note them; memory here is coherent."""
    buffer = file.memory.mapped.get(values["handle"])
    if buffer is None or values["sync_type"] not in (0, 1):
        raise failure(errno.EINVAL, f"handle {values['handle']}, sync type {values['sync_type']}")
    if values["offset"] + values["count"] > buffer.size_bytes:
        raise failure(errno.EINVAL, f"{values['count']} bytes at {values['offset']} of {buffer.size_bytes}")
    file.last_sync = (buffer.handle, values["sync_type"], values["offset"], values["count"])
    return 0


def low_memory_alloc(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Allocate single pages for the client to map."""
    buffer = file.memory.allocate_pages(values["buffer_size"])
    file.store(argument, "allocate_low_memory_buffer_params", buffer_handle=buffer.handle)
    return 0


def low_memory_free(file: VirtualDeviceFile, values: Mapping[str, Any], _argument: bytearray) -> int:
    """Free a low-memory buffer."""
    file.memory.free_pages(values["handle"])
    return 0


def continuous_alloc(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Allocate contiguous memory."""
    handle, memory = file.memory.allocate_continuous(values["buffer_size"])
    file.store(argument, "allocate_continuous_buffer_params", buffer_handle=handle, dma_address=memory.iova)
    return 0


def continuous_free(file: VirtualDeviceFile, values: Mapping[str, Any], _argument: bytearray) -> int:
    """Free contiguous memory."""
    file.memory.free_continuous(values["handle"])
    return 0


# --- descriptor lists -------------------------------------------------------------------------------------------------


def desc_list_create(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Allocate a list; page size 0 passes, as in the driver (6.4)."""
    count, page_size, circular = values["desc_count"], values["desc_page_size"], values["is_circular"]
    if count & (count - 1) and circular:
        raise failure(errno.EINVAL, f"a ring of {count} descriptors")
    if page_size & (page_size - 1):
        raise failure(errno.EINVAL, f"page size {page_size}")
    if count > MAX_LIST and file.driver.release.batch_loader:
        raise failure(errno.EINVAL, f"{count} descriptors")
    descriptors = file.memory.create_list(count, page_size, circular=circular)
    file.store(
        argument,
        "desc_list_create_params",
        desc_handle=descriptors.handle,
        dma_address=descriptors.memory.iova,
    )
    return 0


def desc_list_release(file: VirtualDeviceFile, values: Mapping[str, Any], _argument: bytearray) -> int:
    """Free a list; in flight or not."""
    file.memory.release_list(values["handle"])
    return 0


def desc_list_program(file: VirtualDeviceFile, values: Mapping[str, Any], _argument: bytearray) -> int:
    """Bind a buffer, from 4.21 on several times over; returns the number of descriptors."""
    buffer = file.memory.mapped.get(values["buffer_handle"])
    descriptors = file.memory.lists.get(values["desc_handle"])
    if buffer is None or descriptors is None:
        raise failure(errno.EFAULT, f"buffer {values['buffer_handle']}, list {values['desc_handle']}")
    if values["buffer_size"] > buffer.size_bytes:
        raise failure(errno.EFAULT, f"{values['buffer_size']} bytes of {buffer.size_bytes}")
    return _program_batch(file, descriptors, buffer, values)


def _program_batch(
    file: VirtualDeviceFile, descriptors: DescriptorList, buffer: MappedBuffer, values: Mapping[str, Any]
) -> int:
    batch = values.get("batch_size", 1)
    start, offset, total = values["starting_desc"], values["buffer_offset"], 0
    for transfer in range(batch):
        span = Span(
            buffer,
            offset,
            values["buffer_size"],
            bind=values.get("should_bind", True),
            domain=values.get("last_interrupts_domain", 0) if transfer == batch - 1 else 0,
            debug=values.get("is_debug", False),
            stride=values.get("stride", 0),
        )
        count = program(descriptors, start, span, file.driver.release, file.driver.segment_bytes)
        total += count
        if count == 0:
            break
        if total > MAX_BATCH:
            raise TwinViolation(f"a batch of {batch} transfers overwrites its own descriptors")
        start = (start + count) % descriptors.count
        offset += count * descriptors.page_size
    return total


# --- channels ---------------------------------------------------------------------------------------------------------


def enable_channels(file: VirtualDeviceFile, values: Mapping[str, Any], _argument: bytearray) -> int:
    """Enable channels of engine 0."""
    file.driver.channels.enable(values["engine0"], measure=values["enable_timestamps_measure"])
    file.channels |= values["engine0"]
    return 0


def disable_channels(file: VirtualDeviceFile, values: Mapping[str, Any], _argument: bytearray) -> int:
    """Disable channels of engine 0; whoever waits for one of them returns."""
    file.driver.channels.disable(values["engine0"])
    file.channels &= ~values["engine0"]
    file.driver.loop.notify()
    return 0


def read_timestamps(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Drain a channel's ring of (time, num processed)."""
    _check_channel(values)
    stamps = file.driver.channels.drain_timestamps(values["channel_index"])
    data = b"".join(time.to_bytes(8, "little") + done.to_bytes(2, "little") for time, done in stamps)
    file.store(
        argument,
        "vdma_interrupts_read_timestamp_params",
        timestamps_count=len(stamps),
        timestamps=data + values["timestamps"][len(data) :],
    )
    return 0


def _check_channel(values: Mapping[str, Any]) -> None:
    if values["engine_index"] >= ENGINES or values["channel_index"] >= CHANNELS:
        raise failure(errno.EINVAL, f"channel {values['channel_index']} of engine {values['engine_index']}")


def wait_for_channels(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Block until a requested channel has something or is not enabled; then complete (6.7). Without the lock."""
    channels, requested = file.driver.channels, values["engine0"]
    if not requested:
        raise failure(errno.EINVAL, "no channel to wait for")
    file.block(lambda: channels.is_due(requested), channels=requested)
    with file.driver.loop.lock:
        reports = channels.collect(requested)
        family = file.driver.release.family
        data = b"".join(_pack_report(family, report) for report in reports)
        file.store(
            argument,
            "vdma_interrupts_wait_params",
            channels_count=len(reports),
            irq_data=data + values["irq_data"][len(data) :],
        )
    return 0


def _pack_report(family: str, report: ChannelReport) -> bytes:
    """One entry of the wait's table (7.4)."""
    head = bytes((0, report.channel))
    if family in "CD":
        return head + bytes((_status_byte(report),))
    amount = report.processed.to_bytes(2, "little") if family == "A" else bytes((report.completed & 0xFF,))
    return head + bytes((report.active,)) + amount + bytes((report.host_error, report.device_error, report.valid))


def _status_byte(report: ChannelReport) -> int:
    """From 4.21 on the count is lost where something is wrong (6.7). GUESS: a failed status check alone is an error."""
    if not report.active:
        return NOT_ACTIVE
    return report.completed & MAX_COUNT if report.valid else WITH_ERROR


# --- launch -----------------------------------------------------------------------------------------------------------


def launch_transfer(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Put a transfer into a channel's ring (6.6).

    GUESS: the arguments are checked in this order: channel, list, number of buffers, each buffer.
    """
    _check_channel(values)
    driver = file.driver
    family, channel = driver.release.family, values["channel_index"]
    descriptors = file.memory.lists.get(values["desc_handle"])
    if descriptors is None:
        raise failure(errno.EFAULT, f"no descriptor list has handle {values['desc_handle']}")
    if values["buffers_count"] > MAX_BUFFERS[family]:
        raise failure(errno.EINVAL, f"{values['buffers_count']} buffers")
    spans = list(_spans(file, values, channel))
    outcome, code = 0, 0
    try:
        outcome = driver.channels.launch(
            channel, descriptors, values["starting_desc"], spans, values["first_interrupts_domain"]
        )
    except OSError as error:
        code = error.errno or 0
    return _launched(file, argument, outcome, code or max(-outcome, 0))


def _launched(file: VirtualDeviceFile, argument: bytearray, count: int, code: int) -> int:
    """Report a launch in the manner of the family; ``code`` is the errno, 0 for success."""
    family = file.driver.release.family
    if family == "B":
        file.store(
            argument,
            "vdma_launch_transfer_params",
            descs_programed=0 if code else count,
            launch_transfer_status=-code,
        )
    if code:
        raise failure(code, "the launch failed")
    if family == "A":
        file.store(argument, "vdma_launch_transfer_params", descs_programed=count)
    return count if family in "CD" else 0


def _spans(file: VirtualDeviceFile, values: Mapping[str, Any], channel: int) -> Iterator[Span]:
    count = values["buffers_count"]
    layout = file.driver.abi.structs["vdma_transfer_buffer"]
    find = _by_handle if file.driver.release.family in "AB" else _by_address
    for n in range(count):
        entry = layout.read(values["buffers"], n * layout.size)
        buffer, offset = find(file, entry, channel)
        yield Span(
            buffer,
            offset,
            entry["size"],
            bind=values["should_bind"],
            domain=values["last_interrupts_domain"] if n == count - 1 else 0,
            debug=values["is_debug"],
        )


def _by_handle(file: VirtualDeviceFile, entry: Mapping[str, Any], channel: int) -> tuple[MappedBuffer, int]:
    """Up to 4.20: a mapping and an offset; the sum of offset and size is not looked at (7.5).

    GUESS: EINVAL where the mapping's direction is not the channel's.
    """
    buffer = file.memory.mapped.get(entry["mapped_buffer_handle"])
    if buffer is None:
        raise failure(errno.EFAULT, f"no mapped buffer has handle {entry['mapped_buffer_handle']}")
    if entry["size"] > buffer.size_bytes or entry["offset"] > buffer.size_bytes or not _suits(buffer, channel):
        raise failure(errno.EINVAL, f"{entry['size']} bytes at {entry['offset']} of {buffer.size_bytes}")
    return buffer, entry["offset"]


def _suits(buffer: MappedBuffer, channel: int) -> bool:
    wanted = DmaDirection.TO_DEVICE if channel < TO_DEVICE_CHANNELS else DmaDirection.FROM_DEVICE
    return buffer.direction in (DmaDirection.BOTH, wanted)


def _by_address(file: VirtualDeviceFile, entry: Mapping[str, Any], channel: int) -> tuple[MappedBuffer, int]:
    """From 4.21 on: any range inside one mapping of a suitable direction."""
    buffer = None
    if entry["buffer_type"] == USER_POINTER:
        to_device = channel < TO_DEVICE_CHANNELS
        buffer = file.memory.find(entry["addr_or_fd"], entry["size"], to_device=to_device)
    if buffer is None:
        raise failure(errno.EFAULT, f"nothing is mapped at 0x{entry['addr_or_fd']:X} (+{entry['size']})")
    return buffer, entry["addr_or_fd"] - buffer.address


VDMA_CALLS: Mapping[str, Handler] = {
    "VDMA_ENABLE_CHANNELS": enable_channels,
    "VDMA_DISABLE_CHANNELS": disable_channels,
    "VDMA_INTERRUPTS_READ_TIMESTAMPS": read_timestamps,
    "VDMA_BUFFER_MAP": buffer_map,
    "VDMA_BUFFER_UNMAP": buffer_unmap,
    "VDMA_BUFFER_SYNC": buffer_sync,
    "DESC_LIST_CREATE": desc_list_create,
    "DESC_LIST_RELEASE": desc_list_release,
    "DESC_LIST_PROGRAM": desc_list_program,
    "VDMA_LOW_MEMORY_BUFFER_ALLOC": low_memory_alloc,
    "VDMA_LOW_MEMORY_BUFFER_FREE": low_memory_free,
    "VDMA_CONTINUOUS_BUFFER_ALLOC": continuous_alloc,
    "VDMA_CONTINUOUS_BUFFER_FREE": continuous_free,
    "VDMA_LAUNCH_TRANSFER": launch_transfer,
}
