"""YOLOX: centre offset and log size in cells, with objectness (hef.md 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openhailo.errors import UnsupportedHef
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import Array
from openhailo.runtime.host_ops.levels import Candidates, Classes, centred, check_map
from openhailo.runtime.host_ops.maps import Numbers, places


class YoloxLevel:
    """One scale: objectness, then classes, then x, y, w, h."""

    def __init__(self, objectness: Layer, scores: Layer, boxes: Layer, *, classes: Classes) -> None:
        """Prepare tables. Raises `HefError`."""
        self.layers = (objectness, scores, boxes)
        self._grid = check_map(objectness, 1)
        check_map(scores, classes.count, self._grid)
        check_map(boxes, 4, self._grid)
        self._classes = classes
        self._object, self._score, self._box = Numbers(objectness), Numbers(scores), Numbers(boxes)

    def gather(self, part: int, view: Array, found: Sequence[Any], score: float) -> Any:
        """Objectness: the cells that pass, and their integers. Others: the integers of these cells."""
        if part == 0:
            at = places(self._object.at_least(score)(view))
            return at, view[at]
        at = found[0][0]
        return view[at.rows, at.columns]

    def candidates(self, found: Sequence[Any], score: float) -> Candidates:
        """Return a box for each class whose score, objectness times class, passes."""
        (at, objectness), scores, corners = found
        scores = self._score(scores) * self._object(objectness)[:, None]
        passing = scores >= np.float32(score)
        if self._classes.background is not None:
            passing[:, self._classes.background] = False
        cell, channel = np.nonzero(passing)
        rows, columns = (np.float32(n) for n in self._grid)
        numbers = self._box(corners)
        centre_x = (numbers[:, 0] + at.columns.astype(np.float32)) / columns
        centre_y = (numbers[:, 1] + at.rows.astype(np.float32)) / rows
        size = np.exp(numbers[:, 2:])
        boxes = centred(centre_y, centre_x, size[:, 1] / rows, size[:, 0] / columns)
        return Candidates(boxes[cell], scores[cell, channel], self._classes.ids(channel))

    def all_boxes(self, found: Sequence[Any]) -> Array:
        """Boxes without suppression exist for YOLOv5 and YOLOv8 only (hef.md 13)."""
        raise UnsupportedHef(feature="YOLOX boxes without suppression")
