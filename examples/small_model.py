"""A model that needs no download: one convolution that finds edges, and the mean of each half of the picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Where the examples put what they make.
OUTPUT = Path(os.environ.get("OPENHAILO_EXAMPLES", "build/examples"))

_KERNELS = {"left to right": [[-1, 0, 1]] * 3, "top to bottom": [[-1] * 3, [0] * 3, [1] * 3]}


def small_model() -> Path:
    """Write the model (a 28x28 grey picture, values 0..1) and return its path."""
    kernels = np.array([[kernel] for kernel in _KERNELS.values()], np.float32)
    nodes = [
        helper.make_node("Conv", ["picture", "kernels"], ["slopes"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["slopes"], ["edges"]),
        helper.make_node("AveragePool", ["picture"], ["halves"], kernel_shape=[28, 14], strides=[28, 14]),
    ]
    graph = helper.make_graph(
        nodes,
        "edges",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 1, 28, 28])],
        [
            helper.make_tensor_value_info("edges", TensorProto.FLOAT, [1, 2, 28, 28]),
            helper.make_tensor_value_info("halves", TensorProto.FLOAT, [1, 1, 1, 2]),
        ],
        [numpy_helper.from_array(kernels, "kernels")],
    )
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / "edges.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def pictures(count: int) -> np.ndarray:
    """Return ``count`` pictures (count, 28, 28, 1) of bright rectangles."""
    rng = np.random.default_rng(0)
    made = rng.uniform(0, 0.2, (count, 28, 28, 1)).astype(np.float32)
    for picture, (top, left, height, width) in zip(made, rng.integers(4, 14, (count, 4)), strict=True):
        picture[top : top + height, left : left + width] += 0.8
    return made
