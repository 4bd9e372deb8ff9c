"""Each family against the slow version: drawn maps, thresholds, limits, backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.runtime.host_ops import op_rig as rig
from tests.unit.runtime.host_ops import slow_ops as slow

from openhailo.hef import ops as o
from openhailo.spec.program import FormatOrder

THRESHOLDS = st.sampled_from([0.0, 1 / 256, 0.25, 0.5, 0.6, 1.0, 2.0])
OVERLAPS = st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0])
LIMITS = st.integers(1, 5)


@st.composite
def frames(draw, spec, *, sparse=True):
    """One frame of integers: few values, many of them equal, so that scores tie."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    top = 256 if spec.data_bytes == 1 else 65536
    palette = rng.integers(0, top, draw(st.integers(1, 6)))
    frame = rng.choice(palette, spec.shape)
    if sparse and draw(st.booleans()):
        frame = np.where(rng.random(spec.shape) < 0.9, 0, frame)
    return frame.astype(np.uint8 if spec.data_bytes == 1 else np.uint16)


@st.composite
def layers(draw, name, shape, *, scale=(1 / 256,), zero=(0.0,), orders=(FormatOrder.NHCW, FormatOrder.NHWC)):
    data_bytes = draw(st.sampled_from([1, 1, 2]))
    factor = 1 if data_bytes == 1 else 256
    padded = (shape[0], shape[1] + draw(st.integers(0, 5)), shape[2])
    while padded[0] * padded[1] * padded[2] * data_bytes % 8:
        padded = (padded[0], padded[1] + 1, padded[2])
    return rig.layer(
        name,
        shape,
        zero_point=draw(st.sampled_from(zero)) * factor,
        scale=draw(st.sampled_from(scale)) / factor,
        data_bytes=data_bytes,
        order=draw(st.sampled_from(orders)),
        padded=padded,
    )


def body(method, classes, score=0.5, iou=0.5, most=3, background=None, decode_only=False):
    return o.NmsOp(
        nms_score_th=score,
        nms_iou_th=iou,
        max_proposals_per_class=most,
        classes=classes,
        background_removal=background is not None,
        background_removal_index=background or 0,
        bbox_decoding_only=decode_only,
        method=method,
    )


def check(file, specs, given_frames, found, classes, choices, background=None):
    _, iou, most = choices
    assume(not slow.near(found, iou))
    arrays = {spec.name: frame[None] for spec, frame in zip(specs, given_frames, strict=True)}
    port = rig.port_of(file, specs, arrays)
    kept = slow.suppress(found, iou)
    results = classes - (background is not None)
    rig.assert_boxes(rig.run(port)[0], slow.by_class(kept, results, most))
    ranked = rig.port_of(file, specs, arrays, FormatOrder.HAILO_NMS_BY_SCORE)
    ranked.settings.max_proposals_total = 2 * most
    records = rig.run(ranked)[0]
    best = kept[: 2 * most]
    assert records["class_id"].tolist() == [box.class_id for box in best]
    np.testing.assert_allclose(records["score"], [float(box.score) for box in best], rtol=1e-6)


@st.composite
def backgrounds(draw, classes):
    return draw(st.sampled_from([None, 0, classes - 1])) if classes > 1 else None


@settings(max_examples=200, deadline=None)
@given(st.data(), THRESHOLDS, OVERLAPS, LIMITS)
def test_yolov8(data, score, iou, most):
    classes, length = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    background = data.draw(backgrounds(classes))
    grids = [(3, 4), (2, 2)][: data.draw(st.integers(1, 2))]
    strides, specs, decoders = [8, 16], [], []
    for index, grid in enumerate(grids):
        specs.append(data.draw(layers(f"net/reg{index}", (*grid, 4 * length), scale=(1 / 16, 0.5), zero=(0.0, 100.0))))
        specs.append(data.draw(layers(f"net/cls{index}", (*grid, classes))))
        decoders.append(o.Yolov8BboxDecoder(strides[index], 2 * index + 1, 2 * index + 2))
    method = o.Yolov8NmsOp(24.0, 32.0, 0, tuple(decoders), length)
    drawn = [data.draw(frames(spec)) for spec in specs]
    maps = [rig.slow_map(spec, frame) for spec, frame in zip(specs, drawn, strict=True)]
    levels = [(maps[2 * i], maps[2 * i + 1], strides[i]) for i in range(len(grids))]
    found = slow.yolov8(levels, classes, (24, 32), length, score, background)
    file = rig.file_of(body(method, classes, score, iou, most, background), specs)
    check(file, specs, drawn, found, classes, (score, iou, most), background)


