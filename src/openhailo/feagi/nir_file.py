"""NIR files (HDF5), judged by their structure before anything is unpacked. Needs the extra ``feagi``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

from openhailo.errors import InputError

MAX_FILE_BYTES: Final = 512 << 20
MAX_CONTENT_BYTES: Final = 512 << 20
MAX_OBJECTS: Final = 20_000
MAX_DEPTH: Final = 16
_FILTERS: Final = frozenset({1, 2, 3, 32000})
"""HDF5's own deflate, shuffle and checksum, and h5py's LZF; others would load code from elsewhere."""


def require_nir() -> Any:
    """Return the package `nir`. Raises `InputError` where it is not installed."""
    try:
        import nir
    except ImportError as error:
        raise InputError(what="nir", detail="is not installed; run `pip install openhailo[feagi]`") from error
    return nir


def load_graph(path: str | Path) -> Any:
    """Read an NIR file and return its `nir.NIRGraph`.

    Raises:
        InputError: not a readable NIR file, too large, with content outside of it, or the package is missing.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(what=str(path), detail=f"larger than {MAX_FILE_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(what=str(path), detail=f"cannot be read: {error.strerror}") from error
    return parse_graph(data, name=str(path))


def parse_graph(data: bytes, name: str = "NIR file") -> Any:
    """The same from the bytes of a file. Raises `InputError`."""
    nir = require_nir()
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            _check(h5py, file)
        graph = nir.read(io.BytesIO(data))
    except InputError as error:
        raise InputError(what=name, detail=error.detail) from error
    except Exception as error:  # h5py and nir raise whatever they stumble over
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(what=name, detail=f"is no NIR graph ({detail})") from error
    if not isinstance(graph, nir.NIRGraph):
        raise InputError(what=name, detail=f"holds a {type(graph).__name__}, not a graph")
    return graph


def _check(h5py: Any, file: Any) -> None:
    """Walk over everything that reading would touch; refuse links out of the file and more than has room."""
    waiting, objects, size_bytes = [(file, 0)], 0, 0
    while waiting:
        group, depth = waiting.pop()
        for key in group:
            objects += 1
            if objects > MAX_OBJECTS or depth > MAX_DEPTH:
                raise InputError(what="file", detail=f"more than {MAX_OBJECTS} objects or {MAX_DEPTH} levels")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise InputError(what="file", detail="links to other places; only content of its own is read")
            item = group[key]
            if isinstance(item, h5py.Group):
                waiting.append((item, depth + 1))
                continue
            size_bytes += _dataset_bytes(h5py, item)
            if size_bytes > MAX_CONTENT_BYTES:
                raise InputError(what="file", detail=f"content of more than {MAX_CONTENT_BYTES} bytes")


def _dataset_bytes(h5py: Any, item: Any) -> int:
    if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
        raise InputError(what="file", detail="keeps data elsewhere; only content of its own is read")
    made = item.id.get_create_plist()
    used = {made.get_filter(number)[0] for number in range(made.get_nfilters())}
    if not used <= _FILTERS:
        raise InputError(what="file", detail=f"compressed by unknown filters {sorted(used - _FILTERS)}")
    if item.shape is None:
        raise InputError(what="file", detail="has a dataset without values")
    return int(item.size) * max(int(item.dtype.itemsize), 1)
