"""Turns batch normalization into the weights of the convolution before it, or into one multiply and one add."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .graph import Array, GraphIndex, attribute, infer_shapes, prune, rename_tensor, replace_nodes


def fold_batch_norm(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without inference-time BatchNormalization whose four parameters are constants."""
    result = infer_shapes(model)
    graph = result.graph
    for name in [node.output[0] for node in graph.node if node.op_type == "BatchNormalization"]:
        index = GraphIndex(graph)
        node = index.producer[name]
        parameters = [index.constant(parameter) for parameter in node.input[1:5]]
        if attribute(node, "training_mode", 0) or len([out for out in node.output if out]) > 1:
            continue
        if any(parameter is None for parameter in parameters):
            continue
        scale, bias, mean, variance = (np.asarray(parameter, np.float64) for parameter in parameters)
        factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        offset = bias - mean * factor
        if not _fold_into_convolution(graph, index, node, factor, offset):
            _replace_by_affine(graph, index, node, factor, offset)
    graph.ClearField("value_info")
    return prune(result)


def _fold_into_convolution(
    graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, factor: Array, offset: Array
) -> bool:
    """Scale the kernel and bias of the Conv that feeds only ``node``; False where there is none."""
    source = node.input[0]
    conv = index.producer.get(source)
    if conv is None or conv.op_type != "Conv" or index.sole_consumer(source) is None:
        return False
    kernel = index.constant(conv.input[1])
    has_bias = len(conv.input) > 2 and bool(conv.input[2])
    bias = index.constant(conv.input[2]) if has_bias else np.zeros_like(factor)
    if kernel is None or bias is None:
        return False
    target = node.output[0]
    shaped = factor.reshape(-1, *[1] * (kernel.ndim - 1))
    names = f"{target}_folded_weight", f"{target}_folded_bias"
    values = (kernel * shaped, bias * factor + offset)
    for name, value in zip(names, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    del conv.input[1:]
    conv.input.extend(names)
    replace_nodes(graph, [other for other in graph.node if other.output[0] != target])
    rename_tensor(graph, source, target)
    return True


def _replace_by_affine(
    graph: onnx.GraphProto, index: GraphIndex, node: onnx.NodeProto, factor: Array, offset: Array
) -> None:
    """Put ``x * factor + offset`` in the place of ``node``."""
    source, target = node.input[0], node.output[0]
    shape = index.shape(source)
    rank = 4 if shape is None else len(shape)
    names = f"{target}_factor", f"{target}_offset"
    for name, value in zip(names, (factor, offset), strict=True):
        shaped = value.astype(np.float32).reshape(1, -1, *[1] * (rank - 2))
        graph.initializer.append(numpy_helper.from_array(shaped, name))
    scaled = f"{target}_scaled"
    replacement = [
        helper.make_node("Mul", [source, names[0]], [scaled], name=scaled),
        helper.make_node("Add", [scaled, names[1]], [target], name=node.name or target),
    ]
    nodes: list[onnx.NodeProto] = []
    for other in graph.node:
        nodes.extend(replacement if other.output[0] == target else [other])
    replace_nodes(graph, nodes)
