"""Notifications against control-protocol.md 9 and the ones that were recorded."""

from __future__ import annotations

import re

import pytest

from openhailo.spec.events import EVENT_HEADER, EVENTS, EventRules

pytestmark = pytest.mark.facts

WIDTHS = {"u8": "u8", "u16": "le16", "u32": "le32", "u64": "le64", "f32": "f32"}
#: The page shortens these member names.
SHORTENED = {"ts0": "ts0_temperature", "ts1": "ts1_temperature", "host_ip": "host_ip_addr"}


def test_header_table(facts, checked):
    rows = [row for row in facts.rows(facts.section("control-protocol.md", "9.2 Header")) if row[0].isdigit()]
    assert [(m.name, m.offset, m.type) for m in EVENT_HEADER.members] == [(row[1], int(row[0]), "le32") for row in rows]
    assert EVENT_HEADER.size == 28
    checked(3 * len(rows), 21)


def test_event_table(facts, checked):
    rows = [row for row in facts.rows(facts.section("control-protocol.md", "9.3 Events")) if row[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(14)) == list(EVENTS)
    compared = 0
    for number, name, parameters, length, _, payload, *_ in rows:
        event = EVENTS[int(number)]
        assert event.name == name
        assert event.parameter_count == int(parameters), name
        assert event.payload.size == int(length), name
        fields = re.findall(r"\b(u8|u16|u32|u64|f32) (\w+)", payload)
        expected = [(SHORTENED.get(label, label), WIDTHS[kind]) for kind, label in fields]
        assert [(m.name, m.type) for m in event.payload.members] == expected, name
        compared += 3 + 2 * len(expected)
    checked(compared, 110)


def test_thresholds():
    """control-protocol.md 9.1, 9.4."""
    rules = EventRules()
    assert rules.host_accepts_bytes == 48
    assert (rules.orange_threshold_c, rules.orange_hysteresis_c) == (104, 99)
    assert (rules.red_threshold_c, rules.red_hysteresis_c) == (120, 116)


def test_recorded_notifications(facts, checked):
    """Bytes that the official library parsed and logged."""
    seen = 0
    for path in facts.trace_files():
        for record in facts.trace(path):
            if record["k"] != "notification":
                continue
            data = bytes.fromhex(record["hex"])
            header = EVENT_HEADER.unpack(data)
            event = EVENTS[header["event_id"]]
            assert header["parameter_count"] == event.parameter_count
            assert header["payload_length"] == event.payload.size == len(data) - EVENT_HEADER.size
            event.payload.unpack(data, EVENT_HEADER.size)
            seen += 1
    checked(seen, 5)
