"""HEF files: read, write and check them. Names load on first use, so importing this package costs next to nothing.

The modules are called otherwise than the functions in them, because importing a submodule binds its name here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checker import Finding as Finding
    from .checker import check as check
    from .compatibility import compatible_with as compatible_with
    from .composer import StreamSpec as StreamSpec
    from .composer import compose as compose
    from .joiner import join as join
    from .model import Hef as Hef
    from .model import NetworkGroup as NetworkGroup
    from .reader import read as read
    from .writer import write as write

_HOMES = {
    "Finding": "checker",
    "Hef": "model",
    "NetworkGroup": "model",
    "StreamSpec": "composer",
    "check": "checker",
    "compatible_with": "compatibility",
    "compose": "composer",
    "join": "joiner",
    "read": "reader",
    "write": "writer",
}

__all__ = [
    "Finding",
    "Hef",
    "NetworkGroup",
    "StreamSpec",
    "check",
    "compatible_with",
    "compose",
    "join",
    "read",
    "write",
]


def __getattr__(name: str) -> Any:
    """Load the module that ``name`` lives in, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
