"""Non-maximum suppression: of boxes that overlap, the best one stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats

BLOCK = 128
"""Candidates judged at a time: bounds the memory to a few times ``BLOCK * 4096`` floats, whatever N is."""

_KEPT_CHUNK = 4096


def nms(
    boxes: Floats,
    scores: Floats,
    class_ids: NDArray[np.integer] | None = None,
    *,
    iou_threshold: float = 0.45,
    max_detections: int = 300,
) -> NDArray[np.intp]:
    """Greedy suppression, class by class; indices of the boxes that stay, best first.

    A box goes if a better box of the same class that stays overlaps it by more than ``iou_threshold``; without
    ``class_ids`` all boxes are of one class.  Equal scores: the lower index wins.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        class_ids: (N,) or None.
        iou_threshold: overlap above which the worse box goes.
        max_detections: stop after that many.

    Raises:
        ShapeMismatch: the lengths differ.
    """
    count = len(boxes)
    if boxes.shape != (count, 4):
        raise ShapeMismatch(name="boxes", expected=(count, 4), seen=boxes.shape)
    for name, array in (("scores", scores), ("class_ids", class_ids)):
        if array is not None and array.shape != (count,):
            raise ShapeMismatch(name=name, expected=(count,), seen=array.shape)
    order = np.argsort(-scores, kind="stable")
    sides = np.ascontiguousarray(boxes[order].T)
    classes = None if class_ids is None else class_ids[order]
    kept = np.empty(0, np.intp)
    for start in range(0, count, BLOCK):
        block = np.arange(start, min(start + BLOCK, count))
        block = block[~_suppressed_by(kept, block, sides, classes, iou_threshold)]
        kept = np.concatenate([kept, _resolve(block, sides, classes, iou_threshold)])
        if len(kept) >= max_detections:
            break
    return order[kept[:max_detections]]


def _overlaps(
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    sides: Floats,
    classes: NDArray[np.integer] | None,
    threshold: float,
) -> NDArray[np.bool_]:
    """Whether pairs of boxes, given by index, are of one class and overlap too much.

    ``sides`` is (4, N).  The division of IoU is avoided: intersection > threshold * union.
    """
    left, top, right, bottom = sides[:, first, None]
    other_left, other_top, other_right, other_bottom = sides[:, second]
    width = np.minimum(right, other_right)
    width -= np.maximum(left, other_left)
    height = np.minimum(bottom, other_bottom)
    height -= np.maximum(top, other_top)
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    union = np.add((right - left) * (bottom - top), (other_right - other_left) * (other_bottom - other_top), out=height)
    union -= width
    union *= threshold
    result: NDArray[np.bool_] = width > union
    if classes is not None:
        result &= classes[first][:, None] == classes[second]
    return result


def _suppressed_by(
    kept: NDArray[np.intp],
    block: NDArray[np.intp],
    sides: Floats,
    classes: NDArray[np.integer] | None,
    threshold: float,
) -> NDArray[np.bool_]:
    """Which boxes of the block fall to one that already stays."""
    result = np.zeros(len(block), np.bool_)
    for start in range(0, len(kept), _KEPT_CHUNK):
        result |= _overlaps(kept[start : start + _KEPT_CHUNK], block, sides, classes, threshold).any(axis=0)
    return result


def _resolve(
    block: NDArray[np.intp], sides: Floats, classes: NDArray[np.integer] | None, threshold: float
) -> NDArray[np.intp]:
    """Greedy suppression inside a block that is sorted by score.

    Repeats "stays unless a better one that stays overlaps it" on all boxes at once until nothing changes.  Round r
    settles every box whose chain of better overlapping boxes is at most r long, so the result is the greedy one, after
    few rounds in practice and ``len(block)`` at most.
    """
    worse = np.triu(_overlaps(block, block, sides, classes, threshold), 1).astype(np.float32)
    stays = np.ones(len(block), np.float32)
    for _ in range(len(block)):
        after = ((stays @ worse) == 0).astype(np.float32)
        if np.array_equal(after, stays):
            break
        stays = after
    return block[stays > 0]