@settings(max_examples=200, deadline=None)
@given(st.data(), THRESHOLDS, OVERLAPS, LIMITS)
def test_yolov5(data, score, iou, most):
    classes = data.draw(st.integers(1, 3))
    background = data.draw(backgrounds(classes))
    anchors = data.draw(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3))
    grids = [(2, 3), (1, 2)][: data.draw(st.integers(1, 2))]
    specs = [
        data.draw(layers(f"net/out{i}", (*grid, len(anchors) * (5 + classes)), scale=(1 / 256, 1 / 128)))
        for i, grid in enumerate(grids)
    ]
    wide, high = tuple(w for w, _ in anchors), tuple(h for _, h in anchors)
    decoders = tuple(o.YoloBboxDecoder(high, wide, 8, 1 + i) for i in range(len(grids)))
    drawn = [data.draw(frames(spec)) for spec in specs]
    levels = [(rig.slow_map(spec, frame), anchors) for spec, frame in zip(specs, drawn, strict=True)]
    found = slow.yolov5(levels, classes, (24, 32), score, background)
    method = o.YoloNmsOp(24.0, 32.0, 0, decoders)
    file = rig.file_of(body(method, classes, score, iou, most, background), specs)
    check(file, specs, drawn, found, classes, (score, iou, most), background)


@settings(max_examples=200, deadline=None)
@given(st.data(), THRESHOLDS, OVERLAPS, LIMITS)
def test_yolox(data, score, iou, most):
    classes = data.draw(st.integers(1, 4))
    grid = (3, 4)
    specs = [
        data.draw(layers("net/reg", (*grid, 4), scale=(1 / 64,), zero=(0.0, 128.0))),
        data.draw(layers("net/obj", (*grid, 1))),
        data.draw(layers("net/cls", (*grid, classes))),
    ]
    decoder = o.YoloxBboxDecoder(stride=8, reg_pad_index=1, obj_pad_index=2, cls_pad_index=3)
    drawn = [data.draw(frames(spec)) for spec in specs]
    maps = [rig.slow_map(spec, frame) for spec, frame in zip(specs, drawn, strict=True)]
    found = slow.yolox([maps], classes, score)
    file = rig.file_of(body(o.YoloxNmsOp(24.0, 32.0, (decoder,)), classes, score, iou, most), specs)
    check(file, specs, drawn, found, classes, (score, iou, most))


