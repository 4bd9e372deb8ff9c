"""Linux VFIO and iommufd: request numbers, layouts and flags of the kernel's public user interface.

Sources: vm-rig.md 9 for the numbers seen there; otherwise the interface that Linux documents for user space
(``linux/vfio.h``, ``linux/iommufd.h``). Device, region and interrupt layouts are those of the vfio-user protocol,
which took them from this interface.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from .layout import Struct, sequential
from .vfio_user import DEVICE_INFO, IRQ_INFO, IRQ_SET, REGION_INFO, DeviceFlag, Irq, IrqFlag, RegionFlag, SetIrqs

__all__ = [
    "ATTACH_PAGE_TABLE",
    "BIND_IOMMUFD",
    "CAPABILITY_HEADER",
    "CONFIG_REGION",
    "DEVICE_INFO",
    "DMA_AVAILABLE",
    "GROUP_STATUS",
    "IOAS_ALLOC",
    "IOAS_IOVA_RANGES",
    "IOAS_MAP",
    "IOAS_UNMAP",
    "IOMMU_DESTROY",
    "IOMMU_INFO",
    "IOVA_RANGE",
    "IRQ_INFO",
    "IRQ_SET",
    "MAP_DMA",
    "REGION_INFO",
    "SPARSE_AREA",
    "SPARSE_HEADER",
    "UNMAP_DMA",
    "DeviceFlag",
    "DmaFlag",
    "Extension",
    "GroupFlag",
    "IoasFlag",
    "IommuCapability",
    "IommuFlag",
    "Irq",
    "IrqFlag",
    "RegionCapability",
    "RegionFlag",
    "Request",
    "SetIrqs",
]


class Request(IntEnum):
    """ioctl requests, all ``_IO(';', n)``: VFIO from n = 100, iommufd from n = 0x80."""

    GET_API_VERSION = 0x3B64
    CHECK_EXTENSION = 0x3B65
    SET_IOMMU = 0x3B66
    GROUP_GET_STATUS = 0x3B67
    GROUP_SET_CONTAINER = 0x3B68
    GROUP_UNSET_CONTAINER = 0x3B69
    GROUP_GET_DEVICE_FD = 0x3B6A
    DEVICE_GET_INFO = 0x3B6B
    DEVICE_GET_REGION_INFO = 0x3B6C
    DEVICE_GET_IRQ_INFO = 0x3B6D
    DEVICE_SET_IRQS = 0x3B6E
    DEVICE_RESET = 0x3B6F
    IOMMU_GET_INFO = 0x3B70
    IOMMU_MAP_DMA = 0x3B71
    IOMMU_UNMAP_DMA = 0x3B72
    DEVICE_BIND_IOMMUFD = 0x3B76
    DEVICE_ATTACH_IOMMUFD_PT = 0x3B77
    DEVICE_DETACH_IOMMUFD_PT = 0x3B78
    IOMMU_DESTROY = 0x3B80
    IOMMU_IOAS_ALLOC = 0x3B81
    IOMMU_IOAS_IOVA_RANGES = 0x3B84
    IOMMU_IOAS_MAP = 0x3B85
    IOMMU_IOAS_UNMAP = 0x3B86


class Extension(IntEnum):
    """Arguments of CHECK_EXTENSION and SET_IOMMU."""

    TYPE1 = 1
    TYPE1V2 = 3
    DMA_CC_IOMMU = 4
    NOIOMMU = 8


class GroupFlag(IntFlag):
    """Flags of GROUP_GET_STATUS."""

    VIABLE = 0x1
    CONTAINER_SET = 0x2


class DmaFlag(IntFlag):
    """Flags of IOMMU_MAP_DMA: what the device may do."""

    READ = 0x1
    WRITE = 0x2


class IommuFlag(IntFlag):
    """Flags of IOMMU_GET_INFO: which members are valid."""

    PAGE_SIZES = 0x1
    CAPABILITIES = 0x2


class IommuCapability(IntEnum):
    """Capability ids in the answer of IOMMU_GET_INFO."""

    IOVA_RANGE = 1
    MIGRATION = 2
    DMA_AVAILABLE = 3


class RegionCapability(IntEnum):
    """Capability ids in the answer of DEVICE_GET_REGION_INFO."""

    SPARSE_MMAP = 1
    TYPE = 2
    MSIX_MAPPABLE = 3


class IoasFlag(IntFlag):
    """Flags of IOMMU_IOAS_MAP."""

    FIXED_IOVA = 0x1
    WRITEABLE = 0x2
    READABLE = 0x4


#: Region index of configuration space; 0-5 are the BARs (vfio-user.md 5).
CONFIG_REGION: Final = 7

_VFIO, _IOMMUFD = "linux/vfio.h", "linux/iommufd.h"

GROUP_STATUS = sequential("GROUP_STATUS", _VFIO, ("argsz", "le32"), ("flags", "le32"))
IOMMU_INFO = sequential(
    "IOMMU_INFO",
    _VFIO,
    ("argsz", "le32"),
    ("flags", "le32"),
    ("page_sizes", "le64"),
    ("cap_offset", "le32"),
    ("pad", "le32"),
)
MAP_DMA = sequential(
    "MAP_DMA",
    _VFIO,
    ("argsz", "le32"),
    ("flags", "le32"),
    ("vaddr", "le64"),
    ("iova", "le64"),
    ("size", "le64"),
)
UNMAP_DMA = sequential("UNMAP_DMA", _VFIO, ("argsz", "le32"), ("flags", "le32"), ("iova", "le64"), ("size", "le64"))
CAPABILITY_HEADER = sequential("CAPABILITY_HEADER", _VFIO, ("id", "le16"), ("version", "le16"), ("next", "le32"))
IOVA_RANGE = sequential("IOVA_RANGE", _VFIO, ("start", "le64"), ("last", "le64"))
#: Follows the capability header: how many elements come.
SPARSE_HEADER: Struct = sequential("SPARSE_HEADER", _VFIO, ("count", "le32"), ("reserved", "le32"))
SPARSE_AREA = sequential("SPARSE_AREA", _VFIO, ("offset", "le64"), ("size", "le64"))
DMA_AVAILABLE = sequential("DMA_AVAILABLE", _VFIO, ("available", "le32"))

BIND_IOMMUFD = sequential(
    "BIND_IOMMUFD", _VFIO, ("argsz", "le32"), ("flags", "le32"), ("iommufd", "lei32"), ("device_id", "le32")
)
ATTACH_PAGE_TABLE = sequential("ATTACH_PAGE_TABLE", _VFIO, ("argsz", "le32"), ("flags", "le32"), ("pt_id", "le32"))
IOMMU_DESTROY = sequential("IOMMU_DESTROY", _IOMMUFD, ("size", "le32"), ("id", "le32"))
IOAS_ALLOC = sequential("IOAS_ALLOC", _IOMMUFD, ("size", "le32"), ("flags", "le32"), ("ioas_id", "le32"))
IOAS_IOVA_RANGES = sequential(
    "IOAS_IOVA_RANGES",
    _IOMMUFD,
    ("size", "le32"),
    ("ioas_id", "le32"),
    ("count", "le32"),
    ("reserved", "le32"),
    ("ranges_address", "le64"),
    ("iova_alignment", "le64"),
)
IOAS_MAP = sequential(
    "IOAS_MAP",
    _IOMMUFD,
    ("size", "le32"),
    ("flags", "le32"),
    ("ioas_id", "le32"),
    ("reserved", "le32"),
    ("user_va", "le64"),
    ("length", "le64"),
    ("iova", "le64"),
)
IOAS_UNMAP = sequential(
    "IOAS_UNMAP", _IOMMUFD, ("size", "le32"), ("ioas_id", "le32"), ("iova", "le64"), ("length", "le64")
)
