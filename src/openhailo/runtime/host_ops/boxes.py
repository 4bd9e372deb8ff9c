"""From candidates to the result of a frame: suppression, limits, masks, and the form that the order asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openhailo.runtime.formats import Array, FormatOrder
from openhailo.runtime.host_ops.layouts import BOX_NUMBERS, DETECTION, MAX_COUNT, MaskedDetections, frame_bytes
from openhailo.runtime.host_ops.levels import Candidates, Level, join
from openhailo.runtime.host_ops.masks import Prototypes
from openhailo.runtime.host_ops.settings import NmsLimits
from openhailo.vision.nms import suppress_by_class


class BoxFinder:
    """Levels and perhaps mask prototypes of one op. For several threads.

    Each layer of ``layers`` is read in this order: what a layer is asked for depends on the ones before it.
    """

    def __init__(self, levels: Sequence[Level], prototypes: Prototypes | None = None) -> None:
        self._levels, self._prototypes = tuple(levels), prototypes
        self._parts = [(level, part) for level in self._levels for part in range(len(level.layers))]
        self._first = np.cumsum([0, *(len(level.layers) for level in self._levels)]).tolist()
        self._level_of = [number for number, level in enumerate(self._levels) for _ in level.layers]
        layers = [layer for level in self._levels for layer in level.layers]
        self.layers = (*layers, prototypes.layer) if prototypes else tuple(layers)

    def gather(self, index: int, view: Array, found: list[Any], score: float) -> None:
        """Put into ``found[index]`` what layer ``index`` has for boxes; ``view`` is its frame in device memory."""
        if index == len(self._parts):
            # Prototypes are as large as a picture: they are copied only for a frame that has boxes.
            some = any(len(found[first][0].rows) for first in self._first[:-1])
            found[index] = np.copy(view) if some else view[:0]
            return
        level, part = self._parts[index]
        first = self._first[self._level_of[index]]
        found[index] = level.gather(part, view, found[first:index], score)

    def copy(self, index: int, view: Array, found: list[Any]) -> None:
        """Put the whole frame of layer ``index`` into ``found``, for `all_boxes`."""
        found[index] = np.ascontiguousarray(view)

    def all_boxes(self, found: Sequence[Any]) -> Array:
        """Return every box of every level (1, n, numbers)."""
        with np.errstate(all="ignore"):
            parts = [level.all_boxes(found[a:b]) for level, a, b in self._ranges()]
        return np.concatenate(parts)[None]

    def result(self, found: Sequence[Any], limits: NmsLimits, order: FormatOrder) -> Any:
        """Return a frame's boxes in the form of ``order`` (see `openhailo.runtime.host_ops.layouts`)."""
        with np.errstate(all="ignore"):
            parts = [level.candidates(found[a:b], limits.score) for level, a, b in self._ranges()]
            kept = best(join(parts), limits, order)
            if self._prototypes is None:
                return formed(kept, limits, order)
            return self._masked(kept, found[-1], limits)

    def _ranges(self) -> list[tuple[Level, int, int]]:
        return list(zip(self._levels, self._first, self._first[1:], strict=False))

    def _masked(self, kept: Candidates, prototypes: Array, limits: NmsLimits) -> MaskedDetections:
        assert self._prototypes is not None, "the caller asked"
        order = FormatOrder.HAILO_NMS_WITH_BYTE_MASK
        room = frame_bytes(
            order,
            classes=limits.classes,
            max_per_class=limits.per_class,
            max_total=limits.total,
            mask_bytes=limits.mask_bytes,
        )
        masks, complete = self._prototypes.masks(kept, prototypes, room)
        return MaskedDetections(_records(kept)[: len(masks)], tuple(masks), truncated=not complete)


def best(found: Candidates, limits: NmsLimits, order: FormatOrder) -> Candidates:
    """Return the boxes that stay, best first: at most so many per class, or in all, as the order counts."""
    by_class = order is FormatOrder.HAILO_NMS_BY_CLASS
    total = min(limits.total, MAX_COUNT)
    kept = suppress_by_class(
        found.boxes,
        found.scores,
        found.class_ids,
        iou_threshold=limits.iou,
        max_per_class=limits.per_class if by_class else total,
    )
    if not by_class:
        kept = kept[:total]
    masks = None if found.masks is None else found.masks[kept]
    return Candidates(found.boxes[kept], found.scores[kept], found.class_ids[kept], masks)


def formed(kept: Candidates, limits: NmsLimits, order: FormatOrder) -> Any:
    """Return boxes, best first, as a list of arrays by class, or as records by score."""
    if order is not FormatOrder.HAILO_NMS_BY_CLASS:
        return _records(kept)
    by_class = np.argsort(kept.class_ids, kind="stable")
    table = np.empty((len(by_class), BOX_NUMBERS), np.float32)
    table[:, :4], table[:, 4] = kept.boxes[by_class], kept.scores[by_class]
    ends = np.cumsum(np.bincount(kept.class_ids, minlength=limits.classes)).tolist()
    return [table[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _records(kept: Candidates) -> Array:
    records = np.empty(len(kept.scores), DETECTION)
    for column, name in enumerate(("y_min", "x_min", "y_max", "x_max")):
        records[name] = kept.boxes[:, column]
    records["score"], records["class_id"] = kept.scores, kept.class_ids
    return records


def from_classes(boxes: Sequence[Array], score: float) -> Candidates:
    """Return the candidates among boxes (n, 5) per class, as the chip sorted them out (hef.md 13, IOU)."""
    table = np.concatenate([np.empty((0, BOX_NUMBERS), np.float32), *boxes])
    class_ids = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
    passing = table[:, 4] >= np.float32(score)
    table = table[passing]
    return Candidates(table[:, :4], table[:, 4], class_ids[passing])