@settings(max_examples=200, deadline=None)
@given(st.data(), THRESHOLDS, OVERLAPS, LIMITS, st.sampled_from([(0, 1, 2, 3), (1, 0, 3, 2), (0, 0, 0, 0)]))
def test_ssd(data, score, iou, most, places):
    classes = data.draw(st.integers(2, 4))
    background = data.draw(backgrounds(classes))
    size = st.sampled_from([0.1, 0.25, 0.5, 1.0])
    anchors = data.draw(st.lists(st.tuples(size, size), min_size=1, max_size=2))
    specs = [
        data.draw(layers("net/reg", (2, 3, 4 * len(anchors)), scale=(1 / 32,), zero=(0.0, 128.0))),
        data.draw(layers("net/cls", (2, 3, classes * len(anchors)))),
    ]
    wide, high = tuple(w for w, _ in anchors), tuple(h for _, h in anchors)
    decoder = o.SsdBboxDecoder(high, wide, reg_pad_index=1, cls_pad_index=2)
    method = o.SsdNmsOp(24.0, 32.0, 10, 5, *places, (decoder,))
    drawn = [data.draw(frames(spec)) for spec in specs]
    maps = [rig.slow_map(spec, frame) for spec, frame in zip(specs, drawn, strict=True)]
    used = places if any(places) else (0, 1, 2, 3)
    found = slow.ssd([(*maps, anchors)], classes, (10, 5), used, score, background)
    file = rig.file_of(body(method, classes, score, iou, most, background), specs)
    check(file, specs, drawn, found, classes, (score, iou, most), background)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_boxes_without_suppression(data):
    classes, length = 2, 3
    reg = data.draw(layers("net/reg", (2, 3, 4 * length), scale=(1 / 16,)))
    cls = data.draw(layers("net/cls", (2, 3, classes)))
    drawn = [data.draw(frames(spec)) for spec in (reg, cls)]
    maps = [rig.slow_map(spec, frame) for spec, frame in zip((reg, cls), drawn, strict=True)]
    method = o.Yolov8NmsOp(24.0, 32.0, 0, (o.Yolov8BboxDecoder(8, 1, 2),), length)
    file = rig.file_of(body(method, classes, decode_only=True), [reg, cls])
    port = rig.port_of(file, [reg, cls], {"net/reg": drawn[0][None], "net/cls": drawn[1][None]})
    assert port.infos[0].shape == (1, 6, 4 + classes)
    want = slow.yolov8_decoded([(*maps, 8)], classes, (24, 32), length)
    np.testing.assert_allclose(rig.run(port)[0], [want], rtol=1e-5, atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_boxes_of_anchors_without_suppression(data):
    classes, anchors = 2, [(10, 20), (5, 4)]
    spec = data.draw(layers("net/out", (2, 3, 2 * 7)))
    frame = data.draw(frames(spec))
    method = o.YoloNmsOp(24.0, 32.0, 0, (o.YoloBboxDecoder((20, 4), (10, 5), 8, 1),))
    file = rig.file_of(body(method, classes, decode_only=True), [spec])
    port = rig.port_of(file, [spec], {"net/out": frame[None]})
    want = slow.yolov5_decoded([(rig.slow_map(spec, frame), anchors)], classes, (24, 32))
    got = rig.run(port)[0]
    assert got.shape == port.infos[0].shape == (1, 12, 7)
    np.testing.assert_allclose(got, [want], rtol=1e-5, atol=1e-6)


def test_nothing_found_is_an_empty_result():
    reg, cls = rig.layer("net/reg", (2, 2, 16)), rig.layer("net/cls", (2, 2, 80))
    method = o.Yolov8NmsOp(16.0, 16.0, 0, (o.Yolov8BboxDecoder(8, 1, 2),), 4)
    arrays = {"net/reg": np.zeros((1, 2, 2, 16), np.uint8), "net/cls": np.zeros((1, 2, 2, 80), np.uint8)}
    file = rig.file_of(body(method, 80), [reg, cls])
    (result,) = rig.run(rig.port_of(file, [reg, cls], arrays))
    assert [boxes.shape for boxes in result] == [(0, 5)] * 80
    (records,) = rig.run(rig.port_of(file, [reg, cls], arrays, FormatOrder.HAILO_NMS_BY_SCORE))
    assert records.shape == (0,)


@pytest.mark.parametrize("scale", [3.0, 1e30])
def test_distributions_beyond_the_range_of_exponentials(scale):
    """The original overflows there; the mean is that of the largest value."""
    reg, cls = rig.layer("net/reg", (1, 1, 16), scale=scale), rig.layer("net/cls", (1, 1, 2))
    method = o.Yolov8NmsOp(16.0, 16.0, 0, (o.Yolov8BboxDecoder(8, 1, 2),), 4)
    frame = np.zeros((1, 1, 1, 16), np.uint8)
    frame[0, 0, 0, [1, 6, 8, 15]] = 255
    arrays = {"net/reg": frame, "net/cls": np.full((1, 1, 1, 2), 200, np.uint8)}
    (result,) = rig.run(rig.port_of(rig.file_of(body(method, 2), [reg, cls]), [reg, cls], arrays))
    np.testing.assert_allclose(result[0][0, :4], [0.25 - 1.0, 0.25 - 0.5, 0.25 + 1.5, 0.25 + 0.0], atol=1e-6)
