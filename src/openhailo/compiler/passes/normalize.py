"""Moves the normalization of image inputs into the graph, so that the device takes raw pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from openhailo.errors import InputError

from .graph import Array, GraphIndex, attribute, copy_model, rename_tensor, replace_nodes

Color = Literal["rgb", "bgr"]
#: No normalization of pixels has larger numbers, or divides by smaller ones than its inverse.
LARGEST: Final = 1e6


@dataclass(frozen=True)
class Normalization:
    """What a model expects of its pixels: ``(pixel - mean) / std`` per channel, pixels in 0..255.

    ``mean`` and ``std`` have one entry or one per channel, in the order of the model's own channels; ``color`` says
    what that order is. The device always takes RGB.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    color: Color = "rgb"

    def __post_init__(self) -> None:
        fits = all(abs(value) <= LARGEST for value in self.mean) and all(
            1 / LARGEST <= value <= LARGEST for value in self.std
        )
        if not self.mean or not self.std or not fits:
            raise InputError(
                what="normalization",
                detail=f"mean {self.mean} and std {self.std}: std must be above 0, and none beyond {LARGEST:.0e}",
            )
        if not isinstance(self.color, str) or self.color not in {"rgb", "bgr"}:
            raise InputError(what="color", detail=f"{self.color!r} is neither 'rgb' nor 'bgr'")

    def scale_zero(self) -> tuple[float, int] | None:
        """Return (scale, zero point) if the whole normalization is one uint8 quantization, else None."""
        mean, std = set(self.mean), set(self.std)
        if len(mean) != 1 or len(std) != 1:
            return None
        zero = mean.pop()
        if not zero.is_integer() or not 0 <= zero <= 255:
            return None
        return 1.0 / std.pop(), int(zero)

    def per_channel(self, channels: int, what: str) -> tuple[list[float], list[float]]:
        """Return mean and std with one entry per channel; InputError if the counts do not fit."""
        if not {len(self.mean), len(self.std)} <= {1, channels}:
            raise InputError(
                what=what, detail=f"{channels} channels, but mean has {len(self.mean)} and std {len(self.std)} entries"
            )
        grown = [list(values) * (channels // len(values)) for values in (self.mean, self.std)]
        return grown[0], grown[1]


def normalize_input(
    model: onnx.ModelProto, name: str, normalization: Normalization, *, channel_axis: int, channels: int
) -> onnx.ModelProto:
    """Make input ``name`` take raw RGB pixels as floats: prepend ``(x - mean) / std`` and the colour swap.

    The swap becomes a permutation of convolution weights where every reader is one, else a Gather node. Where
    `Normalization.scale_zero` gives an answer, the arithmetic is left to the input's quantization and only the
    colours are swapped.

    Raises:
        InputError: counts that do not fit the channels, or BGR with other than 3 channels.
    """
    mean, std = normalization.per_channel(channels, name)
    swap = normalization.color == "bgr"
    if swap and channels != 3:
        raise InputError(what=name, detail=f"BGR needs 3 channels, the model has {channels}")
    result = copy_model(model)
    tensor = name
    if swap and not _swap_weights(result.graph, name, channel_axis):
        tensor = _prepend_gather(result.graph, name, channel_axis)
    elif swap:
        mean, std = mean[::-1], std[::-1]
    if normalization.scale_zero() is None:
        shape = [channels if axis == channel_axis else 1 for axis in range(4)]
        _prepend_affine(result.graph, tensor, np.array(mean).reshape(shape), np.array(std).reshape(shape))
    return result


def _swap_weights(graph: onnx.GraphProto, name: str, channel_axis: int) -> bool:
    """Reverse the input channels of every convolution that reads ``name``; False when something else reads it."""
    index = GraphIndex(graph)
    readers = index.consumers.get(name, [])
    kernels = [index.constant(node.input[1]) if node.op_type == "Conv" else None for node in readers]
    plain = all(attribute(node, "group", 1) == 1 for node in readers)
    if channel_axis != 1 or not plain or name in index.outputs or any(kernel is None for kernel in kernels):
        return False
    for node, kernel in zip(readers, kernels, strict=True):
        swapped = f"{node.output[0]}_rgb_weight"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(kernel)[:, ::-1]), swapped))
        node.input[1] = swapped
    return True


def _insert_first(graph: onnx.GraphProto, name: str, nodes: Sequence[onnx.NodeProto], last: str) -> None:
    """Put ``nodes`` at the front; what read ``name`` so far reads ``last``."""
    rename_tensor(graph, name, last)
    replace_nodes(graph, [*nodes, *graph.node])


def _prepend_gather(graph: onnx.GraphProto, name: str, channel_axis: int) -> str:
    indices = f"{name}_swap"
    graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), indices))
    swapped = f"{name}_swapped"
    node = helper.make_node("Gather", [name, indices], [swapped], name=swapped, axis=channel_axis)
    _insert_first(graph, name, [node], swapped)
    return swapped


def _prepend_affine(graph: onnx.GraphProto, tensor: str, mean: Array, std: Array) -> None:
    """Insert a subtraction and a multiplication behind ``tensor`` (a graph input, or the swap of one)."""
    constants = {f"{tensor}_mean": mean, f"{tensor}_inverse_std": 1.0 / std}
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    centered, normalized = f"{tensor}_centered", f"{tensor}_normalized"
    nodes = [
        helper.make_node("Sub", [tensor, f"{tensor}_mean"], [centered], name=centered),
        helper.make_node("Mul", [centered, f"{tensor}_inverse_std"], [normalized], name=normalized),
    ]
    first = GraphIndex(graph).producer.get(tensor)
    head = [] if first is None else [first]
    rest = [node for node in graph.node if first is None or node.output[0] != tensor]
    for node in rest:
        for position, name in enumerate(node.input):
            if name == tensor:
                node.input[position] = normalized
    replace_nodes(graph, [*head, *nodes, *rest])
