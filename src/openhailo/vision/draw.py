"""Draw results onto a picture: boxes, names with scores, landmarks, masks."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from openhailo.errors import ShapeMismatch
from openhailo.vision._opencv import require_opencv
from openhailo.vision.decode.classify import Classification
from openhailo.vision.detections import Detections
from openhailo.vision.resize import Image, check_image

Colour = tuple[int, int, int]

_GOLDEN_RATIO = 0.618033988749895
_MASK_OPACITY = 0.45


def colour_of(class_id: int) -> Colour:
    """A bright RGB colour; neighbouring classes differ, because hues step by the golden ratio."""
    hue = (class_id * _GOLDEN_RATIO + 0.05) % 1.0
    sector, part = divmod(hue * 6, 1)
    high, low, rising, falling = 245, 45, int(45 + 200 * part), int(245 - 200 * part)
    wheel = [
        (high, rising, low),
        (falling, high, low),
        (low, high, rising),
        (low, falling, high),
        (rising, low, high),
        (high, low, falling),
    ]
    return wheel[int(sector) % 6]


def text_colour_on(background: Colour) -> Colour:
    """Black or white, whichever reads better on it (luma of ITU-R BT.601)."""
    luma = 0.299 * background[0] + 0.587 * background[1] + 0.114 * background[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)


def draw_detections(image: Image, detections: Detections) -> Image:
    """A copy of the picture with every detection on it, worst first so that the best lies on top.

    Raises:
        InputError: no RGB picture, or OpenCV is not installed.
        ShapeMismatch: masks of another size than the picture.
    """
    size = check_image(image)
    if detections.masks is not None and detections.masks.shape[1:] != size:
        raise ShapeMismatch(name="masks", expected=(len(detections), *size), seen=detections.masks.shape)
    opencv = require_opencv("drawing")
    canvas = np.ascontiguousarray(image.copy())
    for i in reversed(range(len(detections))):
        colour = colour_of(int(detections.class_ids[i]))
        if detections.masks is not None:
            _draw_mask(canvas, detections, i, colour)
        _draw_box(opencv, canvas, detections, i, colour)
        if detections.keypoints is not None:
            _draw_points(opencv, canvas, detections, i, colour)
    return canvas


def draw_classification(image: Image, classification: Classification) -> Image:
    """A copy of the picture with the classes, one a line, in its upper left corner.

    Raises:
        InputError: no RGB picture, or OpenCV is not installed.
    """
    check_image(image)
    opencv = require_opencv("drawing")
    canvas = np.ascontiguousarray(image.copy())
    top = 0
    for i in range(len(classification)):
        class_id = int(classification.class_ids[i])
        label = classification.labels[i] if classification.labels else f"class {class_id}"
        text = f"{label} {classification.scores[i]:.0%}"
        top += _draw_text(opencv, canvas, text, (0, top), colour_of(class_id))
    return canvas


def _thickness(canvas: Image) -> int:
    """Line width that suits the picture: 2 pixels at 640, never less than 1."""
    longest = max(int(side) for side in canvas.shape[:2])
    return max(round(longest / 320), 1)


def _corners(canvas: Image, detections: Detections, i: int) -> tuple[int, int, int, int]:
    """The box as pixels of the canvas; whatever it was, OpenCV gets integers it can hold."""
    height, width = canvas.shape[:2]
    limits = np.array([width - 1, height - 1, width - 1, height - 1])
    left, top, right, bottom = np.clip(np.nan_to_num(np.rint(detections.boxes[i])), 0, limits).astype(int).tolist()
    return left, top, right, bottom


def _draw_box(opencv: ModuleType, canvas: Image, detections: Detections, i: int, colour: Colour) -> None:
    left, top, right, bottom = _corners(canvas, detections, i)
    opencv.rectangle(canvas, (left, top), (right, bottom), colour, _thickness(canvas))
    label = detections.labels[i] if detections.labels else f"class {detections.class_ids[i]}"
    _draw_text(opencv, canvas, f"{label} {detections.scores[i]:.0%}", (left, top), colour, above=True)


def _draw_text(
    opencv: ModuleType, canvas: Image, text: str, corner: tuple[int, int], colour: Colour, *, above: bool = False
) -> int:
    """Text on a filled plate, moved so that it stays inside the canvas; returns the plate's height in pixels."""
    thickness = _thickness(canvas)
    size = 0.2 + 0.2 * thickness
    pen = max(thickness - 1, 1)
    (width, height), baseline = opencv.getTextSize(text, opencv.FONT_HERSHEY_SIMPLEX, size, pen)
    plate, width = height + baseline + thickness, width + 2 * thickness
    left = max(min(corner[0], canvas.shape[1] - width), 0)
    top = corner[1] - plate if above and corner[1] >= plate else corner[1]
    top = max(min(top, canvas.shape[0] - plate), 0)
    opencv.rectangle(canvas, (left, top), (left + width, top + plate), colour, opencv.FILLED)
    origin = (left + thickness, top + height + thickness // 2 + 1)
    opencv.putText(canvas, text, origin, opencv.FONT_HERSHEY_SIMPLEX, size, text_colour_on(colour), pen, opencv.LINE_AA)
    return int(plate)


def _draw_points(opencv: ModuleType, canvas: Image, detections: Detections, i: int, colour: Colour) -> None:
    if detections.keypoints is None:
        return
    height, width = canvas.shape[:2]
    radius = _thickness(canvas) + 1
    for x, y in np.nan_to_num(detections.keypoints[i], nan=-1.0):
        if 0 <= x < width and 0 <= y < height:
            opencv.circle(canvas, (int(x), int(y)), radius, text_colour_on(colour), opencv.FILLED, opencv.LINE_AA)
            opencv.circle(canvas, (int(x), int(y)), max(radius - 1, 1), colour, opencv.FILLED, opencv.LINE_AA)


def _draw_mask(canvas: Image, detections: Detections, i: int, colour: Colour) -> None:
    if detections.masks is None:
        return
    inside = detections.masks[i]
    mixed = canvas[inside] * (1 - _MASK_OPACITY) + np.array(colour) * _MASK_OPACITY
    canvas[inside] = mixed.astype(np.uint8)
