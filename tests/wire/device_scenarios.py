"""Scenarios of the device itself: what our driver and its firmware client do for each recorded command."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from openhailo.bus import sysfs
from openhailo.driver.control import FirmwareClient
from openhailo.driver.events import parse_notification
from openhailo.spec.enums import AveragingFactor, Dvm, PowerMeasurementType, ResetType, SamplingPeriod

from .bars import compare_phases, only_handler, without_handler
from .compare import Check, compare_accesses, compare_controls, compare_doorbells, not_applicable
from .ioctl_compare import compare_requests
from .ioctl_rig import IoctlRig
from .recording import BarAccess, Recording
from .rig import Rig, recorded_image

Replay = Callable[[Recording], list[Check]]
Calls = Callable[[FirmwareClient], Mapping[str, object]]

NOTIFICATION_AT, IN_USE_SIZE = 0xC80, 4
LOG_PATTERNS = {0: b"APP-LOG-", 1: b"CORE-LOG"}
LOG_BYTES = 900


# --- commands that are controls -----------------------------------------------------------------------------------


def controls(calls: Calls, recording: Recording) -> list[Check]:
    """Open, make the calls of a command, close; compare the controls and what the answers were taken for."""
    decoded = Check("decoded answers")
    with Rig(recording) as rig:
        client = rig.client()
        for what, value in calls(client).items():
            wanted = PRINTED.get((recording.name, what), PRINTED.get(("", what)))
            if wanted is not None:
                decoded.expect(what, value, wanted)
        rig.close()
        checks = [compare_controls(rig.journal.controls, recording.controls)]
        checks.append(compare_doorbells(recording, rig.journal))
        if decoded.compared:
            checks.append(decoded)
        if recording.bars is not None:
            checks += compare_phases(rig.journal.accesses, recording)
    return checks


#: What the recorded programs printed (the ``stdout`` of the recordings): (scenario, what) -> value.
PRINTED: Mapping[tuple[str, str], object] = {
    ("", "firmware"): "4.23.0",
    ("", "architecture"): 1,
    ("identify_hailo8l", "architecture"): 2,
    ("", "board"): "Hailo-8",
    ("", "serial"): "SIM0000000000001",
    ("", "part"): "SIM-PART",
    ("", "product"): "SIMULATED HAILO-8",
    ("", "clock"): 400_000_000,
    ("", "features"): frozenset({"current_monitoring", "pcie"}),
    ("", "lcs"): 3,
    ("", "soc"): bytes(range(32)),
    ("", "mac"): bytes.fromhex("020000000001"),
    ("", "core firmware"): "4.23.0",
    ("", "temperature"): (42.5, 43.25, 7),
    ("", "power"): 2.5,
    ("", "statistics"): (100, 1.5, 3.5, 2.5, 1.0),
    ("", "throttling"): True,
    ("", "previous state"): (0, 0),
    ("", "user configuration"): (24, 1),
    ("", "user configuration bytes"): 24,
    ("", "board configuration bytes"): 500,
    ("", "sections"): 8,
    ("", "memory bytes"): 12,
}


def _identity(client: FirmwareClient) -> dict[str, object]:
    who = client.identify()
    version = who.version
    return {
        "firmware": f"{version.major}.{version.minor}.{version.revision}",
        "architecture": who.architecture,
        "board": who.board_name,
        "serial": who.serial_number,
        "part": who.part_number,
        "product": who.product_name,
    }


def _identify(client: FirmwareClient) -> Mapping[str, object]:
    client.identify()
    return _identity(client)


def _identify_extended(client: FirmwareClient) -> Mapping[str, object]:
    return {**_identify(client), **_extended(client)}


def _extended(client: FirmwareClient) -> dict[str, object]:
    more = client.device_information()
    return {
        "clock": more.clock_hz,
        "features": more.features,
        "lcs": more.lcs,
        "soc": more.soc_id,
        "mac": more.mac_address,
    }


def _measure_power(client: FirmwareClient, dvm: int, kind: int) -> Mapping[str, object]:
    client.identify()
    client.stop_power_measurement()
    client.set_power_measurement(0, dvm, kind)
    client.start_power_measurement(AveragingFactor.FACTOR_256, SamplingPeriod.PERIOD_1100US)
    client.stop_power_measurement()
    return {"statistics": _statistics(client, 0)}


def _statistics(client: FirmwareClient, index: int) -> object:
    got = client.get_power_measurement(index, clear=True)
    return got.samples, got.minimum, got.maximum, got.average, got.average_time_ms


def _after_identify(*calls: Callable[[FirmwareClient], object]) -> Calls:
    def run(client: FirmwareClient) -> Mapping[str, object]:
        client.identify()
        for call in calls:
            call(client)
        return {}

    return run


def _sections(client: FirmwareClient) -> Mapping[str, object]:
    client.identify()
    return {"sections": len(client.sensor_sections())}


def _fw_config(client: FirmwareClient) -> Mapping[str, object]:
    client.identify()
    client.examine_user_config()
    return {"user configuration bytes": len(client.read_user_config())}


def _board_config(client: FirmwareClient) -> Mapping[str, object]:
    client.identify()
    return {"board configuration bytes": len(client.read_board_config())}


#: Which blocks of the top the recorded tool tests: one bit is zero at a time, then none (0 = all of them).
_TOP_BYPASSES = (0x7FFFD, 0x7FFFB, 0x7FFF7, 0x7FFEF)
_CLUSTERS = 8


def _test_memories(client: FirmwareClient) -> Mapping[str, object]:
    client.identify()
    nothing = {"cluster_bypass_bitmap_0": 0, "cluster_bypass_bitmap_1": 0}
    for bypass in _TOP_BYPASSES:
        client.run_memory_test(is_top_test=1, top_bypass_bitmap=bypass, cluster_index=0, **nothing)
    for cluster in range(_CLUSTERS):
        client.run_memory_test(is_top_test=0, top_bypass_bitmap=0, cluster_index=cluster, **nothing)
    return {}


_I2C = {"endianness": 0, "slave_address": 0x42, "register_address_size": 2, "bus_index": 1}
_SENSOR_SLAVE = {"register_address_size": 2, "endianness": 0}


def _api_calls(client: FirmwareClient) -> Mapping[str, object]:
    """Every call of the recorded program, in its order."""
    client.identify()
    found = _identity(client)
    core = client.core_identify()
    found["core firmware"] = f"{core.major}.{core.minor}.{core.revision}"
    found |= _extended(client)
    chip = client.chip_temperature()
    found["temperature"] = (chip.ts0_c, chip.ts1_c, chip.sample_count)
    found["power"] = client.power_measurement().value
    client.power_measurement(Dvm.VDD_CORE, PowerMeasurementType.CURRENT)
    client.stop_power_measurement()
    client.set_power_measurement(1, Dvm.AUTO, PowerMeasurementType.POWER)
    client.start_power_measurement(AveragingFactor.FACTOR_256, SamplingPeriod.PERIOD_1100US)
    found["statistics"] = _statistics(client, 1)
    client.set_logger(3, 3)
    client.set_throttling(active=False)
    found["throttling"] = client.throttling()
    client.enable_watchdog(0, enable=True)
    client.enable_watchdog(1, enable=False)
    client.config_watchdog(0, 1000, 0)
    client.config_watchdog(1, 2000, 1)
    found["previous state"] = (client.previous_system_state(0), client.previous_system_state(1))
    client.set_pause_frames(enable=True)
    client.i2c_write(0x1234, bytes(range(1, 9)), **_I2C, should_hold_bus=0)
    client.i2c_read(0x1234, 8, **_I2C, should_hold_bus=1)
    return {**found, **_storage_calls(client)}


def _storage_calls(client: FirmwareClient) -> Mapping[str, object]:
    found: dict[str, object] = {}
    info = client.examine_user_config()
    found["user configuration"] = (info.total_size, info.entry_count)
    # The library asks for the size once more before it reads.
    client.examine_user_config()
    found["user configuration bytes"] = len(client.read_user_config())
    found["board configuration bytes"] = len(client.read_board_config())
    found["sections"] = len(client.sensor_sections())
    client.load_and_start_sensor(0)
    client.reset_sensor(0)
    client.set_sensor_i2c_bus(0, 1)
    client.set_generic_i2c_slave(slave_address=0x36, bus_index=0, should_hold_bus=1, **_SENSOR_SLAVE)
    client.set_sleep_state(0)
    client.set_sleep_state(1)
    client.write_memory(0x20001000, bytes(range(12)))
    found["memory bytes"] = len(client.read_memory(0x20001000, 12))
    return found


# --- notifications, logs --------------------------------------------------------------------------------------------


def notifications(recording: Recording) -> list[Check]:
    """Raise the recorded messages; compare the bytes that arrive, that they parse, and the buffer's protocol."""
    arrived, parsed, protocol = Check("notification bytes"), Check("decoded notifications"), Check("buffer protocol")
    with Rig(recording) as rig:
        client = rig.client()
        client.identify()
        for record in recording.of("notification"):
            message = bytes.fromhex(record["hex"])
            begin = len(rig.journal.accesses)
            with rig.twin.chip.loop.lock:
                rig.twin.chip.notify(message)
            payload = client._link.read_notification(1.0)
            arrived.expect("payload", payload, message)
            _check_event(parsed, rig, payload or b"", message)
            header = [a for a in rig.journal.accesses[begin:] if a.bar == 4 and a.offset == NOTIFICATION_AT]
            handed_back = [(a.is_write, a.value) for a in header]
            protocol.expect("flag", handed_back, [(False, len(message) << 16 | 1), (True, len(message) << 16)])
        rig.close()
        return [compare_controls(rig.journal.controls, recording.controls), arrived, parsed, protocol]


