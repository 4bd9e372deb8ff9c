"""Removes nodes that only hand a tensor on."""

from __future__ import annotations

import onnx

from .graph import GraphIndex, attribute, copy_model, infer_shapes, rename_tensor, replace_nodes


def drop_identity(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove Identity, inference-time Dropout and Casts to the type a tensor already has.

    A node between a graph input and a graph output stays: both names must survive.
    """
    result = infer_shapes(model)
    graph = result.graph
    for name in [node.output[0] for node in graph.node]:
        index = GraphIndex(graph)
        node = index.producer.get(name)
        if node is not None and _hands_on(node, index):
            _bypass(graph, node, index)
    final = copy_model(result)
    final.graph.ClearField("value_info")
    return final


def _hands_on(node: onnx.NodeProto, index: GraphIndex) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type == "Dropout":
        unread = all(not index.consumers.get(out) and out not in index.outputs for out in node.output[1:])
        training = len(node.input) > 2 and node.input[2] and index.constant(node.input[2]) is None
        return unread and not training
    if node.op_type == "Cast":
        source = index.values.get(node.input[0])
        return source is not None and source.type.tensor_type.elem_type == attribute(node, "to", 0)
    return False


def _bypass(graph: onnx.GraphProto, node: onnx.NodeProto, index: GraphIndex) -> None:
    """Remove ``node`` and join its two tensors under one name; nothing happens where neither name can go."""
    source, target = node.input[0], node.output[0]
    if target not in index.outputs:
        old, new = target, source
    elif source in index.producer and source not in index.outputs:
        old, new = source, target
    else:
        return
    replace_nodes(graph, [other for other in graph.node if other.output[0] != target])
    rename_tensor(graph, old, new)
