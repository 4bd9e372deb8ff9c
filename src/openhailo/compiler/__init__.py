"""Compiles ONNX and Darknet models into HEFs that carry a program for the virtual chip.

Names load on first use: importing this package does not import ONNX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compile import CompiledModel as CompiledModel
    from .compile import compile_model as compile_model
    from .darknet import load_darknet as load_darknet
    from .host_ops.request import Nms as Nms
    from .report import Report as Report

_HOMES = {
    "CompiledModel": "compile",
    "Nms": "host_ops.request",
    "Report": "report",
    "compile_model": "compile",
    "load_darknet": "darknet",
}

__all__ = ["CompiledModel", "Nms", "Report", "compile_model", "load_darknet"]


def __getattr__(name: str) -> Any:
    """Load the module that ``name`` lives in, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
