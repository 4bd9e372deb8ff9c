"""Context-switch actions against context-switch.md 2, 4-9, 17 and every recorded action list."""

from __future__ import annotations

import re

import pytest

from openhailo.spec.actions import (
    ACTION_HEADER,
    ACTIONS,
    APPLICATION_HEADER,
    HOST_BUFFER_INFO,
    PACKED_CHANNEL,
    PACKED_LCU,
    REPEATED_HEADER,
    SEQUENCER_CONFIG,
    STREAM_REG_INFO,
    ActionRules,
)
from openhailo.spec.layout import Struct

pytestmark = pytest.mark.facts

WIDTHS = {"u8": "u8", "u16": "le16", "u32": "le32", "u64": "le64"}
NESTED = {"reg info": STREAM_REG_INFO, "host buffer": HOST_BUFFER_INFO, "sequencer config": SEQUENCER_CONFIG}
BY_SIZE = {1: "u8", 2: "le16", 4: "le32", 8: "le64"}


def test_action_table(facts, checked):
    rows = [row for row in facts.rows(facts.section("context-switch.md", "8. Action table")) if row[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(45)) == list(ACTIONS)
    for number, name, size, repeatable, *_ in rows:
        action = ACTIONS[int(number)]
        assert (action.id, action.name) == (int(number), name)
        assert action.payload.size == int(size.removesuffix(" + subs")), name
        assert action.repeatable == (repeatable == "R"), name
    checked(4 * len(rows), 180)


def test_payload_layouts(facts, checked):
    text = facts.section("context-switch.md", "9. Action payload layouts")
    lines = re.findall(r"^- \*\*(\d+) (\w+)\*\* \((\d+)\): (.*)$", text, re.MULTILINE)
    compared = 0
    for number, name, size, layout in lines:
        fields = re.findall(r"(\d+):(\d+) (\w+) \(([\w ]+)\)", layout)
        expected = [(label, int(at), int(n), WIDTHS.get(kind, NESTED.get(kind))) for at, n, label, kind in fields]
        payload = ACTIONS[int(number)].payload
        assert [(m.name, m.offset, m.size_bytes, m.type) for m in payload.members] == expected, name
        assert payload.size == int(size) == sum(n for _, _, n, _ in expected)
        compared += 4 * len(expected)
    assert {int(number) for number, *_ in lines} == {id_ for id_, action in ACTIONS.items() if action.payload.size}
    sequencer = re.search(r"^- sequencer config \(43\): (.*)$", text, re.MULTILINE)
    assert sequencer is not None
    fields = re.findall(r"(\d+):(\d+) (\w+)", sequencer[1])
    assert [(m.name, m.offset, m.size_bytes, m.type) for m in SEQUENCER_CONFIG.members] == [
        (label, int(at), int(n), BY_SIZE[int(n)]) for at, n, label in fields
    ]
    checked(compared + 4 * len(fields), 550)


@pytest.mark.parametrize(
    ("heading", "struct", "fields"),
    [
        ("2. Application header (opcode 32)", APPLICATION_HEADER, 12),
        ("4. Action list framing", ACTION_HEADER, 2),
        ("6. host_buffer_info (19 bytes)", HOST_BUFFER_INFO, 5),
        ("7. Stream registers (17 bytes)", STREAM_REG_INFO, 8),
    ],
)
def test_structure_tables(facts, checked, heading, struct, fields):
    rows = [row for row in facts.rows(facts.section("context-switch.md", heading)) if row[0].isdigit()]
    expected = [(re.split(r"[.\[]", row[2])[-1 if "." in row[2] else 0], int(row[0]), int(row[1])) for row in rows]
    assert [(m.name, m.offset, m.size_bytes) for m in struct.members] == expected
    checked(3 * len(rows), 3 * fields)


def test_application_header_example():
    """The recorded header of context-switch.md 2: one dynamic context, one network, batch 1, config channel 0."""
    example = bytes.fromhex(
        "01 00 00 00 01 00 01 00 02 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00"
    )
    assert APPLICATION_HEADER.size == len(example) == 32
    assert example == APPLICATION_HEADER.pack(
        dynamic_contexts_count=1,
        can_fast_batch_switch=1,
        networks_count=1,
        csm_buffer_size=512,
        batch_size=1,
        config_channels_count=1,
    )


def test_packed_identifiers():
    """context-switch.md 5: bits 0..4 channel, 5..6 engine; bits 0..3 LCU, 4..6 cluster."""
    assert PACKED_CHANNEL.pack(channel=31, engine=0) == 0x1F
    assert PACKED_CHANNEL.pack(channel=1, engine=2) == 0x41
    assert PACKED_LCU.pack(lcu=3, cluster=1) == 0x13
    assert PACKED_LCU.pack(lcu=15, cluster=7) == 0x7F
    assert [(f.name, f.mask) for f in PACKED_CHANNEL.fields] == [("channel", 0x1F), ("engine", 0x60)]
    assert [(f.name, f.mask) for f in PACKED_LCU.fields] == [("lcu", 0x0F), ("cluster", 0x70)]
    assert (PACKED_CHANNEL.offset, PACKED_CHANNEL.width_bytes) == (PACKED_LCU.offset, PACKED_LCU.width_bytes) == (0, 1)


def test_rules():
    rules = ActionRules()
    assert rules.host_time_stamp == 0xFFFFFFFF
    assert (rules.min_repeated, rules.max_repeated) == (2, 255)
    assert (rules.lcu_default_kernel_done_address, rules.lcu_default_kernel_done_count) == (1, 2)


BUFFER_OUT = {
    "dma_address": 0x1_0010_0000,
    "desc_page_size": 64,
    "total_desc_count": 128,
    "bytes_in_pattern": 16,
}
GOLDEN = [
    (33, {"packed_vdma_channel_id": 16, "host_buffer_info": BUFFER_OUT}, "1000000010000100000040008000000010000000"),
    (
        32,
        {
            "packed_vdma_channel_id": 1,
            "host_buffer_info": {
                "dma_address": 0x1_0000_0000,
                "desc_page_size": 256,
                "total_desc_count": 128,
                "bytes_in_pattern": 192,
            },
            "stream_index": 0,
            "network_index": 0,
            "periph_bytes_per_buffer": 192,
            "frame_periph_size": 192,
        },
        "01000000000001000000000180000000c00000000000c000c0000000",
    ),
    (
        22,
        {
            "packed_vdma_channel_id": 0,
            "config_stream_index": 0,
            "host_buffer_info": {
                "dma_address": 0x1_0020_0000,
                "desc_page_size": 512,
                "total_desc_count": 2,
                "bytes_in_pattern": 512,
            },
        },
        "000000000020000100000000020200000000020000",
    ),
    (0, {"descriptors_count": 1, "packed_vdma_channel_id": 0}, "010000"),
    (
        2,
        {"packed_vdma_channel_id": 1, "frame_periph_size": 192, "credit_type": 1},
        "010000c00000000100",
    ),
    (39, {"packed_vdma_channel_id": 1, "edge_layer_direction": 1}, "0101"),
    (
        12,
        {"packed_vdma_channel_id": 0x11, "edge_layer_direction": 2, "initial_credit_size": 2048},
        "1102000000080000",
    ),
    (4, {"packed_lcu_id": 0x25, "kernel_done_address": 0x4D, "kernel_done_count": 9}, "25004d0009000000"),
    (19, {"packed_vdma_channel_id": 0x11, "stream_index": 2, "is_inter_context": 1}, "1102000100"),
    (
        14,
        {
            "h2d_packed_vdma_channel_id": 2,
            "d2h_packed_vdma_channel_id": 0x11,
            "descriptors_per_frame": 16,
            "programmed_descriptors_count": 16,
        },
        "021100100000001000",
    ),
    (34, {"number_of_classes": 3, "burst_size": 1, "division_factor": 1}, "00000300010001"),
]


@pytest.mark.parametrize(("action", "values", "expected"), GOLDEN, ids=[str(row[0]) for row in GOLDEN])
def test_recorded_payloads(action, values, expected):
    """Payload bytes printed in context-switch.md 17."""
    assert ACTIONS[action].payload.pack(**values).hex() == expected


def same(struct: Struct, ours: dict[str, object], recorded: dict[str, object]) -> int:
    """Compare an unpacked payload with the recorder's decoding; returns the number of values."""
    assert list(ours) == list(recorded), struct.name
    compared = 0
    for name, value in recorded.items():
        kind = struct[name].type
        if isinstance(kind, Struct):
            compared += same(kind, ours[name], value)
        elif value != "masked":
            assert ours[name] == value, (struct.name, name)
            compared += 1
    return compared


def test_every_recorded_action_list(facts, checked):
    """Lists of the official library, decoded by the recorder's own code (masked bytes are run-dependent)."""
    compared = 0
    for entry in facts.action_lists():
        raw = bytes.fromhex(entry["raw"])
        at = 0
        for recorded in entry["actions"]:
            header = ACTION_HEADER.unpack(raw, at)
            assert (at, header["action_type"], header["time_stamp"]) == (
                recorded["off"],
                recorded["type"],
                recorded["time_stamp"],
            )
            action = ACTIONS[header["action_type"]]
            assert action.name == recorded["name"]
            at += ACTION_HEADER.size
            values = action.payload.unpack(raw, at)
            at += action.payload.size
            compared += 4
            if action.name != "REPEATED_ACTION":
                compared += same(action.payload, values, recorded.get("fields", {}))
                continue
            sub = ACTIONS[values["sub_action_type"]]
            assert sub.repeatable
            for recorded_sub in recorded["sub"]:
                compared += same(sub.payload, sub.payload.unpack(raw, at), recorded_sub)
                at += sub.payload.size
            assert values["count"] == len(recorded["sub"])
        assert at == len(raw) == entry["length"]
    checked(compared, 2000)


def test_repeated_header_is_the_payload_of_type_24():
    assert ACTIONS[24].payload is REPEATED_HEADER
    assert REPEATED_HEADER.pack(count=2, last_executed=0, sub_action_type=3).hex() == "020003"
