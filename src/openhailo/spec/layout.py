"""The pack/unpack engine: registers, bit fields and packed structures as data.

Nothing here knows the chip. A *declaration* (``Reg``, ``RegBlock``, ``Struct``) is a frozen value that carries its
own source. Driver and twin read the same declarations but each receives its own copy
(`openhailo.spec.chip.ChipSpec`), so tests can bend one side only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any


class Access(Enum):
    """What host accesses do to a register or field."""

    R = "read only"
    RW = "read/write"
    W = "write only"
    RW1C = "write one to clear"
    W1S = "write one to set, with a side effect"


@dataclass(frozen=True)
class Field:
    """A bit field: ``width`` bits from bit ``lsb`` up."""

    name: str
    lsb: int
    width: int = 1
    source: str = ""

    @property
    def mask(self) -> int:
        """The field's bits in place."""
        return ((1 << self.width) - 1) << self.lsb

    def get(self, word: int) -> int:
        """Extract the field from ``word``."""
        return (word >> self.lsb) & ((1 << self.width) - 1)

    def put(self, value: int, word: int = 0) -> int:
        """Return ``word`` with the field replaced by ``value``; a value too wide is a ``ValueError``."""
        if value >> self.width:
            raise ValueError(f"{self.name}: {value} does not fit in {self.width} bits")
        return (word & ~self.mask) | (value << self.lsb)


@dataclass(frozen=True)
class Reg:
    """A register at byte ``offset`` of its block, ``width_bytes`` wide."""

    name: str
    offset: int
    access: Access = Access.RW
    width_bytes: int = 4
    reset: int = 0
    fields: tuple[Field, ...] = ()
    source: str = ""

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields, by name."""
        return {f.name: f for f in self.fields}

    def __getitem__(self, name: str) -> Field:
        return self.by_name[name]

    def pack(self, **values: int) -> int:
        """Build a register word from field values."""
        word = 0
        for name, value in values.items():
            word = self[name].put(value, word)
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """Split a register word into its fields."""
        return {f.name: f.get(word) for f in self.fields}


@dataclass(frozen=True)
class RegBlock:
    """Named registers of one window; overlapping registers are refused with both named."""

    name: str
    regs: tuple[Reg, ...]
    source: str = ""

    def __post_init__(self) -> None:
        previous: Reg | None = None
        for reg in sorted(self.regs, key=lambda r: r.offset):
            if previous is not None and reg.offset < previous.offset + previous.width_bytes:
                raise ValueError(f"{self.name}: {previous.name} and {reg.name} overlap at 0x{reg.offset:X}")
            previous = reg

    @cached_property
    def by_name(self) -> Mapping[str, Reg]:
        """The registers, by name."""
        return {r.name: r for r in self.regs}

    @cached_property
    def by_offset(self) -> Mapping[int, Reg]:
        """The registers, by byte offset."""
        return {r.offset: r for r in self.regs}

    def __getitem__(self, name: str) -> Reg:
        return self.by_name[name]

    def __iter__(self) -> Iterator[Reg]:
        return iter(self.regs)


#: Member type -> (struct code, size in bytes). "le"/"be" name the byte order on the wire.
SCALARS: Mapping[str, tuple[str, int]] = {
    "u8": ("<B", 1),
    "i8": ("<b", 1),
    "le16": ("<H", 2),
    "le32": ("<I", 4),
    "le64": ("<Q", 8),
    "lei32": ("<i", 4),
    "be16": (">H", 2),
    "be32": (">I", 4),
    "be64": (">Q", 8),
    "bei32": (">i", 4),
    "f32": ("<f", 4),
}


@dataclass(frozen=True)
class Member:
    """A structure member: a scalar (``type`` in `SCALARS`), ``bytes`` of ``size`` bytes, or a nested ``Struct``.

    ``count`` > 1 makes it an array (a tuple when unpacked).
    """

    name: str
    offset: int
    type: str | Struct
    size: int = 0
    count: int = 1

    @property
    def element_size(self) -> int:
        """Bytes of one element."""
        if isinstance(self.type, Struct):
            return self.type.size
        return self.size if self.type == "bytes" else SCALARS[self.type][1]

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole member."""
        return self.element_size * self.count


