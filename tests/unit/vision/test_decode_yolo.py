"""YOLO decoders against loops over every cell, written from the papers' formulas, and against numbers done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from openhailo.errors import ShapeMismatch
from openhailo.vision.decode import (
    AnchorLevel,
    Suppression,
    YoloAnchorConfig,
    Yolov8Config,
    YoloxConfig,
    decode_yolo_anchor,
    decode_yolov8,
    decode_yolox,
)

SIZE = (64, 96)
EVERYTHING = Suppression(score=0.2, iou=1.0, limit=10_000)
LEVELS = (AnchorLevel(16, ((10, 14), (23, 27)), 1.1), AnchorLevel(8, ((4, 5), (8, 9)), 1.2))


def sigma(x):
    return 1 / (1 + math.exp(-x))


def cut(box):
    left, top, right, bottom = box
    return [max(left, 0), max(top, 0), min(right, SIZE[1]), min(bottom, SIZE[0])]


def same(found, expected):
    """The same boxes, scores and classes, whatever the order among equal scores."""
    expected = [e for e in expected if e[0][2] > e[0][0] and e[0][3] > e[0][1]]
    assert len(found) == len(expected) > 10
    got = sorted(zip(found.class_ids.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True))
    want = sorted((c, s, b) for b, s, c in expected)
    for (got_class, got_score, got_box), (want_class, want_score, want_box) in zip(got, want, strict=True):
        assert got_class == want_class
        assert got_score == pytest.approx(want_score, abs=1e-5)
        assert got_box == pytest.approx(want_box, abs=2e-3)


def maps(channels, strides=(16, 8), seed=3):
    generator = np.random.default_rng(seed)
    return [generator.normal(0, 2, (1, SIZE[0] // s, SIZE[1] // s, channels)).astype(np.float32) for s in strides]


def slow_anchor(outputs, version, classes):
    found = []
    for level in LEVELS:
        array = next(a[0] for a in outputs if a.shape[1] == SIZE[0] // level.stride)
        for row in range(array.shape[0]):
            for column in range(array.shape[1]):
                for number, (width, height) in enumerate(level.anchors):
                    t = array[row, column, number * (5 + classes) : (number + 1) * (5 + classes)].astype(float)
                    scores = [sigma(t[4]) * sigma(c) for c in t[5:]]
                    best = max(range(classes), key=lambda i: scores[i])
                    if scores[best] < 0.2:
                        continue
                    if version == "v3":
                        x, y = sigma(t[0]) + column, sigma(t[1]) + row
                        w, h = width * math.exp(t[2]), height * math.exp(t[3])
                    elif version == "v4":
                        k = level.scale_xy
                        x = sigma(t[0]) * k - (k - 1) / 2 + column
                        y = sigma(t[1]) * k - (k - 1) / 2 + row
                        w, h = width * math.exp(t[2]), height * math.exp(t[3])
                    else:
                        x, y = 2 * sigma(t[0]) - 0.5 + column, 2 * sigma(t[1]) - 0.5 + row
                        w, h = width * (2 * sigma(t[2])) ** 2, height * (2 * sigma(t[3])) ** 2
                    x, y = x * level.stride, y * level.stride
                    found.append((cut([x - w / 2, y - h / 2, x + w / 2, y + h / 2]), scores[best], best))
    return found


@pytest.mark.parametrize("version", ["v3", "v4", "v5"])
def test_anchor_versions_equal_the_loop(version):
    outputs = maps(2 * 8)
    levels = LEVELS if version == "v4" else tuple(AnchorLevel(lv.stride, lv.anchors) for lv in LEVELS)
    config = YoloAnchorConfig(SIZE, levels, 3, version, suppression=EVERYTHING)
    found = decode_yolo_anchor(outputs, config)
    same(found, slow_anchor(outputs, version, 3))
    again = decode_yolo_anchor(outputs[::-1], config)
    assert again.boxes.tolist() == found.boxes.tolist()


@pytest.mark.parametrize("version", ["v3", "v5"])
def test_activated_maps_give_the_same(version):
    """A network that applies the sigmoid itself: to everything in version 5, to all but the sizes in version 3."""
    outputs = maps(2 * 8)
    levels = tuple(AnchorLevel(lv.stride, lv.anchors) for lv in LEVELS)
    raw = decode_yolo_anchor(outputs, YoloAnchorConfig(SIZE, levels, 3, version, suppression=EVERYTHING))
    activated = [1 / (1 + np.exp(-a)) for a in outputs]
    if version == "v3":
        for before, after in zip(outputs, activated, strict=True):
            for number in range(2):
                after[..., number * 8 + 2 : number * 8 + 4] = before[..., number * 8 + 2 : number * 8 + 4]
    config = YoloAnchorConfig(SIZE, levels, 3, version, activated=True, suppression=EVERYTHING)
    got = decode_yolo_anchor(activated, config)
    np.testing.assert_allclose(got.boxes, raw.boxes, atol=1e-3)
    assert got.class_ids.tolist() == raw.class_ids.tolist()


def test_version_3_by_hand():
    """Zero logits in cell (row 1, column 2) at stride 16: centre (40, 24), size of the anchor, score 0.25."""
    array = np.full((4, 6, 7), -20, np.float32)
    array[1, 2] = 0
    config = YoloAnchorConfig((64, 96), (AnchorLevel(16, ((20, 10),)),), 2, suppression=Suppression(score=0.25))
    found = decode_yolo_anchor([array], config)
    assert found.boxes.tolist() == [[30, 19, 50, 29]]
    assert found.scores.tolist() == [0.25]
    assert found.class_ids.tolist() == [0]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_yolov8_equals_the_loop(apart, turned):
    bins, classes = 4, 3
    outputs = maps(4 * bins + classes)
    expected = []
    for array, stride in zip(outputs, (16, 8), strict=True):
        for row in range(array.shape[1]):
            for column in range(array.shape[2]):
                t = array[0, row, column].astype(float)
                scores = [sigma(c) for c in t[4 * bins :]]
                best = max(range(classes), key=lambda i: scores[i])
                if scores[best] < 0.2:
                    continue
                sides = []
                for side in range(4):
                    powers = [math.exp(v) for v in t[side * bins : (side + 1) * bins]]
                    sides.append(sum(i * p for i, p in enumerate(powers)) / sum(powers))
                x, y = column + 0.5, row + 0.5
                box = [x - sides[0], y - sides[1], x + sides[2], y + sides[3]]
                expected.append((cut([v * stride for v in box]), scores[best], best))
    if apart:
        parts = [(a[..., : 4 * bins], a[..., 4 * bins :]) for a in outputs]
        outputs = [part for pair in parts for part in (pair[::-1] if turned else pair)]
    elif turned:
        outputs = outputs[::-1]
    config = Yolov8Config(SIZE, classes, strides=(16, 8), bins=bins, suppression=EVERYTHING)
    same(decode_yolov8(outputs, config), expected)


def test_yolov8_with_as_many_classes_as_box_channels_takes_boxes_first():
    config = Yolov8Config((8, 8), classes=8, strides=(8,), bins=2, suppression=Suppression(score=0.9))
    boxes, classes = np.zeros((1, 1, 8), np.float32), np.full((1, 1, 8), 3, np.float32)
    assert decode_yolov8([boxes, classes], config).boxes.tolist() == [[0, 0, 8, 8]]
    assert len(decode_yolov8([classes, boxes], config)) == 0


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("activated", [False, True])
def test_yolox_equals_the_loop(apart, activated):
    classes = 3
    outputs = maps(5 + classes)
    expected = []
    for array, stride in zip(outputs, (16, 8), strict=True):
        for row in range(array.shape[1]):
            for column in range(array.shape[2]):
                t = array[0, row, column].astype(float)
                scores = [sigma(t[4]) * sigma(c) for c in t[5:]]
                best = max(range(classes), key=lambda i: scores[i])
                if scores[best] < 0.2:
                    continue
                x, y = (t[0] + column) * stride, (t[1] + row) * stride
                w, h = math.exp(t[2]) * stride, math.exp(t[3]) * stride
                expected.append((cut([x - w / 2, y - h / 2, x + w / 2, y + h / 2]), scores[best], best))
    if activated:
        outputs = [np.concatenate([a[..., :4], 1 / (1 + np.exp(-a[..., 4:]))], axis=-1) for a in outputs]
    if apart:
        outputs = [part for a in outputs for part in (a[..., 5:], a[..., :4], a[..., 4:5])]
    config = YoloxConfig(SIZE, classes, strides=(16, 8), activated=activated, suppression=EVERYTHING)
    same(decode_yolox(outputs, config), expected)


def test_limit_and_suppression_are_applied():
    config = YoloxConfig(SIZE, 3, strides=(16, 8), suppression=Suppression(score=0.2, iou=0.3, limit=4))
    found = decode_yolox(maps(8), config)
    assert len(found) == 4
    assert sorted(found.scores.tolist(), reverse=True) == found.scores.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_hostile_maps_give_finite_boxes_or_none(value):
    outputs = [np.full_like(array, value) for array in maps(8)]
    for found in (
        decode_yolox(outputs, YoloxConfig(SIZE, 3, strides=(16, 8), suppression=EVERYTHING)),
        decode_yolo_anchor(
            outputs,
            YoloAnchorConfig(SIZE, tuple(AnchorLevel(s, ((9, 9),)) for s in (16, 8)), 3, suppression=EVERYTHING),
        ),
        decode_yolov8(outputs, Yolov8Config(SIZE, 4, strides=(16, 8), bins=1, suppression=EVERYTHING)),
    ):
        assert np.isfinite(found.boxes).all()
        assert (found.boxes >= 0).all()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([np.zeros((1, 4, 6, 15), np.float32)], "maps of grid"),
        ([np.zeros((1, 4, 6, 16), np.float32), np.zeros((1, 5, 5, 16), np.float32)], "grids of strides"),
        ([np.zeros((2, 4, 6, 16), np.float32)], "one frame"),
        ([np.zeros((4, 6, 16), np.float32), np.zeros((8, 12, 15), np.float32)], "stride 8"),
        ([], "maps of grid"),
    ],
)
def test_maps_that_do_not_fit_are_refused(outputs, message):
    with pytest.raises(ShapeMismatch, match=message):
        decode_yolo_anchor(outputs, YoloAnchorConfig(SIZE, LEVELS, 3))


def test_channels_that_do_not_fit_are_refused():
    outputs = maps(9)
    with pytest.raises(ShapeMismatch, match="channels"):
        decode_yolov8(outputs, Yolov8Config(SIZE, 3, strides=(16, 8)))
    with pytest.raises(ShapeMismatch, match="channels"):
        decode_yolox(outputs, YoloxConfig(SIZE, 3, strides=(16, 8)))
