"""The networks that are measured: the demo detector, and a tiny one where only the overhead counts."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from openhailo.compiler import CompiledModel, compile_model
from openhailo.pipeline.models import demo_calibration, demo_model


@cache
def detector() -> CompiledModel:
    """Return YOLOv3-tiny, 416x416x3, calibrated on the demo photos."""
    return compile_model(demo_model("yolov3-tiny"), name="yolov3-tiny", calibration=demo_calibration("yolov3-tiny"))


@cache
def tiny() -> CompiledModel:
    """Return a digit classifier of the usual shape: 28x28x1, two convolutions, one dense layer, 10 classes."""
    return compile_model(tiny_float(), name="tiny", calibration="random:16")


def tiny_float() -> onnx.ModelProto:
    """Build the float model of `tiny`, with weights from a fixed seed."""
    rng = np.random.default_rng(7)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = int(np.prod(shape[1:])) or 1
        return numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p2"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"], transB=1),
    ]
    weights = [
        weight("w1", 16, 1, 3, 3), weight("b1", 16), weight("w2", 32, 16, 3, 3), weight("b2", 32),
        weight("w3", 10, 32 * 7 * 7), weight("b3", 10),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
