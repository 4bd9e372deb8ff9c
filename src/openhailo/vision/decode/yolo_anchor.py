"""YOLO with anchors: versions 3, 4 and 5 (7 decodes as 5).

A map holds, per anchor, ``x y w h objectness class...``; with ``s`` the sigmoid, ``c`` the cell and ``t`` the map:

===  ==================================  ====================
 v    centre / stride                     size
===  ==================================  ====================
 3    ``s(t) + c``                        ``anchor * exp(t)``
 4    ``k * s(t) - (k - 1) / 2 + c``      ``anchor * exp(t)``
 5    ``2 * s(t) - 0.5 + c``              ``anchor * (2 * s(t))**2``
===  ==================================  ====================

``k`` is the level's ``scale_xy`` (Darknet's ``scale_x_y``).  The score is objectness times class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhailo.vision.boxes import Floats, cxcywh_to_xyxy
from openhailo.vision.decode.maps import by_stride, check_channels, exp, raw_threshold, sigmoid
from openhailo.vision.decode.suppress import DEFAULT_SUPPRESSION, Candidates, Suppression, join, suppress
from openhailo.vision.detections import Detections


@dataclass(frozen=True, slots=True)
class AnchorLevel:
    """One output level: its stride in pixels, its anchors (width, height) in pixels, and version 4's ``scale_xy``."""

    stride: int
    anchors: tuple[tuple[float, float], ...]
    scale_xy: float = 1.0


@dataclass(frozen=True, slots=True)
class YoloAnchorConfig:
    """How to read the maps; ``activated`` where the network itself applies the sigmoid (to all but v3/v4 sizes)."""

    input_size: tuple[int, int]
    levels: tuple[AnchorLevel, ...]
    classes: int
    version: Literal["v3", "v4", "v5"] = "v3"
    activated: bool = False
    suppression: Suppression = DEFAULT_SUPPRESSION


@np.errstate(over="ignore", invalid="ignore")
def decode_yolo_anchor(outputs: Sequence[NDArray[Any]], config: YoloAnchorConfig) -> Detections:
    """One map per level, (H, W, anchors * (5 + classes)) -> detections in input pixels.

    Raises:
        ShapeMismatch: the maps do not fit the config.
    """
    maps = by_stride(outputs, config.input_size, [level.stride for level in config.levels], (1,))
    found = [_decode_level(found[0], level, config) for found, level in zip(maps, config.levels, strict=True)]
    return suppress(join(found), config.suppression, config.input_size)


def _decode_level(array: Floats, level: AnchorLevel, config: YoloAnchorConfig) -> Candidates:
    """Candidates of one level: cells whose objectness, then score, passes."""
    width = 5 + config.classes
    check_channels(array, len(level.anchors) * width, f"map of stride {level.stride}")
    cells = array.reshape(*array.shape[:2], len(level.anchors), width)
    row, column, anchor = np.nonzero(cells[..., 4] >= raw_threshold(config.suppression.score, config.activated))
    picked = cells[row, column, anchor]
    class_ids = picked[:, 5:].argmax(axis=1)
    best = np.take_along_axis(picked[:, 5:], class_ids[:, None], axis=1)[:, 0]
    scores = picked[:, 4] * best if config.activated else sigmoid(picked[:, 4]) * sigmoid(best)
    cell = np.stack([column, row], axis=1).astype(np.float32)
    size = np.array(level.anchors, np.float32)[anchor]
    return Candidates(_boxes(picked, cell, size, level, config), scores, class_ids)


def _boxes(picked: Floats, cell: Floats, anchor: Floats, level: AnchorLevel, config: YoloAnchorConfig) -> Floats:
    """(N, 4) xyxy of the picked rows."""
    xy = picked[:, 0:2] if config.activated else sigmoid(picked[:, 0:2])
    scale = 2.0 if config.version == "v5" else level.scale_xy
    centre = (xy * scale - (scale - 1) / 2 + cell) * level.stride
    if config.version == "v5":
        wh = picked[:, 2:4] if config.activated else sigmoid(picked[:, 2:4])
        size = anchor * (2 * wh) ** 2
    else:
        size = anchor * exp(picked[:, 2:4])
    return cxcywh_to_xyxy(np.concatenate([centre, size], axis=1))
