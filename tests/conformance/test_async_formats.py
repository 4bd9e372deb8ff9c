"""Bindings and virtual streams of unusual inputs and outputs: boxes, shared streams, images in planes."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.frames.devices import open_several

from openhailo.errors import InputError
from openhailo.hef import model as hm
from openhailo.runtime.formats import FormatOrder, FormatType
from openhailo.runtime.host_ops.layouts import DETECTION
from openhailo.runtime.vstreams import InferVStreams, InputVStreams, OutputVStreams

_spec = importlib.util.spec_from_file_location("streams_rig", Path(__file__).with_name("test_streams.py"))
assert _spec is not None and _spec.loader is not None
rig = sys.modules["streams_rig"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

CLASSES, MOST, COUNT = 3, 6, 40
WAIT_S = 60.0


class Numbered:
    """Stands for silicon: what it sends depends on the frame's first pixel, whichever device computes it."""

    def __init__(self, frames):
        self.sent = [rig.sent(groups, 0) for groups in frames]

    def __call__(self, inputs, frame):
        return {1: self.sent[inputs[0][0]]}


def numbered_pixels(count=COUNT):
    pixels = rig.frames_of((2, 4, 1), count)
    pixels[:, 0, 0, 0] = np.arange(count)
    return pixels


def boxes_with_area(count=COUNT):
    frames = rig.random_frames(count, CLASSES, MOST)
    for groups in frames:
        for boxes in groups:
            boxes[:, :4] = np.sort(boxes[:, :4].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return frames


@pytest.fixture(params=[1, 2], ids=["one device", "two devices"])
def vdevice(request):
    with open_several(request.param) as made:
        yield made


def assert_same_boxes(got, want, scale=1 / 4096):
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, np.asarray(theirs, np.float32).reshape(-1, 5) * np.float32(scale), rtol=1e-6)


def test_boxes_of_the_chip_are_packed_by_class(vdevice, nets):
    frames, pixels = rig.random_frames(COUNT, CLASSES, MOST), numbered_pixels()
    file = rig.box_file(nets, rig.box_layer("net/boxes", 1, CLASSES, MOST))
    model = vdevice.create_infer_model(file, reference=Numbered(frames))
    (output,) = model.outputs
    assert output.is_boxes and output.nms is None
    assert (output.shape, output.type) == ((CLASSES * (1 + 5 * MOST),), FormatType.FLOAT32)
    with pytest.raises(InputError, match="boxes are FLOAT32"):
        output.set_format_type(FormatType.UINT16)
    with pytest.raises(InputError, match="by class only"):
        output.set_format_order(FormatOrder.HAILO_NMS_BY_SCORE)
    with model.configure() as configured:
        buffer = np.full(output.shape, -1, np.float32)
        configured.run(configured.create_bindings({"x": pixels[7]}, {"net/boxes": buffer}))
        at = 0
        for boxes in frames[7]:
            assert buffer[at] == len(boxes)
            expected = boxes.astype(np.float32) * np.float32(1 / 4096)
            np.testing.assert_array_equal(buffer[at + 1 : at + 1 + boxes.size].reshape(-1, 5), expected)
            at += 1 + boxes.size
        results = configured.submit(pixels).result(WAIT_S)["net/boxes"]
        for got, want in zip(results, frames, strict=True):
            assert_same_boxes(got, want)
        single = configured.submit(pixels[3]).result(WAIT_S)["net/boxes"]
        assert_same_boxes(single, frames[3])
        with InferVStreams(configured.group) as pipeline:
            assert_same_boxes(pipeline.infer({"net/x": pixels[:5]})["net/boxes"][4], frames[4])


def by_score(groups, scale=1 / 4096):
    best = [
        (*(box * np.float32(scale) for box in boxes), index)
        for index, group in enumerate(rig.suppressed_slowly(groups, scale, 0.125, 0.5, MOST))
        for boxes in [np.array(group, np.float32).reshape(-1, 5) / np.float32(scale)]
        for boxes in boxes
    ]
    return sorted(best, key=lambda found: -found[4])


