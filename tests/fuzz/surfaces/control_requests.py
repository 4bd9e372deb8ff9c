"""Control requests of a hostile host, into the twin's firmware."""

from __future__ import annotations

import struct
from functools import cache
from random import Random

from openhailo.driver.messages import parse_response
from openhailo.errors import ControlFailed
from openhailo.spec.chip import CHIP
from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from tests.fuzz.mutate import edge, mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

from .control_responses import _value, _width

_PER_CASE = 24
_RESET = 7
_MOST_STEPS = 2000
_MAILBOX_BYTES = 1500


@cache
def _requests() -> tuple[tuple[int, bytes], ...]:
    """Return (processor, well-formed request) for every control, parameters zero; unknown opcodes as well."""
    known = [(control.cpu, _request(op, [_width(p) for p in control.request])) for op, control in CHIP.controls.items()]
    return (*known, *((op & 1, _request(op, [4])) for op in (80, 81, 255, 0xFFFFFFFF)))


def _request(opcode: int, widths: list[int]) -> bytes:
    body = b"".join(struct.pack(">I", width) + bytes(width) for width in widths)
    return struct.pack(">5I", 2, 0, 0, opcode, len(widths)) + body


def make_case(rng: Random) -> bytes:
    """Return requests in a row, each preceded by a byte: processor, and whether the digest is right."""
    return pack_parts([_make_request(rng) for _ in range(_PER_CASE)])


def _make_request(rng: Random) -> bytes:
    cpu, request = rng.choice(_requests())
    kind = rng.random()
    if kind < 0.55:
        request = _with_values(rng, request)
    elif kind < 0.7:
        words = [edge(rng, 32) if rng.random() < 0.25 else word for word in struct.unpack_from(">5I", request)]
        request = struct.pack(">5I", *words) + request[20:]
    else:
        request = mutate_bytes(rng, request)
    flags = cpu ^ (rng.random() < 0.02) | (rng.random() < 0.03) << 1
    return bytes([flags]) + request[:_MAILBOX_BYTES]


def _with_values(rng: Random, request: bytes) -> bytes:
    """Keep the framing and choose the values; bytes of free length get another length."""
    out, at = bytearray(request[:20]), 20
    while at < len(request):
        (size,) = struct.unpack_from(">I", request, at)
        at += 4 + size
        if size == 16 and rng.random() < 0.5:
            size = rng.choice((0, 1, 64, 1024, 1461))
        value = bytes(size) if rng.random() < 0.3 else _value(rng, size)
        if rng.random() < 0.4 and size <= 4:
            value = rng.randrange(4).to_bytes(size, rng.choice(("little", "big"))) if size else b""
        out += struct.pack(">I", size) + value
    return bytes(out)


def run(case: bytes) -> int:
    """Send them to one twin; every answer is well formed and has a documented status."""
    requests = unpack_parts(case)
    with Twin(clock=SteppedClock(), booted=True) as twin:
        twin.function().config.write(4, 2, 6)
        seen = {0}
        for flags, request in ((raw[0], raw[1:]) for raw in requests):
            with twin.chip.loop.lock:
                answer = twin.firmware.control(flags & 1, request, not flags & 2)
            opcode, sequence = _echo(request)
            if answer is None:
                require(opcode == _RESET or (sequence and sequence in seen), f"no answer to opcode {opcode}")
            else:
                _check(request, answer)
            seen.add(sequence)
        steps = 0
        while twin.step():
            steps += 1
            require(steps < _MOST_STEPS, "the twin does not come to rest")
        twin.state()
    return len(requests)


def _echo(request: bytes) -> tuple[int, int]:
    padded = request[:20].ljust(20, b"\0")
    _, _, sequence, opcode, _ = struct.unpack(">5I", padded)
    return opcode, sequence


def _check(request: bytes, answer: bytes) -> None:
    """The host's own parser takes the answer, and every status word has a name."""
    require(24 <= len(answer) <= _MAILBOX_BYTES, f"an answer of {len(answer)} bytes")
    version, flags, sequence, opcode, major, minor = struct.unpack_from(">6I", answer)
    require((version, flags) == (2, 1), f"version {version}, flags {flags}")
    require((opcode, sequence) == _echo(request), f"opcode {opcode}, sequence {sequence} to {_echo(request)}")
    for status in (major, minor):
        require(not status or status in CHIP.status_names, f"status 0x{status:X} has no name")
    require(major or not minor, f"success with minor status 0x{minor:X}")
    control = CHIP.controls.get(opcode)
    if control is None:
        require(major, "an unknown opcode succeeds")
        return
    try:
        parse_response(CHIP, control, answer, sequence)
    except ControlFailed as refusal:
        require(refusal.major_name, "a refusal without a name")


SURFACE = Surface("control_requests", make_case, run, (), gain_bytes=1 << 28)
