"""A recorded scenario as typed values (traces/README.md sections 2-4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

#: An action list begins here in an op 33 request (traces/README.md 4).
LIST_AT = 39
SET_CONTEXT_INFO = 33
#: Calls that take and give back channels.
CHANNEL_IOCTLS = {"VDMA_ENABLE_CHANNELS": "enable", "VDMA_DISABLE_CHANNELS": "disable"}


class Span(NamedTuple):
    """Bytes that differ from run to run."""

    offset: int
    length: int


@dataclass(frozen=True)
class Control:
    """One control; ``masked`` spans of the request hold DMA addresses. An empty response means no answer."""

    opcode: int
    cpu: int
    request: bytes
    response: bytes
    masked: tuple[Span, ...] = ()


class ListGeometry(NamedTuple):
    """What a descriptor list was created with."""

    descriptors: int
    page_size: int
    circular: bool


class Program(NamedTuple):
    """One call that programmed descriptors: the fields that mean the same without a kernel."""

    size_bytes: int
    offset: int
    batch_size: int
    list_index: int
    channel: int
    starting_desc: int
    bind: bool
    last_domain: int
    used: int


class Sync(NamedTuple):
    """One call that made host memory visible."""

    to_device: bool
    offset: int
    size_bytes: int


class BarAccess(NamedTuple):
    """One access of the host to a BAR."""

    is_write: bool
    bar: int
    offset: int
    value: int


@dataclass(frozen=True)
class Transfer:
    """Descriptors that the device worked off at once: (bytes, control byte) of each."""

    channel: int
    first: int
    descriptors: tuple[tuple[int, int], ...]
    frames_done: int
    processed: int


@dataclass(frozen=True)
class Recording:
    """One scenario. ``records`` are the lines of its trace, as they are."""

    group: str
    name: str
    meta: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]
    action_lists: Mapping[str, Mapping[str, Any]]
    bars: tuple[BarAccess, ...] | None

    @property
    def id(self) -> str:
        """Name within all scenarios."""
        return f"{self.group}/{self.name}"

    @property
    def hw_consts(self) -> Mapping[str, int]:
        """What the recorded firmware answered to opcode 72."""
        return dict(self.meta.get("hw_consts", {}))

    @property
    def probe(self) -> Mapping[str, str]:
        """Options of the recording's device."""
        return dict(self.meta.get("probe_options", {}))

    def of(self, *kinds: str) -> Iterator[Mapping[str, Any]]:
        """Yield the records of ``kinds`` in order."""
        return (record for record in self.records if record["k"] in kinds)

    def ioctls(self, *names: str) -> Iterator[Mapping[str, Any]]:
        """Yield the ioctl records called ``names`` in order."""
        return (record for record in self.of("ioctl") if record["io"] in names)

    @cached_property
    def controls(self) -> tuple[Control, ...]:
        """Every control, with the masks of the action lists."""
        masks = iter([record["id"] for record in self.of("action_list")])
        return tuple(self._control(record, masks) for record in self.of("control"))

    def _control(self, record: Mapping[str, Any], lists: Iterator[str]) -> Control:
        spans: tuple[Span, ...] = ()
        if record["op"] == SET_CONTEXT_INFO:
            entry = self.action_lists[next(lists)]
            spans = tuple(Span(LIST_AT + offset, length) for offset, length, _ in entry["mask"])
        request, response = bytes.fromhex(record["req"]), bytes.fromhex(record["rsp"])
        return Control(record["op"], record["cpu"], request, response, spans)

    def answers(self) -> dict[int, list[bytes]]:
        """Return the recorded answers by opcode, in order."""
        found: dict[int, list[bytes]] = {}
        for control in self.controls:
            found.setdefault(control.opcode, []).append(control.response)
        return found

    @cached_property
    def page_limit(self) -> int:
        """``desc_max_page_size`` as the driver announced it."""
        for record in self.ioctls("QUERY_DEVICE_PROPERTIES"):
            return int(record["f"]["desc_max_page_size"])
        return 4096

    def frames(self) -> int:
        """Return how many input frames the whole run had."""
        if "trimmed" in self.meta:
            return int(self.meta["counts"]["frame"]) // 2
        return sum(record["dir"] == "h2d" for record in self.of("frame"))

    def order(self) -> list[object]:
        """Return controls, memory and lists of configuration, and channels taken and given back, in call order.

        Ring programming is left out: it is told by the descriptors that the device fetched.
        """
        lists: dict[int, int] = {}
        rings: set[int] = set()
        steps: list[object] = []
        mapped = 0
        controls = {record["c"]: record["op"] for record in self.of("control")}
        for record in self.ioctls(
            "FW_CONTROL",
            "VDMA_BUFFER_MAP",
            "VDMA_BUFFER_SYNC",
            "DESC_LIST_CREATE",
            "DESC_LIST_PROGRAM",
            *CHANNEL_IOCTLS,
        ):
            fields = record.get("f", {})
            if record["io"] == "FW_CONTROL":
                steps.append(("control", controls[record["c"]]))
            elif record["io"] == "VDMA_BUFFER_MAP":
                mapped = fields["size"] if isinstance(fields, Mapping) else fields[1]
            elif record["io"] == "DESC_LIST_CREATE":
                lists[fields["desc_handle"]] = len(lists)
                if fields["is_circular"]:
                    rings.add(fields["desc_handle"])
                else:
                    steps.append(("memory of a list", mapped))
                steps.append(_geometry(fields))
            elif record["io"] == "DESC_LIST_PROGRAM":
                program = _program(fields, lists, record.get("ret", 0))
                if _handle(fields) not in rings:
                    steps.append(program)
            elif record["io"] == "VDMA_BUFFER_SYNC":
                steps.append(_sync(fields))
            else:
                steps.append((CHANNEL_IOCTLS[record["io"]], int(fields["channels_bitmap_per_engine"][0], 16)))
        return steps

    def ring_programs(self) -> list[Program]:
        """Return the programming of circular lists."""
        lists: dict[int, int] = {}
        rings = set()
        found = []
        for record in self.ioctls("DESC_LIST_CREATE", "DESC_LIST_PROGRAM"):
            fields = record["f"]
            if record["io"] == "DESC_LIST_CREATE":
                lists[fields["desc_handle"]] = len(lists)
                if fields["is_circular"]:
                    rings.add(fields["desc_handle"])
            elif _handle(fields) in rings:
                found.append(_program(fields, lists, record.get("ret", 0)))
        return found

    def transfers(self) -> list[tuple[int, Transfer]]:
        """Return (activation, transfer) of every recorded transfer."""
        found = []
        activation = 0
        for record in self.of("fw_state", "dma"):
            if record["k"] == "fw_state":
                activation += record["state"] == "ENABLED"
            else:
                sizes = _flat(record["descs"])
                controls = _flat(record["control"])
                descriptors = tuple(zip(sizes, controls, strict=True))
                place = (record["channel"], record["first_desc"])
                transfer = Transfer(*place, descriptors, record["frames_done"], record["num_proc"])
                found.append((activation, transfer))
        return found


