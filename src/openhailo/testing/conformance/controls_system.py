"""Health, watchdogs, logger, sleep, idle time and tests, through the typed client (control-protocol.md 5)."""

from __future__ import annotations

import struct
from functools import partial

from openhailo.driver.link import CPU_APP, CPU_CORE
from openhailo.driver.results import Health, ThrottlingLevel
from openhailo.errors import ControlFailed
from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig

from .controls_device import received
from .raw.exchange import unhex

_LEVELS = (
    ThrottlingLevel(104.0, 99.0, 350_000_000),
    ThrottlingLevel(108.0, 103.0, 300_000_000),
    ThrottlingLevel(112.0, 107.0, 250_000_000),
    ThrottlingLevel(116.0, 111.0, 200_000_000),
)


@check("controls", needs=("sensors",), about=["GET_HEALTH_INFORMATION", "SET_CLOCK_FREQ"])
def health(rig: Rig) -> None:
    """Zones, throttling, thresholds and clocks; cool, and too hot."""
    tail = (104, 99, 120, 116)
    cool = Health(True, 0, 5000.0, False, True, 0, -1, _LEVELS, *tail, 400_000_000, 400_000_000)
    expect("cool", rig.client.health(), cool)
    rig.sensors.set_temperature(113.0)
    hot = Health(True, 0, 5000.0, False, True, 1, 2, _LEVELS, *tail, 400_000_000, 250_000_000)
    expect("hot", rig.client.health(), hot)


@check("controls", needs=("fresh",), about=["GET_HEALTH_INFORMATION"])
def health_from_bytes(rig: Rig) -> None:
    """Each of the 14 parameters from its own bytes; the threshold's odd encoding (control-protocol.md 3.1)."""
    levels = "".join(struct.pack("<ffI", n + 0.5, n + 0.25, n << 24 | 0x010203).hex() for n in (1, 2, 3, 4))
    values = ["01", "02", struct.pack("<f", float(0x88130000)).hex(), "00", "01", "07", "fe", levels]
    values += ["00000069", "fffffff6", "0000007a", "00000075", "01020304", "05060708"]
    body = " ".join(f"{len(value) // 2:08x} {value}" for value in values)
    answer = unhex(f"00000002 00000001 00*4 0000003e 00*8 0000000e {body}")
    wanted_levels = tuple(ThrottlingLevel(n + 0.5, n + 0.25, n << 24 | 0x010203) for n in (1, 2, 3, 4))
    wanted = Health(True, 2, 5000.0, False, True, 7, -2, wanted_levels, 105, -10, 122, 117, 0x01020304, 0x05060708)
    with rig.fresh(answers={62: [answer]}) as other:
        expect("health", other.client.health(), wanted)


@check(
    "controls",
    needs=("state",),
    about=["SET_THROTTLING_STATE", "GET_THROTTLING_STATE", "SET_OVERCURRENT_STATE", "GET_OVERCURRENT_STATE"],
)
def protection(rig: Rig) -> None:
    """Throttling and over-current protection are switched apart."""
    client = rig.client
    for throttling, overcurrent in ((False, True), (True, False), (False, False), (True, True)):
        client.set_throttling(active=throttling)
        client.set_overcurrent_protection(active=overcurrent)
        expect("switches", (client.throttling(), client.overcurrent_protection()), (throttling, overcurrent))
        held = rig.state()["health"]
        expect("held", (held["throttling"], held["overcurrent"]), (throttling, overcurrent))


@check("controls", needs=("state",), about=["SET_CLOCK_FREQ", "GET_DEVICE_INFORMATION"])
def clock(rig: Rig) -> None:
    """The core's clock is what was set; only the clocks of the chip are taken."""
    for clock_hz in (25_000_000, 225_000_000, 400_000_000):
        rig.client.set_clock(clock_hz)
        expect("clock", rig.client.device_information().clock_hz, clock_hz)
    expect_error("401 MHz", ControlFailed, partial(rig.client.set_clock, 401_000_000))


@check("controls", needs=("state",), about=["APP_WD_ENABLE", "APP_WD_CONFIG", "CORE_WD_ENABLE", "CORE_WD_CONFIG"])
def watchdogs(rig: Rig) -> None:
    """Period, mode and switch of each processor."""
    client = rig.client
    for cpu, family, cycles in ((CPU_APP, "app_watchdog", 0x01020304), (CPU_CORE, "core_watchdog", 0x05060708)):
        client.config_watchdog(cpu, cycles, 1)
        client.enable_watchdog(cpu, enable=True)
        expect(family, rig.state()["system"][family], (True, cycles, 1))
        error = expect_error("while enabled", ControlFailed, partial(client.config_watchdog, cpu, 1, 0))
        expect("status words", (error.major, error.minor), (0x40030072, 0x40150002))
        client.enable_watchdog(cpu, enable=False)
        expect(f"{family} off", rig.state()["system"][family], (False, cycles, 1))


