"""Messages of a hostile client on a vfio-user connection: good, bent, cut, unasked, with descriptors of any kind.

A case is a sequence of pieces for the stream. Whatever comes, each command that wants a reply gets exactly one, in
order, until the connection ends; the process keeps no descriptor, no mapping and no client; the chip still is there.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from array import array
from collections import deque
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

from openhailo.spec.vfio_user import VFIO_USER
from openhailo.twin.clock import SteppedClock
from openhailo.twin.ports.vfio_user.device import ServedDevice
from openhailo.twin.ports.vfio_user.server import Server
from tests.fuzz.mutate import edge
from tests.fuzz.surface import Surface, require

_PER_CASE = 96
_PIECE = struct.Struct("<IB")
_HEADER = struct.Struct("<HHIII")
_VERSION = _HEADER.pack(0, 1, 23, 0, 0) + b"\0\0\0\0{}\0"
_PAGE = 4096
_FILE_BYTES = 64 * _PAGE
_BARS = {0: 0x4000, 2: 0x1000, 4: 0x4000, 7: 0x1000}
_KNOWN = {
    0: (0x98, 0x188, 0x18C, 0x400, 0x500, *(0x700 + 4 * i for i in range(32))),
    2: tuple(range(0, 0x400, 4)),
    4: (0, 4, 0x640, 0x1000, 0x2000, 0x3000, 0x3FFC),
    7: (0, 4, 6, 0x10, 0x14, 0x24, 0x30, 0x3C, 0x80, 0x88, 0x89, 0x90, 0xE0, 0xE2, 0xE4, 0xF8, 0xFC, 0xFFF),
}


# --- cases ------------------------------------------------------------------------------------------------------


def make_case(rng: Random) -> bytes:
    """Return pieces: (length, descriptors, bytes)."""
    pieces = [] if rng.random() < 0.05 else [_piece(_VERSION)]
    if rng.random() < 0.8:
        pieces.append(_piece(_message(rng, 10, _access(4, 7, 2) + b"\6\0")))
    makers = rng.choices(_MAKERS, _WEIGHTS, k=_PER_CASE)
    pieces.extend(maker(rng) for maker in makers)
    return b"".join(pieces)


def _piece(data: bytes, fds: int = 0) -> bytes:
    return _PIECE.pack(len(data), fds) + data


def _message(rng: Random, command: int, payload: bytes, *, quiet: float = 0.0) -> bytes:
    flags = 0x10 if rng.random() < quiet else 0
    return _HEADER.pack(rng.getrandbits(16), command, 16 + len(payload), flags, 0) + payload


def _access(offset: int, region: int, count: int) -> bytes:
    return struct.pack("<QII", offset, region, count)


def _place(rng: Random) -> tuple[int, int, int]:
    """Return (offset, region, count): mostly a register."""
    if rng.random() < 0.05:
        return edge(rng, 64), edge(rng, 32), edge(rng, 32) if rng.random() < 0.3 else rng.randrange(10)
    region = rng.choice((0, 0, 2, 2, 4, 7, 7))
    offset = rng.choice(_KNOWN[region]) if rng.random() < 0.85 else rng.randrange(_BARS[region] + 8)
    return offset, region, rng.choice((4, 4, 4, 4, 1, 2, 8)) if rng.random() < 0.97 else rng.randrange(5000)


def _read(rng: Random) -> bytes:
    return _piece(_message(rng, 9, _access(*_place(rng)), quiet=0.02))


def _write(rng: Random) -> bytes:
    offset, region, count = _place(rng)
    data = rng.randbytes(min(count, 4096)) if rng.random() < 0.5 else edge(rng, 64).to_bytes(8, "little")[:count]
    return _piece(_message(rng, 10, _access(offset, region, count) + data, quiet=0.6))


def _writes(rng: Random) -> bytes:
    count = rng.randrange(6)
    entries = b"".join(_access(*_place(rng)) + rng.randbytes(8) for _ in range(count))
    shown = count if rng.random() < 0.9 else edge(rng, 64)
    return _piece(_message(rng, 15, struct.pack("<Q", shown) + entries, quiet=0.95))


def _pages(rng: Random) -> int:
    return rng.randrange(80) * _PAGE if rng.random() < 0.9 else edge(rng, 64)


def _map(rng: Random) -> bytes:
    flags = rng.choice((1, 3, 3, 3)) if rng.random() < 0.95 else edge(rng, 32)
    payload = struct.pack("<IIQQQ", 32, flags, _pages(rng), _pages(rng), _pages(rng))
    return _piece(_message(rng, 2, payload), rng.choice((0, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7)))


def _unmap(rng: Random) -> bytes:
    if rng.random() < 0.1:
        payload = struct.pack("<IIQQ", 24, 2, 0, 0)
    else:
        payload = struct.pack("<IIQQ", 24, 0 if rng.random() < 0.95 else edge(rng, 32), _pages(rng), _pages(rng))
    return _piece(_message(rng, 3, payload))


def _set_irqs(rng: Random) -> bytes:
    if rng.random() < 0.4:
        payload = struct.pack("<IIIII", 20, 0x24, 1, 0, 1)
        return _piece(_message(rng, 8, payload), 3)
    flags = rng.choice((0x24, 0x24, 0x21, 0x22, 0x11, 0x09)) if rng.random() < 0.9 else edge(rng, 32)
    index, start, count = (
        edge(rng, 32) if rng.random() < 0.05 else rng.choice(usual)
        for usual in ((1, 1, 1, 0, 3), (0, 0, 0, 1), (1, 1, 0, 2))
    )
    data = rng.randbytes(count) if flags == 0x22 and count < 9 else b""
    payload = struct.pack("<IIIII", 20 + len(data), flags, index, start, count) + data
    return _piece(_message(rng, 8, payload), rng.choice((0, 3, 3, 4, 5, 6)))


def _info(rng: Random) -> bytes:
    command, size = rng.choice(((4, 16), (5, 32), (7, 16)))
    payload = struct.pack("<III", size, 0, rng.randrange(11)) + bytes(size - 12)
    return _piece(_message(rng, command, payload))


def _reset(rng: Random) -> bytes:
    return _piece(_message(rng, 13, b""))


def _anything(rng: Random) -> bytes:
    payload = rng.randbytes(rng.choice((0, 1, 8, 16, 20, 24, 32, 33, 200)))
    return _piece(_message(rng, rng.randrange(20), payload, quiet=0.2), rng.choice((0, 0, 0, 1, 3, 7)))


def _bent(rng: Random) -> bytes:
    """A good message with one byte behind its header's size changed, so that the stream stays in step."""
    piece = bytearray(rng.choice(_GOOD)(rng))
    places = [_PIECE.size + i for i in range(len(piece) - _PIECE.size) if not 4 <= i < 9]
    piece[rng.choice(places)] = rng.getrandbits(8)
    return bytes(piece)


