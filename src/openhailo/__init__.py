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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openhailo.errors import OpenHailoError as OpenHailoError
    from openhailo.runtime.bindings import Bindings as Bindings
    from openhailo.runtime.device import Device as Device
    from openhailo.runtime.formats import FormatOrder as FormatOrder
    from openhailo.runtime.formats import FormatType as FormatType
    from openhailo.runtime.infer_model import ConfiguredInferModel as ConfiguredInferModel
    from openhailo.runtime.infer_model import InferModel as InferModel
    from openhailo.runtime.job import CompletionInfo as CompletionInfo
    from openhailo.runtime.job import InferJob as InferJob
    from openhailo.runtime.memory import aligned_empty as aligned_empty
    from openhailo.runtime.network import Network as Network
    from openhailo.runtime.network_group import NetworkGroup as NetworkGroup
    from openhailo.runtime.open import list_devices as list_devices
    from openhailo.runtime.options import NetworkOptions as NetworkOptions
    from openhailo.runtime.vdevice import VirtualDevice as VirtualDevice
    from openhailo.runtime.vstreams import InferVStreams as InferVStreams
    from openhailo.runtime.vstreams import InputVStreams as InputVStreams
    from openhailo.runtime.vstreams import OutputVStreams as OutputVStreams
    from openhailo.runtime.vstreams import VStreamParams as VStreamParams

__version__ = "0.1.0"

_HOMES = {
    "Bindings": "openhailo.runtime.bindings",
    "CompletionInfo": "openhailo.runtime.job",
    "ConfiguredInferModel": "openhailo.runtime.infer_model",
    "Device": "openhailo.runtime.device",
    "FormatOrder": "openhailo.runtime.formats",
    "FormatType": "openhailo.runtime.formats",
    "InferJob": "openhailo.runtime.job",
    "InferModel": "openhailo.runtime.infer_model",
    "InferVStreams": "openhailo.runtime.vstreams",
    "InputVStreams": "openhailo.runtime.vstreams",
    "Network": "openhailo.runtime.network",
    "NetworkGroup": "openhailo.runtime.network_group",
    "NetworkOptions": "openhailo.runtime.options",
    "OpenHailoError": "openhailo.errors",
    "OutputVStreams": "openhailo.runtime.vstreams",
    "VStreamParams": "openhailo.runtime.vstreams",
    "VirtualDevice": "openhailo.runtime.vdevice",
    "aligned_empty": "openhailo.runtime.memory",
    "list_devices": "openhailo.runtime.open",
}
_MODULES = frozenset({"errors", "hef", "compiler", "vision"})

__all__ = [
    "Bindings",
    "CompletionInfo",
    "ConfiguredInferModel",
    "Device",
    "FormatOrder",
    "FormatType",
    "InferJob",
    "InferModel",
    "InferVStreams",
    "InputVStreams",
    "Network",
    "NetworkGroup",
    "NetworkOptions",
    "OpenHailoError",
    "OutputVStreams",
    "VStreamParams",
    "VirtualDevice",
    "__version__",
    "aligned_empty",
    "compiler",
    "errors",
    "hef",
    "list_devices",
    "open",
    "open_virtual_device",
    "vision",
]


def open(name: str | None = None, **options: Any) -> Device:
    """Open a device: ``twin:``, ``twin:hailo8l``, ``pci:0001:01:00.0``, ...; see `openhailo.runtime.open.open_device`.

    Without a name: ``OPENHAILO_DEVICE``, else the first real device, else the virtual chip.
    """
    from openhailo.runtime.open import open_device

    return open_device(name, compile_model=_compile, **options)


def open_virtual_device(names: Sequence[str] | None = None, **options: Any) -> VirtualDevice:
    """Open several devices as one; see `openhailo.runtime.open_virtual.open_virtual_device`.

    ``open_virtual_device(count=2)`` takes the first two that are free, or two virtual chips.
    """
    from openhailo.runtime.open_virtual import open_virtual_device

    return open_virtual_device(names, compile_model=_compile, **options)


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
