"""What this package needs of the Python it is imported by; imported first, so it explains what is missing.

`openhailo exec` puts this package in front of a program's own and names, in the environment, where openhailo's packages
are: those that the program's Python lacks are taken from there, behind all of its own.
"""

from __future__ import annotations

import importlib.util
import os
import sys

NEEDED = ("numpy", "google.protobuf", "xxhash", "onnxruntime")
_INSTALLED_AS = {"google.protobuf": "protobuf"}


def prepare() -> None:
    """Make sure that everything can be imported. Raises `ImportError` that says what to do."""
    if sys.version_info < (3, 11):  # noqa: UP036 - `openhailo exec` meets any Python
        version = ".".join(map(str, sys.version_info[:2]))
        raise ImportError(f"openhailo needs Python 3.11 or newer, this is {version}: run the program with a newer one")
    lacking = [name for name in NEEDED if not _is_there(name)]
    if lacking and _site() and _same_python():
        sys.path += [path for path in _site() if path not in sys.path]
        lacking = [name for name in NEEDED if not _is_there(name)]
    # Only the virtual chip computes with onnxruntime; it says so itself.
    lacking = [name for name in lacking if name != "onnxruntime"]
    if lacking:
        names = " ".join(_INSTALLED_AS.get(name, name) for name in lacking)
        raise ImportError(
            f"hailo_platform needs packages that this Python lacks: {sys.executable} -m pip install {names}"
        )


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _site() -> list[str]:
    return [path for path in os.environ.get("OPENHAILO_EXEC_SITE", "").split(os.pathsep) if path]


def _same_python() -> bool:
    return os.environ.get("OPENHAILO_EXEC_PYTHON") == f"{sys.version_info[0]}.{sys.version_info[1]}"


prepare()
