"""Ends the network at chosen nodes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from openhailo.errors import ModelInvalid

from .graph import GraphIndex, copy_model, infer_shapes, prune


def cut_at(model: onnx.ModelProto, end_nodes: Sequence[str]) -> onnx.ModelProto:
    """Make the outputs of ``end_nodes`` (names of nodes or tensors) the model's outputs, in that order.

    Raises:
        ModelInvalid: a name that is neither a node nor a computed tensor, or one given twice.
    """
    if not end_nodes:
        return model
    inferred = infer_shapes(model)
    index = GraphIndex(inferred.graph)
    nodes = {node.name: node for node in inferred.graph.node if node.name}
    tensors: list[str] = []
    for name in end_nodes:
        if name in index.producer:
            tensors.append(name)
        elif name in nodes:
            tensors.extend(out for out in nodes[name].output if index.consumers.get(out) or out in index.outputs)
        else:
            raise ModelInvalid(detail=f"there is no node or tensor {name!r} to end at; `--end-node` takes exact names")
    if len(set(tensors)) != len(tensors) or not tensors:
        raise ModelInvalid(detail=f"end nodes {list(end_nodes)} give the outputs {tensors}; name each once")
    result = copy_model(inferred)
    result.graph.ClearField("output")
    result.graph.output.extend(index.values[name] for name in tensors)
    return prune(result)
