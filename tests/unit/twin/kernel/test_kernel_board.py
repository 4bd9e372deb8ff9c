"""Requests about the board, of every release: literal bytes and errnos of driver.md 1.3, 3, 4, 7.5."""

from __future__ import annotations

import errno
import struct

import pytest
from tests.unit.twin.kernel.calls import fails, watch

from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.violation import TwinViolation

IMAGE_NAME = "hailo/hailo8_fw.bin"


def notify(client, message):
    with client.twin.chip.loop.lock:
        client.twin.chip.notify(message)
    client.twin.run_until_idle()


def test_driver_info(client):
    major, minor, revision = map(int, client.release.split("."))
    assert client.call("INFO")[1] == struct.pack("<III", major, minor, revision)


def test_properties(client):
    assert client.call("PROPERTIES")[1].hex() == "0010000000000000000000000000010000000000000001"


def test_properties_of_a_big_page_kernel(make_client):
    client = make_client(page_size=16384, allocation_mode=1)
    assert client.call("PROPERTIES")[1].hex() == "0040000000000100000000000000010000000000000001"


@pytest.mark.parametrize(("request_size", "expected"), [(0, 128), (1, 256), (2, 4096), (5, 4096)])
def test_page_size_follows_the_read_request(make_client, request_size, expected):
    client = make_client()
    client.driver.function.config.write(0x88, 2, request_size << 12)
    assert client.driver.desc_max_page_size == expected


def test_forced_page_size(make_client):
    assert make_client(force_desc_page_size=256).driver.desc_max_page_size == 256
    fails(errno.EINVAL, make_client, force_desc_page_size=300)
    fails(errno.EINVAL, make_client, force_desc_page_size=65536)


@pytest.mark.parametrize("number", [0x00006E04, 0x00006707, 0x40186E05, 0xC0187700, 0xC0147000, 0x12345678, 0])
def test_unknown_requests(client, number):
    fails(errno.ENOTTY, client.file.ioctl, number, bytearray(4096))


def test_requests_of_other_families(client):
    other = {"A": 0x400C6702}.get(client.family, 0x400C6705)
    fails(errno.ENOTTY, client.file.ioctl, other, bytearray(12))


def test_soc_requests(client):
    code = errno.ENOTTY if client.family == "A" else errno.EINVAL
    for number in (0xC0147300, 0xC0127300, 0x80027301, 0x00007302):
        fails(code, client.file.ioctl, number, bytearray(32))


def test_short_argument(client):
    fails(errno.EFAULT, client.file.ioctl, client.number("INFO"), bytearray(11))


def test_ownership(client, make_open):
    second = make_open(client)
    assert client.call("IN_USE")[1] == b"\0"
    assert client.call("IN_USE")[1] == b"\0"
    assert second.call("IN_USE")[1] == b"\1"
    client.file.close()
    assert client.twin.firmware.calls[-1] == "driver_shutdown"
    assert second.call("IN_USE")[1] == b"\0"


def test_close_by_another_says_nothing(client, make_open):
    client.call("IN_USE")
    make_open(client).file.close()
    assert "driver_shutdown" not in client.twin.firmware.calls


def test_a_silent_shutdown_does_not_keep_the_file_open(client):
    client.call("IN_USE")
    client.twin.faults.shutdown_hangs = True
    client.file.close()
    assert client.driver.files == []
    fails(errno.EBADF, client.call, "INFO")


def test_last_close_switches_off(client, make_open):
    chip = client.twin.chip
    second = make_open(client)
    client.file.close()
    assert chip.registers.values[0x188]
    second.file.close()
    assert chip.registers.values[0x188] == 0
    assert not chip.pci.decodes  # D3hot
    assert make_open(client).call("PROPERTIES")[1][22] == 1


def test_close_interrupted_by_a_signal(client):
    if client.family == "A":
        fails(errno.EINTR, client.file.close_interrupted)
        assert client.driver.files == [client.file]
    else:
        client.file.close_interrupted()
        assert client.driver.files == []
    fails(errno.EBADF, client.call, "INFO")


# --- controls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [20, 21, 22, 23, 1500])
def test_control(client, size):
    payload = bytes(i * 7 & 0xFF for i in range(size))
    assert client.control(payload) == payload[::-1]
    assert client.twin.firmware.calls[-1] == ("control", 0, payload, True)


@pytest.mark.parametrize(("cpu", "seen"), [(0, 0), (1, 1), (2, 0), (77, 0)])
def test_control_cpu(client, cpu, seen):
    client.control(b"abcd" * 5, cpu=cpu)
    assert client.twin.firmware.calls[-1][1] == seen


