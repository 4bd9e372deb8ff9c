"""Boxes: by class, by score, with masks, as lists and as arrays (pyhailort-api.md 14)."""

from __future__ import annotations

import math

import numpy as np
import pytest

import openhailo
from hailo_platform import (
    HEF,
    FormatOrder,
    FormatType,
    HailoRTException,
    HailoSchedulingAlgorithm,
    InferVStreams,
    InputVStreamParams,
    InputVStreams,
    OutputVStreamParams,
    OutputVStreams,
    VDevice,
)
from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort import pyhailort as api

UTILS = api.HailoRTTransformUtils


@pytest.fixture
def vdevice():
    params = VDevice.create_params()
    params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
    with VDevice(params) as opened:
        yield opened


@pytest.fixture(scope="module")
def images(models):
    return models.pixels(4, seed=9)


@pytest.fixture(scope="module")
def expected(models, images):
    """Boxes of each class, for each image, by openhailo itself."""
    with openhailo.open("twin:") as device:
        (found,) = device.load(models.boxes)(images).values()
    assert any(len(boxes) for frame in found for boxes in frame)
    return found


def same(found, wanted):
    for seen, boxes in zip(found, wanted, strict=True):
        assert seen.shape == boxes.shape
        np.testing.assert_array_equal(seen, boxes)


def run(vdevice, path, image, order=None, dtype=np.float32, settings=()):
    """Run an image through a model; return its output's bindings."""
    model = vdevice.create_infer_model(path)
    output = model.output()
    if order is not None:
        output.set_format_order(order)
    for name, value in settings:
        getattr(output, f"set_nms_{name}")(value)
    assert output.is_nms
    configured = model.configure()
    bindings = configured.create_bindings(output_buffers={output.name: np.empty(output.shape, dtype)})
    bindings.input().set_buffer(image)
    configured.run([bindings], 10_000)
    return bindings.output()


def test_bindings_by_class(vdevice, models, images, expected):
    output = run(vdevice, models.boxes, images[0])
    same(output.get_buffer(), expected[0])
    assert output.get_buffer(None).shape == (models.classes * (1 + 5 * 6),)
    dense = output.get_buffer(tf_format=True)
    assert dense.shape == (models.classes, 5, 6)
    for boxes, rows in zip(expected[0], dense, strict=True):
        np.testing.assert_array_equal(rows[:, : len(boxes)].T, boxes)
        assert not rows[:, len(boxes) :].any()


def test_bindings_by_score(vdevice, models, images, expected):
    output = run(vdevice, models.boxes, images[0], FormatOrder.HAILO_NMS_BY_SCORE, np.uint8)
    found = output.get_buffer()
    scores = [detection.score for detection in found]
    assert scores == sorted(scores, reverse=True)
    assert len(found) == sum(map(len, expected[0]))
    for detection in found:
        corners = (detection.y_min, detection.x_min, detection.y_max, detection.x_max)
        rows = expected[0][detection.class_id]
        assert any(np.array_equal(row[:4], np.float32(corners)) for row in rows)
    with pytest.raises(HailoRTException, match="TF format"):
        output.get_buffer(tf_format=True)
    with pytest.raises(HailoRTException, match="uint8"):
        output.set_buffer(np.empty(10, np.float32))


def test_thresholds_of_a_model(vdevice, models, images):
    settings = (("score_threshold", 0.55), ("iou_threshold", 0.3), ("max_proposals_per_class", 1))
    output = run(vdevice, models.boxes, images[0], settings=settings)
    assert output.get_buffer(None).shape == (models.classes * (1 + 5),)
    for boxes in output.get_buffer():
        assert len(boxes) <= 1 and all(score >= 0.55 for score in boxes[:, 4])


def test_a_limit_that_the_order_lacks(vdevice, models, images):
    settings = [("max_proposals_per_class", 3)]
    with pytest.raises(api.HailoRTInvalidArgumentException):
        run(vdevice, models.boxes, images[0], FormatOrder.HAILO_NMS_BY_SCORE, np.uint8, settings)


def test_masks(vdevice, models, images):
    with openhailo.open("twin:") as device:
        (wanted,) = device.load(models.masks)(images[1]).values()
    assert len(wanted), "the example has boxes"
    output = run(vdevice, models.masks, images[1], dtype=np.uint8)
    found = output.get_buffer()
    for detection, record, mask in zip(found, wanted.records, wanted.masks, strict=True):
        assert (detection.class_id, detection.score) == (record["class_id"], record["score"])
        corners = (detection.y_min, detection.x_min, detection.y_max, detection.x_max)
        assert corners == tuple(float(record[name]) for name in ("y_min", "x_min", "y_max", "x_max"))
        np.testing.assert_array_equal(detection.mask, mask.reshape(-1))
        height = math.ceil((detection.y_max - detection.y_min) * 32)
        assert detection.mask.size == height * math.ceil((detection.x_max - detection.x_min) * 32)
    dense = output.get_buffer(tf_format=True)
    assert dense.shape == (1, 32 * 32 + 6, models.classes * 4)
    assert dense[0, 4, 0] == np.float32(found[0].score)
    assert set(np.unique(dense[0, 6:])) <= {0.0, 1.0}


def test_the_room_for_masks(vdevice, models, images):
    output = run(vdevice, models.masks, images[1], None, np.uint8, [("max_accumulated_mask_size", 64)])
    assert output.get_buffer(None).shape == (2 + 38 * models.classes * 4 + 64,)
    found = output.get_buffer()
    assert found and 2 + sum(38 + detection.mask.size for detection in found) <= output.get_buffer(None).size


