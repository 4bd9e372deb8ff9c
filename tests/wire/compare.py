"""Masked comparisons of what was recorded with what our stack did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from .recording import BarAccess, Control, ListGeometry, Program, Recording, Transfer
from .rig import Journal, Moved, SentControl, sha256

#: Differences that are told per part; the rest is only counted.
SHOWN = 3


@dataclass
class Check:
    """The outcome of one part of a scenario.

    ``compared`` things were looked at; ``reason`` says why a part does not apply.
    """

    part: str
    compared: int = 0
    differences: list[str] = field(default_factory=list)
    reason: str = ""

    @property
    def outcome(self) -> str:
        """``equal``, ``different`` or ``not applicable``."""
        if self.differences:
            return "different"
        return "equal" if self.compared else "not applicable"

    def expect(self, what: str, seen: object, recorded: object) -> None:
        """Compare one thing."""
        self.compared += 1
        if seen != recorded:
            self.differences.append(f"{what}: {_short(seen)}, recorded {_short(recorded)}")


def not_applicable(part: str, reason: str) -> Check:
    """Return a part that does not apply."""
    return Check(part, reason=reason)


def _short(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 160 else f"{text[:160]}..."


def compare_sequences(part: str, seen: Sequence[object], recorded: Sequence[object]) -> Check:
    """Compare two sequences item by item, and tell what is missing or added when they differ."""
    check = Check(part, compared=max(len(seen), len(recorded), 1))
    if list(seen) == list(recorded):
        return check
    matcher = SequenceMatcher(None, list(map(str, recorded)), list(map(str, seen)), autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            ours, theirs = [str(x) for x in seen[c:d]], [str(x) for x in recorded[a:b]]
            check.differences.append(f"at {a}: {_short(ours)}, recorded {_short(theirs)}")
    return check


# --- controls -----------------------------------------------------------------------------------------------------


def masked(request: bytes, control: Control) -> bytes:
    """Return ``request`` with the spans of ``control`` zeroed."""
    data = bytearray(request)
    for offset, length in control.masked:
        data[offset : offset + length] = bytes(length)
    return bytes(data)


def compare_controls(seen: Sequence[SentControl], recorded: Sequence[Control], part: str = "controls") -> Check:
    """Compare requests byte for byte in order, but for DMA addresses."""
    check = Check(part)
    opcodes = [int.from_bytes(control.request[12:16], "big") for control in seen]
    check.expect("opcodes", opcodes, [control.opcode for control in recorded])
    if check.differences:
        return compare_sequences(part, opcodes, [control.opcode for control in recorded])
    for index, (ours, theirs) in enumerate(zip(seen, recorded, strict=True)):
        name = f"control {index} (opcode {theirs.opcode})"
        check.expect(f"{name}, processor", ours.cpu, theirs.cpu)
        check.expect(name, masked(ours.request, theirs), masked(theirs.request, theirs))
        check.expect(f"{name}, digest", ours.digest_ok, True)
    return check


def compare_action_lists(recording: Recording, seen: Sequence[SentControl]) -> Check:
    """Compare reassembled action lists byte for byte, and that their masked fields are the addresses of our lists."""
    check = Check("action lists")
    pieces: dict[int, bytearray] = {}
    whole: list[tuple[int, bytes]] = []
    for control in seen:
        request = control.request
        if int.from_bytes(request[12:16], "big") != 33:
            continue
        first, last, kind = request[24], request[29], request[34]
        if first:
            pieces[kind] = bytearray()
        pieces[kind] += request[39:]
        if last:
            whole.append((kind, bytes(pieces[kind])))
    recorded = [recording.action_lists[record["id"]] for record in recording.of("action_list")]
    check.expect("number of lists", len(whole), len(recorded))
    for (kind, data), entry in zip(whole, recorded, strict=False):
        name = entry["context_name"]
        check.expect(f"{name}, type", kind, entry["context_type"])
        bare = bytearray(data)
        for offset, length, _ in entry["mask"]:
            bare[offset : offset + length] = bytes(length)
        check.expect(name, bytes(bare), bytes.fromhex(entry["raw"]))
    return check


def compare_order(recording: Recording, journal: Journal, skip: Callable[[object], bool] | None = None) -> Check:
    """Compare the order of controls, list creations, programming and syncs of one thread."""
    recorded, seen = recording.order(), journal.order
    if skip is not None:
        recorded, seen = ([step for step in steps if not skip(step)] for steps in (recorded, seen))
    return compare_sequences("order of calls", seen, recorded)


def compare_lists(recording: Recording, journal: Journal) -> Check:
    """Compare count, page size and kind of every descriptor list, and that all are released."""
    recorded = [step for step in recording.order() if isinstance(step, ListGeometry)]
    check = compare_sequences("descriptor lists", [geometry for geometry, _ in journal.lists], recorded)
    closed = sum(bool(getattr(dlist, "closed", False)) for _, dlist in journal.lists)
    check.expect("released", closed, sum(1 for _ in recording.ioctls("DESC_LIST_RELEASE")))
    return check


def compare_programs(recording: Recording, journal: Journal) -> Check:
    """Compare how lists of configuration were programmed."""
    recorded = [step for step in recording.order() if isinstance(step, Program)]
    seen = [step for step in journal.order if isinstance(step, Program)]
    return compare_sequences("descriptor programming", seen, recorded)


# --- channels -----------------------------------------------------------------------------------------------------

#: Host half of a channel, 16 bytes: the list address is in the upper half of dword 2 and in dword 3 (masks.json).
ADDRESS_SPAN = (10, 6)


def compare_channel_open(recording: Recording, journal: Journal) -> Check:
    """Compare the registers that activation leaves in every boundary channel."""
    check = Check("channel registers")
    recorded = list(recording.of("channel_open"))
    seen = [item for item in journal.opened if not item[1].get("managed")]
    check.expect("number of openings", len(seen), len(recorded))
    for (_, fields, half), record in zip(seen, recorded, strict=False):
        check.expect("channel", fields["channel"], record["channel"])
        check.expect("ring size", fields["size"], 1 << record["depth"])
        at, length = ADDRESS_SPAN
        theirs = bytes.fromhex(record["host_half"])
        check.expect(f"channel {record['channel']}", half[:at], theirs[:at])
        address = int.from_bytes(half[at:], "little") << 16
        check.expect(f"channel {record['channel']}, list address", address, fields["list_address"])
        assert length == len(theirs) - at
    return check


def compare_config(recording: Recording, journal: Journal) -> Check:
    """Compare what the config channels fetched: descriptors (sizes, control bytes) and the bytes of the stream."""
    check = Check("config streams")
    for activation, records in _by_activation(recording, "config_dma").items():
        for record in records:
            stream, channel = record["config_stream"], record["channel"]
            data = b"".join(d for a, _, s, d in journal.config if (a, s) == (activation, stream))
            name = f"config stream {stream}"
            check.expect(f"{name}, length", len(data), record["length"])
            check.expect(f"{name}, first bytes", data[:64].hex(), record["first64"])
            # `last64` is covered by the digest; where the last descriptor is short the recorder left bytes out of it.
            check.expect(f"{name}, digest", sha256(data), record["sha256"])
            key = (activation, channel)
            rows = [row for f in journal.fetched if (f.activation, f.channel) == key for row in f.descriptors]
            recorded_rows = [(size, control) for count, size, control, *_ in record["desc_runs"] for _ in range(count)]
            check.expect(f"{name}, descriptors", rows, recorded_rows)
            info = record["host_buffer_info"]
            geometry = ListGeometry(info["total_desc_count"], info["desc_page_size"], False)
            check.expect(f"{name}, list", geometry in [g for g, _ in journal.lists], True)
            check.expect(f"{name}, left over", geometry.descriptors - len(rows), record["descs_left"])
            _check_raw_rows(check, name, geometry, journal, record)
    return check


def _check_raw_rows(
    check: Check, name: str, geometry: ListGeometry, journal: Journal, record: Mapping[str, Any]
) -> None:
    """Compare the low address bits and the status dword, which the twin does not report, in the list itself."""
    for known, dlist in journal.lists:
        table = getattr(dlist, "table", None)
        if known == geometry and table is not None and not getattr(dlist, "closed", True):
            count = record["descs_fetched"]
            low = np.bitwise_and(table[:count, 1], 0x3F).tolist()
            check.expect(f"{name}, low address bits", set(low), {run[3] for run in record["desc_runs"]})


def _by_activation(recording: Recording, kind: str) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    activation = 0
    for record in recording.of("fw_state", kind):
        if record["k"] == "fw_state":
            activation += record["state"] == "ENABLED"
        else:
            found.setdefault(activation, []).append(record)
    return found


def compare_descriptors(recording: Recording, journal: Journal) -> Check:
    """Compare every recorded transfer's descriptors, place and processed register with ours.

    How many frames are worked off at once is timing (masks.json), so frames are compared by their number.
    """
    check = Check("transfer descriptors")
    ours: dict[tuple[int, int], list[Moved]] = {}
    for moved in journal.moved:
        ours.setdefault((moved.activation, moved.channel), []).append(moved)
    rings = {(activation, fields["channel"]): fields["size"] for activation, fields, _ in journal.opened}
    for activation, transfer in recording.transfers():
        key = (activation, transfer.channel)
        _check_transfer(check, transfer, ours.get(key, []), rings.get(key, 0))
    return check


def _check_transfer(check: Check, transfer: Transfer, frames: Sequence[Moved], ring: int) -> None:
    """Walk back from the last frame of ``transfer`` until all its descriptors are covered."""
    name = f"channel {transfer.channel}, frame {transfer.frames_done}"
    rows: tuple[tuple[int, int], ...] = ()
    at = transfer.frames_done
    while at > 0 and len(frames) >= transfer.frames_done and len(rows) < len(transfer.descriptors):
        at -= 1
        rows = frames[at].descriptors + rows
    check.expect(name, rows, transfer.descriptors)
    if rows:
        check.expect(f"{name}, place", frames[at].first, transfer.first)
        # The recording's device shows `count` after the last index, or 0; both mean the same (driver.md 6.7).
        processed = frames[transfer.frames_done - 1].processed
        check.expect(f"{name}, processed", processed % ring, transfer.processed % ring)


#: Channels from here on bring frames from the device (driver.md 6.1).
FIRST_OUTPUT = 16


def compare_ring_writes(recording: Recording, journal: Journal, channels: Iterable[int]) -> Check:
    """Compare the values written to the channels' registers, as far as both sides go.

    How many output transfers were queued again at a given moment is timing (traces/README.md 4).
    """
    check = Check("ring positions")
    recorded: dict[tuple[int, int], list[tuple[int, int]]] = {}
    activation = 0
    trimmed = "trimmed" in recording.meta
    for record in recording.of("fw_state", "num_avail"):
        if record["k"] == "fw_state":
            activation += record["state"] == "ENABLED"
        else:
            value = (record["value"], int(record["control"], 16))
            recorded.setdefault((activation, record["channel"]), []).append(value)
    seen: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for write in journal.ring_writes:
        seen.setdefault((write.activation, write.channel), []).append((write.available, write.control))
    for key, values in recorded.items():
        if key[1] not in set(channels):
            continue
        ours = seen.get(key, [])
        if trimmed:
            check.expect(f"channel {key[1]}, set of values", set(values) <= set(ours), True)
            continue
        # Inputs are launched by the program alone; outputs are queued again by a thread of the library.
        common = min(len(ours), len(values)) if key[1] >= FIRST_OUTPUT else max(len(ours), len(values))
        check.expect(f"channel {key[1]}, positions", ours[:common], values[:common])
        check.expect(f"channel {key[1]}, any position", bool(ours), bool(values))
    return check


def compare_frame_sizes(recording: Recording, journal: Journal) -> Check:
    """Compare the bytes of a frame per channel."""
    check = Check("frame sizes")
    for activation, records in _by_activation(recording, "frame_size").items():
        for record in records:
            key = (activation, record["channel"])
            sizes = {moved.size_bytes for moved in journal.moved if (moved.activation, moved.channel) == key}
            if sizes:
                check.expect(f"channel {record['channel']}", sizes, {record["frame_bytes"]})
    return check


def compare_frames(recording: Recording, journal: Journal) -> Check:
    """Compare the bytes of the frames that the device consumed, where the input is known."""
    check = Check("frames on the device")
    seen: dict[int, list[bytes]] = {}
    for frame in journal.frames:
        seen.setdefault(frame.activation, []).append(frame.data)
    for activation, records in _by_activation(recording, "frame").items():
        inputs = [record for record in records if record["dir"] == "h2d"]
        ours = seen.get(activation, [])
        check.expect(f"activation {activation}, frames", min(len(ours), len(inputs)), len(inputs))
        for record, data in zip(inputs, ours, strict=False):
            check.expect(f"frame {record['frame']}, length", len(data), record["length"])
            if "sha256" in record:
                check.expect(f"frame {record['frame']}, first bytes", data[:64].hex(), record["first64"])
                check.expect(f"frame {record['frame']}, digest", sha256(data), record["sha256"])
    return check


def compare_doorbells(recording: Recording, journal: Journal) -> Check:
    """Compare what the end of a scenario tells the firmware."""
    recorded = [record["value"] for record in recording.of("doorbell")]
    return compare_sequences("shutdown", [bits for bits in journal.doorbells if bits > 2], recorded)


# --- registers ----------------------------------------------------------------------------------------------------


def compare_accesses(part: str, seen: Sequence[BarAccess], recorded: Sequence[BarAccess]) -> Check:
    """Compare register accesses one by one: direction, BAR, offset and value."""
    check = Check(part, compared=max(len(seen), len(recorded), 1))
    if list(seen) == list(recorded):
        return check
    matcher = SequenceMatcher(None, recorded, seen, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            check.differences.append(
                f"access {a}: {_short(_accesses(seen[c:d]))}, recorded {_short(_accesses(recorded[a:b]))}"
            )
    return check


def _accesses(items: Iterable[BarAccess]) -> str:
    return " ".join(f"{'W' if w else 'R'}{bar}+{at:X}={value:08X}" for w, bar, at, value in items) or "nothing"


__all__ = [
    "Check",
    "compare_accesses",
    "compare_action_lists",
    "compare_channel_open",
    "compare_config",
    "compare_controls",
    "compare_descriptors",
    "compare_doorbells",
    "compare_frame_sizes",
    "compare_frames",
    "compare_lists",
    "compare_order",
    "compare_programs",
    "compare_ring_writes",
    "compare_sequences",
    "not_applicable",
]
