"""NIR files (HDF5), judged by their structure and read in a process of their own. Needs the extra ``feagi``."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from openhailo.errors import InputError

MAX_FILE_BYTES: Final = 512 << 20
MAX_CONTENT_BYTES: Final = 512 << 20
MAX_OBJECTS: Final = 20_000
MAX_DEPTH: Final = 16
READ_BUDGET_S: Final = 60
READ_BYTES: Final = 4 << 30
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
    """The same from the bytes of a file.

    HDF5's library can be kept busy without end by damaged bytes, so they are read in a process of its own that has a
    budget of time and memory; what comes back are plain arrays.

    Raises:
        InputError: as for `load_graph`, or the bytes take more time or memory than that.
    """
    require_nir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, env=environment, timeout=READ_BUDGET_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(what=name, detail=f"not read within {READ_BUDGET_S} s; it is damaged") from error
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InputError(what=name, detail=words[-1][:400] if words else "is no NIR graph; it ended its reader")
    return build_graph(done.stdout, name)


def read_content(data: bytes) -> bytes:
    """Return the datasets of an NIR file, in this process, as the bytes of an ``.npz`` with their paths as names.

    Raises:
        InputError: not an HDF5 file, too large, or with content outside of it.
    """
    import h5py

    arrays: dict[str, Any] = {}

    def collect(group: Any, path: str) -> None:
        for key, item in group.items():
            if isinstance(item, h5py.Group):
                collect(item, f"{path}/{key}")
            else:
                arrays[f"{path}/{key}"] = _plain(item[()])

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            _check(h5py, file)
            collect(file["node"], "")
    except InputError:
        raise
    except Exception as error:  # h5py raises whatever it stumbles over
        raise InputError(what="file", detail=_refusal(error)) from error
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def _plain(value: Any) -> Any:
    """Text as text, everything else as it is."""
    if isinstance(value, bytes):
        return np.array(value.decode("utf-8"))
    array = np.asarray(value)
    if array.dtype.kind in "OS":
        texts = [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in array.reshape(-1)]
        return np.array(texts, np.str_).reshape(array.shape)
    return array


def build_graph(content: bytes, name: str = "NIR file") -> Any:
    """Return the graph of what `read_content` gave. Raises `InputError`."""
    nir = require_nir()
    tree: dict[str, Any] = {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for path in arrays.files:
                *parents, last = path.strip("/").split("/")
                branch = tree
                for parent in parents:
                    branch = branch.setdefault(parent, {})
                value = arrays[path]
                branch[last] = value if value.ndim else value.item() if value.dtype.kind == "U" else value[()]
        graph = nir.dict2NIRNode({**tree, "type_check": True})
    except Exception as error:  # nir raises whatever it stumbles over
        raise InputError(what=name, detail=_refusal(error)) from error
    if not isinstance(graph, nir.NIRGraph):
        raise InputError(what=name, detail=f"holds a {type(graph).__name__}, not a graph")
    return graph


def _refusal(error: Exception) -> str:
    return f"is no NIR graph ({' '.join(f'{type(error).__name__}: {error}'.split())[:300]})"


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


def _main() -> int:
    """Read a file from standard input, with bounded memory; the answer of `read_content` goes to standard output."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (READ_BYTES, READ_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (READ_BUDGET_S, READ_BUDGET_S))
    try:
        content = read_content(sys.stdin.buffer.read())
    except InputError as error:
        print(error.detail, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
