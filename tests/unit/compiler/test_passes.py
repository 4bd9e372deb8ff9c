from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from compiler_graphs import Builder, small_cnn, two_heads

from openhailo.compiler.passes.batch import free_batch_axis
from openhailo.compiler.passes.cut import cut_at
from openhailo.compiler.passes.drop_identity import drop_identity
from openhailo.compiler.passes.fold_batch_norm import fold_batch_norm
from openhailo.compiler.passes.graph import dims_of, infer_shapes
from openhailo.compiler.passes.normalize import Normalization, normalize_input
from openhailo.compiler.passes.simplify import simplify
from openhailo.errors import InputError, ModelInvalid, UnsupportedOp


def run(model, **feeds):
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString()).run(
        None, {k: v.astype(np.float32) for k, v in feeds.items()}
    )


def ops(model):
    return [node.op_type for node in model.graph.node]


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# --- cut --------------------------------------------------------------------------------------------------------------


def test_cut_by_node_or_tensor_name():
    x = noise(1, 3, 16, 16)
    whole = small_cnn()
    whole.graph.output.append(onnx.helper.make_tensor_value_info("relu2", onnx.TensorProto.FLOAT, [1, 8, 8, 8]))
    expected = run(whole, input=x)[1]
    for name in ("n_relu2", "relu2"):
        cut = cut_at(small_cnn(), [name])
        assert [o.name for o in cut.graph.output] == ["relu2"]
        assert "Gemm" not in ops(cut)
        np.testing.assert_array_equal(run(cut, input=x)[0], expected)


def test_cut_drops_inputs_that_nothing_needs():
    assert [i.name for i in cut_at(two_heads(), ["leaky"]).graph.input] == ["a"]


def test_cut_keeps_the_order_asked_for():
    assert [o.name for o in cut_at(two_heads(), ["sig", "n_leaky"]).graph.output] == ["sig", "leaky"]


@pytest.mark.parametrize("names", [["nowhere"], ["leaky", "n_leaky"]])
def test_cut_errors(names):
    with pytest.raises(ModelInvalid):
        cut_at(two_heads(), names)


# --- identity ---------------------------------------------------------------------------------------------------------


def test_drop_identity_everywhere():
    b = Builder()
    x = b.node("Identity", ["input"], "i1")
    x = b.node("Dropout", [x], "drop")
    x = b.node("Cast", [x], "cast", to=1)
    x = b.node("Relu", [x], "relu")
    x = b.node("Identity", [x], "i2")
    b.node("Identity", [x], "out")
    b.node("Sigmoid", [x], "other")
    model = b.model({"input": [1, 6]}, {"out": [1, 6], "other": [1, 6]})
    lean = drop_identity(model)
    assert ops(lean) == ["Relu", "Sigmoid"]
    x = noise(1, 6)
    for a, c in zip(run(model, input=x), run(lean, input=x), strict=True):
        np.testing.assert_array_equal(a, c)


def test_drop_identity_keeps_both_ends():
    b = Builder()
    b.node("Identity", ["input"], "out")
    assert ops(drop_identity(b.model({"input": [1, 6]}, {"out": [1, 6]}))) == ["Identity"]


def test_two_outputs_of_one_tensor_keep_their_names():
    b = Builder()
    b.node("Relu", ["input"], "a")
    b.node("Identity", ["a"], "b")
    lean = drop_identity(b.model({"input": [1, 6]}, {"a": [1, 6], "b": [1, 6]}))
    first, second = run(lean, input=noise(1, 6))
    np.testing.assert_array_equal(first, second)


# --- batch normalization ----------------------------------------------------------------------------------------------


def batch_norm(b, source, name, channels):
    parameters = [
        b.rng.uniform(0.5, 2, channels),
        *b.rng.standard_normal((2, channels)),
        b.rng.uniform(0.5, 2, channels),
    ]
    inputs = [source, *(b.const(value.astype(np.float32)) for value in parameters)]
    return b.node("BatchNormalization", inputs, name, epsilon=1e-3)


