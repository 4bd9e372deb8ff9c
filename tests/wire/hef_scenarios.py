"""Scenarios with a HEF: the same network, frames and commands through our runtime, driver and twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from openhailo.errors import ControlFailed, DeviceTimeout, DoesNotFit, OpenHailoError, UnsupportedHef
from openhailo.runtime import hw_only
from openhailo.runtime.action_lists import download
from openhailo.runtime.describe import describe
from openhailo.runtime.device import Device
from openhailo.runtime.habits import HABITS
from openhailo.runtime.network import Network
from openhailo.runtime.session import Session
from openhailo.spec.enums import PowerMeasurementType

from .bars import compare_run_phases
from .compare import (
    Check,
    compare_action_lists,
    compare_channel_open,
    compare_config,
    compare_controls,
    compare_descriptors,
    compare_doorbells,
    compare_frame_sizes,
    compare_frames,
    compare_lists,
    compare_order,
    compare_programs,
    compare_ring_writes,
    compare_sequences,
    not_applicable,
)
from .io_scenarios import compare_outputs, generated_bytes, user_frame
from .ioctl_compare import compare_ioctls
from .ioctl_rig import IoctlRig
from .recording import Recording
from .rig import Rig

#: Longest replay of a run whose length was set by time: more than a ring of 128 descriptors, so that it wraps.
MOST_FRAMES = 320
#: The batch whose action times the tools look at.
STAMPED_BATCH = 2

Step = Callable[[Rig, Device, Network], list[Check] | None]
Outputs = list[Mapping[str, Any]]


@cache
def hef_bytes(shared: Path, name: str) -> bytes:
    """Return a HEF of the recordings."""
    return (shared / "hefs" / name).read_bytes()


@dataclass(frozen=True)
class Plan:
    """How a command is replayed.

    ``options`` go to `Device.load`; ``error`` is what our stack raises where the vendor's failed; ``together`` sends
    all frames in one call. Steps are made around the activation, in the middle of the run, when all frames are out, and
    after the deactivation.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    error: type[OpenHailoError] | None = None
    together: bool = False
    prepare: Step | None = None
    before: Step | None = None
    during: Step | None = None
    drained: Step | None = None
    after: Step | None = None


#: The vendor's streams (hailortcli run): outputs wait ahead, the configured batch.
STREAMS = HABITS["vendor"]
#: The vendor's asynchronous interface under its scheduler: an output per job, one frame per burst.
ASYNC = HABITS["vendor-async"]


# --- the general course ---------------------------------------------------------------------------------------------


def replay(plan: Plan, recording: Recording, shared: Path) -> list[Check]:
    """Load, activate, run the recorded number of frames, close; compare everything the chip saw."""
    with Rig(recording) as rig:
        outputs: Outputs = []
        extra: list[Check] = []
        error = _run(plan, rig, shared, outputs, extra)
        ended = Check("outcome")
        ended.expect("error", type(error).__name__, plan.error.__name__ if plan.error else "NoneType")
        if isinstance(error, DeviceTimeout):
            # What the recorded library printed: timeout=10000ms.
            ended.expect("seconds without a frame", error.budget_s, 10.0)
        checks = [*compare_all(rig), *extra, ended]
        if outputs and recording.name.startswith("infer_"):
            checks.append(compare_outputs(recording, shared, outputs))
        return checks


def replay_ioctls(plan: Plan, recording: Recording, shared: Path) -> list[Check]:
    """The same over the kernel driver's interface; compare the requests."""
    if recording.name in NOT_OVER_IOCTLS:
        return [not_applicable("ioctls", NOT_OVER_IOCTLS[recording.name])]
    if plan.error is DeviceTimeout:
        # That it takes ten seconds is compared where time is the twin's.
        plan = replace(plan, options={**plan.options, "timeout_s": 0.5})
    if any(True for _ in recording.ioctls("VDMA_INTERRUPTS_READ_TIMESTAMPS")):
        plan = replace(plan, drained=read_stamps)
    with IoctlRig(recording) as rig:
        extra: list[Check] = []
        error = _run(plan, rig, shared, [], extra)
        ended = Check("ioctls: outcome")
        ended.expect("error", type(error).__name__, plan.error.__name__ if plan.error else "NoneType")
        return [*compare_ioctls(rig, most_frames=MOST_FRAMES), *extra, ended]


