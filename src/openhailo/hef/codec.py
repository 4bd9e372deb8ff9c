"""Dataclasses of the model to and from protobuf messages, field by field.

A dataclass field is named like its protobuf field. ``metadata={"of": T}`` says that it holds an enum or another such
dataclass; a default of ``()`` that it is repeated. Layers, contexts and groups, which the model shapes otherwise, have
code of their own in `reader` and `writer`.
"""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from openhailo.errors import InvalidHef, UnsupportedHef

from .wire import Message

T = TypeVar("T")
E = TypeVar("E", bound=IntEnum)


class FieldPlan(NamedTuple):
    """How one field is carried over."""

    name: str
    of: type[Any] | None
    repeated: bool


_PLANS: dict[tuple[type[Any], tuple[str, ...]], tuple[FieldPlan, ...]] = {}


def _plan(cls: type[Any], skip: tuple[str, ...]) -> tuple[FieldPlan, ...]:
    """Return how the fields of ``cls`` are carried over, worked out once."""
    if (cls, skip) not in _PLANS:
        _PLANS[cls, skip] = tuple(
            FieldPlan(field.name, field.metadata.get("of"), field.default == ())
            for field in fields(cls)
            if field.name not in skip
        )
    return _PLANS[cls, skip]


def decode_enum(of: type[E], value: int, where: str) -> E:
    """Return the member of ``of`` with number ``value``. Unknown: `UnsupportedHef`."""
    try:
        return of(value)
    except ValueError:
        raise UnsupportedHef(feature=f"{of.__name__} {value} in {where}") from None


def decode(cls: type[T], message: Message, where: str, **extra: Any) -> T:
    """Build ``cls`` from ``message``; ``extra`` are fields that the message does not hold under that name."""
    values = {plan.name: _decode_field(plan, message, where) for plan in _plan(cls, tuple(extra))}
    return cls(**values, **extra)


def _decode_field(plan: FieldPlan, message: Message, where: str) -> Any:
    raw, of = getattr(message, plan.name), plan.of
    if of is None:
        return tuple(raw) if plan.repeated else raw
    if issubclass(of, IntEnum):
        return decode_enum(of, raw, f"{where}.{plan.name}")
    if plan.repeated:
        return tuple(decode(of, item, f"{where}.{plan.name}") for item in raw)
    return decode(of, raw, where) if message.HasField(plan.name) else None


def encode(value: Any, message: Message, skip: tuple[str, ...] = ()) -> None:
    """Fill ``message`` from dataclass ``value``; ``skip`` are fields it has no place for.

    A number or text that the field cannot hold: `InvalidHef`.
    """
    for plan in _plan(type(value), skip):
        try:
            _encode_field(plan, getattr(value, plan.name), message)
        except (TypeError, ValueError) as error:
            where = f"{type(value).__name__}.{plan.name}"
            raise InvalidHef(rule="value range", where=where, detail=str(error)) from error


def _encode_field(plan: FieldPlan, content: Any, message: Message) -> None:
    if plan.of is None or issubclass(plan.of, IntEnum):
        if plan.repeated:
            getattr(message, plan.name).extend(content)
        else:
            setattr(message, plan.name, content)
    elif plan.repeated:
        for item in content:
            encode(item, getattr(message, plan.name).add())
    elif content is not None:
        nested = getattr(message, plan.name)
        nested.SetInParent()
        encode(content, nested)
