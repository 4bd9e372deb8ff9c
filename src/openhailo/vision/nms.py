"""Non-maximum suppression: of boxes that overlap, the best one stays."""

from __future__ import annotations

from collections.abc import Callable

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


def suppress_by_class(
    boxes: Floats,
    scores: Floats,
    class_ids: NDArray[np.integer],
    *,
    iou_threshold: float,
    max_per_class: int,
) -> NDArray[np.intp]:
    """Greedy suppression with a limit per class; indices of the boxes that stay, best first.

    A box goes if a better box of the same class that stays overlaps it by ``iou_threshold`` or more: with a threshold
    of 0 one box per class is left.  Overlaps are quotients in float32; boxes without area, and those that are no
    numbers, overlap nothing.  Equal scores: the lower index wins.

    Args:
        boxes: (N, 4) corners, either axis first.
        scores: (N,).
        class_ids: (N,).
        iou_threshold: overlap from which on the worse box goes.
        max_per_class: the best boxes of a class that are given.
    """
    order = np.argsort(-scores, kind="stable")
    sides, classes = np.ascontiguousarray(boxes[order].T), class_ids[order]
    with np.errstate(all="ignore"):
        if len(order) <= 2 * BLOCK:
            same = classes[:, None] == classes
            kept = np.flatnonzero(_resolve(_reaches(sides, sides, iou_threshold) & same))
        else:
            kept = _keep(sides, classes, iou_threshold, max_per_class, _reaches)
    return order[kept[_rank(classes[kept]) < max_per_class]]


def _rank(classes: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return how many elements before each are of the same class."""
    by_class = np.argsort(classes, kind="stable")
    ordered = classes[by_class]
    rank = np.empty(len(classes), np.intp)
    rank[by_class] = np.arange(len(classes)) - np.searchsorted(ordered, ordered)
    return rank


#: Whether boxes (4, ..., n) and (4, ..., m) overlap too much for a threshold, pair by pair (..., n, m).
Overlaps = Callable[[Floats, Floats, float], NDArray[np.bool_]]


def _keep(
    sides: Floats, classes: NDArray[np.integer], threshold: float, limit: int, overlaps: Overlaps | None = None
) -> NDArray[np.intp]:
    """Return which of the boxes ``sides`` (4, N), best first, stay; of a crowded class the first ``limit`` suffice."""
    overlaps = overlaps or _overlaps
    by_class = np.argsort(classes, kind="stable")
    edges = np.flatnonzero(np.diff(classes[by_class])) + 1
    groups = sorted(np.split(by_class, edges), key=len)
    small = [group for group in groups if len(group) <= BLOCK]
    kept = [_keep_crowd(group, sides, threshold, limit, overlaps) for group in groups[len(small) :]]
    while small:
        # Classes of about the same size are judged together, filled up to the largest with boxes without area.
        taken = 1
        while taken < len(small) and (taken + 1) * len(small[taken]) ** 2 <= PAIRS:
            taken += 1
        kept.append(_keep_together(small[:taken], sides, threshold, overlaps))
        del small[:taken]
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, np.intp)


def _keep_together(
    groups: list[NDArray[np.intp]], sides: Floats, threshold: float, overlaps: Overlaps
) -> NDArray[np.intp]:
    """Return which boxes of small classes stay."""
    table = np.full((len(groups), len(groups[-1])), sides.shape[1], np.intp)
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = group
    filled = np.concatenate([sides, np.zeros((4, 1), sides.dtype)], axis=1)[:, table]
    stays = _resolve(overlaps(filled, filled, threshold)) & (table < sides.shape[1])
    kept: NDArray[np.intp] = table[stays]
    return kept


def _keep_crowd(
    group: NDArray[np.intp], sides: Floats, threshold: float, limit: int, overlaps: Overlaps
) -> NDArray[np.intp]:
    """Return which boxes of a class with many stay, at least the first ``limit`` of them."""
    kept = np.empty(0, np.intp)
    for start in range(0, len(group), BLOCK):
        block = group[start : start + BLOCK]
        for at in range(0, len(kept), PAIRS // BLOCK):
            worse = overlaps(sides[:, kept[at : at + PAIRS // BLOCK]], sides[:, block], threshold)
            block = block[~worse.any(axis=0)]
        kept = np.concatenate([kept, block[_resolve(overlaps(sides[:, block], sides[:, block], threshold))]])
        if len(kept) >= limit:
            break
    return kept


def _overlaps(first: Floats, second: Floats, threshold: float) -> NDArray[np.bool_]:
    """Whether boxes ``first`` (4, ..., n) and ``second`` (4, ..., m) overlap too much, pair by pair (..., n, m).

    The division of IoU is avoided: intersection > threshold * union.
    """
    shared, union = _areas(first, second)
    union *= threshold
    result: NDArray[np.bool_] = shared > union
    return result


def _reaches(first: Floats, second: Floats, threshold: float) -> NDArray[np.bool_]:
    """Whether the IoU of ``first`` and ``second`` reaches the threshold; an empty union gives no number, so no."""
    shared, union = _areas(first, second)
    result: NDArray[np.bool_] = np.divide(shared, union, out=union) >= np.float32(threshold)
    return result


def _areas(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return intersection and union of boxes (4, ..., n) and (4, ..., m), pair by pair (..., n, m)."""
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
    return width, union


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
