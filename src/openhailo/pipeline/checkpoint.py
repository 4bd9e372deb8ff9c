"""Read the tensors of a PyTorch checkpoint without PyTorch, and without running what the file says.

A checkpoint is a pickle, and a pickle can call anything and ask for any amount of memory; this reader admits only the
instructions that checkpoints consist of, and lets them name three things: an ordered dictionary, a tensor and a storage
type.  It reads the older, sequential layout: five pickles (magic number, protocol
version, system information, the object, the storage keys), then per storage a 64-bit count and the raw values.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import InputError, ModelInvalid

MAX_FILE_BYTES = 1 << 30

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_OPCODES = frozenset(
    """PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL REDUCE BUILD BINPERSID""".split()  # noqa: SIM905 - one name a line takes a page
)
_MAX_MEMO = 1_000_000
"""Largest slot of the pickle's memory: the reader allocates all slots up to it."""

_STORAGE_TYPES: Mapping[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    length: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_ignored: object
) -> _Tensor:
    """What the pickle calls for each tensor."""
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    **{("torch", name): _StorageType(dtype) for name, dtype in _STORAGE_TYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Refuses every name that is not on the list."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which no checkpoint needs") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, length, *_view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or not isinstance(length, int):
            raise pickle.UnpicklingError("a storage is not described as one")
        return _Storage(str(key), storage_type.dtype, length)


def _load(stream: io.BytesIO) -> Any:
    """The next pickle of the stream, after a look at its instructions."""
    start = stream.tell()
    for opcode, argument, _position in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"it has the instruction {opcode.name}, which no checkpoint needs")
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > _MAX_MEMO:
            raise pickle.UnpicklingError(f"it asks for {argument} memory slots")
    stream.seek(start)
    return _Unpickler(stream).load()


def load_checkpoint(path: str | Path) -> dict[str, NDArray[Any]]:
    """The named tensors of a ``state_dict`` file.

    Raises:
        InputError: the file cannot be read or is too large.
        ModelInvalid: it is no checkpoint of this layout, damaged, or asks for more than tensors.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(what=str(path), detail=f"larger than {MAX_FILE_BYTES} bytes")
        return parse_checkpoint(path.read_bytes())
    except OSError as error:
        raise InputError(what=str(path), detail=f"cannot be read: {error.strerror}") from error


def parse_checkpoint(data: bytes) -> dict[str, NDArray[Any]]:
    """The same from bytes.

    Raises:
        ModelInvalid: as for ``load_checkpoint``.
    """
    stream = io.BytesIO(data)
    try:
        magic, protocol, _system, content, keys = (_load(stream) for _ in range(5))
        if magic != _MAGIC or protocol != _PROTOCOL or not isinstance(content, dict):
            raise ModelInvalid(detail="not a PyTorch state dictionary of the sequential layout")
        tensors = {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        arrays = {str(key): _read_storage(stream, storages[str(key)]) for key in keys}
        return {name: _view(tensor, arrays[tensor.storage.key]) for name, tensor in tensors.items()}
    except ModelInvalid:
        raise
    except Exception as error:  # a hostile pickle can raise nearly any type, by calling what is allowed wrongly
        raise ModelInvalid(detail=f"damaged or unsafe checkpoint: {error}") from error


def _read_storage(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    """The next storage of the file: a count, then that many values."""
    count = int.from_bytes(stream.read(8), "little")
    raw = stream.read(count * storage.dtype.itemsize)
    if count != storage.length or len(raw) != count * storage.dtype.itemsize:
        raise ModelInvalid(detail=f"storage {storage.key} is cut off or of another length than its tensor says")
    return np.frombuffer(raw, storage.dtype)


def _view(tensor: _Tensor, values: NDArray[Any]) -> NDArray[Any]:
    """The tensor inside its storage, as a copy in C order; its strides count values."""
    if len(tensor.shape) != len(tensor.strides) or min((tensor.offset, *tensor.shape, *tensor.strides), default=0) < 0:
        raise ModelInvalid(detail=f"a tensor has shape {tensor.shape} but strides {tensor.strides}")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape or last >= len(values) or math.prod(tensor.shape) > len(values):
        raise ModelInvalid(detail=f"a tensor of shape {tensor.shape} does not lie inside its storage")
    strides = [step * values.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view)