def _run(plan: Plan, rig: Rig, shared: Path, outputs: Outputs, extra: list[Check]) -> OpenHailoError | None:
    content = hef_bytes(shared, rig.recording.meta["hef"])
    device = rig.device()
    try:
        open_as_virtual_device(device)
        network = device.load(content, **plan.options)
        for step in (plan.prepare, plan.before, _activate, plan.before, plan.during):
            if step is not None:
                extra += step(rig, device, network) or []
        _send(plan, rig, network, outputs)
        if plan.drained is not None:
            extra += plan.drained(rig, device, network) or []
        device.deactivate()
        if plan.after is not None:
            extra += plan.after(rig, device, network) or []
    except OpenHailoError as error:
        return error
    finally:
        device.close()
        rig.close()
    return None


def open_as_virtual_device(device: Device) -> None:
    """Look at the device as the vendor's virtual device does, before the device itself looks again.

    A file for another architecture is refused before any other question (control-protocol.md 7.2).
    """
    if device.identify().architecture == 1:
        device.information()


def _activate(rig: Rig, device: Device, network: Network) -> None:
    device.activate(network)


def _send(plan: Plan, rig: Rig, network: Network, outputs: Outputs) -> None:
    """Send frames one at a time, as the recorded programs did, or all ``together``."""
    recording = rig.recording
    frames = [user_frame(recording, network, index) for index in range(min(recording.frames(), MOST_FRAMES))]
    raw = not is_float_output(recording)
    if plan.together:
        network(np.stack(frames), raw=raw)
        return
    outputs += [network(frame, raw=raw) for frame in frames]


def is_float_output(recording: Recording) -> bool:
    """Tell whether the recorded program asked for float32 results."""
    words = recording.meta["command"].split()
    return bool(words[0] == "infer" and words[4] == "f32")


def compare_all(rig: Rig) -> list[Check]:
    """Compare every part that the recording has."""
    journal, recording = rig.journal, rig.recording
    channels = {record["channel"] for record in recording.of("num_avail")}
    checks = [
        compare_controls(journal.controls, recording.controls),
        compare_action_lists(recording, journal.controls),
        compare_lists(recording, journal),
        compare_programs(recording, journal),
        compare_order(recording, journal),
        compare_channel_open(recording, journal),
        compare_config(recording, journal),
        compare_frame_sizes(recording, journal),
        compare_descriptors(recording, journal),
        compare_ring_writes(recording, journal, channels),
        compare_frames(recording, journal),
        compare_doorbells(recording, journal),
    ]
    if recording.bars is not None:
        checks += compare_run_phases(journal.accesses, recording)
    return [check for check in checks if check.compared]


# --- steps of single commands ---------------------------------------------------------------------------------------


def ask_capabilities(rig: Rig, device: Device, network: Network) -> None:
    """Ask what the command line asks around an activation: features and identity, twice (control-protocol.md 7.4)."""
    for _ in range(2):
        device.firmware.device_information()
        device.firmware.identify()


def measure_temperature(rig: Rig, device: Device, network: Network) -> None:
    """Ask for the temperature as often as was recorded."""
    for control in rig.recording.controls:
        if control.opcode == 46:
            device.firmware.chip_temperature()


def begin_power(rig: Rig, device: Device, network: Network) -> None:
    """Start to measure power as the command line does: where it wants, in watts, 256 samples of 1.1 ms."""
    device.firmware.stop_power_measurement()
    device.firmware.set_power_measurement(0, measurement_type=PowerMeasurementType.POWER)
    device.firmware.start_power_measurement(averaging_factor=5, sampling_period=4)


def end_power(rig: Rig, device: Device, network: Network) -> None:
    """Stop and read the statistics."""
    device.firmware.stop_power_measurement()
    device.firmware.get_power_measurement(0, clear=True)


def stamp_a_batch(rig: Rig, device: Device, network: Network) -> None:
    """Have the actions of one batch stamped; once, before the activation."""
    if device.active is None:
        ask_capabilities(rig, device, network)
        device.firmware.set_timestamps(STAMPED_BATCH, enable=True)
    else:
        ask_capabilities(rig, device, network)


def collect_runtime_data(rig: Rig, device: Device, network: Network) -> list[Check]:
    """Download headers and lists after the run."""
    device.firmware.device_information()
    device.firmware.main_header()
    return download_lists(rig, device)


