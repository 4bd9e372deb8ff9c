"""The twin as a backend of `openhailo.bus.registry`: ``twin:``, ``twin:hailo8``, ``twin:hailo8l``."""

from __future__ import annotations

from typing import Any, cast

from openhailo.bus.protocols import PciFunction
from openhailo.bus.registry import Endpoint
from openhailo.errors import DeviceNotFound, InputError
from openhailo.twin.facade import Twin
from openhailo.twin.firmware.image import build_placeholder_image

ARCHITECTURES = ("hailo8", "hailo8l")


def open_endpoint(
    target: str = "", *, firmware: bytes | None = None, twin: Twin | None = None, **options: Any
) -> Endpoint:
    """Make a cold twin, or open ``twin``, for our driver to boot.

    ``target`` is the architecture (default hailo8); ``firmware`` a firmware image (default: a placeholder);
    ``options`` are those of `Twin`. Raises `DeviceNotFound`, `DeviceBusy`, `InputError`.
    """
    architecture = target or ARCHITECTURES[0]
    if architecture not in ARCHITECTURES:
        raise DeviceNotFound(name=f"twin:{target}", hint=f"a twin is {' or '.join(ARCHITECTURES)}")
    if twin is None:
        twin = _make(architecture, options)
    elif options:
        raise InputError(what="twin", detail=f"{sorted(options)} cannot be chosen for a twin that exists already")
    chip = twin

    def bind(reference: Any, *, application: int | None = None) -> None:
        with chip.chip.loop.lock:
            chip.firmware.core.bind_reference(reference, application=application)  # type: ignore[attr-defined]

    version = chip.chip.config.firmware_version
    image = firmware or (build_placeholder_image(version) if version else build_placeholder_image())
    return Endpoint(function=cast(PciFunction, chip.function()), firmware=image, program_reference=bind)


def _make(architecture: str, options: dict[str, Any]) -> Twin:
    try:
        return Twin(architecture, **options)
    except TypeError as error:
        raise InputError(what="twin", detail=str(error)) from error
