"""The demo models in float, straight through ONNX Runtime: what they find in the demo photos.

These tests use what the cache holds and are skipped where it holds nothing: `make demo` or
`python -m openhailo.pipeline` fills it.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from openhailo.errors import AssetUnavailable, ModelInvalid
from openhailo.pipeline.assets import ASSETS
from openhailo.pipeline.catalogue import MODELS, PHOTOS
from openhailo.pipeline.efficientnet import build_efficientnet_lite0
from openhailo.pipeline.models import convert, demo_calibration, demo_model, demo_photos, demo_task, find_model
from openhailo.vision.images import load_image

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")


def results(name):
    """Run a demo model on every photo: photo -> result."""
    try:
        path, task, photos = demo_model(name, offline=True), demo_task(name, offline=True), demo_photos(offline=True)
    except AssetUnavailable as missing:
        pytest.skip(str(missing))
    session = onnxruntime.InferenceSession(str(path))
    properties = session.get_modelmeta().custom_metadata_map
    preprocess = json.loads(properties["openhailo.preprocess"])
    assert preprocess["color"] == task.preprocessing.color

    def infer(array):
        tensor = (array.astype(np.float32) - preprocess["mean"][0]) / preprocess["std"][0]
        values = session.run(None, {session.get_inputs()[0].name: tensor.transpose(0, 3, 1, 2)})
        outputs = [value.transpose(0, 2, 3, 1) if value.ndim == 4 else value for value in values]
        return {entry.name: value for entry, value in zip(session.get_outputs(), outputs, strict=True)}

    return {photo: task.run(load_image(path), infer) for photo, path in photos.items()}


def overlap(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    inner = max(width, 0) * max(height, 0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return inner / (areas - inner)


@pytest.mark.slow
def test_the_detector_finds_what_each_photo_shows():
    """The boxes were read off the photos by eye."""
    found = results("yolov3-tiny")
    truth = {
        "astronaut": (0, 0, 430, 512),
        "chelsea": (0, 0, 440, 300),
        "coffee": (165, 15, 430, 320),
        "motorcycle": (100, 80, 670, 450),
    }
    for photo, row in PHOTOS.items():
        assert set(found[photo].labels) == {row.shows}
        assert max(overlap(box, truth[photo]) for box in found[photo].boxes) > 0.6


@pytest.mark.slow
def test_the_face_detector_finds_one_face_with_its_landmarks():
    found = results("centerface")
    assert {photo: len(result) for photo, result in found.items()} == {
        "astronaut": 1,
        "chelsea": 0,
        "coffee": 0,
        "motorcycle": 0,
    }
    face = found["astronaut"]
    assert overlap(face.boxes[0], (178, 65, 272, 178)) > 0.8
    left_eye, right_eye, nose, left_mouth, right_mouth = face.keypoints[0].tolist()
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.slow
def test_the_classifier_names_the_cat_the_coffee_and_the_motorcycle():
    found = results("efficientnet-lite0")
    assert found["coffee"].labels[0] == "espresso"
    assert found["coffee"].scores[0] > 0.9
    assert found["motorcycle"].labels[0] in {"moped", "motor scooter"}
    # ids 281 to 285 are the domestic cats of ImageNet
    cats = [
        score for i, score in zip(found["chelsea"].class_ids, found["chelsea"].scores, strict=True) if 281 <= i <= 285
    ]
    assert sum(cats) > 0.85


@pytest.mark.slow
def test_every_model_is_static_and_of_the_catalogue_s_size():
    for name, row in MODELS.items():
        try:
            model = onnx.load(str(demo_model(name, offline=True)))
        except AssetUnavailable as missing:
            pytest.skip(str(missing))
        (entry,) = model.graph.input
        assert [dim.dim_value for dim in entry.type.tensor_type.shape.dim] == [1, 3, *row.preprocessing.input_size]
        assert 11 <= model.opset_import[0].version <= 21
        assert not row.outputs or [value.name for value in model.graph.output] == list(row.outputs)
        for value in model.graph.output:
            assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim)


@pytest.mark.slow
def test_calibration_frames_are_what_the_network_gets():
    try:
        frames = demo_calibration("yolov3-tiny", offline=True)
    except AssetUnavailable as missing:
        pytest.skip(str(missing))
    assert (frames.shape, frames.dtype) == ((4, 416, 416, 3), np.uint8)
    assert (frames[:, :100] == 127).all()
    assert frames[:, 200:216].std() > 10


def test_rows_name_existing_assets():
    for name, row in MODELS.items():
        assert row.name == name
        assert row.licence
        assert set(row.files.values()) <= set(ASSETS)
        assert not isinstance(row.labels, str) or row.labels in ASSETS
        assert getattr(row.decoder, "input_size", row.preprocessing.input_size) == row.preprocessing.input_size
    assert {row.asset for row in PHOTOS.values()} <= set(ASSETS)


def test_unknown_models_and_an_empty_cache(tmp_path):
    with pytest.raises(AssetUnavailable, match="one of: yolov3-tiny"):
        find_model("yolov99")
    for call in (demo_model, demo_task):
        with pytest.raises(AssetUnavailable, match="not in the cache"):
            call("yolov3-tiny", cache=tmp_path, offline=True)
    with pytest.raises(AssetUnavailable, match="not in the cache"):
        demo_photos(cache=tmp_path, offline=True)


def test_an_onnx_file_gets_the_size_and_the_names_of_its_row(tmp_path):
    """As old exporters wrote: weights among the inputs, unused ones, a batch of 10, numbers as names."""
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    unused = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "count")
    nodes = [helper.make_node("Conv", ["x", "w"], ["1"])]
    nodes += [helper.make_node("Relu", [str(i)], [str(i + 1)]) for i in range(1, 5)]
    outputs = [helper.make_tensor_value_info(str(i), 1, [10, 4, 9, 9]) for i in range(2, 6)]
    inputs = [helper.make_tensor_value_info("x", 1, [10, 3, 9, 9]), helper.make_tensor_value_info("w", 1, [4, 3, 1, 1])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight, unused])
    path = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4), str(path))
    row = MODELS["centerface"]
    model = convert(row, {"model": path})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [entry.name for entry in session.get_outputs()] == list(row.outputs)
    assert session.run(["size"], {"x": np.ones((1, 3, 640, 640), np.float32)})[0].shape == (1, 4, 640, 640)
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]


def test_files_that_are_not_the_model_are_refused(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x08\x07not a model")
    with pytest.raises(ModelInvalid):
        convert(MODELS["centerface"], {"model": path})
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), str(path))
    with pytest.raises(ModelInvalid, match="0 inputs"):
        convert(MODELS["centerface"], {"model": path})
    with pytest.raises(ModelInvalid, match="_conv_stem"):
        build_efficientnet_lite0({})
