"""What observers see; sensors; faults."""

from __future__ import annotations

import pytest

from openhailo.twin.clock import SteppedClock
from openhailo.twin.faults import ALWAYS, Faults
from openhailo.twin.sensors import Sensors


@pytest.fixture
def events(host):
    seen = []
    host.twin.observe(seen.append)
    return seen


def kinds(events):
    return [event.kind for event in events]


def test_accesses(host, events):
    host.bar0.read32(0x98)
    host.bar0.write32(0x188, 5)
    host.function.config.read(0, 2)
    host.function.config.write(0x3C, 1, 7)
    assert kinds(events) == ["read", "write", "config_read", "config_write"]
    assert events[0].fields == {"bar": 0, "offset": 0x98, "width": 4, "value": 0x28641E60}
    assert events[1].fields == {"bar": 0, "offset": 0x188, "width": 4, "value": 5}
    assert events[3].fields == {"offset": 0x3C, "width": 1, "value": 7}
    assert events[0].time_ns < events[1].time_ns


def test_a_control(host, events):
    host.send(b"abc", doorbell=2)
    host.function.irq.wait(1.0)
    told = [event for event in events if event.kind not in ("read", "write")]
    assert kinds(told) == ["doorbell", "control", "response", "interrupt", "message"]
    assert told[0].fields == {"bits": 2}
    assert told[1].fields == {"cpu": 1, "request": b"abc", "digest_ok": True}
    assert told[2].fields["response"] == b"cba"
    assert told[3].fields == {"bits": 0x04000000, "channel": None}
    assert told[4].fields == {"sent": True}


@pytest.mark.parametrize("descriptors", [2, 10])
def test_a_transfer(host, make_ring, events, descriptors):
    ring = make_ring(2, 16, 512)
    ring.open()
    ring.program([512] * (descriptors - 1) + [272])
    ring.launch(descriptors)
    host.chip.vdma.pull(2, 512 * (descriptors - 1) + 272)
    told = [event for event in events if event.kind not in ("read", "write")]
    assert kinds(told) == ["channel", "descriptors", "transfer", "interrupt", "message"]
    assert told[1].fields["sizes"] == [512] * (descriptors - 1) + [272]
    assert told[1].fields["controls"] == [0x02] * (descriptors - 1) + [0x2E]
    assert told[1].fields["addresses"] == [ring.buffer.iova + 512 * i for i in range(descriptors)]
    assert told[3].fields["channel"] == 2


def test_boot_and_reset(cold):
    seen = []
    cold.twin.observe(seen.append)
    cold.boot()
    cold.bar4.write32(0x1684, 8)
    cold.twin.run_until_idle()
    stages = [e.fields.get("stage") or e.fields["what"] for e in seen if e.kind in ("boot", "reset")]
    assert stages == ["trigger", "running", "soft reset"]


def test_an_observer_can_stop(host):
    seen = []
    stop = host.twin.observe(seen.append)
    stop()
    stop()
    host.bar0.read32(0x98)
    assert seen == []
    assert not host.chip.observers.watched


def test_an_observer_may_read_registers(host):
    values = []

    def look(event):
        if event.kind == "interrupt":
            values.append(host.chip.bar_read(0, 0x18C))

    host.twin.observe(look)
    host.send(b"abc")
    host.function.irq.wait(1.0)
    assert values == [0x04000000]


def test_firmware_can_trace(host, events):
    host.chip.trace("state", what="configured")
    assert events[-1].kind == "state"
    assert events[-1].fields == {"what": "configured"}


# --- sensors ----------------------------------------------------------------------------------------------------------


def test_sensors_are_a_function_of_the_twins_time():
    def readings():
        clock = SteppedClock()
        sensors = Sensors(clock.now_ns)
        out = []
        for step in range(20):
            clock.advance_to(step * 700_000_000)
            out.append((*sensors.read_temperature_c(), sensors.read_power_w()))
        return out

    first = readings()
    assert first == readings()
    assert len({row[0] for row in first}) > 5
    for ts0, _ts1, _samples, power in first:
        assert abs(ts0 - 43.0) <= 0.2501
        assert abs(power - 1.6) <= 0.0501
    assert [row[2] for row in first] == list(range(1, 21))


def test_sensors_can_be_set(host):
    host.twin.sensors.set_temperature(105.5)
    assert host.twin.sensors.read_temperature_c()[:2] == (105.5, 105.5)
    host.twin.sensors.set_temperature(50.0, 60.0)
    assert host.twin.sensors.read_temperature_c()[:2] == (50.0, 60.0)
    host.twin.sensors.set_power(3.3)
    assert host.twin.sensors.read_power_w() == 3.3
    assert host.twin.sensors.read_current_ma() == 1000.0
    assert host.twin.sensors.read_voltage_mv() == 3300.0


# --- faults -----------------------------------------------------------------------------------------------------------


def test_counters_run_out_and_always_does_not():
    faults = Faults(drop_answers=2, wrong_digests=ALWAYS)
    assert [faults.strikes("drop_answers") for _ in range(3)] == [True, True, False]
    assert all(faults.strikes("wrong_digests") for _ in range(10))
    faults.clear()
    assert faults == Faults()
