"""Removes nodes that only hand a tensor on."""

from __future__ import annotations

import onnx

from .graph import GraphIndex, attribute, infer_shapes, replace_nodes


def drop_identity(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove Identity, inference-time Dropout and Casts to the type a tensor already has.

    A node between a graph input and a graph output stays: both names must survive.
    """
    result = infer_shapes(model)
    graph = result.graph
    index = GraphIndex(graph)
    aliases: dict[str, str] = {}
    renamed: dict[str, str] = {}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        source, target = (aliases.get(names[0], names[0]) if names else "" for names in (node.input, node.output))
        if not _hands_on(node, index):
            kept.append(node)
        elif target not in index.outputs:
            aliases[target] = source
        elif source in index.producer and source not in index.outputs and source not in renamed:
            renamed[source] = target
        else:
            kept.append(node)
    for node in kept:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                final = aliases.get(name, name)
                names[place] = renamed.get(final, final)
    replace_nodes(graph, kept)
    graph.ClearField("value_info")
    return result


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
