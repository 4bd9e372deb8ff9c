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

import numpy as np

#: ``compile_model(path, options) -> HEF bytes``.
CompileModel = Callable[[Path, Mapping[str, Any]], bytes]

_LONGEST_PATH = 4096


def cache_dir() -> Path:
    """Return the folder of compiled networks: ``$XDG_CACHE_HOME/openhailo/compiled``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "openhailo" / "compiled"


def cache_key(content: bytes, options: Mapping[str, Any]) -> str:
    """Return what identifies a compilation: the model's bytes, the options and this release or working copy."""
    digest = hashlib.sha256(content)
    digest.update(_release().encode())
    for name in sorted(options):
        digest.update(f"\0{name}\0{_fingerprint(options[name])}".encode())
    return digest.hexdigest()


def _release() -> str:
    """Name this release; in a working copy every change of the sources counts as another one."""
    try:
        version = metadata.version("openhailo")
    except metadata.PackageNotFoundError:
        version = ""
    sources = Path(__file__).parents[1].rglob("*.py")
    return f"{version} {max(source.stat().st_mtime_ns for source in sources)}"


def _fingerprint(value: Any) -> str:
    """Describe an option: files and folders by what is in them, arrays by their bytes."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    path = Path(value) if isinstance(value, str | Path) and len(str(value)) < _LONGEST_PATH else None
    if path is None or not path.exists():
        return repr(value)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return repr([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def load_or_compile(path: Path, options: Mapping[str, Any], compile_model: CompileModel) -> bytes:
    """Return the HEF of the model at ``path``, compiling it when it, or an option, is new.

    A cache that cannot be written costs a compilation, nothing else.
    """
    weights = [file.read_bytes() for file in (path, *_companions(path))]
    cached = cache_dir() / f"{cache_key(b''.join(weights), options)}.hef"
    if cached.is_file():
        return cached.read_bytes()
    hef = compile_model(path, options)
    try:
        save_atomically(cached, hef)
    except OSError:
        return hef
    return hef


def _companions(path: Path) -> list[Path]:
    """Return the files that hold a model's weights beside it: external data of ONNX, weights of Darknet."""
    names = (f"{path.name}.data", f"{path.name}_data", f"{path.stem}.data", f"{path.stem}.weights")
    return [file for file in (path.with_name(name) for name in names) if file.is_file()]


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
