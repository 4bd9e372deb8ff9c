"""Spreads the range of an activation evenly over its channels, so that one scale suits them all.

Between a convolution and a depthwise one, with nothing but positively homogeneous operators in between (ReLU, max
pooling, ...), a channel may be divided by any positive number if the second convolution's weights for it are multiplied
by the same. An activation has one scale for all channels, but both convolutions have a weight scale for each of them:
making the channels equally loud costs nothing and gives the quiet ones precision. An ordinary second convolution would
pay with the precision of its weights, so those pairs are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from .graph import Array, GraphIndex, attribute, copy_model

#: f(c * x) = c * f(x) for c > 0, channel by channel.
HOMOGENEOUS: Final = frozenset({"Relu", "LeakyRelu", "MaxPool", "AveragePool"})
#: Channels more silent than this share of the loudest are treated as if they had it: scaling noise up helps nobody.
QUIETEST: Final = 1e-3
#: A channel is scaled by at most this factor, up or down.
LARGEST_FACTOR: Final = 64.0


@dataclass(frozen=True)
class Link:
    """A convolution and a depthwise one (by their output names), and the tensor that the second one reads."""

    first: str
    second: str
    between: str


def find_links(model: onnx.ModelProto) -> list[Link]:
    """Return the pairs of convolutions that can be equalized, in graph order; nothing else may read in between."""
    index = GraphIndex(model.graph)
    links = []
    for node in model.graph.node:
        if node.op_type != "Conv" or not _has_own_constants(node, index):
            continue
        tensor = node.output[0]
        reader = index.sole_consumer(tensor)
        while reader is not None and reader.op_type in HOMOGENEOUS and len(reader.output) == 1:
            tensor = reader.output[0]
            reader = index.sole_consumer(tensor)
        if reader is not None and _is_depthwise(reader, index):
            links.append(Link(node.output[0], reader.output[0], tensor))
    return links


def _has_own_constants(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether weights and bias are constants that no other node reads."""
    return all(name in index.initializers and len(index.consumers[name]) == 1 for name in node.input[1:] if name)


def _is_depthwise(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether each channel has one filter of its own."""
    if node.op_type != "Conv" or not _has_own_constants(node, index):
        return False
    filters, depth = index.initializers[node.input[1]].dims[:2]
    return bool(depth == 1 and attribute(node, "group", 1) == filters)


def equalize(
    model: onnx.ModelProto, links: Sequence[Link], loudness: Mapping[str, npt.NDArray[np.float64]]
) -> onnx.ModelProto:
    """Return the model with equalized links; it computes the same up to rounding.

    Args:
        model: float model.
        links: what `find_links` returned for it.
        loudness: largest absolute value of each channel, by `Link.between`.
    """
    result = copy_model(model)
    index = GraphIndex(result.graph)
    for link in links:
        first, second = index.producer[link.first], index.producer[link.second]
        factors = _factors(loudness[link.between])
        _scale(index, second.input[1], factors)
        for name in first.input[1:]:
            if name:
                _scale(index, name, 1.0 / factors)
    return result


def _factors(loudness: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return by what each channel is divided; their geometric mean is 1."""
    floor = max(float(loudness.max()) * QUIETEST, 1e-12)
    relative = np.maximum(loudness, floor)
    relative = relative / np.exp(np.mean(np.log(relative)))
    return np.asarray(np.clip(relative, 1 / LARGEST_FACTOR, LARGEST_FACTOR))


def _scale(index: GraphIndex, name: str, factors: npt.NDArray[np.float64]) -> None:
    """Multiply an initializer along its first axis, in place."""
    value: Array = numpy_helper.to_array(index.initializers[name])
    scaled = value * factors.reshape([-1, *[1] * (value.ndim - 1)])
    index.initializers[name].CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), name))
