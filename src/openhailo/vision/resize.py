"""Bring a picture to the size a network takes, and bring its boxes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import InputError
from openhailo.vision._opencv import find_opencv
from openhailo.vision.boxes import Floats, clip

Image = NDArray[np.uint8]
"""(height, width, 3) uint8, RGB."""

LETTERBOX_FILL = 114
"""Grey of the bars; what the YOLO family is trained with."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the source picture lies in the network's input: ``input = source * scale + offset``, per axis, in pixels.

    The scale is that of the resized picture's whole pixels (not of the wished ratio), so the way back is exact.
    """

    source_height: int
    source_width: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float

    def to_input(self, points: Floats) -> Floats:
        """Source -> network input: (..., 2) points x, y."""
        mapped = points.astype(np.float64) * self._scale + self._offset
        return mapped.astype(np.float32)

    def to_source(self, points: Floats) -> Floats:
        """Network input -> source: (..., 2) points x, y."""
        mapped = (points.astype(np.float64) - self._offset) / self._scale
        return mapped.astype(np.float32)

    def boxes_to_input(self, boxes: Floats) -> Floats:
        """Source -> network input: (N, 4) xyxy."""
        return self.to_input(boxes.reshape(-1, 2, 2)).reshape(-1, 4)

    def boxes_to_source(self, boxes: Floats) -> Floats:
        """Network input -> source: (N, 4) xyxy, cut at the picture's borders."""
        return clip(self.to_source(boxes.reshape(-1, 2, 2)).reshape(-1, 4), self.source_height, self.source_width)

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.array([self.scale_x, self.scale_y])

    @property
    def _offset(self) -> NDArray[np.float64]:
        return np.array([self.offset_x, self.offset_y])


def resize(image: Image, height: int, width: int) -> Image:
    """Bilinear resampling to ``height`` x ``width``; area averaging where both sides shrink and OpenCV is there."""
    check_image(image)
    if min(height, width) < 1:
        raise InputError(what="resize", detail=f"{height}x{width} is not a picture size")
    if image.shape[:2] == (height, width):
        return image.copy()
    opencv = find_opencv()
    if opencv is None:
        return resize_bilinear(image, height, width)
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = opencv.INTER_AREA if shrinks else opencv.INTER_LINEAR
    return np.asarray(opencv.resize(image, (width, height), interpolation=method), np.uint8)


def resize_bilinear(image: Image, height: int, width: int) -> Image:
    """The same in NumPy alone: pixel centres at half integers, borders repeated, rounded to nearest."""
    upper, lower, row_weights = _taps(image.shape[0], height)
    left, right, column_weights = _taps(image.shape[1], width)
    source = image.astype(np.float32)
    lines = source[upper] * (1 - row_weights)[:, None, None] + source[lower] * row_weights[:, None, None]
    mixed = lines[:, left] * (1 - column_weights)[None, :, None] + lines[:, right] * column_weights[None, :, None]
    result: Image = np.rint(mixed).astype(np.uint8)
    return result


def _taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """For each target pixel its two source pixels, and the weight of the second."""
    centres = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    first = np.floor(centres).astype(np.intp)
    return first, np.minimum(first + 1, source - 1), (centres - first).astype(np.float32)


def stretch(image: Image, height: int, width: int) -> tuple[Image, Placement]:
    """Resize without regard to the aspect ratio."""
    source_height, source_width = check_image(image)
    resized = resize(image, height, width)
    return resized, Placement(source_height, source_width, width / source_width, height / source_height, 0.0, 0.0)


def letterbox(
    image: Image, height: int, width: int, *, fill: int = LETTERBOX_FILL, centre: bool = True, coverage: float = 1.0
) -> tuple[Image, Placement]:
    """Resize with the aspect ratio kept; grey ``fill`` around it, or right and below it if not ``centre``.

    The picture takes at most ``coverage`` of each side: less than 1 leaves a margin, which helps networks that know no
    objects as large as their input.
    """
    source_height, source_width = check_image(image)
    if not 0 < coverage <= 1:
        raise InputError(what="letterbox", detail=f"coverage {coverage} is not in (0, 1]")
    ratio = min(height / source_height, width / source_width) * coverage
    inner_height = min(max(round(source_height * ratio), 1), height)
    inner_width = min(max(round(source_width * ratio), 1), width)
    top, left = ((height - inner_height) // 2, (width - inner_width) // 2) if centre else (0, 0)
    canvas: Image = np.full((height, width, 3), fill, np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = resize(image, inner_height, inner_width)
    scale_x, scale_y = inner_width / source_width, inner_height / source_height
    return canvas, Placement(source_height, source_width, scale_x, scale_y, float(left), float(top))


def centre_crop(image: Image, height: int, width: int, *, fraction: float = 1.0) -> tuple[Image, Placement]:
    """Cut the largest centred part of the input's aspect ratio, times ``fraction``, and resize it.

    Classifiers are trained on such crops: 224 of a short side of 256 is ``fraction=0.875``.
    """
    source_height, source_width = check_image(image)
    if not 0 < fraction <= 1:
        raise InputError(what="centre_crop", detail=f"fraction {fraction} is not in (0, 1]")
    ratio = min(source_height / height, source_width / width) * fraction
    crop_height, crop_width = max(round(height * ratio), 1), max(round(width * ratio), 1)
    top, left = (source_height - crop_height) // 2, (source_width - crop_width) // 2
    resized = resize(image[top : top + crop_height, left : left + crop_width], height, width)
    scale_x, scale_y = width / crop_width, height / crop_height
    return resized, Placement(source_height, source_width, scale_x, scale_y, -left * scale_x, -top * scale_y)


def check_image(image: Image) -> tuple[int, int]:
    """Height and width of an RGB picture.

    Raises:
        InputError: it is not a non-empty (height, width, 3) uint8 array.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        detail = f"shape {image.shape} of {image.dtype}, needed (height, width, 3) of uint8"
        raise InputError(what="picture", detail=detail)
    return image.shape[0], image.shape[1]
