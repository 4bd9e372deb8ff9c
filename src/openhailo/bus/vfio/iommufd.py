"""The newer way in: the device's own node, and an address space of iommufd.

The kernel offers the node only where DMA is coherent, so there is nothing to check for.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from openhailo.bus.syscalls import Kernel
from openhailo.bus.sysfs import SYSFS, PciFunctionInfo
from openhailo.errors import AccessDenied, DeviceBusy, DeviceError, DmaMapError, MalformedReply, OpenHailoError
from openhailo.spec import vfio
from openhailo.spec.layout import Struct
from openhailo.spec.vfio import IoasFlag, Request

from .container import MAX_PAGE_BYTES, REMAPPING_HINT, checked_ranges
from .iommu import IovaRanges, OpenedDevice, map_error, open_node_error

#: More ranges than any IOMMU has.
MAX_RANGES: Final = 4096


class AddressSpace:
    """An I/O address space (IOAS); implements `openhailo.bus.vfio.iommu.Iommu`."""

    page_bytes = 4096
    ranges: IovaRanges = ()

    def __init__(self, kernel: Kernel, name: str, path: Path) -> None:
        """Open iommufd and make an empty space. Raises as `open_node_error`, `DeviceError`."""
        self._kernel, self.name = kernel, name
        try:
            self.fd = kernel.open(path)
        except OSError as error:
            raise open_node_error(error, path, name) from error
        try:
            self.identity = self._ask(self.fd, Request.IOMMU_IOAS_ALLOC, vfio.IOAS_ALLOC)["ioas_id"]
        except BaseException:
            self.close()
            raise

    def attach(self, device_fd: int) -> None:
        """Put a device into the space, and learn which addresses it may use. Raises `DeviceError`, `MalformedReply`."""
        for request, layout, values in (
            (Request.DEVICE_BIND_IOMMUFD, vfio.BIND_IOMMUFD, {"iommufd": self.fd}),
            (Request.DEVICE_ATTACH_IOMMUFD_PT, vfio.ATTACH_PAGE_TABLE, {"pt_id": self.identity}),
        ):
            try:
                self._ask(device_fd, request, layout, size_member="argsz", **values)
            except DeviceError as error:
                raise _attach_error(error, request, self.name) from error
        self._read_ranges()

    def _ask(
        self, fd: int, request: Request, layout: Struct, *, size_member: str = "size", **values: int
    ) -> dict[str, int]:
        argument = bytearray(layout.pack(**{size_member: layout.size}, **values))
        try:
            self._kernel.ioctl(fd, request, argument)
        except OSError as error:
            raise DeviceError(
                f"{self.name}: {request.name} failed: {error.strerror}; the kernel log says why"
            ) from error
        return layout.unpack(argument)

    def _read_ranges(self) -> None:
        """Ask for the ranges; the first answer says how many there are."""
        layout, room = vfio.IOAS_IOVA_RANGES, 16
        for _ in range(2):
            array = np.zeros((room, 2), "<u8")
            values = {"ioas_id": self.identity, "count": room, "ranges_address": array.ctypes.data}
            argument = bytearray(layout.pack(size=layout.size, **values))
            try:
                self._kernel.ioctl(self.fd, Request.IOMMU_IOAS_IOVA_RANGES, argument)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise DeviceError(f"{self.name}: IOMMU_IOAS_IOVA_RANGES failed: {error.strerror}") from error
            answer = layout.unpack(argument)
            if answer["count"] <= room:
                break
            room = min(answer["count"], MAX_RANGES)
        else:
            raise MalformedReply(what="address ranges of the IOMMU", detail=f"{answer['count']} of them")
        alignment = answer["iova_alignment"]
        if alignment & (alignment - 1) or alignment > MAX_PAGE_BYTES:
            raise MalformedReply(what="address ranges of the IOMMU", detail=f"aligned to {alignment}")
        self.page_bytes = max(alignment, AddressSpace.page_bytes)
        self.ranges = checked_ranges(tuple((int(a), int(b)) for a, b in array[: answer["count"]]))

    def map(self, iova: int, address: int, size_bytes: int, *, writable: bool) -> None:
        """Map memory of this process. Raises `DmaMapError`."""
        layout = vfio.IOAS_MAP
        request = layout.pack(
            size=layout.size,
            flags=IoasFlag.FIXED_IOVA | IoasFlag.READABLE | (IoasFlag.WRITEABLE if writable else 0),
            ioas_id=self.identity,
            user_va=address,
            length=size_bytes,
            iova=iova,
        )
        try:
            self._kernel.ioctl(self.fd, Request.IOMMU_IOAS_MAP, bytearray(request))
        except OSError as error:
            raise map_error(error, size_bytes) from error

    def unmap(self, iova: int, size_bytes: int) -> None:
        """Unmap what was mapped. Raises `DmaMapError`."""
        layout = vfio.IOAS_UNMAP
        argument = bytearray(layout.pack(size=layout.size, ioas_id=self.identity, iova=iova, length=size_bytes))
        try:
            self._kernel.ioctl(self.fd, Request.IOMMU_IOAS_UNMAP, argument)
        except OSError as error:
            raise map_error(error, size_bytes) from error
        gone = layout.unpack(argument)["length"]
        if gone != size_bytes:
            raise DmaMapError(size_bytes=size_bytes, detail=f"{gone} bytes were unmapped at 0x{iova:X}")

    def close(self) -> None:
        """Close iommufd, and the space with it. Idempotent."""
        if self.fd >= 0:
            with suppress(OSError):
                self._kernel.close(self.fd)
        self.fd = -1


def _attach_error(error: DeviceError, request: Request, name: str) -> OpenHailoError:
    """Return what a refused bind or attach means; a device that is open already answers EINVAL to a bind."""
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) else 0
    if number == errno.EPERM:
        return AccessDenied(name=name, hint=REMAPPING_HINT.format(module="iommufd"))
    if number == errno.EBUSY or (number == errno.EINVAL and request is Request.DEVICE_BIND_IOMMUFD):
        return DeviceBusy(name=name, detail="another process has it open")
    return error


def device_node(function: PciFunctionInfo, *, root: Path = SYSFS, dev: Path) -> Path | None:
    """Return the device's own node, None where the kernel has none."""
    folder = root / "bus" / "pci" / "devices" / function.address / "vfio-dev"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return dev / "vfio" / "devices" / names[0] if names else None


def open_cdev(kernel: Kernel, function: PciFunctionInfo, node: Path, *, dev: Path) -> OpenedDevice:
    """Open ``function`` through its own ``node``.

    Raises `AccessDenied`, `DeviceBusy`, `DeviceNotFound`, `DeviceError`, `MalformedReply`.
    """
    name = f"pci:{function.address}"
    space = AddressSpace(kernel, name, dev / "iommu")
    fd = -1
    try:
        try:
            fd = kernel.open(node)
        except OSError as error:
            raise open_node_error(error, node, name) from error
        space.attach(fd)
    except BaseException:
        if fd >= 0:
            kernel.close(fd)
        space.close()
        raise
    return OpenedDevice(fd, space, space.close, "iommufd")