def download_lists(rig: Rig, device: Device, application: int = 0) -> list[Check]:
    """Download the four lists of ``application`` and compare them with what was recorded as sent."""
    check = Check("downloaded lists")
    firmware = device.firmware
    firmware.main_header()
    sent = [rig.recording.action_lists[r["id"]] for r in rig.recording.of("action_list") if r["app"] == application]
    by_type = {entry["context_type"]: entry for entry in sent}
    for got in download(firmware, application, 1, preliminary=True):
        entry = by_type[got.kind]
        data = bytearray(got.raw)
        check.expect(f"actions of {got.name}", len(got.actions) > 0, True)
        for offset, length, _ in entry["mask"]:
            data[offset : offset + length] = bytes(length)
        check.expect(entry["context_name"], bytes(data), bytes.fromhex(entry["raw"]))
    return [check]


def notify(rig: Rig, device: Device, network: Network) -> list[Check]:
    """Raise the recorded notifications while frames flow."""
    check = Check("notifications")
    for record in rig.recording.of("notification"):
        message = bytes.fromhex(record["hex"])
        with rig.twin.chip.loop.lock:
            rig.twin.chip.notify(message)
        event = device.read_notification(1.0)
        check.expect("event", event.event_id if event else None, int.from_bytes(message[16:20], "little"))
    return [check]


def stall(rig: Rig, device: Device, network: Network) -> None:
    """The device takes every frame and never answers: results go nowhere."""
    pump = rig.twin.firmware.machine.pump  # type: ignore[attr-defined]
    pump._vdma_push = lambda channel, data: True


def read_stamps(rig: Rig, device: Device, network: Network) -> list[Check]:
    """Ask the kernel driver when the interrupts of each channel came: one for each frame, in order of time."""
    check = Check("ioctls: time stamps")
    ports: list[Any] = [*network.input_ports, *network.output_ports]
    for stream in (stream for port in ports for stream in port.streams):
        stamps = device.link.read_timestamps(stream.channel)  # type: ignore[attr-defined]
        check.expect("stamps", len(stamps) > 0, True)
        check.expect("in order", stamps, sorted(stamps))
    return [check]


# --- scenarios with a course of their own -----------------------------------------------------------------------------


