"""Checks that a real board can take: they read, or set what is set already, and judge by plausibility."""

from __future__ import annotations

from functools import partial

from openhailo.driver.link import CPU_APP, CPU_CORE
from openhailo.errors import ControlFailed
from openhailo.spec.enums import DeviceArchitecture, NnClock
from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig


@check("board", needs=("link",), about=["IDENTIFY"])
def identity_is_stable(rig: Rig) -> None:
    """Twice the same, protocol 2, a known architecture, a release of the 4.x line."""
    first, second = rig.client.identify(), rig.client.identify()
    expect("identity", second, first)
    expect("protocol version", first.protocol_version, 2)
    expect_true(f"architecture {first.architecture}", first.architecture in {kind.value for kind in DeviceArchitecture})
    expect("major version", first.version.major, 4)
    expect_true("printable names", (first.board_name + first.serial_number + first.part_number).isprintable())


@check("board", needs=("link",), about=["CORE_IDENTIFY"])
def both_processors_agree(rig: Rig) -> None:
    """The core CPU runs the same release, and says that it is the core CPU."""
    app, core = rig.client.identify().version, rig.client.core_identify()
    expect("version", str(core), str(app))
    expect("who is who", (app.is_core, core.is_core), (False, True))


@check("board", needs=("link",), about=["GET_DEVICE_INFORMATION"])
def device_information_is_plausible(rig: Rig) -> None:
    """A clock that the core has, PCIe among the features, the identifiers at their width."""
    info = rig.client.device_information()
    expect_true(f"clock of {info.clock_hz} Hz", info.clock_hz in {clock.value for clock in NnClock})
    expect_true("PCIe", "pcie" in info.features)
    expect("widths", (len(info.soc_id), len(info.mac_address), len(info.lot_id), len(info.pd_info)), (32, 6, 8, 24))


@check("board", needs=("link",), about=["GET_CHIP_TEMPERATURE"])
def temperature_is_plausible(rig: Rig) -> None:
    """Between -40 and 125 degrees Celsius, both sensors within 20 of each other."""
    seen = rig.client.chip_temperature()
    expect_true(f"temperatures {seen}", all(-40 <= value <= 125 for value in (seen.ts0_c, seen.ts1_c)))
    expect_true("two sensors of one die", abs(seen.ts0_c - seen.ts1_c) < 20)


@check("board", needs=("link",), about=["GET_HEALTH_INFORMATION"])
def health_is_plausible(rig: Rig) -> None:
    """Zones that exist, thresholds in their order, four levels of known clocks."""
    health = rig.client.health()
    expect_true("zones", health.temperature_zone in (0, 1, 2) and health.overcurrent_zone in (0, 1))
    rising = (health.orange_hysteresis_c, health.orange_threshold_c, health.red_hysteresis_c, health.red_threshold_c)
    expect("order of the thresholds", sorted(rising), list(rising))
    expect("throttling levels", len(health.throttling_levels), 4)
    expect_true("level", -1 <= health.temperature_throttling_level < 4)


@check("board", needs=("link",), about=["GET_HW_CONSTS"])
def constants_are_plausible(rig: Rig) -> None:
    """Powers of two where the formulas need them (context-switch.md 14)."""
    consts = rig.client.hw_consts()
    grain = consts.fifo_word_granularity_bytes
    expect_true(f"granularity of {grain}", grain > 0 and grain & (grain - 1) == 0)
    expect("whole words", consts.max_acceptable_bytes_per_buffer % grain, 0)
    expect_true("room for a frame", consts.max_periph_buffers_per_frame and consts.outbound_data_stream_size)


@check("board", needs=("link",), about=["SET_THROTTLING_STATE", "GET_THROTTLING_STATE", "SET_OVERCURRENT_STATE"])
def switches_keep_what_they_are(rig: Rig) -> None:
    """Setting what is set changes nothing."""
    client = rig.client
    throttling, overcurrent = client.throttling(), client.overcurrent_protection()
    client.set_throttling(active=throttling)
    client.set_overcurrent_protection(active=overcurrent)
    expect("switches", (client.throttling(), client.overcurrent_protection()), (throttling, overcurrent))


@check("board", needs=("link",), about=["CHANGE_CONTEXT_SWITCH_STATUS", "CONTEXT_SWITCH_CLEAR_CONFIGURED_APPS"])
def reset_is_idempotent(rig: Rig) -> None:
    """RESET and CLEAR may be sent at any time, and leave nothing configured (context-switch.md trap 11)."""
    for _ in range(2):
        rig.client.reset_applications()
        rig.client.clear_configured_apps()
    expect("applications", rig.client.main_header(), [])


@check("board", needs=("link",), about=["ControlFailed", "CHANGE_CONTEXT_SWITCH_STATUS"])
def refusals_are_told(rig: Rig) -> None:
    """An application that was never configured cannot be activated."""
    rig.client.reset_applications()
    rig.client.clear_configured_apps()
    error = expect_error("application 31", ControlFailed, partial(rig.client.enable_application, 31))
    expect("opcode", error.opcode, 37)
    expect_true("a status word", error.major)


@check("board", needs=("link",), about=["SENSOR_GET_SECTIONS_INFO", "READ_BOARD_CONFIG"])
def stores_can_be_read(rig: Rig) -> None:
    """Eight sensor sections and 500 bytes of board configuration."""
    expect("sections", len(rig.client.sensor_sections()), 8)
    expect("board configuration", len(rig.client.read_board_config()), 500)


@check("board", needs=("link",), about=["log_header"])
def logs_can_be_read(rig: Rig) -> None:
    """Each log is at most a ring long."""
    for cpu in (CPU_APP, CPU_CORE):
        expect_true("at most a ring", len(rig.link.read_log(cpu)) <= 4088)
