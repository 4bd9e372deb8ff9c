"""Generated float graphs, compiled and run: the device gives ONNX Runtime's bits on the quantized graph."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import openhailo
from openhailo.compiler import CompiledModel, compile_model
from openhailo.runtime.device import Device
from openhailo.twin.core import make_session_options

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with openhailo.open("twin:") as device:
        yield device


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((RNG.standard_normal(shape) / 4).astype(np.float32), name)


def tensor(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(nodes: list, inputs: list, outputs: list, weights: list) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "generated", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def several(inputs: int, outputs: int) -> onnx.ModelProto:
    """Pictures of 7x13x3 are convolved, added up, and each output convolves the sum to another number of channels."""
    nodes, weights = [], []
    for i in range(inputs):
        weights.append(weight(f"wi{i}", 5, 3, 3, 3))
        nodes.append(helper.make_node("Conv", [f"in{i}", f"wi{i}"], [f"c{i}"], kernel_shape=[3, 3], pads=[1] * 4))
    total = "c0"
    for i in range(1, inputs):
        nodes.append(helper.make_node("Add", [total, f"c{i}"], [f"s{i}"]))
        total = f"s{i}"
    nodes.append(helper.make_node("Relu", [total], ["sum"]))
    for o in range(outputs):
        weights.append(weight(f"wo{o}", o + 1, 5, 1, 1))
        nodes.append(helper.make_node("Conv", ["sum", f"wo{o}"], [f"out{o}"], kernel_shape=[1, 1]))
    return model_of(
        nodes,
        [tensor(f"in{i}", 1, 3, 7, 13) for i in range(inputs)],
        [tensor(f"out{o}", 1, o + 1, 7, 13) for o in range(outputs)],
        weights,
    )


def picture(height: int, width: int, channels: int, stride: int = 1) -> onnx.ModelProto:
    """One convolution over one picture."""
    node = helper.make_node(
        "Conv", ["image", "w"], ["out"], kernel_shape=[3, 3], pads=[1] * 4, strides=[stride, stride]
    )
    size = [-(-side // stride) for side in (height, width)]
    return model_of([node], [tensor("image", 1, channels, height, width)], [tensor("out", 1, 4, *size)],
                    [weight("w", 4, channels, 3, 3)])  # fmt: skip


def thousand_classes() -> onnx.ModelProto:
    """A classifier's end: pooling, a dense layer of 1000 classes, softmax."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["l"], transB=1),
        helper.make_node("Softmax", ["l"], ["scores"], axis=-1),
    ]
    weights = [weight("w", 1000, 16), weight("b", 1000)]
    return model_of(nodes, [tensor("image", 1, 16, 6, 6)], [tensor("scores", 1, 1000)], weights)


def check(device: Device, compiled: CompiledModel, batch: int) -> None:
    session = onnxruntime.InferenceSession(compiled.quantized_model.SerializeToString(), make_session_options())
    with device.load(compiled.hef_bytes) as network:
        frames = {t.name: RNG.integers(0, 256, (batch, *t.shape)).astype(np.uint8) for t in network.inputs}
        seen = network(frames, raw=True)
    for index in range(batch):
        feed = {e.name: frames[e.name][index].reshape(1, *e.shape[1:]) for e in session.get_inputs()}
        expected = zip(session.get_outputs(), session.run(None, feed), strict=True)
        for output, wanted in expected:
            np.testing.assert_array_equal(seen[output.name][index].reshape(wanted.shape), wanted)


@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
def test_one_to_four_inputs_and_outputs(inputs: int, outputs: int, device: Device) -> None:
    check(device, compile_model(several(inputs, outputs), name="several", calibration="random:8"), 3)


@pytest.mark.parametrize(
    ("model", "batch"),
    [(picture(1, 1, 3), 16), (picture(7, 13, 3), 5), (picture(416, 416, 3, 4), 2), (thousand_classes(), 9)],
    ids=["1x1x3", "7x13x3", "416x416x3", "1000 classes"],
)
def test_odd_shapes(model: onnx.ModelProto, batch: int, device: Device) -> None:
    check(device, compile_model(model, name="odd", calibration="random:8"), batch)


def test_batches_of_one_to_sixteen(device: Device) -> None:
    compiled = compile_model(picture(28, 28, 1), name="batches", calibration="random:8")
    for batch in range(1, 17):
        check(device, compiled, batch)
