"""The seam to protobuf: bytes to messages and back, with the errors and bounds a hostile file needs."""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor  # noqa: TID251
from google.protobuf.message import DecodeError, EncodeError, Message  # noqa: TID251

from openhailo.errors import InvalidHef

from .schema import hef_pb2 as pb

__all__ = ["MAX_FIELDS", "MAX_PROTO_BYTES", "Message", "build_proto", "parse_proto", "pb", "scan_proto"]

#: Bytes of the protobuf part. Real ones have some MiB; version 0 keeps configuration bytes in it, tens of MiB.
MAX_PROTO_BYTES = 256 << 20

#: Fields of all messages plus elements of packed fields. A field of two bytes can take some hundred in memory, so this,
#: not the size, bounds what a hostile file costs. Real files have some thousand to some ten thousand.
MAX_FIELDS = 500_000

#: Nesting of messages: 9 in real files; a mux adds 2 per level. The protobuf runtime itself stops at 100.
MAX_DEPTH = 80

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def parse_proto(data: memoryview) -> pb.ProtoHEFHef:
    """Return the root message in ``data``. Malformed or beyond the bounds above: `InvalidHef`."""
    if len(data) > MAX_PROTO_BYTES:
        raise InvalidHef(rule="protobuf size", where="file", detail=f"{len(data)} bytes, at most {MAX_PROTO_BYTES}")
    content = data.tobytes()
    scan_proto(content)
    try:
        return pb.ProtoHEFHef.FromString(content)
    except (DecodeError, RecursionError) as error:
        raise InvalidHef(rule="protobuf", where="file", detail=str(error)) from error


def build_proto(message: Message) -> bytes:
    """Return the bytes of ``message``, the same for equal messages. Something missing: `InvalidHef`."""
    try:
        return message.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise InvalidHef(rule="protobuf", where="file", detail=str(error)) from error


# --- bounds -----------------------------------------------------------------------------------------------------------


#: Least bytes of one number in a packed field; 0: the content is not packed numbers.
_PACKED_BYTES = {
    FieldDescriptor.TYPE_BYTES: 0,
    FieldDescriptor.TYPE_STRING: 0,
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FLOAT: 4,
}


@cache
def _shape_of(descriptor: Descriptor) -> dict[int, Descriptor | int]:
    """Map field numbers to the message inside, or to the size of the packed numbers that they may hold."""
    return {
        field.number: _PACKED_BYTES.get(field.type, 1) if field.message_type is None else field.message_type
        for field in descriptor.fields
    }


def scan_proto(data: bytes) -> int:
    """Walk the wire format without building anything; return the number of fields.

    Raises `InvalidHef` where the bytes are malformed, nested too deep or hold too many fields.
    """
    count = 0
    stack = [(0, len(data), _shape_of(pb.ProtoHEFHef.DESCRIPTOR), 1)]
    while stack:
        position, end, shape, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise _malformed(position, f"messages nested deeper than {MAX_DEPTH}")
        while position < end:
            tag, position = _varint(data, position, end)
            count += 1
            kind = tag & 7
            start, position = _skip(data, position, end, kind)
            inside = shape.get(tag >> 3, 0)
            if kind == _BYTES and isinstance(inside, int):
                count += (position - start) // inside if inside else 0
            elif kind == _BYTES:
                stack.append((start, position, _shape_of(inside), depth + 1))
            if count > MAX_FIELDS:
                raise _malformed(position, f"more than {MAX_FIELDS} fields")
    return count


def _skip(data: bytes, position: int, end: int, kind: int) -> tuple[int, int]:
    """Return start and end of the content of a field of wire type ``kind``."""
    start = position
    if kind == _VARINT:
        _, position = _varint(data, position, end)
    elif kind == _BYTES:
        size, start = _varint(data, position, end)
        position = start + size
    elif kind in (_FIXED64, _FIXED32):
        position += 8 if kind == _FIXED64 else 4
    else:
        raise _malformed(position, f"wire type {kind}")
    if position > end:
        raise _malformed(start, "a field runs past the end of its message")
    return start, position


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return a variable-length integer and the position behind it."""
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise _malformed(position, "a varint does not end")


def _malformed(position: int, detail: str) -> InvalidHef:
    return InvalidHef(rule="protobuf", where=f"protobuf byte {position}", detail=detail)
