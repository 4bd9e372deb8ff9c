"""LZ4 blocks, decoded within a given size."""

from __future__ import annotations

from openhailo.errors import InputError

_LEAST_MATCH = 4


def decode_block(data: bytes | memoryview, size_bytes: int) -> bytes:
    """Return the ``size_bytes`` that the block ``data`` stands for. Raises `InputError` for anything else."""
    source, out, at = bytes(data), bytearray(), 0
    while at < len(source):
        token = source[at]
        length, at = _length(source, at + 1, token >> 4)
        if at + length > len(source) or len(out) + length > size_bytes:
            raise _broken("literals beyond the end")
        out += source[at : at + length]
        at += length
        if at == len(source):
            break
        if at + 2 > len(source):
            raise _broken("half an offset")
        distance = source[at] | source[at + 1] << 8
        length, at = _length(source, at + 2, token & 15)
        length += _LEAST_MATCH
        if not 0 < distance <= len(out) or len(out) + length > size_bytes:
            raise _broken(f"a copy of {length} bytes from {distance} before position {len(out)}")
        _copy(out, distance, length)
    if len(out) != size_bytes:
        raise _broken(f"{len(out)} bytes, {size_bytes} were announced")
    return bytes(out)


def _length(source: bytes, at: int, first: int) -> tuple[int, int]:
    """Read the rest of a length that begins with ``first``; return it and the position behind it."""
    length = first
    if first == 15:
        while True:
            if at >= len(source):
                raise _broken("half a length")
            length += source[at]
            at += 1
            if source[at - 1] != 255:
                break
    return length, at


def _copy(out: bytearray, distance: int, length: int) -> None:
    """Append ``length`` bytes that lie ``distance`` back; they may run into what is being appended."""
    piece = out[len(out) - distance : len(out) - distance + length]
    if len(piece) < length:
        piece = (piece * (length // len(piece) + 1))[:length]
    out += piece


def _broken(detail: str) -> InputError:
    return InputError(what="LZ4 block", detail=detail)
