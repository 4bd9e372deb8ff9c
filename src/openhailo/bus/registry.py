"""Which ways to a chip exist: rows ``scheme -> "module:attribute"``, loaded when used.

A device name is ``scheme:target``, for example ``twin:`` or ``pci:0001:01:00.0``. A factory takes the target text and
keyword options and returns an `Endpoint`: either a PCI function that our driver runs, or a finished link. Other
packages add schemes through the entry point group ``openhailo.links``. Only this file knows the backends by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from openhailo.bus.protocols import PciFunction
from openhailo.errors import DeviceError, DeviceNotFound

ENTRY_POINT_GROUP = "openhailo.links"

#: The backends of this package.
BUILTIN: Mapping[str, str] = {
    "kernel": "openhailo.driver.kernel.endpoint:open_endpoint",
    "pci": "openhailo.bus.vfio.endpoint:open_endpoint",
    "twin": "openhailo.twin.ports.endpoint:open_endpoint",
    "vfio-user": "openhailo.bus.vfio_user:open_endpoint",
}


@dataclass(frozen=True)
class Endpoint:
    """What a backend opened.

    Exactly one of ``function`` (bare PCI function; the user-space driver runs it, loading ``firmware`` if given) and
    ``link`` (an object with the methods of `openhailo.driver.link.ChipLink`) is set.

    ``program_reference`` is there only where the chip executes nothing but this project's programs: called with
    ``(reference or None, application=index)`` it binds the numerics of a network compiled for silicon.
    """

    function: PciFunction | None = None
    link: Any = None
    firmware: bytes | None = None
    program_reference: Callable[..., None] | None = None


Factory = Callable[..., Endpoint]


def schemes() -> list[str]:
    """Return the names of all backends, sorted."""
    return sorted({*BUILTIN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def split_name(name: str) -> tuple[str, str]:
    """Split ``scheme:target``. Raises `DeviceNotFound` without a known scheme."""
    scheme, colon, target = name.partition(":")
    if not colon or scheme not in schemes():
        raise DeviceNotFound(name=name, hint=f"a device name is scheme:target with one of {_listing()}")
    return scheme, target


def load(scheme: str) -> Factory:
    """Return the factory of ``scheme``. Raises `DeviceNotFound` (no such scheme), `DeviceError` (it cannot load)."""
    try:
        if scheme in BUILTIN:
            module, _, attribute = BUILTIN[scheme].partition(":")
            factory = getattr(import_module(module), attribute)
        else:
            points = [p for p in entry_points(group=ENTRY_POINT_GROUP) if p.name == scheme]
            if not points:
                raise DeviceNotFound(name=f"{scheme}:", hint=f"the schemes are {_listing()}")
            factory = points[0].load()
    except (ImportError, AttributeError) as error:
        raise DeviceError(
            f"the backend {scheme!r} cannot be loaded ({error}); reinstall the package it is in"
        ) from error
    if not callable(factory):
        raise DeviceError(f"the backend {scheme!r} is not callable; reinstall the package it is in")
    return factory  # type: ignore[no-any-return]


def open_endpoint(name: str, **options: Any) -> Endpoint:
    """Open ``scheme:target``; the caller owns (and closes) what is inside."""
    scheme, target = split_name(name)
    return load(scheme)(target, **options)


def _listing() -> str:
    return ", ".join(f"{scheme}:" for scheme in schemes()) or "none (no backend is installed)"
