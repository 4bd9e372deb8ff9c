"""YOLOv8: a class map, and a distribution of distances per side of the box (hef.md 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import Array
from openhailo.runtime.host_ops.levels import Candidates, Classes, check_image, check_map, check_positive
from openhailo.runtime.host_ops.maps import Numbers, Places, places

#: exp() of more, and sums of it, come near the end of float32; of less, near 0.
_EXP_RANGE = 80.0


class Yolov8Level:
    """One scale: classes, then 4 sides of ``length`` values each.

    A side's distance is the mean of 0, 1, ... under the softmax of its values, in cells.
    """

    def __init__(
        self, scores: Layer, sides: Layer, *, stride: int, length: int, image: tuple[float, float], classes: Classes
    ) -> None:
        """Prepare tables; ``image`` is (height, width). Raises `HefError`."""
        self.layers = (scores, sides)
        self._grid = check_map(scores, classes.count)
        check_map(sides, 4 * length, self._grid)
        check_positive(scores.name, stride=stride)
        check_image(scores.name, image)
        self._classes, self._length = classes, length
        self._score, self._side = Numbers(scores), Numbers(sides)
        self._step = np.array([stride / image[0], stride / image[1]], np.float32)
        self._bins = np.arange(length, dtype=np.float32)
        self._powers: Array | None = None
        if np.abs(self._side.values).max() < _EXP_RANGE:
            self._powers = np.exp(self._side.values)

    def gather(self, part: int, view: Array, found: Sequence[Any], score: float) -> Any:
        """Classes: places and their integers. Sides: which cell each place is in, and the integers of the cells."""
        if part == 0:
            at = self._classes.without_background(places(self._score.at_least(score)(view)))
            return at, view[at]
        at = found[0][0]
        new = np.ones(len(at.rows), np.bool_)
        np.logical_or(at.rows[1:] != at.rows[:-1], at.columns[1:] != at.columns[:-1], out=new[1:])
        cells = at.only(new)
        return np.cumsum(new) - 1, cells, view[cells.rows, cells.columns]

    def candidates(self, found: Sequence[Any], score: float) -> Candidates:
        """Return the boxes of the places that passed."""
        (at, scores), (cell, cells, sides) = found
        boxes = self._boxes(cells, sides)[cell]
        return Candidates(boxes, self._score(scores), self._classes.ids(at.channels))

    def all_boxes(self, found: Sequence[Any]) -> Array:
        """Return (cells, 4 + classes): the box, then the score of every class."""
        scores, sides = found
        rows, columns = self._grid
        cells = Places(np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows), np.empty(0, np.intp))
        boxes = self._boxes(cells, sides.reshape(rows * columns, -1))
        return np.concatenate([boxes, self._score(scores.reshape(rows * columns, -1))], axis=1)

    def _boxes(self, cells: Places, sides: Array) -> Array:
        distance = self._distances(sides.reshape(-1, 4, self._length))
        step = self._step
        boxes = np.empty((len(sides), 4), np.float32)
        centre_y = (cells.rows.astype(np.float32) + np.float32(0.5)) * step[0]
        centre_x = (cells.columns.astype(np.float32) + np.float32(0.5)) * step[1]
        boxes[:, 0] = centre_y - distance[:, 1] * step[0]
        boxes[:, 1] = centre_x - distance[:, 0] * step[1]
        boxes[:, 2] = centre_y + distance[:, 3] * step[0]
        boxes[:, 3] = centre_x + distance[:, 2] * step[1]
        return boxes

    def _distances(self, sides: Array) -> Array:
        """Return (n, 4) means; where exponentials could overflow, the largest value is taken off first."""
        if self._powers is not None:
            powers = self._powers.take(sides)
        else:
            values = self._side(sides)
            powers = np.exp(values - values.max(axis=2, keepdims=True))
        distances: Array = (powers @ self._bins) / powers.sum(axis=2)
        return distances
