"""What a network costs: parameters and multiply-accumulates, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from .passes.graph import GraphIndex, attribute


@dataclass(frozen=True)
class LayerCost:
    """One node: its constants and the multiply-accumulates of one frame."""

    name: str
    op: str
    output: str
    parameters: int
    macs: int


def estimate(model: onnx.ModelProto) -> list[LayerCost]:
    """Return the cost of every node of a float model with inferred shapes.

    Only convolutions and matrix products count as multiply-accumulates; element-wise work is left out, as is usual.
    Constants that several nodes share count at the first of them.
    """
    index = GraphIndex(model.graph)
    counted: set[str] = set()
    costs = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            continue
        fresh = [name for name in node.input if name in index.initializers and name not in counted]
        counted.update(fresh)
        parameters = sum(math.prod(index.initializers[name].dims) for name in fresh)
        costs.append(
            LayerCost(node.name or node.output[0], node.op_type, node.output[0], parameters, _macs(node, index))
        )
    return costs


def _macs(node: onnx.NodeProto, index: GraphIndex) -> int:
    """Return the multiply-accumulates of one node, 0 where its shapes are not known."""
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return 0
    source, weight, output = (index.shape(name) for name in (node.input[0], node.input[1], node.output[0]))
    if source is None or weight is None or output is None:
        return 0
    if node.op_type == "Conv":
        return math.prod(output) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(source) * math.prod(weight[1:])
    depth = source[0] if node.op_type == "Gemm" and attribute(node, "transA", 0) else source[-1]
    return math.prod(output) * depth