def test_control_timeouts(client):
    client.twin.firmware.silent = True
    before = client.twin.chip.clock.now_ns()
    fails(errno.ETIMEDOUT, client.control, b"x" * 20, timeout_ms=250)
    assert 250_000_000 <= client.twin.chip.clock.now_ns() - before < 260_000_000
    fails(errno.ETIMEDOUT, client.control, b"x" * 20, timeout_ms=0)


def test_control_without_firmware(client):
    client.twin.chip.registers.values[0x708] = 0
    fails(errno.ENODEV, client.control, b"x" * 20)


def test_control_read_back(client):
    client.twin.faults.corrupt_readbacks = 1
    fails(errno.EIO, client.control, b"x" * 20)


def test_control_answer_too_long(client):
    client.twin.faults.wrong_lengths, client.twin.faults.answer_length_bytes = 1, 1501
    fails(errno.EINVAL, client.control, b"x" * 20)


def test_control_longer_than_its_structure(client):
    with pytest.raises(TwinViolation):
        client.control(b"", length=1501)


def test_a_late_answer_completes_the_next_control(client):
    client.twin.firmware.silent = True
    fails(errno.ETIMEDOUT, client.control, b"first".ljust(20), timeout_ms=10)
    with client.twin.chip.loop.lock:
        client.twin.chip.schedule(15_000, lambda: client.twin.chip.respond(b"late"))
        client.twin.chip.clock.advance_to(client.twin.chip.clock.now_ns())
    assert client.control(b"second".ljust(20), timeout_ms=10) == b"late"


def test_controls_take_turns(client, make_open):
    second = make_open(client)
    client.driver.control_busy = True
    waiting = watch(client, lambda: second.control(b"y" * 20))
    client.driver.control_busy = False
    client.driver.loop_notify()
    assert waiting() == b"y" * 20


def test_a_signal_ends_a_control_that_waits_its_turn(client):
    client.driver.control_busy = True
    entered = watch(client, lambda: client.control(b"y" * 20))
    client.file.interrupt()
    assert entered() == errno.EINTR
    client.driver.control_busy = False


# --- notifications ----------------------------------------------------------------------------------------------------


def test_notification(client):
    notify(client, b"hello")
    data = client.call("READ_NOTIFICATION")[1]
    assert data[:13] == struct.pack("<Q", 5) + b"hello"
    assert client.twin.chip.memory.read(0x60000C80, 2) == b"\0\0"


def test_notifications_of_every_open_are_merged(client, make_open):
    second = make_open(client)
    notify(client, b"one")
    notify(client, b"second")
    for reader in (client, second):
        assert reader.call("READ_NOTIFICATION")[1][:14] == struct.pack("<Q", 6) + b"second"
        assert reader.file.notifications == 0
    notify(client, b"three")
    assert client.call("READ_NOTIFICATION")[1][:14] == struct.pack("<Q", 5) + b"threed"


def test_disable_notification(client):
    code = errno.ECANCELED if client.release >= "4.20" else errno.EINVAL
    blocked = watch(client, lambda: client.call("READ_NOTIFICATION"))
    assert client.call("DISABLE_NOTIFICATION")[0] == 0
    assert blocked() == code
    notify(client, b"more")
    fails(code, client.call, "READ_NOTIFICATION")


def test_a_blocked_reader_gets_the_notification(client):
    blocked = watch(client, lambda: bytes(client.call("READ_NOTIFICATION")[1][:12]))
    with client.twin.chip.loop.lock:
        client.twin.chip.notify(b"news")
    assert blocked() == struct.pack("<Q", 4) + b"news"


def test_a_signal_wakes_the_reader(client):
    blocked = watch(client, lambda: client.call("READ_NOTIFICATION"))
    client.file.interrupt()
    assert blocked() == errno.EINTR


def test_a_forked_child_has_no_waiter(client):
    client.file.process_id += 1
    fails(errno.EFAULT, client.call, "READ_NOTIFICATION")


def test_first_notification_is_lost_where_firmware_ran_already(make_client, make_open):
    client = make_client("4.19.0")
    client.driver.interrupts.boot_done = False  # as when the driver was loaded again and skipped the boot
    notify(client, b"lost")
    assert client.file.notifications == 0
    assert client.twin.chip.memory.read(0x60000C80, 2) == b"\1\0"


# --- logs and memory --------------------------------------------------------------------------------------------------


def log(client, cpu, size):
    _, out = client.call("LOG", struct.pack("<I512sQQ", cpu, b"", size, 0))
    (count,) = struct.unpack_from("<Q", out, 524)
    return bytes(out[4 : 4 + count])


def test_read_log(client):
    client.twin.chip.write_log(0, b"app says this")
    client.twin.chip.write_log(1, b"core says that")
    assert log(client, 0, 7) == b"app say"
    assert log(client, 0, 512) == b"s this"
    assert log(client, 0, 512) == b""
    assert log(client, 1, 512) == b"core says that"
    assert log(client, 1, 0) == b""