def _check_event(check: Check, rig: Rig, payload: bytes, message: bytes) -> None:
    """Compare our parser with the raw message: header words, and every payload byte accounted for."""
    event = parse_notification(rig.twin.chip.spec, payload)
    _, _, priority, _, event_id, _, length = (int.from_bytes(message[i : i + 4], "little") for i in range(0, 28, 4))
    check.expect("event", event.event_id, event_id)
    check.expect("priority", event.priority, priority)
    layout = rig.twin.chip.spec.events[event_id].payload
    check.expect("payload length", layout.size, length)
    check.expect("payload", layout.pack(**event.values), message[28:])


def fw_logger(recording: Recording) -> list[Check]:
    """Read both logs in the kernel driver's pieces until they are empty."""
    contents = Check("log contents")
    with Rig(recording) as rig:
        _fill_logs(rig)
        link = rig.link(announce_shutdown=False)
        FirmwareClient(link).identify()
        for record in recording.ioctls("READ_LOG"):
            data = link.read_log(record["f"]["cpu_id"], record["f"]["buffer_size"])
            recorded = bytes.fromhex(record["f"]["buffer"])
            contents.expect("piece", data, recorded[: record["f"]["read_bytes"]])
        rig.close()
        checks = [compare_controls(rig.journal.controls, recording.controls), contents]
        return checks + compare_phases(rig.journal.accesses, recording)


