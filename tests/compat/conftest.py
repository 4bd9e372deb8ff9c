"""Networks for programs that `import hailo_platform`, and a virtual chip for each test."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import openhailo
from hailo_platform.common.logger.logger import default_logger
from hailo_platform.pyhailort import _pyhailort as bound
from openhailo.compiler import compile_model
from openhailo.compiler.host_ops.request import Nms
from tests.e2e.test_host_ops import CLASSES, HEADS_V8, Detector, pixels

REPOSITORY = str(Path(__file__).resolve().parents[2])
if REPOSITORY not in sys.path:
    sys.path.append(REPOSITORY)  # for `tools`, whichever way pytest was started

for _handler in list(default_logger().handlers):
    if isinstance(_handler, logging.FileHandler):  # it would write where the tests were started
        default_logger().removeHandler(_handler)


def edges_model(kernel: float) -> onnx.ModelProto:
    """A picture 8x8x1 -> a convolved one and the means of its halves."""
    weights = numpy_helper.from_array(np.full((2, 1, 3, 3), kernel, np.float32), "kernels")
    nodes = [
        helper.make_node("Conv", ["picture", "kernels"], ["slopes"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["slopes"], ["edges"]),
        helper.make_node("AveragePool", ["picture"], ["halves"], kernel_shape=[8, 4], strides=[8, 4]),
    ]
    outputs = [
        helper.make_tensor_value_info("edges", TensorProto.FLOAT, [1, 2, 8, 8]),
        helper.make_tensor_value_info("halves", TensorProto.FLOAT, [1, 1, 1, 2]),
    ]
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 1, 8, 8])
    graph = helper.make_graph(nodes, "edges", [picture], outputs, [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def pictures(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Paths of compiled networks: two small ones, one for another chip, detectors."""
    folder: Path = tmp_path_factory.mktemp("models")
    made = {"pictures": pictures, "pixels": pixels, "classes": CLASSES, "folder": folder}
    for name, kernel, options in (("first", 0.1, {}), ("second", 0.2, {}), ("small8l", 0.1, {"arch": "hailo8l"})):
        result = compile_model(edges_model(kernel), name=name, calibration=pictures(8), **options)
        result.save(folder / f"{name}.hef")
        made[name] = str(folder / f"{name}.hef")
    boxes = Nms("yolov8", CLASSES, score_threshold=0.4, iou_threshold=0.5, max_per_class=6, regression_length=4)
    heads = {"out0": (8, 5 + CLASSES + 32), "proto": (4, 32)}
    masks = Nms("yolov5-seg", CLASSES, score_threshold=0.25, anchors=((8, 6),), max_per_class=4)
    for name, nms, detector in (("boxes", boxes, Detector(HEADS_V8)), ("masks", masks, Detector(heads))):
        calibration = pixels(4).astype(np.float32)
        result = compile_model(detector.model(), name=name, nms=nms, calibration=calibration, mean=0, std=255)
        result.save(folder / f"{name}.hef")
        made[name] = str(folder / f"{name}.hef")
    return SimpleNamespace(**made)


@pytest.fixture(autouse=True)
def _virtual_chip(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENHAILO_DEVICE", "twin:")
    monkeypatch.delenv("OPENHAILO_REFERENCE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def raises_status():
    """Expect the raw status of the compiled part: ``with raises_status(61): ...``."""
    return expect_status


@contextmanager
def expect_status(number):
    with pytest.raises(bound.HailoRTStatusException) as caught:
        yield caught
    assert caught.value.args == (str(number),)


@pytest.fixture
def broker(monkeypatch, tmp_path_factory):
    """A folder for the broker's socket; whatever broker was started there is ended."""
    folder = tmp_path_factory.mktemp("run")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the broker outlives its starter on purpose
        with openhailo.open_virtual_device(["twin:"], multi_process_service=True) as vdevice:
            pid = vdevice.broker_pid
        os.kill(pid, signal.SIGTERM)
