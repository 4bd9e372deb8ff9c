"""Controls, notifications, logs (driver.md 3, 4, 10.3)."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin

STATUS = 0x18C
CONTROL_DONE, NOTIFIED = 0x04000000, 0x02000000


def exchange(host, request, **options):
    host.send(request, **options)
    assert host.function.irq.wait(1.0)
    assert host.status() == CONTROL_DONE
    host.bar0.write32(STATUS, CONTROL_DONE)
    return host.response()


@pytest.mark.parametrize(("doorbell", "cpu"), [(1, 0), (2, 1)])
def test_control(host, firmware, doorbell, cpu):
    digest, response = exchange(host, b"hello, chip", doorbell=doorbell)
    assert response == b"pihc ,olleh"
    assert digest == hashlib.md5(response).digest()
    assert firmware.calls[-1] == ("control", cpu, b"hello, chip", True)


@pytest.mark.parametrize("size", [0, 1, 1499, 1500])
def test_sizes(host, size):
    request = bytes(n % 251 for n in range(size))
    assert exchange(host, request)[1] == request[::-1]


def test_the_answer_is_asynchronous(host):
    host.send(b"abc")
    assert host.status() == 0


def test_wrong_digest_and_length_are_told(host, firmware):
    exchange(host, b"abc", digest=bytes(16))
    assert firmware.calls[-1] == ("control", 0, b"abc", False)
    exchange(host, b"abc", length=1501)
    assert firmware.calls[-1][3] is False
    assert len(firmware.calls[-1][2]) == 1500
    exchange(host, b"abc", length=0xFFFFFFFF)
    assert firmware.calls[-1][3] is False


def test_firmware_may_answer_later(host, firmware):
    firmware.answer = lambda _cpu, request, _ok: host.chip.schedule(1_000_000, lambda: host.chip.respond(request))
    assert exchange(host, b"later")[1] == b"later"


def test_no_answer(host):
    host.twin.faults.drop_answers = 1
    host.send(b"abc")
    assert not host.function.irq.wait(1.0)
    assert exchange(host, b"abc")[1] == b"cba"


def test_late_answer(host):
    host.twin.faults.late_answers, host.twin.faults.late_by_ns = 1, 1_500_000_000
    host.send(b"abc")
    assert not host.function.irq.wait(1.0)
    assert host.function.irq.wait(1.0)
    assert host.response()[1] == b"cba"


def test_wrong_answers(host):
    host.twin.faults.wrong_digests = 1
    digest, response = exchange(host, b"abc")
    assert digest != hashlib.md5(response).digest()
    host.twin.faults.wrong_lengths, host.twin.faults.answer_length_bytes = 1, 1501
    host.send(b"abc")
    assert host.function.irq.wait(1.0)
    assert host.bar4.read32(0x650) == 1501


# --- notifications ---------------------------------------------------------------------------------------------------


def read_notification(host):
    word = host.bar4.read32(0xC80)
    assert word & 0xFFFF == 1
    length = word >> 16
    return host.bar4.read_block(0xC84, -(-length // 4) * 4)[:length]


def release_buffer(host, *, narrow=False):
    if narrow:
        host.chip.bar_write(4, 0xC80, 2, 0)
    else:
        host.bar4.write32(0xC80, host.bar4.read32(0xC80) & 0xFFFF0000)


@pytest.mark.parametrize("narrow", [False, True])
def test_one_buffer_many_notifications(host, narrow):
    for text in (b"one", b"two!", b"three"):
        host.chip.notify(text)
    for text in (b"one", b"two!", b"three"):
        assert host.function.irq.wait(1.0)
        assert host.status() == NOTIFIED
        host.bar0.write32(STATUS, NOTIFIED)
        assert host.status() == 0, "the next waits for the buffer"
        assert read_notification(host) == text
        release_buffer(host, narrow=narrow)
    assert host.status() == 0
    assert host.bar4.read32(0xC80) == 5 << 16


def test_a_notification_waits_for_the_boot_interrupt_to_be_seen(cold):
    cold.enable()
    cold.load_image()
    cold.put(0xE0980, b"\1\0\0\0")
    assert cold.function.irq.wait(1.0)
    cold.chip.notify(b"early")
    assert cold.bar4.read32(0xC80) == 0
    cold.bar0.write32(STATUS, NOTIFIED)
    assert cold.status() == NOTIFIED
    assert read_notification(cold) == b"early"


@pytest.mark.parametrize("size", [0, 893])
def test_notification_sizes(host, size):
    with pytest.raises(ValueError, match="notification"):
        host.chip.notify(bytes(size))


def test_largest_notification_stays_inside_window_0(host):
    host.chip.notify(b"n" * 892)
    assert read_notification(host) == b"n" * 892


def test_the_queue_is_bounded(host):
    for n in range(2000):
        host.chip.notify(struct.pack("<I", n))
    assert len(host.chip.mailbox._queue) == 256


# --- logs -------------------------------------------------------------------------------------------------------------


def read_log(host, base, limit=512):
    """The official driver's reading of a log (driver.md 4.2)."""
    host_offset, chip_offset = host.bar4.read32(base), host.bar4.read32(base + 4)
    available = chip_offset - host_offset if chip_offset >= host_offset else 4088 - (host_offset - chip_offset)
    ring = host.bar4.read_block(base + 8, 4088)
    size = min(available, limit)
    data = (ring + ring)[host_offset : host_offset + size]
    host.bar4.write32(base, (host_offset + size) % 4088)
    return data


def test_logs(host):
    host.chip.write_log(0, b"app line\n")
    host.chip.write_log(1, b"core\n")
    assert read_log(host, 0x2000) == b"app line\n"
    assert read_log(host, 0x3000) == b"core\n"
    assert read_log(host, 0x2000) == b""


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=900), max_size=12))
def test_logs_wrap_without_loss_while_they_are_read(pieces):
    from_host = Twin(clock=SteppedClock(), firmware=_NoFirmware, booted=True).function()
    from_host.config.write(0x04, 2, 2)
    host = _Logs(from_host)
    for piece in pieces:
        host.chip.write_log(1, piece)
        assert b"".join(iter(lambda: read_log(host, 0x3000), b"")) == piece


class _Logs:
    def __init__(self, function):
        self.chip, self.bar4 = function.chip, function.window(4)


class _NoFirmware:
    def __init__(self, *_args):
        self.boot = self.halt = lambda *_a: None


def test_an_unread_log_keeps_the_oldest(host):
    host.chip.write_log(0, b"first" + bytes(4000))
    host.chip.write_log(0, b"x" * 500)
    data = b"".join(iter(lambda: read_log(host, 0x2000), b""))
    assert data.startswith(b"first")
    assert len(data) == 4087
