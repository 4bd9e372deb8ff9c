"""Small float models, made on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str]


class Builder:
    """Collects nodes and constants; every node's output is named after the node."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(seed)

    def const(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape: int) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        return self.const((self.rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32))

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"n_{name}", **attributes))
        return name

    def conv(self, source: str, name: str, channels: int, filters: int, size: int = 3, **attributes: Any) -> str:
        inputs = [source, self.weights(filters, channels, size, size), self.weights(filters)]
        return self.node("Conv", inputs, name, kernel_shape=[size, size], pads=[size // 2] * 4, **attributes)

    def model(
        self, inputs: Mapping[str, Dims], outputs: Mapping[str, Dims], opset: int = 17, **attributes: Any
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **attributes)
        model.ir_version = 8
        return model


def small_cnn(size: int = 16, channels: int = 3, opset: int = 17) -> onnx.ModelProto:
    """Conv, relu, pool, conv, residual add, global pool, gemm, softmax: an ordinary classifier of 10 classes."""
    b = Builder()
    x = b.node("Relu", [b.conv("input", "conv1", channels, 8)], "relu1")
    x = b.node("MaxPool", [x], "pool1", kernel_shape=[2, 2], strides=[2, 2])
    y = b.node("Relu", [b.conv(x, "conv2", 8, 8)], "relu2")
    x = b.node("Add", [x, y], "sum")
    x = b.node("GlobalAveragePool", [x], "gap")
    x = b.node("Flatten", [x], "flat", axis=1)
    x = b.node("Gemm", [x, b.const(3 * np.eye(10, 8, dtype=np.float32)), b.weights(10)], "logits", transB=1)
    b.node("Softmax", [x], "prob", axis=1)
    return b.model({"input": [1, channels, size, size]}, {"prob": [1, 10]}, opset)


def two_heads() -> onnx.ModelProto:
    """Two inputs of odd shape, two outputs: concat, sigmoid, leaky relu, resize."""
    b = Builder(1)
    left = b.node("LeakyRelu", [b.conv("a", "conv_a", 3, 4)], "leaky", alpha=0.1)
    right = b.node("Sigmoid", [b.conv("b", "conv_b", 2, 4)], "sig")
    joined = b.node("Concat", [left, right], "cat", axis=1)
    b.conv(joined, "map", 8, 5, 1)
    scales = b.const(np.array([1, 1, 2, 2], np.float32))
    b.node("Resize", ["map", "", scales], "big", mode="nearest", coordinate_transformation_mode="asymmetric")
    return b.model({"a": [1, 3, 7, 13], "b": [1, 2, 7, 13]}, {"map": [1, 5, 7, 13], "big": [1, 5, 14, 26]})


def pixels(count: int = 8, *shape: int, seed: int = 5) -> np.ndarray[Any, Any]:
    """Smooth random pictures, uint8, channels last."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, -(-shape[0] // 4), -(-shape[1] // 4), shape[2]))
    return coarse.repeat(4, 1).repeat(4, 2)[:, : shape[0], : shape[1]].astype(np.uint8)
