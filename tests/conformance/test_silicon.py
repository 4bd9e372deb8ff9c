"""Files compiled for silicon: configured as they are, computed by a bound reference, through the ordinary path."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from openhailo.errors import InputError, NoReference

pytestmark = pytest.mark.facts


def averaging_model(path, shape, out_shape):
    """A float model of these shapes, channels first: crop, mix channels, pool or flatten."""
    height, width, features = shape
    rng = np.random.default_rng(8)
    if out_shape[:2] == (1, 1):
        nodes = [helper.make_node("GlobalAveragePool", ["in"], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
        weights = rng.uniform(-0.05, 0.05, (features, out_shape[2])).astype(np.float32)
        nodes.append(helper.make_node("MatMul", ["f", "w"], ["out"]))
        result = [1, out_shape[2]]
    else:
        step = height // out_shape[0]
        weights = rng.uniform(0, 0.002, (out_shape[2], features, step, step)).astype(np.float32)
        nodes = [helper.make_node("Conv", ["in", "w"], ["out"], kernel_shape=[step] * 2, strides=[step] * 2)]
        result = [1, out_shape[2], *out_shape[:2]]
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, features, height, width])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("name", "out_shape"),
    [
        ("mnist_cnn_28x28_h8_dfc3.27_v0", (4, 4, 16)),
        ("mnist_cnn_32x32_h8_dfc3.27_v0", (4, 4, 16)),
        ("arcface_mobilefacenet_h8_v2", (1, 1, 512)),
        ("skillcheck_mobilenet_v2_224_h8_v2", (1, 1, 11)),
    ],
)
def test_reference_results_travel_quantised_with_the_files_parameters(device, shared_dir, tmp_path, name, out_shape):
    file = shared_dir / "hefs" / f"{name}.hef"
    network = device.load(file)
    source = network.inputs[0]
    pixels = np.random.default_rng(1).integers(0, 256, (3, *source.shape)).astype(np.uint8)
    if network.needs_reference:
        with pytest.raises(NoReference, match=network.name):
            network(pixels)
    network.close()

    averaging_model(tmp_path / "reference.onnx", source.shape, out_shape)
    network = device.load(file, reference=tmp_path / "reference.onnx")
    sink = network.outputs[0]
    raw, real = network(pixels, raw=True)[sink.name], network(pixels)[sink.name]
    assert raw.dtype == np.uint8
    assert raw.shape == (3, *sink.shape)
    assert raw.std() > 0

    session = ort.InferenceSession(tmp_path / "reference.onnx", providers=["CPUExecutionProvider"])
    quant = source.quantization
    frames = (pixels.astype(np.float32) - np.float32(quant.zero_point)) * np.float32(quant.scale)
    want = np.concatenate([session.run(None, {"in": frame.transpose(2, 0, 1)[None]})[0] for frame in frames])
    if want.ndim == 4:
        want = want.transpose(0, 2, 3, 1)
    scale, zero_point = np.float32(sink.quantization.scale), np.float32(sink.quantization.zero_point)
    integers = np.clip(np.rint(want / scale + zero_point), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(raw, integers)
    np.testing.assert_array_equal(real, (integers.astype(np.float32) - zero_point) * scale)


def test_a_reference_of_other_shapes_is_refused(device, shared_dir, tmp_path):
    averaging_model(tmp_path / "wrong.onnx", (30, 30, 1), (1, 1, 10))
    file = shared_dir / "hefs" / "mnist_cnn_28x28_h8_dfc3.27_v0.hef"
    with pytest.raises(InputError, match="no input fits"):
        device.load(file, reference=tmp_path / "wrong.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(InputError, match="cannot load"):
        device.load(file, reference=tmp_path / "text.onnx")
    with pytest.raises(InputError, match="no such file"):
        device.load(file, reference=tmp_path / "missing.onnx")
