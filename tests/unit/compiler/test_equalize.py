from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from compiler_graphs import Builder

from openhailo.compiler import compile_model
from openhailo.compiler.passes.equalize import equalize, find_links
from openhailo.compiler.passes.graph import infer_shapes
from openhailo.compiler.ranges import channel_loudness


def separable(between="Relu", *, second_reader=False):
    """A convolution with very unlike channels, an activation, a depthwise convolution that evens them out, a third."""
    b = Builder(2)
    volume = np.logspace(-2, 1, 8)
    kernel = b.rng.standard_normal((8, 3, 1, 1)) * volume[:, None, None, None]
    x = b.node("Conv", ["input", b.const(kernel.astype(np.float32)), b.const(volume.astype(np.float32))], "first")
    if between is not None:
        attributes = {"kernel_shape": [2, 2], "strides": [2, 2]} if between == "MaxPool" else {}
        x = b.node(between, [x], "between", **attributes)
    depthwise = b.rng.uniform(0.5, 1, (8, 1, 3, 3)) / volume[:, None, None, None]
    b.node("Conv", [x, b.const(depthwise.astype(np.float32))], "second", group=8, pads=[1, 1, 1, 1])
    b.conv("second", "out", 8, 4, 1)
    outputs = {"out": [1, 4, *([4, 4] if between == "MaxPool" else [8, 8])]}
    if second_reader:
        b.node("Neg", [x], "side")
        outputs["side"] = [1, 8, 8, 8]
    return infer_shapes(b.model({"input": [1, 3, 8, 8]}, outputs))


def frames():
    return [{"input": np.random.default_rng(i).standard_normal((1, 3, 8, 8)).astype(np.float32)} for i in range(8)]


@pytest.mark.parametrize("between", [None, "Relu", "LeakyRelu", "MaxPool"])
def test_channels_become_equally_loud_and_results_stay(between):
    model = separable(between)
    (link,) = find_links(model)
    before = channel_loudness(model, [link.between], frames())
    even = equalize(model, [link], before)
    after = channel_loudness(even, [link.between], frames())[link.between]
    assert before[link.between].max() / before[link.between].min() > 100
    assert after.max() / after.min() < 1.01
    for frame in frames():
        a, b = (ort.InferenceSession(m.SerializeToString()).run(None, frame)[0] for m in (model, even))
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", [separable("Sigmoid"), separable(second_reader=True)], ids=["sigmoid", "two readers"])
def test_pairs_that_must_be_left_alone(model):
    assert find_links(model) == []


def test_silent_channels_are_not_blown_up():
    model = separable()
    (link,) = find_links(model)
    loudness = {link.between: np.array([0.0, *[1.0] * 7])}
    even = equalize(model, [link], loudness)
    a, b = (ort.InferenceSession(m.SerializeToString()).run(None, frames()[0])[0] for m in (model, even))
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


def test_it_pays():
    data = np.concatenate([frame["input"] for frame in frames()])
    even, plain = (
        compile_model(separable(), name="n", calibration=data, equalize=choice).report.outputs[0].sqnr_db
        for choice in (True, False)
    )
    assert even > plain + 6
