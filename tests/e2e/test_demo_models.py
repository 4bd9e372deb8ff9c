"""The demo models: the device gives ONNX Runtime's bits, and the photos show what they show."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import onnxruntime
import pytest

import openhailo
from openhailo.compiler import CompiledModel, compile_model
from openhailo.errors import AssetUnavailable
from openhailo.pipeline.catalogue import MODELS, PHOTOS
from openhailo.pipeline.models import demo_calibration, demo_model, demo_photos, demo_task
from openhailo.runtime.device import Device
from openhailo.twin.core import make_session_options
from openhailo.vision.images import load_image

pytestmark = pytest.mark.slow


@cache
def compiled(name: str) -> CompiledModel:
    try:
        return compile_model(demo_model(name), name=name, calibration=demo_calibration(name))
    except AssetUnavailable as error:
        pytest.skip(f"demo files are neither cached nor reachable: {error}")


@pytest.fixture
def device() -> Iterator[Device]:
    with openhailo.open("twin:") as device:
        yield device


@pytest.mark.parametrize("name", MODELS)
def test_the_device_computes_what_onnx_runtime_computes(name: str, device: Device) -> None:
    model = compiled(name)
    network = device.load(model.hef_bytes)
    session = onnxruntime.InferenceSession(model.quantized_model.SerializeToString(), make_session_options())
    task, entry = demo_task(name), session.get_inputs()[0]
    for path in demo_photos().values():
        array, _ = task.preprocess(load_image(path))
        expected = session.run(None, {entry.name: array})
        seen = network(array, raw=True)
        for output, wanted in zip(session.get_outputs(), expected, strict=True):
            np.testing.assert_array_equal(seen[output.name].reshape(wanted.shape), wanted)


@pytest.mark.parametrize("photo", PHOTOS)
def test_the_detector_finds_what_the_photo_shows(photo: str, device: Device) -> None:
    task = demo_task("yolov3-tiny")
    found = task.run(load_image(demo_photos()[photo]), device.load(compiled("yolov3-tiny").hef_bytes))
    assert PHOTOS[photo].shows in {item["label"] for item in found.to_list()}


def test_the_face_detector_finds_the_astronauts_face(device: Device) -> None:
    task = demo_task("centerface")
    found = task.run(load_image(demo_photos()["astronaut"]), device.load(compiled("centerface").hef_bytes)).to_list()
    assert len(found) == 1
    left, top, right, bottom = found[0]["box"]
    assert left < 225 < right, "the face is around column 225"
    assert top < 120 < bottom, "and row 120"


def test_the_classifier_knows_an_espresso_when_it_sees_one(device: Device) -> None:
    task = demo_task("efficientnet-lite0")
    network = device.load(compiled("efficientnet-lite0").hef_bytes)
    found = task.run(load_image(demo_photos()["coffee"]), network).to_list()
    assert found[0]["label"] == "espresso"


def test_every_frame_crosses_the_link(device: Device) -> None:
    model = compiled("yolov3-tiny")
    network = device.load(model.hef_bytes)
    frames = np.zeros((5, *network.inputs[0].shape), np.uint8)
    network(frames)
    statistics = device.link.statistics()
    assert statistics.transfers_to_device == 5
    assert statistics.transfers_from_device == 5 * len(network.outputs)
    assert statistics.descriptors_to_device == 5 * -(-frames[0].size // 512)