@dataclass(frozen=True)
class Struct:
    """A packed structure of ``size`` bytes; gaps between members are zero on the wire."""

    name: str
    size: int
    members: tuple[Member, ...]
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for member in self.members:
            if member.offset < 0 or member.offset + member.size_bytes > self.size:
                raise ValueError(f"{self.name}.{member.name} leaves the structure of {self.size} bytes")

    @cached_property
    def by_name(self) -> Mapping[str, Member]:
        """The members, by name."""
        return {m.name: m for m in self.members}

    def __getitem__(self, name: str) -> Member:
        return self.by_name[name]

    @cached_property
    def compiled(self) -> struct.Struct:
        """The layout as one format for hot paths, values in declared order; plain members only (``ValueError``)."""
        text, at = "<", 0
        for member in self.members:
            if isinstance(member.type, Struct) or member.count != 1 or member.offset < at:
                raise ValueError(f"{self.name}.{member.name} is not a plain member in order")
            code = f"{member.size}s" if member.type == "bytes" else SCALARS[member.type][0]
            if code.startswith(">"):
                raise ValueError(f"{self.name}.{member.name} is big endian")
            text += "x" * (member.offset - at) + code.lstrip("<")
            at = member.offset + member.size_bytes
        return struct.Struct(text + "x" * (self.size - at))

    def pack(self, **values: Any) -> bytes:
        """Serialise; members left out are zero. Unknown names: ``TypeError``. Out of range: ``ValueError``."""
        unknown = values.keys() - self.by_name.keys()
        if unknown:
            raise TypeError(f"{self.name} has no member {sorted(unknown)}")
        out = bytearray(self.size)
        for name, value in values.items():
            _put(out, self.by_name[name], value, self.name)
        return bytes(out)

    def unpack(self, data: bytes | bytearray | memoryview, offset: int = 0) -> dict[str, Any]:
        """Parse ``size`` bytes at ``offset``; shorter data, or a negative offset, is a ``ValueError``."""
        if offset < 0 or len(data) - offset < self.size:
            raise ValueError(f"{self.name}: {self.size} bytes needed, {max(0, len(data) - offset)} there")
        return {m.name: _get(data, offset, m) for m in self.members}


def _put(out: bytearray, member: Member, value: Any, owner: str) -> None:
    values = value if member.count > 1 else (value,)
    if len(values) > member.count:
        raise ValueError(f"{owner}.{member.name}: {len(values)} elements, room for {member.count}")
    for index, element in enumerate(values):
        at = member.offset + index * member.element_size
        out[at : at + member.element_size] = _pack_element(member, element, owner)


def _pack_element(member: Member, value: Any, owner: str) -> bytes:
    if isinstance(member.type, Struct):
        return value if isinstance(value, bytes) and len(value) == member.type.size else member.type.pack(**value)
    if member.type == "bytes":
        if len(value) > member.size:
            raise ValueError(f"{owner}.{member.name}: {len(value)} bytes, room for {member.size}")
        return bytes(value).ljust(member.size, b"\0")
    try:
        return struct.pack(SCALARS[member.type][0], value)
    except (struct.error, OverflowError) as error:  # a float too large for f32 overflows
        raise ValueError(f"{owner}.{member.name}: {value!r} does not fit {member.type}") from error


def _get(data: bytes | bytearray | memoryview, base: int, member: Member) -> Any:
    at = base + member.offset
    elements = tuple(_unpack_element(data, at + i * member.element_size, member) for i in range(member.count))
    return elements if member.count > 1 else elements[0]


def _unpack_element(data: bytes | bytearray | memoryview, at: int, member: Member) -> Any:
    if isinstance(member.type, Struct):
        return member.type.unpack(data, at)
    if member.type == "bytes":
        return bytes(data[at : at + member.size])
    return struct.unpack_from(SCALARS[member.type][0], data, at)[0]


def sequential(name: str, source: str, *members: tuple[str, str | Struct] | tuple[str, str | Struct, int]) -> Struct:
    """Declare a packed structure whose members follow each other: ``(name, type)`` or ``(name, type, n)``.

    ``n`` is the byte size for ``"bytes"`` and the element count for every other type.
    """
    laid: list[Member] = []
    at = 0
    for entry in members:
        kind, n = entry[1], entry[2] if len(entry) == 3 else 1
        member = Member(entry[0], at, kind, size=n) if kind == "bytes" else Member(entry[0], at, kind, count=n)
        laid.append(member)
        at += member.size_bytes
    return Struct(name, at, tuple(laid), source)
