"""Configuration rules, list parsing and the state machine (context-switch.md 2-4, 15, 20, 22)."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.spec.chip import CHIP
from openhailo.twin.firmware.contexts.lists import ListFault, parse_list

TS = "ffffffff"
HEADER = "01000000010001000201000000000000000000000000000000000001" + "00000000"
ACTIVATION = bytes.fromhex("1e" + TS)
PARK = bytes.fromhex("15" + TS)


def header(**changes: int) -> bytes:
    fields = struct.unpack("<HBBBBBHHI3IB4s", bytes.fromhex(HEADER))
    names = (
        *("dynamic", "asap", "register", "fast", "abbale", "networks", "csm", "batch"),
        *("external", "b0", "b1", "b2", "configs"),
    )
    values = {**dict(zip(names, fields, strict=False)), **changes}
    return struct.pack("<HBBBBBHHI3IB4s", *(values[n] for n in names), fields[-1])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"dynamic": 0}, 0x40130002),
        ({"dynamic": 1022}, 0x40130015),
        ({"networks": 0}, 0x4013005B),
        ({"networks": 9}, 0x4013005B),
        ({"configs": 0}, 0x40130065),
        ({"configs": 5}, 0x40130065),
        ({"batch": 0}, 0x4013003F),
        ({"batch": 64}, 0x4013003F),
        ({"external": 4}, 0x40130076),
    ],
)
def test_bad_headers(host: Any, changes: dict[str, int], status: int) -> None:
    assert host.status(32, header(**changes)) == status
    host.ok(32, header())


def test_at_most_32_applications(host: Any) -> None:
    for _ in range(32):
        host.ok(32, header())
    assert host.status(32, header()) == 0x40130014
    host.ok(71)
    host.ok(32, header())


def test_chunk_rules(host: Any) -> None:
    def chunk(first: int, last: int, kind: int, data: bytes = PARK) -> int:
        return int(host.status(33, bytes([first]), bytes([last]), bytes([kind]), data))

    assert chunk(1, 1, 3) == 0x40130006
    host.ok(32, header())
    assert chunk(1, 1, 4) == 0x4013006D
    assert chunk(1, 1, 3, b"") == 0x40130004
    assert chunk(0, 1, 3) == 0x4013006E
    assert chunk(1, 0, 3) == 0
    assert chunk(1, 1, 2) == 0x4013006E
    assert chunk(0, 1, 2) == 0x4013006E
    assert chunk(0, 1, 3) == 0
    assert chunk(1, 1, 3) == 0x4013006E
    assert chunk(1, 1, 0) == 0
    assert chunk(1, 1, 2) == 0x4013006E
    assert host.enable() == 0x40130036
    assert chunk(1, 1, 1) == 0
    assert chunk(1, 1, 1) == 0x4013006F
    assert chunk(1, 1, 0) == 0x4013006E


def test_memory_is_bounded(make_host: Any) -> None:
    from openhailo.twin.firmware import FirmwareConfig

    host = make_host(FirmwareConfig(context_memory_bytes=3000))
    host.ok(32, header())
    host.ok(33, b"\1", b"\0", b"\3", bytes(1461))
    host.ok(33, b"\0", b"\0", b"\3", bytes(1461))
    assert host.status(33, b"\0", b"\0", b"\3", bytes(1461)) == 0x4013007A


def test_over_long_chunk(host: Any) -> None:
    host.ok(32, header())
    assert host.status(33, b"\1", b"\1", b"\3", bytes(1462)) in (0x40030065, 0x40030099)


def test_nothing_is_configured_while_something_runs(host: Any) -> None:
    host.configure([(3, ACTIVATION), (1, PARK)])
    assert host.enable() == 0
    assert host.status(32, header()) == 0x40130056
    assert host.status(33, b"\1", b"\1", b"\3", PARK) == 0x40130056
    assert host.status(71) == 0x4013006C
    host.reset()
    host.ok(71)
    assert host.enable() == 0x40130037


def test_state_commands(host: Any) -> None:
    host.reset()
    assert host.enable(3) == 0x40130037
    assert host.status(37, b"\2", b"\0", b"\0\0", b"\0\0") == 0x40130019
    host.configure([(3, ACTIVATION), (1, PARK)])
    assert host.enable(0, 64) == 0x4013003F
    assert host.enable(0, 63) == 0


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("2d" + TS, 0x40130018),
        ("15ffff", 0x40130016),
        ("21" + TS + "10", 0x40130016),
        ("18" + TS + "02", 0x4013005C),
        ("18" + TS + "02002d" + "0000", 0x4013005D),
        ("18" + TS + "020018" + "0000", 0x4013005D),
        ("18" + TS + "02001d", 0x4013005D),
        ("18" + TS + "000005", 0x4013005E),
        ("18" + TS + "0300051122", 0x40130016),
        ("24" + TS, 0x40130016),
    ],
)
def test_malformed_lists(host: Any, text: str, status: int) -> None:
    host.configure([(3, bytes.fromhex(text)), (1, PARK)])
    assert host.enable() == status
    host.ok(71)
    host.configure([(3, ACTIVATION), (0, bytes.fromhex("1e" + TS + text)), (1, PARK)])
    assert host.enable() == 0
    host.run()
    (note,) = host.notes
    assert struct.unpack_from("<III", note, 16) == (12, 5, 11)
    assert struct.unpack_from("<IBHHH", note, 28) == (status, 0, 0, 2, 1)
    assert host.twin.firmware.machine.is_idle


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("21" + TS + "01 00 0000100001000000 4000 80000000 10000000", 0x4013003C),
        ("21" + TS + "30 00 0000100001000000 4000 80000000 10000000", 0x402D001B),
        ("21" + TS + "10 01 0000100001000000 4000 80000000 10000000", 0x402D0016),
        ("21" + TS + "10 02 0000100001000000 4000 80000000 10000000", 0x40130066),
        ("21" + TS + "10 00 0010100001000000 4000 80000000 10000000", 0x40130038),
        ("21" + TS + "10 00 0000100001000000 4100 80000000 10000000", 0x40130054),
        ("21" + TS + "10 00 0000100001000000 0020 80000000 10000000", 0x40130054),
        ("21" + TS + "10 00 0000100001000000 4000 01000000 10000000", 0x40130055),
        ("21" + TS + "10 00 0000100001000000 4000 01000100 10000000", 0x40130055),
        ("21" + TS + "10 00 0000100001000000 4000 81000000 10000000", 0x402D0011),
    ],
)
def test_bad_channels_in_activation(host: Any, text: str, status: int) -> None:
    host.configure([(3, bytes.fromhex(text)), (1, PARK)])
    assert host.enable() == status
    assert host.twin.firmware.machine.is_idle


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("00" + TS + "010000", 0x402B0006),  # fetch without an open config channel
        ("11" + TS + "02", 0x4013007C),  # sequencer never triggered
        ("1b" + TS + "010000", 0x402B0005),
        ("22" + TS + "00000000010001", 0x4035000B),
        ("22" + TS + "00000300000001", 0x4035000C),
        ("03" + TS + "0005", 0x4013005B),
        ("0f" + TS, 0x40250003),
        ("0e" + TS + "0211001000000010 00", 0x4013001E),
        ("02" + TS + "010000c00000000100", 0x40330006),
        ("0d" + TS + "010000", 0x4013001E),
        ("23" + TS + "00100000 05 00000000 00 ffffffff 00", 0x40130073),
        ("23" + TS + "01100000 00 00000000 00 ffffffff 00", 0x40130074),
        ("01" + TS + "08" + "00" * 43, 0x4013001C),
        ("16" + TS + "00 03 00 0000200001000000 0002 02000000 00020000", 0x40130069),
        ("07" + TS + "100100" + "00" * 17 + "00 0000100001000000 4000 80000000 10000000", 0x40130026),
        (
            "07" + TS + "100100 1000010010000100" + "00" * 9 + "00 0000100001000000 4000 80000000 10000000",
            0x4013001E,
        ),
    ],
)
def test_failing_actions(host: Any, text: str, status: int) -> None:
    host.configure([(3, ACTIVATION), (1, bytes.fromhex("1e" + TS + text))])
    assert host.enable() == 0
    host.run()
    (note,) = host.notes
    assert struct.unpack_from("<IBHHH", note, 28) == (status, 0, 0, 3, 1)


def test_sequencer_and_configuration_barriers(host: Any) -> None:
    text = (
        "01" + TS + "02" + "00" * 43 + "11" + TS + "02" + "14" + TS + "05" + "10" + TS + "05" + "13" + TS + "1000000000"
    )
    host.configure([(3, ACTIVATION), (1, bytes.fromhex(text) + PARK)])
    assert host.enable() == 0
    host.run()
    assert host.notes == []
    assert not host.twin.firmware.machine.is_idle


def test_a_cycle_without_waits_does_not_spin(host: Any) -> None:
    host.configure([(3, ACTIVATION), (1, ACTIVATION)])
    assert host.enable() == 0
    host.run()
    assert host.notes == []


def test_sleep_takes_virtual_time(host: Any) -> None:
    host.configure([(3, ACTIVATION), (1, bytes.fromhex("2b" + TS + "40420f00") + bytes.fromhex("11" + TS + "02"))])
    host.enable()
    before = host.twin.chip.clock.now_ns()
    host.run()
    assert host.twin.chip.clock.now_ns() - before >= 1_000_000_000
    assert len(host.notes) == 1


def test_halt_and_continue(host: Any) -> None:
    host.configure([(3, ACTIVATION), (1, bytes.fromhex("2c" + TS) + bytes.fromhex("11" + TS + "02"))])
    assert host.status(52, bytes(4), b"\1", bytes(11)) == 0x40130048
    host.enable()
    host.run()
    assert host.notes == []
    host.ok(52, bytes(4), b"\1", bytes(11))
    host.run()
    assert len(host.notes) == 1


def test_breakpoint(host: Any) -> None:
    host.configure([(3, ACTIVATION), (1, bytes.fromhex("1e" + TS + "1f" + TS + "11" + TS + "02"))])
    data = struct.pack("<BBBHBHBH", 0, 0, 1, 0, 0, 3, 0, 1)
    assert host.ok(53, bytes(4)) == [b"\0"]
    host.ok(52, bytes(4), b"\0", data)
    assert host.ok(53, bytes(4)) == [b"\1"]
    assert host.status(52, bytes(4), b"\0", data) == 0x40130047
    host.enable()
    host.run()
    # event 9: application 0, batch 0, context 3 (first dynamic), action 1; layout as in the recorded notification
    assert [note.hex()[32:] for note in host.notes] == ["09000000040000000700000000000003000100"]
    assert host.ok(53, bytes(4)) == [b"\2"]
    host.ok(52, bytes(4), b"\1", data)
    host.run()
    assert struct.unpack_from("<I", host.notes[1], 16) == (12,)
    assert host.ok(53, bytes(4)) == [b"\0"]
    assert host.status(52, struct.pack("<I", 300), b"\0", data) == 0x40130044
    assert host.status(52, bytes(4), b"\3", data) == 0x40130045


def test_clear_releases_a_reached_breakpoint(host: Any) -> None:
    host.configure([(3, ACTIVATION), (1, bytes.fromhex("11" + TS + "02"))])
    host.ok(52, bytes(4), b"\0", struct.pack("<BBBHBHBH", 1, 0, 1, 0, 1, 0, 1, 0))
    host.enable()
    host.run()
    assert len(host.notes) == 1
    host.ok(52, bytes(4), b"\2", bytes(11))
    host.run()
    assert len(host.notes) == 2


def test_download_with_time_stamps(host: Any) -> None:
    block = "18" + TS + "020003" + "0000" + "0100"
    sent = bytes.fromhex("2b" + TS + "e8030000" + block) + PARK
    host.configure([(3, ACTIVATION), (1, sent)])
    request = (bytes(4), b"\1", bytes(2), bytes(2))
    assert host.ok(36, *request)[4] == sent
    assert host.status(59, bytes(2), b"\0") == 0x40130053
    host.ok(59, bytes(2), b"\1")
    host.enable()
    host.run()
    base, is_end, _, _, live = host.ok(36, *request)
    assert base != bytes(4)
    assert is_end == b"\1"
    assert len(live) == len(sent)
    assert struct.unpack_from("<I", live, 1)[0] >= 1000
    assert struct.unpack_from("<I", live, 10)[0] >= 1000
    assert live[14:17].hex() == "020103"
    assert live[-4:] == b"\xff" * 4  # still parked: not executed yet
    assert host.ok(36, bytes(4), b"\1", bytes(2), struct.pack(">H", 9))[4] == live[9:]
    assert host.status(36, bytes(4), b"\1", bytes(2), struct.pack(">H", 999)) == 0x4013003D
    assert host.status(36, bytes(4), b"\1", b"\1\0", bytes(2)) == 0x40130013
    assert host.status(36, b"\0\0\0\5", b"\1", bytes(2), bytes(2)) == 0x4013004C


def test_download_of_a_long_list_comes_in_pieces(host: Any) -> None:
    host.configure([(3, ACTIVATION), (1, ACTIVATION * 400)])
    first = host.ask(36, bytes(4), b"\1", bytes(2), bytes(2))
    assert len(first) <= 1500
    from_first = len(host.ok(36, bytes(4), b"\1", bytes(2), bytes(2))[4])
    rest = host.ok(36, bytes(4), b"\1", bytes(2), struct.pack(">H", from_first))
    assert from_first + len(rest[4]) == 2000
    assert rest[1] == b"\1"


def test_main_header(host: Any) -> None:
    assert host.ok(54) == [bytes(1025)]
    host.ok(32, header(batch=5))
    (blob,) = host.ok(54)
    assert blob[0] == 1
    assert blob[1:33] == header(batch=5)
    assert blob[33:] == bytes(992)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_hostile_lists_are_bounded(data: bytes) -> None:
    try:
        steps = parse_list(CHIP, data)
    except ListFault as fault:
        assert fault.status in CHIP.statuses
        return
    assert len(steps) <= len(data)