def test_boxes_that_the_host_suppresses_by_class_and_by_score(vdevice, nets):
    frames, pixels = boxes_with_area(), numbered_pixels()
    file = rig.with_iou_op(
        rig.box_file(nets, rig.box_layer("net/boxes", 1, CLASSES, MOST)), ["net/boxes"], classes=CLASSES
    )
    model = vdevice.create_infer_model(file, reference=Numbered(frames))
    output = model.output()
    assert output.shape == (CLASSES * (1 + 5 * 3),)
    output.nms.score_threshold = 0.125
    output.nms.max_proposals_per_class = MOST
    assert output.frame_bytes == 4 * CLASSES * (1 + 5 * MOST)
    with model.configure() as configured:
        for got, groups in zip(configured.submit(pixels).result(WAIT_S)["net/best"], frames, strict=True):
            assert_same_boxes(got, rig.suppressed_slowly(groups, 1 / 4096, 0.125, 0.5, MOST), 1)
        with InputVStreams(configured.group) as inputs, OutputVStreams(configured.group) as outputs:
            inputs.get().send(pixels[:4])
            first = [outputs.get().recv() for _ in range(4)]
            assert_same_boxes(first[2], rig.suppressed_slowly(frames[2], 1 / 4096, 0.125, 0.5, MOST), 1)
            outputs.get().nms.max_proposals_per_class = 9
            assert outputs.get().shape == (CLASSES * (1 + 5 * 9),)
            inputs.get().send(pixels[5])
            assert_same_boxes(outputs.get().recv(), rig.suppressed_slowly(frames[5], 1 / 4096, 0.125, 0.5, 9), 1)
            outputs.get().nms.score_threshold = 2.0
            for _ in range(2 * len(vdevice.devices)):
                inputs.get().send(pixels[2])
                assert [len(boxes) for boxes in outputs.get().recv()] == [0] * CLASSES
    output.set_format_order(FormatOrder.HAILO_NMS_BY_SCORE)
    assert (output.nms.score_threshold, output.type) == (0.125, FormatType.UINT8)
    output.nms.max_proposals_total = CLASSES * MOST
    assert output.shape == (2 + DETECTION.itemsize * CLASSES * MOST,)
    with model.configure() as configured:
        results = configured.submit(pixels).result(WAIT_S)["net/best"]
        for got, groups in zip(results, frames, strict=True):
            want = by_score(groups)
            assert [int(found["class_id"]) for found in got] == [found[5] for found in want]
            np.testing.assert_allclose([found["score"] for found in got], [found[4] for found in want], rtol=1e-6)


def test_outputs_that_share_a_stream_have_types_of_their_own(vdevice, nets):
    net = nets.single({"x": (5, 5, 3)}, {"raw": (4, 56, 1), "z": (1, 1, 10)})
    narrow = rig.part("net/narrow", (4, 6, 3), (4, 8, 3), 1, nets.quant)
    tall = rig.part("net/tall", (8, 7, 2), (8, 8, 2), 0, hm.QuantInfo(9.0, 2.0, 0.0, 1.0))

    def change(layers):
        inputs, raw, rest = layers
        return inputs, replace(raw, name="net/mux", mux=hm.MuxInfo(4, (1, 2), (narrow, tall))), rest

    frames = rig.frames_of((5, 5, 3), 40)
    want = nets.expected(net.model, {"x": frames})
    raw = want["raw"].reshape(40, 4, 56)
    want_narrow = raw[:, :, :24].reshape(40, 4, 3, 8).transpose(0, 1, 3, 2)[:, :, :6]
    want_tall = raw[:, :, 24:].reshape(40, 8, 8, 2)[:, :, :7]
    model = vdevice.create_infer_model(rig.with_layers(net.hef, change, order=["net/tall", "net/z", "net/narrow"]))
    model.output("tall").set_format_type(FormatType.FLOAT32)
    model.output("narrow").set_format_order(FormatOrder.NCHW)
    assert [stream.shape for stream in model.outputs] == [(8, 7, 2), (10,), (3, 4, 6)]
    with model.configure() as configured:
        got = configured.submit(frames).result(WAIT_S)
    np.testing.assert_array_equal(got["net/tall"], (want_tall.astype(np.float32) - 9) * 2)
    np.testing.assert_array_equal(got["net/narrow"], want_narrow.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(got["net/z"], want["z"])


def test_an_image_in_planes_is_one_buffer(vdevice, nets):
    shapes = [(6, 8, 1), (3, 4, 2)]
    net = nets.single({"p0": shapes[0], "p1": shapes[1]}, {"y": (1, 1, 16)})

    def change(layers):
        planes = tuple(replace(layer, switch=None) for layer in layers[:-1])
        info = hm.PlanesInfo(hm.PlanesFormat.NV12, planes)
        return hm.EdgeLayer("net/image", rig.H2D, hm.Shape(*shapes[0]), hm.Shape(), planes=info), layers[-1]

    images = rig.frames_of((9, 8), 20)
    flat = images.reshape(20, -1)
    planes = {"p0": flat[:, :48].reshape(20, *shapes[0]), "p1": flat[:, 48:].reshape(20, *shapes[1])}
    want = nets.expected(net.model, planes)["y"]
    model = vdevice.create_infer_model(rig.with_layers(net.hef, change))
    assert (model.input().name, model.input().shape, model.input().order) == ("net/image", (9, 8), FormatOrder.NV12)
    with pytest.raises(InputError, match="NV12 only"):
        model.input().set_format_order(FormatOrder.NHWC)
    with model.configure() as configured:
        out = np.zeros(16, np.uint8)
        configured.run(configured.create_bindings({"image": images[4]}, {"y": out}))
        np.testing.assert_array_equal(out, want[4])
        np.testing.assert_array_equal(configured.submit(images).result(WAIT_S)["net/y"], want)
