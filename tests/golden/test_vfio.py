"""VFIO's and iommufd's numbers and layouts: literals of Linux (vm-rig.md 9, linux/vfio.h, iommufd.h)."""

from __future__ import annotations

import pytest

from openhailo.spec import vfio
from openhailo.spec.layout import Struct
from openhailo.spec.vfio import Request

REQUESTS = {
    "GET_API_VERSION": 0x3B64,
    "CHECK_EXTENSION": 0x3B65,
    "SET_IOMMU": 0x3B66,
    "GROUP_GET_STATUS": 0x3B67,
    "GROUP_SET_CONTAINER": 0x3B68,
    "GROUP_UNSET_CONTAINER": 0x3B69,
    "GROUP_GET_DEVICE_FD": 0x3B6A,
    "DEVICE_GET_INFO": 0x3B6B,
    "DEVICE_GET_REGION_INFO": 0x3B6C,
    "DEVICE_GET_IRQ_INFO": 0x3B6D,
    "DEVICE_SET_IRQS": 0x3B6E,
    "DEVICE_RESET": 0x3B6F,
    "IOMMU_GET_INFO": 0x3B70,
    "IOMMU_MAP_DMA": 0x3B71,
    "IOMMU_UNMAP_DMA": 0x3B72,
    "DEVICE_BIND_IOMMUFD": 0x3B76,
    "DEVICE_ATTACH_IOMMUFD_PT": 0x3B77,
    "DEVICE_DETACH_IOMMUFD_PT": 0x3B78,
    "IOMMU_DESTROY": 0x3B80,
    "IOMMU_IOAS_ALLOC": 0x3B81,
    "IOMMU_IOAS_IOVA_RANGES": 0x3B84,
    "IOMMU_IOAS_MAP": 0x3B85,
    "IOMMU_IOAS_UNMAP": 0x3B86,
}

#: Struct -> its size and where its members are.
LAYOUTS = {
    "DEVICE_INFO": (16, {"argsz": 0, "flags": 4, "num_regions": 8, "num_irqs": 12}),
    "REGION_INFO": (32, {"argsz": 0, "flags": 4, "index": 8, "cap_offset": 12, "size": 16, "offset": 24}),
    "IRQ_INFO": (16, {"argsz": 0, "flags": 4, "index": 8, "count": 12}),
    "IRQ_SET": (20, {"argsz": 0, "flags": 4, "index": 8, "start": 12, "count": 16}),
    "GROUP_STATUS": (8, {"argsz": 0, "flags": 4}),
    "IOMMU_INFO": (24, {"argsz": 0, "flags": 4, "page_sizes": 8, "cap_offset": 16, "pad": 20}),
    "MAP_DMA": (32, {"argsz": 0, "flags": 4, "vaddr": 8, "iova": 16, "size": 24}),
    "UNMAP_DMA": (24, {"argsz": 0, "flags": 4, "iova": 8, "size": 16}),
    "CAPABILITY_HEADER": (8, {"id": 0, "version": 2, "next": 4}),
    "IOVA_RANGE": (16, {"start": 0, "last": 8}),
    "SPARSE_HEADER": (8, {"count": 0, "reserved": 4}),
    "SPARSE_AREA": (16, {"offset": 0, "size": 8}),
    "DMA_AVAILABLE": (4, {"available": 0}),
    "BIND_IOMMUFD": (16, {"argsz": 0, "flags": 4, "iommufd": 8, "device_id": 12}),
    "ATTACH_PAGE_TABLE": (12, {"argsz": 0, "flags": 4, "pt_id": 8}),
    "IOMMU_DESTROY": (8, {"size": 0, "id": 4}),
    "IOAS_ALLOC": (12, {"size": 0, "flags": 4, "ioas_id": 8}),
    "IOAS_IOVA_RANGES": (
        32,
        {"size": 0, "ioas_id": 4, "count": 8, "reserved": 12, "ranges_address": 16, "iova_alignment": 24},
    ),
    "IOAS_MAP": (
        40,
        {"size": 0, "flags": 4, "ioas_id": 8, "reserved": 12, "user_va": 16, "length": 24, "iova": 32},
    ),
    "IOAS_UNMAP": (24, {"size": 0, "ioas_id": 4, "iova": 8, "length": 16}),
}

#: Enumeration -> all its members.
NUMBERS = {
    "Extension": {"TYPE1": 1, "TYPE1V2": 3, "DMA_CC_IOMMU": 4, "NOIOMMU": 8},
    "GroupFlag": {"VIABLE": 1, "CONTAINER_SET": 2},
    "DmaFlag": {"READ": 1, "WRITE": 2},
    "IommuFlag": {"PAGE_SIZES": 1, "CAPABILITIES": 2},
    "IommuCapability": {"IOVA_RANGE": 1, "MIGRATION": 2, "DMA_AVAILABLE": 3},
    "RegionCapability": {"SPARSE_MMAP": 1, "TYPE": 2, "MSIX_MAPPABLE": 3},
    "IoasFlag": {"FIXED_IOVA": 1, "WRITEABLE": 2, "READABLE": 4},
    "Irq": {"INTX": 0, "MSI": 1, "MSIX": 2, "ERROR": 3, "REQUEST": 4},
    "IrqFlag": {"EVENTFD": 1, "MASKABLE": 2, "AUTOMASKED": 4, "NO_RESIZE": 8},
    "RegionFlag": {"READ": 1, "WRITE": 2, "MMAP": 4, "CAPABILITIES": 8},
    "DeviceFlag": {"RESET": 1, "PCI": 2},
    "SetIrqs": {"DATA_NONE": 1, "DATA_BOOL": 2, "DATA_EVENTFD": 4, "MASK": 8, "UNMASK": 16, "TRIGGER": 32},
}


def test_request_numbers() -> None:
    assert {request.name: int(request) for request in Request} == REQUESTS


def declared() -> dict[str, Struct]:
    return {name: value for name, value in vars(vfio).items() if isinstance(value, Struct)}


def test_every_layout_is_checked() -> None:
    assert declared().keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    layout = declared()[name]
    assert (layout.size, {member.name: member.offset for member in layout.members}) == LAYOUTS[name]


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str) -> None:
    assert {member.name: int(member) for member in getattr(vfio, name)} == NUMBERS[name]


def test_configuration_space_is_region_7() -> None:
    assert vfio.CONFIG_REGION == 7


def test_a_message_is_switched_on_as_the_kernel_expects() -> None:
    head = vfio.IRQ_SET.pack(argsz=24, flags=vfio.SetIrqs.DATA_EVENTFD | vfio.SetIrqs.TRIGGER, index=1, count=1)
    assert head == bytes.fromhex("1800000024000000010000000000000001000000")
