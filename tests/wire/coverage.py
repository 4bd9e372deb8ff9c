"""Which records of the traces are compared, and why the others do not apply to a driver without a kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from .recording import Recording

#: Record kinds and ioctls that are compared (under "part").
COMPARED: Mapping[str, str] = {
    "control": "controls",
    "action_list": "action lists",
    "channel_open": "channel registers",
    "config_dma": "config streams",
    "frame_size": "frame sizes",
    "dma": "transfer descriptors",
    "frame": "frames on the device",
    "num_avail": "ring positions",
    "notification": "notification bytes",
    "doorbell": "shutdown",
    "ioctl FW_CONTROL": "controls",
    "ioctl DESC_LIST_CREATE": "descriptor lists",
    "ioctl DESC_LIST_RELEASE": "descriptor lists",
    "ioctl DESC_LIST_PROGRAM": "descriptor programming (of rings: transfer descriptors)",
    "ioctl VDMA_BUFFER_SYNC": "order of calls",
    "ioctl VDMA_ENABLE_CHANNELS": "order of calls",
    "ioctl VDMA_DISABLE_CHANNELS": "order of calls",
    "ioctl VDMA_LAUNCH_TRANSFER": "transfer descriptors, ring positions",
    "ioctl READ_LOG": "log contents, ioctls: contents",
    "ioctl QUERY_DRIVER_INFO": "ioctls: opening",
    "ioctl QUERY_DEVICE_PROPERTIES": "ioctls: opening",
    "ioctl MARK_AS_IN_USE": "ioctls: opening",
    "ioctl READ_NOTIFICATION": "ioctls: contents, ioctls: end",
    "ioctl DISABLE_NOTIFICATION": "ioctls: end",
    "ioctl VDMA_BUFFER_MAP": "order of calls, ioctls: memory",
    "ioctl VDMA_BUFFER_UNMAP": "ioctls: memory",
    "ioctl VDMA_INTERRUPTS_WAIT": "ioctls: channels (what it waits for; grouping is timing)",
    "ioctl VDMA_INTERRUPTS_READ_TIMESTAMPS": "ioctls: channels (of which channels)",
    "ioctl VDMA_LOW_MEMORY_BUFFER_ALLOC": "ioctls: memory",
    "ioctl VDMA_LOW_MEMORY_BUFFER_FREE": "ioctls: memory",
}

#: What is left, and why.
NOT_APPLICABLE: Mapping[str, str] = {
    "open": "a device node; the virtual driver hands out its opens without one",
    "close": "a device node; the virtual driver hands out its opens without one",
    "mmap": "follows an allocation by the kernel driver, which is compared",
    "irq": "made by the recording's device; what the handler does with it is compared where BARs were recorded",
    "fw_state": "the recording device's reaction to control 37, which is compared",
    "channel_close": "the recording device's reaction to control 37, which is compared",
}


def count_records(recordings: Iterable[Recording]) -> tuple[Counter[str], Counter[str]]:
    """Return how many records are compared and how many do not apply, by kind. An unknown kind is a `LookupError`."""
    compared: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for recording in recordings:
        for record in recording.records:
            kind = f"ioctl {record['io']}" if record["k"] == "ioctl" else record["k"]
            if kind not in COMPARED and kind not in NOT_APPLICABLE:
                raise LookupError(f"{recording.id} holds records of kind {kind!r}, which nobody knows")
            (compared if kind in COMPARED else others)[kind] += 1
    return compared, others
