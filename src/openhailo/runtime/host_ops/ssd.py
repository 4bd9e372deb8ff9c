"""SSD: boxes as corrections of anchors (hef.md 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.hef.ops import SsdBboxDecoder, SsdNmsOp
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import Array
from openhailo.runtime.host_ops.levels import Candidates, Classes, centred, check_map, check_positive
from openhailo.runtime.host_ops.maps import Numbers, places

#: Places of ty, tx, th, tw in a correction where the file gives none (hef.md 13).
_DEFAULT_PLACES = (0, 1, 2, 3)


class SsdLevel:
    """One scale: classes per anchor, then four corrections per anchor."""

    def __init__(
        self, scores: Layer, corrections: Layer, decoder: SsdBboxDecoder, method: SsdNmsOp, *, classes: Classes
    ) -> None:
        """Prepare tables. Raises `HefError`."""
        self.layers = (scores, corrections)
        anchors = len(decoder.w)
        if anchors != len(decoder.h) or not anchors:
            detail = f"{anchors} anchor widths, {len(decoder.h)} heights"
            raise InvalidHef(rule="anchors", where=scores.name, detail=detail)
        if not all(0 < size < float("inf") for size in (*decoder.w, *decoder.h)):
            raise InvalidHef(rule="anchors", where=scores.name, detail="sizes are numbers above 0")
        check_positive(
            scores.name,
            centers_scale_factor=method.centers_scale_factor,
            bbox_dimensions_scale_factor=method.bbox_dimensions_scale_factor,
        )
        self._grid = check_map(scores, anchors * classes.count)
        check_map(corrections, anchors * 4, self._grid)
        self._anchors, self._classes = anchors, classes
        self._score, self._correction = Numbers(scores), Numbers(corrections)
        self._order = _places(method, scores.name)
        self._centre_scale = np.float32(method.centers_scale_factor)
        self._size_scale = np.float32(method.bbox_dimensions_scale_factor)
        self._height, self._width = np.array(decoder.h, np.float32), np.array(decoder.w, np.float32)

    def gather(self, part: int, view: Array, found: Sequence[Any], score: float) -> Any:
        """Scores: places (channel = anchor * classes + class) and integers. Corrections: those of the places."""
        if part == 0:
            at = self._classes.without_background(places(self._score.at_least(score)(view)))
            return at, view[at]
        at = found[0][0]
        anchor = at.channels // self._classes.count
        return view.reshape(*view.shape[:2], self._anchors, 4)[at.rows, at.columns, anchor]

    def candidates(self, found: Sequence[Any], score: float) -> Candidates:
        """Return the corrected anchors of the places that passed."""
        (at, scores), corrections = found
        anchor, channel = np.divmod(at.channels, self._classes.count)
        numbers = self._correction(corrections)
        ty, tx, th, tw = (numbers[:, place] for place in self._order)
        rows, columns = (np.float32(n) for n in self._grid)
        height, width = self._height[anchor], self._width[anchor]
        anchor_y = (at.rows.astype(np.float32) + np.float32(0.5)) / rows
        anchor_x = (at.columns.astype(np.float32) + np.float32(0.5)) / columns
        boxes = centred(
            ty / self._centre_scale * height + anchor_y,
            tx / self._centre_scale * width + anchor_x,
            np.exp(th / self._size_scale) * height,
            np.exp(tw / self._size_scale) * width,
        )
        return Candidates(boxes, self._score(scores), self._classes.ids(channel))

    def all_boxes(self, found: Sequence[Any]) -> Array:
        """Boxes without suppression exist for YOLOv5 and YOLOv8 only (hef.md 13)."""
        raise UnsupportedHef(feature="SSD boxes without suppression")


def _places(method: SsdNmsOp, where: str) -> tuple[int, int, int, int]:
    found = (method.ty, method.tx, method.th, method.tw)
    if not any(found):
        return _DEFAULT_PLACES
    if max(found) > max(_DEFAULT_PLACES):
        raise InvalidHef(
            rule="SSD places", where=where, detail=f"ty, tx, th, tw at {found} of a correction of 4 numbers"
        )
    return found
