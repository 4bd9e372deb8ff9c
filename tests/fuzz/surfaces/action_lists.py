"""Application headers and action lists of a hostile host: stored, parsed and executed by the twin."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

from openhailo.spec.chip import CHIP
from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.violation import TwinViolation
from tests.fuzz.materials import load_test_module
from tests.fuzz.mutate import edge, mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

_HEADER, _REPEATED = 5, 24
_MOST_STEPS = 3000
_POKE = struct.Struct("<HHI")  # step, offset, value
_RUN_TIME_ERROR, _CACHE_OFFSET = 12, 13


def _host(twin: Twin) -> Any:
    return load_test_module("twin_firmware/conftest.py").Host(twin)


@cache
def _golden() -> tuple[bytes, tuple[tuple[int, bytes], ...]]:
    """Return a header and its lists; descriptor lists lie where every fresh twin puts them."""
    module = load_test_module("twin_firmware/test_hostile_lists.py")
    with Twin(clock=SteppedClock(), booted=True) as twin:
        return bytes.fromhex(module.HEADER), tuple(module.golden(_host(twin)))


def make_case(rng: Random) -> bytes:
    """Damage header, lists or single actions; a part is a context type and its bytes."""
    header, lists = _golden()
    if rng.random() < 0.15:
        header = mutate_bytes(rng, header, rng.choice((1, 2)))[:32].ljust(32, b"\0")
    out = [(kind, _damage(rng, data) if rng.random() < 0.5 else data) for kind, data in lists]
    if rng.random() < 0.08:
        rng.shuffle(out)
    if rng.random() < 0.08:
        at = rng.randrange(len(out))
        out[at] = (rng.randrange(5), out[at][1])
    pokes = b"".join(_make_poke(rng) for _ in range(rng.choice((0, 0, 1, 3))))
    return pack_parts([header, pokes, *(bytes([kind]) + data for kind, data in out)])


def _make_poke(rng: Random) -> bytes:
    """Return a register write in BAR2 that the host makes while the network runs."""
    channel = rng.choice((0, 1, 2, 16, 17, 18, rng.randrange(32)))
    offset = channel * 0x20 + (0x10 if channel >= 16 else 0) + rng.choice((0, 0, 0, 8, 12))
    return _POKE.pack(rng.randrange(40), offset, edge(rng, 32))


def _damage(rng: Random, data: bytes) -> bytes:
    if rng.random() < 0.4:
        return mutate_bytes(rng, data)
    actions = _split(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(actions)) if actions else 0
        kind = rng.randrange(5)
        if not actions or kind == 0:
            actions.insert(at, _make_action(rng))
        elif kind == 1:
            del actions[at]
        elif kind == 2:
            actions.insert(rng.randrange(len(actions) + 1), actions[at])
        elif kind == 3:
            actions.insert(rng.randrange(len(actions)), actions.pop(at))
        else:
            actions[at] = _change_field(rng, actions[at])
    return b"".join(actions)


def _split(data: bytes) -> list[bytes]:
    """Split a list into actions; what is left over at the end stays one piece."""
    actions, at = [], 0
    while at < len(data):
        size = _HEADER + (CHIP.actions[data[at]].payload.size if data[at] in CHIP.actions else len(data))
        if data[at] == _REPEATED and at + _HEADER + 2 < len(data):
            count, sub = data[at + _HEADER], data[at + _HEADER + 2]
            repeated = CHIP.repeated_header.unpack(data, at + _HEADER) if len(data) - at > 8 else {}
            count, sub = repeated.get("count", count), repeated.get("sub_action_type", sub)
            size = (
                _HEADER
                + CHIP.repeated_header.size
                + count * (CHIP.actions[sub].payload.size if sub in CHIP.actions else 1)
            )
        actions.append(data[at : at + size])
        at += size
    return actions


def _make_action(rng: Random) -> bytes:
    kind = rng.choice(list(CHIP.actions))
    size = CHIP.actions[kind].payload.size
    payload = rng.choice((bytes(size), rng.randbytes(size), bytes(rng.choice((0, 1, 2, 16, 255)) for _ in range(size))))
    return bytes([kind]) + b"\xff" * 4 + payload


def _change_field(rng: Random, action: bytes) -> bytes:
    """Give one field of the payload another value."""
    known = CHIP.actions.get(action[0]) if action else None
    if known is None or not known.payload.members or len(action) < _HEADER + known.payload.size:
        return mutate_bytes(rng, action, 1)
    member = rng.choice(known.payload.members)
    at, size = _HEADER + member.offset, member.size_bytes
    value = edge(rng, 8 * size).to_bytes(size, "little") if size <= 8 else mutate_bytes(rng, action[at : at + size], 1)
    return action[:at] + value[:size].ljust(size, b"\0") + action[at + size :]


def _echo(_inputs: Mapping[int, memoryview], frame: Any) -> dict[int, bytes]:
    return {output.stream_index: bytes(output.frame_bytes) for output in frame.outputs}


def run(case: bytes) -> int:
    """Configure, activate, move frames, switch and stop: a status, an event 12 or silence."""
    header, pokes, *lists = unpack_parts(case)
    with Twin(clock=SteppedClock(), booted=True) as twin:
        host = _host(twin)
        twin.firmware.core.bind_reference(_echo)  # type: ignore[attr-defined]
        load_test_module("twin_firmware/test_hostile_lists.py").golden(host)  # registers the memory
        _status(host, 32, header)
        for raw in lists:
            _send(host, raw[0], raw[1:])
        _activate(host, twin, {step: (at, value) for step, at, value in _POKE.iter_unpack(pokes)})
        twin.state()
        _status(host, 37, b"\0", b"\xff", b"\0\0", b"\0\0")
        require(twin.firmware.machine.is_idle, "a stopped machine is not idle")  # type: ignore[attr-defined]
        _steps(twin)
        _check_notes(host.notes)
    return 1


def _status(host: Any, opcode: int, *params: bytes) -> int:
    answer = host.ask(opcode, *params)
    require(answer is not None and len(answer) >= 24, f"no answer to opcode {opcode}")
    major, minor = struct.unpack_from(">2I", answer, 16)
    for status in (major, minor):
        require(not status or status in CHIP.status_names, f"status 0x{status:X} has no name")
    return int(major)


def _send(host: Any, kind: int, data: bytes, size: int = 1461) -> None:
    pieces = [data[at : at + size] for at in range(0, max(len(data), 1), size)]
    for n, piece in enumerate(pieces):
        _status(host, 33, bytes([n == 0]), bytes([n == len(pieces) - 1]), bytes([kind]), piece)


def _activate(host: Any, twin: Twin, pokes: dict[int, tuple[int, int]]) -> None:
    for batch in (0, 1):
        _status(host, 37, b"\x01", b"\0", struct.pack("<H", batch), b"\0\0")
        for step in range(20):
            if step + 20 * batch in pokes:
                _poke(twin, *pokes[step + 20 * batch])
            twin.step()
        _steps(twin)
        for channel in (1, 16, 17):
            if host.control_of(channel) & 1:
                depth = host.control_of(channel) >> 11 & 0xF
                host.available(channel, 2, 1 << (depth or 16))
        _steps(twin)


def _poke(twin: Twin, offset: int, value: int) -> None:
    try:
        twin.chip.bar_write(2, offset, 4, value)
    except TwinViolation as violation:
        require(str(violation), "a violation without words")


def _steps(twin: Twin) -> None:
    steps = 0
    while twin.step():
        steps += 1
        require(steps < _MOST_STEPS, "the twin does not come to rest")


def _check_notes(notes: list[bytes]) -> None:
    for note in notes:
        event, status = struct.unpack_from("<I8xI", note, 16)
        require(event in (_RUN_TIME_ERROR, _CACHE_OFFSET, 9, 11), f"event {event}")
        require(event != _RUN_TIME_ERROR or status in CHIP.status_names, f"event 12 with status 0x{status:X}")


SURFACE = Surface("action_lists", make_case, run, (), gain_bytes=1 << 29)
