"""Opening a device by name, or the best there is (design: registry of backends; nothing above can tell them apart)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from openhailo.bus import registry, sysfs
from openhailo.bus.chardev import list_nodes
from openhailo.bus.registry import Endpoint
from openhailo.bus.trace import TraceWriter, TracingFunction
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.errors import DeviceNotFound, InputError, OpenHailoError
from openhailo.runtime.compiled import CompileModel
from openhailo.runtime.device import Device
from openhailo.runtime.habits import network_options
from openhailo.runtime.tracing import TracingLink

#: Environment variable that names the device to open when no name is given.
DEVICE_VARIABLE = "OPENHAILO_DEVICE"
#: What is opened when there is no real device.
FALLBACK = "twin:"


@dataclass(frozen=True)
class Candidate:
    """A device that could be opened: its name, and why it may not be usable as it is."""

    name: str
    note: str = ""


def list_devices() -> list[Candidate]:
    """Return what can be opened: real devices first, then backends that need no hardware."""
    found = [
        Candidate(f"pci:{function.address}", f"bound to the kernel driver {function.driver}" if function.driver else "")
        for function in sysfs.list_functions()
    ]
    present = registry.schemes()
    found = [candidate for candidate in found if "pci" in present]
    nodes = [Candidate(f"kernel:{node}") for node in list_nodes() if "kernel" in present]
    return [*nodes, *found, *(Candidate(f"{scheme}:") for scheme in ("twin",) if scheme in present)]


def default_name() -> str:
    """Return the name that is opened when none is given: the environment's, the first real device, else the twin."""
    wanted = os.environ.get(DEVICE_VARIABLE, "").strip()
    if wanted:
        return wanted
    devices = list_devices()
    if not devices:
        raise DeviceNotFound(name="any", hint="no real device was found and no twin is installed")
    return devices[0].name


def open_device(
    name: str | None = None,
    *,
    compile_model: CompileModel | None = None,
    trace: IO[str] | None = None,
    habits: str = "",
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> Device:
    """Open ``name`` (``twin:``, ``twin:hailo8l``, ``pci:0001:01:00.0``, ...) and return a ready `Device`.

    Without a name: ``OPENHAILO_DEVICE``, else the first real device, else the twin; `Device.name` says which it was.
    ``trace`` gets every register access, control, transfer and interrupt as JSON Lines (see `openhailo.bus.trace` and
    `openhailo.runtime.tracing`). ``habits="vendor"`` does what the vendor's stack does also where nothing needs it (see
    `openhailo.runtime.habits`). ``clock`` is what timeouts are counted with, where the chip's time is not the host's.
    ``options`` go to the backend.

    Raises `InputError`, `DeviceNotFound`, `AccessDenied`, `DeviceBusy`, `BootFailed`, `DeviceError`.
    """
    chosen = name or default_name()
    _require_one(chosen)
    network_options(habits)
    endpoint = registry.open_endpoint(chosen, **options)
    link = _link_of(
        endpoint,
        TraceWriter(trace) if trace is not None else None,
        LinkOptions(vendor_accesses=bool(habits), clock=clock),
    )
    reference = endpoint.program_reference
    try:
        return Device(
            link,
            name=chosen,
            program_reference=reference,
            compile_model=compile_model,
            habits=habits,
            clock=clock,
        )
    except OpenHailoError:
        link.close()
        raise


def _require_one(name: str) -> None:
    """Refuse a list of devices, which ``OPENHAILO_DEVICE`` may hold for programs that use several."""
    names = [part.strip() for part in name.split(",")]
    known = registry.schemes()
    if any(colon and scheme in known for scheme, colon, _ in (each.partition(":") for each in names[1:])):
        raise InputError(
            what="device",
            detail=f"{name!r} names {len(names)} devices and only one can be opened; "
            f"`openhailo.open_virtual_device({names})` takes them all",
        )


def _link_of(endpoint: Endpoint, writer: TraceWriter | None, options: LinkOptions) -> Any:
    """Return the endpoint's own link, or run its bare PCI function with our driver."""
    function, link = endpoint.function, endpoint.link
    if function is not None:
        if writer is not None:
            function = TracingFunction(function, writer)
        link = PcieLink(function, firmware=endpoint.firmware, options=options)
    return link if writer is None else TracingLink(link, writer)
