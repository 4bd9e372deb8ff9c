"""Whole compilations of generated networks, judged by ONNX Runtime and by our own HEF reader."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from compiler_graphs import Builder, pixels, small_cnn, two_heads
from onnx import helper

from openhailo import hef
from openhailo.compiler import compile_model
from openhailo.compiler.report import dequantize
from openhailo.errors import CalibrationError, DoesNotFit, InputError, ModelInvalid, UnsupportedOp
from openhailo.hef.operations import AllowInputDataflow, WriteCcw
from openhailo.spec.chip import CHIP
from openhailo.spec.program import FormatOrder


def session(model):
    return ort.InferenceSession(model.SerializeToString())


def program_of(compiled):
    """Return the bytes that config stream 0 carries, as the HEF reader gives them."""
    core_op = hef.read(compiled.hef_bytes).network_groups[0].core_op_for()
    writes = [action for operation in core_op.preliminary for action in operation.actions]
    assert all(isinstance(write, WriteCcw) and write.cfg_channel_index == 0 for write in writes)
    return b"".join(bytes(write.data) for write in writes)


def split_program(image):
    """Return (header, records, payload) of a program image."""
    header = CHIP.program_header.unpack(image)
    size = CHIP.program_header.size
    records = [CHIP.io_record.unpack(image, size + i * CHIP.io_record.size) for i in range(header["io_count"])]
    start = size + header["io_count"] * CHIP.io_record.size
    return header, records, image[start : start + header["payload_size"]], image[start + header["payload_size"] :]


@pytest.fixture(scope="module")
def cnn():
    return compile_model(small_cnn(), name="cnn", calibration=pixels(16, 16, 16, 3), mean=[120, 110, 100], std=64.0)


@pytest.fixture(scope="module")
def heads():
    rng = np.random.default_rng(0)
    data = {"a": rng.standard_normal((8, 3, 7, 13)), "b": rng.standard_normal((8, 2, 7, 13))}
    return compile_model(two_heads(), name="heads", calibration=data), data


# --- the file ---------------------------------------------------------------------------------------------------------


def test_hef_passes_every_check(cnn, heads):
    for compiled in (cnn, heads[0]):
        assert hef.check(hef.read(compiled.hef_bytes)) == []


def test_program_image_is_the_quantized_graph(cnn):
    image = program_of(cnn)
    header, records, payload, tail = split_program(image)
    assert image[:8] == b"OHPROG\0\1"
    assert len(image) % 8 == 0
    assert header["kind"] == 1
    assert not any(tail)
    assert len(tail) < 8
    assert onnx.load_model_from_string(payload) == cnn.quantized_model
    assert [r["name"].rstrip(b"\0") for r in records] == [b"cnn/input", b"cnn/prob"]
    assert [(r["direction"], r["stream_index"], r["order"]) for r in records] == [(0, 0, 1), (1, 1, 6)]
    assert records[0]["transfer_bytes"] == 16 * 16 * 3
    assert (records[1]["features"], records[1]["padded_features"], records[1]["transfer_bytes"]) == (10, 16, 16)


def test_streams_of_two_by_two(heads):
    group = hef.read(heads[0].hef_bytes).network_groups[0]
    assert [s.name for s in group.input_streams] == ["heads/a", "heads/b"]
    assert [v.name for v in group.output_vstreams] == ["heads/map", "heads/big"]
    layers = {layer.name: layer for layer in group.core_op_for().boundary_layers()}
    assert [layers[n].sys_index for n in ("heads/a", "heads/b", "heads/map", "heads/big")] == [0, 1, 2, 3]
    assert tuple(layers["heads/a"].shape) == (7, 13, 3)
    assert tuple(layers["heads/a"].padded_shape) == (7, 16, 3)
    assert layers["heads/map"].original_names == ("map",)
    for layer in layers.values():
        assert layer.order is FormatOrder.NHWC
        assert layer.padded_shape.elements % 8 == 0
        assert layer.core_bytes_per_buffer * layer.core_buffers_per_frame == layer.padded_shape.elements


def test_all_inputs_are_let_in_by_one_operation(heads):
    context = hef.read(heads[0].hef_bytes).network_groups[0].core_op_for().contexts[0]
    (operation,) = context.operations
    assert [action.sys_index for action in operation.actions] == [0, 1]
    assert all(isinstance(action, AllowInputDataflow) for action in operation.actions)


def test_same_input_same_bytes():
    first, second = (compile_model(small_cnn(), name="x", calibration=pixels(4, 16, 16, 3)) for _ in range(2))
    assert first.hef_bytes == second.hef_bytes
    assert first.report == second.report


def test_hailo8l(tmp_path):
    compiled = compile_model(small_cnn(), name="x", calibration=pixels(8, 16, 16, 3), arch="hailo8l")
    file = hef.read(compiled.hef_bytes)
    assert file.header.hw_arch == 3
    assert hef.check(file) == []
    assert file.network_groups[0].core_op.layouts == (0xFF,)
    other = compile_model(small_cnn(), name="x", calibration=pixels(8, 16, 16, 3))
    assert program_of(compiled) == program_of(other)
    # The second description of the network costs a few hundred bytes, not a second program.
    assert len(compiled.hef_bytes) < len(other.hef_bytes) + 2000
    compiled.save(tmp_path / "x.hef")
    assert hef.read(tmp_path / "x.hef").network_groups[0].name == "x"


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_classifier_stays_close_to_float(cnn):
    (output,) = cnn.report.outputs
    assert output.cosine > 0.995
    assert output.top1_agreement >= 0.9
    data = pixels(32, 16, 16, 3, seed=77)
    normalized = (data.astype(np.float32) - [120, 110, 100]) / 64
    expected = [
        session(small_cnn()).run(None, {"input": x[None].transpose(0, 3, 1, 2).astype(np.float32)})[0][0]
        for x in normalized
    ]
    quantized = session(cnn.quantized_model).run(None, {"cnn/input": data})[0]
    layer = next(s for s in cnn.streams if not s.is_input)
    seen = (quantized.astype(np.float32) - layer.quant.qp_zp) * layer.quant.qp_scale
    assert np.abs(seen - np.array(expected)).max() < 0.05
    assert (seen.argmax(1) == np.array(expected).argmax(1)).mean() > 0.85


def test_pixels_enter_as_they_are(cnn):
    layer = next(s for s in cnn.streams if s.is_input)
    assert (layer.quant.qp_scale, layer.quant.qp_zp) == (1.0, 0.0)
    assert (layer.quant.limvals_min, layer.quant.limvals_max) == (0.0, 255.0)


def test_float_inputs_keep_their_own_quantization(heads):
    compiled, data = heads
    layer = compiled.streams[0]
    assert layer.quant.limvals_min <= data["a"].min() + layer.quant.qp_scale
    assert layer.quant.limvals_max >= data["a"].max() - layer.quant.qp_scale
    for output in compiled.report.outputs:
        assert output.cosine > 0.999
        assert output.sqnr_db > 25


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "mse"])
def test_methods(method):
    compiled = compile_model(small_cnn(), calibration=pixels(8, 16, 16, 3), mean=128, std=64, method=method)
    assert compiled.report.outputs[0].cosine > 0.99


def test_uniform_normalization_costs_nothing():
    compiled = compile_model(small_cnn(), calibration=pixels(8, 16, 16, 3), mean=128, std=64)
    operators = [node.op_type for node in compiled.quantized_model.graph.node]
    assert not {"Sub", "Mul", "QuantizeLinear"} & set(operators[: operators.index("Conv")])
    assert compiled.report.outputs[0].cosine > 0.995


def test_folded_normalization_equals_explicit_preprocessing():
    """The same network with the arithmetic written into the model gives nearly the same results."""
    mean, std = np.array([100.0, 120.0, 90.0], np.float32), np.array([50.0, 60.0, 70.0], np.float32)
    data = pixels(12, 16, 16, 3)
    folded = compile_model(small_cnn(), name="n", calibration=data, mean=mean.tolist(), std=std.tolist())
    explicit = small_cnn()
    for name, value in (("mean", mean), ("std", std)):
        explicit.graph.initializer.append(onnx.numpy_helper.from_array(value.reshape(1, 3, 1, 1), name))
    explicit.graph.node[0].input[0] = "scaled"
    explicit.graph.node.insert(0, helper.make_node("Div", ["centred", "std"], ["scaled"], name="div"))
    explicit.graph.node.insert(0, helper.make_node("Sub", ["input", "mean"], ["centred"], name="sub"))
    reference = compile_model(explicit, name="n", calibration=data)
    a, b = (session(c.quantized_model).run(None, {"n/input": data})[0] for c in (folded, reference))
    scales = [c.streams[1].quant.qp_scale for c in (folded, reference)]
    assert np.abs(a.astype(float) * scales[0] - b.astype(float) * scales[1]).max() < 0.02


def test_bgr_model_takes_rgb():
    data = pixels(8, 16, 16, 3)
    rgb = compile_model(small_cnn(), name="n", calibration=data, mean=128, std=64)
    bgr = compile_model(small_cnn(), name="n", calibration=data[..., ::-1], mean=128, std=64, color="bgr")
    run_rgb = session(rgb.quantized_model).run(None, {"n/input": data})[0]
    run_bgr = session(bgr.quantized_model).run(None, {"n/input": data[..., ::-1]})[0]
    np.testing.assert_array_equal(run_rgb, run_bgr)


def test_several_frames_at_a_time_equal_one_by_one(cnn, heads):
    for compiled in (cnn, heads[0]):
        assert compiled.report.batch_axis == "N"
        run = session(compiled.quantized_model)
        rng = np.random.default_rng(1)
        feeds = {i.name: rng.integers(0, 256, (4, *i.shape[1:])).astype(np.uint8) for i in run.get_inputs()}
        together = run.run(None, feeds)
        for number in range(4):
            alone = run.run(None, {name: data[number : number + 1] for name, data in feeds.items()})
            for a, b in zip(together, alone, strict=True):
                np.testing.assert_array_equal(a[number : number + 1], b)


def test_per_channel_beats_per_tensor():
    b = Builder(3)
    kernel = b.rng.standard_normal((8, 3, 3, 3)) * np.logspace(-2, 1, 8)[:, None, None, None]
    b.node("Conv", ["input", b.const(kernel.astype(np.float32))], "c", kernel_shape=[3, 3])
    b.node("Conv", ["c", b.const((b.rng.standard_normal((4, 8, 1, 1)) / np.logspace(-2, 1, 8)[:, None, None]).astype(np.float32))], "out")  # fmt: skip # noqa: E501
    model = b.model({"input": [1, 3, 8, 8]}, {"out": [1, 4, 6, 6]})
    data = np.random.default_rng(0).standard_normal((8, 3, 8, 8))
    fine, coarse = (
        compile_model(model, calibration=data, per_channel=p).report.outputs[0].sqnr_db for p in (True, False)
    )
    assert fine > coarse + 2


def test_reduce_range_uses_seven_bits():
    compiled = compile_model(small_cnn(), calibration=pixels(8, 16, 16, 3), mean=128, std=64, reduce_range=True)
    weights = [
        onnx.numpy_helper.to_array(t)
        for t in compiled.quantized_model.graph.initializer
        if t.data_type == onnx.TensorProto.INT8
    ]
    assert max(np.abs(w.astype(int)).max() for w in weights if w.size > 1) <= 64
    assert compiled.report.outputs[0].cosine > 0.99


def test_excluded_nodes_stay_in_float():
    options = {"calibration": pixels(8, 16, 16, 3), "mean": 128, "std": 64}
    compiled = compile_model(small_cnn(), exclude=["n_logits", "n_prob"], **options)
    full = compile_model(small_cnn(), **options)
    assert compiled.report.outputs[0].sqnr_db > full.report.outputs[0].sqnr_db
    with pytest.raises(ModelInvalid, match="nowhere"):
        compile_model(small_cnn(), exclude=["nowhere"], **options)


# --- shapes and operators ---------------------------------------------------------------------------------------------


def unary(op, **attributes):
    def build(b, x):
        return b.node(op, [x], "y", **attributes)

    return build


OPERATORS = {
    "Relu": unary("Relu"),
    "LeakyRelu": unary("LeakyRelu", alpha=0.2),
    "Sigmoid": unary("Sigmoid"),
    "Tanh": unary("Tanh"),
    "HardSwish": unary("HardSwish"),
    "Softplus": unary("Softplus"),
    "Exp": unary("Exp"),
    "Softmax": unary("Softmax", axis=1),
    "AveragePool": unary("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "MaxPool": unary("MaxPool", kernel_shape=[3, 3], strides=[2, 2]),
    "ReduceMean": unary("ReduceMean", axes=[2, 3], keepdims=1),
    "DepthToSpace": lambda b, x: b.node("DepthToSpace", [b.conv(x, "d", 4, 8, 1)], "y", blocksize=2),
    "ConvTranspose": lambda b, x: b.node("ConvTranspose", [x, b.weights(4, 5, 2, 2)], "y", strides=[2, 2]),
    "depthwise Conv": lambda b, x: b.node("Conv", [x, b.weights(4, 1, 3, 3)], "y", group=4),
    "Mul": lambda b, x: b.node("Mul", [x, b.node("Sigmoid", [x], "gate")], "y"),
    "Sub": lambda b, x: b.node("Sub", [x, b.const(np.float32(0.5))], "y"),
    "Div": lambda b, x: b.node("Div", [x, b.const(np.float32(3.0))], "y"),
    "Clip": lambda b, x: b.node("Clip", [x, b.const(np.float32(0)), b.const(np.float32(6))], "y"),
    "PRelu": lambda b, x: b.node("PRelu", [x, b.const(np.full((4, 1, 1), 0.1, np.float32))], "y"),
    "Pad": lambda b, x: b.node("Pad", [x, b.const(np.array([0, 0, 1, 2, 0, 0, 3, 4]))], "y"),
    "Slice": lambda b, x: b.node(
        "Slice", [x, b.const(np.array([1])), b.const(np.array([4])), b.const(np.array([1]))], "y"
    ),
    "MatMul": lambda b, x: b.node("MatMul", [b.node("Flatten", [x], "f"), b.weights(4 * 8 * 8, 7)], "y"),
    "Transpose": unary("Transpose", perm=[0, 2, 3, 1]),
    "Reshape rank 3": lambda b, x: b.node("Reshape", [x, b.const(np.array([1, 16, 16]))], "y"),
    "Reshape rank 5": lambda b, x: b.node("Reshape", [x, b.const(np.array([1, 2, 2, 8, 8]))], "y"),
    "InstanceNormalization": lambda b, x: b.node(
        "InstanceNormalization", [x, b.const(np.ones(4, np.float32)), b.const(np.zeros(4, np.float32))], "y"
    ),
    "Split": lambda b, x: b.node("Concat", _split(b, x), "y", axis=1),
    "Resize linear": lambda b, x: b.node(
        "Resize", [x, "", b.const(np.array([1, 1, 2, 2], np.float32))], "y", mode="linear"
    ),
}


def _split(b, x):
    b.nodes.append(helper.make_node("Split", [x], ["s0", "s1"], name="split", axis=1, num_outputs=2))
    return ["s1", "s0"]


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_operators(operator):
    b = Builder(6)
    OPERATORS[operator](b, b.conv("input", "first", 3, 4))
    model = b.model({"input": [1, 3, 8, 8]}, {"y": []}, opset=18 if operator == "Split" else 17)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    data = np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32)
    compiled = compile_model(model, name="op", calibration=data)
    (output,) = compiled.report.outputs
    assert output.cosine > 0.99
    assert hef.check(hef.read(compiled.hef_bytes)) == []
    # The frame that leaves the device is the model's, element for element.
    spec = compiled.streams[1]
    frame = np.clip(np.rint(data[0] / compiled.streams[0].quant.qp_scale + compiled.streams[0].quant.qp_zp), 0, 255)
    raw = session(compiled.quantized_model).run(None, {"op/input": frame.transpose(1, 2, 0)[None].astype(np.uint8)})[0]
    expected = session(model).run(None, {"input": data[:1]})[0]
    assert raw.dtype == np.uint8
    assert raw[0].size == expected.size == np.prod(spec.shape)
    real = (raw.astype(np.float32) - spec.quant.qp_zp) * spec.quant.qp_scale
    if expected.ndim == 4 and operator != "Transpose":
        expected = expected.transpose(0, 2, 3, 1)
    error = np.abs(real.ravel() - expected.ravel())
    assert error.max() < 0.08 * np.abs(expected).max() + 2 * spec.quant.qp_scale


@pytest.mark.parametrize(
    ("dims", "shape"),
    [
        ([1, 3, 1, 1], (1, 1, 3)),
        ([1, 3, 7, 13], (7, 13, 3)),
        ([1, 3, 416, 416], (416, 416, 3)),
        ([1, 1000], (1, 1, 1000)),
        ([1, 1], (1, 1, 1)),
        ([1, 9, 5], (1, 9, 5)),
        ([1, 2, 3, 4, 5], (2, 12, 5)),
        ([1, 70001], (1, 1, 70001)),
        ([1, 1, 3, 100000], (3, 100000, 1)),
    ],
)
def test_odd_shapes(dims, shape):
    b = Builder()
    b.node("LeakyRelu", ["input"], "out", alpha=0.5)
    model = b.model({"input": dims}, {"out": dims})
    data = np.random.default_rng(0).uniform(-1, 1, (2, *dims[1:]))
    compiled = compile_model(model, name="s", calibration=data)
    assert hef.check(hef.read(compiled.hef_bytes)) == []
    assert [tuple(stream.shape) for stream in compiled.streams] == [shape, shape]
    for stream in compiled.streams:
        assert stream.padded_shape.elements % 8 == 0
        assert stream.transfer_bytes < stream.shape.elements + 8 * 8 + stream.shape.features * stream.shape.height * 8
    assert compiled.report.outputs[0].sqnr_db > 35


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_many_ends(count):
    b = Builder(count)
    inputs = {f"in{i}": [1, 2 + i, 5, 4] for i in range(count)}
    parts = [b.conv(name, f"conv{i}", dims[1], 3) for i, (name, dims) in enumerate(inputs.items())]
    total = b.node("Sum", parts, "total")
    for i in range(count):
        b.conv(total, f"out{i}", 3, 1 + i)
    model = b.model(inputs, {f"out{i}": [1, 1 + i, 5, 4] for i in range(count)})
    rng = np.random.default_rng(0)
    data = {name: rng.standard_normal((8, *dims[1:])) for name, dims in inputs.items()}
    compiled = compile_model(model, name="m", calibration=data)
    assert hef.check(hef.read(compiled.hef_bytes)) == []
    assert [s.index for s in compiled.streams] == list(range(2 * count))
    assert min(output.cosine for output in compiled.report.outputs) > 0.999


def test_output_that_feeds_on(tmp_path):
    """An output that other nodes read, and one that is another's copy."""
    b = Builder()
    b.node("Relu", [b.conv("input", "c", 3, 4)], "mid")
    b.conv("mid", "end", 4, 2)
    b.node("Identity", ["mid"], "copy")
    shape = [1, 4, 6, 6]
    model = b.model({"input": [1, 3, 6, 6]}, {"mid": shape, "end": [1, 2, 6, 6], "copy": shape})
    compiled = compile_model(model, name="m", calibration=np.random.default_rng(0).standard_normal((8, 3, 6, 6)))
    run = session(compiled.quantized_model)
    mid, end, copy = run.run(None, {"m/input": np.full((1, 6, 6, 3), 77, np.uint8)})
    np.testing.assert_array_equal(mid, copy)
    assert end.shape == (1, 6, 6, 2)