# --- driver life ----------------------------------------------------------------------------------------------------


def boot(cold: bool, recording: Recording) -> list[Check]:
    """Load firmware, over running firmware unless ``cold``; compare the accesses up to the mask after the load."""
    assert recording.bars is not None, "recordings of the driver are register accesses"
    with Rig(recording, cold=cold) as rig:
        rig.link(firmware=recorded_image())
        accesses = rig.journal.accesses
        masked = next(
            i for i, a in enumerate(accesses) if a.is_write and a.bar == 0 and (a.offset, a.value) == (0x188, 0)
        )
        # The recording has two processors: its handler's last look at the status may come after the mask was cleared.
        recorded = tuple(recording.bars)
        return [
            compare_accesses("register accesses", without_handler(accesses[: masked + 1]), without_handler(recorded)),
            compare_accesses("interrupt handler", only_handler(accesses[: masked + 1]), only_handler(recorded)),
        ]


def driver_unload(recording: Recording) -> list[Check]:
    """After the interrupts are masked, closing makes no further access."""
    with Rig(recording, follow_recording=False) as rig:
        rig.link(announce_shutdown=False).close()
        accesses = rig.journal.accesses
        masked = len(accesses) - 1 - accesses[::-1].index(BarAccess(True, 0, 0x188, 0))
        return [compare_accesses("register accesses", accesses[masked + 1 :], recording.bars or ())]


def scan(recording: Recording) -> list[Check]:
    """List functions on a bus where touching a BAR would fail."""
    check = Check("register accesses")
    with tempfile.TemporaryDirectory() as folder:
        function = Path(folder) / "bus/pci/devices/0000:01:00.0"
        function.mkdir(parents=True)
        for name, text in (("vendor", "0x1e60"), ("device", "0x2864"), ("class", "0x120000")):
            (function / name).write_text(f"{text}\n")
        for bar in (0, 2, 4):
            # A folder: opening it raises.
            (function / f"resource{bar}").mkdir()
        found = [item.address for item in sysfs.list_functions(Path(folder))]
    check.expect("functions", found, ["0000:01:00.0"])
    check.expect("accesses", 0, len(recording.bars or ()))
    return [check, not_applicable("controls", "a scan sends none")]


def soft_reset(kind: ResetType, recording: Recording) -> list[Check]:
    """Ask for a reset that is not answered; success is the answer that does not come."""
    ended = Check("outcome")
    with Rig(recording) as rig:
        client = rig.client()
        client.identify()
        before = rig.now_s()
        client.reset(kind)
        ended.expect("seconds waited", round(rig.now_s() - before, 2), 1.0)
        rig.close()
        checks = [compare_controls(rig.journal.controls, recording.controls), ended]
        if recording.bars is not None:
            checks += compare_phases(rig.journal.accesses, recording)
        return checks


