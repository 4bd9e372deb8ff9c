"""YOLOv5: anchors, with or without mask coefficients (hef.md 13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openhailo.errors import InvalidHef
from openhailo.hef.ops import YoloBboxDecoder
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import Array
from openhailo.runtime.host_ops.levels import Candidates, Classes, centred, check_image, check_map, every_place
from openhailo.runtime.host_ops.maps import Numbers, places, sigmoid

#: x, y, w, h, objectness; classes follow.
_FIRST_CLASS = 5


class Yolov5Level:
    """One scale: per anchor x, y, w, h, objectness, classes and ``masks`` coefficients.

    Without masks the chip has applied the sigmoid already (hef.md 19.9); with them the host does, to all but the
    coefficients, which are multiplied by the objectness.
    """

    def __init__(
        self, layer: Layer, decoder: YoloBboxDecoder, *, image: tuple[float, float], classes: Classes, masks: int = 0
    ) -> None:
        """Prepare tables; ``image`` is (height, width). Raises `HefError`."""
        self.layers = (layer,)
        if len(decoder.w) != len(decoder.h) or not decoder.w:
            detail = f"{len(decoder.w)} anchor widths, {len(decoder.h)} heights"
            raise InvalidHef(rule="anchors", where=layer.name, detail=detail)
        check_image(layer.name, image)
        self._anchors, self._entry = len(decoder.w), _FIRST_CLASS + classes.count + masks
        self._grid = check_map(layer, self._anchors * self._entry)
        self._classes, self._masks = classes, masks
        self._plain = Numbers(layer)
        self._numbers = Numbers(layer, sigmoid) if masks else self._plain
        self._height = np.array(decoder.h, np.float32) / np.float32(image[0])
        self._width = np.array(decoder.w, np.float32) / np.float32(image[1])

    def gather(self, part: int, view: Array, found: Sequence[Any], score: float) -> Any:
        """Return the places (channels are anchors) whose objectness passes, and their entries."""
        entries = view.reshape(*view.shape[:2], self._anchors, self._entry)
        at = places(self._numbers.at_least(score)(entries[..., _FIRST_CLASS - 1]))
        return at, entries[at]

    def candidates(self, found: Sequence[Any], score: float) -> Candidates:
        """Return a box for each class whose score, objectness times class, passes."""
        at, entries = found[0]
        numbers = self._numbers(entries[:, : _FIRST_CLASS + self._classes.count])
        objectness = numbers[:, _FIRST_CLASS - 1 : _FIRST_CLASS]
        scores = numbers[:, _FIRST_CLASS:] * objectness
        passing = scores >= np.float32(score)
        if self._classes.background is not None:
            passing[:, self._classes.background] = False
        entry, channel = np.nonzero(passing)
        boxes = self._boxes(at.rows, at.columns, at.channels, numbers)[entry]
        masks = None
        if self._masks:
            # GUESS: the objectness is the one after the sigmoid, which is the only one that scores use.
            masks = (self._plain(entries[:, -self._masks :]) * objectness)[entry]
        return Candidates(boxes, scores[entry, channel], self._classes.ids(channel), masks)

    def all_boxes(self, found: Sequence[Any]) -> Array:
        """Return (cells * anchors, 5 + classes): the box, objectness, classes."""
        numbers = self._numbers(found[0].reshape(-1, self._entry))
        at = every_place(*self._grid, self._anchors)
        return np.concatenate([self._boxes(*at, numbers), numbers[:, _FIRST_CLASS - 1 :]], axis=1)

    def _boxes(self, row: Array, column: Array, anchor: Array, numbers: Array) -> Array:
        two, half = np.float32(2), np.float32(0.5)
        rows, columns = (np.float32(n) for n in self._grid)
        x, y, w, h = (numbers[:, i] * two for i in range(4))
        centre_x = (x - half + column.astype(np.float32)) / columns
        centre_y = (y - half + row.astype(np.float32)) / rows
        return centred(centre_y, centre_x, h * h * self._height[anchor], w * w * self._width[anchor])
