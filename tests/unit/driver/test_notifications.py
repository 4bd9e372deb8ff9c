"""Notifications and logs, and what a hostile device may put there."""

from __future__ import annotations

import struct

import pytest
from driver_fakes import MAILBOX_BASE, FakeChip
from hypothesis import given
from hypothesis import strategies as st

from openhailo.driver.events import parse_notification
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.errors import InputError, MalformedReply
from openhailo.spec.chip import CHIP

BUFFER = MAILBOX_BASE + 0xC80


def event(event_id: int, count: int, payload: bytes) -> bytes:
    return struct.pack("<7I", 1, 5, 1, 3, event_id, count, len(payload)) + payload


def test_a_notification_is_copied_and_its_flag_cleared(chip: FakeChip, link: PcieLink) -> None:
    chip.put_notification(b"hello world")
    assert link.read_notification(1.0) == b"hello world"
    # The length stays, the flag goes: one 32-bit write.
    assert chip.memory[BUFFER] == 11 << 16
    assert ("W", 4, 0xC80, 11 << 16) in chip.log
    assert link.read_notification(0.1) is None


def test_several_are_queued_in_order(chip: FakeChip, link: PcieLink) -> None:
    for text in (b"one", b"two"):
        chip.put_notification(text)
        link.wait_channels(1, 0.0)
    assert [link.read_notification(0), link.read_notification(0)] == [b"one", b"two"]


def test_the_queue_is_bounded(chip: FakeChip, link: PcieLink) -> None:
    for number in range(300):
        chip.put_notification(struct.pack("<I", number))
        link.wait_channels(1, 0.0)
    kept = []
    while (payload := link.read_notification(0)) is not None:
        kept.append(struct.unpack("<I", payload)[0])
    assert kept == list(range(44, 300))


@pytest.mark.parametrize("length", [893, 0xFFFF])
def test_impossible_lengths_are_dropped_and_acknowledged(chip: FakeChip, link: PcieLink, length: int) -> None:
    chip.put_notification(b"x", length=length)
    assert link.read_notification(0.1) is None
    assert chip.memory[BUFFER] & 0xFFFF == 0
    assert sum(1 for kind, bar, _, _ in chip.log if (kind, bar) == ("R", 4)) == 1


def test_an_interrupt_without_a_message_is_ignored(chip: FakeChip, link: PcieLink) -> None:
    chip.put_notification(b"x", flag=0)
    assert link.read_notification(0.1) is None


def test_a_notification_from_before_is_found_at_attach(chip: FakeChip, options: LinkOptions) -> None:
    """Its interrupt was cleared with the others; the firmware would wait for ever for its buffer."""
    chip.put_notification(b"early")
    with PcieLink(chip, options=options) as link:
        assert link.read_notification(0) == b"early"


# --- logs --------------------------------------------------------------------------------------------------------


def put_log(chip: FakeChip, base: int, host: int, chip_offset: int, data: bytes = b"") -> None:
    raw = struct.pack("<II", host, chip_offset) + data.ljust(4088, b".")
    for at in range(0, 4096, 4):
        chip.bar4[base + at] = struct.unpack_from("<I", raw, at)[0]


@pytest.mark.parametrize(("cpu", "base"), [(0, 0x2000), (1, 0x3000)])
def test_log_is_read_and_consumed(chip: FakeChip, link: PcieLink, cpu: int, base: int) -> None:
    put_log(chip, base, 3, 11, b"0123456789abcdef")
    assert link.read_log(cpu) == b"3456789a"
    assert chip.bar4[base] == 11
    assert link.read_log(cpu) == b""


def test_log_wraps_at_4088(chip: FakeChip, link: PcieLink) -> None:
    data = bytes(i * 3 & 0xFF for i in range(4088))
    put_log(chip, 0x2000, 4081, 5, data)
    assert link.read_log(0) == data[4081:] + data[:5]
    assert chip.bar4[0x2000] == 5


@pytest.mark.parametrize(("host", "chip_offset"), [(4088, 0), (0, 4088), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_hostile_log_offsets(chip: FakeChip, link: PcieLink, host: int, chip_offset: int) -> None:
    put_log(chip, 0x2000, host, chip_offset)
    with pytest.raises(MalformedReply):
        link.read_log(0)


def test_there_is_no_third_processor(link: PcieLink) -> None:
    with pytest.raises(InputError):
        link.read_log(2)


# --- events ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "name", "values"),
    [
        (event(2, 4, struct.pack("<IIff", 1, 0, 9.0, 8.5)), "HEALTH_MONITOR_TEMPERATURE_ALARM", (1, 0, 9.0, 8.5)),
        (event(3, 2, struct.pack("<ff", 121.0, 120.0)), "HEALTH_MONITOR_CLOSED_STREAMS", (121.0, 120.0)),
        (event(4, 4, struct.pack("<IfB", 1, 2.5, 1)), "HEALTH_MONITOR_OVERCURRENT_PROTECTION_ALERT", (1, 2.5, 1)),
        (event(5, 1, struct.pack("<H", 3)), "HEALTH_MONITOR_LCU_ECC_CORRECTABLE", (3,)),
        (event(9, 4, struct.pack("<BHHH", 1, 2, 3, 4)), "CONTEXT_SWITCH_BREAKPOINT_REACHED", (1, 2, 3, 4)),
        (event(10, 2, struct.pack("<II", 400, 200)), "HEALTH_MONITOR_CLOCK_CHANGED", (400, 200)),
        (
            event(12, 5, struct.pack("<IBHHH", 0x4013007B, 1, 2, 3, 4)),
            "CONTEXT_SWITCH_RUN_TIME_ERROR",
            (0x4013007B, 1, 2, 3, 4),
        ),
        (event(13, 1, struct.pack("<Q", 1 << 40)), "START_UPDATE_CACHE_OFFSET", (1 << 40,)),
    ],
)  # fmt: skip
def test_events(raw: bytes, name: str, values: tuple[float, ...]) -> None:
    notification = parse_notification(CHIP, raw)
    assert (notification.name, notification.sequence, notification.priority) == (name, 5, 1)
    assert tuple(notification.values.values()) == values


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"x" * 27, "header alone"),
        (bytes(49), "at most 48"),
        (event(14, 1, bytes(4)), "no event 14"),
        (event(5, 2, bytes(2)), "2 parameters, 1 expected"),
        (event(5, 1, b"\0"), "1 payload bytes"),
    ],
)
def test_broken_events(raw: bytes, words: str) -> None:
    with pytest.raises(MalformedReply, match=words):
        parse_notification(CHIP, raw)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_a_typed_error(raw: bytes) -> None:
    try:
        assert parse_notification(CHIP, raw).event_id in range(14)
    except MalformedReply as error:
        assert "notification" in str(error)