SCENARIOS: Mapping[str, Replay] = {
    "driver_load": partial(boot, True),
    "driver_load_no_power_mode": partial(boot, False),
    "driver_reload_firmware_running": partial(boot, False),
    "driver_unload": driver_unload,
    "driver_unload2": driver_unload,
    "scan": scan,
    "identify": partial(controls, _identify),
    "identify_extended": partial(controls, _identify_extended),
    "identify_hailo8l": partial(controls, _identify),
    "identify_after_resets": partial(controls, _identify),
    "measure_power": partial(controls, partial(_measure_power, dvm=Dvm.AUTO, kind=PowerMeasurementType.AUTO)),
    "measure_power_vdd_core_current": partial(
        controls, partial(_measure_power, dvm=Dvm.VDD_CORE, kind=PowerMeasurementType.CURRENT)
    ),
    "sensor_sections_info": partial(controls, _sections),
    "sensor_get_config": partial(controls, _sections),
    "sensor_load": partial(controls, _after_identify(lambda c: c.load_and_start_sensor(0))),
    "sensor_reset": partial(controls, _after_identify(lambda c: c.reset_sensor(0))),
    "sensor_set_generic_slave": partial(
        controls,
        _after_identify(
            lambda c: c.set_generic_i2c_slave(slave_address=54, bus_index=1, should_hold_bus=0, **_SENSOR_SLAVE)
        ),
    ),
    "fw_logger": fw_logger,
    "fw_config_read": partial(controls, _fw_config),
    "board_config_read": partial(controls, _board_config),
    "test_memories": partial(controls, _test_memories),
    "debug_continue": partial(controls, _after_identify(lambda c: c.continue_breakpoint(0))),
    "device_api_calls": partial(controls, _api_calls),
    "notifications": notifications,
    "reset_nn_core": partial(controls, _after_identify(lambda c: c.reset(ResetType.NN_CORE))),
    "reset_soft": partial(soft_reset, ResetType.SOFT),
    "reset_forced_soft": partial(soft_reset, ResetType.FORCED_SOFT),
}


def replay_device(recording: Recording) -> list[Check]:
    """Replay a scenario on the card itself, and over the kernel driver where that was asked for something."""
    checks = SCENARIOS[recording.name](recording)
    if any(True for _ in recording.ioctls("FW_CONTROL")):
        checks += over_ioctls(recording)
    return checks


def over_ioctls(recording: Recording) -> list[Check]:
    """Make the calls of a command over the kernel driver's interface; compare the requests."""
    course = SCENARIOS[recording.name]
    contents = Check("ioctls: contents")
    with IoctlRig(recording) as rig:
        if course is fw_logger:
            _fill_logs(rig)
        client = rig.client()
        if isinstance(course, partial) and course.func is controls:
            course.args[0](client)
        else:
            client.identify()
        if isinstance(course, partial) and course.func is soft_reset:
            client.reset(course.args[0])
        for record in recording.of("notification"):
            message = bytes.fromhex(record["hex"])
            with rig.twin.chip.loop.lock:
                rig.twin.chip.notify(message)
            contents.expect("notification", client._link.read_notification(1.0), message)
        if course is fw_logger:
            for cpu in LOG_PATTERNS:
                client._link.read_log(cpu)
        rig.close()
        if course is fw_logger:
            contents.expect("pieces of the log", *(_log_pieces(r) for r in (rig.seen(), recording)))
        return [*compare_requests(rig), *([contents] if contents.compared else [])]


def _fill_logs(rig: Rig) -> None:
    with rig.twin.chip.loop.lock:
        rig.twin.chip.mailbox.reset_logs()
        for cpu, pattern in LOG_PATTERNS.items():
            rig.twin.chip.write_log(cpu, (pattern * (LOG_BYTES // len(pattern) + 1))[:LOG_BYTES])


def _log_pieces(recording: Recording) -> dict[int, bytes]:
    """Return what came of each log, whatever the pieces were."""
    found: dict[int, bytes] = {}
    for record in recording.ioctls("READ_LOG"):
        fields = record["f"]
        data = bytes.fromhex(fields["buffer"]) if isinstance(fields["buffer"], str) else bytes(fields["buffer"])
        found[fields["cpu_id"]] = found.get(fields["cpu_id"], b"") + data[: fields["read_bytes"]]
    return found


__all__ = ["SCENARIOS", "Replay", "over_ioctls", "replay_device"]
