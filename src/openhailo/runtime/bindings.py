"""Buffers of one frame: which array an input is read from, and which one an output is written to."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from openhailo.errors import InputError, ShapeMismatch, StateError
from openhailo.runtime.formats import Array
from openhailo.runtime.frame_plan import Edge

#: Element types that are taken for bytes of any other.
_RAW = frozenset({np.dtype(np.uint8), np.dtype(np.int8)})


class BufferBinding:
    """The buffer of one input or output.

    It is used as it is, without a copy where it begins on a page and needs no conversion (see
    `openhailo.runtime.memory.aligned_empty`); it must not be changed, or read, before the job is done.
    """

    def __init__(self, edge: Edge, *, is_output: bool) -> None:
        """Bind nothing yet."""
        self.edge, self._is_output = edge, is_output
        self._given: Any = None
        self._frames: Array | None = None

    @property
    def name(self) -> str:
        """Name of the input or output."""
        return self.edge.name

    def set_buffer(self, array: Array) -> None:
        """Use ``array`` from the next run on.

        It has the bytes of one frame, C-contiguous, in whatever shape; its elements are of the edge's type, or bytes.
        Raises `ShapeMismatch`, `InputError`.
        """
        edge = self.edge
        if not isinstance(array, np.ndarray):
            raise InputError(what=edge.name, detail=f"needs a NumPy array, got {type(array).__name__}")
        if array.dtype != edge.dtype and array.dtype not in _RAW:
            raise InputError(what=edge.name, detail=f"needs elements of {edge.dtype}, got {array.dtype}")
        if array.nbytes != edge.frame_bytes:
            detail = f"{edge.frame_bytes} bytes, the buffer has {array.nbytes}"
            raise ShapeMismatch(name=edge.name, expected=edge.shape, seen=array.shape, detail=detail)
        if not array.flags.c_contiguous:
            raise InputError(what=edge.name, detail="the buffer has gaps; use `numpy.ascontiguousarray`")
        if self._is_output and not array.flags.writeable:
            raise InputError(what=edge.name, detail="the buffer is read-only, results go there")
        self._given = array
        self._frames = array.reshape(-1).view(edge.dtype).reshape(1, *edge.shape)

    @property
    def buffer(self) -> Array:
        """The array that was set. Raises `StateError` when there is none."""
        if self._frames is None:
            raise StateError(what=f"running {self.name}", state="without a buffer", hint="call set_buffer first")
        return self._given  # type: ignore[no-any-return]

    @property
    def frames(self) -> Array:
        """The array as frames (1, *shape) of the edge's type. Raises `StateError`."""
        if self._frames is None:
            raise StateError(what=f"running {self.name}", state="without a buffer", hint="call set_buffer first")
        return self._frames

    def get_buffer(self) -> Array:
        """Return `buffer`."""
        return self.buffer


class Bindings:
    """Buffers of all inputs and outputs, for one frame. They may be used again when the job is done.

    `copy.copy` gives bindings to the same buffers that can be changed one by one.
    """

    def __init__(self, inputs: Iterable[Edge], outputs: Iterable[Edge]) -> None:
        """Use `openhailo.runtime.infer_model.ConfiguredInferModel.create_bindings`."""
        self.inputs: Mapping[str, BufferBinding] = {edge.name: BufferBinding(edge, is_output=False) for edge in inputs}
        self.outputs: Mapping[str, BufferBinding] = {edge.name: BufferBinding(edge, is_output=True) for edge in outputs}

    def input(self, name: str = "") -> BufferBinding:
        """Return the binding of an input; the name may be left out when there is one. Raises `InputError`."""
        return find(self.inputs, name, "input")

    def output(self, name: str = "") -> BufferBinding:
        """Return the binding of an output; the name may be left out when there is one. Raises `InputError`."""
        return find(self.outputs, name, "output")

    def __copy__(self) -> Bindings:
        made = Bindings((), ())
        made.inputs = {name: copy.copy(binding) for name, binding in self.inputs.items()}
        made.outputs = {name: copy.copy(binding) for name, binding in self.outputs.items()}
        return made


T = TypeVar("T")


def find(table: Mapping[str, T], name: str, what: str) -> T:
    """Return the entry of ``name``, or the only one without a name.

    A name without its network (``input_layer1`` for ``net/input_layer1``) is found too. Raises `InputError`.
    """
    if not name:
        if len(table) == 1:
            return next(iter(table.values()))
        raise InputError(what=f"{what} without a name", detail=f"there are {len(table)}: {', '.join(table)}")
    if name in table:
        return table[name]
    short = [value for full, value in table.items() if full.rpartition("/")[2] == name]
    if len(short) == 1:
        return short[0]
    raise InputError(what=f"{what} {name!r}", detail=f"there is no such one; there are {', '.join(table)}")
