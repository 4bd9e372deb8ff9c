"""Anchor-free YOLO with distance distributions: version 8 and those with its head (9, 11, 12).

Each side of a box is a distribution over ``bins`` distances 0, 1, ... (in strides) from the cell's centre; its mean is
the distance.  There is no objectness: the score is the best class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats
from openhailo.vision.decode.maps import by_stride, raw_threshold, sigmoid, softmax
from openhailo.vision.decode.suppress import DEFAULT_SUPPRESSION, Candidates, Suppression, join, suppress
from openhailo.vision.detections import Detections


@dataclass(frozen=True, slots=True)
class Yolov8Config:
    """How to read the maps; ``activated`` where the network itself applies the sigmoid to the class scores."""

    input_size: tuple[int, int]
    classes: int
    strides: tuple[int, ...] = (8, 16, 32)
    bins: int = 16
    activated: bool = False
    suppression: Suppression = DEFAULT_SUPPRESSION


@np.errstate(over="ignore", invalid="ignore")
def decode_yolov8(outputs: Sequence[NDArray[Any]], config: Yolov8Config) -> Detections:
    """Per level one map (H, W, 4 * bins + classes), or two: (H, W, 4 * bins) and (H, W, classes), in either order.

    Raises:
        ShapeMismatch: the maps do not fit the config.
    """
    maps = by_stride(outputs, config.input_size, config.strides, (1, 2))
    found = [_decode_level(level, stride, config) for level, stride in zip(maps, config.strides, strict=True)]
    return suppress(join(found), config.suppression, config.input_size)


def _split(maps: list[Floats], config: Yolov8Config) -> tuple[Floats, Floats]:
    """Box distributions and class scores; where both have as many channels, the boxes come first."""
    wanted = (4 * config.bins, config.classes)
    if len(maps) == 1 and maps[0].shape[2] == sum(wanted):
        return maps[0][..., : wanted[0]], maps[0][..., wanted[0] :]
    for boxes, classes in (maps, maps[::-1]) if len(maps) == 2 else ():
        if (boxes.shape[2], classes.shape[2]) == wanted:
            return boxes, classes
    seen = tuple(found.shape[2] for found in maps)
    raise ShapeMismatch(name="channels of a level", expected=wanted, seen=seen, detail="apart or concatenated")


def _decode_level(maps: list[Floats], stride: int, config: Yolov8Config) -> Candidates:
    distributions, classes = _split(maps, config)
    row, column = np.nonzero(classes.max(axis=2) >= raw_threshold(config.suppression.score, config.activated))
    picked = classes[row, column]
    class_ids = picked.argmax(axis=1)
    best = np.take_along_axis(picked, class_ids[:, None], axis=1)[:, 0]
    scores = best if config.activated else sigmoid(best)
    sides = softmax(distributions[row, column].reshape(-1, 4, config.bins)) @ np.arange(config.bins, dtype=np.float32)
    centre = np.stack([column, row], axis=1).astype(np.float32) + 0.5
    boxes = np.concatenate([centre - sides[:, :2], centre + sides[:, 2:]], axis=1) * stride
    return Candidates(boxes, scores, class_ids)
