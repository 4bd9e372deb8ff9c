"""Every number of a `ChipSpec` against the facts, as one comparison that can be made of any instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from openhailo.spec.chip import ChipSpec
from openhailo.spec.layout import SCALARS, Member, Reg, RegBlock, Struct
from openhailo.spec.messages import Param

from . import literals
from .facts import Facts

#: Leaf of a structure: name, offset, bytes, kind (f float, s signed, u unsigned), whether big endian.
Leaf = tuple[str, int, int, str, bool]
Values = dict[str, Any]
#: Members whose wire definition wraps each byte in a structure of its own.
WRAPPED = {"config_channel_info": "packed_vdma_channel_id"}
NAMES = ("status_names", "statuses")


class Expected:
    """What the facts say about every number; made once."""

    def __init__(self, shared: Path) -> None:
        self._facts = Facts(shared)
        self._wire = self._facts.json("fw.structs.json")
        self.values: Values = {}
        for section in (self._words, self._rules, self._blocks, self._structs, self._controls, self._actions):
            self.values |= section()
        self.values |= self._events() | self._names() | self._user_config()

    def differences(self, spec: ChipSpec) -> list[str]:
        """Return the paths of all values that are not as the facts say, or are on one side only."""
        actual, expected = flatten(spec), self.values
        return sorted(path for path in actual.keys() | expected.keys() if actual.get(path) != expected.get(path))

    def _words(self) -> Values:
        return {f"{part}.{name}": mask for part, masks in literals.WORDS.items() for name, mask in masks.items()}

    def _rules(self) -> Values:
        return {f"{part}.{name}": value for part, rows in literals.RULES.items() for name, value in rows.items()}

    def _blocks(self) -> Values:
        config = {name: (*row, literals.CONFIG_FIELDS.get(name, {})) for name, row in literals.CONFIG_REGISTERS.items()}
        out: Values = {}
        for part, rows in (("config", config), ("channel", literals.CHANNEL), ("descriptor", literals.DESCRIPTOR)):
            for name, (offset, access, masks) in rows.items():
                reset = literals.CONFIG_RESETS.get(name, 0) if part == "config" else 0
                out[f"{part}.{name}"] = (offset, access, 4, reset)
                out |= {f"{part}.{name}.{field}": mask for field, mask in masks.items()}
        return out

    # --- structures -----------------------------------------------------------------------------------------------

    def _structs(self) -> Values:
        wire = dict(literals.STRUCTS)
        actions, events = self._action_rows(), self._event_rows()
        wire |= {actions[n][1].lower(): literals.SWITCH + name for n, name in literals.PAYLOADS.items()}
        wire |= {events[n][1].lower(): "D2H_EVENT_" + name for n, name in literals.EVENT_PAYLOADS.items()}
        out: Values = {}
        for ours, theirs in wire.items():
            out[f"struct {ours}"] = (self._wire[theirs]["size"], self._wire_leaves(theirs))
        for ours, rows in literals.LAYOUTS.items():
            out[f"struct {ours}"] = _sequence(rows)
        sections = [leaf for n in range(8) for leaf in self._wire_leaves("SENSOR_CONFIG__section_info_t", n * 120)]
        out["struct sensor_sections_info"] = (960, tuple(sections))
        for number in set(actions) - set(literals.PAYLOADS) - {24}:
            out[f"struct {actions[number][1].lower()}"] = (0, ())
        return out

    def _wire_leaves(self, name: str, base: int = 0, *, all_big: bool = False) -> tuple[Leaf, ...]:
        leaves: list[Leaf] = []
        big = None if all_big else literals.BIG_ENDIAN.get(name, set())
        for row in self._wire[name]["fields"]:
            if row["size"] is None or isinstance(row["offset"], str):
                continue
            label, at = row["name"].partition("[")[0], base + row["offset"]
            nested = self._wire.get(row["type"])
            if nested is None or nested["kind"] == "union":
                kind = {"float32_t": "f", "int8_t": "s", "int32_t": "s"}.get(row["type"], "u")
                leaves.append((label, at, row["size"], kind, _is_big(big, label, row["type"])))
                continue
            for index in range(row["size"] // nested["size"]):
                leaves += self._wire_leaves(row["type"], at + index * nested["size"], all_big=big is None)
        return tuple(leaves)

    # --- messages -------------------------------------------------------------------------------------------------

    def _controls(self) -> Values:
        text = self._facts.section("control-protocol.md", "4. Opcode table")
        out: Values = {}
        for row in self._facts.rows(text):
            if not row[0].isdigit():
                continue
            opcode, name, cpu = int(row[0]), row[1].replace("MEASUEMENT", "MEASUREMENT"), row[2] == "core"
            is_obsolete = opcode in literals.OBSOLETE
            out[f"control {opcode}"] = (opcode, name, int(cpu), is_obsolete)
            request, response = ((), ()) if is_obsolete else self._parameter_tables(opcode)
            out[f"control {opcode} request"], out[f"control {opcode} response"] = request, response
        return out

    def _parameter_tables(self, opcode: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        text = self._facts.section("control-protocol.md", f"5.{opcode} ")
        request, _, response = text.partition("\nResponse:")
        first, second = (
            tuple(_parameter(opcode, row) for row in self._facts.rows(part) if len(row) == 5 and row[0].isdigit())
            for part in (request, response)
        )
        return first, second

    def _action_rows(self) -> dict[int, list[str]]:
        text = self._facts.section("context-switch.md", "8. Action table")
        return {int(row[0]): row for row in self._facts.rows(text) if row[0].isdigit()}

    def _actions(self) -> Values:
        out: Values = {
            f"action {number}": (number, row[1], row[3] == "R", row[1].lower())
            for number, row in self._action_rows().items()
        }
        out["action 24"] = (*out["action 24"][:3], "repeated_action_header")
        return out

    def _event_rows(self) -> dict[int, list[str]]:
        text = self._facts.section("control-protocol.md", "9.3 Events")
        return {int(row[0]): row for row in self._facts.rows(text) if row[0].isdigit()}

    def _events(self) -> Values:
        return {
            f"event {number}": (number, row[1], int(row[2]), row[1].lower())
            for number, row in self._event_rows().items()
        }

    def _names(self) -> Values:
        table = {name: int(word, 16) for name, word in self._facts.json("fw.status.json").items()}
        words = {name: word for name, word in table.items() if not name.endswith("_START") or "MODULE__" not in name}
        out: Values = {f"part {name}": struct for name, struct in literals.PARTS.items()}
        out |= {f"stream {name}": struct for name, struct in literals.STREAM_VARIANTS.items()}
        return out | {"statuses": words, "status_names": {word: name for name, word in words.items()}}

    def _user_config(self) -> Values:
        """Every setting of the table in control-protocol.md 10, in its order."""
        out: Values = {}
        category = ""
        found: list[tuple[int, int, int, int]] = []
        for row in self._facts.rows(self._facts.section("control-protocol.md", "10. Logs, user config")):
            if len(row) != 5 or not row[1][:1].isdigit():
                continue
            category = row[0].split()[0] if row[0] else category
            size, _, count = row[3].partition("×")
            found += [(int(category), entry, int(size), int(count or 1)) for entry in _numbers(row[1])]
        for index, values in enumerate(sorted(found)):
            names = ("category", "entry_id", "size", "count")
            out |= {f"user_config.entries[{index}].{n}": v for n, v in zip(names, values, strict=True)}
        return out


def _numbers(cell: str) -> list[int]:
    """Return what a cell such as ``6``, ``1,3`` or ``8-11`` stands for."""
    first, dash, last = cell.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(part) for part in cell.split(",")]


def _is_big(big: set[str] | None, label: str, kind: str) -> bool:
    return kind not in ("uint8_t", "bool", "int8_t") if big is None else label in big


def _sequence(rows: tuple[tuple[str, int, str], ...]) -> tuple[int, tuple[Leaf, ...]]:
    leaves: list[Leaf] = []
    at = 0
    for name, size, kind in rows:
        leaves.append((name, at, size, "u" if kind == "B" else kind, kind == "B"))
        at += size
    return at, tuple(leaves)


#: Encoding column of control-protocol.md 5 -> type of a scalar.
ENCODINGS = {
    "u8": "u8",
    "bool u8": "u8",
    "i8": "i8",
    "BE16": "be16",
    "BE32": "be32",
    "BE64": "be64",
    "BE32 signed": "bei32",
    "u16 native LE": "le16",
    "u32 native LE": "le32",
    "u32, read as native LE": "le32",
    "float32 native LE": "f32",
    "float32, see trap 3.1": "f32",
}
#: Rows whose size is that of the library's largest buffer, while the text says that the length varies.
VARIABLE = frozenset({(2, "data"), (3, "communication_params"), (19, "data"), (23, "data"), (27, "data"), (47, "data")})


def _parameter(opcode: int, row: list[str]) -> tuple[str, str, int, int]:
    """Return (name, type, size, longest) of one row of a parameter table."""
    name, size, encoding = row[2].rpartition(".")[2], row[3], row[4]
    where = (opcode, name)
    if where in literals.STRUCT_PARAMETERS:
        return name, f"struct {literals.STRUCT_PARAMETERS[where]}", 0, 0
    if where == (53, "breakpoint_id"):
        return name, "le32", 0, 0
    if encoding in ENCODINGS:
        return name, ENCODINGS[encoding], 0, 0
    fixed = 0 if size == "var" or where in VARIABLE else int(size)
    return name, "bytes", fixed, literals.LONGEST.get(where, 0)


# --- the other side: an instance --------------------------------------------------------------------------------------


def flatten(spec: ChipSpec) -> Values:
    """Return every number of ``spec`` by path."""
    out: Values = {name: dict(getattr(spec, name)) for name in NAMES}
    seen: dict[str, Struct] = {}
    for part in fields(spec):
        value = getattr(spec, part.name)
        if part.name in NAMES:
            continue
        if isinstance(value, RegBlock):
            out |= _flat_block(part.name, value)
        elif isinstance(value, Reg):
            out |= {f"{part.name}.{field.name}": field.mask for field in value.fields}
        elif isinstance(value, Struct):
            out[f"part {part.name}"] = _named(value, seen)
        elif part.name == "communication_params":
            out |= {f"stream {name}": _named(struct, seen) for name, struct in value.items()}
        elif isinstance(value, Mapping):
            out |= _flat_messages(part.name, value, seen)
        else:
            out |= {f"{part.name}.{name}": number for name, number in _flat_rules(value)}
    out |= {f"struct {name}": (struct.size, _open_members(struct)) for name, struct in seen.items()}
    return out


def _named(struct: Struct, seen: dict[str, Struct]) -> str:
    """Return the name of ``struct`` and remember it; a second layout under one name becomes another name."""
    name = struct.name
    while name in seen and seen[name] is not struct and seen[name] != struct:
        name += "'"
    if name not in seen:
        seen[name] = struct
        for member in struct.members:
            if isinstance(member.type, Struct):
                _named(member.type, seen)
    return name


def _flat_block(where: str, block: RegBlock) -> Values:
    out: Values = {}
    for reg in block:
        out[f"{where}.{reg.name}"] = (reg.offset, reg.access.name, reg.width_bytes, reg.reset)
        out |= {f"{where}.{reg.name}.{field.name}": field.mask for field in reg.fields}
    return out


def _flat_rules(rules: Any) -> Iterator[tuple[str, Any]]:
    for part in fields(rules):
        value = getattr(rules, part.name)
        if part.name in ("name", "kind"):
            continue  # for people
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            for index, item in enumerate(sorted(value, key=_place)):
                yield from ((f"{part.name}[{index}].{name}", number) for name, number in _flat_rules(item))
        else:
            yield part.name, value


def _place(item: Any) -> tuple[int, int]:
    """Tables are compared in the order of their numbers."""
    return (item.category, item.entry_id) if hasattr(item, "category") else (item.index, 0)


def _flat_messages(where: str, mapping: Mapping[int, Any], seen: dict[str, Struct]) -> Values:
    kind = where.removesuffix("s")
    out: Values = {}
    for number, item in mapping.items():
        path = f"{kind} {number}"
        if kind == "control":
            out[path] = (item.opcode, item.name, item.cpu, item.obsolete)
            for side in ("request", "response"):
                out[f"{path} {side}"] = tuple(_flat_parameter(param, seen) for param in getattr(item, side))
        elif kind == "action":
            out[path] = (item.id, item.name, item.repeatable, _named(item.payload, seen))
        else:
            out[path] = (item.id, item.name, item.parameter_count, _named(item.payload, seen))
    return out


def _flat_parameter(param: Param, seen: dict[str, Struct]) -> tuple[str, str, int, int]:
    if isinstance(param.type, Struct):
        return param.name, f"struct {_named(param.type, seen)}", param.size, param.max_size
    return param.name, param.type, param.size, param.max_size


def _open_members(struct: Struct, base: int = 0) -> tuple[Leaf, ...]:
    leaves: list[Leaf] = []
    for member in struct.members:
        at = base + member.offset
        if isinstance(member.type, Struct):
            for index in range(member.count):
                leaves += _open_members(member.type, at + index * member.type.size)
        elif member.name in WRAPPED:
            leaves += [(WRAPPED[member.name], at + n, 1, "u", False) for n in range(member.size_bytes)]
        else:
            leaves.append((member.name, at, member.size_bytes, *_kind(member)))
    return tuple(leaves)


def _kind(member: Member) -> tuple[str, bool]:
    if member.type == "bytes":
        return "u", False
    code, size = SCALARS[str(member.type)]
    kind = "f" if code[1] == "f" else "s" if code[1].islower() else "u"
    return kind, code[0] == ">" and size > 1
