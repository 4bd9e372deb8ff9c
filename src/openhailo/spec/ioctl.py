"""The kernel driver's ioctl interface as data: structures, request numbers and behaviour of nine releases.

Four ABI families over LP64 (x86-64, aarch64): A 4.17.x, B 4.18.0-4.20.1, C 4.21-4.22, D 4.23 (driver.md 7). All
structures are packed, so 8-byte members sit at odd offsets; sizes and handles are 64-bit, enumerations 32-bit, booleans
one byte. What a release does differently from its neighbours (driver.md 7.6) is data too: `Behaviour`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, IntEnum

from . import ioctl_structs as s
from .layout import Struct

#: Bits of a request number: (direction << 30) | (size << 16) | (type << 8) | nr (driver.md 7.1).
DIRECTION_SHIFT, SIZE_SHIFT, TYPE_SHIFT = 30, 16, 8


class Direction(IntEnum):
    """The direction field; its letters are inverted against the flow of data (driver.md 8.1 row 2)."""

    NONE = 0
    FROM_DRIVER = 1
    TO_DRIVER = 2
    BOTH = 3


class DmaDirection(IntEnum):
    """Who writes a mapped buffer (driver.md 7.4)."""

    BOTH = 0
    TO_DEVICE = 1
    FROM_DEVICE = 2
    NONE = 3


class BufferType(IntEnum):
    """What the address of a mapping or transfer is (driver.md 7.4)."""

    USER_POINTER = 0
    DMABUF = 1


class AllocationMode(IntEnum):
    """Who allocates memory that the device reaches (driver.md 1.2, 7.4)."""

    USER_SPACE = 0
    DRIVER = 1


class CpuId(IntEnum):
    """Which processor a control or log is of (driver.md 7.4)."""

    APP = 0
    CORE = 1
    NONE = 2


class SyncType(IntEnum):
    """Which way a buffer is synchronised (driver.md 7.4)."""

    FOR_CPU = 0
    FOR_DEVICE = 1


class InterruptsDomain(IntEnum):
    """Who is interrupted by a descriptor (driver.md 6.3, 7.4)."""

    NONE = 0
    DEVICE = 1
    HOST = 2
    BOTH = 3


class EntryKind(Enum):
    """What an entry of INTERRUPTS_WAIT tells (driver.md 6.7)."""

    INDEX = "index of the last processed descriptor; the caller counts transfers itself"
    COUNT = "number of completed transfers, activity and error bytes beside it"
    BYTE = "one byte: number of completed transfers, or a mark"


@dataclass(frozen=True)
class Ioctl:
    """One request. ``struct`` of size 0 stands for no argument; ``implemented`` is false where Hailo-8 refuses it."""

    name: str
    type: str
    nr: int
    direction: Direction
    struct: Struct = s.NOTHING
    implemented: bool = True

    @property
    def number(self) -> int:
        """The request number; the structure's size is part of it."""
        return (
            self.direction << DIRECTION_SHIFT | self.struct.size << SIZE_SHIFT | ord(self.type) << TYPE_SHIFT | self.nr
        )


