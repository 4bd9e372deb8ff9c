"""A file of several contexts that the compiler wrote, taken apart by hand: numbers from the tables of hef.md 5."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from openhailo.compiler import compile_model

_spec = importlib.util.spec_from_file_location("hef_wire", Path(__file__).with_name("test_hef_wire.py"))
assert _spec is not None
assert _spec.loader is not None
by_hand: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(by_hand)
at, parse, protobuf = by_hand.at, by_hand.parse, by_hand.protobuf

Fields = dict[int, list[Any]]

BOUNDARY, INTERMEDIATE, DDR = 0, 1, 2
HEADER_BYTES = {1: 28, 2: 44, 3: 56}


def model() -> onnx.ModelProto:
    """Three convolutions, with an addition that passes the middle one by."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for number, (source, channels) in enumerate((("x", 3), ("r0", 8), ("r1", 8))):
        array = rng.standard_normal((8, channels, 3, 3)).astype(np.float32) / 8
        weights.append(numpy_helper.from_array(array, f"w{number}"))
        nodes.append(
            helper.make_node("Conv", [source, f"w{number}"], [f"k{number}"], kernel_shape=[3, 3], pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [f"k{number}"], [f"r{number}"]))
    nodes.append(helper.make_node("Add", ["r0", "r2"], ["y"]))
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 16, 16])]
        for name, channels in (("x", 3), ("y", 8))
    ]
    graph = helper.make_graph(nodes, "g", *ends, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def file() -> bytes:
    return compile_model(model(), name="net", calibration="random:2", contexts=3, ddr_above=1000).hef_bytes


def contexts(file: bytes) -> list[Fields]:
    core_op = at(protobuf(file), 2, 8, 4)
    return [parse(context) for context in parse(core_op)[3]]


def layers(context: Fields) -> list[Fields]:
    return [parse(layer) for layer in parse(context[3][0])[2]]


def switch(layer: Fields) -> Fields:
    return parse(layer[5][0]) if layer[5][0] else {}


def number(fields: Fields, key: int) -> Any:
    """A varint that is absent when it is 0."""
    return fields.get(key, [0])[0]


def ends(file: bytes, kind: int) -> dict[tuple[int, int], tuple[bool, list[tuple[int, int]], int]]:
    """(context, stream) -> is it an input, its other ends, least rows."""
    found = {}
    for place, context in enumerate(contexts(file)):
        for layer in layers(context):
            base, info = parse(at(layer[3][0], 2)), switch(layer)
            if number(info, 3) == kind:
                peers = [parse(peer) for peer in info.get(8, [])]
                stream = number(base, 8)
                others = [(number(peer, 1), number(peer, 3)) for peer in peers]
                found[place, stream] = number(layer, 1) == 0, others, number(info, 6)
    return found


def test_extensions(file: bytes) -> None:
    """hef.md 3: 2 DDR, 3 padded DDR buffers, 4 several contexts, and the two that are always there."""
    assert [number(parse(extension), 1) for extension in parse(protobuf(file))[5]] == [2, 3, 4, 13, 26]


def test_three_contexts_without_preliminary_configuration(file: bytes) -> None:
    core_op = parse(at(protobuf(file), 2, 8, 4))
    assert len(core_op[3]) == 3
    assert core_op.get(2, [b""]) == [b""]
    assert [number(context, 1) for context in contexts(file)] == [0, 1, 2]


def test_inter_context_streams_name_each_other(file: bytes) -> None:
    """hef.md 5, ContextSwitchInformation: the reader's first peer is the writer; the writer names every reader."""
    found = ends(file, INTERMEDIATE)
    assert found
    for place, (is_input, others, _) in found.items():
        assert others
        for other in others:
            assert found[other][0] is not is_input
            assert place in found[other][1]
        if is_input:
            ((writer, _),) = others
            assert writer < place[0]
    assert any(len(others) > 1 for is_input, others, _ in found.values() if not is_input), "one tensor, two readers"


def test_ddr_halves_are_of_one_context(file: bytes) -> None:
    """hef.md 5: exactly one peer; core_bytes_per_buffer a multiple of 512; buffers is the least number of rows."""
    found = ends(file, DDR)
    assert found
    for (context, stream), (is_input, others, rows) in found.items():
        ((peer_context, peer),) = others
        assert peer_context == context
        assert found[context, peer][0] is not is_input
        assert found[context, peer][1] == [(context, stream)]
        assert rows > 0
    for context in contexts(file):
        for layer in layers(context):
            if number(switch(layer), 3) == DDR:
                assert number(parse(at(layer[3][0], 2)), 9) == 512


def test_boundary_streams_appear_once(file: bytes) -> None:
    names = [at(layer[3][0], 1) for c in contexts(file) for layer in layers(c) if number(switch(layer), 3) == BOUNDARY]
    assert sorted(names) == [b"net/x", b"net/y"]


def test_every_context_loads_programs_releases_once_and_waits(file: bytes) -> None:
    """hef.md 5: actions 16 write_data_ccw_ptr {offset, size, channel}, 10 allow_input_dataflow; trigger 2."""
    version, size = struct.unpack_from(">II", file, 4)
    section = file[HEADER_BYTES[version] + size :]
    for context in contexts(file):
        operations = [parse(operation) for operation in context[2]]
        actions = [parse(action) for operation in operations for action in operation.get(2, [])]
        pointers = [parse(action[16][0]) for action in actions if 16 in action]
        assert pointers
        for pointer in pointers:
            start = number(pointer, 1)
            image = section[start : start + number(pointer, 2)]
            assert image[:8] == b"OHPROG\0\1"
        assert sum(10 in action for action in actions) >= 1
        outputs = [layer for layer in layers(context) if number(layer, 1) and number(switch(layer), 3) != DDR]
        waits = [operation for operation in operations if 3 not in parse(operation[1][0])]
        assert len(waits) == len(outputs)
