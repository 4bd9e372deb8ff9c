"""Replaces parts of a declaration wherever they occur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from openhailo.spec.layout import Member, Struct

Spec = TypeVar("Spec")


class Bender:
    """One rebuild of a declaration with some of its objects, told by identity, replaced by others.

    A structure that is nested in several places is replaced in all of them; structures around it are laid out again
    when its size changed. What is not touched stays the same object.
    """

    def __init__(self, swaps: Mapping[int, Any]) -> None:
        self._swaps = swaps
        self._done: dict[int, Any] = {}

    def rebuild(self, value: Any) -> Any:
        key = id(value)
        if key in self._swaps:
            return self._swaps[key]
        if key not in self._done:
            self._done[key] = self._fresh(value)
        return self._done[key]

    def _fresh(self, value: Any) -> Any:
        if isinstance(value, Struct):
            return self._struct(value)
        if isinstance(value, tuple):
            parts = tuple(self.rebuild(part) for part in value)
            return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
        if isinstance(value, Mapping):
            if isinstance(next(iter(value.values()), 0), int | str):
                return value
            items = {name: self.rebuild(part) for name, part in value.items()}
            return value if all(items[name] is value[name] for name in value) else items
        if is_dataclass(value) and not isinstance(value, Enum):
            changed = {f.name: self.rebuild(getattr(value, f.name)) for f in fields(value)}
            changed = {name: part for name, part in changed.items() if part is not getattr(value, name)}
            return replace(value, **changed) if changed else value
        return value

    def _struct(self, value: Struct) -> Struct:
        members = tuple(self.rebuild(member) for member in value.members)
        if all(a is b for a, b in zip(members, value.members, strict=True)):
            return value
        return lay_out(value, members)


def lay_out(struct: Struct, members: tuple[Member, ...], *, gap_before: int = -1) -> Struct:
    """Return ``struct`` with ``members`` one after the other, and one byte of nothing before ``gap_before``."""
    laid, at = [], 0
    for index, member in enumerate(members):
        at += index == gap_before
        laid.append(replace(member, offset=at))
        at += member.size_bytes
    return Struct(struct.name, at, tuple(laid), struct.source)


def bend(spec: Spec, swaps: Mapping[int, Any]) -> Spec:
    """Return ``spec`` with the objects of ``swaps`` (id -> replacement) replaced."""
    bent = Bender(swaps).rebuild(spec)
    assert isinstance(bent, type(spec))
    return bent
