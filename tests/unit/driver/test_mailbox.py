"""Control exchanges with literal registers, and every way an answer can be wrong."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from driver_fakes import FakeChip, answer
from hypothesis import given
from hypothesis import strategies as st

from openhailo.driver.control import FirmwareClient
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.errors import (
    BootFailed,
    DeviceLost,
    DeviceTimeout,
    InputError,
    MalformedReply,
    OpenHailoError,
    SequenceMismatch,
    StateError,
)

REQUEST = struct.pack(">5I", 2, 0, 0, 72, 0)


def test_accesses_of_one_exchange(chip: FakeChip, link: PcieLink) -> None:
    chip.on_control = lambda cpu, request: answer(request)
    response = link.control(REQUEST, 1)
    digest = struct.unpack("<4I", hashlib.md5(REQUEST).digest())
    words = [*digest, 20, *struct.unpack("<5I", REQUEST)]
    expected = [("R", 0, 0x708, 0x60000000)]
    for index, word in enumerate(words):
        expected += [("W", 4, index * 4, word), ("R", 4, index * 4, word)]
    expected += [("W", 4, 0x1684, 2), ("R", 0, 0x18C, 1 << 26), ("W", 0, 0x18C, 1 << 26), ("R", 0, 0x18C, 0)]
    assert chip.log[: len(expected)] == expected
    assert [(kind, at) for kind, _, at, _ in chip.log[len(expected) :]] == [
        ("R", at) for at in range(0x640, 0x654 + 28, 4)
    ]
    assert response == answer(REQUEST)


@pytest.mark.parametrize(("cpu", "bell"), [(0, 1), (1, 2), (2, 1)])
def test_doorbell_per_processor(chip: FakeChip, link: PcieLink, cpu: int, bell: int) -> None:
    chip.on_control = lambda _, request: answer(request)
    link.control(REQUEST, cpu)
    assert chip.doorbells == [bell]


@pytest.mark.facts
def test_the_vendor_option_makes_the_recorded_accesses(shared_dir: Path) -> None:
    lines = (shared_dir / "traces/device/identify.bars.txt").read_text(encoding="ascii").splitlines()
    expected = []
    for line in lines[1:]:
        _, _, kind, offset, _, value = line.split()
        expected.append((kind[0], int(kind[1]), int(offset, 16), int(value, 16)))
    words = [value for kind, bar, at, value in expected if (kind, bar) == ("R", 4) and at >= 0x640]
    length = words[4]
    raw = b"".join(struct.pack("<I", word) for word in words[5:])[:length]
    chip = FakeChip()
    chip.on_control = lambda cpu, request: raw
    options = LinkOptions(clock=chip.clock, pause=chip.clock.sleep, vendor_accesses=True)
    with PcieLink(chip, options=options) as link:
        identity = FirmwareClient(link).identify()
        again = FirmwareClient(link).identify()
    assert identity == again and identity.board_name == "Hailo-8"
    # The recording reads the firmware-running register twice: for the device properties, then for the control.
    assert chip.log[: len(expected) - 1] == expected[:-1]


def test_timeout_has_budget_and_elapsed(chip: FakeChip, link: PcieLink) -> None:
    with pytest.raises(DeviceTimeout) as caught:
        link.control(REQUEST, 0, timeout_s=0.25)
    assert caught.value.budget_s == 0.25
    assert caught.value.elapsed_s == pytest.approx(0.25)
    assert "control 72" in str(caught.value)


def test_a_lost_message_is_found_by_looking(chip: FakeChip, link: PcieLink) -> None:
    """The answer is there but its interrupt never came: the status tells."""
    chip.on_control = lambda cpu, request: answer(request)
    plain_wait = chip.irq.wait

    def lossy_wait(timeout_s: float) -> bool:
        plain_wait(timeout_s)
        return False

    chip.irq.wait = lossy_wait  # type: ignore[method-assign]
    assert link.control(REQUEST, 0) == answer(REQUEST)


def test_wrong_digest(chip: FakeChip, link: PcieLink) -> None:
    chip.on_control = lambda cpu, request: chip.put_response(answer(request), digest=b"\1" * 16)
    with pytest.raises(MalformedReply, match="digest"):
        link.control(REQUEST, 0)


@pytest.mark.parametrize("length", [1501, 0xFFFFFFFE])
def test_length_beyond_the_limit_is_not_read(chip: FakeChip, link: PcieLink, length: int) -> None:
    chip.on_control = lambda cpu, request: chip.put_response(b"", length=length)
    with pytest.raises(MalformedReply, match="length"):
        link.control(REQUEST, 0)
    assert sum(1 for kind, bar, at, _ in chip.log if bar == 4 and kind == "R" and at >= 0x640) == 5


def test_another_sequence_is_a_mismatch(chip: FakeChip, link: PcieLink) -> None:
    chip.on_control = lambda cpu, request: answer(request, sequence=9)
    started = chip.clock.now
    with pytest.raises(SequenceMismatch) as caught:
        link.control(REQUEST, 0)
    assert (caught.value.expected, caught.value.seen) == (0, 9)
    assert chip.clock.now == started


def test_a_late_answer_is_passed_over(chip: FakeChip, link: PcieLink) -> None:
    with pytest.raises(DeviceTimeout):
        link.control(REQUEST, 0)
    second = struct.pack(">5I", 2, 0, 5, 46, 0)

    def both(cpu: int, request: bytes) -> None:
        chip.put_response(answer(REQUEST))
        chip.due.append(lambda: chip.put_response(answer(request, b"x")))

    chip.on_control = both
    assert link.control(second, 0) == answer(second, b"x")


def test_only_late_answers_is_a_mismatch_after_the_whole_budget(chip: FakeChip, link: PcieLink) -> None:
    with pytest.raises(DeviceTimeout):
        link.control(REQUEST, 0)
    chip.on_control = lambda cpu, request: answer(REQUEST)
    started = chip.clock.now
    with pytest.raises(SequenceMismatch):
        link.control(struct.pack(">5I", 2, 0, 5, 46, 0), 0, timeout_s=2.0)
    assert chip.clock.now - started == pytest.approx(2.0)


def test_firmware_not_running(chip: FakeChip, link: PcieLink) -> None:
    chip.atr[0x708] = 0
    with pytest.raises(BootFailed):
        link.control(REQUEST, 0)


def test_dead_link_before_and_while_waiting(chip: FakeChip, link: PcieLink) -> None:
    chip.on_control = lambda cpu, request: setattr(chip, "dead", True)
    with pytest.raises(DeviceLost):
        link.control(REQUEST, 0)
    with pytest.raises(DeviceLost):
        link.control(REQUEST, 0)


def test_mailbox_that_forgets_is_a_dead_link(chip: FakeChip, link: PcieLink) -> None:
    plain_load = chip.load
    chip.load = lambda bar, at: 0 if (bar, at) == (4, 0x10) else plain_load(bar, at)  # type: ignore[method-assign]
    with pytest.raises(DeviceLost, match="does not keep"):
        link.control(REQUEST, 0)
    assert chip.doorbells == []


@pytest.mark.parametrize("length", [0, 19, 1501])
def test_requests_of_impossible_length_are_refused(chip: FakeChip, link: PcieLink, length: int) -> None:
    with pytest.raises(InputError):
        link.control(bytes(length), 0)
    assert chip.log == []


def test_closed_link_refuses(chip: FakeChip, options: LinkOptions) -> None:
    link = PcieLink(chip, options=options)
    link.close()
    with pytest.raises(StateError):
        link.control(REQUEST, 0)


@given(st.binary(max_size=1500))
def test_any_answer_is_parsed_or_a_typed_error(raw: bytes) -> None:
    chip = FakeChip()
    chip.on_control = lambda cpu, request: raw
    with PcieLink(chip, options=LinkOptions(clock=chip.clock, pause=chip.clock.sleep)) as link:
        client = FirmwareClient(link, timeout_s=0.01)
        for call in (client.identify, client.health, client.hw_consts, client.main_header):
            with pytest.raises(OpenHailoError):
                call()
