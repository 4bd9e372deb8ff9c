"""Every status word and name against fw.status.json and the tables of control-protocol.md 13."""

from __future__ import annotations

import re

import pytest

from openhailo.spec.status import FIRMWARE_COMPONENT, STATUS_NAMES, STATUS_WORD, SUCCESS, FirmwareModule, Status

pytestmark = pytest.mark.facts


def test_all_words_and_names(facts, checked):
    table = {name: int(word, 16) for name, word in facts.json("fw.status.json").items()}
    expected = {name: word for name, word in table.items() if not re.fullmatch(r"FIRMWARE_MODULE__\w+_START", name)}
    assert dict(Status) == expected
    assert dict(STATUS_NAMES) == {word: name for name, word in expected.items()}
    checked(2 * len(expected), 1900)


def test_module_table(facts, checked):
    section = facts.section("control-protocol.md", "13. Firmware status codes")
    rows = [row for row in facts.rows(section) if len(row) == 4 and row[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(57))
    for index, module, first, count in rows:
        assert FirmwareModule(int(index)).name == module
        assert int(first, 16) in STATUS_NAMES
        assert int(first, 16) - 1 not in STATUS_NAMES or int(first, 16) == 1
        names = [word for word in STATUS_NAMES if word >> 16 == int(first, 16) >> 16]
        # The table counts one name of this module less than the JSON lists; the JSON is the complete one.
        assert len(names) == int(count) + (module == "HW_INFER_MANAGER"), module
    checked(4 * len(rows), 228)


def test_control_and_context_switch_tables(facts, checked):
    section = facts.section("control-protocol.md", "13. Firmware status codes")
    pairs = re.findall(r"\| (0x[0-9A-F]{8}) \| ([A-Z][A-Z0-9_]+) (?=\|)", section)
    assert {int(word, 16): name for word, name in pairs} == {
        word: name for word, name in STATUS_NAMES.items() if word >> 16 in (0x4003, 0x4013)
    }
    checked(len(pairs), 331)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        (0x00000000, "HAILO_STATUS_SUCCESS"),
        (0x4003000F, "HAILO_CONTROL_STATUS_UNSUPPORTED_OPCODE"),
        (0x40030007, "HAILO_CONTROL_STATUS_INVALID_OPCODE"),
        (0x400300B4, "CONTROL_PROTOCOL_STATUS_UNSUPPORTED_DEVICE"),
        (0x400300BC, "CONTROL_PROTOCOL_STATUS_CONTROL_UNSUPPORTED"),
        (0x4003003B, "CONTROL_PROTOCOL_STATUS_USER_CONFIG_EXAMINE_FAILED"),
        (0x401A0004, "FIRMWARE_CONFIGS_STATUS_USER_CONFIG_NOT_LOADED"),
        (0x4013007A, "CONTEXT_SWITCH_STATUS_SRAM_MEMORY_FULL"),
        (0x4013006C, "CONTEXT_SWITCH_STATUS_CANT_CLEAR_CONFIGURED_APPS_WHILE_ACTIVATED"),
    ],
)
def test_words_that_the_pages_state_in_words(word, name):
    assert STATUS_NAMES[word] == name
    assert Status[name] == word


def test_parts_of_a_word():
    assert STATUS_WORD.unpack(0x4013007A) == {"component": 4, "module": 19, "value": 0x7A}
    assert [(f.name, f.mask) for f in STATUS_WORD.fields] == [
        ("value", 0x0000FFFF),
        ("module", 0x00FF0000),
        ("component", 0xF0000000),
    ]
    assert (SUCCESS, FIRMWARE_COMPONENT) == (0, 4)