def test_channels_last_models():
    b = Builder()
    x = b.node("Transpose", ["input"], "t0", perm=[0, 3, 1, 2])
    b.node("Transpose", [b.conv(x, "c", 3, 4)], "out", perm=[0, 2, 3, 1])
    model = b.model({"input": [1, 6, 5, 3]}, {"out": [1, 6, 5, 4]})
    compiled = compile_model(model, name="m", calibration=pixels(8, 6, 5, 3), mean=[1, 2, 3], std=100, color="bgr")
    assert [tuple(s.shape) for s in compiled.streams] == [(6, 5, 3), (6, 5, 4)]
    data = pixels(3, 6, 5, 3, seed=8)
    seen = session(compiled.quantized_model).run(None, {"m/input": data})[0]
    expected = session(model).run(None, {"input": ((data[:1, :, :, ::-1] - [1, 2, 3]) / 100).astype(np.float32)})[0]
    quant = compiled.streams[1].quant
    assert np.abs((seen[:1] - quant.qp_zp) * quant.qp_scale - expected).max() < 0.1


def test_layout_can_be_said():
    b = Builder()
    b.node("Relu", ["input"], "out")
    model = b.model({"input": [1, 5, 6, 7]}, {"out": [1, 5, 6, 7]})
    data = np.random.default_rng(0).standard_normal((4, 5, 6, 7))
    plain = compile_model(model, calibration=data)
    said = compile_model(model, calibration=data, nhwc=["input", "out"])
    assert [tuple(s.shape) for s in plain.streams] == [(6, 7, 5)] * 2
    assert [tuple(s.shape) for s in said.streams] == [(5, 6, 7)] * 2
    with pytest.raises(InputError, match="other"):
        compile_model(model, calibration=data, nhwc=["other"])


