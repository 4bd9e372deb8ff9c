"""Turns the float ends of a QDQ graph into uint8 tensors in the device's layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from openhailo.errors import ModelInvalid

from .graph import Array, GraphIndex, copy_model, prune, remove_nodes, replace_nodes


class Placed(Protocol):
    """An input or output and its place in a device frame."""

    @property
    def name(self) -> str:
        """Name in the float model."""

    @property
    def model_shape(self) -> tuple[int, ...]:
        """Shape in the float model, batch first."""

    @property
    def layout(self) -> str:
        """How model axes map onto height, width, features."""

    @property
    def graph_shape(self) -> tuple[int, ...]:
        """Shape of one frame in the program."""


@dataclass(frozen=True)
class Quantization:
    """Real number = (integer - zero) * scale."""

    scale: float
    zero: int


@dataclass(frozen=True)
class DeviceGraph:
    """A uint8-in, uint8-out graph, and the quantization of its ends by float-model name."""

    model: onnx.ModelProto
    inputs: Mapping[str, Quantization]
    outputs: Mapping[str, Quantization]


#: Quantization for a tensor that the quantizer left in float.
Fallback = Callable[[str], tuple[float, int]]


def make_device_io(
    model: onnx.ModelProto,
    inputs: Sequence[Placed],
    outputs: Sequence[Placed],
    rename: Callable[[str], str],
    fallback: Fallback,
) -> DeviceGraph:
    """Strip the outer QuantizeLinear and DequantizeLinear nodes and move the layout changes inside.

    Each input becomes a uint8 tensor named ``rename(name)`` of shape (1, *graph_shape), each output likewise. Interior
    scales do not change.

    Raises:
        ModelInvalid: an input is quantized in two ways, or no computation is left between input and output.
    """
    result = copy_model(model)
    graph = result.graph
    graph.ClearField("value_info")
    in_quant = {spec.name: _open_input(graph, spec, rename(spec.name), fallback) for spec in inputs}
    out_quant = {spec.name: _open_output(graph, spec, rename(spec.name), fallback) for spec in outputs}
    graph.ClearField("input")
    graph.input.extend(_value(rename(spec.name), spec) for spec in inputs)
    graph.ClearField("output")
    graph.output.extend(_value(rename(spec.name), spec) for spec in outputs)
    return DeviceGraph(prune(_sorted(result)), in_quant, out_quant)


def _value(name: str, spec: Placed) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, [1, *spec.graph_shape])


def _scalar(values: Array | None, name: str) -> float:
    if values is None or values.size != 1:
        raise ModelInvalid(detail=f"the quantization of {name!r} is not one constant")
    return float(values.reshape(-1)[0])


def _constants(graph: onnx.GraphProto, prefix: str, scale: float, zero: int) -> tuple[str, str]:
    names = f"{prefix}_device_scale", f"{prefix}_device_zero"
    graph.initializer.append(numpy_helper.from_array(np.array(scale, np.float32), names[0]))
    graph.initializer.append(numpy_helper.from_array(np.array(zero, np.uint8), names[1]))
    return names


def _open_input(graph: onnx.GraphProto, spec: Placed, device_name: str, fallback: Fallback) -> Quantization:
    """Let uint8 data in at ``spec.name``: its QuantizeLinear nodes go, float readers get a DequantizeLinear."""
    index = GraphIndex(graph)
    readers = index.consumers.get(spec.name, [])
    quantizers = [node for node in readers if node.op_type == "QuantizeLinear"]
    pairs = {
        (_scalar(index.constant(node.input[1]), spec.name), int(_scalar(index.constant(node.input[2]), spec.name)))
        for node in quantizers
    }
    if len(pairs) > 1:
        raise ModelInvalid(detail=f"input {spec.name!r} is quantized in {len(pairs)} different ways")
    scale, zero = pairs.pop() if pairs else fallback(spec.name)
    quantized = f"{spec.name}_device"
    for node in quantizers:
        _replace_reads(graph, node.output[0], quantized)
    remove_nodes(graph, quantizers)
    head = [_enter(graph, spec, device_name, quantized)]
    if len(readers) > len(quantizers) or spec.name in index.outputs:
        names = _constants(graph, spec.name, scale, zero)
        head.append(helper.make_node("DequantizeLinear", [quantized, *names], [spec.name], name=f"{spec.name}_float"))
    replace_nodes(graph, [*head, *graph.node])
    return Quantization(scale, zero)


def _open_output(graph: onnx.GraphProto, spec: Placed, device_name: str, fallback: Fallback) -> Quantization:
    """Let uint8 data out: take what the last DequantizeLinear reads, or quantize a float result."""
    index = GraphIndex(graph)
    producer = index.producer.get(spec.name)
    if producer is None:
        raise ModelInvalid(detail=f"output {spec.name!r} is not computed by any node")
    if producer.op_type == "DequantizeLinear" and _is_uint8(index, producer):
        scale = _scalar(index.constant(producer.input[1]), spec.name)
        zero = int(_scalar(index.constant(producer.input[2]), spec.name))
        quantized = producer.input[0]
    else:
        scale, zero = fallback(spec.name)
        quantized = f"{spec.name}_device"
        names = _constants(graph, f"{spec.name}_out", scale, zero)
        graph.node.append(helper.make_node("QuantizeLinear", [spec.name, *names], [quantized], name=quantized))
    graph.node.append(_leave(graph, spec, quantized, device_name))
    return Quantization(scale, zero)


def _is_uint8(index: GraphIndex, node: onnx.NodeProto) -> bool:
    zero = index.constant(node.input[2]) if len(node.input) > 2 else None
    return zero is not None and zero.dtype == np.uint8 and zero.size == 1


def _enter(graph: onnx.GraphProto, spec: Placed, source: str, target: str) -> onnx.NodeProto:
    """Return the node from the device's layout to the model's."""
    name = f"{target}_layout"
    if spec.layout == "nchw":
        return helper.make_node("Transpose", [source], [target], name=name, perm=[0, 3, 1, 2])
    if (1, *spec.graph_shape) == spec.model_shape:
        return helper.make_node("Identity", [source], [target], name=name)
    return _reshape(graph, source, target, name, spec.model_shape[1:])


def _leave(graph: onnx.GraphProto, spec: Placed, source: str, target: str) -> onnx.NodeProto:
    """Return the node from the model's layout to the device's."""
    name = f"{target}_layout"
    if spec.layout == "nchw":
        return helper.make_node("Transpose", [source], [target], name=name, perm=[0, 2, 3, 1])
    if (1, *spec.graph_shape) == spec.model_shape:
        return helper.make_node("Identity", [source], [target], name=name)
    return _reshape(graph, source, target, name, spec.graph_shape)


def _reshape(
    graph: onnx.GraphProto, source: str, target: str, name: str, frame_shape: tuple[int, ...]
) -> onnx.NodeProto:
    shape = f"{name}_shape"
    # A leading 0 keeps the batch axis, whatever its length.
    graph.initializer.append(numpy_helper.from_array(np.array([0, *frame_shape], np.int64), shape))
    return helper.make_node("Reshape", [source, shape], [target], name=name)


def _replace_reads(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new


def _sorted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the nodes into topological order."""
    nodes = list(model.graph.node)
    makers = {out: place for place, node in enumerate(nodes) for out in node.output}
    order: TopologicalSorter[int] = TopologicalSorter()
    for place, node in enumerate(nodes):
        order.add(place, *(makers[name] for name in node.input if name in makers))
    try:
        replace_nodes(model.graph, [nodes[place] for place in order.static_order()])
    except CycleError as error:
        raise ModelInvalid(detail="the graph has a cycle") from error
    return model
