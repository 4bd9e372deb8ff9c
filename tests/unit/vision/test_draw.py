"""Drawing changes what it should, and nothing breaks it."""

from __future__ import annotations

import numpy as np
import pytest

from openhailo.errors import InputError, ShapeMismatch
from openhailo.vision import draw as module
from openhailo.vision.decode import Classification
from openhailo.vision.detections import Detections
from openhailo.vision.draw import colour_of, draw_classification, draw_detections, text_colour_on

pytest.importorskip("cv2")


def canvas(height=240, width=320):
    return np.full((height, width, 3), 128, np.uint8)


def test_a_box_is_drawn_on_a_copy_in_the_colour_of_its_class():
    image = canvas()
    drawn = draw_detections(image, Detections.of([[100, 100, 200, 200]], [0.9], [3]))
    assert (image == 128).all()
    assert drawn[150, 100].tolist() == list(colour_of(3))
    assert drawn[200, 150].tolist() == list(colour_of(3))
    assert (drawn[150, 150] == 128).all()
    assert (drawn[:60] == 128).all()


def test_the_label_stands_above_its_box_or_inside_where_there_is_no_room():
    above = draw_detections(canvas(), Detections.of([[100, 100, 200, 200]], [0.9], [3]))
    assert (above[92:98, 105:120] != 128).any()
    inside = draw_detections(canvas(), Detections.of([[100, 0, 200, 200]], [0.9], [3]))
    assert (inside[2:8, 105:120] != 128).any()


def test_landmarks_and_masks():
    points = np.array([[[50, 60], [1000, 5], [np.nan, 3]]], np.float32)
    drawn = draw_detections(canvas(), Detections.of([[10, 100, 20, 110]], [0.9], [0], points))
    assert drawn[60, 50].tolist() == list(colour_of(0))
    mask = np.zeros((1, 240, 320), np.bool_)
    mask[0, :20, 300:] = True
    found = Detections.of([[10, 100, 20, 110]], [0.9], [0])
    found = Detections(found.boxes, found.scores, found.class_ids, masks=mask)
    drawn = draw_detections(canvas(), found)
    assert (drawn[:20, 300:] != 128).any(axis=2).all()
    assert (drawn[:20, :300] == 128).all()
    with pytest.raises(ShapeMismatch):
        draw_detections(canvas(100, 100), found)


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
def test_odd_sizes_and_boxes_outside_do_no_harm(size):
    wild = [[-1e9, -5, 1e9, 5], [np.inf, np.nan, -np.inf, 0], [3, 3, 1, 1]]
    found = Detections.of(wild, [1, 0.5, np.nan], [0, -1, 2**31 - 1]).with_labels(["ünïcödé " * 50])
    assert draw_detections(canvas(*size), found).shape == (*size, 3)


def test_classes_are_written_from_the_top():
    result = Classification(np.array([1, 2], np.int32), np.array([0.9, 0.1], np.float32), ("cat", "dog"))
    drawn = draw_classification(canvas(), result)
    changed = np.nonzero((drawn != 128).any(axis=(1, 2)))[0]
    assert changed.min() == 0
    assert 10 < changed.max() < 80
    assert (draw_classification(canvas(), result.with_labels(["a"])) != 128).any()


def test_neighbouring_classes_differ_and_text_is_readable():
    for class_id in range(80):
        here, there = np.array(colour_of(class_id)), np.array(colour_of(class_id + 1))
        assert np.abs(here - there).max() > 60
        ink = np.array(text_colour_on(colour_of(class_id)))
        assert np.abs(ink - here).sum() > 200


def test_without_opencv_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("openhailo.vision._opencv.find_opencv", lambda: None)
    with pytest.raises(InputError, match="openhailo\\[vision\\]"):
        module.draw_detections(canvas(), Detections.none())