# --- errors and report ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"calibration": None}, CalibrationError, "no data"),
        ({"calibration": np.zeros((2, 5, 5, 3))}, CalibrationError, "shape"),
        ({"arch": "hailo15"}, InputError, "arch"),
        ({"fit": "crop"}, InputError, "fit"),
        ({"name": "a/b"}, InputError, "name"),
        ({"name": "x" * 61}, InputError, "name"),
        ({"mean": [1, 2]}, InputError, "3 channels"),
        ({"mean": "red"}, InputError, "mean"),
        ({"std": 0}, InputError, "std"),
        ({"method": "magic"}, InputError, "method"),
        ({"end_nodes": ["nowhere"]}, ModelInvalid, "nowhere"),
        (
            {"shapes": {"input": (1, 4, 16, 16)}, "calibration": pixels(2, 16, 16, 4)},
            ModelInvalid,
            "ONNX Runtime cannot run",
        ),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        compile_model(small_cnn(), **({"calibration": pixels(2, 16, 16, 3)} | options))


def test_normalization_without_pictures():
    b = Builder()
    b.node("Relu", ["input"], "out")
    with pytest.raises(InputError, match="no input takes pictures"):
        compile_model(b.model({"input": [1, 9]}, {"out": [1, 9]}), calibration=np.ones((2, 9)), mean=3)


