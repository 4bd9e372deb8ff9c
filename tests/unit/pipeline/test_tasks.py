"""Tasks: what goes into the network, what comes back to the picture, and tasks from settings."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from openhailo.errors import InputError, ShapeMismatch
from openhailo.pipeline.settings import DECODERS, build_task
from openhailo.pipeline.tasks import Preprocessing, Task, draw
from openhailo.vision.decode import (
    AnchorLevel,
    Classification,
    ClassifyConfig,
    SsdConfig,
    Suppression,
    YoloAnchorConfig,
    Yolov8Config,
    centerface_config,
)
from openhailo.vision.detections import Detections

PICTURE = np.zeros((100, 200, 3), np.uint8)
PICTURE[..., 0] = 200


def test_a_yolo_task_from_picture_to_json():
    """A 200x100 picture letterboxed into 64x64: scale 0.32, 16 rows above; one cell fires."""
    decoder = YoloAnchorConfig((64, 64), (AnchorLevel(16, ((32, 16),)),), 2, suppression=Suppression(score=0.25))
    task = Task("demo", Preprocessing((64, 64)), decoder, ("cat", "dog"))
    seen = []

    def infer(array):
        seen.append(array)
        output = np.full((1, 4, 4, 7), -20, np.float32)
        output[0, 1, 1] = 0
        return {"out": output}

    result = task.run(PICTURE, infer)
    assert (seen[0].shape, seen[0].dtype) == ((1, 64, 64, 3), np.uint8)
    assert seen[0][0, 32, 32].tolist() == [200, 0, 0]
    assert seen[0][0, 0, 0].tolist() == [114, 114, 114]
    # the box 8..40 x 16..32 of the input, back: 25..125 x 0..50
    assert json.loads(json.dumps(result.to_list())) == [
        {"label": "cat", "class_id": 0, "score": 0.25, "box": [25, 0, 125, 50]}
    ]
    assert draw(PICTURE, result).shape == PICTURE.shape


def test_keypoints_come_back_too_and_outputs_are_found_by_name():
    """Names may have the network's prefix, and arrive in any order."""
    task = Task(
        "faces",
        Preprocessing((32, 64)),
        centerface_config((32, 64), Suppression(score=0.5)),
        ("face",),
        ("heatmap", "size", "offset", "landmarks"),
    )
    maps = {
        f"net/{name}": np.zeros((8, 16, n), np.float32)
        for name, n in (("landmarks", 10), ("offset", 2), ("size", 2), ("heatmap", 1))
    }
    maps["net/heatmap"][3, 7] = 0.9
    maps["net/size"][3, 7] = math.log(2)
    maps["net/landmarks"][3, 7] = 0.5
    result = task.postprocess(maps, task.preprocess(PICTURE)[1])
    assert isinstance(result, Detections)
    # centre (30, 14), 8 pixels wide and high, at scale 0.32
    np.testing.assert_allclose(result.boxes, [[81.25, 31.25, 106.25, 56.25]], atol=1e-3)
    assert result.keypoints is not None
    np.testing.assert_allclose(result.keypoints[0], [[93.75, 43.75]] * 5, atol=1e-3)
    del maps["net/size"]
    with pytest.raises(ShapeMismatch, match="missing size"):
        task.postprocess(maps, task.preprocess(PICTURE)[1])


def test_fit_and_colour_order():
    stretched, placement = Preprocessing((50, 50), fit="stretch", color="bgr").apply(PICTURE)
    assert (stretched[25, 25].tolist(), placement.scale_x, placement.scale_y) == ([0, 0, 200], 0.25, 0.5)
    assert stretched.flags.c_contiguous
    cropped, placement = Preprocessing((50, 50), fit="crop", fraction=0.5).apply(PICTURE)
    assert (cropped.shape, placement.offset_x, placement.offset_y) == ((50, 50, 3), -75, -25)


def test_classification_keeps_to_its_scores():
    task = Task("classes", Preprocessing((8, 8), fit="crop"), ClassifyConfig(3, top=1), ("a", "b", "c"))
    result = task.run(PICTURE, lambda array: {"logits": np.array([[0, 9, 0]], np.float32)})
    assert isinstance(result, Classification)
    assert result.labels == ("b",)
    assert draw(PICTURE, result).shape == PICTURE.shape


def test_a_task_from_settings():
    task = build_task(
        json.loads('{"decoder": "yolov8", "input_size": [640, 480], "classes": 80, "score": 0.3, "fit": "stretch"}'),
        name="mine",
        labels=["person"],
    )
    expected = Yolov8Config((640, 480), 80, suppression=Suppression(score=0.3))
    assert task == Task("mine", Preprocessing((640, 480), fit="stretch"), expected, ("person",))


def test_nested_settings():
    levels = [
        {"stride": 32, "anchors": [[81, 82], [135, 169]]},
        {"stride": 16, "anchors": [[10, 14.5]], "scale_xy": 1.05},
    ]
    settings = {"decoder": "yolo-anchor", "input_size": [416, 416], "levels": levels, "classes": 80, "version": "v4"}
    decoder = build_task(settings | {"outputs": ["b", "a"]}).decoder
    assert isinstance(decoder, YoloAnchorConfig)
    assert decoder.levels == (
        AnchorLevel(32, ((81, 82), (135, 169))),
        AnchorLevel(16, ((10, 14.5),), 1.05),
    )
    ssd = build_task({"decoder": "ssd", "input_size": [8, 8], "classes": 2, "priors": [[0.5, 0.5, 1, 1]]}).decoder
    assert isinstance(ssd, SsdConfig)
    assert ssd.priors.tolist() == [[0.5, 0.5, 1, 1]]


GOOD = {"decoder": "yolox", "input_size": [64, 64], "classes": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": "yolo9000"}, "choose one of"),
        ({"decoder": ["yolox"]}, "choose one of"),
        ({"clases": 3}, "unknown: clases"),
        ({"suppression": {}}, "unknown: suppression"),
        ({"classes": 0}, "outside"),
        ({"classes": "80"}, "whole number"),
        ({"classes": True}, "whole number"),
        ({"score": 1.5}, "outside"),
        ({"score": float("nan")}, "not a number"),
        ({"input_size": [64]}, "2 values"),
        ({"input_size": [64, -64]}, "outside"),
        ({"input_size": 64}, "not a list"),
        ({"fit": "squeeze"}, "none of"),
        ({"class_wise": "yes"}, "not a bool"),
        ({"strides": "8"}, "not a list"),
        ({"outputs": [1]}, "not a str"),
        ({"decoder": "yolo-anchor", "levels": [3]}, "not an object"),
        ({"decoder": "yolo-anchor"}, "missing: levels"),
        ({"decoder": "ssd", "priors": "x"}, "table of numbers"),
        ({"decoder": "ssd", "priors": [[1, 2, 3]]}, "needed"),
        ({"decoder": "classify", "score": 0.5}, "unknown: score"),
        ({"classes": 10**400}, "outside"),
        ({"score": 10**400}, "outside"),
        ({"strides": []}, "empty"),
        ({"decoder": "ssd", "priors": [[10**400, 0, 0, 0]]}, "table of numbers"),
        ({"decoder": "ssd", "priors": [[1e300, 0, 0, 0]]}, "finite numbers"),
    ],
)
def test_unusable_settings_are_refused(change, message):
    build_task(GOOD)
    with pytest.raises(InputError, match=message):
        build_task(GOOD | change)


def test_missing_settings_are_named():
    for name in DECODERS:
        with pytest.raises(InputError, match=r"missing: .*input_size"):
            build_task({"decoder": name})
