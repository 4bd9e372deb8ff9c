"""Requests to the kernel driver: what our link asks, beside what the vendor's library was seen to ask.

The requests of one thread are compared in order where they configure, and channel by channel where they move frames.
What the two do differently on purpose is named in docs/wire.md, "Over the kernel driver".
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .compare import Check, compare_controls, compare_sequences
from .ioctl_rig import IoctlRig
from .recording import Recording

#: How an array of fields in the recordings is named (traces/masks.json).
ARRAYS: Mapping[str, Sequence[str]] = {
    "VDMA_BUFFER_MAP": ("user_address", "size", "data_direction", "buffer_type"),
    "VDMA_LAUNCH_TRANSFER": (
        "engine_index",
        "channel_index",
        "desc_handle",
        "starting_desc",
        "should_bind",
        "buffers_count",
        "buffers",
        "first_interrupts_domain",
        "last_interrupts_domain",
    ),
}
FIRST_D2H = 16


class Launch(NamedTuple):
    """One transfer: where it starts, what it moves, whom it interrupts, and the descriptors it took."""

    starting_desc: int
    size_bytes: int
    first_domain: int
    last_domain: int
    descriptors: int


def compare_ioctls(rig: IoctlRig, *, most_frames: int) -> list[Check]:
    """Compare everything that the recording has. ``most_frames`` is where a replay of a timed run ends."""
    seen, recorded = rig.seen(), rig.recording
    checks = [
        compare_sequences("ioctls: order", seen.order(), recorded.order()),
        compare_controls(rig.journal.controls, recorded.controls, "ioctls: control messages"),
        compare_envelopes(seen, recorded),
        compare_opening(seen, recorded),
        compare_channels(seen, recorded),
        compare_launches(seen, recorded, most_frames),
        compare_memory(seen, recorded),
        compare_ending(seen, recorded),
    ]
    return [check for check in checks if check.compared]


def compare_requests(rig: IoctlRig) -> list[Check]:
    """Compare what a program without a network asked."""
    seen, recorded = rig.seen(), rig.recording
    return [
        compare_controls(rig.journal.controls, recorded.controls, "ioctls: control messages"),
        compare_envelopes(seen, recorded),
        compare_opening(seen, recorded),
        compare_ending(seen, recorded),
    ]


def compare_envelopes(seen: Recording, recorded: Recording) -> Check:
    """Compare the structure around every control: length, time limit, processor, digest where nothing is masked."""
    masked = {number: bool(control.masked) for number, control in enumerate(recorded.controls)}

    def envelopes(recording: Recording) -> list[tuple[object, ...]]:
        return [
            (r["cpu_id"], r["buffer_len"], r["timeout_ms"], "" if masked.get(r["c"]) else r["expected_md5"])
            for r in recording.ioctls("FW_CONTROL")
        ]

    return compare_sequences("ioctls: controls", envelopes(seen), envelopes(recorded))


def compare_opening(seen: Recording, recorded: Recording) -> Check:
    """Both ask for version and properties first, and claim a board that nobody has."""
    check = Check("ioctls: opening")
    for recording, count in ((seen, 0), (recorded, 1)):
        first = [r["io"] for r in recording.ioctls("QUERY_DRIVER_INFO", "QUERY_DEVICE_PROPERTIES", "FW_CONTROL")][:2]
        check.expect("first requests", first, ["QUERY_DRIVER_INFO", "QUERY_DEVICE_PROPERTIES"])
        taken = {r["f"]["in_use"] for r in recording.ioctls("MARK_AS_IN_USE")}
        check.expect("in use", taken, {0} if taken or not count else set())
    properties = [dict(next(r.ioctls("QUERY_DEVICE_PROPERTIES"))["f"]) for r in (seen, recorded)]
    check.expect("properties", *properties)
    return check


def compare_channels(seen: Recording, recorded: Recording) -> Check:
    """Compare channels taken, given back and waited for."""

    def told(recording: Recording) -> list[tuple[object, ...]]:
        return [
            (r["io"], _bitmap(r), r["f"].get("enable_timestamps_measure"))
            for r in recording.ioctls("VDMA_ENABLE_CHANNELS", "VDMA_DISABLE_CHANNELS")
        ]

    check = compare_sequences("ioctls: channels", told(seen), told(recorded))
    waits = [
        {_bitmap(r) for r in recording.ioctls("VDMA_INTERRUPTS_WAIT") if r["phase"] == "enter"}
        for recording in (seen, recorded)
    ]
    check.expect("waits for", *waits)
    stamps = [
        {_stamped(r) for r in recording.ioctls("VDMA_INTERRUPTS_READ_TIMESTAMPS")} for recording in (seen, recorded)
    ]
    check.expect("time stamps of", *stamps)
    return check


def _stamped(record: Mapping[str, Any]) -> int:
    """Return the channel whose times were read; the recordings keep these requests as bytes: engine, channel, ..."""
    return int(record["f"]["channel_index"] if "f" in record else bytes.fromhex(record["in"])[1])


def _bitmap(record: Mapping[str, Any]) -> int:
    return int(record.get("f", record)["channels_bitmap_per_engine"][0], 16)


# --- frames -----------------------------------------------------------------------------------------------------------


def compare_launches(seen: Recording, recorded: Recording, most_frames: int) -> Check:
    """Compare the transfers of each channel and activation, in order.

    Of outputs as many as both queued, because when a slot is queued again is timing; of inputs all of a run whose
    length was set by frames.
    """
    check = Check("ioctls: transfers")
    ours, theirs = launches(seen), launches(recorded)
    if "trimmed" in recorded.meta:
        # Lines were cut out, so numbers in a row say nothing; every kind of launch that is left must be one of ours.
        for place, there in theirs.items():
            for launch in there:
                check.expect(f"{place} like ours", launch in set(ours.get(place, ())), True)
        return check
    check.expect("channels", sorted(ours), sorted(theirs))
    for place in sorted(set(ours) & set(theirs)):
        mine, other = ours[place], theirs[place]
        if place[1] < FIRST_D2H and recorded.frames() <= most_frames:
            check.expect(f"{place} count", len(mine), len(other))
        for number, pair in enumerate(zip(mine[:most_frames], other[:most_frames], strict=False)):
            check.expect(f"activation {place[0]} channel {place[1]} launch {number}", *pair)
    return check


def launches(recording: Recording) -> dict[tuple[int, int], list[Launch]]:
    """Return the transfers by (activation, channel)."""
    found: dict[tuple[int, int], list[Launch]] = {}
    activation = -1
    for record in recording.ioctls("VDMA_ENABLE_CHANNELS", "VDMA_LAUNCH_TRANSFER"):
        if record["io"] == "VDMA_ENABLE_CHANNELS":
            activation += 1
            continue
        fields = _named(record)
        launch = Launch(
            fields["starting_desc"],
            sum(_size(buffer) for buffer in fields["buffers"]),
            fields["first_interrupts_domain"],
            fields["last_interrupts_domain"],
            record.get("ret", 0),
        )
        found.setdefault((activation, fields["channel_index"]), []).append(launch)
    return found


def _size(buffer: Any) -> int:
    return int(buffer["size"] if isinstance(buffer, Mapping) else buffer[2])


def _named(record: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = record["f"]
    return fields if isinstance(fields, Mapping) else dict(zip(ARRAYS[record["io"]], fields, strict=False))


# --- memory, and the end ----------------------------------------------------------------------------------------------


def compare_memory(seen: Recording, recorded: Recording) -> Check:
    """Compare what is mapped until the first activation for configuration, and that everything is given back."""
    check = compare_sequences("ioctls: memory", list(_config_maps(seen)), list(_config_maps(recorded)))
    for what, made, freed in (
        ("mappings", "VDMA_BUFFER_MAP", "VDMA_BUFFER_UNMAP"),
        ("lists", "DESC_LIST_CREATE", "DESC_LIST_RELEASE"),
        ("driver's memory", "VDMA_LOW_MEMORY_BUFFER_ALLOC", "VDMA_LOW_MEMORY_BUFFER_FREE"),
    ):
        for who, recording in (("ours", seen), ("the library", recorded)):
            counts = [sum(1 for r in recording.ioctls(name) if r.get("ret", 0) >= 0) for name in (made, freed)]
            if "trimmed" not in recording.meta:
                check.expect(f"{what} given back by {who}", counts[1], counts[0])
        used = [any(True for _ in recording.ioctls(made)) for recording in (seen, recorded)]
        check.expect(f"{what} used", *used)
    return check


def _config_maps(recording: Recording) -> Iterator[tuple[int, int, int]]:
    """Yield (size, direction, kind) of the mapping that each list of configuration is programmed over."""
    mapped = (0, 0, 0)
    for record in recording.ioctls("VDMA_BUFFER_MAP", "DESC_LIST_CREATE"):
        if record["io"] == "VDMA_BUFFER_MAP":
            fields = _named(record)
            mapped = fields["size"], fields["data_direction"], fields["buffer_type"]
        elif not record["f"]["is_circular"]:
            yield mapped


def compare_ending(seen: Recording, recorded: Recording) -> Check:
    """Readers of notifications are sent home at the end, with ECANCELED."""
    check = Check("ioctls: end")
    for who, recording in (("ours", seen), ("the library", recorded)):
        returns = [r for r in recording.ioctls("READ_NOTIFICATION") if r.get("phase") == "return"]
        if returns:
            check.expect(f"{who}: the reader's end", returns[-1].get("errno"), errno.ECANCELED)
        check.expect(f"{who}: readers sent home", sum(1 for _ in recording.ioctls("DISABLE_NOTIFICATION")), 1)
    return check