def test_integer_outputs_are_refused():
    b = Builder()
    b.node("ArgMax", ["input"], "out", axis=1)
    model = b.model({"input": [1, 9]}, {"out": [1, 1]})
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    with pytest.raises(ModelInvalid, match="--end-node"):
        compile_model(model, calibration=np.ones((2, 9)))


def test_nothing_to_compute():
    b = Builder()
    b.node("Identity", ["input"], "out")
    compiled = compile_model(b.model({"input": [1, 8]}, {"out": [1, 8]}), name="i", calibration=np.ones((2, 8)))
    data = np.arange(16, dtype=np.uint8).reshape(2, 8)
    np.testing.assert_array_equal(session(compiled.quantized_model).run(None, {"i/input": data})[0], data)


def test_too_many_streams():
    b = Builder()
    inputs = {f"in{i}": [1, 4] for i in range(16)}
    b.node("Sum", list(inputs), "out")
    data = {name: np.ones((2, 4)) for name in inputs}
    with pytest.raises(DoesNotFit, match="host-to-device channels: 17 needed, 16 there"):
        compile_model(b.model(inputs, {"out": [1, 4]}), calibration=data)


def test_too_many_operators():
    b = Builder()
    last = "input"
    for i in range(4001):
        last = b.node("Sigmoid", [last], f"t{i}")
    with pytest.raises(DoesNotFit, match="operators after simplification: 4001 needed, 4000 there"):
        compile_model(b.model({"input": [1, 4]}, {last: [1, 4]}), calibration="random:1")


