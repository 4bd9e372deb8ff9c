"""What a program's graph may not have: other files, graphs inside nodes, functions; and bytes that are no message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from openhailo.errors import BadProgram
from openhailo.spec.chip import CHIP
from openhailo.twin.core import parse_program
from openhailo.twin.core.graph import check_graph
from openhailo.twin.core.onnx import OnnxKernel


def plain_model() -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, 16]) for name in "xy"]
    weights = numpy_helper.from_array(np.zeros((1, 16), np.uint8), "w")
    graph = helper.make_graph([helper.make_node("Max", ["x", "w"], ["y"])], "graph", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model


def external(tensor: onnx.TensorProto, location: str = "secret.bin") -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)


def branch(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", onnx.GraphProto(name="inner")))


def branches(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("bodies", [onnx.GraphProto(name="inner")]))


def function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f")


def training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def constant(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(16, np.uint8), "c")
    external(tensor)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def sparse(model: onnx.ModelProto) -> None:
    external(model.graph.sparse_initializer.add().values)


CASES: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "initializer": (lambda model: external(model.graph.initializer[0]), "another file"),
    "constant": (constant, "another file"),
    "sparse": (sparse, "another file"),
    "branch": (branch, "inside a node"),
    "branches": (branches, "inside a node"),
    "function": (function, "functions"),
    "training": (training, "training"),
}


def test_a_plain_graph_passes() -> None:
    check_graph(plain_model().SerializeToString())


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    change, words = CASES[name]
    model = plain_model()
    change(model)
    with pytest.raises(BadProgram, match=words):
        check_graph(model.SerializeToString())


def test_a_program_cannot_read_a_file_beside_the_process(
    images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.bin").write_bytes(b"SECRETSECRETSECR")
    monkeypatch.chdir(tmp_path)
    model = plain_model()
    external(model.graph.initializer[0])
    records = [images.record(n, 0, 6, (1, 1, 16), 16, name) for n, name in enumerate("xy")]
    with pytest.raises(BadProgram, match="another file"):
        OnnxKernel(parse_program(CHIP, images.image(records, model.SerializeToString())))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x3a\x05abc", "needs 5 bytes"),
        (b"\x3b\x3c", "wire type 3"),
        (b"\x08" + b"\xff" * 11, "does not end"),
        (b"\x09\x00", "needs 8 bytes"),
        (b"\x3a", "does not end"),
    ],
)
def test_bytes_that_are_no_message(data: bytes, words: str) -> None:
    with pytest.raises(BadProgram, match=words):
        check_graph(data)


def test_what_only_looks_like_a_graph_prints_nothing(images: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime announces its fallback to another provider on standard output, where results belong."""
    model = plain_model().SerializeToString().replace(b"Max", b"M\xffx")
    records = [images.record(n, 0, 6, (1, 1, 16), 16, name) for n, name in enumerate("xy")]
    with pytest.raises(BadProgram):
        OnnxKernel(parse_program(CHIP, images.image(records, model)))
    assert capfd.readouterr().out == ""
