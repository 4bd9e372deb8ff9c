"""The kernel driver's ABI against `driver-abi.json`, release by release: both readings of it, counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from openhailo.spec.ioctl import Direction, EntryKind, IoctlRules, KernelSpec, Release
from openhailo.spec.layout import Struct
from openhailo.twin.ports.kernel.abi import build_abi

NINE = ("4.17.0", "4.17.1", "4.18.0", "4.19.0", "4.20.0", "4.20.1", "4.21.0", "4.22.0", "4.23.0")
LETTERS = {"NONE": Direction.NONE, "W": Direction.FROM_DRIVER, "R": Direction.TO_DRIVER, "RW": Direction.BOTH}
#: Kind in the JSON -> type in a declaration.
KINDS = {"u8": "u8", "u16": "le16", "u32": "le32", "u64": "le64", "i32": "lei32", "size": "le64", "uptr": "le64"}
KINDS |= {"ptr": "le64", "bool": "u8"}
#: One name for what was renamed in 4.18, and for structures that are one handle (driver.md 7.6).
RENAMED = {
    "DESC_LIST_BIND_VDMA_BUFFER": "DESC_LIST_PROGRAM",
    "VDMA_INTERRUPTS_ENABLE": "VDMA_ENABLE_CHANNELS",
    "VDMA_INTERRUPTS_DISABLE": "VDMA_DISABLE_CHANNELS",
}
SPLIT = dict.fromkeys(("mapped_handle", "buffer_handle", "desc_handle"), "handle")
SPLIT["channels_bitmap_per_engine"] = "engine0"

#: How the releases behave, one column each (driver.md 4.1, 6.4-6.8, 7.5, 7.6).
BEHAVIOUR: dict[str, list[Any]] = {
    "program_ioctl": ["DESC_LIST_BIND_VDMA_BUFFER"] * 2 + ["DESC_LIST_PROGRAM"] * 7,
    "enable_ioctl": ["VDMA_INTERRUPTS_ENABLE"] * 2 + ["VDMA_ENABLE_CHANNELS"] * 7,
    "disable_ioctl": ["VDMA_INTERRUPTS_DISABLE"] * 2 + ["VDMA_DISABLE_CHANNELS"] * 7,
    "program_sets_interrupts": [False] * 2 + [True] * 7,
    "program_has_batch": [False] * 6 + [True] * 3,
    "list_mmap": [True] * 2 + [False] * 7,
    "map_has_type": [False] * 2 + [True] * 7,
    "buffers_by_address": [False] * 6 + [True] * 3,
    "max_buffers_per_launch": [2] * 6 + [8] * 3,
    "launch_returns_count": [False] * 6 + [True] * 3,
    "launch_moves_on_error": [False] * 2 + [True] * 7,
    "inactive_errno": [0] * 2 + [104] * 7,
    "debug_checks_activity": [True] * 2 + [False] * 7,
    "entry_kind": [EntryKind.INDEX] * 2 + [EntryKind.COUNT] * 4 + [EntryKind.BYTE] * 3,
    "entry_inactive": [0xFF] * 9,
    "entry_error": [0xFE] * 9,
    "disable_wipes_all": [True] * 3 + [False] * 6,
    "disable_refuses_idle": [True] * 2 + [False] * 7,
    "close_disables_channels": [False] * 3 + [True] * 6,
    "notification_disabled_errno": [22] * 4 + [125] * 5,
    "no_contiguous_errno": [12] * 4 + [105] * 5,
    "boots_without_firmware": [True] * 3 + [False] * 6,
    "has_memory_transfer": [True] * 8 + [False],
}
#: Numbers of all releases by their names in the JSON, and what has to be added to ours.
CONSTANTS = {
    "MAX_VDMA_CHANNELS_PER_ENGINE": ("channels", 0),
    "MAX_VDMA_ENGINES": ("engines", 0),
    "HAILO_VDMA_MAX_ONGOING_TRANSFERS": ("max_transfers_in_flight", 1),
    "CHANNEL_IRQ_TIMESTAMPS_SIZE": ("timestamps", 0),
    "MAX_CONTROL_LENGTH": ("max_control_bytes", 0),
    "MAX_NOTIFICATION_LENGTH": ("max_notification_bytes", 0),
    "MAX_FW_LOG_BUFFER_LENGTH": ("max_log_read_bytes", 0),
}
#: driver.md 8.1 row 23, and entries of a wait's table: channels times engines.
LITERAL_RULES = {"no_allocated_buffer": 0xFFFF_FFFF_FFFF_FFFF, "interrupt_entries": 96}

Compared = tuple[str, Any, Any]


class AbiFacts:
    """What the facts say of the ABI."""

    def __init__(self, shared: Path) -> None:
        self._abi = json.loads((shared / "facts/driver-abi.json").read_text())

    def release(self, release: Release, rules: IoctlRules) -> Iterator[Compared]:
        """Yield (what, ours, theirs) of everything the client knows of a release."""
        text = release.name
        rows = {name[6:]: row[text] for name, row in self._abi["ioctls"].items() if text in row}
        yield "requests", sorted(release.ioctls), sorted(rows)
        yield "family", release.family, self._abi["abi_family_of"].get(text)
        for name, row in rows.items():
            if name in release.ioctls:
                yield from self._request(release, name, row)
        for name, ours in BEHAVIOUR.items():
            yield name, getattr(release.behaviour, name), ours[NINE.index(text)]
        yield "behaviour", sorted(part.name for part in fields(release.behaviour)), sorted(BEHAVIOUR)
        for name, (ours, more) in CONSTANTS.items():
            yield name, getattr(rules, ours) + more, self._abi["constants"][name][text]
        for name, value in LITERAL_RULES.items():
            yield name, getattr(rules, name), value

    def _request(self, release: Release, name: str, row: Any) -> Iterator[Compared]:
        request = release[name]
        yield f"{name} number", request.number, row["number"]
        yield f"{name} size", request.struct.size, row["size"]
        yield f"{name} type and nr", (request.type, request.nr), (row["type"], row["nr"])
        yield f"{name} direction", request.direction, LETTERS[row["linux_dir"]]
        yield f"{name} implemented", request.implemented, row["pcie_driver"] == "yes"
        yield f"{name} name", request.name, name
        if row["struct"]:
            yield from self._struct(request.struct, row["struct"], release.name)

    def _struct(self, struct: Struct, name: str, text: str) -> Iterator[Compared]:
        layout = self._abi["structs"][name][text]
        kinds = self._abi["struct_field_types"].get(name, {}).get(text, {})
        yield f"{name} size", struct.size, layout["size"]
        yield f"{name} members", [m.name for m in struct.members], [row[0] for row in layout["fields"]]
        for member, (field, offset, size) in zip(struct.members, layout["fields"], strict=False):
            yield f"{name}.{field}", (member.offset, member.size_bytes), (offset, size)
            kind = kinds.get(field, "")
            base, _, count = kind.removeprefix("struct:").partition("[")
            if isinstance(member.type, Struct) != kind.startswith("struct:"):
                yield f"{name}.{field} kind", member.type, kind
            elif isinstance(member.type, Struct):
                yield f"{name}.{field} count", f"{member.count}]", count
                yield from self._struct(member.type, base, text)
            elif kind and member.type != "bytes":
                yield f"{name}.{field} kind", member.type, "le32" if base.startswith("enum:") else KINDS[base]

    def virtual(self, text: str) -> Iterator[Compared]:
        """Yield (what, its, theirs) of everything the virtual driver knows of a release."""
        major, minor, number = map(int, text.split("."))
        abi = build_abi((major, minor, number))
        rows = {
            row[text]["number"]: (RENAMED.get(name[6:], name[6:]), row[text])
            for name, row in self._abi["ioctls"].items()
            if text in row and row[text]["pcie_driver"] == "yes"
        }
        yield "virtual requests", sorted(abi.calls), sorted(rows)
        for request, (name, row) in rows.items():
            call = abi.calls[request]
            yield f"virtual {name}", (call.name, call.layout.size if call.layout else 0), (name, row["size"])
            for field, offset, _ in self._abi["structs"][row["struct"]][text]["fields"] if call.layout else ():
                assert call.layout is not None
                member = field if field in call.layout.names else SPLIT[field]
                yield f"virtual {name}.{field}", call.layout.offset(member), offset

    def probes(self, kernel: KernelSpec) -> Iterator[Compared]:
        """Yield the requests for the version."""
        wanted = [probe["request"] for probe in self._abi["version_probe"]]
        yield "version requests", [probe.number for probe in kernel.probes], wanted
        yield "releases", list(kernel.releases), self._abi["versions"]

    def differences(self, kernel: KernelSpec) -> list[str]:
        """Return what differs from the facts in the client's declaration."""
        found = [f"{what}: {ours} not {theirs}" for what, ours, theirs in self.probes(kernel) if ours != theirs]
        for release in kernel.releases.values():
            rows = self.release(release, kernel.rules)
            found += [f"{release.name} {what}: {ours} not {theirs}" for what, ours, theirs in rows if ours != theirs]
        return found

    def count(self, kernel: KernelSpec) -> dict[str, tuple[int, list[str]]]:
        """Return by release how many values were compared, of both readings, and what differs."""
        counts = {}
        for text, release in kernel.releases.items():
            rows = [*self.release(release, kernel.rules), *self.virtual(text)]
            counts[text] = (len(rows), [what for what, ours, theirs in rows if ours != theirs])
        return counts
