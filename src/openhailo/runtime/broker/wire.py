"""Messages on a socket: whole packets of bounded size with at most one file descriptor each.

The socket is SOCK_SEQPACKET, so nothing has to be put together. Whatever comes in is taken for hostile: a packet that
is cut off, carries more descriptors than may be, or is not of this protocol raises `MalformedMessage`, and descriptors
that came with it are closed.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from importlib import metadata

from openhailo.errors import MalformedMessage

MAGIC = b"ohbk"
#: Meaning of all messages. Both sides have to be of the same.
PROTOCOL = 1
MAX_BODY_BYTES = 48 * 1024
_HEADER = struct.Struct("<4sHHI")
_FD_BYTES = array.array("i").itemsize
#: One more than may come, so that a surplus is seen.
_FDS_ROOM = socket.CMSG_SPACE(2 * _FD_BYTES)


def release() -> str:
    """Return the release of openhailo that runs here."""
    try:
        return metadata.version("openhailo")
    except metadata.PackageNotFoundError:
        return "unknown"


class Kind(IntEnum):
    """What a message is."""

    HELLO = 1
    CONTROL = 2
    HAVE = 3
    PUT = 4
    CONFIGURE = 5
    RESTART = 6
    SCHEDULE = 7
    STATISTICS = 8
    LATENCY = 9
    RELEASE = 10
    DEVICES = 11
    DONE = 100
    REFUSED = 101


@dataclass(frozen=True)
class Message:
    """One message. ``ident`` pairs requests and replies; who gets ``fd`` (or -1) has to close it."""

    kind: int
    ident: int
    body: bytes
    fd: int = -1


def build_packet(kind: int, ident: int, body: bytes) -> bytes:
    """Return the packet of a message."""
    assert len(body) <= MAX_BODY_BYTES, "messages of ours are small"
    return _HEADER.pack(MAGIC, kind, 0, ident) + body


def parse_packet(packet: bytes) -> tuple[int, int, bytes]:
    """Return kind, ident and body. Raises `MalformedMessage`."""
    if len(packet) < _HEADER.size:
        raise MalformedMessage(what="packet", detail=f"{len(packet)} bytes")
    magic, kind, reserved, ident = _HEADER.unpack_from(packet)
    if magic != MAGIC or reserved:
        raise MalformedMessage(what="packet", detail=f"begins with {packet[:8].hex()}")
    if len(packet) - _HEADER.size > MAX_BODY_BYTES:
        raise MalformedMessage(what="packet", detail=f"{len(packet)} bytes")
    return kind, ident, packet[_HEADER.size :]


def send(sock: socket.socket, kind: int, ident: int, body: bytes, fd: int = -1) -> None:
    """Send a message, and a descriptor that stays open here. Raises `OSError`."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd >= 0 else []
    sock.sendmsg([build_packet(kind, ident, body)], ancillary, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> Message | None:
    """Return the next message, None at the end of the connection. Raises `MalformedMessage`, `OSError`."""
    room = _HEADER.size + MAX_BODY_BYTES + 1
    packet, ancillary, flags, _ = sock.recvmsg(room, _FDS_ROOM, socket.MSG_CMSG_CLOEXEC)
    fds = _descriptors(ancillary)
    try:
        if not packet and not fds:
            return None
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(fds) > 1:
            raise MalformedMessage(what="packet", detail="longer, or with more descriptors, than may be")
        kind, ident, body = parse_packet(packet)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return Message(kind, ident, body, fds[0] if fds else -1)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % _FD_BYTES])
    return found.tolist()


def wait_readable(fds: list[int], timeout_s: float | None) -> list[int]:
    """Return those of ``fds`` that something can be read from (or that were closed); empty after ``timeout_s``."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    timeout_ms = None if timeout_s is None else min(max(timeout_s, 0.0), 86_400.0) * 1000
    return [fd for fd, _ in poller.poll(timeout_ms)]


# --- frames: what goes over the socket of one model ------------------------------------------------------------------

_FRAMES = struct.Struct("<4sHHII")
FRAMES_BYTES = _FRAMES.size


class FramesKind(IntEnum):
    """What happened to the next frames of a model's rings.

    ``RUN_AWAITED`` runs frames that the client does nothing but wait for.
    """

    RUN = 1
    DONE = 2
    FAILED = 3
    RUN_AWAITED = 4


def build_frames(kind: FramesKind, epoch: int, count: int) -> bytes:
    """Return a message about ``count`` frames in the time since the ring was last begun anew, ``epoch``."""
    return _FRAMES.pack(MAGIC, kind, 0, epoch, count)


def parse_frames(packet: bytes) -> tuple[FramesKind, int, int, bytes]:
    """Return kind, epoch, count, and what follows. Raises `MalformedMessage`."""
    if len(packet) < FRAMES_BYTES:
        raise MalformedMessage(what="message about frames", detail=f"{len(packet)} bytes")
    magic, kind, reserved, epoch, count = _FRAMES.unpack_from(packet)
    if magic != MAGIC or reserved or kind not in FramesKind.__members__.values():
        raise MalformedMessage(what="message about frames", detail=packet[:FRAMES_BYTES].hex())
    return FramesKind(kind), epoch, count, packet[FRAMES_BYTES:]
