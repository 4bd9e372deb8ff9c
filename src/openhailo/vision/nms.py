"""Non-maximum suppression: of boxes that overlap, the best one stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats

BLOCK = 128
"""Candidates of one class that are judged at a time."""

PAIRS = BLOCK * 4096
"""Pairs of boxes compared at a time: bounds the memory to a few times as many floats, whatever N is."""


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
    # What stays among the best boxes does not depend on worse ones, so most calls look at a part only.
    part = 2 * max_detections + BLOCK
    while True:
        best = order[:part]
        classes = np.zeros(len(best), np.intp) if class_ids is None else class_ids[best]
        kept = _keep(np.ascontiguousarray(boxes[best].T), classes, iou_threshold, max_detections)
        if len(kept) >= max_detections or part >= count:
            return best[kept[:max_detections]]
        part *= 2


def _keep(sides: Floats, classes: NDArray[np.integer], threshold: float, limit: int) -> NDArray[np.intp]:
    """Return which of the boxes ``sides`` (4, N), best first, stay; of a crowded class the first ``limit`` suffice."""
    by_class = np.argsort(classes, kind="stable")
    edges = np.flatnonzero(np.diff(classes[by_class])) + 1
    groups = sorted(np.split(by_class, edges), key=len)
    small = [group for group in groups if len(group) <= BLOCK]
    kept = [_keep_crowd(group, sides, threshold, limit) for group in groups[len(small) :]]
    while small:
        # Classes of about the same size are judged together, filled up to the largest with boxes without area.
        taken = 1
        while taken < len(small) and (taken + 1) * len(small[taken]) ** 2 <= PAIRS:
            taken += 1
        kept.append(_keep_together(small[:taken], sides, threshold))
        del small[:taken]
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, np.intp)


def _keep_together(groups: list[NDArray[np.intp]], sides: Floats, threshold: float) -> NDArray[np.intp]:
    """Return which boxes of small classes stay."""
    table = np.full((len(groups), len(groups[-1])), sides.shape[1], np.intp)
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = group
    filled = np.concatenate([sides, np.zeros((4, 1), sides.dtype)], axis=1)[:, table]
    stays = _resolve(_overlaps(filled, filled, threshold)) & (table < sides.shape[1])
    kept: NDArray[np.intp] = table[stays]
    return kept


def _keep_crowd(group: NDArray[np.intp], sides: Floats, threshold: float, limit: int) -> NDArray[np.intp]:
    """Return which boxes of a class with many stay, at least the first ``limit`` of them."""
    kept = np.empty(0, np.intp)
    for start in range(0, len(group), BLOCK):
        block = group[start : start + BLOCK]
        for at in range(0, len(kept), PAIRS // BLOCK):
            worse = _overlaps(sides[:, kept[at : at + PAIRS // BLOCK]], sides[:, block], threshold)
            block = block[~worse.any(axis=0)]
        kept = np.concatenate([kept, block[_resolve(_overlaps(sides[:, block], sides[:, block], threshold))]])
        if len(kept) >= limit:
            break
    return kept


def _overlaps(first: Floats, second: Floats, threshold: float) -> NDArray[np.bool_]:
    """Whether boxes ``first`` (4, ..., n) and ``second`` (4, ..., m) overlap too much, pair by pair (..., n, m).

    The division of IoU is avoided: intersection > threshold * union.
    """
    left, top, right, bottom = first[..., None]
    other_left, other_top, other_right, other_bottom = second[..., None, :]
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
    return result


def _resolve(overlaps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Greedy suppression among n boxes that are sorted by score, given which pairs overlap (..., n, n).

    Repeats "stays unless a better one that stays overlaps it" on all boxes at once until nothing changes.  Round r
    settles every box whose chain of better overlapping boxes is at most r long, so the result is the greedy one, after
    few rounds in practice and n at most.
    """
    worse = np.triu(overlaps, 1).astype(np.float32)
    stays = np.ones((*overlaps.shape[:-2], 1, overlaps.shape[-1]), np.float32)
    for _ in range(overlaps.shape[-1]):
        after = ((stays @ worse) == 0).astype(np.float32)
        if np.array_equal(after, stays):
            break
        stays = after
    result: NDArray[np.bool_] = stays[..., 0, :] > 0
    return result