def measure_fw_actions(recording: Recording, shared: Path, rig_type: type[Rig] = Rig) -> list[Check]:
    """Configure with batch sizes 1, 2, 4, 8, 16, run each, and download the stamped lists."""
    content = hef_bytes(shared, recording.meta["hef"])
    extra: list[Check] = []
    with rig_type(recording) as rig:
        device = rig.device()
        device.identify()
        device.information()
        for index, batch in enumerate((1, 2, 4, 8, 16)):
            device.firmware.set_timestamps(STAMPED_BATCH, enable=True)
            device.information()
            network = device.load(content, **STREAMS, batch_size=batch)
            device.activate(network)
            frame = generated_bytes(int(np.prod(network.inputs[0].shape))).reshape(network.inputs[0].shape)
            for _ in range(recording.frames() // 5):
                network(frame, raw=True)
            device.deactivate()
            extra += download_lists(rig, device, index)
        device.close()
        rig.close()
        return [*_compare(rig), *extra]


def _compare(rig: Rig) -> list[Check]:
    """Compare what the chip saw, or what the kernel driver was asked."""
    return compare_ioctls(rig, most_frames=MOST_FRAMES) if isinstance(rig, IoctlRig) else compare_all(rig)


def two_models(recording: Recording, shared: Path, rig_type: type[Rig] = Rig) -> list[Check]:
    """Two networks on one device; frames alternate."""
    names = [word for word in recording.meta["command"].split() if word.endswith(".hef")]
    with rig_type(recording) as rig:
        device = rig.device()
        networks = []
        for name in names:
            open_as_virtual_device(device)
            networks.append(device.load(hef_bytes(shared, name), **ASYNC))
        for _ in range(3):
            for network in networks:
                shape = network.inputs[0].shape
                network(generated_bytes(int(np.prod(shape))).reshape(shape), raw=True)
        device.close()
        rig.close()
        return _compare(rig)


def measure_core(recording: Recording, shared: Path, rig_type: type[Rig] = Rig) -> list[Check]:
    """Hardware-only inference (context-switch.md 20): every descriptor is set up first, then the device runs alone."""
    extra = Check("hardware-only inference")
    with rig_type(recording) as rig:
        device = rig.device()
        architecture, clusters = device.identify().architecture, device.information().partial_clusters_layout_bitmap
        description = describe(hef_bytes(shared, recording.meta["hef"]), None, architecture, clusters)
        device.firmware.reset_applications()
        device.firmware.clear_configured_apps()
        session = Session(device.link, device.firmware, description, repeat_queries=True)
        session.configure()
        speed = hw_only.measure_core(
            device.link, device.firmware, session.boundary, 0, read_notification=device.read_notification
        )
        extra.expect("time was measured", speed.cycles > 0, True)
        session.close()
        device.firmware.reset_applications()
        device.firmware.clear_configured_apps()
        device.close()
        rig.close()
        if isinstance(rig, IoctlRig):
            rings = compare_sequences("ioctls: rings", rig.seen().ring_programs(), recording.ring_programs())
        else:
            rings = compare_sequences("ring programming", rig.journal.ring_programs, recording.ring_programs())
        return [*_compare(rig), rings, extra]


SPECIAL: Mapping[str, Plan] = {
    "fail_change_status": Plan(STREAMS, ControlFailed),
    "fail_device_information": Plan(STREAMS, ControlFailed),
    "fail_get_hw_consts_unsupported": Plan(STREAMS, ControlFailed),
    "fail_set_network_group_header": Plan(STREAMS, ControlFailed),
    "fail_set_context_info_sram_full": Plan(STREAMS, ControlFailed),
    "run_on_hailo8l": Plan(STREAMS, UnsupportedHef),
    "run_c2_page16384": Plan(STREAMS, DoesNotFit),
    "run_output_stall": Plan(STREAMS, DeviceTimeout, together=True, before=ask_capabilities, during=stall),
    "run_measure_latency": Plan({**STREAMS, "interrupt_at_start": True}, before=ask_capabilities),
    "run_measure_temp": Plan(STREAMS, before=ask_capabilities, during=measure_temperature),
    "run_measure_power": Plan(STREAMS, before=ask_capabilities, during=begin_power, after=end_power),
    "run_collect_runtime_data": Plan(STREAMS, before=stamp_a_batch, after=collect_runtime_data),
    "run2_notifications_during_run": Plan(ASYNC, during=notify),
}

OWN_COURSE: Mapping[str, Callable[..., list[Check]]] = {
    "run2_measure_fw_actions": measure_fw_actions,
    "two_models_scheduler_switch": two_models,
    "measure_nnc_performance": measure_core,
}


#: Scenarios that end otherwise over the kernel driver's interface, and why.
NOT_OVER_IOCTLS: Mapping[str, str] = {
    "run_c2_page16384": "the library takes the driver's limit for descriptor pages and fails; our link takes 4096",
}


def plan_of(recording: Recording) -> Plan:
    """Return how a scenario is replayed, read from its command."""
    name = recording.name
    if name in SPECIAL:
        return SPECIAL[name]
    words = recording.meta["command"].split()
    if words[:2] == ["hailortcli", "run"]:
        return Plan({**STREAMS, **_options(words)}, before=ask_capabilities)
    if words[:2] == ["hailortcli", "run2"]:
        return Plan({**ASYNC, **_options(words)})
    if words[0] == "infer":
        batch = {"batch_size": int(words[6])} if words[6] != "0" else {}
        dynamic = {"dynamic_batch_size": 0} if name.endswith("nosched") else {}
        return Plan({**ASYNC, **batch, **dynamic})
    raise LookupError(f"nobody knows how to replay {recording.id}: {' '.join(words)}")


def _options(words: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if "--batch-size" in words:
        options["batch_size"] = int(words[words.index("--batch-size") + 1])
    if "ultra_performance" in words:
        options["performance"] = False
    return options


def replay_scenario(recording: Recording, shared: Path) -> list[Check]:
    """Replay a scenario with a HEF."""
    course = OWN_COURSE.get(recording.name)
    if course is not None:
        return [*course(recording, shared), *course(recording, shared, IoctlRig)]
    plan = plan_of(recording)
    return [*replay(plan, recording, shared), *replay_ioctls(plan, recording, shared)]


__all__ = ["OWN_COURSE", "SPECIAL", "Plan", "plan_of", "replay_scenario"]
