"""Constant folding and the other rewrites that ONNX Runtime applies to any machine's graph."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from openhailo.errors import ModelInvalid, UnsupportedOp

from .graph import copy_model, infer_shapes, opset_of, prune

ONNX_DOMAINS = frozenset({"", "ai.onnx"})


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, fuse what the ONNX operator set can express, drop dead nodes.

    Only ONNX Runtime's "basic" level runs: its rewrites are the same on every processor and stay inside the ONNX
    operator set. The names of inputs and outputs survive.

    Raises:
        ModelInvalid: ONNX Runtime cannot load the graph.
        UnsupportedOp: control flow, or an operator of a foreign domain, is left.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="openhailo-") as folder:
        path = Path(folder) / "simplified.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:
            raise ModelInvalid(detail=f"ONNX Runtime refuses it: {' '.join(str(error).split())[:400]}") from error
        simplified = onnx.load(path)
    simplified = _only_used_domains(prune(simplified), opset_of(model))
    check_operators(simplified)
    return infer_shapes(simplified)


def _only_used_domains(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    result = copy_model(model)
    result.ClearField("opset_import")
    result.opset_import.append(onnx.helper.make_opsetid("", opset))
    return result


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse what cannot become a program: operators outside ONNX, control flow, already quantized graphs."""
    for node in model.graph.node:
        label = node.name or (node.output[0] if node.output else node.op_type)
        if node.domain not in ONNX_DOMAINS:
            raise UnsupportedOp(op=f"{node.domain}.{node.op_type}", node=label)
        if any(entry.HasField("g") or entry.graphs for entry in node.attribute):
            raise UnsupportedOp(op=node.op_type, node=label, hint="export the model without control flow")
        if node.op_type in {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}:
            raise UnsupportedOp(op=node.op_type, node=label, hint="give the float model; the compiler quantizes it")
