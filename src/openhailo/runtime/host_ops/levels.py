"""What box ops of every family have in common: candidates, classes with a background, and levels of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from openhailo.errors import InvalidHef
from openhailo.hef.ops import NmsOp
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import Array
from openhailo.runtime.host_ops.maps import Places, check_readable

#: Pixels: a bound of this reader.
MAX_IMAGE_SIDE = 1 << 20


class Candidates(NamedTuple):
    """Boxes before suppression: (n, 4) y_min, x_min, y_max, x_max float32, (n,) scores, (n,) classes of the result.

    ``masks`` are coefficients of the mask prototypes (n, prototypes), where the family has masks.
    """

    boxes: Array
    scores: Array
    class_ids: Array
    masks: Array | None = None


def join(parts: Sequence[Candidates]) -> Candidates:
    """Return the candidates of all levels, in their order."""
    if len(parts) == 1:
        return parts[0]
    masks = [part.masks for part in parts if part.masks is not None]
    return Candidates(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.class_ids for part in parts]),
        np.concatenate(masks) if masks else None,
    )


class Level(Protocol):
    """One scale of a family: its maps in the order in which they are read, and how they become boxes."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in reading order."""
        ...

    def gather(self, part: int, view: Array, found: Sequence[Any], score: float) -> Any:
        """Take what may pass the threshold ``score`` out of layer ``part``, as copies.

        ``view`` is a frame (rows, columns, channels) in device memory, ``found`` what the layers before it gave.
        """
        ...

    def candidates(self, found: Sequence[Any], score: float) -> Candidates:
        """Return the boxes whose score is at least ``score``, by row, column, anchor and class."""
        ...

    def all_boxes(self, found: Sequence[Any]) -> Array:
        """Return every box and all its scores (n, numbers) of whole maps: what is given without suppression."""
        ...


@dataclass(frozen=True)
class Classes:
    """``count`` classes in the maps, of which ``background`` (None: none) is no result (hef.md 13).

    A background class 0 shifts the others down by one; the last one shifts none.
    """

    count: int
    background: int | None = None

    @staticmethod
    def of(op: NmsOp, where: str) -> Classes:
        """Return the classes of ``op``. Raises `InvalidHef`."""
        background = op.background_removal_index if op.background_removal else None
        # GUESS: only the first or the last class can be the background. The facts tell how ids shift for index 0 alone,
        # and with another one than the last, ids would not fit the number of classes of the result.
        if op.classes < 1 or op.output_classes < 1 or background not in (None, 0, op.classes - 1):
            detail = f"{op.classes} classes, background class {background}"
            raise InvalidHef(rule="NMS classes", where=where, detail=detail)
        return Classes(op.classes, background)

    def without_background(self, at: Places) -> Places:
        """Return the places whose channel, or class, is none of the background."""
        return at if self.background is None else at.only(at.channels % self.count != self.background)

    def ids(self, channels: Array) -> Array:
        """Return the classes of the result."""
        return channels - 1 if self.background == 0 else channels


def check_map(layer: Layer, channels: int, grid: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return (rows, columns) of a map, which must have ``channels`` channels. Raises `HefError`."""
    check_readable(layer)
    layout = layer.layout
    if layout.features != channels or channels < 1:
        detail = f"{layout.features} channels, the op says {channels}"
        raise InvalidHef(rule="op channels", where=layer.name, detail=detail)
    seen = (layout.height, layout.width)
    if grid is not None and seen != grid:
        detail = f"{seen[0]}x{seen[1]} cells, the layers beside it have {grid[0]}x{grid[1]}"
        raise InvalidHef(rule="op grid", where=layer.name, detail=detail)
    return seen


def check_positive(where: str, **values: float) -> None:
    """Refuse numbers that cannot be divided by. Raises `InvalidHef`."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise InvalidHef(rule="NMS numbers", where=where, detail=f"{name} is {value}")


def check_image(where: str, image: tuple[float, float]) -> None:
    """Refuse images (height, width) that no network has. Raises `InvalidHef`."""
    if not all(1 <= side <= MAX_IMAGE_SIDE for side in image):
        raise InvalidHef(rule="NMS numbers", where=where, detail=f"an image of {image[0]}x{image[1]} pixels")


def centred(centre_y: Array, centre_x: Array, height: Array, width: Array) -> Array:
    """Return (n, 4) corners of boxes given by centre and size."""
    boxes = np.empty((4, len(centre_y)), np.float32)
    half_height, half_width = height / np.float32(2), width / np.float32(2)
    np.subtract(centre_y, half_height, out=boxes[0])
    np.subtract(centre_x, half_width, out=boxes[1])
    np.add(centre_y, half_height, out=boxes[2])
    np.add(centre_x, half_width, out=boxes[3])
    return boxes.T


def every_place(rows: int, columns: int, each: int) -> tuple[Array, Array, Array]:
    """Return row, column and number of ``each`` things per cell, as flat arrays."""
    row, column, number = np.indices((rows, columns, each)).reshape(3, -1)
    return row, column, number
