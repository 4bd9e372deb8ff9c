"""The official kernel driver's recorded register accesses, replayed against the twin (traces: `device/*.bars.txt`)."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.facts


def accesses(path):
    """Yield (is_write, bar, offset, width, value) per line of a recording."""
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            _order, _time, access, offset, width, value = line.split()
            yield access[0] == "W", int(access[1]), int(offset, 16), int(width), int(value, 16)


def replay(host, path, *, answers=()):
    """Repeat the writes and compare the reads, but for ``answers`` (bar, offset); returns how many were compared."""
    compared = 0
    for is_write, bar, offset, width, value in accesses(path):
        if is_write:
            host.chip.bar_write(bar, offset, width, value)
            continue
        if (bar, offset) == (0, 0x18C) and value:
            assert host.function.irq.wait(1.0), f"no interrupt where 0x{value:X} was recorded"
        seen = host.chip.bar_read(bar, offset, width)
        if (bar, offset) not in answers:
            assert seen == value, f"BAR{bar}+0x{offset:X}: 0x{seen:X}, recorded 0x{value:X}"
            compared += 1
    return compared


def power_up(host):
    host.function.config.write(0x04, 2, 0x0006)
    host.function.irq.enable()


def test_cold_probe(cold, shared_dir):
    power_up(cold)
    assert replay(cold, shared_dir / "traces/device/driver_load.bars.txt") > 200
    ((name, image),) = cold.twin.firmware.calls
    assert name == "boot"
    assert image.version[:2] == (4, 23)
    assert image.app_code == bytes(range(256))
    assert image.core_code == b"\xc0" * 256


def test_reload_while_firmware_runs(cold, shared_dir):
    power_up(cold)
    replay(cold, shared_dir / "traces/device/driver_load.bars.txt")
    assert replay(cold, shared_dir / "traces/device/driver_reload_firmware_running.bars.txt") > 200
    assert cold.twin.firmware.names() == ["boot", "soft_reset", "boot"]


def test_identify(cold, shared_dir):
    power_up(cold)
    replay(cold, shared_dir / "traces/device/driver_load.bars.txt")
    path = shared_dir / "traces/device/identify.bars.txt"
    responses = {(4, offset) for offset in range(0x640, 0xC80, 4)}
    assert replay(cold, path, answers=responses) > 20
    requests = [call for call in cold.twin.firmware.calls if call[0] == "control"]
    assert requests
    assert all(digest_ok for *_, digest_ok in requests)