def _flat(runs: list[list[int]]) -> list[int]:
    return [value for value, count in runs for _ in range(count)]


def _geometry(fields: Mapping[str, Any]) -> ListGeometry:
    return ListGeometry(fields["desc_count"], fields["desc_page_size"], bool(fields["is_circular"]))


_PROGRAM_FIELDS = (
    "buffer_handle",
    "buffer_size",
    "buffer_offset",
    "batch_size",
    "desc_handle",
    "channel_index",
    "starting_desc",
    "should_bind",
    "last_interrupts_domain",
)


def _named(fields: Any) -> Mapping[str, Any]:
    if isinstance(fields, Mapping):
        return fields
    return dict(zip(_PROGRAM_FIELDS, fields, strict=False))


def _handle(fields: Any) -> int:
    return int(_named(fields)["desc_handle"])


def _program(fields: Any, lists: Mapping[int, int], used: int) -> Program:
    f = _named(fields)
    return Program(
        f["buffer_size"],
        f["buffer_offset"],
        f["batch_size"],
        lists[f["desc_handle"]],
        f["channel_index"],
        f["starting_desc"],
        bool(f["should_bind"]),
        f["last_interrupts_domain"],
        used,
    )


def _sync(fields: Any) -> Sync:
    if isinstance(fields, Mapping):
        return Sync(fields["sync_type"] == 1, fields["offset"], fields["count"])
    _, kind, offset, count = fields
    return Sync(kind == 1, offset, count)


def read_bars(path: Path) -> tuple[BarAccess, ...]:
    """Read a ``*.bars.txt`` file."""
    accesses = []
    for line in path.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            _, _, access, offset, _, value = line.split()
            accesses.append(BarAccess(access[0] == "W", int(access[1]), int(offset, 16), int(value, 16)))
    return tuple(accesses)


def load_group(folder: Path) -> list[Recording]:
    """Load every scenario that ``index.json`` of ``folder`` lists."""
    lists_file = folder / "action_lists.json"
    lists = json.loads(lists_file.read_text()) if lists_file.is_file() else {}
    index = json.loads((folder / "index.json").read_text())
    return [_load(folder, entry, lists) for entry in index["scenarios"]]


def _load(folder: Path, entry: Mapping[str, Any], lists: Mapping[str, Any]) -> Recording:
    path = folder / entry["file"]
    if path.name.endswith(".bars.txt"):
        name = path.name.removesuffix(".bars.txt")
        return Recording(folder.name, name, {"command": entry["command"], "counts": {}}, (), lists, read_bars(path))
    meta, *records = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    bars_file = path.with_name(f"{path.stem}.bars.txt")
    bars = read_bars(bars_file) if entry.get("bars") and bars_file.is_file() else None
    return Recording(folder.name, path.stem, meta, tuple(records), lists, bars)


def load_io(folder: Path) -> list[Mapping[str, Any]]:
    """Load ``io.json``: what the host side did with known frames."""
    path = folder / "io.json"
    return list(json.loads(path.read_text())) if path.is_file() else []
