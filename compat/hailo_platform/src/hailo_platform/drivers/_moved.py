"""Modules that moved: an old one takes over the names of the new one, and warns."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any


def take_over(names: dict[str, Any], new: str) -> None:
    """Put the public names of module ``new`` into ``names``, the globals of the old module."""
    module = import_module(new)
    message = f"Importing {names['__name__']} is deprecated. Import {new} instead."
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    names.update({name: value for name, value in vars(module).items() if not name.startswith("__")})
