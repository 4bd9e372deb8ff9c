"""Weights that an ONNX file keeps in other files, read without letting the model choose what is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import onnx
from onnx import TensorProto, helper

from openhailo.errors import ModelInvalid

MAX_TOTAL_BYTES: Final = 1 << 30
MAX_GRAPH_DEPTH: Final = 20


def embed_external_data(model: onnx.ModelProto, folder: Path | None) -> onnx.ModelProto:
    """Put every external tensor's bytes into ``model`` itself and return it.

    Args:
        model: changed in place.
        folder: where the model file lies; None when it came from memory, which then must be self-contained.

    Raises:
        ModelInvalid: a path that leaves ``folder``, a file that is missing or too short, or too much data.
    """
    budget = MAX_TOTAL_BYTES
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        if folder is None:
            raise ModelInvalid(
                detail=f"tensor {tensor.name!r} lies in another file; give the path of the .onnx instead"
            )
        data = _read_tensor(tensor, folder, budget)
        budget -= len(data)
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = data
    return model


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(model.graph, 0)
    for function in model.functions:
        yield from _node_tensors(function.node, 0)


def _graph_tensors(graph: onnx.GraphProto, depth: int) -> Iterator[onnx.TensorProto]:
    if depth > MAX_GRAPH_DEPTH:
        raise ModelInvalid(detail=f"graphs are nested deeper than {MAX_GRAPH_DEPTH}")
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node, depth)


def _node_tensors(nodes: Iterable[onnx.NodeProto], depth: int) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for entry in node.attribute:
            if entry.HasField("t"):
                yield entry.t
            yield from entry.tensors
            if entry.HasField("g"):
                yield from _graph_tensors(entry.g, depth + 1)
            for graph in entry.graphs:
                yield from _graph_tensors(graph, depth + 1)


def _read_tensor(tensor: onnx.TensorProto, folder: Path, budget: int) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(folder, entries.get("location", ""), tensor.name)
    need = _size_bytes(tensor)
    offset = _number(entries.get("offset", "0"), tensor.name)
    length = _number(entries.get("length", str(need)), tensor.name)
    if length != need or length > budget:
        raise ModelInvalid(
            detail=f"external tensor {tensor.name!r}: {length} bytes given, {need} needed, {budget} allowed"
        )
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise ModelInvalid(detail=f"external data {path.name!r} cannot be read: {error.strerror}") from error
    if len(data) != length:
        raise ModelInvalid(detail=f"external data {path.name!r} ends inside tensor {tensor.name!r}: truncated")
    return data


def _inside(folder: Path, location: str, name: str) -> Path:
    """Return the file at ``location`` below ``folder``; links that lead outside are refused as well."""
    parts = PurePosixPath(location).parts
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute()
    if not location or "\0" in location or absolute or ".." in parts or "\\" in location:
        raise ModelInvalid(detail=f"tensor {name!r} points to {location!r}, outside the model's folder")
    path = (folder / location).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ModelInvalid(detail=f"tensor {name!r} points to {location!r}, which is no file in the model's folder")
    return path


def _size_bytes(tensor: onnx.TensorProto) -> int:
    try:
        item_bytes = int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelInvalid(detail=f"external tensor {tensor.name!r} has an unknown element type") from error
    if any(size < 0 for size in tensor.dims):
        raise ModelInvalid(detail=f"external tensor {tensor.name!r} has shape {list(tensor.dims)}")
    return math.prod(tensor.dims) * item_bytes


def _number(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise ModelInvalid(detail=f"external tensor {name!r}: {text!r} is not an offset or length")
    return int(text)
