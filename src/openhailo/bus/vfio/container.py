"""The legacy way in: IOMMU groups and containers (vm-rig.md 9)."""

from __future__ import annotations

import errno
import platform
import re
from contextlib import suppress
from pathlib import Path
from struct import pack
from typing import Final

from openhailo.bus.barrier import STRONGLY_ORDERED
from openhailo.bus.syscalls import Kernel
from openhailo.bus.sysfs import PciFunctionInfo, group_members
from openhailo.errors import AccessDenied, DeviceBusy, DeviceError, DmaMapError, MalformedReply
from openhailo.spec import vfio
from openhailo.spec.vfio import Extension, Request

from .iommu import IovaRanges, OpenedDevice, map_error, open_node_error
from .requests import full_answer, unpack_array, walk_capabilities

API_VERSION: Final = 0
#: Without a word from the kernel: what every IOMMU can do, minus the addresses of messages (x86).
DEFAULT_RANGES: Final[IovaRanges] = ((0, 0xFEDF_FFFF), (0xFEF0_0000, (1 << 39) - 1))
#: The first kernel that refuses devices whose DMA is not coherent.
COHERENCE_CHECKED_SINCE: Final = (6, 2)
#: No IOMMU has larger pages as its smallest.
MAX_PAGE_BYTES: Final = 1 << 30
_DEFAULT_PAGE: Final = 4096

#: Why interrupts may keep a device from being handed out; ``module`` is the one that has the option.
REMAPPING_HINT: Final = (
    "the IOMMU cannot isolate interrupts; switch interrupt remapping on in the firmware setup, or accept that the "
    "device can send any interrupt: modprobe {module} allow_unsafe_interrupts=1"
)
_TYPE1_HINT: Final = REMAPPING_HINT.format(module="vfio_iommu_type1")
_SET_IOMMU_HINTS: Final = {
    Extension.TYPE1V2: _TYPE1_HINT,
    Extension.TYPE1: _TYPE1_HINT,
    Extension.NOIOMMU: "without an IOMMU only root may do this (CAP_SYS_RAWIO)",
}
#: Drivers that do not keep a group from being used: our own, and bridges.
HARMLESS_DRIVERS: Final = frozenset({"", "vfio-pci", "pcieport", "pci-stub"})


class Container:
    """A container with one group in it; implements `openhailo.bus.vfio.iommu.Iommu`."""

    page_bytes = _DEFAULT_PAGE
    ranges: IovaRanges = ()

    def __init__(self, kernel: Kernel, name: str, group_path: Path, container_path: Path) -> None:
        """Open container and group. Raises as `open_node_error`."""
        self._kernel, self.name = kernel, name
        self.fd = self.group_fd = -1
        try:
            self.fd = self._open(container_path)
            self.group_fd = self._open(group_path)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path) -> int:
        try:
            return self._kernel.open(path)
        except OSError as error:
            raise open_node_error(error, path, self.name) from error

    def ask(self, fd: int, request: Request, argument: bytearray | int = 0) -> int:
        """Make a request of the container or the group. Raises `DeviceError`."""
        try:
            return self._kernel.ioctl(fd, request, argument)
        except OSError as error:
            raise DeviceError(
                f"{self.name}: {request.name} failed: {error.strerror}; the kernel log says why"
            ) from error

    def supports(self, extension: Extension) -> bool:
        """Tell whether the container can do something."""
        return self.ask(self.fd, Request.CHECK_EXTENSION, int(extension)) > 0

    def set_iommu(self, kind: Extension) -> None:
        """Give the container its address space. Raises `AccessDenied`, `DeviceError`."""
        try:
            self._kernel.ioctl(self.fd, Request.SET_IOMMU, int(kind))
        except OSError as error:
            if error.errno == errno.EPERM:
                raise AccessDenied(name=self.name, hint=_SET_IOMMU_HINTS[kind]) from error
            raise DeviceError(f"{self.name}: SET_IOMMU failed: {error.strerror}; the kernel log says why") from error

    def read_limits(self) -> None:
        """Ask what addresses and pages the IOMMU has. Raises `DeviceError`, `MalformedReply`."""
        try:
            answer = full_answer(self._kernel, self.fd, Request.IOMMU_GET_INFO, vfio.IOMMU_INFO)
        except OSError as error:
            raise DeviceError(f"{self.name}: IOMMU_GET_INFO failed: {error.strerror}") from error
        info = vfio.IOMMU_INFO.unpack(answer)
        if info["flags"] & vfio.IommuFlag.PAGE_SIZES:
            sizes = info["page_sizes"]
            self.page_bytes = max(sizes & -sizes, _DEFAULT_PAGE)
            if self.page_bytes > MAX_PAGE_BYTES:
                raise MalformedReply(what="page sizes of the IOMMU", detail=f"0x{sizes:X}")
        self.ranges = DEFAULT_RANGES
        if info["flags"] & vfio.IommuFlag.CAPABILITIES:
            for identity, body in walk_capabilities(answer, info["cap_offset"]):
                if identity == vfio.IommuCapability.IOVA_RANGE:
                    self.ranges = checked_ranges(
                        tuple((r["start"], r["last"]) for r in unpack_array(body, vfio.IOVA_RANGE))
                    )

    def map(self, iova: int, address: int, size_bytes: int, *, writable: bool) -> None:
        """Map memory of this process. Raises `DmaMapError`."""
        layout = vfio.MAP_DMA
        flags = vfio.DmaFlag.READ | (vfio.DmaFlag.WRITE if writable else 0)
        request = layout.pack(argsz=layout.size, flags=flags, vaddr=address, iova=iova, size=size_bytes)
        try:
            self._kernel.ioctl(self.fd, Request.IOMMU_MAP_DMA, bytearray(request))
        except OSError as error:
            raise map_error(error, size_bytes) from error

    def unmap(self, iova: int, size_bytes: int) -> None:
        """Unmap what was mapped. Raises `DmaMapError`."""
        layout = vfio.UNMAP_DMA
        argument = bytearray(layout.pack(argsz=layout.size, iova=iova, size=size_bytes))
        try:
            self._kernel.ioctl(self.fd, Request.IOMMU_UNMAP_DMA, argument)
        except OSError as error:
            raise map_error(error, size_bytes) from error
        gone = layout.unpack(argument)["size"]
        if gone != size_bytes:
            raise DmaMapError(size_bytes=size_bytes, detail=f"{gone} bytes were unmapped at 0x{iova:X}")

    def close(self) -> None:
        """Take the group out and close both. Idempotent."""
        if self.group_fd >= 0:
            with suppress(OSError):
                self._kernel.ioctl(self.group_fd, Request.GROUP_UNSET_CONTAINER)
            self._kernel.close(self.group_fd)
        if self.fd >= 0:
            self._kernel.close(self.fd)
        self.fd = self.group_fd = -1


