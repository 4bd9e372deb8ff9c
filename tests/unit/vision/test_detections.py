"""The result types check themselves and become JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from openhailo.errors import ShapeMismatch
from openhailo.vision.decode import Classification
from openhailo.vision.detections import Detections


def two():
    return Detections.of([[0, 0, 10, 10], [5, 5, 20, 20]], [0.9, 0.5], [1, 7], np.zeros((2, 5, 2)))


def test_conversion_selection_and_labels():
    found = two().with_labels(["person", "cat"])
    assert found.labels == ("cat", "class 7")
    second = found.select(np.array([False, True]))
    assert (len(second), second.labels, second.class_ids.tolist()) == (1, ("class 7",), [7])
    assert second.keypoints is not None and second.keypoints.shape == (1, 5, 2)
    assert found.select(np.array([1, 0])).scores.tolist() == [0.5, pytest.approx(0.9)]
    assert len(Detections.none()) == 0
    assert Detections.none().with_labels(["a"]).to_list() == []


def test_json():
    item = json.loads(json.dumps(two().with_labels(["person", "cat"]).to_list()))[0]
    assert item == {"label": "cat", "class_id": 1, "score": 0.9, "box": [0, 0, 10, 10], "keypoints": [[0, 0]] * 5}
    classes = Classification(np.array([3], np.int32), np.array([0.25], np.float32))
    assert json.loads(json.dumps(classes.to_list())) == [{"class_id": 3, "score": 0.25}]


@pytest.mark.parametrize(
    "change",
    [
        {"boxes": np.zeros((2, 5), np.float32)},
        {"boxes": np.zeros((2, 4), np.float64)},
        {"scores": np.zeros(3, np.float32)},
        {"class_ids": np.zeros(2, np.int64)},
        {"labels": ("one",)},
        {"keypoints": np.zeros((1, 5, 2), np.float32)},
        {"keypoints": np.zeros((2, 5, 3), np.float32)},
        {"masks": np.zeros((3, 8, 8), np.bool_)},
        {"masks": np.zeros((2, 8, 8), np.float32)},
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change):
    good = {
        "boxes": np.zeros((2, 4), np.float32),
        "scores": np.zeros(2, np.float32),
        "class_ids": np.zeros(2, np.int32),
    }
    Detections(**good)
    with pytest.raises(ShapeMismatch):
        Detections(**(good | change))
