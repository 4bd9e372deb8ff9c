"""``pci:0000:01:00.0``: a real function, with our driver in this process."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from openhailo.bus import sysfs
from openhailo.bus.physical import RISK
from openhailo.bus.protocols import PciFunction
from openhailo.bus.registry import Endpoint
from openhailo.bus.syscalls import Kernel, LinuxKernel
from openhailo.bus.sysfs import PciFunctionInfo
from openhailo.bus.sysfs_function import SysfsFunction
from openhailo.errors import AccessDenied, DeviceBusy, DeviceError, DeviceNotFound, InputError, OpenHailoError
from openhailo.spec.pci import PciIdentity

from .container import open_group
from .function import VfioFunction
from .iommu import OpenedDevice
from .iommufd import device_node, open_cdev
from .noiommu import group_node, open_noiommu

_log = logging.getLogger(__name__)

DEV: Final = Path("/dev")
DRIVER: Final = "vfio-pci"
#: What a target ends in to allow ways without an IOMMU.
TRUSTED_HOST: Final = "trusted-host"
#: Where the kernel driver's package puts the firmware (driver.md 1.2).
FIRMWARE: Final = Path("/lib/firmware/hailo/hailo8_fw.bin")


def open_endpoint(
    target: str = "",
    *,
    firmware: bytes | None = None,
    unsafe: bool = False,
    interface: str = "",
    kernel: Kernel | None = None,
    root: Path = sysfs.SYSFS,
    dev: Path = DEV,
) -> Endpoint:
    """Open the function at the PCI address ``target``, or the first of the chip's that is bound to ``vfio-pci``.

    ``firmware`` is what to load; by default the file that the kernel driver would load, if it is there (opening resets
    the chip, so firmware that ran before is gone). ``unsafe`` allows ways without an IOMMU, on which the device can
    write all memory of the machine. ``interface`` is "iommufd" or "group"; by default the better one that is there.

    Raises `DeviceNotFound`, `DeviceBusy`, `AccessDenied`, `DeviceError`, `InputError`, `MalformedReply`.
    """
    if interface not in ("", "iommufd", "group"):
        raise InputError(what="interface", detail=f"{interface!r} is not iommufd or group")
    address, trusted = split_target(target)
    info = choose(address, root)
    way = Way(kernel or LinuxKernel(), root, dev, unsafe=unsafe or trusted, interface=interface)
    return Endpoint(function=cast(PciFunction, way.open(info)), firmware=firmware or _installed_firmware())


def split_target(target: str) -> tuple[str, bool]:
    """Split ``0000:01:00.0,trusted-host`` into the address and whether ways without an IOMMU are allowed."""
    address, comma, option = target.partition(",")
    if comma and option != TRUSTED_HOST:
        raise InputError(what=f"pci:{target}", detail=f"after the address only ,{TRUSTED_HOST} may follow")
    return address, bool(comma)


def choose(target: str, root: Path) -> PciFunctionInfo:
    """Return the function meant by ``target``. Raises `DeviceNotFound`."""
    if not target:
        found = sysfs.list_functions(root)
        bound = [function for function in found if function.driver == DRIVER]
        if bound:
            return bound[0]
        hint = "; ".join(f"`{bind_command(function.address)}`" for function in found)
        hint = f"none is bound to {DRIVER}: run {hint}" if hint else "no Hailo-8 is on the PCI bus"
        raise DeviceNotFound(name="pci:", hint=hint)
    identity = PciIdentity()
    info = sysfs.find_function(target.lower(), root)
    if info is None:
        raise DeviceNotFound(
            name=f"pci:{target}", hint="an address is like 0000:01:00.0; `openhailo devices` lists them"
        )
    if (info.vendor_id, info.device_id) != (identity.vendor_id, identity.device_id):
        found_id = f"{info.vendor_id:04x}:{info.device_id:04x}"
        raise DeviceNotFound(name=f"pci:{target}", hint=f"{found_id} is there, which is no Hailo-8")
    return info


def bind_command(address: str) -> str:
    """Return the command that gives a function to VFIO."""
    return f"openhailo bind vfio {address} --apply"


@dataclass(frozen=True)
class Way:
    """How to reach functions: which system calls, where ``/sys`` and ``/dev`` are, and what the user allows."""

    kernel: Kernel
    root: Path
    dev: Path
    unsafe: bool = False
    interface: str = ""

    def open(self, info: PciFunctionInfo) -> VfioFunction | SysfsFunction:
        """Open ``info`` the best way there is. Raises as `open_endpoint`."""
        name = f"pci:{info.address}"
        if info.driver != DRIVER:
            if info.driver or not self.unsafe:
                raise _not_bound(info, name)
            _log.warning("%s is open without an IOMMU: it can reach all memory of this machine", name)
            return SysfsFunction(self.kernel, info, self.root)
        opened = self._open_vfio(info, name)
        _log.debug("%s is open by way of %s", name, opened.way)
        return VfioFunction(self.kernel, opened, name, excluded=sysfs.memory_windows(self.root))

    def _open_vfio(self, info: PciFunctionInfo, name: str) -> OpenedDevice:
        node = device_node(info, root=self.root, dev=self.dev)
        if self.interface == "iommufd" and node is None:
            raise DeviceNotFound(
                name=name, hint="this kernel offers no device node for iommufd (CONFIG_VFIO_DEVICE_CDEV)"
            )
        if node is not None and self.interface != "group" and (self.interface or self._has_iommufd(node)):
            try:
                return open_cdev(self.kernel, info, node, dev=self.dev)
            except AccessDenied as denied:
                if self.interface:
                    raise
                return self._open_group_instead(info, denied)
        if self.kernel.exists(group_node(info, self.dev)):
            if not self.unsafe:
                raise AccessDenied(name=name, hint=RISK)
            _log.warning("%s is open without an IOMMU: it can reach all memory of this machine", name)
            return open_noiommu(self.kernel, info, root=self.root, dev=self.dev)
        return open_group(self.kernel, info, root=self.root, dev=self.dev)

    def _open_group_instead(self, info: PciFunctionInfo, denied: AccessDenied) -> OpenedDevice:
        """Take the older way, to which a user may well have rights; without them the newer one is what to fix."""
        try:
            return open_group(self.kernel, info, root=self.root, dev=self.dev)
        except DeviceError:
            raise denied from None

    def _has_iommufd(self, node: Path) -> bool:
        return self.kernel.exists(node) and self.kernel.exists(self.dev / "iommu")


def _not_bound(info: PciFunctionInfo, name: str) -> OpenHailoError:
    if info.driver:
        return DeviceBusy(
            name=name,
            detail=f"the kernel driver {info.driver!r} has it; `{bind_command(info.address)}` takes it away from there",
        )
    if info.iommu_group is None:
        return AccessDenied(
            name=name,
            hint="no IOMMU protects this machine from it. Switch one on (VT-d or AMD-Vi in the firmware setup, on "
            f"Intel also intel_iommu=on on the kernel command line), then `{bind_command(info.address)}`. "
            f"Otherwise: {RISK}",
        )
    return AccessDenied(name=name, hint=f"it is not bound to {DRIVER}; run `{bind_command(info.address)}`")


def _installed_firmware() -> bytes | None:
    try:
        return FIRMWARE.read_bytes()
    except OSError:
        return None
