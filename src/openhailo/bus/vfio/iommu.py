"""What both ways to an IOMMU have in common: the interface, and what the kernel's refusals mean."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from openhailo._units import format_bytes
from openhailo.errors import (
    AccessDenied,
    DeviceBusy,
    DeviceError,
    DeviceLost,
    DeviceNotFound,
    DmaMapError,
    OpenHailoError,
)

#: Inclusive address ranges, as the kernel gives them.
IovaRanges = tuple[tuple[int, int], ...]

UDEV_HINT: Final = (
    "the node belongs to root; give it to a group of users with a udev rule (docs/vfio.md, step 4, or "
    "`openhailo setup vfio`) and join that group, or run as root"
)


class Iommu(Protocol):
    """An address space of the device. ``page_bytes`` is the smallest page, ``ranges`` what may be used."""

    page_bytes: int
    ranges: IovaRanges

    def map(self, iova: int, address: int, size_bytes: int, *, writable: bool) -> None:
        """Let the device reach ``size_bytes`` of this process's memory at ``address``. Raises `DmaMapError`."""
        ...

    def unmap(self, iova: int, size_bytes: int) -> None:
        """Take a whole mapping back. Raises `DmaMapError`."""
        ...


@dataclass(frozen=True)
class OpenedDevice:
    """A device's descriptor, and the address space it is in (None: there is no IOMMU).

    ``close`` gives up what the way in needed, after the device; ``way`` is "iommufd", "group" or "no-IOMMU".
    """

    fd: int
    iommu: Iommu | None
    close: Callable[[], None]
    way: str


def map_error(error: OSError, size_bytes: int) -> DmaMapError:
    """Return what the kernel means by refusing to map memory."""
    if error.errno == errno.ENOMEM:
        return DmaMapError(size_bytes=size_bytes, detail=_locked_memory_detail())
    return DmaMapError(size_bytes=size_bytes, detail=_MAP_DETAILS.get(error.errno or 0, error.strerror or str(error)))


def _locked_memory_detail() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    limit = "unlimited" if soft == resource.RLIM_INFINITY else format_bytes(soft)
    return (
        f"the kernel may not lock more memory for this process (limit {limit}); raise it with `ulimit -l unlimited`, "
        "LimitMEMLOCK=infinity in a systemd unit, or memlock in /etc/security/limits.d"
    )


_MAP_DETAILS: Mapping[int, str] = {
    errno.EEXIST: "the address is in use already",
    errno.ENOSPC: "the IOMMU has no mappings left; raise dma_entry_limit of the module vfio_iommu_type1",
    errno.EFAULT: "the kernel cannot lock this memory; give memory that is ordinary and writable",
    errno.EINVAL: "the IOMMU cannot use the address or the size",
}


def open_node_error(error: OSError, path: Path, name: str) -> OpenHailoError:
    """Return what it means that a device node cannot be opened."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDenied(name=str(path), hint=UDEV_HINT)
    if error.errno == errno.EBUSY:
        return DeviceBusy(name=name, detail=f"another process has {path} open")
    if error.errno == errno.ENODEV:
        return DeviceLost(name=name, detail=f"nothing is behind {path} any more")
    if error.errno == errno.ENOENT:
        return DeviceNotFound(name=name, hint=f"{path} does not exist; load the module with `modprobe vfio-pci`")
    return DeviceError(f"{path} cannot be opened: {error.strerror}; the kernel log says why")