@dataclass(frozen=True)
class Behaviour:
    """What a release does beyond its structures. Defaults are those of 4.17 (driver.md 4.1, 6.4-6.8, 7.5, 7.6).

    ``program_ioctl`` points descriptors at a buffer; ``program_sets_interrupts``: it writes interrupt bits too, and
    sizes without addresses; ``program_has_batch``: it takes several transfers. ``list_mmap``: user space may map lists.

    ``buffers_by_address``: launches name buffers by address instead of handle. ``launch_returns_count``: the return
    value is the number of descriptors, else it is in the structure. ``launch_moves_on_error``: a launch with a wrong
    buffer fails but has moved the channel (8.1 row 14). ``inactive_errno``: what launching on a stopped channel gives;
    0: nobody looks, unless ``debug_checks_activity`` and the launch is marked ``is_debug`` (6.6 step 6).

    ``entry_kind``, ``entry_inactive``, ``entry_error``: INTERRUPTS_WAIT. ``disable_wipes_all``: disabling forgets the
    state of all 32 channels. ``disable_refuses_idle``: disabling a channel that is not enabled fails.
    ``close_disables_channels``: closing disables the channels that were enabled through the same open.

    ``notification_disabled_errno``: what a reader gets after DISABLE_NOTIFICATION. ``no_contiguous_errno``: what lists
    and continuous buffers give without memory. ``boots_without_firmware``: the node is there without firmware.
    """

    program_ioctl: str = "DESC_LIST_BIND_VDMA_BUFFER"
    enable_ioctl: str = "VDMA_INTERRUPTS_ENABLE"
    disable_ioctl: str = "VDMA_INTERRUPTS_DISABLE"
    program_sets_interrupts: bool = False
    program_has_batch: bool = False
    list_mmap: bool = True
    map_has_type: bool = False
    buffers_by_address: bool = False
    max_buffers_per_launch: int = 2
    launch_returns_count: bool = False
    launch_moves_on_error: bool = False
    inactive_errno: int = 0
    debug_checks_activity: bool = True
    entry_kind: EntryKind = EntryKind.INDEX
    entry_inactive: int = 0xFF
    entry_error: int = 0xFE
    disable_wipes_all: bool = True
    disable_refuses_idle: bool = True
    close_disables_channels: bool = False
    notification_disabled_errno: int = errno.EINVAL
    no_contiguous_errno: int = errno.ENOMEM
    boots_without_firmware: bool = True
    has_memory_transfer: bool = True


@dataclass(frozen=True)
class IoctlRules:
    """Numbers that are the same in all releases (driver.md 6.4, 7.1, 8.1; driver-abi.json constants)."""

    max_control_bytes: int = 1500
    max_notification_bytes: int = 1500
    max_log_read_bytes: int = 512
    max_transfers_in_flight: int = 127
    channels: int = 32
    engines: int = 3
    interrupt_entries: int = 96
    timestamps: int = 256
    no_allocated_buffer: int = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True)
class Release:
    """A driver release: its ABI ``family``, requests by name, structures by name, behaviour."""

    version: tuple[int, int, int]
    family: str
    ioctls: Mapping[str, Ioctl]
    behaviour: Behaviour

    @property
    def name(self) -> str:
        """Like ``4.20.1``."""
        return ".".join(map(str, self.version))

    def __getitem__(self, name: str) -> Ioctl:
        return self.ioctls[name]


def _named(*ioctls: Ioctl) -> dict[str, Ioctl]:
    return {ioctl.name: ioctl for ioctl in ioctls}


_NONE, _OUT, _IN, _INOUT = Direction

#: Requests whose number and structure never changed (driver.md 7.2).
_COMMON = _named(
    Ioctl("VDMA_INTERRUPTS_READ_TIMESTAMPS", "v", 3, _INOUT, s.READ_TIMESTAMPS),
    Ioctl("VDMA_BUFFER_UNMAP", "v", 5, _IN, s.BUFFER_UNMAP),
    Ioctl("VDMA_BUFFER_SYNC", "v", 6, _IN, s.BUFFER_SYNC),
    Ioctl("DESC_LIST_CREATE", "v", 7, _INOUT, s.DESC_LIST_CREATE),
    Ioctl("DESC_LIST_RELEASE", "v", 8, _IN, s.DESC_LIST_RELEASE),
    Ioctl("VDMA_LOW_MEMORY_BUFFER_ALLOC", "v", 10, _INOUT, s.LOW_MEMORY_ALLOC),
    Ioctl("VDMA_LOW_MEMORY_BUFFER_FREE", "v", 11, _IN, s.LOW_MEMORY_FREE),
    Ioctl("MARK_AS_IN_USE", "v", 12, _OUT, s.MARK_AS_IN_USE),
    Ioctl("VDMA_CONTINUOUS_BUFFER_ALLOC", "v", 13, _INOUT, s.CONTINUOUS_ALLOC),
    Ioctl("VDMA_CONTINUOUS_BUFFER_FREE", "v", 14, _IN, s.CONTINUOUS_FREE),
)
_MEMORY_TRANSFER = _named(Ioctl("MEMORY_TRANSFER", "g", 0, _INOUT, s.MEMORY_TRANSFER))

