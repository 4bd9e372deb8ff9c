"""Every control against the tables of control-protocol.md 4 and 5, and the byte-order traps of 3.1."""

from __future__ import annotations

import re

import pytest

from openhailo.spec.control import CONTROLS, ControlRules, Param
from openhailo.spec.layout import SCALARS, Struct
from openhailo.spec.messages import FEATURE_FLAGS, FIRMWARE_REVISION, FLAGS, REQUEST_HEADER, RESPONSE_HEADER

pytestmark = pytest.mark.facts

#: Rows whose size is that of the library's largest buffer, while the text says that the length varies or differs.
SIZE_IN_TEXT = {
    (2, "data"): 0,
    (3, "communication_params"): 0,
    (19, "data"): 0,
    (23, "data"): 0,
    (27, "data"): 0,
    (31, "data"): 960,
    (47, "data"): 0,
}
SCALAR_ENCODINGS = {
    "u8": "u8",
    "bool u8": "u8",
    "i8": "i8",
    "BE16": "be16",
    "BE32": "be32",
    "BE64": "be64",
    "BE32 signed": "bei32",
    "u16 native LE": "le16",
    "u32 native LE": "le32",
    "u32, read as native LE": "le32",
    "float32 native LE": "f32",
    "float32, see trap 3.1": "f32",
}
#: Parameters that the tables show as plain bytes and that are something else in the text (3.1, 11).
TYPED_IN_TEXT = {(53, "breakpoint_id"): "le32"}
NATIVE = {"u8", "i8", "le16", "le32", "le64", "f32", "bytes"}


def parameter_size(param: Param) -> int:
    if isinstance(param.type, Struct):
        return param.type.size
    return param.size if param.type == "bytes" else SCALARS[param.type][1]


def scalar_types(struct: Struct) -> set[str]:
    kinds: set[str] = set()
    for member in struct.members:
        kinds |= scalar_types(member.type) if isinstance(member.type, Struct) else {member.type}
    return kinds


def expected_tables(facts, opcode: int) -> tuple[list[list[str]], list[list[str]]]:
    text = facts.section("control-protocol.md", f"5.{opcode} ")
    request, _, response = text.partition("\nResponse:")
    return tuple(
        [row for row in facts.rows(part) if len(row) == 5 and row[0].isdigit()] for part in (request, response)
    )


def compare(opcode: int, params: tuple[Param, ...], rows: list[list[str]]) -> int:
    assert [param.name for param in params] == [row[2].rpartition(".")[2] for row in rows], opcode
    offset = 0
    for param, (length_at, value_at, _, size, encoding) in zip(params, rows, strict=True):
        where = (opcode, param.name)
        assert (int(length_at), int(value_at)) == (offset, offset + 4), where
        expected_size = SIZE_IN_TEXT.get(where, 0 if size == "var" else int(size) if size.isdigit() else None)
        assert parameter_size(param) == expected_size, where
        kind = TYPED_IN_TEXT.get(where, SCALAR_ENCODINGS.get(encoding))
        if kind is not None:
            assert param.type == kind, where
        else:
            assert isinstance(param.type, Struct) or param.type == "bytes", where
        if "native LE" in encoding and isinstance(param.type, Struct):
            assert scalar_types(param.type) <= NATIVE, where
        offset += 4 + parameter_size(param)
    return 5 * len(rows)


