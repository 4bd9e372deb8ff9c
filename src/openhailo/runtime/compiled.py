"""Networks compiled from ONNX once and kept by content.

The compiler is a sibling floor, so whoever opens a device hands it in as a `CompileModel`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

#: ``compile_model(path, options) -> HEF bytes``.
CompileModel = Callable[[Path, Mapping[str, Any]], bytes]


def cache_dir() -> Path:
    """Return the folder of compiled networks: ``$XDG_CACHE_HOME/openhailo/compiled``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "openhailo" / "compiled"


def cache_key(content: bytes, options: Mapping[str, Any]) -> str:
    """Return what identifies a compilation: the model's bytes, the options and this release."""
    digest = hashlib.sha256(content)
    digest.update(f"{_release()}\0{sorted((name, repr(value)) for name, value in options.items())}".encode())
    return digest.hexdigest()


def _release() -> str:
    try:
        return metadata.version("openhailo")
    except metadata.PackageNotFoundError:
        return ""


def load_or_compile(path: Path, options: Mapping[str, Any], compile_model: CompileModel) -> bytes:
    """Return the HEF of the model at ``path``, compiling it when it, or an option, is new.

    A cache that cannot be written costs a compilation, nothing else.
    """
    cached = cache_dir() / f"{cache_key(path.read_bytes(), options)}.hef"
    if cached.is_file():
        return cached.read_bytes()
    hef = compile_model(path, options)
    try:
        save_atomically(cached, hef)
    except OSError:
        return hef
    return hef


def save_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that another process sees all of it or nothing. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
