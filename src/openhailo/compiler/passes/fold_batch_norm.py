"""Turns batch normalization into the weights of the convolution before it, or into one multiply and one add."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .graph import Array, GraphIndex, attribute, infer_shapes, prune, replace_nodes


def fold_batch_norm(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without inference-time BatchNormalization whose four parameters are constants."""
    result = infer_shapes(model)
    graph = result.graph
    index = GraphIndex(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        affine = _affine(node, index)
        if affine is None:
            nodes.append(node)
        elif not _fold_into_convolution(graph, index, node, *affine):
            nodes.extend(_multiply_add(graph, index, node, *affine))
    replace_nodes(graph, nodes)
    graph.ClearField("value_info")
    return prune(result)


def _affine(node: onnx.NodeProto, index: GraphIndex) -> tuple[Array, Array] | None:
    """Return (factor, offset) of each channel, None for any other node."""
    if node.op_type != "BatchNormalization" or attribute(node, "training_mode", 0):
        return None
    parameters = [index.constant(parameter) for parameter in node.input[1:5]]
    if len([out for out in node.output if out]) > 1 or any(parameter is None for parameter in parameters):
        return None
    scale, bias, mean, variance = (np.asarray(parameter, np.float64) for parameter in parameters)
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return factor, bias - mean * factor


def _fold_into_convolution(
    graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, factor: Array, offset: Array
) -> bool:
    """Scale the kernel and bias of the Conv that feeds only ``node`` and give it the output; False if there is none."""
    source = node.input[0]
    conv = index.producer.get(source)
    if conv is None or conv.op_type != "Conv" or index.sole_consumer(source) is None:
        return False
    kernel = index.constant(conv.input[1])
    has_bias = len(conv.input) > 2 and bool(conv.input[2])
    bias = index.constant(conv.input[2]) if has_bias else np.zeros_like(factor)
    if kernel is None or bias is None:
        return False
    shaped = factor.reshape(-1, *[1] * (kernel.ndim - 1))
    names = _constants(graph, node.output[0], ("weight", kernel * shaped), ("bias", bias * factor + offset))
    del conv.input[1:]
    conv.input.extend(names)
    conv.output[0] = node.output[0]
    return True


def _multiply_add(
    graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, factor: Array, offset: Array
) -> list[onnx.NodeProto]:
    """Return the nodes that compute ``x * factor + offset`` in the place of ``node``."""
    source, target = node.input[0], node.output[0]
    shape = index.shape(source)
    rank = 4 if shape is None else len(shape)
    column = [1, -1, *[1] * (rank - 2)]
    names = _constants(graph, target, ("factor", factor.reshape(column)), ("offset", offset.reshape(column)))
    scaled = f"{target}_scaled"
    return [
        helper.make_node("Mul", [source, names[0]], [scaled], name=scaled),
        helper.make_node("Add", [scaled, names[1]], [target], name=node.name or target),
    ]


def _constants(graph: onnx.GraphProto, target: str, *values: tuple[str, Array]) -> list[str]:
    names = []
    for what, value in values:
        names.append(f"{target}_folded_{what}")
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), names[-1]))
    return names
