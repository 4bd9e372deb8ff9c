"""Ways to damage bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

#: Numbers around which readers go wrong.
EDGES = (
    *(0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 32, 33, 63, 64, 127, 128, 255, 256, 511, 512, 1023, 1024, 4095, 4096),
    *(0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
    *(0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF),
)
_WORDS = ("<H", ">H", "<I", ">I", "<Q", ">Q")


def edge(rng: Random, bits: int = 64) -> int:
    """Return a number that readers like least, of at most ``bits`` bits."""
    value = rng.choice(EDGES) if rng.random() < 0.8 else rng.getrandbits(rng.randint(1, 64))
    return value & ((1 << bits) - 1)


def mutate_bytes(rng: Random, data: bytes, changes: int = 0, other: bytes = b"") -> bytes:
    """Return ``data`` with some changes; ``other`` is material to splice in."""
    out = bytearray(data)
    for _ in range(changes or rng.choice((1, 1, 1, 2, 3, 6))):
        _OPERATIONS[rng.randrange(len(_OPERATIONS))](rng, out, other)
    return bytes(out)


def _position(rng: Random, out: bytearray) -> int:
    return rng.randrange(len(out)) if out else 0


def _flip(rng: Random, out: bytearray, _other: bytes) -> None:
    if out:
        out[_position(rng, out)] ^= 1 << rng.randrange(8)


def _set(rng: Random, out: bytearray, _other: bytes) -> None:
    if out:
        out[_position(rng, out)] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))


def _word(rng: Random, out: bytearray, _other: bytes) -> None:
    code = rng.choice(_WORDS)
    size = struct.calcsize(code)
    if len(out) >= size:
        struct.pack_into(code, out, rng.randrange(len(out) - size + 1), edge(rng, 8 * size))


def _step(rng: Random, out: bytearray, _other: bytes) -> None:
    if out:
        at = _position(rng, out)
        out[at] = (out[at] + rng.choice((1, -1))) & 0xFF


def _truncate(rng: Random, out: bytearray, _other: bytes) -> None:
    del out[_position(rng, out) :]


def _delete(rng: Random, out: bytearray, _other: bytes) -> None:
    at = _position(rng, out)
    del out[at : at + rng.randint(1, 16)]


def _repeat(rng: Random, out: bytearray, _other: bytes) -> None:
    at = _position(rng, out)
    out[at:at] = out[at : at + rng.randint(1, 64)] * rng.randint(1, 4)


def _insert(rng: Random, out: bytearray, _other: bytes) -> None:
    at = _position(rng, out)
    out[at:at] = rng.randbytes(rng.randint(1, 16))


def _splice(rng: Random, out: bytearray, other: bytes) -> None:
    source = other or bytes(out)
    start, at = rng.randrange(len(source) + 1), _position(rng, out)
    piece = source[start : start + rng.randint(1, 256)]
    out[at : at + len(piece)] = piece


_OPERATIONS = (_flip, _flip, _set, _set, _word, _word, _step, _truncate, _delete, _repeat, _insert, _splice)


def pack_parts(parts: Sequence[bytes]) -> bytes:
    """Join byte strings into one case."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def unpack_parts(case: bytes) -> list[bytes]:
    """Take a case of `pack_parts` apart."""
    parts, at = [], 0
    while at < len(case):
        (size,) = struct.unpack_from("<I", case, at)
        parts.append(case[at + 4 : at + 4 + size])
        at += 4 + size
    return parts
