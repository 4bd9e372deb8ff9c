"""Box arithmetic on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from openhailo.vision import boxes

ONE = np.array([[0, 0, 10, 10]], np.float32)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((0, 0, 10, 10), 1.0),
        ((5, 0, 15, 10), 50 / 150),
        ((5, 5, 15, 15), 25 / 175),
        ((10, 0, 20, 10), 0.0),
        ((2, 2, 4, 4), 4 / 100),
        ((8, 8, 3, 3), 0.0),
    ],
)
def test_iou(other, expected):
    assert boxes.iou(ONE, np.array([other], np.float32))[0, 0] == pytest.approx(expected)


def test_iou_of_empty_boxes_is_zero_and_not_a_warning():
    point = np.zeros((2, 4), np.float32)
    assert boxes.iou(point, point).tolist() == [[0, 0], [0, 0]]
    assert boxes.iou(point[:0], ONE).shape == (0, 1)


def test_corners_and_centres():
    corners = np.array([[10, 20, 30, 80]], np.float32)
    assert boxes.xyxy_to_cxcywh(corners).tolist() == [[20, 50, 20, 60]]
    assert boxes.cxcywh_to_xyxy(boxes.xyxy_to_cxcywh(corners)).tolist() == corners.tolist()


def test_area_clip_and_scale():
    assert boxes.area(np.array([[0, 0, 3, 4], [3, 4, 0, 0]], np.float32)).tolist() == [12, 0]
    outside = np.array([[-5, -6, 700, 800]], np.float32)
    assert boxes.clip(outside, 480, 640).tolist() == [[0, 0, 640, 480]]
    assert boxes.scale(np.array([[0, 0.5, 1, 1]], np.float32), 640, 480).tolist() == [[0, 240, 640, 480]]
