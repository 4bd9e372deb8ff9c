"""Arithmetic on boxes: arrays of shape (N, 4).

The house form is ``xyxy``: left, top, right, bottom in pixels, where pixel ``i`` covers ``[i, i + 1)``, so that a box
over a whole image of width ``w`` reaches from 0 to ``w``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def cxcywh_to_xyxy(boxes: Floats) -> Floats:
    """Centre and size -> corners; shape (..., 4)."""
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def xyxy_to_cxcywh(boxes: Floats) -> Floats:
    """Corners -> centre and size; shape (..., 4)."""
    size = boxes[..., 2:] - boxes[..., :2]
    return np.concatenate([boxes[..., :2] + size / 2, size], axis=-1)


def area(boxes: Floats) -> Floats:
    """Areas, shape (N,); a box with its corners swapped has none."""
    size: Floats = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return size[..., 0] * size[..., 1]


def iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every pair: (N, 4) and (M, 4) -> (N, M), 0 where the union is empty."""
    left = np.maximum(first[:, None, 0], second[None, :, 0])
    top = np.maximum(first[:, None, 1], second[None, :, 1])
    width = np.minimum(first[:, None, 2], second[None, :, 2])
    height = np.minimum(first[:, None, 3], second[None, :, 3])
    width -= left
    height -= top
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    union = area(first)[:, None] + area(second)[None, :]
    union -= width
    ratio: Floats = np.divide(width, union, out=np.zeros_like(width), where=union > 0)
    return ratio


def clip(boxes: Floats, height: int, width: int) -> Floats:
    """Cut boxes at the borders of an image."""
    limits = np.array([width, height, width, height], boxes.dtype)
    return np.clip(boxes, np.zeros(4, boxes.dtype), limits)


def scale(boxes: Floats, factor_x: float, factor_y: float) -> Floats:
    """Multiply coordinates, e.g. from 0..1 to pixels."""
    return boxes * np.array([factor_x, factor_y, factor_x, factor_y], boxes.dtype)