def _halves(rng: Random) -> bytes:
    """A good message in two pieces."""
    piece = rng.choice(_GOOD)(rng)
    data, fds = piece[_PIECE.size :], piece[_PIECE.size - 1]
    cut = rng.randrange(1, len(data))
    return _piece(data[:cut], fds) + _piece(data[cut:], rng.choice((0, 0, 0, fds)))


def _garbage(rng: Random) -> bytes:
    """What may well end the connection."""
    kind = rng.randrange(4)
    if kind == 0:
        return _piece(rng.randbytes(rng.randrange(1, 64)), rng.randrange(8))
    if kind == 1:
        return _piece(_HEADER.pack(1, rng.randrange(20), edge(rng, 32), edge(rng, 32), edge(rng, 32)))
    if kind == 2:
        return _piece(_message(rng, 1, struct.pack("<HH", 0, 0) + rng.randbytes(rng.randrange(40)) + b"\0"))
    return _piece(_message(rng, 2, bytes(32)), 9)


_GOOD = (_read, _write, _writes, _map, _unmap, _set_irqs, _info, _reset)
_MAKERS = (*_GOOD, _anything, _bent, _halves, _garbage)
_WEIGHTS = (25, 30, 5, 10, 4, 6, 4, 0.3, 4, 8, 4, 0.3)


# --- running them -----------------------------------------------------------------------------------------------


