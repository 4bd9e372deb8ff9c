"""The vfio-user protocol, version 0.0: layouts, numbers and limits (facts: vfio-user.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from .layout import Struct, sequential


class Command(IntEnum):
    """Commands (vfio-user.md 3). DMA_READ and DMA_WRITE go from server to client, the others the other way."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


class MessageFlag(IntFlag):
    """The header's flags (vfio-user.md 0, 1.2)."""

    REPLY = 0x1
    TYPE_MASK = 0xF
    NO_REPLY = 0x10
    ERROR = 0x20


class DmaFlag(IntFlag):
    """Flags of DMA_MAP and DMA_UNMAP (vfio-user.md 4.1, 4.2)."""

    READ = 0x1
    WRITE = 0x2
    UNMAP_ALL = 0x2


class DeviceFlag(IntFlag):
    """Flags of GET_INFO (vfio-user.md 4.3)."""

    RESET = 0x1
    PCI = 0x2


class RegionFlag(IntFlag):
    """Flags of GET_REGION_INFO (vfio-user.md 4.4)."""

    READ = 0x1
    WRITE = 0x2
    MMAP = 0x4
    CAPABILITIES = 0x8


class IrqFlag(IntFlag):
    """Flags of GET_IRQ_INFO (vfio-user.md 4.5)."""

    EVENTFD = 0x1
    MASKABLE = 0x2
    AUTOMASKED = 0x4
    NO_RESIZE = 0x8


class SetIrqs(IntFlag):
    """Flags of SET_IRQS: one data bit and one action bit (vfio-user.md 4.6)."""

    DATA_NONE = 0x1
    DATA_BOOL = 0x2
    DATA_EVENTFD = 0x4
    MASK = 0x8
    UNMASK = 0x10
    TRIGGER = 0x20


class Irq(IntEnum):
    """Interrupt indexes (vfio-user.md 0)."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERROR = 3
    REQUEST = 4


HEADER = sequential(
    "HEADER",
    "vfio-user.md 1.2",
    ("id", "le16"),
    ("command", "le16"),
    ("size", "le32"),
    ("flags", "le32"),
    ("errno", "le32"),
)
VERSION = sequential("VERSION", "vfio-user.md 2", ("major", "le16"), ("minor", "le16"))
DMA_MAP = sequential(
    "DMA_MAP",
    "vfio-user.md 4.1",
    ("argsz", "le32"),
    ("flags", "le32"),
    ("offset", "le64"),
    ("address", "le64"),
    ("size", "le64"),
)
DMA_UNMAP = sequential(
    "DMA_UNMAP", "vfio-user.md 4.2", ("argsz", "le32"), ("flags", "le32"), ("address", "le64"), ("size", "le64")
)
DEVICE_INFO = sequential(
    "DEVICE_INFO",
    "vfio-user.md 4.3",
    ("argsz", "le32"),
    ("flags", "le32"),
    ("num_regions", "le32"),
    ("num_irqs", "le32"),
)
REGION_INFO = sequential(
    "REGION_INFO",
    "vfio-user.md 4.4",
    ("argsz", "le32"),
    ("flags", "le32"),
    ("index", "le32"),
    ("cap_offset", "le32"),
    ("size", "le64"),
    ("offset", "le64"),
)
IRQ_INFO = sequential(
    "IRQ_INFO", "vfio-user.md 4.5", ("argsz", "le32"), ("flags", "le32"), ("index", "le32"), ("count", "le32")
)
IRQ_SET = sequential(
    "IRQ_SET",
    "vfio-user.md 4.6",
    ("argsz", "le32"),
    ("flags", "le32"),
    ("index", "le32"),
    ("start", "le32"),
    ("count", "le32"),
)
REGION_ACCESS = sequential(
    "REGION_ACCESS", "vfio-user.md 4.7", ("offset", "le64"), ("region", "le32"), ("count", "le32")
)
DMA_ACCESS = sequential("DMA_ACCESS", "vfio-user.md 4.8", ("address", "le64"), ("count", "le64"))
WRITE_MULTI = sequential("WRITE_MULTI", "vfio-user.md 4.9", ("count", "le64"))
WRITE_MULTI_ENTRY = sequential(
    "WRITE_MULTI_ENTRY",
    "vfio-user.md 4.9",
    ("offset", "le64"),
    ("region", "le32"),
    ("count", "le32"),
    ("data", "bytes", 8),
)


@dataclass(frozen=True)
class VfioUserRules:
    """Limits and fixed numbers.

    What the facts do not limit is marked GUESS: far above what a virtual machine needs, far below what would hurt.
    """

    major: int = 0
    minor: int = 0
    regions: int = 9  # 0-5 BARs, 6 ROM, 7 configuration space, 8 VGA (5)
    config_region: int = 7
    config_size_bytes: int = 4096
    irqs: int = 5
    max_msg_fds: int = 8  # 2
    max_data_xfer_bytes: int = 1 << 20  # 2
    min_data_xfer_bytes: int = 4096  # 2: less, and configuration space cannot be read at once
    max_dma_maps: int = 65535  # 2
    page_bytes: int = 4096  # 2
    max_multi_writes: int = 200  # 4.9, 10
    max_multi_bytes: int = 8  # 4.9
    access_widths: tuple[int, ...] = (1, 2, 4, 8)  # 5
    max_version_text: int = 4096  # GUESS; QEMU sends 194 bytes
    max_version_nesting: int = 32  # GUESS: brackets in the capabilities; QEMU sends 3
    max_files: int = 256  # GUESS: one per memory backend of a machine
    max_mapped_bytes: int = 1 << 42  # GUESS: 4 TiB of address space
    reply_timeout_s: float = 4.0  # below the 5 s that QEMU itself waits (12)
    handshake_timeout_s: float = 5.0  # GUESS: a client negotiates at once or is dropped


@dataclass(frozen=True)
class VfioUserSpec:
    """Everything about the protocol in one copy; server and client take it by injection."""

    rules: VfioUserRules = VfioUserRules()
    header: Struct = HEADER
    version: Struct = VERSION
    dma_map: Struct = DMA_MAP
    dma_unmap: Struct = DMA_UNMAP
    device_info: Struct = DEVICE_INFO
    region_info: Struct = REGION_INFO
    irq_info: Struct = IRQ_INFO
    irq_set: Struct = IRQ_SET
    region_access: Struct = REGION_ACCESS
    dma_access: Struct = DMA_ACCESS
    write_multi: Struct = WRITE_MULTI
    write_multi_entry: Struct = WRITE_MULTI_ENTRY


VFIO_USER = VfioUserSpec()
