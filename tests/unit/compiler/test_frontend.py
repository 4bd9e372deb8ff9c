from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from compiler_graphs import Builder, small_cnn
from onnx import TensorProto, helper, numpy_helper

from openhailo.compiler.frontend import load_model
from openhailo.compiler.options import Options
from openhailo.compiler.passes.graph import GraphIndex, opset_of
from openhailo.errors import InputError, ModelInvalid, OpenHailoError, UnsupportedOp


def with_input_dims(*dims):
    model = small_cnn()
    shape = model.graph.input[0].type.tensor_type.shape
    shape.ClearField("dim")
    for size in dims:
        if isinstance(size, int):
            shape.dim.add().dim_value = size
        else:
            shape.dim.add().dim_param = size
    return model


def input_shape(model):
    return GraphIndex(model.graph).shape("input")


@pytest.mark.parametrize(("opset", "ours"), [(9, 17), (11, 17), (12, 17), (13, 13), (17, 17), (21, 21), (22, 21)])
def test_opsets(opset, ours):
    model = load_model(small_cnn(opset=opset))
    assert opset_of(model) == ours
    assert GraphIndex(model.graph).shape("prob") == (1, 10)


def test_operators_newer_than_our_newest_opset():
    b = Builder()
    b.node("Swish", ["input"], "out")
    with pytest.raises(ModelInvalid, match="opset 24 cannot be converted to 21"):
        load_model(b.model({"input": [1, 4]}, {"out": [1, 4]}, opset=24))


@pytest.mark.parametrize("dims", [("N", 3, 16, 16), (0, 3, 16, 16), (4, 3, 16, 16)])
def test_batch_becomes_one(dims):
    assert input_shape(load_model(with_input_dims(*dims))) == (1, 3, 16, 16)


def test_shapes_fill_dynamic_dimensions():
    model = with_input_dims("N", 3, "height", "width")
    assert input_shape(load_model(model, shapes={"input": (1, 3, 20, 24)})) == (1, 3, 20, 24)
    with pytest.raises(ModelInvalid, match=r"'height'.*--shape input=1,3,\?,\?"):
        load_model(model)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"other": (1, 3, 16, 16)}, "other"),
        ({"input": (1, 3, 16)}, "3 dimensions"),
        ({"input": (2, 3, 16, 16)}, "batch must be 1"),
        ({"input": (1, 3, 0, 16)}, "dimension 2"),
        ({"input": (1, 3, 1 << 20, 1 << 20)}, "size reasonable"),
    ],
)
def test_bad_shapes(shapes, message):
    with pytest.raises(ModelInvalid, match=message):
        load_model(small_cnn(), shapes=shapes)


def test_weights_listed_as_inputs():
    model = small_cnn()
    tensor = model.graph.initializer[0]
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    assert [value.name for value in load_model(model).graph.input] == ["input"]


def test_the_source_is_not_changed():
    model = with_input_dims("N", 3, 16, 16)
    before = model.SerializeToString(deterministic=True)
    load_model(model)
    assert model.SerializeToString(deterministic=True) == before


def test_local_functions_are_inlined():
    node = helper.make_node("Twice", ["input"], ["out"], domain="local", name="call")
    body = helper.make_node("Add", ["x", "x"], ["y"])
    function = helper.make_function("local", "Twice", ["x"], ["y"], [body], [helper.make_opsetid("", 17)])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("input", "out")]
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    loaded = load_model(helper.make_model(graph, functions=[function], opset_imports=imports, ir_version=8))
    assert [n.op_type for n in loaded.graph.node] == ["Add"]


def test_foreign_operators_are_named():
    b = Builder()
    b.node("FancyOp", ["input"], "out", domain="com.acme")
    model = b.model({"input": [1, 4]}, {"out": [1, 4]})
    with pytest.raises(UnsupportedOp, match=r"com\.acme\.FancyOp.*n_out"):
        load_model(model)


def test_integer_inputs_are_refused():
    model = small_cnn()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ModelInvalid):
        load_model(model)


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"not an onnx file at all", bytes(range(256)) * 8])
def test_not_a_model(tmp_path, data):
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelInvalid, match="ONNX"):
        load_model(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError):
        load_model(tmp_path / "nothing.onnx")
    with pytest.raises(InputError):
        load_model(tmp_path)


