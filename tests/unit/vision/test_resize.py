"""Placing a picture, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.errors import InputError
from openhailo.vision import resize as module
from openhailo.vision.resize import centre_crop, letterbox, resize, resize_bilinear, stretch

sides = st.integers(1, 300)


def picture(height, width):
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def place(kind, image, height, width):
    if kind == "letterbox":
        return letterbox(image, height, width)
    if kind == "margin":
        return letterbox(image, height, width, coverage=0.5, centre=False)
    return stretch(image, height, width) if kind == "stretch" else centre_crop(image, height, width, fraction=0.8)


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(["letterbox", "margin", "stretch", "crop"]),
    source=st.tuples(sides, sides),
    target=st.tuples(st.integers(2, 300), st.integers(2, 300)),
    point=st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)),
)
def test_boxes_come_back_to_where_they_were(kind, source, target, point):
    placed, placement = place(kind, picture(*source), *target)
    assert placed.shape == (*target, 3)
    x, y = point[0] * source[1] / 2, point[1] * source[0] / 2
    box = np.array([[x, y, x + source[1] / 2, y + source[0] / 2]], np.float32)
    back = placement.boxes_to_source(placement.boxes_to_input(box))
    np.testing.assert_allclose(back, box, atol=1e-3 * max(source))


@settings(max_examples=60, deadline=None)
@given(source=st.tuples(sides, sides), target=st.tuples(sides, sides))
def test_the_letterboxed_picture_lies_where_its_placement_says(source, target):
    """A white picture on black: the white pixels are those between the mapped corners, to the pixel."""
    placed, placement = letterbox(np.full((*source, 3), 255, np.uint8), *target, fill=0)
    left, top, right, bottom = placement.boxes_to_input(np.array([[0, 0, source[1], source[0]]], np.float32))[0]
    rows, columns = np.nonzero(placed[..., 0])
    assert (rows.min(), rows.max() + 1) == (pytest.approx(top, abs=1e-3), pytest.approx(bottom, abs=1e-3))
    assert (columns.min(), columns.max() + 1) == (pytest.approx(left, abs=1e-3), pytest.approx(right, abs=1e-3))


def test_letterbox_by_hand():
    """640x480 into 416: scale 0.65, so 312 rows with 52 above and below."""
    placed, placement = letterbox(np.full((480, 640, 3), 9, np.uint8), 416, 416)
    assert (placement.scale_x, placement.scale_y) == (0.65, 0.65)
    assert (placement.offset_x, placement.offset_y) == (0, 52)
    assert placed[51].max() == placed[364].max() == 114
    assert placed[52].max() == placed[363].max() == 9
    assert placement.boxes_to_source(np.array([[65, 117, 130, 500]], np.float32)).tolist() == [[100, 100, 200, 480]]


def test_letterbox_in_the_corner_and_with_a_margin():
    placed, placement = letterbox(np.full((10, 20, 3), 9, np.uint8), 40, 40, centre=False, coverage=0.5, fill=1)
    assert (placement.offset_x, placement.offset_y, placement.scale_x) == (0, 0, 1.0)
    assert (placed == 9).all(axis=2).sum() == 200
    assert (placed[:10, :20] == 9).all()


def test_crop_by_hand():
    """Of 300 rows and 400 columns the middle 300x300; 0.5 of it is 150."""
    image = picture(300, 400)
    cropped, placement = centre_crop(image, 150, 150, fraction=0.5)
    assert (cropped == image[75:225, 125:275]).all()
    assert placement.boxes_to_source(np.array([[0, 0, 150, 150]], np.float32)).tolist() == [[125, 75, 275, 225]]


def test_bilinear_by_hand():
    """Two pixels to four: centres at -0.25, 0.25, 0.75, 1.25 of the source."""
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 100
    assert resize_bilinear(image, 1, 4)[0, :, 0].tolist() == [0, 25, 75, 100]
    assert resize_bilinear(image[:, :1], 3, 3).max() == 0


def test_enlarging_is_the_same_with_and_without_opencv(monkeypatch):
    pytest.importorskip("cv2")
    image = picture(13, 17)
    with_opencv = resize(image, 40, 33).astype(int)
    monkeypatch.setattr(module, "find_opencv", lambda: None)
    assert np.abs(resize(image, 40, 33) - with_opencv).max() <= 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_what_is_no_picture_is_refused(image):
    for function in (letterbox, stretch, centre_crop, resize):
        with pytest.raises(InputError, match="uint8"):
            function(image, 8, 8)


def test_sizes_and_fractions_are_checked():
    image = picture(4, 4)
    with pytest.raises(InputError, match="not a picture size"):
        resize(image, 0, 8)
    with pytest.raises(InputError, match="fraction"):
        centre_crop(image, 4, 4, fraction=0)
    with pytest.raises(InputError, match="coverage"):
        letterbox(image, 4, 4, coverage=1.5)