def test_log_wraps(client):
    text = bytes(i & 0xFF for i in range(500))
    for _ in range(20):
        client.twin.chip.write_log(0, text)
        assert log(client, 0, 512) == text


def test_log_limits(client):
    fails(errno.EINVAL, log, client, 0, 513)
    fails(errno.EINVAL, log, client, 2, 10)


def transfer(client, direction, kind, address, count, data=b""):
    call = struct.pack("<IIQQ", direction, kind, address, count) + data
    return bytes(client.call("MEMORY", call)[1][24 : 24 + count])


def test_memory_transfer(client):
    if client.release == "4.23.0":
        fails(errno.ENOTTY, client.file.ioctl, 0xD0186700, bytearray(4120))
        return
    transfer(client, 1, 0, 0x60000FFE, 5, b"hello")
    assert transfer(client, 0, 0, 0x60000FFE, 5) == b"hello"
    assert client.driver.registers.is_firmware_loaded()
    assert transfer(client, 0, 0x200, 0x98, 4) == bytes.fromhex("601e6428")
    assert transfer(client, 0, 0x202, 0x10, 4) == bytes(4)
    for bad in ((0, 0, 0, 4097), (2, 0, 0, 4), (0, 0x300, 0, 4), (0, 0x200, 0x3FFE, 4)):
        fails(errno.EINVAL, transfer, client, *bad)


def test_memory_transfer_above_4_gib(client):
    if client.release < "4.19":
        fails(errno.EFAULT, transfer, client, 0, 0, 1 << 32, 4)


# --- life of the board ------------------------------------------------------------------------------------------------


def test_hot_removal(client):
    reader = watch(client, lambda: client.call("READ_NOTIFICATION"))
    client.driver.remove()
    assert reader() == (errno.ECANCELED if client.release >= "4.20" else errno.EINVAL)
    fails(errno.ENODEV, client.call, "INFO")
    fails(errno.ENODEV, client.driver.open)
    fails(errno.ENODEV, client.file.mmap, 4096, 4096)
    client.file.close()


def test_suspend_makes_opens_invalid(client, make_open):
    client.driver.suspend()
    fails(errno.EINVAL, client.call, "INFO")
    fails(errno.EINVAL, client.file.mmap, 4096, 4096)
    client.driver.resume()
    assert make_open(client).call("PROPERTIES")[1][22] == 1
    client.file.close()


def test_suspend_of_an_owned_board(client):
    """Up to 4.18 interrupts are off before the shutdown message, so nobody sees its answer (1.3)."""
    client.call("IN_USE")
    if client.release < "4.19":
        fails(errno.ETIMEDOUT, client.driver.suspend)
    else:
        client.driver.suspend()
    assert client.twin.firmware.calls[-1] == "driver_shutdown"


def test_dead_card(client, make_open):
    client.twin.faults.link_down = True
    fails(errno.ENXIO, make_open, client)


def test_missing_firmware(make_client, release):
    if release < "4.19":
        client = make_client(release, firmware_files={})
        assert client.call("PROPERTIES")[1][22] == 0
        fails(errno.ENODEV, client.control, b"x" * 20)
    else:
        fails(errno.ENOENT, make_client, release, firmware_files={})


def test_bad_firmware(make_client, release):
    fails(errno.EINVAL, make_client, release, firmware_files={IMAGE_NAME: bytes(300)})


def test_too_much_firmware(make_client, release):
    code = errno.EINVAL if release < "4.19" else errno.EFBIG
    fails(code, make_client, release, firmware_files={IMAGE_NAME: bytes(0x50001)})


def test_loading_again(make_client, release):
    """From 4.20 on running firmware is reset and loaded again, before it is left alone (2.4)."""
    client = make_client(release)
    client.driver.close()
    again = type(client.driver)(client.twin, release)
    expected = ["boot"] if release < "4.20" else ["boot", "soft_reset", "boot"]
    assert client.twin.firmware.calls == expected
    again.close()


def test_a_slow_process_does_not_overwrite_the_window(make_client, release):
    """The chip boots only after the driver put window 0 back, however long the process was not running (10.3)."""
    client = make_client(release)
    client.driver.close()
    twin = Twin(clock=SteppedClock(), firmware=type(client.twin.firmware))

    def let_time_pass(event):
        if event.kind == "boot" and event.fields["stage"] == "trigger":
            twin.chip.clock.advance_to(twin.chip.clock.now_ns() + 10_000_000)

    twin.observe(let_time_pass)
    driver = type(client.driver)(twin, release)
    driver.open()
    assert driver.registers.is_firmware_loaded()
    driver.close()


def test_sysfs(client):
    attributes = client.driver.sysfs()
    assert attributes["device_id"] == "1e60:2864"
    assert attributes["version"].strip() == client.release
    assert attributes.get("accelerator_type") == (None if client.family == "A" else "0")
