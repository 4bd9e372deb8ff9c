"""What every pass needs to know about a graph: who makes a tensor, who reads it, its shape, its constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from openhailo.errors import ModelInvalid

Array = npt.NDArray[Any]
#: A pass takes a model and returns another; the argument is never changed.
Pass = Callable[[onnx.ModelProto], onnx.ModelProto]


def copy_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an independent copy."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set; ModelInvalid when the model imports none."""
    for entry in model.opset_import:
        if entry.domain in {"", "ai.onnx"}:
            return int(entry.version)
    raise ModelInvalid(detail="it imports no ONNX operator set; export it again")


def dims_of(value: onnx.ValueInfoProto) -> list[int | str] | None:
    """Return the dimensions: integers, names, or "?" for one without a name; None when the rank is unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [int(d.dim_value) if d.HasField("dim_value") else (d.dim_param or "?") for d in tensor.shape.dim]


def set_dims(value: onnx.ValueInfoProto, dims: Iterable[int | str]) -> None:
    """Replace the dimensions: integers stay, texts become symbols."""
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    for size in dims:
        if isinstance(size, int):
            shape.dim.add().dim_value = size
        else:
            shape.dim.add().dim_param = size


class GraphIndex:
    """Look-up tables over one graph, valid as long as the graph does not change."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        """Index producers, consumers, initializers, Constant nodes and known shapes."""
        self.producer: dict[str, onnx.NodeProto] = {out: node for node in graph.node for out in node.output if out}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                if name:
                    self.consumers[name].append(node)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.values = {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}

    def constant(self, name: str) -> Array | None:
        """Return the value of an initializer or Constant node, None for anything computed at run time."""
        tensor = self.initializers.get(name)
        if tensor is not None:
            return np.asarray(numpy_helper.to_array(tensor))
        node = self.producer.get(name)
        if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
            return np.asarray(numpy_helper.to_array(node.attribute[0].t))
        return None

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return a fully known shape, else None."""
        if name in self.initializers:
            return tuple(self.initializers[name].dims)
        value = self.values.get(name)
        dims = None if value is None else dims_of(value)
        if dims is None or not all(isinstance(size, int) for size in dims):
            return None
        return tuple(int(size) for size in dims)

    def sole_consumer(self, name: str) -> onnx.NodeProto | None:
        """Return the only reader of a tensor that is not a graph output, else None."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of an attribute, or ``default``."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def rename_tensor(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor wherever nodes write or read it; graph inputs, outputs and initializers keep their names."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def remove_nodes(graph: onnx.GraphProto, dead: Iterable[onnx.NodeProto]) -> None:
    """Take nodes out of the graph."""
    identities = {id(node) for node in dead}
    kept = [node for node in graph.node if id(node) not in identities]
    replace_nodes(graph, kept)


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Set the node list."""
    copies = []
    for node in nodes:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        copies.append(copied)
    graph.ClearField("node")
    graph.node.extend(copies)


def prune(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop nodes, initializers and inputs that no output depends on."""
    pruned = copy_model(model)
    graph = pruned.graph
    needed = {value.name for value in graph.output}
    alive: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if any(out in needed for out in node.output):
            alive.append(node)
            needed.update(name for name in node.input if name)
    replace_nodes(graph, reversed(alive))
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    inputs = [value for value in graph.input if value.name in needed]
    graph.ClearField("initializer")
    graph.initializer.extend(initializers)
    graph.ClearField("input")
    graph.input.extend(inputs)
    return pruned


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every tensor's shape that can be known; ModelInvalid where shapes contradict each other."""
    bare = copy_model(model)
    bare.graph.ClearField("value_info")
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:
        raise ModelInvalid(detail=f"shapes do not fit together: {_first_lines(error)}") from error


def _first_lines(error: Exception, limit: int = 400) -> str:
    return " ".join(str(error).split())[:limit]


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """Names of the float32 tensors that the nodes of a shape-inferred model compute, in order."""
    floats = {
        value.name
        for value in (*model.graph.value_info, *model.graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    return [out for node in model.graph.node if node.op_type != "Constant" for out in node.output if out in floats]
