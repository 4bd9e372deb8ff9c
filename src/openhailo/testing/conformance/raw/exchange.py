"""Rows of the raw tables, and how one table is played against a device."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openhailo.testing.check import Mismatch, expect
from openhailo.testing.rig import Rig

from .host import MessageHost

APP, CORE = 0, 1


@dataclass(frozen=True)
class Exchange:
    """One control as bytes.

    ``request`` and ``response`` are hexadecimal (see `digits`); blanks part header words, lengths and values, ``?``
    stands for a digit that depends on time. An empty response: there is none. ``received`` is what the firmware must
    have understood, and ``state`` what it must hold afterwards, as family -> name -> value.
    """

    name: str
    cpu: int
    request: str
    response: str
    received: Mapping[str, Any] | None = None
    state: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Wait:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True)
class Sense:
    """Change what the sensors see."""

    power_w: float | None = None
    temperature_c: tuple[float, float] | None = None


Step = Exchange | Wait | Sense


def digits(text: str) -> str:
    """Return the digits of a literal: blanks are dropped, ``00*12`` is twelve times that byte."""
    return "".join(token[:2] * int(token[3:]) if token[2:3] == "*" else token for token in text.split())


def unhex(text: str) -> bytes:
    """Return the bytes of a literal (see `digits`)."""
    return bytes.fromhex(digits(text))


def play(rig: Rig, steps: Sequence[Step]) -> None:
    """Run a table on a running device."""
    host = rig.raw_host()
    for step in steps:
        if isinstance(step, Exchange):
            _exchange(rig, host, step)
        elif isinstance(step, Wait):
            rig.advance(step.seconds)
        else:
            _sense(rig, step)


def _exchange(rig: Rig, host: MessageHost, row: Exchange) -> None:
    answer = host.ask(row.cpu, unhex(row.request))
    _compare(row, answer)
    if row.received is None and not row.state:
        return
    held = rig.state()
    if row.received is not None:
        expect(f"{row.name} as understood", held["received"].get(row.name), dict(row.received))
    for family, values in row.state.items():
        for name, wanted in values.items():
            expect(f"{family}.{name} after {row.name}", held[family][name], wanted)


def _compare(row: Exchange, answer: bytes | None) -> None:
    wanted = digits(row.response)
    seen = "" if answer is None else answer.hex()
    if not re.fullmatch(wanted.replace("?", "[0-9a-f]"), seen):
        raise Mismatch(f"{row.name}: answered {seen or 'nothing'}, should be {wanted or 'nothing'}")


def _sense(rig: Rig, step: Sense) -> None:
    if step.power_w is not None:
        rig.sensors.set_power(step.power_w)
    if step.temperature_c is not None:
        rig.sensors.set_temperature(*step.temperature_c)
