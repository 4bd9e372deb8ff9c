"""SSD, CenterNet and classification decoders against loops and numbers done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from openhailo.errors import ShapeMismatch
from openhailo.vision.decode import (
    CenterNetConfig,
    ClassifyConfig,
    SsdConfig,
    Suppression,
    centerface_config,
    decode_centernet,
    decode_classification,
    decode_ssd,
    ssd_priors,
)

EVERYTHING = Suppression(score=0.4, iou=1.0, limit=10_000)


def test_priors_by_hand():
    """Two levels: the first with three priors, the second with five ratios and one between 0.95 and 1."""
    priors = ssd_priors([(2, 2), (1, 1)])
    assert priors.shape == (2 * 2 * 3 + 6, 4)
    np.testing.assert_allclose(priors[0], [0.25, 0.25, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(priors[1], [0.25, 0.25, 0.2 * 2**0.5, 0.2 / 2**0.5], rtol=1e-6)
    np.testing.assert_allclose(priors[3], [0.75, 0.25, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(priors[12], [0.5, 0.5, 0.95, 0.95], rtol=1e-6)
    np.testing.assert_allclose(priors[-1], [0.5, 0.5, 0.95**0.5, 0.95**0.5], rtol=1e-6)
    assert ssd_priors([(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]).shape == (1917, 4)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("order", ["xywh", "yxhw"])
def test_ssd_equals_the_loop(activation, order):
    generator = np.random.default_rng(5)
    priors = ssd_priors([(3, 4), (2, 2)], reduced_first=False)
    boxes = [generator.normal(0, 1, (1, h, w, 6 * 4)).astype(np.float32) for h, w in ((3, 4), (2, 2))]
    classes = [generator.normal(0, 2, (1, h, w, 6 * 3)).astype(np.float32) for h, w in ((3, 4), (2, 2))]
    if activation == "none":
        classes = [1 / (1 + np.exp(-c)) for c in classes]
    config = SsdConfig((200, 300), priors, 2, activation=activation, box_order=order, suppression=EVERYTHING)
    found = decode_ssd(boxes, classes, config)

    expected = []
    rows = np.concatenate([b.reshape(-1, 4) for b in boxes]).astype(float)
    scores = np.concatenate([c.reshape(-1, 3) for c in classes]).astype(float)
    for prior, (a, b, c, d), raw in zip(priors.astype(float), rows, scores, strict=True):
        values = list(raw)
        if activation == "softmax":
            values = [math.exp(v) / sum(math.exp(u) for u in raw) for v in raw]
        elif activation == "sigmoid":
            values = [1 / (1 + math.exp(-v)) for v in raw]
        best = 1 if values[1] >= values[2] else 2
        if values[best] < 0.4:
            continue
        tx, ty, tw, th = (a, b, c, d) if order == "xywh" else (b, a, d, c)
        x, y = prior[0] + 0.1 * tx * prior[2], prior[1] + 0.1 * ty * prior[3]
        w, h = prior[2] * math.exp(0.2 * tw), prior[3] * math.exp(0.2 * th)
        box = [max(x - w / 2, 0) * 300, max(y - h / 2, 0) * 200, min(x + w / 2, 1) * 300, min(y + h / 2, 1) * 200]
        expected.append((values[best], best - 1, box))
    expected.sort(reverse=True)
    assert len(found) == len(expected) > 10
    np.testing.assert_allclose(found.scores, [e[0] for e in expected], atol=1e-5)
    assert found.class_ids.tolist() == [e[1] for e in expected]
    np.testing.assert_allclose(found.boxes, [e[2] for e in expected], atol=1e-3)


def test_ssd_maps_must_add_up_to_the_priors():
    config = SsdConfig((8, 8), ssd_priors([(2, 2)]), 1)
    with pytest.raises(ShapeMismatch, match="boxes"):
        decode_ssd([np.zeros((2, 2, 8), np.float32)], [np.zeros((2, 2, 6), np.float32)], config)
    with pytest.raises(ShapeMismatch, match="classes"):
        decode_ssd([np.zeros((2, 2, 12), np.float32)], [np.zeros((2, 2, 7), np.float32)], config)
    with pytest.raises(ShapeMismatch, match="boxes"):
        decode_ssd([], [], config)


def centernet_maps(classes):
    heat = np.zeros((6, 8, classes), np.float32)
    return heat, np.zeros((6, 8, 2), np.float32), np.zeros((6, 8, 2), np.float32)


def test_centernet_by_hand():
    """A peak in row 2, column 3 with offset (0.25, 0.5) and a size of 4 x 2 cells, at 4 pixels a cell."""
    heat, size, offset = centernet_maps(2)
    heat[2, 3, 1], heat[2, 4, 1], heat[3, 3, 1] = 0.9, 0.8, 0.7
    size[2, 3], offset[2, 3] = (4, 2), (0.25, 0.5)
    found = decode_centernet([heat, size, offset], CenterNetConfig((24, 32), 2, suppression=EVERYTHING))
    assert found.boxes.tolist() == [[5, 6, 21, 14]]
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.9)])


def test_centernet_peaks_equal_the_loop():
    generator = np.random.default_rng(11)
    heat = generator.normal(0, 2, (20, 30, 3)).astype(np.float32)
    size = np.ones((20, 30, 2), np.float32)
    config = CenterNetConfig((80, 120), 3, activated=False, size_unit="pixels", suppression=EVERYTHING)
    found = decode_centernet([heat, size, size * 0], config)
    peaks = []
    for row in range(20):
        for column in range(30):
            for kind in range(3):
                value = heat[row, column, kind]
                around = heat[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2, kind]
                if 1 / (1 + math.exp(-value)) > 0.4 and value == around.max():
                    box = [max(column * 4 - 0.5, 0), max(row * 4 - 0.5, 0), column * 4 + 0.5, row * 4 + 0.5]
                    peaks.append((value, kind, box))
    peaks.sort(reverse=True)
    assert len(peaks) > 20
    assert found.class_ids.tolist() == [p[1] for p in peaks]
    np.testing.assert_allclose(found.boxes, [p[2] for p in peaks], atol=1e-4)


def test_centerface_by_hand():
    """Maps hold y before x: log size (ln 5 high, ln 3 wide), offset (0.25, -0.5), landmarks in parts of the box."""
    heat, size, offset = centernet_maps(1)
    landmarks = np.zeros((6, 8, 10), np.float32)
    heat[2, 3] = 0.75
    size[2, 3] = (math.log(5), math.log(3))
    offset[2, 3] = (0.25, -0.5)
    landmarks[2, 3] = [0, 0, 0, 1, 0.5, 0.5, 1, 0, 1, 1]
    config = centerface_config((24, 32), Suppression(score=0.5))
    found = decode_centernet([heat, size, offset, landmarks], config)
    # centre: x = (3 + 0.5 - 0.5) * 4 = 12, y = (2 + 0.5 + 0.25) * 4 = 11; size: 12 wide, 20 high
    np.testing.assert_allclose(found.boxes, [[6, 1, 18, 21]], atol=1e-4)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[0], [[6, 1], [18, 1], [12, 11], [6, 21], [18, 21]], atol=1e-4)


def test_centernet_maps_must_fit():
    heat, size, offset = centernet_maps(2)
    config = CenterNetConfig((24, 32), 2)
    for outputs in (
        [heat, size],
        [heat, size, offset, offset],
        [size, heat[..., :1], offset],
        [heat, size[1:], offset],
    ):
        with pytest.raises(ShapeMismatch):
            decode_centernet(outputs, config)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_hostile_maps_give_finite_boxes_or_none(value):
    maps = [np.full((6, 8, c), value, np.float32) for c in (1, 2, 2, 10)]
    found = decode_centernet(maps, centerface_config((24, 32), EVERYTHING))
    assert np.isfinite(found.boxes).all()
    boxes, classes = np.full((2, 2, 12), value, np.float32), np.full((2, 2, 6), value, np.float32)
    found = decode_ssd([boxes], [classes], SsdConfig((8, 8), ssd_priors([(2, 2)]), 1))
    assert np.isfinite(found.boxes).all()


def test_classification_by_hand():
    logits = np.log(np.array([[1, 5, 3, 1]], np.float32))
    result = decode_classification([logits], ClassifyConfig(4, top=2)).with_labels(["a", "b"])
    np.testing.assert_allclose(result.scores, [0.5, 0.3], rtol=1e-5)
    assert result.labels == ("b", "class 2")
    background = decode_classification([logits], ClassifyConfig(3, offset=1, activation="sigmoid", top=1))
    assert (background.class_ids.tolist(), background.scores[0]) == ([0], pytest.approx(5 / 6))
    plain = decode_classification([logits[:, None, None]], ClassifyConfig(4, activation="none", top=9))
    assert plain.class_ids.tolist() == [1, 2, 0, 3]


def test_classification_survives_large_logits_and_checks_its_size():
    result = decode_classification([np.array([1e30, -1e30, 0], np.float32)], ClassifyConfig(3))
    assert result.scores.tolist() == [1, 0, 0]
    for outputs in ([], [np.zeros(4, np.float32)], [np.zeros(3, np.float32)] * 2):
        with pytest.raises(ShapeMismatch):
            decode_classification(outputs, ClassifyConfig(3))