def test_opcode_table(facts, checked):
    rows = [row for row in facts.rows(facts.section("control-protocol.md", "4. Opcode table")) if row[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(80)) == list(CONTROLS)
    for number, name, cpu, _, requests, responses, when in rows:
        control = CONTROLS[int(number)]
        assert control.opcode == int(number)
        assert control.name == name.replace("MEASUEMENT", "MEASUREMENT")
        assert control.cpu == {"app": 0, "core": 1}[cpu]
        assert (len(control.request), len(control.response)) == (int(requests), int(responses)), name
        assert control.obsolete == (control.opcode in {45, 49, 75, 76, 77, 78}), name
        assert control.obsolete or not when.startswith("obsolete")
    checked(5 * len(rows), 400)


def test_parameter_tables(facts, checked):
    compared = 0
    for opcode, control in CONTROLS.items():
        if control.obsolete:
            continue
        request, response = expected_tables(facts, opcode)
        compared += compare(opcode, control.request, request) + compare(opcode, control.response, response)
    checked(compared, 800)


def test_longest_variable_parameters():
    """1024 bytes of data per message, 1461 of a context chunk, 35 of the largest stream variant (5.1 to 5.56)."""
    variable = {
        (opcode, param.name): param.max_size
        for opcode, control in CONTROLS.items()
        for param in (*control.request, *control.response)
        if param.type == "bytes" and param.size == 0
    }
    data = dict.fromkeys([(n, "data") for n in (1, 2, 15, 19, 21, 26, 27, 47, 48, 56)], 1024)
    bounded_by_message = {(22, "data"): 0, (23, "data"): 0, (36, "action_list"): 0}
    others = {(3, "communication_params"): 35, (33, "context_network_data"): 1461}
    assert variable == data | bounded_by_message | others
    fixed = [p for c in CONTROLS.values() for p in (*c.request, *c.response) if p.type != "bytes" or p.size]
    assert {param.max_size for param in fixed} == {0}


def types(opcode: int) -> tuple[list[object], list[object]]:
    control = CONTROLS[opcode]
    return [p.type for p in control.request], [p.type for p in control.response]


def test_byte_order_traps():
    """control-protocol.md 3.1, written out by hand."""
    assert types(9) == (["be32", "be32"], ["f32", "le32", "le32"])
    assert types(10) == (["be32", "be32", "be32"], ["le32", "le32"])
    assert types(11) == (["be32", "u8"], ["be32", "f32", "f32", "f32", "f32"])
    assert types(36)[0] == ["be32", "u8", "le16", "be16"]
    assert types(37)[0] == ["u8", "u8", "le16", "le16"]
    assert types(52)[0][0] == types(53)[0][0] == "le32"
    assert types(59)[0] == ["be16", "u8"]
    assert types(74)[0][2:4] == ["le16", "le16"]
    temperature = CONTROLS[46].response[0].type
    assert isinstance(temperature, Struct)
    assert [member.type for member in temperature.members] == ["f32", "f32", "be16"]
    features = CONTROLS[51].response[1].type
    assert isinstance(features, Struct)
    assert (features.size, features["flags"].offset, features["flags"].type) == (8, 0, "be32")


def test_stream_parameters_keep_their_byte_orders():
    """Native where control-protocol.md 3.1 says so, big endian otherwise."""
    config = CONTROLS[3].request[5].type
    assert isinstance(config, Struct)
    assert {m.name: m.type for m in config.members if m.type != "be16"} == {
        "buffer_padding_payload": "le32",
        "is_core_hw_padding_config_in_dfc": "u8",
    }


def test_headers():
    request = REQUEST_HEADER.pack(version=2, opcode=37, parameter_count=4)
    assert request.hex() == "0000000200000000000000000000002500000004"
    response = RESPONSE_HEADER.pack(version=2, flags=1, opcode=37, major_status=0x4013007A, minor_status=5)
    assert response.hex() == "000000020000000100000000000000254013007a00000005"
    assert FLAGS.pack(ack=1) == 1
    assert [(f.name, f.mask) for f in FLAGS.fields] == [("ack", 1)]
    assert FLAGS.offset == 4


def test_version_triple():
    """control-protocol.md 3.2: a released 4.23.0 app image has revision word 0, the core image 0x08000000."""
    assert FIRMWARE_REVISION.pack(number=0, core_cpu=1) == 0x08000000
    assert FIRMWARE_REVISION.pack(development=1) == 0x40000000
    assert FIRMWARE_REVISION.pack(second_stage=1) == 0x80000000
    assert FIRMWARE_REVISION.pack(extended_context_switch=1) == 0x20000000
    assert FIRMWARE_REVISION["number"].mask == 0x07FFFFFF
    assert FIRMWARE_REVISION.offset == 8


def test_feature_flags():
    """control-protocol.md 8: bits 0 to 4 of the word."""
    assert [(f.name, f.mask) for f in FEATURE_FLAGS.fields] == [
        ("ethernet", 1),
        ("mipi", 2),
        ("pcie", 4),
        ("current_monitoring", 8),
        ("mdio", 16),
    ]
    assert FEATURE_FLAGS.offset == 0


def test_rules(facts):
    rules = ControlRules()
    assert (rules.protocol_version, rules.sequence, rules.any_application) == (2, 0, 0xFF)
    assert (rules.max_chunk_bytes, rules.max_data_bytes) == (1461, 1024)
    assert rules.max_chunk_bytes == 1500 - 20 - (5 + 5 + 5 + 4)
    assert rules.board_config_bytes == 500
    assert rules.sensor_sections * 120 == 960
    text = facts.section("context-switch.md", "3. Context chunks (opcode 33)")
    assert re.search(r"max bytes per chunk \| 1461 ", text)