@pytest.mark.parametrize("case", ["conv", "conv without bias", "two readers", "no conv", "rank 2"])
def test_fold_batch_norm(case):
    b = Builder(4)
    dims, outputs = [1, 3, 6, 5], {"out": [1, 4, 6, 5]}
    if case == "conv without bias":
        b.node("Conv", ["input", b.weights(4, 3, 1, 1)], "conv", kernel_shape=[1, 1])
    elif case in {"conv", "two readers"}:
        b.conv("input", "conv", 3, 4)
    if case == "two readers":
        b.node("Relu", ["conv"], "side")
        outputs["side"] = [1, 4, 6, 5]
    if case == "no conv":
        outputs = {"out": dims}
    if case == "rank 2":
        dims, outputs = [1, 3], {"out": [1, 3]}
    plain = case in {"no conv", "rank 2"}
    batch_norm(b, "input" if plain else "conv", "norm", 3 if plain else 4)
    b.node("Relu", ["norm"], "out")
    model = b.model({"input": dims}, outputs)
    folded = fold_batch_norm(model)
    assert "BatchNormalization" not in ops(folded)
    assert ("Mul" in ops(folded)) == (case in {"two readers", "no conv", "rank 2"})
    x = noise(*dims)
    for expected, seen in zip(run(model, input=x), run(folded, input=x), strict=True):
        np.testing.assert_allclose(seen, expected, rtol=1e-4, atol=1e-5)


# --- simplify ---------------------------------------------------------------------------------------------------------


def test_simplify_folds_shape_arithmetic():
    b = Builder()
    shape = b.node("Shape", ["input"], "shape")
    batch = b.node("Gather", [shape, b.const(np.int64(0))], "batch", axis=0)
    batch = b.node("Unsqueeze", [batch, b.const(np.array([0]))], "batch1")
    target = b.node("Concat", [batch, b.const(np.array([-1]))], "target", axis=0)
    b.node("Reshape", ["input", target], "out")
    model = b.model({"input": [1, 2, 3, 4]}, {"out": [1, 24]})
    lean = simplify(model)
    assert ops(lean) == ["Reshape"]
    x = noise(1, 2, 3, 4)
    np.testing.assert_array_equal(run(lean, input=x)[0], x.reshape(1, 24))


def test_simplify_refuses_control_flow_and_quantized_graphs():
    b = Builder()
    b.node("QuantizeLinear", ["input", b.const(np.float32(1)), b.const(np.uint8(0))], "q")
    b.node("DequantizeLinear", ["q", b.const(np.float32(1)), b.const(np.uint8(0))], "out")
    with pytest.raises(UnsupportedOp, match="QuantizeLinear"):
        simplify(b.model({"input": [1, 4]}, {"out": [1, 4]}))
    b = Builder()
    b.node("ReduceSum", ["input"], "total", keepdims=0)
    flag = b.node("Greater", ["total", b.const(np.float32(0))], "flag")
    branches = []
    for name, op in (("yes", "Relu"), ("no", "Neg")):
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4])
        branches.append(onnx.helper.make_graph([onnx.helper.make_node(op, ["input"], [name])], name, [], [value]))
    b.node("If", [flag], "out", then_branch=branches[0], else_branch=branches[1])
    with pytest.raises(UnsupportedOp, match="If"):
        simplify(b.model({"input": [1, 4]}, {"out": [1, 4]}))


def test_simplify_is_deterministic():
    assert simplify(small_cnn()).SerializeToString() == simplify(small_cnn()).SerializeToString()