def test_unsupported_operator_is_named():
    b = Builder()
    b.node("Magic", ["input"], "out", domain="com.acme")
    with pytest.raises(UnsupportedOp, match="Magic"):
        compile_model(b.model({"input": [1, 4]}, {"out": [1, 4]}), calibration=np.ones((2, 4)))


def test_report(cnn):
    report = cnn.report
    layers = {layer.name: layer for layer in report.layers}
    assert layers["n_conv1"].macs == 16 * 16 * 8 * 3 * 9
    assert layers["n_conv1"].parameters == 8 * 3 * 9 + 8
    assert layers["n_logits"].macs == 80
    assert report.macs == sum(layer.macs for layer in report.layers)
    assert report.hef_bytes == len(cnn.hef_bytes) > report.program_bytes
    ratios = [layer.sqnr_db for layer in report.layers if layer.sqnr_db is not None]
    assert len(ratios) >= 5
    assert min(ratios) > 15
    assert json.loads(json.dumps(report.to_json()))["network"] == "cnn"
    text = report.to_text()
    for part in ("cnn/prob", "n_conv2", "SQNR", "16 frame(s)"):
        assert part in text


def test_report_warns_about_little_data():
    compiled = compile_model(small_cnn(), calibration=pixels(2, 16, 16, 3))
    assert "only 2" in compiled.report.warnings[0]
    assert "warning: only 2" in compiled.report.to_text()


def test_dequantize():
    from openhailo.compiler.passes.device_io import Quantization

    values = dequantize(np.array([0, 10, 255], np.uint8), Quantization(0.5, 10))
    np.testing.assert_array_equal(values, np.array([-5.0, 0.0, 122.5], np.float32))


def test_huge_values_are_reported_without_overflow():
    """Their squares are beyond float32."""
    b = Builder()
    b.node("Mul", [b.conv("x", "map", 3, 4), b.const(np.float32(1e30))], "y")
    model = b.model({"x": [1, 3, 4, 4]}, {"y": [1, 4, 4, 4]})
    (output,) = compile_model(model, name="huge", calibration="random:2").report.outputs
    assert output.cosine > 0.99
    assert output.sqnr_db > 15
