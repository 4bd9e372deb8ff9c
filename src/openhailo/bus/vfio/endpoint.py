"""``pci:0000:01:00.0``: a real function, with our driver in this process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, cast

from openhailo.bus import sysfs
from openhailo.bus.protocols import PciFunction
from openhailo.bus.registry import Endpoint
from openhailo.bus.sysfs import PciFunctionInfo
from openhailo.errors import AccessDenied, DeviceBusy, DeviceNotFound, InputError
from openhailo.spec.pci import PciIdentity

from .container import open_group
from .function import VfioFunction
from .iommufd import device_node, open_cdev
from .kernel import Kernel, LinuxKernel

_log = logging.getLogger(__name__)

DEV: Final = Path("/dev")
DRIVER: Final = "vfio-pci"
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
    info = choose(target, root)
    function = open_function(info, kernel or LinuxKernel(), unsafe=unsafe, interface=interface, root=root, dev=dev)
    return Endpoint(function=cast(PciFunction, function), firmware=firmware or _installed_firmware())


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


def open_function(
    info: PciFunctionInfo, kernel: Kernel, *, unsafe: bool, interface: str, root: Path, dev: Path
) -> VfioFunction:
    """Open ``info`` the best way there is. Raises as `open_endpoint`."""
    name = f"pci:{info.address}"
    if info.driver != DRIVER:
        raise _not_bound(info, name)
    excluded = sysfs.memory_windows(root)
    node = device_node(info, root=root, dev=dev)
    has_iommufd = node is not None and kernel.exists(node) and kernel.exists(dev / "iommu")
    if node is not None and (interface == "iommufd" or (has_iommufd and interface != "group")):
        opened = open_cdev(kernel, info, node, dev=dev)
    else:
        opened = open_group(kernel, info, root=root, dev=dev)
    _log.debug("%s is open by way of %s", name, opened.way)
    return VfioFunction(kernel, opened, name, excluded=excluded)


def _not_bound(info: PciFunctionInfo, name: str) -> Exception:
    if info.driver:
        return DeviceBusy(
            name=name,
            detail=f"the kernel driver {info.driver!r} has it; `{bind_command(info.address)}` takes it away from there",
        )
    return AccessDenied(name=name, hint=f"it is not bound to {DRIVER}; run `{bind_command(info.address)}`")


def _installed_firmware() -> bytes | None:
    try:
        return FIRMWARE.read_bytes()
    except OSError:
        return None