# --- the older interface ----------------------------------------------------------------------------------------------


@pytest.fixture
def network(vdevice, models):
    return vdevice.configure(HEF(models.boxes))[0]


@pytest.mark.parametrize("tf_nms_format", [False, True])
def test_a_batch(network, models, images, expected, tf_nms_format):
    ins, outs = InputVStreamParams.make(network), OutputVStreamParams.make(network)
    with InferVStreams(network, ins, outs, tf_nms_format=tf_nms_format) as pipeline:
        (found,) = pipeline.infer(images).values()
        pipeline.set_nms_score_threshold(0.99)
        pipeline.set_nms_iou_threshold(0.5)
        (fewer,) = pipeline.infer(images).values()
    if tf_nms_format:
        assert found.shape == (4, models.classes, 5, 6)
        assert [[int(np.count_nonzero(rows[4])) for rows in frame] for frame in found] == [
            [len(boxes) for boxes in frame] for frame in expected
        ]
        return
    assert isinstance(found, list)
    for frame, wanted in zip(found, expected, strict=True):
        same(frame, wanted)
    assert all((boxes[:, 4] >= 0.99).all() for frame in fewer for boxes in frame)


def test_frame_by_frame(network, models, images, expected):
    ins, outs = InputVStreamParams.make(network), OutputVStreamParams.make(network)
    with InputVStreams(network, ins) as inputs, OutputVStreams(network, outs) as outputs:
        boxes = outputs.get()
        assert (boxes.shape, boxes.dtype) == ([models.classes * (1 + 5 * 6)], np.float32)
        assert boxes.output_order == FormatOrder.HAILO_NMS_BY_CLASS
        inputs.get().send(images[:2])
        same(boxes.recv(), expected[0])
        same(boxes.recv(), expected[1])
        boxes.set_nms_max_proposals_per_class(6)
        boxes.set_nms_iou_threshold(0.5)
        boxes.set_nms_score_threshold(0.99)
        inputs.get().send(images[:1])
        assert all((rows[:, 4] >= 0.99).all() for rows in boxes.recv())
    with InputVStreams(network, ins) as inputs, OutputVStreams(network, outs, tf_nms_format=True) as outputs:
        inputs.get().send(images[:1])
        assert outputs.get().recv().shape == (models.classes, 5, 6)


def test_masks_of_the_older_interface(vdevice, models, images):
    network = vdevice.configure(HEF(models.masks))[0]
    ins, outs = InputVStreamParams.make(network), OutputVStreamParams.make(network, format_type=FormatType.AUTO)
    with InferVStreams(network, ins, outs) as pipeline:
        (found,) = pipeline.infer(images[:2]).values()
    with InferVStreams(network, ins, outs, True) as pipeline:
        (dense,) = pipeline.infer(images[:2]).values()
    assert len(found) == 2 and all(detection.mask.dtype == np.uint8 for detection in found[1])
    assert dense.shape == (2, 1, 32 * 32 + 6, models.classes * 4)
    for tf_format in (False, True):
        with InputVStreams(network, ins) as inputs, OutputVStreams(network, outs, tf_format) as outputs:
            inputs.get().send(images[1:2])
            frame = outputs.get().recv()
            outputs.get().set_nms_max_accumulated_mask_size(2048)
        if tf_format:
            np.testing.assert_array_equal(frame, dense[1])
        else:
            assert [detection.score for detection in frame] == [detection.score for detection in found[1]]


# --- packed buffers ---------------------------------------------------------------------------------------------------


def packed(*classes):
    parts = [np.concatenate([[len(boxes)], np.reshape(boxes, -1)]) for boxes in classes]
    return np.concatenate([*parts, np.zeros(10)]).astype(np.float32)


def test_converters():
    boxes = np.arange(10, dtype=np.float32).reshape(2, 5)
    raw = packed(boxes, boxes[:0], boxes[:1])
    found = UTILS.output_raw_buffer_to_nms_format(raw[None], 3)
    same(found[0], [boxes, boxes[:0], boxes[:1]])
    assert (found[0][1].shape, found[0][1].dtype) == ((0, 5), np.float64)
    dense = UTILS.output_raw_buffer_to_nms_tf_format(raw[None], [1, 3, 5, 4], np.float32, np.full(5, -1, np.float32))
    assert dense.shape == (1, 3, 5, 4)
    np.testing.assert_array_equal(dense[0, 0, :, :2].T, boxes)
    assert (dense[0, 1] == -1).all()


def test_a_count_that_is_one_too_large():
    record = np.zeros(1, [("box", "<f4", 4), ("score", "<f4"), ("class_id", "<u2")])
    record["score"], record["class_id"] = 0.5, 7
    raw = np.concatenate([np.array([2], "<u2").view(np.uint8), record.view(np.uint8)])
    (detection,) = bound.convert_nms_by_score_buffer_to_detections(raw)
    assert (detection.score, detection.class_id) == (0.5, 7)
    with pytest.raises(bound.HailoRTStatusException):
        bound.convert_nms_by_score_buffer_to_detections(np.zeros(1, np.uint8))


def test_information_of_outputs(network):
    outs = OutputVStreamParams.make(network)
    with OutputVStreams(network, outs) as outputs:
        utils = outputs.get()._output_layer_utils
        assert utils.is_nms and utils.output_tensor_info == (utils.output_shape, np.float32)
        np.testing.assert_array_equal(utils.quantized_empty_bbox, np.zeros(5, np.float32))
        assert utils.tf_nms_fomrat_shape == [3, 5, 6]
        with pytest.raises(HailoRTException, match="No vstream"):
            utils._get_vstream_info("", "nothing")