@check("controls", needs=("state", "clock"), about=["IDLE_TIME_SET_MEASUREMENT", "IDLE_TIME_GET_MEASUREMENT"])
def idle_time(rig: Rig) -> None:
    """Nanoseconds since it was switched on."""
    client = rig.client
    client.set_idle_time_measurement(enable=True)
    rig.advance(6.0)
    expect_true("six seconds and a little", 6_000_000_000 <= client.idle_time_ns() < 6_010_000_000)
    client.set_idle_time_measurement(enable=False)
    expect_error("switched off", ControlFailed, client.idle_time_ns)


@check(
    "controls",
    needs=("fresh",),
    about=[
        "IDLE_TIME_GET_MEASUREMENT",
        "APP_PREVIOUS_SYSTEM_STATE",
        "CORE_PREVIOUS_SYSTEM_STATE",
        "NN_CORE_LATENCY_MEASUREMENT_READ",
    ],
)
def numbers_from_bytes(rig: Rig) -> None:
    """Values that a twin does not reach by itself."""
    head = "00000002 00000001 00*4 {:08x} 00*8 00000001 {:08x} "
    answers = {
        35: [unhex(head.format(35, 8) + "0102030405060708")],
        40: [unhex(head.format(40, 4) + "01020304")],
        68: [unhex(head.format(68, 4) + "05060708")],
        25: [unhex(head.format(25, 4) + "090a0b0c")],
    }
    with rig.fresh(answers=answers) as other:
        client = other.client
        expect("latency", client.latency_ns(), 0x090A0B0C)
        expect("state of the application CPU", client.previous_system_state(CPU_APP), 0x01020304)
        expect("state of the core CPU", client.previous_system_state(CPU_CORE), 0x05060708)
        client.set_idle_time_measurement(enable=True)
        expect("idle time", client.idle_time_ns(), 0x0102030405060708)


@check("controls", needs=("state",), about=["APP_PREVIOUS_SYSTEM_STATE", "CORE_PREVIOUS_SYSTEM_STATE"])
def previous_state(rig: Rig) -> None:
    """Both processors answer."""
    expect("clean starts", [rig.client.previous_system_state(cpu) for cpu in (CPU_APP, CPU_CORE)], [0, 0])


@check(
    "controls", needs=("state",), about=["NN_CORE_LATENCY_MEASUREMENT_CONFIG", "SET_SLEEP_STATE", "ENABLE_DEBUGGING"]
)
def housekeeping(rig: Rig) -> None:
    """Latency set-up, sleep, debugging, logger, dataflow interrupts, memory tests."""
    client = rig.client
    client.config_latency_measurement(
        enable=True, start_buffer=0x01020304, stop_buffer=0x05060708, input_stream=0x090A0B0C, output_stream=0x0D0E0F10
    )
    received(
        rig,
        "NN_CORE_LATENCY_MEASUREMENT_CONFIG",
        {
            "latency_measurement_en": 1,
            "inbound_start_buffer_number": 0x01020304,
            "outbound_stop_buffer_number": 0x05060708,
            "inbound_stream_index": 0x090A0B0C,
            "outbound_stream_index": 0x0D0E0F10,
        },
    )
    for state in (0, 1):
        client.set_sleep_state(state)
        expect("sleep state", rig.state()["system"]["sleep_state"], state)
    client.enable_debugging(is_rma=True)
    expect("RMA", rig.state()["system"]["is_rma"], True)
    client.set_logger(5, 2)
    expect("logger", rig.state()["log"], {"level": 5, "interfaces": 2})
    client.set_dataflow_interrupt(0x21, 0x22, 0x23)
    expect("dataflow interrupt", rig.state()["contexts"]["dataflow_interrupt"], (0x21, 0x22, 0x23))


@check("controls", needs=("state",), about=["RUN_BIST_TEST"])
def memory_tests(rig: Rig) -> None:
    """Arguments as they were given; what does not exist is refused."""
    blocks = {
        "is_top_test": 1,
        "top_bypass_bitmap": 0x00010203,
        "cluster_index": 4,
        "cluster_bypass_bitmap_0": 0x05060708,
        "cluster_bypass_bitmap_1": 0x090A0B0C,
    }
    rig.client.run_memory_test(**blocks)
    received(rig, "RUN_BIST_TEST", dict(blocks))
    expect_error("cluster 8", ControlFailed, partial(rig.client.run_memory_test, **{**blocks, "cluster_index": 8}))
