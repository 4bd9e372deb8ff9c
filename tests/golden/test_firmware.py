"""Firmware image against driver.md 2.3; program image against its written format."""

from __future__ import annotations

import pytest

from openhailo.spec.config import CATEGORIES, USER_CONFIG_ENTRY, USER_CONFIG_HEADER, UserConfigRules
from openhailo.spec.firmware import CERTIFICATE_HEADER, IMAGE_HEADER, FirmwareRules
from openhailo.spec.program import IO_RECORD, PROGRAM_HEADER, FormatOrder, IoDirection, ProgramKind, ProgramRules


def test_image_header():
    header = IMAGE_HEADER.pack(magic=0x1DD89DE0, firmware_major=4, firmware_minor=23, code_size=80)
    assert header.hex() == "e09dd81d0000000004000000170000000000000050000000"
    assert CERTIFICATE_HEADER.pack(key_size=1, content_size=0x1000).hex() == "0100000000100000"


def test_image_rules():
    """Limits of driver.md 2.3; the smallest accepted file has 216 bytes."""
    rules = FirmwareRules()
    assert (rules.magic, rules.header_version, rules.min_code_bytes) == (0x1DD89DE0, 0, 80)
    assert (rules.max_app_code_bytes, rules.max_core_code_bytes) == (0x40000, 0x20000)
    assert (rules.max_key_bytes, rules.max_content_bytes, rules.max_file_bytes) == (0x1000, 0x1000, 0x50000)
    assert 2 * (IMAGE_HEADER.size + rules.min_code_bytes) + CERTIFICATE_HEADER.size == 216


def test_user_config_blob():
    """The blob that the official tool decoded as max_neural_network_core_clock_rate = 400 MHz."""
    blob = bytes.fromhex("0ba4f61f 00000000 01000000 0100 0600 04000000 0084d717")
    rules = UserConfigRules()
    assert USER_CONFIG_HEADER.unpack(blob) == {"magic": 0x1FF6A40B, "version": 0, "entry_count": 1}
    assert (rules.magic, rules.version) == (0x1FF6A40B, 0)
    entry = USER_CONFIG_ENTRY.unpack(blob, 12)
    assert entry == {"category": 1, "entry_id": 6, "entry_size": 4}
    known = {(e.category, e.entry_id): e for e in rules.entries}
    assert known[1, 6].name == "max_neural_network_core_clock_rate"
    assert int.from_bytes(blob[20:], "little") == 400_000_000
    assert CATEGORIES[entry["category"]] == "system"


def ids_of(cell: str) -> list[int]:
    """The entry ids that a cell such as ``6``, ``1,3`` or ``8-11`` stands for."""
    first, dash, last = cell.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(part) for part in cell.split(",")]


@pytest.mark.facts
def test_user_config_table(facts, checked):
    """Every entry of the table in control-protocol.md 10: category, id, size, count, and the name where it has one."""
    known = {(e.category, e.entry_id): e for e in UserConfigRules().entries}
    category, seen = -1, []
    for row in facts.rows(facts.section("control-protocol.md", "10. Logs, user config")):
        if len(row) != 5 or not row[1][:1].isdigit():
            continue
        category = int(row[0].split()[0]) if row[0] else category
        assert not row[0] or CATEGORIES[category] == row[0].split()[1]
        ids, names = ids_of(row[1]), row[2].split(", ")
        for index, entry_id in enumerate(ids):
            entry = known[category, entry_id]
            size, _, count = row[3].partition("×")
            assert (entry.size, entry.count) == (int(size), int(count or 1)), row
            if len(names) == len(ids) and all(name.isidentifier() for name in names):
                assert entry.name == names[index]
            seen.append((category, entry_id))
    assert sorted(seen) == sorted(known)
    checked(4 * len(seen), 4 * 38)


def test_program_image():
    """Field by field, so that compiler and virtual chip cannot drift together."""
    header = PROGRAM_HEADER.pack(
        magic=b"OHPROG\0\1", kind=1, io_count=2, payload_size=0x0102, payload_xxh3=0x1122334455667788
    )
    assert header.hex() == ("4f4850524f470001010000000200000002010000000000008877665544332211" + "00" * 32)
    record = IO_RECORD.pack(
        direction=0x81,
        stream_index=0x83,
        order=0x86,
        data_bytes=0x82,
        height=4,
        width=5,
        features=6,
        padded_height=7,
        padded_width=8,
        padded_features=9,
        transfer_bytes=10,
        name=b"out",
    )
    assert len(record) == 192
    assert record.hex() == (
        "818386820400000005000000060000000700000008000000090000000a0000006f7574" + "00" * (125 + 32)
    )
    rules = ProgramRules()
    assert (rules.magic, rules.alignment, rules.config_stream, rules.max_io) == (b"OHPROG\0\1", 8, 0, 32)
    assert (ProgramKind.ONNX, ProgramKind.SNN) == (1, 2)
    assert (IoDirection.HOST_TO_DEVICE, IoDirection.DEVICE_TO_HOST) == (0, 1)
    assert (FormatOrder.NHWC, FormatOrder.NHCW, FormatOrder.NC) == (1, 2, 6)