_A = {
    **_COMMON,
    **_MEMORY_TRANSFER,
    **_named(
        Ioctl("FW_CONTROL", "g", 1, _INOUT, s.FW_CONTROL),
        Ioctl("READ_NOTIFICATION", "g", 2, _OUT, s.NOTIFICATION),
        Ioctl("DISABLE_NOTIFICATION", "g", 3, _NONE),
        Ioctl("QUERY_DEVICE_PROPERTIES", "g", 4, _OUT, s.DEVICE_PROPERTIES),
        Ioctl("QUERY_DRIVER_INFO", "g", 5, _OUT, s.DRIVER_INFO),
        Ioctl("READ_LOG", "g", 6, _INOUT, s.READ_LOG),
        Ioctl("RESET_NN_CORE", "g", 7, _NONE, implemented=False),
        Ioctl("VDMA_INTERRUPTS_ENABLE", "v", 0, _IN, s.INTERRUPTS_ENABLE),
        Ioctl("VDMA_INTERRUPTS_DISABLE", "v", 1, _IN, s.INTERRUPTS_DISABLE),
        Ioctl("VDMA_INTERRUPTS_WAIT", "v", 2, _INOUT, s.INTERRUPTS_WAIT_A),
        Ioctl("VDMA_BUFFER_MAP", "v", 4, _INOUT, s.BUFFER_MAP_A),
        Ioctl("DESC_LIST_BIND_VDMA_BUFFER", "v", 9, _IN, s.DESC_LIST_BIND),
        Ioctl("VDMA_LAUNCH_TRANSFER", "v", 15, _INOUT, s.LAUNCH_A),
        Ioctl("NON_LINUX_DESC_LIST_MMAP", "w", 0, _INOUT, s.NON_LINUX_MMAP, implemented=False),
    ),
}

#: What 4.18 moved or renamed, and nobody changed since.
_SINCE_4_18 = {
    **_COMMON,
    **_named(
        Ioctl("QUERY_DEVICE_PROPERTIES", "g", 1, _OUT, s.DEVICE_PROPERTIES),
        Ioctl("QUERY_DRIVER_INFO", "g", 2, _OUT, s.DRIVER_INFO),
        Ioctl("FW_CONTROL", "n", 0, _INOUT, s.FW_CONTROL),
        Ioctl("READ_NOTIFICATION", "n", 1, _OUT, s.NOTIFICATION),
        Ioctl("DISABLE_NOTIFICATION", "n", 2, _NONE),
        Ioctl("READ_LOG", "n", 3, _INOUT, s.READ_LOG),
        Ioctl("RESET_NN_CORE", "n", 4, _NONE, implemented=False),
        Ioctl("VDMA_ENABLE_CHANNELS", "v", 0, _IN, s.ENABLE_CHANNELS),
        Ioctl("VDMA_DISABLE_CHANNELS", "v", 1, _IN, s.DISABLE_CHANNELS),
        Ioctl("VDMA_BUFFER_MAP", "v", 4, _INOUT, s.BUFFER_MAP),
        Ioctl("SOC_CLOSE", "s", 1, _IN, s.SOC_CLOSE, implemented=False),
        Ioctl("PCI_EP_CLOSE", "p", 1, _IN, s.PCI_EP_CLOSE, implemented=False),
    ),
}
_B_TRANSFER = _named(
    Ioctl("VDMA_INTERRUPTS_WAIT", "v", 2, _INOUT, s.INTERRUPTS_WAIT_B),
    Ioctl("DESC_LIST_PROGRAM", "v", 9, _IN, s.DESC_LIST_PROGRAM_B),
    Ioctl("VDMA_LAUNCH_TRANSFER", "v", 15, _INOUT, s.LAUNCH_B),
)
_B_4_18 = {
    **_SINCE_4_18,
    **_MEMORY_TRANSFER,
    **_B_TRANSFER,
    **_named(
        Ioctl("SOC_CONNECT", "s", 0, _INOUT, s.SOC_CONNECT_4_18, implemented=False),
        Ioctl("PCI_EP_ACCEPT", "p", 0, _INOUT, s.PCI_EP_ACCEPT_4_18, implemented=False),
    ),
}
_SINCE_4_19 = {
    **_SINCE_4_18,
    **_named(
        Ioctl("SOC_CONNECT", "s", 0, _INOUT, s.SOC_CONNECT, implemented=False),
        Ioctl("PCI_EP_ACCEPT", "p", 0, _INOUT, s.PCI_EP_ACCEPT, implemented=False),
        Ioctl("WRITE_ACTION_LIST", "n", 5, _OUT, s.WRITE_ACTION_LIST, implemented=False),
    ),
}
_B = {**_SINCE_4_19, **_MEMORY_TRANSFER, **_B_TRANSFER}
_D = {
    **_SINCE_4_19,
    **_named(
        Ioctl("VDMA_INTERRUPTS_WAIT", "v", 2, _INOUT, s.INTERRUPTS_WAIT),
        Ioctl("DESC_LIST_PROGRAM", "v", 9, _IN, s.DESC_LIST_PROGRAM),
        Ioctl("VDMA_LAUNCH_TRANSFER", "v", 15, _IN, s.LAUNCH),
        Ioctl("SOC_POWER_OFF", "s", 2, _NONE, implemented=False),
    ),
}
_C = {**_D, **_MEMORY_TRANSFER}

