"""The schema, the enumerations, the formats and the rules against the facts' tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from openhailo.hef import enums, layers
from openhailo.hef.checker import RULES, STRUCTURAL
from openhailo.hef.compatibility import SUPPORTED_EXTENSIONS
from openhailo.hef.schema import build, hef_pb2
from openhailo.spec.program import FormatOrder

pytestmark = pytest.mark.facts

Checked = Callable[[int, int], None]
SCHEMA = Path(build.__file__).with_name("hef.proto")

SCALARS = {"double": 1, "float": 2, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13}


def field_row(field: Any) -> tuple[int, str, str, str]:
    """One field of the compiled schema as the facts have it."""
    names = {number: name for name, number in SCALARS.items()}
    nested = field.message_type or field.enum_type
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == 3
    kind = nested.name if nested is not None else names[field.type]
    return field.number, field.name, kind, "repeated" if repeated else "optional"


def test_every_field_of_every_message(facts: Any, checked: Checked) -> None:
    compared = 0
    expected = facts.json("hef.fields.json")
    compiled = hef_pb2.DESCRIPTOR.message_types_by_name
    assert set(compiled) == set(expected)
    for name, rows in expected.items():
        assert sorted(map(field_row, compiled[name].fields)) == sorted(map(tuple, rows)), name
        compared += len(rows)
    checked(compared, 250)


def test_every_enum_and_oneof(facts: Any, checked: Checked) -> None:
    compared = 0
    expected = facts.json("hef.enums.json")
    for name, values in expected["enums"].items():
        compiled = hef_pb2.DESCRIPTOR.enum_types_by_name[name]
        assert [(value.number, value.name) for value in compiled.values] == [tuple(value) for value in values]
        compared += len(values)
    for message, oneofs in expected["oneofs"].items():
        compiled_oneofs = hef_pb2.DESCRIPTOR.message_types_by_name[message].oneofs
        real = {o.name: sorted(f.number for f in o.fields) for o in compiled_oneofs if not o.name.startswith("_")}
        assert real == {name: sorted(numbers) for name, numbers in oneofs.items()}
        compared += len(oneofs)
    checked(compared, 100)


def test_the_presence_of_a_pad_index_is_kept() -> None:
    layer = hef_pb2.DESCRIPTOR.message_types_by_name["ProtoHEFEdgeLayer"]
    assert [field.name for field in layer.fields if field.has_presence and field.message_type is None] == ["pad_index"]


def test_the_schema_text_follows_from_the_tables(facts: Any) -> None:
    assert SCHEMA.read_text() == build.schema_text(facts.json("hef.fields.json"), facts.json("hef.enums.json"))


#: Enum of the model -> (enum of the facts, prefix of its names, names the model has changed).
ENUMS: dict[type[IntEnum], tuple[str, str, dict[str, str]]] = {
    enums.HwArch: ("ProtoHEFHwArch", "PROTO__HW_ARCH__", {"HAILO8": "HAILO8_A0"}),
    enums.ExtensionType: ("ProtoHEFExtensionType", "", {}),
    enums.Direction: ("ProtoHEFEdgeLayerDirection", "PROTO__EDGE_LAYER_DIRECTION__", {}),
    enums.Connection: ("ProtoHEFEdgeConnectionType", "PROTO__EDGE_CONNECTION_TYPE__", {}),
    enums.EdgeKind: ("ProtoHEFEdgeLayerType", "PROTO__EDGE_LAYER_TYPE__", {}),
    enums.PlanesFormat: ("ProtoHEFEPlanesFormat", "PROTO__PLANES__FORMAT__", {}),
    enums.NmsBurst: ("ProtoHEFNmsBurstType", "PROTO__NMS_BURST_TYPE__", {}),
    enums.LogitsType: (
        "ProtoHEFLogitsType",
        "PROTO_HEF_",
        {"ARGMAX_TYPE": "ARGMAX", "SOFTMAX_TYPE": "SOFTMAX"},
    ),
    enums.PadDataType: ("ProtoHEFDataType", "PROTO__", {}),
    enums.PadFormatType: ("ProtoHEFFormatType", "PROTO__FORMAT__TYPE__", {}),
    enums.PadFormatOrder: (
        "ProtoHEFFormatOrder",
        "PROTO__FORMAT__ORDER__",
        {"12_BIT_BAYER_RGB": "BAYER_RGB_12_BIT"},
    ),
    enums.WriteDataKind: ("ProtoHEFWriteDataType", "", {}),
}


def test_the_models_enums(facts: Any, checked: Checked) -> None:
    tables = facts.json("hef.enums.json")["enums"]
    compared = 0
    for enum, (name, prefix, renamed) in ENUMS.items():
        short = {number: text.removeprefix(prefix) for number, text in tables[name]}
        expected = {number: renamed.get(text, text) for number, text in short.items()}
        assert {int(member): member.name for member in enum} == expected
        compared += len(expected)
    checked(compared, 90)


def test_format_codes(facts: Any, checked: Checked) -> None:
    """hef.md 7: the table of codes."""
    rows = facts.rows(facts.section("hef.md", "7. Device formats"))
    table = {int(row[0]): row for row in rows if row[0].isdigit()}
    for code, (_, device, user) in table.items():
        ours = layers.FORMAT_CODES[code]
        name, number = re.fullmatch(r"(\w+) \((\d+)\)", device).groups()  # type: ignore[union-attr]
        assert ours == (FormatOrder(int(number)), FormatOrder[user.split(" ")[0]])
        assert ours[0].name == name
    assert set(table) == set(layers.FORMAT_CODES)
    checked(len(table), 14)


def test_accepted_extensions(facts: Any, checked: Checked) -> None:
    """hef.md 3: the table's column "accepted"."""
    compared = 0
    for number, *_, accepted, _effect in facts.rows(facts.section("hef.md", "3. Extensions and feature flags")):
        for one in re.findall(r"\d+", number):
            refused = accepted.startswith("**")
            assert (int(one) in SUPPORTED_EXTENSIONS) is not refused, one
            compared += 1
    checked(compared, 33)


def test_every_row_of_the_mutation_table_has_a_rule(facts: Any, checked: Checked) -> None:
    """hef.md 16: what was seen to be refused, or to crash, is a rule that quotes the row."""
    harmless = {"only qp_scale or only limvals_max 0", "optional, no effect", "removed / changed", "---"}
    sources = [*(rule.source for rule in RULES.values()), *STRUCTURAL.values()]
    rows = [row[0] for row in facts.rows(facts.section("hef.md", "16. What may be left out"))]
    needed = [row for row in rows if row not in harmless]
    for row in needed:
        assert any(row in source for source in sources), row
    checked(len(needed), 24)
