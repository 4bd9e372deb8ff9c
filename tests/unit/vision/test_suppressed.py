"""Boxes that are suppressed already, in every form that a network gives them in."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from openhailo.errors import ShapeMismatch
from openhailo.vision.decode import SuppressedConfig, decode_suppressed

CONFIG = SuppressedConfig((100, 200))
FIRST, SECOND = [0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.25, 1.0, 0.75, 0.9]
BY_CLASS = [np.array([FIRST], np.float32), np.empty((0, 5), np.float32), np.array([SECOND], np.float32)]
NAMES = ("y_min", "x_min", "y_max", "x_max", "score")
RECORDS = np.array([(*SECOND, 2), (*FIRST, 0)], np.dtype([*((name, "<f4") for name in NAMES), ("class_id", "<u2")]))


@pytest.mark.parametrize(
    "frame",
    [BY_CLASS, [BY_CLASS], RECORDS, [RECORDS], SimpleNamespace(records=RECORDS), [SimpleNamespace(records=RECORDS)]],
    ids=["by class", "a batch of one", "by score", "a batch by score", "masks", "a batch with masks"],
)
def test_boxes_become_pixels(frame):
    found = decode_suppressed([frame], CONFIG)
    np.testing.assert_allclose(found.boxes, [[50, 50, 150, 100], [40, 10, 80, 30]], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [0.9, 0.5])
    assert found.class_ids.tolist() == [2, 0]


@pytest.mark.parametrize("frame", [[np.empty((0, 5), np.float32)] * 3, RECORDS[:0], [[np.empty((0, 5), np.float32)]]])
def test_nothing_found(frame):
    assert len(decode_suppressed([frame], CONFIG)) == 0


@pytest.mark.parametrize(
    "outputs", [[], [BY_CLASS, BY_CLASS], [np.zeros((4, 5))], [[np.zeros((4, 6))]], [[BY_CLASS, BY_CLASS]], [[None]]]
)
def test_what_is_no_frame_of_boxes(outputs):
    with pytest.raises(ShapeMismatch):
        decode_suppressed(outputs, CONFIG)
