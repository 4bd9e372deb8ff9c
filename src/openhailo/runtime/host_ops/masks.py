"""Instance masks from prototypes: coefficients, sigmoid, resize to the image, threshold (hef.md 13)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from openhailo.errors import InvalidHef
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import Array
from openhailo.runtime.host_ops.layouts import COUNT_BYTES, MASK_RECORD
from openhailo.runtime.host_ops.levels import Candidates, check_image
from openhailo.runtime.host_ops.maps import Numbers, check_readable, sigmoid

#: Longest side of an image in pixels: a bound of this reader.
MAX_SIDE = 1 << 14
#: Masks computed at a time: bounds memory.
_CHUNK = 16


class _Axis:
    """Linear interpolation along one axis, as a triangle filter whose ends repeat the edge.

    ``index`` and ``weight`` are (pixels, taps): which cells make a pixel, and how much of each.
    """

    def __init__(self, cells: int, pixels: int) -> None:
        # GUESS: where pixels average cells, and a triangle meets them unevenly, weights are made to sum up to one.
        scale = cells / pixels
        reach = max(scale, 1.0)
        centre = (np.arange(pixels) + 0.5) * scale - 0.5
        first = np.floor(centre - reach).astype(np.intp) + 1
        index = first[:, None] + np.arange(math.ceil(2 * reach))
        weight = np.maximum(0.0, 1.0 - np.abs(index - centre[:, None]) / reach)
        self.weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
        self.index = np.clip(index, 0, cells - 1)

    def resize(self, values: Array, first: int, last: int) -> Array:
        """Return pixels ``first`` to ``last`` of ``values`` (cells, anything)."""
        index, weight = self.index[first:last], self.weight[first:last]
        result: Array = values[index[:, 0]] * weight[:, :1]
        for tap in range(1, index.shape[1]):
            result += values[index[:, tap]] * weight[:, tap : tap + 1]
        return result


class Span(NamedTuple):
    """A box along one axis, in pixels: where it begins, how far it reaches in the image, and its whole length."""

    first: int
    last: int
    length: int

    @staticmethod
    def of(low: np.float32, high: np.float32, pixels: int) -> Span:
        """Return the span of ``low`` to ``high``, fractions of ``pixels``; numbers that are none give an empty one.

        The original includes the pixel at the upper end, which may be one behind the box's last or the image's; that
        one is left out here.
        """
        edges = np.array([low, high, high - low], np.float32) * np.float32(pixels)
        if not np.isfinite(edges).all():
            return Span(0, 0, 0)
        start, end, reach = (math.ceil(edge) for edge in edges.tolist())
        first, length = max(start, 0), max(reach, 0)
        last = min(end + 1, pixels, first + length)
        return Span(first, max(last, first), length)


class Prototypes:
    """The layer that all masks of a frame are mixed from."""

    def __init__(self, layer: Layer, *, image: tuple[float, float], threshold: float) -> None:
        """Prepare the resize to ``image`` (height, width). Raises `HefError`."""
        check_readable(layer)
        check_image(layer.name, image)
        height, width = (int(side) for side in image)
        if max(height, width) > MAX_SIDE or (height, width) != tuple(image):
            raise InvalidHef(rule="NMS numbers", where=layer.name, detail=f"an image of {image[0]}x{image[1]} pixels")
        if math.isnan(threshold):
            raise InvalidHef(rule="NMS numbers", where=layer.name, detail="the mask threshold is no number")
        self.layer, self.count, self.image = layer, layer.layout.features, (height, width)
        self._threshold = np.float32(threshold)
        self._rows, self._columns = _Axis(layer.layout.height, height), _Axis(layer.layout.width, width)
        self._numbers = Numbers(layer)

    def masks(self, found: Candidates, view: Array, room: int) -> tuple[list[Array], bool]:
        """Return the masks of the boxes ``found``, as many as fit, and whether all did.

        ``view`` is the frame (rows, columns, prototypes) of integers; ``room`` is the size of the whole packed result
        (runtime-behaviour.md 15: a record and its mask have to end before it).
        """
        spans = list(self._fitting(found.boxes, room))
        results: list[Array] = []
        for start in range(0, len(spans), _CHUNK):
            assert found.masks is not None, "the family has masks"
            some = spans[start : start + _CHUNK]
            mixed = self._mixed(found.masks[start : start + len(some)], view)
            results += [self._mask(values, rows, columns) for values, (rows, columns) in zip(mixed, some, strict=True)]
        return results, len(spans) == len(found.boxes)

    def _fitting(self, boxes: Array, room: int) -> Iterator[tuple[Span, Span]]:
        used = COUNT_BYTES
        for y_min, x_min, y_max, x_max in boxes:
            rows, columns = Span.of(y_min, y_max, self.image[0]), Span.of(x_min, x_max, self.image[1])
            used += MASK_RECORD.itemsize + rows.length * columns.length
            if used >= room:
                return
            yield rows, columns

    def _mixed(self, coefficients: Array, view: Array) -> Array:
        """Return sigmoid(coefficients x prototypes): (n, rows, columns)."""
        prototypes = self._numbers(view).reshape(-1, self.count)
        mixed = sigmoid(coefficients @ prototypes.T)
        return mixed.reshape(len(coefficients), *view.shape[:2])

    def _mask(self, values: Array, rows: Span, columns: Span) -> Array:
        mask = np.zeros((rows.length, columns.length), np.uint8)
        high, wide = rows.last - rows.first, columns.last - columns.first
        if high and wide:
            lines = self._rows.resize(values, rows.first, rows.last)
            pixels = self._columns.resize(np.ascontiguousarray(lines.T), columns.first, columns.last)
            np.greater(pixels.T, self._threshold, out=mask[:high, :wide].view(np.bool_))
        return mask
