"""Greedy suppression, limits, and the packed layouts, number by number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.runtime.host_ops import slow_ops as slow

from openhailo.errors import InputError
from openhailo.runtime.formats import FormatOrder
from openhailo.runtime.host_ops import DETECTION, MaskedDetections, NmsSettings, pack, unpack
from openhailo.runtime.host_ops.boxes import best, formed
from openhailo.runtime.host_ops.layouts import MASK_RECORD, frame_bytes
from openhailo.runtime.host_ops.levels import Candidates
from openhailo.runtime.host_ops.settings import MAX_RESULT_BYTES, NmsLimits
from openhailo.vision.nms import BLOCK, suppress_by_class

BY_CLASS, BY_SCORE = FormatOrder.HAILO_NMS_BY_CLASS, FormatOrder.HAILO_NMS_BY_SCORE
MASKED = FormatOrder.HAILO_NMS_WITH_BYTE_MASK
#: Quarters make equal overlaps and equal scores likely; some coordinates are no numbers.
COORDINATES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, -0.25, float("nan"), float("inf")])
BOXES = st.tuples(*[COORDINATES] * 4)
FOUND = st.lists(st.builds(slow.Box, BOXES, st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.integers(0, 2)), max_size=20)


def candidates(found):
    boxes = np.array([box.corners for box in found], np.float32).reshape(-1, 4)
    scores = np.array([box.score for box in found], np.float32)
    return Candidates(boxes, scores, np.array([box.class_id for box in found], np.intp))


def kept_by_hand(found, threshold, most):
    with np.errstate(all="ignore"):
        kept = slow.suppress(found, threshold)
    places = {id(box): place for place, box in enumerate(found)}
    seen = dict.fromkeys(range(3), 0)
    result = []
    for box in kept:
        seen[box.class_id] += 1
        if seen[box.class_id] <= most:
            result.append(places[id(box)])
    return result


@settings(max_examples=200, deadline=None)
@given(FOUND, st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0, 1.1]), st.integers(1, 4))
def test_suppression_in_small(found, threshold, most):
    found = [slow.Box(*box) for box in found]
    drawn = candidates(found)
    got = suppress_by_class(*drawn[:3], iou_threshold=threshold, max_per_class=most)
    assert got.tolist() == kept_by_hand(found, threshold, most)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.sampled_from([1, 5, 1000]))
def test_suppression_of_crowds(seed, threshold, most):
    """More boxes than are compared at once, in classes of very different sizes."""
    rng = np.random.default_rng(seed)
    count = 2 * BLOCK + 60
    corner = rng.integers(0, 8, (count, 2)) / 8
    boxes = np.concatenate([corner, corner + rng.integers(0, 4, (count, 2)) / 8], axis=1).astype(np.float32)
    scores = rng.choice(np.linspace(0.1, 1, 9, dtype=np.float32), count)
    classes = rng.choice(3, count, p=[0.8, 0.15, 0.05])
    found = [
        slow.Box(tuple(map(float, box)), score, int(number))
        for box, score, number in zip(boxes, scores, classes, strict=True)
    ]
    got = suppress_by_class(boxes, scores, classes, iou_threshold=threshold, max_per_class=most)
    assert got.tolist() == kept_by_hand(found, threshold, most)


def limits(**changes):
    return NmsLimits(**{"classes": 3, "score": 0.5, "iou": 0.5, "per_class": 2, "total": 6, **changes})


@settings(max_examples=200, deadline=None)
@given(FOUND, st.integers(1, 4))
def test_packed_frames_are_the_vendors_bytes(found, most):
    found = [box for box in found if np.isfinite(box.corners).all()]
    kept = slow.suppress(found, 0.5)
    by_class = formed(best(candidates(found), limits(per_class=most), BY_CLASS), limits(per_class=most), BY_CLASS)
    size = frame_bytes(BY_CLASS, classes=3, max_per_class=most, max_total=0)
    out = np.full(size, 7, np.uint8)
    used = pack(by_class, BY_CLASS, out)
    assert out[:used].tobytes() == slow.packed_by_class(slow.by_class(kept, 3, most))
    assert (out[used:] == 7).all()
    for mine, theirs in zip(unpack(out, BY_CLASS, classes=3), by_class, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    by_score = formed(best(candidates(found), limits(total=most), BY_SCORE), limits(total=most), BY_SCORE)
    out = np.zeros(frame_bytes(BY_SCORE, classes=3, max_per_class=0, max_total=most), np.uint8)
    used = pack(by_score, BY_SCORE, out)
    assert out[:used].tobytes() == slow.packed_by_score(kept[:most])
    np.testing.assert_array_equal(unpack(out, BY_SCORE), by_score)


def test_sizes_of_full_frames():
    """runtime-behaviour.md 15."""
    sizes = {"classes": 80, "max_per_class": 100, "max_total": 8000}
    assert frame_bytes(BY_CLASS, **sizes) == 80 * (4 + 20 * 100)
    assert frame_bytes(BY_SCORE, **sizes) == 2 + 22 * 8000
    assert frame_bytes(MASKED, **sizes, mask_bytes=1000) == 2 + 38 * 8000 + 1000
    assert (DETECTION.itemsize, MASK_RECORD.itemsize) == (22, 38)
    with pytest.raises(InputError, match="no order of boxes"):
        frame_bytes(FormatOrder.NHWC, **sizes)


def test_masks_lie_behind_their_records():
    records = np.zeros(2, DETECTION)
    records["score"], records["class_id"] = [0.75, 0.5], [4, 300]
    masks = (np.array([[1, 0, 1]], np.uint8), np.ones((2, 2), np.uint8))
    out = np.zeros(200, np.uint8)
    used = pack(MaskedDetections(records, masks), MASKED, out)
    assert used == 2 + 38 + 3 + 38 + 4
    assert out[:2].tobytes() == b"\x02\x00"
    assert out[18:22].view("<f4")[0] == np.float32(0.75)
    assert out[22:24].view("<u2")[0] == 4
    assert out[24:32].view("<u8")[0] == 3
    assert out[32:40].view("<u8")[0] == out.ctypes.data + 40, "the address of the mask behind its record"
    assert out[40:43].tolist() == [1, 0, 1]
    moved = np.concatenate([np.zeros(1, np.uint8), out])[1:].copy()
    back = unpack(moved, MASKED)
    np.testing.assert_array_equal(back.records, records)
    assert [mask.tolist() for mask in back.masks] == [[1, 0, 1], [1, 1, 1, 1]]


def test_a_count_of_one_record_too_many_is_survived():
    """The original counts a record that it had no room for (runtime-behaviour.md 15)."""
    out = np.zeros(2 + 2 * 38, np.uint8)
    used = pack(MaskedDetections(np.zeros(1, DETECTION), (np.ones((1, 30), np.uint8),)), MASKED, out)
    out[0] = 2
    assert len(unpack(out[: used + 10], MASKED)) == 1


@pytest.mark.parametrize(
    ("order", "packed"),
    [
        (BY_CLASS, b""),
        (BY_CLASS, np.array([5, 1, 2], "<f4").tobytes()),
        (BY_CLASS, np.array([-1, 0, 0], "<f4").tobytes()),
        (BY_CLASS, np.array([np.nan, 0, 0], "<f4").tobytes()),
        (BY_SCORE, b"\x01"),
        (BY_SCORE, b"\xff\xff" + bytes(22)),
        (MASKED, b"\x02\x00" + bytes(40)),
    ],
)
def test_bytes_that_are_no_frame(order, packed):
    with pytest.raises(InputError):
        unpack(np.frombuffer(packed, np.uint8), order, classes=3)


def test_frames_that_do_not_fit():
    with pytest.raises(InputError, match="this frame takes 12"):
        pack([np.empty((0, 5), np.float32)] * 3, BY_CLASS, np.empty(11, np.uint8))
    with pytest.raises(InputError, match=r"\(n, 5\)"):
        pack([np.empty((1, 4), np.float32)], BY_CLASS, np.empty(100, np.uint8))
    with pytest.raises(InputError, match="counts to 65535"):
        pack(np.zeros(1 << 16, DETECTION), BY_SCORE, np.empty(1 << 21, np.uint8))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_change_what_counts():
    boxes = NmsSettings("net/boxes", BY_CLASS, limits())
    before = boxes.snapshot()
    boxes.score_threshold, boxes.iou_threshold, boxes.max_proposals_per_class = np.float32(0.25), 1, np.int64(4)
    assert boxes.snapshot() == limits(score=0.25, iou=1.0, per_class=4, total=12)
    assert before == limits()
    assert boxes.frame_bytes == 3 * (4 + 20 * 4)
    assert "HAILO_NMS_BY_CLASS" in repr(boxes)


@pytest.mark.parametrize(
    ("order", "name", "value", "needle"),
    [
        (BY_CLASS, "max_proposals_total", 5, "max_proposals_per_class"),
        (BY_SCORE, "max_proposals_per_class", 5, "max_proposals_total"),
        (BY_CLASS, "max_accumulated_mask_size", 5, "no masks"),
        (BY_SCORE, "max_accumulated_mask_size", 5, "no masks"),
        (BY_CLASS, "score_threshold", float("nan"), "not a finite number"),
        (BY_CLASS, "iou_threshold", "0.5", "not a finite number"),
        (BY_CLASS, "max_proposals_per_class", 0, "not a whole number"),
        (BY_CLASS, "max_proposals_per_class", 1.5, "not a whole number"),
        (BY_CLASS, "max_proposals_per_class", True, "not a whole number"),
        (BY_CLASS, "max_proposals_per_class", MAX_RESULT_BYTES, "at most"),
        (MASKED, "max_accumulated_mask_size", MAX_RESULT_BYTES + 1, "at most"),
    ],
)
def test_settings_that_cannot_be(order, name, value, needle):
    boxes = NmsSettings("net/boxes", order, limits())
    with pytest.raises(InputError, match=needle):
        setattr(boxes, name, value)
    assert boxes.snapshot() == limits()


def test_masks_have_a_total_limit_that_the_limit_per_class_sets():
    boxes = NmsSettings("net/boxes", MASKED, limits(mask_bytes=100))
    boxes.max_proposals_per_class = 5
    assert boxes.max_proposals_total == 15
    boxes.max_proposals_total, boxes.max_accumulated_mask_size = 7, 50
    assert (boxes.max_proposals_per_class, boxes.max_proposals_total, boxes.max_accumulated_mask_size) == (5, 7, 50)
    assert boxes.frame_bytes == 2 + 38 * 7 + 50
