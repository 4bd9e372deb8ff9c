"""Firmware load, soft reset, shutdown: order and timing (driver.md 2.3, 2.4, 10.3)."""

from __future__ import annotations

import pytest

STATUS, ATR0 = 0x18C, 0x708


def trigger(host):
    host.put(0xE0980, b"\1\0\0\0")


def test_cold_state(cold):
    cold.enable()
    assert cold.bar0.read32(ATR0) != 0x60000000
    assert cold.get32(0xE0000) == 1
    assert cold.status() == 0


def test_boot(cold):
    cold.boot()
    assert [cold.bar0.read32(0x700 + at) for at in (0, 4, 8, 12, 16)] == [0x17, 0, 0x60000000, 0, 6]
    ((name, image),) = cold.twin.firmware.calls
    assert name == "boot"
    assert image.version == image.core_version == (4, 23, 0)
    assert image.app_code == b"A" * 80
    assert image.core_code == b"C" * 80


def test_the_restore_of_window_0_after_the_trigger_does_not_undo_the_boot(cold):
    cold.enable()
    cold.load_image()
    cold.point(0xE0000)
    cold.bar4.write32(0x980, 1)
    assert cold.bar0.read32(ATR0) == 0xE0000, "not inside the trigger write"
    cold.point(0)
    assert cold.status() == 0
    assert cold.function.irq.wait(5.0)
    assert cold.status() == 0x02000000
    assert cold.bar0.read32(ATR0) == 0x60000000


def test_window_moves_before_the_interrupt(cold):
    cold.enable()
    cold.load_image()
    trigger(cold)
    while cold.bar0.read32(ATR0) != 0x60000000:
        assert cold.twin.step()
    assert cold.status() == 0
    cold.twin.step()
    assert cold.status() == 0x02000000
    assert cold.twin.run_until_idle() == 0, "once"


@pytest.mark.parametrize(
    "bad",
    [
        {"magic": 0x1DD89DE1},
        {"version": 1},
        {"app_bytes": 79},
        {"app_bytes": 0x40001},
        {"core_bytes": 79},
        {"core_bytes": 0x20001},
    ],
)
def test_bad_images_never_boot(cold, bad):
    cold.enable()
    cold.load_image(**bad)
    trigger(cold)
    assert not cold.function.irq.wait(5.0)
    assert cold.bar0.read32(ATR0) != 0x60000000
    assert cold.get32(0xE0000) != 1
    assert b"header" in cold.bar4.read_block(0x2008, 64)
    assert cold.twin.firmware.calls == []


def test_a_good_image_after_a_bad_one(cold):
    cold.enable()
    cold.load_image(magic=0)
    trigger(cold)
    assert not cold.function.irq.wait(1.0)
    cold.boot()
    assert cold.bar0.read32(ATR0) == 0x60000000


def test_other_trigger_values_do_nothing(cold):
    cold.enable()
    cold.load_image()
    cold.put(0xE0980, b"\2\0\0\0")
    assert not cold.function.irq.wait(1.0)


@pytest.mark.parametrize(("app", "core"), [(0x40000, 0x20000)])
def test_largest_code(cold, app, core):
    cold.enable()
    cold.load_image(app_bytes=app, core_bytes=core)
    trigger(cold)
    assert cold.function.irq.wait(1.0)


def test_boot_hang(cold):
    cold.twin.faults.boot_hangs = True
    cold.enable()
    cold.load_image()
    trigger(cold)
    assert not cold.function.irq.wait(5.0)


def test_soft_reset_answers_later_and_the_chip_waits_for_firmware(host):
    host.bar4.write32(0x1684, 8)
    assert host.status() == 0, "never synchronously"
    assert host.function.irq.wait(0.5)
    assert host.status() == 0x01000000
    host.bar0.write32(STATUS, 0x01000000)
    assert host.bar0.read32(ATR0) != 0x60000000
    assert host.get32(0xE0000) == 1
    assert host.twin.firmware.names() == ["boot", "soft_reset"]
    host.boot()
    assert host.bar0.read32(ATR0) == 0x60000000
    assert host.twin.firmware.names() == ["boot", "soft_reset", "boot"]


def test_soft_reset_drops_what_was_under_way(host):
    late = []
    host.chip.schedule(50_000_000, lambda: late.append("event"))
    host.bar4.write32(0x1684, 8)
    assert host.function.irq.wait(0.01)
    host.twin.run_until_idle()
    assert late == []


def test_soft_reset_hang(host):
    host.twin.faults.soft_reset_hangs = True
    host.bar4.write32(0x1684, 8)
    assert not host.function.irq.wait(5.0)


def test_shutdown_within_5_ms_stops_all_channels(host, make_ring):
    ring = make_ring(2, 4, 512)
    ring.open()
    host.bar4.write32(0x1684, 4)
    assert host.status() == 0
    assert host.function.irq.wait(0.005)
    assert host.status() == 0x08000000
    assert host.twin.firmware.names()[-1] == "driver_shutdown"
    assert ring.control == 0
    assert not host.chip.vdma.is_open(2)


def test_shutdown_hang(host):
    host.twin.faults.shutdown_hangs = True
    host.bar4.write32(0x1684, 4)
    assert not host.function.irq.wait(0.005)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_nobody_hears_the_doorbell_before_boot(cold, bits):
    cold.enable()
    cold.bar4.write32(0x1684, bits)
    assert not cold.function.irq.wait(5.0)
    assert cold.twin.firmware.calls == []


def test_function_reset_is_power_on(host, make_ring):
    ring = make_ring(2, 4, 512)
    ring.open()
    host.function.reset()
    assert host.function.config.read(0x04, 2) == 0x0006, "the operating system puts the command register back"
    assert host.bar0.read32(0x188) == 0
    assert host.bar0.read32(ATR0) == 0
    assert host.bar2.read32(0x40) == 0
    assert host.twin.firmware.names() == ["boot", "halt"]
    host.boot()


def test_booted_twins_answer_for_the_version_asked(make_host):
    twin_host = make_host(booted=True, firmware_version=(4, 17, 0))
    assert twin_host.twin.firmware.calls[0][1].version == (4, 17, 0)
    assert twin_host.twin.firmware.config.firmware_version == (4, 17, 0)
