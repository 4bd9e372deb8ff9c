"""Calls that people and code generators invent, and the calls that they meant (hailo-platform-usage.md)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Names of the package that do not exist.
PACKAGE: Mapping[str, str] = {
    "VStreamInterface": "use HailoStreamInterface.PCIe",
    "StreamInterface": "use HailoStreamInterface.PCIe",
    "Hef": "use HEF(path)",
    "HailoPlatform": "there is no such object: begin with VDevice() and HEF(path)",
    "Hailo": "there is no such object: begin with VDevice() and HEF(path)",
    "InferModel": "import it from hailo_platform.pyhailort.pyhailort, or use VDevice().create_infer_model(path)",
    "ConfiguredInferModel": "import it from hailo_platform.pyhailort.pyhailort",
    "PcieDeviceInfo": "import it from hailo_platform.pyhailort.pyhailort",
    "HailoRTTimeout": "import it from hailo_platform.pyhailort.pyhailort",
    "genai": (
        "hailo_platform.genai (LLM, VLM, Speech2Text) belongs to HailoRT 5 and the Hailo-10H; a Hailo-8 cannot run it"
    ),
}
_SCAN = "use Device.scan(), which returns ids"
_CREATE = "use VDevice(), VDevice(params) or VDevice(device_ids=[...])"
DEVICE: Mapping[str, str] = {
    "scan_pcie": _SCAN,
    "scan_devices": _SCAN,
    "scan_pcie_devices": _SCAN,
    "create": "use Device() or Device(device_id)",
    "create_pcie": "use Device() or Device(device_id)",
    "configure": "a Device has no networks: use VDevice().configure(hef, params)",
    "create_infer_model": "a Device has no networks: use VDevice().create_infer_model(path)",
    "get_chip_temperature": "use device.control.get_chip_temperature()",
    "identify": "use device.control.identify()",
}
VDEVICE: Mapping[str, str] = {
    "create": _CREATE,
    "create_from_ids": "use VDevice(device_ids=[...])",
    "scan": _SCAN,
    "scan_devices": _SCAN,
    "scan_pcie": _SCAN,
    "control": "use vdevice.get_physical_devices()[0].control",
    "infer": "use InferVStreams, or vdevice.create_infer_model(path)",
    "configure_network_group": "use vdevice.configure(hef, params)",
    "close": "use vdevice.release(), or a with block",
}
INFER_MODEL: Mapping[str, str] = {
    "infer": "use model.configure(), then run([bindings], timeout_ms) or run_async([bindings], callback)",
    "run": "use model.configure(), then run([bindings], timeout_ms)",
    "create_bindings": "use model.configure(), then create_bindings()",
    "get_input_names": "use model.input_names",
    "get_output_names": "use model.output_names",
}
BINDINGS_EDGE = "it is a method: bindings.input(name), bindings.output(name); names are in infer_model.input_names"


class Guided(type):
    """A class whose missing attributes are explained; ``_hints_`` maps a name to what was meant."""

    _hints_: Mapping[str, str] = {}

    def __getattr__(cls, name: str) -> Any:
        raise missing(f"type object {cls.__name__!r}", name, cls._hints_)


def missing(owner: str, name: str, hints: Mapping[str, str]) -> AttributeError:
    """Return the error for an attribute that does not exist."""
    hint = f"; {hints[name]}" if name in hints else ""
    return AttributeError(f"{owner} has no attribute {name!r}{hint}")


def guided(hints: Mapping[str, str]) -> Callable[[Any, str], Any]:
    """Return a ``__getattr__`` for instances."""

    def explain(self: Any, name: str) -> Any:
        raise missing(f"{type(self).__name__!r} object", name, hints)

    return explain


def needing(hint: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a call with the wrong arguments say what the right ones are."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__qualname__}(): {error}; {hint}") from None
            return function(*args, **kwargs)

        return call

    return decorate


class EdgeMethod:
    """A method that people take for a mapping: ``bindings.input.keys()``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Wrap a function of a class."""
        self._function = function
        functools.update_wrapper(self, function)

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None else _BoundEdge(self._function, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


class _BoundEdge:
    def __init__(self, function: Callable[..., Any], instance: Any) -> None:
        self._bound = functools.partial(function, instance)

    def __call__(self, name: str = "") -> Any:
        return self._bound(name)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name!r} is no attribute of bindings.input or bindings.output; {BINDINGS_EDGE}")

    def __getitem__(self, name: str) -> Any:
        raise TypeError(BINDINGS_EDGE)

    def __iter__(self) -> Any:
        raise TypeError(BINDINGS_EDGE)