_LIKE_4_17 = Behaviour()
_LIKE_4_18 = replace(
    _LIKE_4_17,
    program_ioctl="DESC_LIST_PROGRAM",
    enable_ioctl="VDMA_ENABLE_CHANNELS",
    disable_ioctl="VDMA_DISABLE_CHANNELS",
    program_sets_interrupts=True,
    list_mmap=False,
    map_has_type=True,
    launch_moves_on_error=True,
    inactive_errno=errno.ECONNRESET,
    debug_checks_activity=False,
    entry_kind=EntryKind.COUNT,
    disable_refuses_idle=False,
)
_LIKE_4_19 = replace(_LIKE_4_18, disable_wipes_all=False, close_disables_channels=True, boots_without_firmware=False)
_LIKE_4_20 = replace(_LIKE_4_19, notification_disabled_errno=errno.ECANCELED, no_contiguous_errno=errno.ENOBUFS)
_LIKE_4_21 = replace(
    _LIKE_4_20,
    program_has_batch=True,
    buffers_by_address=True,
    max_buffers_per_launch=8,
    launch_returns_count=True,
    entry_kind=EntryKind.BYTE,
)
_LIKE_4_23 = replace(_LIKE_4_21, has_memory_transfer=False)

#: The releases, oldest first (driver.md 7.2, 7.6).
RELEASES: Mapping[str, Release] = {
    release.name: release
    for release in (
        Release((4, 17, 0), "A", _A, _LIKE_4_17),
        Release((4, 17, 1), "A", _A, _LIKE_4_17),
        Release((4, 18, 0), "B", _B_4_18, _LIKE_4_18),
        Release((4, 19, 0), "B", _B, _LIKE_4_19),
        Release((4, 20, 0), "B", _B, _LIKE_4_20),
        Release((4, 20, 1), "B", _B, _LIKE_4_20),
        Release((4, 21, 0), "C", _C, _LIKE_4_21),
        Release((4, 22, 0), "C", _C, _LIKE_4_21),
        Release((4, 23, 0), "D", _D, _LIKE_4_23),
    )
}

#: Requests to find out the release: the first is answered by 4.18 and later, the second by 4.17 (driver.md 7.2).
VERSION_PROBES: tuple[Ioctl, Ioctl] = (_D["QUERY_DRIVER_INFO"], _A["QUERY_DRIVER_INFO"])


@dataclass(frozen=True)
class KernelSpec:
    """The whole interface as a client reads it: releases by name, requests that ask for the version, common numbers."""

    releases: Mapping[str, Release]
    probes: tuple[Ioctl, ...]
    rules: IoctlRules


#: What is known of the kernel driver; tests bend copies of it.
KERNEL = KernelSpec(RELEASES, VERSION_PROBES, IoctlRules())
