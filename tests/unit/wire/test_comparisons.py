"""The comparisons of `tests/wire` see every kind of difference: recordings with one thing bent do not pass."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
from tests.wire.bars import launches_and_looks, mask_requests, split_channels, without_idle_looks
from tests.wire.compare import compare_sequences
from tests.wire.coverage import count_records
from tests.wire.device_scenarios import SCENARIOS
from tests.wire.explained import reason_for
from tests.wire.hef_scenarios import plan_of, replay_ioctls, replay_scenario
from tests.wire.io_scenarios import io_entries, replay_io
from tests.wire.recording import BarAccess, Control, Recording, Span, load_group

MNIST = "mnist_cnn_28x28_h8_dfc3.27_v0"


def outcomes(checks):
    return {check.part: check.outcome for check in checks}


#: The same for the requests to the kernel driver.
IOCTL_BENDS = {
    "ioctls: order": ("ioctl", lambda r: r["io"] == "DESC_LIST_CREATE" and set_first(r, "desc_count", 64)),
    "ioctls: controls": ("ioctl", lambda r: r["io"] == "FW_CONTROL" and r.__setitem__("timeout_ms", 999)),
    "ioctls: control messages": ("control", lambda r: r["op"] == 32 and flip(r, "req")),
    "ioctls: opening": ("ioctl", lambda r: r["io"] == "QUERY_DEVICE_PROPERTIES" and set_first(r, "dma_type", 1)),
    "ioctls: channels": (
        "ioctl",
        lambda r: r["io"] == "VDMA_ENABLE_CHANNELS" and r["f"]["channels_bitmap_per_engine"].__setitem__(0, "0x30004"),
    ),
    "ioctls: transfers": (
        "ioctl",
        lambda r: r["io"] == "VDMA_LAUNCH_TRANSFER" and set_first(r, "last_interrupts_domain", 3),
    ),
    "ioctls: memory": (
        "ioctl",
        lambda r: r["io"] == "VDMA_BUFFER_MAP" and isinstance(r["f"], dict) and set_first(r, "size", 10241),
    ),
    "ioctls: end": (
        "ioctl",
        lambda r: r["io"] == "READ_NOTIFICATION" and r.get("phase") == "return" and r.__setitem__("errno", 5),
    ),
}


@pytest.fixture(scope="module")
def recordings(shared_dir):
    found = {}
    for group in ("device", MNIST):
        found.update({recording.id: recording for recording in load_group(shared_dir / "traces" / group)})
    return found


def bent(recording, kind, bend):
    """Copy a recording with the first record of ``kind`` for which ``bend`` returns true changed by it."""
    records = copy.deepcopy(list(recording.records))
    assert any(record["k"] == kind and bend(record) is not False for record in records), kind
    return replace(recording, records=tuple(records))


def flip(record, key, at=-1):
    digits = list(record[key])
    digits[at] = "1" if digits[at] != "1" else "2"
    record[key] = "".join(digits)


def set_first(record, key, value):
    record["f"][key] = value


#: Part that must complain -> (kind of record, what is done to it).
BENDS = {
    "controls": ("control", lambda r: r["op"] == 32 and flip(r, "req")),
    "descriptor lists": ("ioctl", lambda r: r["io"] == "DESC_LIST_CREATE" and set_first(r, "desc_count", 64)),
    "order of calls": ("ioctl", lambda r: r["io"] == "VDMA_BUFFER_SYNC" and r["f"].__setitem__(3, 60)),
    "channel registers": ("channel_open", lambda r: flip(r, "host_half", 1)),
    "config streams": ("config_dma", lambda r: flip(r, "sha256")),
    "frame sizes": ("frame_size", lambda r: r.__setitem__("frame_bytes", 785)),
    "transfer descriptors": ("dma", lambda r: r["control"][0].__setitem__(0, 3)),
    "ring positions": ("num_avail", lambda r: r.__setitem__("value", 7)),
    "frames on the device": ("frame", lambda r: "sha256" in r and flip(r, "sha256")),
    "shutdown": ("doorbell", lambda r: r.__setitem__("value", 8)),
    "descriptor programming": (
        "ioctl",
        lambda r: r["io"] == "DESC_LIST_PROGRAM" and r["f"][1] == 64 and r["f"].__setitem__(8, 2),
    ),
}


@pytest.mark.facts
@pytest.mark.parametrize("part", BENDS)
def test_one_bent_record_is_found_by_its_part(recordings, shared_dir, part):
    kind, bend = BENDS[part]
    name = f"{MNIST}/infer_u8_f32_nosched"
    assert set(outcomes(replay_scenario(recordings[name], shared_dir)).values()) == {"equal"}
    found = outcomes(replay_scenario(bent(recordings[name], kind, bend), shared_dir))
    assert found[part] == "different"


@pytest.mark.facts
def test_a_bent_action_list_is_found(recordings, shared_dir):
    recording = recordings[f"{MNIST}/run_c2_hwconsts_b"]
    lists = {key: {**entry, "raw": "ee" + entry["raw"][2:]} for key, entry in recording.action_lists.items()}
    assert outcomes(replay_scenario(replace(recording, action_lists=lists), shared_dir))["action lists"] == "different"


@pytest.mark.facts
def test_other_hardware_constants_give_other_lists(recordings, shared_dir):
    recording = recordings[f"{MNIST}/run_c2_hwconsts_b"]
    foreign = next(r["rsp"] for r in recordings[f"{MNIST}/run_c8"].of("control") if r["op"] == 72)

    records = copy.deepcopy(list(recording.records))
    for record in records:
        if record["k"] == "control" and record["op"] == 72:
            record["rsp"] = foreign
    changed = replace(recording, records=tuple(records))
    assert outcomes(replay_scenario(changed, shared_dir))["action lists"] == "different"


@pytest.mark.facts
@pytest.mark.parametrize("name", ["run_bar_accesses"])
def test_bent_accesses_of_a_run_are_found(recordings, shared_dir, name):
    recording = recordings[f"{MNIST}/{name}"]
    bars = list(recording.bars)
    for part, where in (
        ("register accesses", lambda a: a.bar == 4 and a.offset == 0x1684),
        ("interrupt handler", lambda a: a.offset == 0x18C and a.is_write and a.value == 0x04000000),
        ("launches", lambda a: a.bar == 2 and a.is_write),
    ):
        at = next(i for i, access in enumerate(bars) if where(access))
        changed = [*bars[:at], bars[at]._replace(value=bars[at].value ^ 1), *bars[at + 1 :]]
        assert outcomes(replay_scenario(replace(recording, bars=tuple(changed)), shared_dir))[part] == "different"


@pytest.mark.facts
@pytest.mark.parametrize(
    "name", ["driver_load", "driver_reload_firmware_running", "identify", "fw_logger", "reset_soft"]
)
def test_one_access_less_is_found(recordings, name):
    recording = recordings[f"device/{name}"]
    assert set(outcomes(SCENARIOS[name](recording)).values()) == {"equal"}
    at = len(recording.bars) // 2
    changed = replace(recording, bars=recording.bars[:at] + recording.bars[at + 1 :])
    assert "different" in outcomes(SCENARIOS[name](changed)).values()


@pytest.mark.facts
@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - {"scan"}))
def test_every_device_scenario_depends_on_its_recording(recordings, name):
    recording = recordings[f"device/{name}"]
    if recording.records:
        changed = bent(recording, "control", lambda r: flip(r, "req") or True)
    else:
        changed = replace(recording, bars=(*recording.bars, BarAccess(True, 0, 0x188, 1)))
    assert "different" in outcomes(SCENARIOS[name](changed)).values()


@pytest.mark.facts
def test_bent_frames_are_found(shared_dir):
    entries = io_entries(shared_dir / "traces" / MNIST)
    for name, entry in entries.items():
        if "frames" not in json.dumps(entry):
            continue
        for side, key in (("inputs", "device_sha256"), ("outputs", "sha256")):
            changed = copy.deepcopy(dict(entry))
            flip(changed[side][0]["frames"][0], key)
            assert "different" in outcomes(replay_io(changed, shared_dir, MNIST)).values(), name


@pytest.mark.facts
def test_notifications_are_compared_by_their_bytes(recordings):
    recording = recordings["device/notifications"]
    checks = SCENARIOS["notifications"](recording)
    assert {check.part: check.compared for check in checks}["notification bytes"] == 9


def test_sequences_tell_what_is_missing():
    check = compare_sequences("x", [1, 3], [1, 2, 3])
    assert check.outcome == "different"
    assert check.differences == ["at 1: [], recorded ['2']"]
    assert compare_sequences("x", [], []).outcome == "equal"


def access(text, value=0):
    return BarAccess(text[0] == "W", int(text[1]), int(text[3:], 16), value)


def test_only_dma_addresses_and_their_digest_are_masked():
    control = Control(33, 1, bytes(60), bytes(30), (Span(44, 8),))
    raw = [access(f"W4+{at:X}", 5) for at in (0x00, 0x0C, 0x10, 0x14, 0x3C, 0x40, 0x44, 0x48, 0x4C)]
    masked = [a.value for a in mask_requests([*raw, access("W4+1684", 2), access("R4+670", 0xAABBCCDD)], [control])]
    # Message bytes 44..51 are at 0x40..0x47; the answer's 30 bytes end two bytes into 0x670.
    assert masked == [0, 0, 5, 5, 5, 0, 0, 5, 5, 2, 0xCCDD]


def test_idle_looks_of_the_handler_go_and_others_stay():
    busy = [access("R0+98", 7), access("R0+18C", 4), access("W0+18C", 4)]
    idle = [access("R0+98", 7), access("R0+18C", 0)]
    assert without_idle_looks([*busy, *idle, *idle, *busy, *idle]) == [*busy, *busy]


def test_channels_are_split_into_launches_and_looks():
    launch = [access("R2+40", 1), access("R2+40", 1), access("W2+40", 3)]
    look = [access("R2+44", 2), access("R2+40", 3)]
    rest, channels = split_channels([*launch, access("R0+98"), *look, *launch])
    assert rest == [access("R0+98")]
    launches, looks = launches_and_looks(channels[2])
    assert launches == [tuple(launch), tuple(launch)]
    assert looks == [tuple(look)]


def test_unknown_commands_and_records_are_errors():
    strange = Recording("g", "s", {"command": "hailortcli dance"}, ({"k": "dance"},), {}, None)
    with pytest.raises(LookupError, match="dance"):
        plan_of(strange)
    with pytest.raises(LookupError, match="dance"):
        count_records([strange])


def test_nothing_is_explained_that_has_no_reason():
    assert reason_for("any/scenario", "any part") == ""


@pytest.mark.facts
@pytest.mark.parametrize("part", IOCTL_BENDS)
def test_a_bent_request_is_seen(part, recordings, shared_dir):
    recording = recordings[f"{MNIST}/run_c8"]
    plan = plan_of(recording)
    assert outcomes(replay_ioctls(plan, recording, shared_dir))[part] == "equal"
    wrong = bent(recording, *IOCTL_BENDS[part])
    assert outcomes(replay_ioctls(plan, wrong, shared_dir))[part] == "different"
