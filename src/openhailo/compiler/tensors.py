"""Inputs and outputs as the device sees them, and how the model's own tensors map onto them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import onnx

from openhailo.errors import InputError, ModelInvalid

from .passes.graph import GraphIndex, attribute

Layout = Literal["nchw", "nhwc", "nc", "flat"]
_CHANNEL_COUNTS = frozenset({1, 3, 4})


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: the model's shape (batch first) and how it lies in a device frame.

    ``layout``: "nchw" and "nhwc" for rank 4, "nc" for ranks 1 and 2, "flat" for the others, whose first axis becomes
    the height (1 at rank 3), whose last the features, and all between them the width.
    """

    name: str
    model_shape: tuple[int, ...]
    layout: Layout

    @property
    def device_shape(self) -> tuple[int, int, int]:
        """(height, width, features) of a frame."""
        dims = self.model_shape[1:]
        if self.layout == "nchw":
            return dims[1], dims[2], dims[0]
        if self.layout == "nhwc":
            return dims[0], dims[1], dims[2]
        if self.layout == "nc":
            return 1, 1, math.prod(dims)
        if len(dims) == 2:
            return 1, dims[0], dims[1]
        return dims[0], math.prod(dims[1:-1]), dims[-1]

    @property
    def graph_shape(self) -> tuple[int, ...]:
        """Shape of a frame in the program, without the batch axis."""
        return self.device_shape[2:] if self.layout == "nc" else self.device_shape

    @property
    def is_image(self) -> bool:
        """Whether pixels could go in: rank 4 with 1 or 3 channels."""
        return self.layout in {"nchw", "nhwc"} and self.device_shape[2] in {1, 3}

    @property
    def channel_axis(self) -> int:
        """Axis of the channels in the model's shape."""
        return len(self.model_shape) - 1 if self.layout == "nhwc" else 1


def describe_inputs(model: onnx.ModelProto, nhwc: frozenset[str]) -> list[TensorSpec]:
    """Return the inputs of a static model; ``nhwc`` names those that are channels-last for sure."""
    index = GraphIndex(model.graph)
    return [_describe(index, value.name, nhwc, _input_is_nhwc) for value in model.graph.input]


def describe_outputs(model: onnx.ModelProto, nhwc: frozenset[str]) -> list[TensorSpec]:
    """Return the outputs of a static model."""
    index = GraphIndex(model.graph)
    return [_describe(index, value.name, nhwc, _output_is_nhwc) for value in model.graph.output]


def check_layout_names(model: onnx.ModelProto, nhwc: frozenset[str]) -> None:
    """InputError when a name in ``nhwc`` is neither an input nor an output of rank 4."""
    index = GraphIndex(model.graph)
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    wrong = sorted(name for name in nhwc if name not in ends or len(index.shape(name) or ()) != 4)
    if wrong:
        raise InputError(what="nhwc", detail=f"{wrong} are no inputs or outputs of rank 4; there are {sorted(ends)}")


def _describe(index: GraphIndex, name: str, nhwc: frozenset[str], guess: object) -> TensorSpec:
    shape = index.shape(name)
    if shape is None or not shape or 0 in shape:
        raise ModelInvalid(detail=f"the shape of {name!r} is not known before it runs ({shape}); cut with --end-node")
    if shape[0] != 1:
        raise ModelInvalid(
            detail=f"{name!r} of shape {list(shape)} does not begin with a batch of 1; cut with --end-node"
        )
    if len(shape) == 4:
        assert callable(guess)
        return TensorSpec(name, shape, "nhwc" if name in nhwc or guess(index, name, shape) else "nchw")
    return TensorSpec(name, shape, "nc" if len(shape) <= 2 else "flat")


def _input_is_nhwc(index: GraphIndex, name: str, shape: tuple[int, ...]) -> bool:
    """Channels last when the graph begins by moving them, or when only the last axis can count channels."""
    readers = index.consumers.get(name, [])
    if readers and all(_permutes(node, [0, 3, 1, 2]) for node in readers):
        return True
    direct = any(node.op_type in {"Conv", "MaxPool", "AveragePool"} for node in readers)
    return not direct and shape[3] in _CHANNEL_COUNTS and shape[1] not in _CHANNEL_COUNTS


def _output_is_nhwc(index: GraphIndex, name: str, shape: tuple[int, ...]) -> bool:
    producer = index.producer.get(name)
    return producer is not None and _permutes(producer, [0, 2, 3, 1])


def _permutes(node: onnx.NodeProto, order: list[int]) -> bool:
    return node.op_type == "Transpose" and list(attribute(node, "perm", [])) == order
