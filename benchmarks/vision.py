"""Decoding and suppression against straightforward NumPy."""

from __future__ import annotations

import numpy as np
from tools.report import Row

from benchmarks.pairs import measure_pair
from openhailo.vision.nms import nms

BOXES, CLASSES, IOU = 2000, 80, 0.5


def rows() -> list[Row]:
    """Measure class-wise suppression of crowded random boxes."""
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 400, (BOXES, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 120, (BOXES, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0.1, 1, BOXES).astype(np.float32)
    classes = rng.integers(0, CLASSES, BOXES)
    problem = (boxes, scores, classes)
    kept = nms(*problem, iou_threshold=IOU, max_detections=BOXES)
    assert sorted(map(int, kept)) == sorted(plain_nms(*problem)), "the peer keeps other boxes"
    pair = measure_pair(
        lambda: nms(*problem, iou_threshold=IOU, max_detections=BOXES), lambda: plain_nms(*problem), rounds=7
    )
    return [Row("nms_vs_numpy", pair.ours_s * 1e3, "ms", "one box at a time in NumPy", pair.speed_ratio, ">= 2")]


def plain_nms(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> list[int]:
    """Suppress class by class: take the best box, drop what overlaps it, repeat."""
    kept: list[int] = []
    for number in np.unique(classes):
        members = np.flatnonzero(classes == number)
        kept += members[suppressed(boxes[members], scores[members], IOU)].tolist()
    return kept


def suppressed(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Return which boxes of one class stay, best first."""
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-scores, kind="stable")
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        order = rest[shared / (area[best] + area[rest] - shared) <= threshold]
    return kept
