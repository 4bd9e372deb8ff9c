"""Masks, suppression of the chip's boxes, softmax and argmax."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.runtime.host_ops import op_rig as rig
from tests.unit.runtime.host_ops import slow_ops as slow

from openhailo.errors import InputError, InvalidHef
from openhailo.hef import ops as o
from openhailo.hef.enums import LogitsType, PadFormatOrder, PadFormatType
from openhailo.runtime.formats import FormatOrder, FormatType
from openhailo.runtime.host_ops import logits
from openhailo.runtime.host_ops.boxes import best, formed, from_classes
from openhailo.runtime.host_ops.masks import Prototypes, Span
from openhailo.runtime.host_ops.settings import NmsLimits

# --- masks ------------------------------------------------------------------------------------------------------------

IMAGE, MASKS = (24, 32), 4


def segmentation(seed, *, proto=(6, 8), anchors=((3, 4), (7, 5)), classes=2, most=3):
    """A file with one scale and prototypes, and one frame of each."""
    rng = np.random.default_rng(seed)
    entry = 5 + classes + MASKS
    out = rig.layer("net/out", (2, 3, len(anchors) * entry), zero_point=128.0, scale=1 / 24)
    prototypes = rig.layer("net/proto", (*proto, MASKS), zero_point=100.0, scale=1 / 40)
    decoder = o.YoloBboxDecoder(tuple(h for _, h in anchors), tuple(w for w, _ in anchors), 8, 1)
    info = o.YoloSegProtoInfo(MASKS, 4, "net/proto")
    method = o.YoloSegNmsOp(*map(float, IMAGE), (decoder,), info, 0.5)
    body = o.NmsOp(0.3, 0.6, most, classes, method=method)
    frames = {spec.name: rng.integers(0, 256, (1, *spec.shape), np.uint8) for spec in (out, prototypes)}
    return rig.file_of(body, [out, prototypes]), [out, prototypes], frames


def slow_boxes(specs, frames, anchors, classes=2):
    level = rig.slow_map(specs[0], frames["net/out"][0])
    return slow.yolov5_seg([(level, anchors)], classes, MASKS, IMAGE, 0.3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(6, 8), (24, 32), (30, 40), (1, 1)]))
def test_masks_of_boxes(seed, grid):
    """Prototypes smaller than the image, of its size, and larger: then pixels are averages."""
    anchors = ((3, 4), (7, 5))
    file, specs, frames = segmentation(seed, proto=grid)
    found = slow_boxes(specs, frames, anchors)
    assume(not slow.near(found, 0.6) and not any(abs(box.score - 0.3) < 1e-5 for box in found))
    port = rig.port_of(file, specs, frames)
    port.settings.max_accumulated_mask_size = 1 << 20
    (got,) = rig.run(port)
    kept = slow.suppress(found, 0.6)[:6]
    assume(all(abs(a - b) > 1e-6 for a, b in pairwise(sorted(box.score for box in found))))
    assert got.records["class_id"].tolist() == [box.class_id for box in kept]
    np.testing.assert_allclose(got.records["score"], [box.score for box in kept], rtol=1e-5)
    assert not got.truncated
    proto = rig.slow_map(specs[1], frames["net/proto"][0])
    for mask, kept_box, record in list(zip(got.masks, kept, got.records, strict=True))[:3]:
        corners = tuple(record[name] for name in ("y_min", "x_min", "y_max", "x_max"))
        np.testing.assert_allclose(corners, kept_box.corners, rtol=1e-5, atol=1e-6)
        box = kept_box._replace(corners=corners)  # what counts for whole pixels is float32
        height, width, values = slow.mask(box, proto, IMAGE, 0.5)
        assert mask.shape == (height, width)
        covered = np.zeros(mask.shape, bool)
        for place, value in values.items():
            assert mask[place] == (value > 0.5) or abs(value - 0.5) < 1e-4
            covered[place] = True
        assert not mask[~covered].any()


def test_masks_that_find_no_room():
    file, specs, frames = segmentation(7)
    port = rig.port_of(file, specs, frames)
    (whole,) = rig.run(port)
    assert len(whole) > 2
    assert port.settings.max_accumulated_mask_size == 2 * IMAGE[0] * IMAGE[1]
    first = whole.masks[0].size
    port.settings.max_proposals_total = len(whole)
    # Room for the first mask only, in a buffer that has to stay larger than what is written (runtime-behaviour.md 15).
    port.settings.max_accumulated_mask_size = 1
    assert len(rig.run(port)[0]) < len(whole)
    assert rig.run(port)[0].truncated
    port.settings.max_proposals_total = 1
    port.settings.max_accumulated_mask_size = first + 1
    (one,) = rig.run(port)
    assert (len(one), one.truncated) == (1, False)
    np.testing.assert_array_equal(one.masks[0], whole.masks[0])
    port.settings.max_accumulated_mask_size = first
    (none,) = rig.run(port)
    assert (len(none), none.truncated, none.masks) == (0, True, ())


def test_frames_without_boxes_have_no_masks():
    file, specs, frames = segmentation(7)
    port = rig.port_of(file, specs, frames)
    port.settings.score_threshold = 1.0
    (nothing,) = rig.run(port)
    assert (len(nothing), nothing.masks, nothing.truncated) == (0, (), False)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.25, 0.5, (2, 4, 2)),
        (-0.5, 0.5, (0, 5, 8)),
        (0.5, 1.5, (4, 8, 8)),
        (0.26, 0.51, (3, 5, 2)),
        (2.0, 3.0, (16, 16, 8)),
        (-3.0, -2.0, (0, 0, 8)),
        (0.5, 0.25, (4, 4, 0)),
        (float("nan"), 1.0, (0, 0, 0)),
        (0.0, float("inf"), (0, 0, 0)),
        (-3e38, 3e38, (0, 0, 0)),
    ],
)
def test_pixels_of_a_side(low, high, expected):
    with np.errstate(all="ignore"):
        assert tuple(Span.of(np.float32(low), np.float32(high), 8)) == expected


def test_masks_of_boxes_that_are_no_numbers_are_empty():
    file, _, frames = segmentation(7)
    description = rig.described(file)
    layer = next(each for each in description.layers if each.name == "net/proto")
    prototypes = Prototypes(layer, image=IMAGE, threshold=0.5)
    boxes = np.array([[0, 0, np.nan, 1], [0, 0, 1e30, 1e30], [0, 0, 0.5, 0.5]], np.float32)
    found = SimpleNamespace(boxes=boxes[[0, 2]], masks=np.zeros((2, MASKS), np.float32))
    masks, complete = prototypes.masks(found, frames["net/proto"][0], 1 << 20)
    assert ([mask.size for mask in masks], complete) == ([0, 12 * 16], True)
    found = SimpleNamespace(boxes=boxes[[1, 2]], masks=np.zeros((2, MASKS), np.float32))
    with np.errstate(all="ignore"):
        assert prototypes.masks(found, frames["net/proto"][0], 1 << 10)[1] is False


# --- boxes of the chip ------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([0.0, 0.25, 0.5, 2.0]), st.integers(1, 3))
def test_boxes_of_the_chip_are_filtered_and_suppressed(seed, classes, score, most):
    rng = np.random.default_rng(seed)
    sides = [rng.integers(0, 5, (rng.integers(0, 6), 5)).astype(np.float32) / 4 for _ in range(classes)]
    found = [
        slow.Box(tuple(map(float, row[:4])), row[4], number)
        for number, boxes in enumerate(sides)
        for row in boxes
        if row[4] >= score
    ]
    limits = NmsLimits(classes, score, 0.5, most, most * classes)
    order = FormatOrder.HAILO_NMS_BY_CLASS
    with np.errstate(all="ignore"):
        got = formed(best(from_classes(sides, score), limits, order), limits, order)
        kept = slow.suppress(found, 0.5)
    rig.assert_boxes(got, slow.by_class(kept, classes, most))


# --- logits -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 9)] * 3), st.booleans(), st.sampled_from([1, 2]))
def test_argmax_is_the_first_largest(seed, shape, rows_of_features, data_bytes):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 4, (2, *shape)).astype(np.uint8 if data_bytes == 1 else np.uint16)
    given_frames = (
        np.ascontiguousarray(frames.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2) if rows_of_features else frames
    )
    out = np.empty(frames.shape[:3], np.uint8)
    logits.argmax(given_frames, out)
    for index in np.ndindex(*out.shape):
        features = frames[index].tolist()
        assert out[index] == features.index(max(features))


@pytest.mark.parametrize(("features", "dtype"), [(256, np.uint8), (257, np.uint8), (300, np.uint16)])
def test_argmax_of_many_features(features, dtype):
    rng = np.random.default_rng(4)
    frames = rng.integers(0, np.iinfo(dtype).max + 1, (2, 3, features, 5)).astype(dtype).transpose(0, 1, 3, 2)
    out = np.empty((2, 3, 5), np.uint16)
    for wire in (frames, np.minimum(frames, 3), np.maximum(frames, 2) * 0, frames * 0 + np.iinfo(dtype).max):
        logits.argmax(wire, out)
        np.testing.assert_array_equal(out, np.ascontiguousarray(wire).argmax(axis=3))


def test_argmax_of_a_picture_is_done_by_pieces():
    frames = np.random.default_rng(1).integers(0, 256, (1, 300, 19, 500), np.uint8).transpose(0, 1, 3, 2)
    out = np.empty((1, 300, 500), np.uint8)
    logits.argmax(frames, out)
    np.testing.assert_array_equal(out, np.ascontiguousarray(frames).argmax(axis=3))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=8))
def test_softmax(values):
    got = np.array([values], np.float32)
    logits.softmax(got)
    powers = [np.exp(np.float64(v)) for v in values]
    np.testing.assert_allclose(got[0], [p / sum(powers) for p in powers], rtol=2e-5, atol=1e-12)


def test_softmax_of_numbers_that_the_original_cannot():
    values = np.array([[1e4, 1e4, -1e4]], np.float32)
    logits.softmax(values)
    assert values.tolist() == [[0.5, 0.5, 0.0]]


def logits_file(kind, spec, **pad):
    return rig.file_of(o.LogitsOp(kind), [spec], pad=o.Pad(200, "net/op", **pad))


@pytest.mark.parametrize("order", [FormatOrder.NHWC, FormatOrder.NHCW, FormatOrder.F8CR])
def test_argmax_of_every_device_order(order):
    """F8CR with features a multiple of 8 too: the original passes over the last 8 (hef.md 19.7)."""
    spec = rig.layer("net/map", (3, 4, 16), order=order)
    frame = np.random.default_rng(2).integers(0, 256, (2, 3, 4, 16), np.uint8)
    file = logits_file(LogitsType.ARGMAX, spec, format_order=PadFormatOrder.NHW)
    if order is FormatOrder.F8CR:
        wire = frame.reshape(2, 3, 4, 2, 8).transpose(0, 1, 3, 2, 4).reshape(2, -1)
        stream = SimpleNamespace(
            slots=SimpleNamespace(view=memoryview(bytearray(wire.tobytes())), stride=wire.shape[1])
        )
        port = rig.op_port(rig.described(file).host_ops[0], {"net/map": stream}, None)
    else:
        port = rig.port_of(file, [spec], {"net/map": frame})
    assert (port.infos[0].shape, port.infos[0].dtype) == ((3, 4), np.uint8)
    np.testing.assert_array_equal(rig.run(port, 2), frame.argmax(axis=3))


@pytest.mark.parametrize(
    ("features", "data_bytes", "asked", "expected"),
    [
        (4, 1, PadFormatType.AUTO, np.uint8),
        (4, 2, PadFormatType.AUTO, np.uint16),
        (300, 1, PadFormatType.AUTO, np.uint16),
        (4, 1, PadFormatType.UINT16, np.uint16),
        (4, 2, PadFormatType.UINT8, np.uint8),
    ],
)
def test_type_of_indices(features, data_bytes, asked, expected):
    spec = rig.layer("net/map", (1, 1, features), data_bytes=data_bytes, order=FormatOrder.NC)
    (op,) = rig.described(logits_file(LogitsType.ARGMAX, spec, format_type=asked)).host_ops
    assert op.dtype == expected


def test_softmax_gives_real_numbers_whatever_is_asked():
    spec = rig.layer("net/map", (2, 2, 4), zero_point=10.0, scale=0.5)
    file = logits_file(LogitsType.SOFTMAX, spec)
    frame = np.random.default_rng(2).integers(0, 40, (1, 2, 2, 4), np.uint8)
    port = rig.port_of(file, [spec], {"net/map": frame})
    sinks = port.begin(1, FormatType.AUTO)
    for out, read in sinks:
        read(out, 0, 1)
    (got,) = port.finish([out for out, _ in sinks], 1, False)
    powers = np.exp((frame[0].astype(np.float64) - 10) * 0.5)
    np.testing.assert_allclose(got, powers / powers.sum(axis=2, keepdims=True), rtol=1e-5)
    with pytest.raises(InputError, match="given as NHWC"):
        rig.port_of(file, [spec], {"net/map": frame}, FormatOrder.NHCW)


def test_iou_op_reads_boxes_only():
    body = o.NmsOp(0.5, 0.5, 3, 2, method=o.IouNmsOp())
    with pytest.raises(InvalidHef, match="boxes that the chip sorted out"):
        rig.described(rig.file_of(body, [rig.layer("net/map", (2, 2, 4))]))
