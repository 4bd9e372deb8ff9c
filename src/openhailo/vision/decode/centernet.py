"""CenterNet: a heatmap whose peaks are objects, with maps of size, sub-cell offset and perhaps landmarks.

Variants differ in small things, which the config names.  CenterFace (MIT-licensed face detector) has sizes as
``exp(value) * stride``, ``y`` before ``x`` in every map, the cell's centre as origin, landmarks relative to the box,
and NMS in place of peaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats
from openhailo.vision.decode.maps import as_map, check_channels, exp, raw_threshold, sigmoid
from openhailo.vision.decode.suppress import DEFAULT_SUPPRESSION, Candidates, Suppression, suppress
from openhailo.vision.detections import Detections


@dataclass(frozen=True, slots=True)
class CenterNetConfig:
    """How to read the maps.

    Attributes:
        input_size: height and width.
        classes: channels of the heatmap.
        stride: input pixels per cell.
        activated: whether the network applies the sigmoid to the heatmap.
        peaks_only: keep cells that are the maximum of their 3 x 3 neighbourhood.
        size_unit: ``cells``, ``pixels``, or ``log`` (exp of the value, in cells).
        order: ``xy``, or ``yx`` where every pair of channels is (y, x) and (height, width).
        origin: where in its cell an offset of 0 lies: 0 the corner, 0.5 the middle.
        landmarks: keypoints per object, relative to the box's corner and in units of its size.
    """

    input_size: tuple[int, int]
    classes: int
    stride: int = 4
    activated: bool = True
    peaks_only: bool = True
    size_unit: Literal["cells", "pixels", "log"] = "cells"
    order: Literal["xy", "yx"] = "xy"
    origin: float = 0.0
    landmarks: int = 0
    suppression: Suppression = DEFAULT_SUPPRESSION


def centerface_config(input_size: tuple[int, int], suppression: Suppression) -> CenterNetConfig:
    """The variant that CenterFace is: one class, five landmarks."""
    return CenterNetConfig(
        input_size,
        classes=1,
        peaks_only=False,
        size_unit="log",
        order="yx",
        origin=0.5,
        landmarks=5,
        suppression=suppression,
    )


@np.errstate(over="ignore", invalid="ignore")
def decode_centernet(outputs: Sequence[NDArray[Any]], config: CenterNetConfig) -> Detections:
    """Heatmap (H, W, classes), size (H, W, 2), offset (H, W, 2) and, with landmarks, (H, W, 2 * K): in this order.

    Raises:
        ShapeMismatch: the maps do not fit the config.
    """
    channels = [config.classes, 2, 2, 2 * config.landmarks][: 4 if config.landmarks else 3]
    maps = [as_map(array, f"output {i}") for i, array in enumerate(outputs)]
    for i, (found, wanted) in enumerate(zip(maps, channels, strict=False)):
        check_channels(found, wanted, f"output {i}")
    _check_grids(maps, len(channels))
    row, column, class_ids = _peaks(maps[0], config)
    scores = maps[0][row, column, class_ids]
    size = _size(_xy(maps[1][row, column], config), config)
    cell = np.stack([column, row], axis=1).astype(np.float32)
    centre = cell + config.origin + _xy(maps[2][row, column], config)
    corner = (centre * config.stride - size / 2).astype(np.float32, copy=False)
    boxes = np.concatenate([corner, corner + size], axis=1)
    keypoints = _landmarks(maps[3][row, column], corner, size, config) if config.landmarks else None
    candidates = Candidates(boxes, scores if config.activated else sigmoid(scores), class_ids, keypoints)
    return suppress(candidates, config.suppression, config.input_size)


def _check_grids(maps: list[Floats], count: int) -> None:
    """Raise ShapeMismatch unless there are ``count`` maps of one grid."""
    if len(maps) != count:
        raise ShapeMismatch(name="outputs", expected=(count,), seen=(len(maps),))
    for i, found in enumerate(maps):
        if found.shape[:2] != maps[0].shape[:2]:
            raise ShapeMismatch(name=f"grid of output {i}", expected=maps[0].shape[:2], seen=found.shape[:2])


def _peaks(heat: Floats, config: CenterNetConfig) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows, columns and classes of the cells that pass."""
    row, column, class_ids = np.nonzero(heat >= raw_threshold(config.suppression.score, config.activated))
    if config.peaks_only:
        padded = np.pad(heat, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        around = [padded[row + i, column + j, class_ids] for i in range(3) for j in range(3)]
        top = heat[row, column, class_ids] >= np.max(around, axis=0)
        row, column, class_ids = row[top], column[top], class_ids[top]
    return row, column, class_ids


def _xy(pairs: Floats, config: CenterNetConfig) -> Floats:
    """(N, 2) values as x, y."""
    return pairs[:, ::-1] if config.order == "yx" else pairs


def _size(values: Floats, config: CenterNetConfig) -> Floats:
    """(N, 2) width and height in pixels."""
    if config.size_unit == "pixels":
        return values
    return (exp(values) if config.size_unit == "log" else values) * config.stride


def _landmarks(values: Floats, corner: Floats, size: Floats, config: CenterNetConfig) -> Floats:
    """(N, K, 2) x, y in pixels."""
    points = values.reshape(-1, config.landmarks, 2)
    points = points[..., ::-1] if config.order == "yx" else points
    return points * size[:, None, :] + corner[:, None, :]