def checked_ranges(ranges: IovaRanges) -> IovaRanges:
    """Return ``ranges`` if they are some. Raises `MalformedReply`."""
    if not ranges or any(start > last for start, last in ranges):
        raise MalformedReply(what="address ranges of the IOMMU", detail=f"{ranges[:4]}")
    return ranges


def open_group(kernel: Kernel, function: PciFunctionInfo, *, root: Path, dev: Path) -> OpenedDevice:
    """Open ``function`` through its IOMMU group.

    Raises `AccessDenied`, `DeviceBusy`, `DeviceNotFound`, `DeviceError`, `MalformedReply`.
    """
    name = f"pci:{function.address}"
    container = Container(kernel, name, dev / "vfio" / str(function.iommu_group), dev / "vfio" / "vfio")
    try:
        attach_group(container, function, root)
        container.set_iommu(_best_type(container))
        if not container.supports(Extension.DMA_CC_IOMMU):
            check_coherence(name, platform.machine(), platform.release())
        container.read_limits()
        fd = device_descriptor(container, function.address)
        return OpenedDevice(fd, container, container.close, "group")
    except BaseException:
        container.close()
        raise


def device_descriptor(container: Container, address: str) -> int:
    """Open the function in the group. The kernel resets it on the way. Raises `DeviceError`."""
    return container.ask(container.group_fd, Request.GROUP_GET_DEVICE_FD, bytearray(address.encode() + b"\0"))


def attach_group(container: Container, function: PciFunctionInfo, root: Path) -> None:
    """Put the group into the container. Raises `DeviceBusy`, `DeviceError`."""
    version = container.ask(container.fd, Request.GET_API_VERSION)
    if version != API_VERSION:
        raise DeviceError(f"{container.name}: VFIO has interface version {version}, only {API_VERSION} is known")
    layout = vfio.GROUP_STATUS
    status = bytearray(layout.pack(argsz=layout.size))
    container.ask(container.group_fd, Request.GROUP_GET_STATUS, status)
    flags = layout.unpack(status)["flags"]
    if not flags & vfio.GroupFlag.VIABLE:
        raise DeviceBusy(name=container.name, detail=_who_holds(function, root))
    if flags & vfio.GroupFlag.CONTAINER_SET:
        raise DeviceBusy(name=container.name, detail="its IOMMU group is in another container")
    container.ask(container.group_fd, Request.GROUP_SET_CONTAINER, bytearray(pack("=i", container.fd)))


def _who_holds(function: PciFunctionInfo, root: Path) -> str:
    others = [
        f"{member.address} ({member.driver})"
        for member in group_members(function, root)
        if member.address != function.address and member.driver not in HARMLESS_DRIVERS
    ]
    return (
        f"the kernel uses other devices of its IOMMU group {function.iommu_group}: {', '.join(others) or 'unknown'}; "
        "unbind them or put the card into another slot"
    )


def _best_type(container: Container) -> Extension:
    for kind in (Extension.TYPE1V2, Extension.TYPE1):
        if container.supports(kind):
            return kind
    raise DeviceError(f"{container.name}: no usable IOMMU driver; `modprobe vfio_iommu_type1`")


def check_coherence(name: str, machine: str, kernel_release: str) -> None:
    """Refuse a machine on which DMA may not see the processor's caches. Raises `DeviceError`.

    That the IOMMU does not enforce coherence is no answer: it is then the device that decides, and `VfioFunction` takes
    that choice from it. What counts is whether the machine is coherent at all. x86 is; elsewhere the kernel offers only
    coherent devices since 6.2, and before that it does not say.
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", kernel_release)[:2])
    if machine not in STRONGLY_ORDERED and numbers < COHERENCE_CHECKED_SINCE:
        raise DeviceError(
            f"{name}: Linux {kernel_release} does not tell whether DMA sees the processor's caches on {machine}; "
            "use Linux 6.2 or later, or the kernel driver (kernel:/dev/hailo0)"
        )
