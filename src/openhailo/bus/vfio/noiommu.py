"""VFIO without an IOMMU: the kernel hands the device out and confines nothing (see `openhailo.bus.physical`)."""

from __future__ import annotations

from pathlib import Path

from openhailo.bus.syscalls import Kernel
from openhailo.bus.sysfs import PciFunctionInfo
from openhailo.errors import DeviceError
from openhailo.spec.vfio import Extension

from .container import Container, attach_group, device_descriptor
from .iommu import OpenedDevice


def group_node(function: PciFunctionInfo, dev: Path) -> Path:
    """Return where the group's node is when there is no IOMMU."""
    return dev / "vfio" / f"noiommu-{function.iommu_group}"


def open_noiommu(kernel: Kernel, function: PciFunctionInfo, *, root: Path, dev: Path) -> OpenedDevice:
    """Open ``function``; the caller asked for it by name. Raises as `openhailo.bus.vfio.container.open_group`."""
    name = f"pci:{function.address}"
    container = Container(kernel, name, group_node(function, dev), dev / "vfio" / "vfio")
    try:
        attach_group(container, function, root)
        if not container.supports(Extension.NOIOMMU):
            raise DeviceError(
                f"{name}: VFIO is not allowed to work without an IOMMU; modprobe vfio enable_unsafe_noiommu_mode=1"
            )
        container.set_iommu(Extension.NOIOMMU)
        fd = device_descriptor(container, function.address)
        return OpenedDevice(fd, None, container.close, "no-IOMMU")
    except BaseException:
        container.close()
        raise