class _Target:
    """A server whose clients come and go; made once, since every client gets a device as after power-on."""

    def __init__(self) -> None:
        logging.getLogger("openhailo.twin.vfio_user").setLevel(logging.ERROR)
        rules = replace(VFIO_USER.rules, reply_timeout_s=0.002)
        self.device = ServedDevice("fuzzed", clock=SteppedClock(), protocol=replace(VFIO_USER, rules=rules))
        self.server = Server()
        sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
        plain = os.memfd_create("plain")
        for fd in (sealed, plain):
            os.truncate(fd, _FILE_BYTES)
        reader, writer = os.pipe()
        eventfd = os.eventfd(0, os.EFD_NONBLOCK)
        #: Number -> descriptors that go with a piece.
        self.fds: list[tuple[int, ...]] = [(), (sealed,), (plain,), (eventfd,), (writer,), (sealed, eventfd), (reader,)]
        self.fds += [(plain,) * 8, (), (plain,) * 12]
        self.at_rest = _count_fds()

    def connect(self) -> _Client:
        ours, theirs = socket.socketpair()
        self.server.adopt(self.device, ours)
        return _Client(theirs)

    def check_rest(self) -> None:
        """Nothing of a client is left."""
        for _ in range(3):
            self.server.step(0.0)
        require(self.server.failures == 0, "the model of the chip failed")
        require(not self.server._slots, "a client that is gone is still there")
        require(len(self.device.memory) == 0, "ranges of a client that is gone")
        require(_count_fds() == self.at_rest, "descriptors of a client that is gone")
        require(self.device.chip.config_read(0, 4) == 0x28641E60, "the ids changed")


def _count_fds() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class _Client:
    """Sends pieces and keeps account of the replies that must come."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.open = True
        self.commands = 0
        self._sent = b""
        self._rest = b""
        self._due: deque[tuple[int, int]] = deque()

    def send(self, data: bytes, fds: tuple[int, ...]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        try:
            sent = self.sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            self.open = False
            return
        require(sent == len(data), "the socket is full although the server was stepped")
        self._sent += data
        self._account()

    def _account(self) -> None:
        """Note the replies that the whole messages sent so far ask for."""
        while len(self._sent) >= 16:
            number, command, size, flags, _ = _HEADER.unpack_from(self._sent)
            if size < 16 or len(self._sent) < size:
                return
            self._sent = self._sent[size:]
            self.commands += 1
            if not flags & 0x10:
                self._due.append((number, command))

    def receive(self) -> None:
        """Take what came: replies in order, or the end."""
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self.open = self.open and bool(data)
        self._rest += data
        while len(self._rest) >= 16:
            number, command, size, flags, error = _HEADER.unpack_from(self._rest)
            require(16 <= size <= len(self._rest), "replies are cut")
            self._rest = self._rest[size:]
            require(flags in (0, 1, 0x21), f"flags 0x{flags:X} in a reply")
            if flags:
                require(self._due, "a reply to nothing")
                require((number, command) == self._due.popleft(), "a reply out of order")
                require((error != 0) == (flags == 0x21) and (size == 16 or not error), "a bad error reply")

    def finish(self) -> None:
        """Everything that wanted a reply got one, unless the connection ended."""
        require(not self.open or not self._due, "a command was never answered")
        self.sock.close()


@cache
def _make_target() -> _Target:
    return _Target()


def run(case: bytes) -> int:
    """Send the pieces; a client whose connection ends is followed by another one. Returns the messages sent."""
    target = _make_target()
    client, messages, at = target.connect(), 0, 0
    while at < len(case):
        size, fds = _PIECE.unpack_from(case, at)
        at += _PIECE.size
        if not client.open:
            messages += client.commands
            client.finish()
            target.server.step(0.0)
            client = target.connect()
            client.send(_VERSION, ())
        client.send(case[at : at + size], target.fds[fds % len(target.fds)])
        at += size
        if at % 4 == 0 or at >= len(case):
            target.server.step(0.0)
            client.receive()
    for _ in range(3):
        target.server.step(0.0)
        client.receive()
    client.finish()
    target.check_rest()
    return messages + client.commands


SURFACE = Surface("vfio_user", make_case, run, (), gain_bytes=1 << 28)
