"""The kernel driver as a backend of `openhailo.bus.registry`: ``kernel:/dev/hailo0``, ``kernel:0``, ``kernel:``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openhailo.bus.chardev import CharDevice, list_nodes
from openhailo.bus.protocols import DeviceFile
from openhailo.bus.registry import Endpoint
from openhailo.errors import DeviceNotFound, InputError

from .link import KernelLink
from .resources import KernelOptions


def open_endpoint(target: str = "", *, file: DeviceFile | None = None, **options: Any) -> Endpoint:
    """Open a node of the kernel driver, or ``file``.

    ``target`` is the node, its number, or nothing for the first one; ``options`` are those of `KernelOptions`.
    Raises `DeviceNotFound`, `AccessDenied`, `DeviceLost`, `DeviceBusy`, `VersionUnsupported`, `InputError`.
    """
    try:
        chosen = KernelOptions(**options)
    except TypeError as error:
        raise InputError(what="kernel", detail=str(error)) from error
    return Endpoint(link=KernelLink(file or CharDevice(find_node(target)), options=chosen))


def find_node(target: str, folder: Path = Path("/dev")) -> str:
    """Return the path of the node that ``target`` names. Raises `DeviceNotFound` when there is none at all."""
    if target.isdecimal():
        return str(folder / f"hailo{target}")
    if target:
        return target
    nodes = list_nodes(folder)
    if not nodes:
        raise DeviceNotFound(
            name="kernel:", hint="no /dev/hailo* is there; load the kernel driver (modprobe hailo_pci)"
        )
    return nodes[0]
