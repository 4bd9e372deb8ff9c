"""Damages protobuf messages without knowing their schema: fields deep inside change, lengths around them stay right."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .mutate import edge, mutate_bytes

#: (field number, wire type, value): a number for wire type 0, bytes for the others.
Field = tuple[int, int, int | bytes]
_FIXED = {1: 8, 5: 4}
_MOST_NESTED_BYTES = 1 << 16
_MOST_REPEATS = 40


def mutate_message(rng: Random, data: bytes, changes: int = 0) -> bytes:
    """Return a serialized message with some fields changed, whatever the depth."""
    for _ in range(changes or rng.choice((1, 1, 2, 3, 5))):
        data = _mutate_once(rng, data)
    return data


def _mutate_once(rng: Random, data: bytes) -> bytes:
    fields = parse_fields(data)
    if not fields:
        return mutate_bytes(rng, data, 1)
    at = rng.randrange(len(fields))
    number, wire, value = fields[at]
    if isinstance(value, bytes) and wire == 2 and 1 < len(value) < _MOST_NESTED_BYTES and rng.random() < 0.8:
        fields[at] = (number, wire, _mutate_once(rng, value))
    else:
        _OPERATIONS[rng.randrange(len(_OPERATIONS))](rng, fields, at)
    return b"".join(map(_build_field, fields))


def _change(rng: Random, fields: list[Field], at: int) -> None:
    number, wire, value = fields[at]
    if isinstance(value, int):
        value = value ^ 1 << rng.randrange(32) if rng.random() < 0.3 else edge(rng)
    elif wire == 2:
        value = mutate_bytes(rng, value, 1)
    else:
        value = edge(rng).to_bytes(8, "little")[: _FIXED[wire]]
    fields[at] = (number, wire, value)


def _drop(_rng: Random, fields: list[Field], at: int) -> None:
    del fields[at]


def _repeat(rng: Random, fields: list[Field], at: int) -> None:
    fields[at:at] = [fields[at]] * rng.choice((1, 2, _MOST_REPEATS))


def _move(rng: Random, fields: list[Field], at: int) -> None:
    fields.insert(rng.randrange(len(fields)), fields.pop(at))


def _renumber(rng: Random, fields: list[Field], at: int) -> None:
    _, wire, value = fields[at]
    fields[at] = (rng.randint(1, 60), wire, value)


def _add(rng: Random, fields: list[Field], at: int) -> None:
    content: Field = (rng.randint(1, 40), 0, edge(rng))
    if rng.random() < 0.5:
        content = (rng.randint(1, 40), 2, rng.choice((b"", b"x", b"\xff\xfe", rng.randbytes(rng.randint(1, 12)))))
    fields.insert(at, content)


def _copy_over(rng: Random, fields: list[Field], at: int) -> None:
    """Give one field the content of another: a plausible value at the wrong place."""
    _, wire, value = rng.choice(fields)
    fields[at] = (fields[at][0], wire, value)


_OPERATIONS: tuple[Callable[[Random, list[Field], int], None], ...] = (
    *(_change, _change, _change, _change, _drop, _repeat, _move, _renumber, _add, _copy_over),
)


def parse_fields(data: bytes) -> list[Field] | None:
    """Return the fields of a message, or None for what cannot be one."""
    fields: list[Field] = []
    at = 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            number, wire = key >> 3, key & 7
            if not number or wire not in (0, 1, 2, 5):
                return None
            if wire == 0:
                value, at = _varint(data, at)
                fields.append((number, 0, value))
                continue
            size = _FIXED.get(wire, 0)
            if wire == 2:
                size, at = _varint(data, at)
            if at + size > len(data):
                return None
            fields.append((number, wire, data[at : at + size]))
            at += size
    except IndexError:
        return None
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 63:
            return value, at


def _build_varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _build_field(field: Field) -> bytes:
    number, wire, value = field
    start = _build_varint(number << 3 | wire)
    if isinstance(value, int):
        return start + _build_varint(value)
    return start + (_build_varint(len(value)) if wire == 2 else b"") + value
