"""The file around the protobuf part: header versions 0 to 3, lengths and hashes (hef.md 1). All numbers big-endian."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import xxhash

from openhailo.errors import BadChecksum, NotAHef, Truncated, UnsupportedHef

from .model import Container

MAGIC = 0x01484546
CCW_ALIGNMENT = 4096  # of the CCW section of version 3 (hef.md 1)

#: The vendor's library refuses anything shorter, whatever the version (hef.md 1).
MIN_FILE_BYTES = 56

Buffer = bytes | memoryview


class Parts(NamedTuple):
    """The sections of a file."""

    container: Container
    proto: memoryview
    ccws: memoryview
    additional: memoryview


@dataclass(frozen=True)
class HeaderLayout:
    """One header version: ``fields`` after the common 12 bytes, in `struct` format, big-endian."""

    fields: str
    kind: str
    digest: Callable[[Buffer], bytes]

    @property
    def size(self) -> int:
        """Bytes of the header."""
        return 12 + struct.calcsize(">" + self.fields)


def _md5(data: Buffer) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _crc32(data: Buffer) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _xxh3(data: Buffer) -> bytes:
    return xxhash.xxh3_64_digest(data)


LAYOUTS: dict[int, HeaderLayout] = {
    0: HeaderLayout("4s16s", "MD5", _md5),  # reserved, md5
    1: HeaderLayout("4sQI", "CRC-32", _crc32),  # crc, ccws size, reserved
    2: HeaderLayout("8sQQQ", "XXH3-64", _xxh3),  # hash, ccws size, 2 reserved
    3: HeaderLayout("8sQIQQQ", "XXH3-64", _xxh3),  # hash, padded ccws size, padding, additional size, 2 reserved
}


def parse_container(data: memoryview) -> Parts:
    """Check header, lengths and hash; return the sections as views into ``data``.

    Raises `NotAHef`, `UnsupportedHef` (header version), `Truncated` and `BadChecksum`.
    """
    if len(data) < 12:
        raise NotAHef(detail=f"{len(data)} bytes are too few for a header")
    magic, version, proto_size = struct.unpack_from(">III", data)
    if magic != MAGIC:
        raise NotAHef(detail=f"it begins with 0x{magic:08X}, a HEF with 0x{MAGIC:08X}")
    layout = LAYOUTS.get(version)
    if layout is None:
        raise UnsupportedHef(feature=f"header version {version}", hint="use a HEF of version 0 to 3")
    if len(data) < max(layout.size, MIN_FILE_BYTES):
        raise Truncated(what="header and content", need=max(layout.size, MIN_FILE_BYTES), have=len(data))
    container = _container(data, version, proto_size, layout)
    _check_length(container, len(data))
    seen = layout.digest(data[layout.size :]).hex()
    if seen != container.integrity:
        raise BadChecksum(kind=layout.kind, expected=container.integrity, seen=seen)
    parts = _split(data, container)
    _check_proto_hash(data, parts)
    return parts


def _check_proto_hash(data: memoryview, parts: Parts) -> None:
    """Version 3 files of the vendor's compiler also hash the protobuf part alone; 0 means that they do not."""
    expected = bytes(data[40:48]) if parts.container.version == 3 else b""
    if any(expected) and expected != (seen := _xxh3(parts.proto)):
        raise BadChecksum(kind="XXH3-64 of the protobuf part", expected=expected.hex(), seen=seen.hex())


def _container(data: memoryview, version: int, proto_size: int, layout: HeaderLayout) -> Container:
    values = struct.unpack_from(">" + layout.fields, data, 12)
    padding = additional = 0
    integrity: bytes = values[0]
    match version:
        case 0:
            ccws, integrity = 0, values[1]
        case 3:
            ccws, padding, additional = values[1] - values[2], values[2], values[3]
        case _:
            ccws = values[1]
    return Container(
        version=version,
        header_size=layout.size,
        proto_size=proto_size,
        integrity_kind=layout.kind,
        integrity=integrity.hex(),
        ccw_base=layout.size + proto_size + padding,
        ccws_size=ccws,
        padding_size=padding,
        additional_size=additional,
        file_size=len(data),
    )


def _check_length(container: Container, have: int) -> None:
    if container.ccws_size < 0:
        need = container.padding_size
        raise Truncated(what="CCW section with its padding", need=need, have=container.ccws_size + need)
    need = container.ccw_base + container.ccws_size + container.additional_size
    if need != have:
        raise Truncated(what="sections named by the header", need=need, have=have)


def _split(data: memoryview, container: Container) -> Parts:
    proto_end = container.header_size + container.proto_size
    ccw_end = container.ccw_base + container.ccws_size
    return Parts(
        container,
        proto=data[container.header_size : proto_end],
        ccws=data[container.ccw_base : ccw_end],
        additional=data[ccw_end:],
    )


def build_container(version: int, proto: bytes, ccws: bytes, additional: bytes = b"") -> bytes:
    """Return a whole file. Version 0 has neither ``ccws`` nor ``additional``, only version 3 has ``additional``.

    Raises `UnsupportedHef` where the version has no place for a section, or is not known.
    """
    layout = LAYOUTS.get(version)
    if layout is None:
        raise UnsupportedHef(feature=f"header version {version}", hint="choose 0, 1, 2 or 3")
    if additional and version != 3:
        raise UnsupportedHef(feature=f"additional section in header version {version}", hint="choose version 3")
    padding = -(layout.size + len(proto)) % CCW_ALIGNMENT if version == 3 else 0
    body = b"".join((proto, bytes(padding), ccws, additional))
    digest = layout.digest(body)
    match version:
        case 0:
            fields: tuple[object, ...] = (bytes(4), digest)
        case 1:
            fields = (digest, len(ccws), 0)
        case 2:
            fields = (digest, len(ccws), 0, 0)
        case _:
            # The first reserved word of version 3 holds XXH3-64 of the protobuf part in files of the vendor's compiler.
            proto_hash = int.from_bytes(_xxh3(proto), "big")
            fields = (digest, len(ccws) + padding, padding, len(additional), proto_hash, 0)
    header = struct.pack(">III" + layout.fields, MAGIC, version, len(proto), *fields)
    return header + body
