"""Answers of a hostile firmware to every control, through the typed client."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from openhailo.driver.control import FirmwareClient
from openhailo.errors import ProtocolError
from openhailo.spec.chip import CHIP
from openhailo.spec.layout import Struct
from openhailo.spec.messages import Control, Param
from tests.fuzz.mutate import edge, mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface

_HEADER_BYTES = 24
_WIDTHS = {"u8": 1, "i8": 1, "le16": 2, "be16": 2, "le32": 4, "be32": 4, "bei32": 4, "f32": 4, "be64": 8, "le64": 8}

#: Typed methods that make something of an answer, by opcode name; the others are called by name.
TYPED: dict[str, Callable[[FirmwareClient], Any]] = {
    "IDENTIFY": lambda c: c.identify(),
    "CORE_IDENTIFY": lambda c: c.core_identify(),
    "GET_DEVICE_INFORMATION": lambda c: c.device_information(),
    "GET_HEALTH_INFORMATION": lambda c: c.health(),
    "GET_CHIP_TEMPERATURE": lambda c: c.chip_temperature(),
    "GET_HW_CONSTS": lambda c: c.hw_consts(),
    "DOWNLOAD_CONTEXT_ACTION_LIST": lambda c: c.download_action_list(0, 1, 0),
    "GET_CONTEXT_SWITCH_MAIN_HEADER": lambda c: c.main_header(),
    "GET_CONTEXT_SWITCH_BREAKPOINT_STATUS": lambda c: c.breakpoint_status(0),
    "CHANGE_HW_INFER_STATUS": lambda c: c.stop_hw_infer(),
    "EXAMINE_USER_CONFIG": lambda c: c.read_user_config(),
    "READ_BOARD_CONFIG": lambda c: c.read_board_config(),
    "SENSOR_GET_SECTIONS_INFO": lambda c: c.sensor_sections(),
    "SENSOR_GET_CONFIG": lambda c: c.read_sensor_config(0, 100),
    "READ_MEMORY": lambda c: c.read_memory(0x60000000, 64),
}


class _Link:
    """Answers every control with the same bytes, at most a few times, then with nothing."""

    def __init__(self, answer: bytes) -> None:
        self._answer, self._left = answer, 3000

    def control(self, request: bytes, _cpu: int, _timeout_s: float = 1.0) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise AssertionError("the client goes on asking for ever")
        return self._answer


@cache
def _answers() -> tuple[tuple[str, bytes], ...]:
    """Return a well-formed answer to every control, all parameters zero."""
    return tuple((control.name, _answer(control)) for control in CHIP.controls.values() if not control.obsolete)


def _answer(control: Control) -> bytes:
    parameters = b"".join(struct.pack(">I", width) + bytes(width) for width in map(_width, control.response))
    header = struct.pack(">7I", 2, 1, 0, control.opcode, 0, 0, len(control.response))
    return header + parameters


def _width(param: Param) -> int:
    if isinstance(param.type, Struct):
        return param.type.size
    return (param.size or 16) if param.type == "bytes" else _WIDTHS[param.type]


def make_case(rng: Random) -> bytes:
    """Damage the answer to one control: values mostly, framing sometimes."""
    name, answer = rng.choice(_answers())
    kind = rng.random()
    if kind < 0.35:
        body = bytearray(answer)
        for at, size in _spans(answer):
            if size and rng.random() < 0.6:
                body[at : at + size] = _value(rng, size)
        answer = bytes(body)
    elif kind < 0.5:
        header = [edge(rng, 32) if rng.random() < 0.2 else word for word in struct.unpack_from(">7I", answer)]
        answer = struct.pack(">7I", *header) + answer[28:]
    elif kind < 0.97:
        answer = mutate_bytes(rng, answer)
    else:
        answer = rng.randbytes(rng.randrange(1500))
    return pack_parts([name.encode(), answer])


def _spans(answer: bytes) -> list[tuple[int, int]]:
    spans, at = [], _HEADER_BYTES + 4
    while at < len(answer):
        (size,) = struct.unpack_from(">I", answer, at)
        spans.append((at + 4, size))
        at += 4 + size
    return spans


def _value(rng: Random, size: int) -> bytes:
    if size <= 8 and rng.random() < 0.7:
        return edge(rng, 8 * size).to_bytes(size, rng.choice(("little", "big")))
    return rng.choice((rng.randbytes(size), b"\xff" * size, b"\x7f" * size))


def run(case: bytes) -> int:
    """Ask, and let the client make a value of the answer."""
    name, answer = unpack_parts(case)
    client = FirmwareClient(_Link(answer))  # type: ignore[arg-type]
    control = name.decode()
    if control in TYPED:
        repr(TYPED[control](client))
    else:
        repr(client.call(control, **{p.name: _zero(p) for p in _request(control)}))
    return 1


def _zero(param: Param) -> Any:
    return bytes(_width(param)) if isinstance(param.type, Struct) or param.type == "bytes" else 0


@cache
def _request(name: str) -> tuple[Param, ...]:
    return next(control.request for control in CHIP.controls.values() if control.name == name)


SURFACE = Surface("control_responses", make_case, run, (ProtocolError,), gain_bytes=1 << 28)
