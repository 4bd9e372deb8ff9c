"""Shapes and activations that every decoder needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats

EXP_LIMIT = 30.0
"""Largest argument of ``exp`` in a box size: beyond every picture, and float32 does not overflow."""


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    decay = np.exp(-np.abs(values))
    result: Floats = np.where(values >= 0, 1, decay) / (1 + decay)
    return result.astype(np.float32, copy=False)


def softmax(values: Floats, axis: int = -1) -> Floats:
    """Exponentials that sum to one along ``axis``, without overflow."""
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    result: Floats = powers / powers.sum(axis=axis, keepdims=True)
    return result


def exp(values: Floats) -> Floats:
    """exp, limited so that a hostile map gives a large box rather than an infinite one."""
    result: Floats = np.exp(np.minimum(values, EXP_LIMIT))
    return result


def raw_threshold(threshold: float, activated: bool) -> float:
    """The threshold to compare map values with: a probability, or its logit where the map holds logits."""
    if activated:
        return threshold
    if threshold <= 0:
        return -np.inf
    return float(np.log(threshold / (1 - threshold))) if threshold < 1 else np.inf


def as_map(array: NDArray[Any], name: str = "output") -> Floats:
    """A (height, width, channels) float32 view of one frame's map.

    Raises:
        ShapeMismatch: more axes, or a batch of more than one frame.
    """
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3:
        raise ShapeMismatch(name=name, expected=(1, -1, -1, -1), seen=array.shape, detail="one frame, NHWC")
    return array.astype(np.float32, copy=False)


def by_stride(
    outputs: Sequence[NDArray[Any]], input_size: tuple[int, int], strides: Sequence[int], each: Sequence[int]
) -> list[list[Floats]]:
    """Sort maps into levels by their grid; in a level they keep the order they came in.

    Args:
        outputs: maps in any order of levels.
        input_size: height and width of the network input.
        strides: one per level, in the order wanted.
        each: acceptable numbers of maps per level.

    Raises:
        ShapeMismatch: a map of no level, or a level with too few or too many maps.
    """
    levels: dict[tuple[int, int], list[Floats]] = {_grid(input_size, stride): [] for stride in strides}
    for i, array in enumerate(outputs):
        found = as_map(array, f"output {i}")
        if found.shape[:2] not in levels:
            raise ShapeMismatch(
                name=f"output {i}",
                expected=next(iter(levels), ()),
                seen=found.shape[:2],
                detail=f"grids of strides {list(strides)} at input {input_size}: {list(levels)}",
            )
        levels[found.shape[0], found.shape[1]].append(found)
    for grid, maps in levels.items():
        if len(maps) not in each:
            raise ShapeMismatch(name=f"maps of grid {grid}", expected=tuple(each), seen=(len(maps),))
    return [levels[_grid(input_size, stride)] for stride in strides]


def _grid(input_size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Cells of a level; a stride that does not divide the input covers its border with one more cell."""
    return -(-input_size[0] // stride), -(-input_size[1] // stride)


def check_channels(array: Floats, channels: int, name: str) -> None:
    """Raise ShapeMismatch unless the map has that many channels."""
    if array.shape[2] != channels:
        raise ShapeMismatch(name=name, expected=(*array.shape[:2], channels), seen=array.shape)
