"""EfficientNet-Lite0 as an ONNX model, from its checkpoint.

Lite means: ReLU6 throughout and no squeeze-and-excitation, so that it quantizes well.  The weights were converted from
TensorFlow: padding is TensorFlow's SAME (the odd pixel goes below and to the right) and normalization adds 0.001 to
the variance.  The input is 224 x 224 RGB, ``(value - 127) / 128``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ModelInvalid

if TYPE_CHECKING:
    import onnx

INPUT_SIZE = 224
CLASSES = 1000
MEAN, STD = 127.0, 128.0

_EPSILON = 1e-3
_OPSET, _IR_VERSION = 17, 8
_STRIDE_TWO_BLOCKS = frozenset({1, 3, 5, 11})
_BLOCKS = 16


@dataclass(slots=True)
class _Graph:
    """The graph as it grows; a tensor is known by its name, ``size`` is the side of the present map."""

    tensors: Mapping[str, NDArray[Any]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    size: int = INPUT_SIZE

    def weight(self, name: str) -> NDArray[np.float32]:
        if name not in self.tensors:
            raise ModelInvalid(detail=f"the checkpoint lacks {name}: it is not EfficientNet-Lite0")
        return self.tensors[name].astype(np.float32)

    def constant(self, name: str, values: NDArray[np.float32]) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(self, tensor: str, name: str, norm: str, *, stride: int = 1, relu: bool = True) -> str:
        """Convolution with its normalization folded in, SAME padding, and ReLU6."""
        kernel = self.weight(f"{name}.weight")
        factor = self.weight(f"{norm}.weight") / np.sqrt(self.weight(f"{norm}.running_var") + _EPSILON)
        bias = self.weight(f"{norm}.bias") - self.weight(f"{norm}.running_mean") * factor
        inputs = [tensor, self.constant(f"{name}.w", kernel * factor[:, None, None, None])]
        output = self.node(
            "Conv",
            [*inputs, self.constant(f"{name}.b", bias)],
            name,
            kernel_shape=list(kernel.shape[2:]),
            strides=[stride, stride],
            pads=self._pads(kernel.shape[2], stride),
            group=kernel.shape[0] if "depthwise" in name else 1,
        )
        return self.node("Clip", [output, "zero", "six"], f"{name}.relu6") if relu else output

    def _pads(self, kernel: int, stride: int) -> list[int]:
        """TensorFlow's SAME; also notes the new size."""
        output = -(-self.size // stride)
        total = max((output - 1) * stride + kernel - self.size, 0)
        self.size = output
        return [total // 2, total // 2, total - total // 2, total - total // 2]


def build_efficientnet_lite0(tensors: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """The network with input ``input`` (1, 3, 224, 224) and output ``logits`` (1, 1000).

    Raises:
        ModelInvalid: a tensor is missing.
    """
    graph = _Graph(tensors)
    graph.constant("zero", np.array(0, np.float32))
    graph.constant("six", np.array(6, np.float32))
    tensor = graph.conv("input", "_conv_stem", "_bn0", stride=2)
    for number in range(_BLOCKS):
        tensor = _block(graph, tensor, number)
    tensor = graph.conv(tensor, "_conv_head", "_bn1")
    tensor = graph.node("GlobalAveragePool", [tensor], "pool")
    tensor = graph.node("Flatten", [tensor], "flat")
    weight = graph.constant("_fc.w", graph.weight("_fc.weight"))
    bias = graph.constant("_fc.b", graph.weight("_fc.bias"))
    graph.node("Gemm", [tensor, weight, bias], "logits", transB=1)
    return _finish(graph)


def _block(graph: _Graph, tensor: str, number: int) -> str:
    """Expand, filter each channel, project; add the input where the shape stays."""
    prefix = f"_blocks.{number}"
    stride = 2 if number in _STRIDE_TWO_BLOCKS else 1
    inner = tensor if number == 0 else graph.conv(tensor, f"{prefix}._expand_conv", f"{prefix}._bn0")
    inner = graph.conv(inner, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride=stride)
    output = graph.conv(inner, f"{prefix}._project_conv", f"{prefix}._bn2", relu=False)
    if stride == 2 or number == 0 or not _keeps_channels(graph, prefix):
        return output
    return graph.node("Add", [output, tensor], f"{prefix}.add")


def _keeps_channels(graph: _Graph, prefix: str) -> bool:
    entering = int(graph.weight(f"{prefix}._expand_conv.weight").shape[1])
    return entering == int(graph.weight(f"{prefix}._project_conv.weight").shape[0])


def _finish(graph: _Graph) -> onnx.ModelProto:
    import onnx
    from onnx import TensorProto, helper

    proto = helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, INPUT_SIZE, INPUT_SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        graph.initializers,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="openhailo")
    model.ir_version = _IR_VERSION
    preprocess = json.dumps({"mean": [MEAN], "std": [STD], "color": "rgb"})
    helper.set_model_props(model, {"openhailo.preprocess": preprocess})
    onnx.checker.check_model(model, full_check=True)
    return model
