"""openhailo: the open software stack for the Hailo-8/8L AI accelerator.

::

    import openhailo

    with openhailo.open() as device:              # the first real device, else the virtual chip
        model = device.load("yolov8n.hef")        # or an ONNX file, compiled once
        outputs = model(frame)                    # dict of float32 arrays

Everything below loads when it is first used, so importing this package costs next to nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openhailo.errors import OpenHailoError as OpenHailoError
    from openhailo.runtime.device import Device as Device
    from openhailo.runtime.formats import FormatOrder as FormatOrder
    from openhailo.runtime.network import Network as Network
    from openhailo.runtime.network import NetworkOptions as NetworkOptions
    from openhailo.runtime.open import list_devices as list_devices

__version__ = "0.1.0"

_HOMES = {
    "Device": "openhailo.runtime.device",
    "FormatOrder": "openhailo.runtime.formats",
    "Network": "openhailo.runtime.network",
    "NetworkOptions": "openhailo.runtime.network",
    "OpenHailoError": "openhailo.errors",
    "list_devices": "openhailo.runtime.open",
}
_MODULES = frozenset({"errors", "hef", "compiler", "vision"})

__all__ = [
    "Device",
    "FormatOrder",
    "Network",
    "NetworkOptions",
    "OpenHailoError",
    "__version__",
    "compiler",
    "errors",
    "hef",
    "list_devices",
    "open",
    "vision",
]


def open(name: str | None = None, **options: Any) -> Device:
    """Open a device: ``twin:``, ``twin:hailo8l``, ``pci:0001:01:00.0``, ...; see `openhailo.runtime.open.open_device`.

    Without a name: ``OPENHAILO_DEVICE``, else the first real device, else the virtual chip.
    """
    from openhailo.runtime.open import open_device

    return open_device(name, compile_model=_compile, **options)


def _compile(path: Path, options: Mapping[str, Any]) -> bytes:
    """Compile an ONNX file for `Device.load`: the runtime may not know the compiler, so the package introduces them."""
    from openhailo.compiler import compile_model

    return compile_model(path, **options).hef_bytes


def __getattr__(name: str) -> Any:
    """Load the module that ``name`` is, or lives in, once."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
