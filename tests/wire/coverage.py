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
    "ioctl READ_LOG": "log contents",
}

#: What is left, and why.
NOT_APPLICABLE: Mapping[str, str] = {
    "open": "a device node; without a kernel driver there is none",
    "close": "a device node; without a kernel driver there is none",
    "mmap": "memory that the kernel driver allocates; ours is mapped over the IOMMU",
    "irq": "made by the recording's device; what the handler does with it is compared where BARs were recorded",
    "fw_state": "the recording device's reaction to control 37, which is compared",
    "channel_close": "the recording device's reaction to control 37, which is compared",
    "ioctl QUERY_DRIVER_INFO": "asks the kernel driver for its version",
    "ioctl QUERY_DEVICE_PROPERTIES": "asks the kernel driver; its page limit is given to our link",
    "ioctl MARK_AS_IN_USE": "keeps other processes of the kernel driver away; a bare PCI function has one owner",
    "ioctl READ_NOTIFICATION": "a thread that blocks in the kernel; what it brings is compared as notifications",
    "ioctl DISABLE_NOTIFICATION": "wakes a thread that blocks in the kernel",
    "ioctl VDMA_BUFFER_MAP": "pins pages in the kernel (of config lists: compared as order of calls)",
    "ioctl VDMA_BUFFER_UNMAP": "unpins pages in the kernel",
    "ioctl VDMA_INTERRUPTS_WAIT": "a thread that blocks in the kernel; grouping is timing (masks.json)",
    "ioctl VDMA_INTERRUPTS_READ_TIMESTAMPS": "times that the kernel driver took",
    "ioctl VDMA_LOW_MEMORY_BUFFER_ALLOC": "memory that the kernel driver allocates",
    "ioctl VDMA_LOW_MEMORY_BUFFER_FREE": "memory that the kernel driver allocates",
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
