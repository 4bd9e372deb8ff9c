"""Suppression against the plain greedy loop."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.errors import ShapeMismatch
from openhailo.vision import nms as module
from openhailo.vision.nms import nms


def greedy(boxes, scores, class_ids, threshold, limit):
    """The textbook: take the best left, drop what it overlaps, repeat; in double loops."""
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    kept = []
    for i in order:
        if all(class_ids[i] != class_ids[j] or not overlap(boxes[i], boxes[j], threshold) for j in kept):
            kept.append(i)
    return kept[:limit]


def overlap(a, b, threshold):
    """Whether the intersection is more than that part of the union; whole numbers, so exact but for the threshold."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return False
    inner = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return inner > np.float32(union * np.float32(threshold))


def random_boxes(seed, count, classes=3):
    generator = np.random.default_rng(seed)
    corner = generator.integers(0, 60, (count, 2))
    size = generator.integers(1, 40, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    scores = generator.integers(0, 50, count).astype(np.float32) / 50
    return boxes, scores, generator.integers(0, classes, count)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 90),
    threshold=st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]),
    limit=st.sampled_from([1, 5, 300]),
)
def test_equals_the_greedy_loop(seed, count, threshold, limit):
    boxes, scores, class_ids = random_boxes(seed, count)
    kept = nms(boxes, scores, class_ids, iou_threshold=threshold, max_detections=limit)
    assert kept.tolist() == greedy(boxes, scores, class_ids, threshold, limit)


@pytest.mark.parametrize(("count", "classes", "limit"), [(200, 3, 300), (200, 30, 300), (300, 3, 9), (90, 1, 4)])
def test_equals_the_greedy_loop_across_blocks(monkeypatch, count, classes, limit):
    """Small blocks: crowded classes, small ones of different sizes together, and only a part of the boxes looked at."""
    monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(module, "PAIRS", 16 * 48)
    boxes, scores, class_ids = random_boxes(7, count, classes)
    kept = nms(boxes, scores, class_ids, iou_threshold=0.4, max_detections=limit)
    assert kept.tolist() == greedy(boxes, scores, class_ids, 0.4, limit)


def test_a_chain_is_resolved_one_by_one():
    """Each box overlaps the next only: the first, third, fifth... stay."""
    left = np.arange(40, dtype=np.float32) * 5
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    scores = np.linspace(1, 0.5, 40, dtype=np.float32)
    assert nms(boxes, scores, iou_threshold=0.3).tolist() == list(range(0, 40, 2))


def test_classes_do_not_suppress_each_other_unless_asked():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.5, 0.9], np.float32)
    assert nms(boxes, scores, np.array([0, 1])).tolist() == [1, 0]
    assert nms(boxes, scores).tolist() == [1]


def test_memory_stays_bounded_for_every_cell_of_a_large_network():
    """25200 disjoint boxes all stay: a full overlap matrix would take 2.5 GB."""
    index = np.arange(25200, dtype=np.float32)
    boxes = np.stack([index * 2, index * 0, index * 2 + 1, index * 0 + 1], axis=1)
    tracemalloc.start()
    try:
        kept = nms(boxes, 1 - index / 30000, (index % 80).astype(np.int64), max_detections=2000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept.tolist() == list(range(2000))
    assert peak < 100 << 20


@pytest.mark.parametrize(
    ("boxes", "scores", "class_ids"),
    [((2, 3), 2, 2), ((2, 4), 3, 2), ((2, 4), 2, 1)],
)
def test_lengths_must_agree(boxes, scores, class_ids):
    with pytest.raises(ShapeMismatch):
        nms(np.zeros(boxes, np.float32), np.zeros(scores, np.float32), np.zeros(class_ids, np.int64))