def test_tflite_says_what_to_do(tmp_path):
    with pytest.raises(ModelInvalid, match="tf2onnx"):
        load_model(tmp_path / "net.tflite")


def test_damaged_files_give_typed_errors(tmp_path):
    data = small_cnn().SerializeToString()
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(150):
        bent = bytearray(data)
        for position in rng.integers(0, len(bent), 3):
            bent[position] ^= 1 << int(rng.integers(0, 8))
        path = tmp_path / "bent.onnx"
        path.write_bytes(bytes(bent))
        try:
            load_model(path)
        except OpenHailoError:
            refused += 1
    assert refused > 10


def test_too_many_nodes():
    b = Builder()
    b.nodes = [helper.make_node("Identity", ["input"], [f"t{i}"]) for i in range(50_001)]
    with pytest.raises(ModelInvalid, match="50001 nodes"):
        load_model(b.model({"input": [1, 2]}, {"t1": [1, 2]}))


# --- external data ----------------------------------------------------------------------------------------------------


def external_model(tmp_path, **entries):
    """A model whose first weight lies in ``weights.bin``; ``entries`` replace its location, offset, length."""
    model = small_cnn()
    tensor = model.graph.initializer[0]
    raw = numpy_helper.to_array(tensor).tobytes()
    (tmp_path / "weights.bin").write_bytes(b"skip" + raw)
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "weights.bin", "offset": "4", "length": str(len(raw))} | entries).items():
        tensor.external_data.add(key=key, value=value)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_is_read(tmp_path):
    loaded = load_model(external_model(tmp_path))
    expected = numpy_helper.to_array(small_cnn().graph.initializer[0])
    tensor = next(t for t in loaded.graph.initializer if t.name == small_cnn().graph.initializer[0].name)
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), expected)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "../weights.bin"},
        {"location": "/etc/passwd"},
        {"location": "sub/../../weights.bin"},
        {"location": "C:\\weights.bin"},
        {"location": ""},
        {"location": "missing.bin"},
        {"location": "."},
        {"offset": "-1"},
        {"offset": "8"},
        {"offset": "99999999999999999999"},
        {"length": "4"},
        {"length": "x"},
    ],
)
def test_external_data_cannot_escape(tmp_path, entries):
    (tmp_path / "model").mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(5000))
    with pytest.raises(ModelInvalid, match=r"external|points to"):
        load_model(external_model(tmp_path / "model", **entries))


def test_external_data_behind_a_link_outside(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    path = external_model(folder, location="link.bin")
    (tmp_path / "secret.bin").write_bytes((folder / "weights.bin").read_bytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ModelInvalid, match="no file in the model's folder"):
        load_model(path)


def test_external_data_needs_a_folder(tmp_path):
    model = onnx.load_model_from_string(external_model(tmp_path).read_bytes())
    with pytest.raises(ModelInvalid, match="another file"):
        load_model(model)


@pytest.mark.parametrize("place", [b"relu1", b"n_relu1", b"MaxPool", b"kernel_shape", b"prob"])
def test_names_that_are_no_text_are_refused(tmp_path, place):
    data = small_cnn().SerializeToString()
    assert place in data
    path = tmp_path / "model.onnx"
    path.write_bytes(data.replace(place, b"\x80" * len(place)))
    with pytest.raises(ModelInvalid, match="not UTF-8"):
        load_model(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"mean": 10**400},
        {"mean": [1e39]},
        {"std": 1e-30},
        {"std": [1, 1e39, 1]},
        {"std": float("nan")},
        {"color": []},
        {"color": None},
        {"mean": {"a": 1}},
        {"mean": [None]},
    ],
    ids=str,
)
def test_a_normalization_of_absurd_numbers_is_refused(settings):
    model = small_cnn()
    model.metadata_props.add(key="openhailo.preprocess", value=json.dumps(settings))
    with pytest.raises(InputError):
        Options().normalization(model)


def test_a_property_of_nested_brackets_is_refused():
    model = small_cnn()
    model.metadata_props.add(key="openhailo.preprocess", value="[" * 100_000)
    with pytest.raises(ModelInvalid, match="not JSON"):
        Options().normalization(model)