# --- normalization ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("first", ["conv", "relu"])
def test_normalize_equals_explicit_preprocessing(color, first):
    b = Builder(2)
    source = b.node("Relu", ["input"], "relu") if first == "relu" else "input"
    b.conv(source, "out", 3, 4)
    model = infer_shapes(b.model({"input": [1, 3, 6, 5]}, {"out": [1, 4, 6, 5]}))
    mean, std = (10.0, 20.5, 30.0), (2.0, 3.0, 4.0)
    folded = normalize_input(model, "input", Normalization(mean, std, color), channel_axis=1, channels=3)
    rgb = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 5)).astype(np.float32)
    ordered = rgb[:, ::-1] if color == "bgr" else rgb
    column = (slice(None), None, None)
    explicit = (ordered - np.array(mean)[column]) / np.array(std)[column]
    np.testing.assert_allclose(run(folded, input=rgb)[0], run(model, input=explicit)[0], rtol=1e-4, atol=1e-3)
    assert ("Gather" in ops(folded)) == (color == "bgr" and first == "relu")


def test_uniform_integer_normalization_is_one_quantization():
    assert Normalization((0.0,), (255.0,)).scale_zero() == (1 / 255, 0)
    assert Normalization((128.0,) * 3, (64.0,) * 3).scale_zero() == (1 / 64, 128)
    assert Normalization((127.5,), (127.5,)).scale_zero() is None
    assert Normalization((1.0, 2.0, 3.0), (1.0,)).scale_zero() is None
    assert Normalization((-1.0,), (1.0,)).scale_zero() is None


@pytest.mark.parametrize(
    ("mean", "std", "color"),
    [((0.0,), (0.0,), "rgb"), ((0.0,), (-1.0,), "rgb"), ((float("nan"),), (1.0,), "rgb"), ((), (1.0,), "rgb"),
     ((0.0,), (1.0,), "yuv")],
)  # fmt: skip
def test_bad_normalization(mean, std, color):
    with pytest.raises(InputError):
        Normalization(mean, std, color)


def test_normalization_must_fit_the_channels():
    model = infer_shapes(small_cnn())
    with pytest.raises(InputError, match="3 channels"):
        normalize_input(model, "input", Normalization((1.0, 2.0)), channel_axis=1, channels=3)
    grey = infer_shapes(small_cnn(channels=1))
    with pytest.raises(InputError, match="BGR"):
        normalize_input(grey, "input", Normalization(color="bgr"), channel_axis=1, channels=1)


# --- batch ------------------------------------------------------------------------------------------------------------


def uint8_model(b, dims, outputs):
    model = b.model({"input": dims}, outputs)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return infer_shapes(model)


def test_batch_is_freed_through_reshape_and_resize():
    b = Builder()
    x = b.node("Resize", ["input", "", "", b.const(np.array([1, 2, 4, 6]))], "big", mode="nearest")
    b.node("Reshape", [x, b.const(np.array([1, 48]))], "out")
    free = free_batch_axis(uint8_model(b, [1, 2, 2, 3], {"out": [1, 48]}))
    assert dims_of(free.graph.input[0]) == ["N", 2, 2, 3]
    assert dims_of(free.graph.output[0]) == ["N", 48]
    data = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3)).astype(np.uint8)
    session = ort.InferenceSession(free.SerializeToString())
    together = session.run(None, {"input": data})[0]
    alone = [session.run(None, {"input": data[i : i + 1]})[0][0] for i in range(5)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("mixing", ["sum over frames", "fixed target"])
def test_batch_stays_one_where_frames_would_mix(mixing):
    b = Builder()
    if mixing == "sum over frames":
        b.node("Reshape", ["input", b.const(np.array([-1, 4]))], "rows")
        b.node("Transpose", ["rows"], "turned", perm=[1, 0])
        b.node("Reshape", ["turned", b.const(np.array([-1, 8]))], "out")
    else:
        b.node("Reshape", ["input", b.const(np.array([8, 1]))], "turned")
        b.node("Reshape", ["turned", b.const(np.array([1, 8]))], "out")
    model = uint8_model(b, [1, 2, 4], {"out": [1, 8]})
    assert dims_of(free_batch_axis(model).graph.input[0]) == [1, 2, 4]
