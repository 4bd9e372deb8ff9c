"""YOLOX: anchor-free, a centre offset and a log size in strides, with objectness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats, cxcywh_to_xyxy
from openhailo.vision.decode.maps import by_stride, exp, raw_threshold, sigmoid
from openhailo.vision.decode.suppress import DEFAULT_SUPPRESSION, Candidates, Suppression, join, suppress
from openhailo.vision.detections import Detections


@dataclass(frozen=True, slots=True)
class YoloxConfig:
    """How to read the maps; ``activated`` where the network applies the sigmoid to objectness and classes."""

    input_size: tuple[int, int]
    classes: int
    strides: tuple[int, ...] = (8, 16, 32)
    activated: bool = False
    suppression: Suppression = DEFAULT_SUPPRESSION


@np.errstate(over="ignore", invalid="ignore")
def decode_yolox(outputs: Sequence[NDArray[Any]], config: YoloxConfig) -> Detections:
    """Per level one map (H, W, 4 + 1 + classes), or three: boxes (4), objectness (1), classes, in any order.

    Raises:
        ShapeMismatch: the maps do not fit the config.
    """
    maps = by_stride(outputs, config.input_size, config.strides, (1, 3))
    found = [_decode_level(level, stride, config) for level, stride in zip(maps, config.strides, strict=True)]
    return suppress(join(found), config.suppression, config.input_size)


def _split(maps: list[Floats], config: YoloxConfig) -> tuple[Floats, Floats, Floats]:
    """Boxes (H, W, 4), objectness (H, W) and classes (H, W, classes)."""
    wanted = (4, 1, config.classes)
    if len(maps) == 1 and maps[0].shape[2] == sum(wanted):
        return maps[0][..., :4], maps[0][..., 4], maps[0][..., 5:]
    left, chosen = list(maps), []
    for channels in wanted:
        match = next((i for i, found in enumerate(left) if found.shape[2] == channels), None)
        if match is None:
            seen = tuple(found.shape[2] for found in maps)
            raise ShapeMismatch(name="channels of a level", expected=wanted, seen=seen, detail="apart or concatenated")
        chosen.append(left.pop(match))
    return chosen[0], chosen[1][..., 0], chosen[2]


def _decode_level(maps: list[Floats], stride: int, config: YoloxConfig) -> Candidates:
    boxes, objectness, classes = _split(maps, config)
    row, column = np.nonzero(objectness >= raw_threshold(config.suppression.score, config.activated))
    picked = classes[row, column]
    class_ids = picked.argmax(axis=1)
    best = np.take_along_axis(picked, class_ids[:, None], axis=1)[:, 0]
    confidence = objectness[row, column]
    scores = confidence * best if config.activated else sigmoid(confidence) * sigmoid(best)
    raw = boxes[row, column]
    centre = raw[:, :2] + np.stack([column, row], axis=1).astype(np.float32)
    geometry = np.concatenate([centre, exp(raw[:, 2:])], axis=1) * stride
    return Candidates(cxcywh_to_xyxy(geometry), scores, class_ids)
