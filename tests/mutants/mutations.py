"""Every mutation of a `ChipSpec`: what is bent, how it is called, and what it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from openhailo.spec.actions import Action
from openhailo.spec.chip import ChipSpec
from openhailo.spec.events import Event
from openhailo.spec.layout import Access, Member, Reg, RegBlock, Struct
from openhailo.spec.messages import Control, Param

from .bend import bend, lay_out

#: Another byte order; what has none becomes another kind of number of the same size.
ORDER = {
    "le16": "be16",
    "le32": "be32",
    "le64": "be64",
    "be16": "le16",
    "be32": "le32",
    "be64": "le64",
    "bei32": "lei32",
    "lei32": "bei32",
    "f32": "le32",
    "i8": "u8",
}
#: Another width.
WIDTH = {
    "u8": "le16",
    "i8": "le16",
    "le16": "u8",
    "le32": "le16",
    "le64": "le32",
    "be16": "u8",
    "be32": "be16",
    "be64": "be32",
    "bei32": "be16",
    "lei32": "le16",
    "f32": "le16",
}
ACCESS = {Access.R: Access.RW, Access.RW: Access.RW1C, Access.RW1C: Access.RW, Access.W: Access.R, Access.W1S: Access.R}
#: Parts of the declaration that are not wires or numbers of the device: names for people.
NOT_BENT = frozenset({"status_names", "statuses"})


@dataclass(frozen=True)
class Mutant:
    """One bent declaration. ``tags`` are the names of what it touches; ``build`` may raise (then it is refused)."""

    name: str
    tags: frozenset[str]
    build: Callable[[], Any]


def enumerate_mutants(spec: ChipSpec) -> list[Mutant]:
    """Return every mutant of ``spec``, in a fixed order."""
    mutants: list[Mutant] = []
    for part in fields(spec):
        if part.name not in NOT_BENT:
            mutants += _of_part(spec, part.name, getattr(spec, part.name))
    for struct, tags in _structs(spec):
        mutants += of_struct(spec, struct, tags)
    names = [mutant.name for mutant in mutants]
    assert len(set(names)) == len(names), "every mutant has a name of its own"
    return mutants


def _of_part(spec: ChipSpec, name: str, value: Any) -> Iterator[Mutant]:
    if isinstance(value, RegBlock):
        yield from _of_block(spec, name, value)
    elif isinstance(value, Reg):
        yield from _of_fields(spec, name, value, frozenset({name, value.name}))
    elif isinstance(value, Mapping):
        yield from _of_mapping(spec, name, value)
    elif not isinstance(value, Struct):
        yield from of_rules(spec, name, value, frozenset({name}))


def swap(spec: Any, old: Any, make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: bend(spec, {id(old): make()})


# --- registers --------------------------------------------------------------------------------------------------------


def _of_block(spec: ChipSpec, name: str, block: RegBlock) -> Iterator[Mutant]:
    fields_done: set[int] = set()
    for index, reg in enumerate(block.regs):
        where, tags = f"{name}.{reg.name}", frozenset({name, reg.name, reg.name[:3]})
        yield Mutant(f"{where} offset +4", tags, swap(spec, block, lambda r=reg: _with(block, r, offset=r.offset + 4)))
        if index + 1 < len(block.regs):
            other = block.regs[index + 1]
            swapped = swap(
                spec,
                block,
                lambda r=reg, o=other: _with(_with(block, r, offset=o.offset, check=False), o, offset=r.offset),
            )
            yield Mutant(f"{where} swapped with {other.name}", tags | {other.name}, swapped)
        yield Mutant(f"{where} access", tags, swap(spec, block, lambda r=reg: _with(block, r, access=ACCESS[r.access])))
        if reg.reset:
            yield Mutant(f"{where} reset", tags, swap(spec, block, lambda r=reg: _with(block, r, reset=r.reset ^ 1)))
        if id(reg.fields) not in fields_done:
            fields_done.add(id(reg.fields))
            yield from _of_fields(spec, where, reg, tags)


def _with(block: RegBlock, reg: Reg, *, check: bool = True, **changes: Any) -> RegBlock:
    """Return ``block`` with one register changed; ``check`` False leaves overlaps to a later change."""
    regs = tuple(replace(r, **changes) if r.name == reg.name else r for r in block.regs)
    if check:
        return RegBlock(block.name, regs, block.source)
    loose = object.__new__(RegBlock)
    for key, value in (("name", block.name), ("regs", regs), ("source", block.source)):
        object.__setattr__(loose, key, value)
    return loose


def _of_fields(spec: ChipSpec, where: str, reg: Reg, tags: frozenset[str]) -> Iterator[Mutant]:
    bits = 8 * reg.width_bytes
    for field in reg.fields:
        moved = replace(field, lsb=field.lsb + (1 if field.lsb + field.width < bits else -1))
        sized = replace(field, width=field.width - 1 if field.width > 1 else 2)
        if sized.lsb + sized.width > bits:
            sized = replace(sized, lsb=bits - sized.width)
        for what, bent in (("lsb", moved), ("width", sized)):
            # Registers of one kind share their fields, so they are bent together.
            new = swap(spec, reg.fields, lambda f=field, b=bent: _replaced(reg.fields, f, b))
            yield Mutant(f"{where}.{field.name} {what}", tags | {field.name}, new)


def _replaced(items: tuple[Any, ...], old: Any, new: Any) -> tuple[Any, ...]:
    return tuple(new if item is old else item for item in items)


# --- rules ------------------------------------------------------------------------------------------------------------


def of_rules(spec: Any, where: str, rules: Any, tags: frozenset[str]) -> Iterator[Mutant]:
    for part in fields(rules):
        value, name = getattr(rules, part.name), f"{where}.{part.name}"
        if part.name in ("name", "source", "kind"):
            continue
        for what, bent in _bent_constants(value):
            new = swap(spec, rules, lambda p=part.name, b=bent: replace(rules, **{p: b}))
            yield Mutant(f"{name} {what}", tags | {part.name}, new)
        if isinstance(value, tuple):
            yield from _of_tuple(spec, name, rules, part.name, tags | {part.name})


def _of_tuple(spec: Any, name: str, rules: Any, part: str, tags: frozenset[str]) -> Iterator[Mutant]:
    values = getattr(rules, part)
    for index, value in enumerate(values):
        if is_dataclass(value):
            yield from of_rules(spec, f"{name}[{index}]", value, tags)
    if len(values) > 1:
        turned = (values[1], values[0], *values[2:])
        yield Mutant(f"{name} first two swapped", tags, swap(spec, rules, lambda: replace(rules, **{part: turned})))


def _bent_constants(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, bool):
        return [("negated", not value)]
    if isinstance(value, int):
        return [("+1", value + 1)] if value < 16 else [("+1", value + 1), ("+4", value + 4)]
    if isinstance(value, float):
        return [("x1.5", value * 1.5)]
    if isinstance(value, bytes):
        return [("first bit", bytes([value[0] ^ 1]) + value[1:])]
    if isinstance(value, str):
        return [("another text", value + "x")]
    return []


# --- controls, actions, events ----------------------------------------------------------------------------------------


def _of_mapping(spec: ChipSpec, where: str, mapping: Mapping[Any, Any]) -> Iterator[Mutant]:
    values = list(mapping.items())
    for index, (key, value) in enumerate(values):
        if isinstance(value, Control):
            yield from _of_control(spec, value)
        elif isinstance(value, Action):
            new = swap(spec, value, lambda v=value: replace(v, repeatable=not v.repeatable))
            yield Mutant(f"actions.{value.name} repeatable", frozenset({value.name}), new)
        elif isinstance(value, Event):
            new = swap(spec, value, lambda v=value: replace(v, parameter_count=v.parameter_count + 1))
            yield Mutant(f"events.{value.name} parameter count", frozenset({value.name}), new)
        if isinstance(key, int) and index + 1 < len(values):
            other = values[index + 1][1]
            new = swap(spec, mapping, lambda k=key, n=values[index + 1][0]: _renumbered(mapping, k, n))
            yield Mutant(f"{where}.{value.name} swapped with {other.name}", frozenset({value.name, other.name}), new)


def _renumbered(mapping: Mapping[int, Any], first: int, second: int) -> dict[int, Any]:
    number = "opcode" if isinstance(mapping[first], Control) else "id"
    turned = dict(mapping)
    turned[first] = replace(mapping[second], **{number: first})
    turned[second] = replace(mapping[first], **{number: second})
    return turned


def _of_control(spec: ChipSpec, control: Control) -> Iterator[Mutant]:
    where, tags = f"controls.{control.name}", frozenset({control.name})
    yield Mutant(f"{where} cpu", tags | {"cpu"}, swap(spec, control, lambda: replace(control, cpu=1 - control.cpu)))
    flipped = swap(spec, control, lambda: replace(control, obsolete=not control.obsolete))
    yield Mutant(f"{where} obsolete", tags, flipped)
    for side in ("request", "response"):
        params: tuple[Param, ...] = getattr(control, side)
        for index, param in enumerate(params):
            if index + 1 < len(params):
                turned = (*params[:index], params[index + 1], param, *params[index + 2 :])
                new = swap(spec, control, lambda s=side, t=turned: replace(control, **{s: t}))
                yield Mutant(f"{where} {side} {param.name} swapped with {params[index + 1].name}", tags, new)
            for what, bent in _bent_param(param):
                changed = _replaced(params, param, bent)
                new = swap(spec, control, lambda s=side, c=changed: replace(control, **{s: c}))
                yield Mutant(f"{where} {side} {param.name} {what}", tags | {param.name}, new)


def _bent_param(param: Param) -> Iterator[tuple[str, Param]]:
    if isinstance(param.type, Struct):
        return
    if param.type in ORDER:
        yield f"order {ORDER[param.type]}", replace(param, type=ORDER[param.type])
    if param.type in WIDTH:
        yield f"width {WIDTH[param.type]}", replace(param, type=WIDTH[param.type])
    if param.size:
        yield "size +1", replace(param, size=param.size + 1)
    if param.max_size:
        yield "max size +1", replace(param, max_size=param.max_size + 1)


# --- structures -------------------------------------------------------------------------------------------------------


def _structs(spec: ChipSpec) -> Iterator[tuple[Struct, frozenset[str]]]:
    """Yield every structure once, with the names of everything it is part of."""
    found: dict[int, tuple[Struct, set[str]]] = {}

    def visit(value: Any, tags: frozenset[str]) -> None:
        if isinstance(value, Struct):
            tags |= {value.name}
            found.setdefault(id(value), (value, set()))[1].update(tags)
            for member in value.members:
                visit(member.type, tags)
        elif isinstance(value, Control):
            for param in (*value.request, *value.response):
                visit(param.type, tags | {value.name, param.name})
        elif isinstance(value, Action | Event):
            visit(value.payload, tags | {value.name})
        elif isinstance(value, Mapping):
            for part in value.values():
                visit(part, tags)

    for part in fields(spec):
        if part.name not in NOT_BENT:
            visit(getattr(spec, part.name), frozenset({part.name}))
    for struct, tags in found.values():
        yield struct, frozenset(tags)


def of_struct(spec: Any, struct: Struct, tags: frozenset[str]) -> Iterator[Mutant]:
    members = struct.members
    for index, member in enumerate(members):
        where, about = f"{struct.name}.{member.name}", tags | {member.name}
        if index + 1 < len(members):
            turned = (*members[:index], members[index + 1], member, *members[index + 2 :])
            new = swap(spec, struct, lambda t=turned: lay_out(struct, t))
            yield Mutant(f"{where} swapped with {members[index + 1].name}", about, new)
        shifted = swap(spec, struct, lambda i=index: lay_out(struct, members, gap_before=i))
        yield Mutant(f"{where} shifted", about, shifted)
        for what, bent in _bent_member(member):
            changed = _replaced(members, member, bent)
            yield Mutant(f"{where} {what}", about, swap(spec, struct, lambda c=changed: lay_out(struct, c)))


def _bent_member(member: Member) -> Iterator[tuple[str, Member]]:
    if isinstance(member.type, str) and member.type in ORDER:
        yield f"order {ORDER[member.type]}", replace(member, type=ORDER[member.type])
    if isinstance(member.type, str) and member.type in WIDTH:
        yield f"width {WIDTH[member.type]}", replace(member, type=WIDTH[member.type])
    if member.type == "bytes":
        yield "size -1", replace(member, size=member.size - 1)
    if member.count > 1:
        yield "count -1", replace(member, count=member.count - 1)
