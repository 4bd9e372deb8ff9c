"""Messages of hostile clients to a broker, and of a hostile broker to its clients."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import openhailo
from openhailo.errors import MalformedMessage
from openhailo.hef import write
from openhailo.runtime.broker import messages as m
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.limits import Limits
from openhailo.runtime.broker.memory import SEALS
from openhailo.runtime.broker.refusals import error_of
from openhailo.runtime.broker.rings import lay_out
from openhailo.runtime.broker.server import BrokerServer
from openhailo.runtime.broker.wire import FramesKind, Kind
from tests.frames.nets import tagged
from tests.fuzz.mutate import edge, mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

_DEPTH = 4
_BODIES = (m.Hello, m.Welcome, m.Configure, m.Configured, m.Refusal, m.Turns, m.DeviceStates, m.Schedule)
_VALUES: tuple[Any, ...] = (None, True, 0, 1, -1, 2, 255, 1 << 31, 1 << 53, 10**30, 0.5, 1e308, "", "x", "x" * 3000)
_MORE: tuple[Any, ...] = ([], {}, [1], [[]], [{}], "first", "\ud800", [None] * 200)


class _Rig:
    """A broker with one twin, and what a correct client would say to it."""

    def __init__(self) -> None:
        hef, _, _ = tagged((12, 12, 3), "first", 1, 4)
        self.content = write(hef)
        digest = hashlib.sha256(self.content).hexdigest()
        self.folder = Path(tempfile.mkdtemp(prefix="ohb-"))
        self.path = self.folder / "f.sock"
        self.vdevice = openhailo.open_virtual_device(["twin:"])
        with self.vdevice.devices[0].load(hef, host_ops=False) as network:
            slots, self.size_bytes = lay_out(network.description, _DEPTH)
        configure = m.Configure(digest, "first", 0, 10.0, 32, depth=_DEPTH, memory_bytes=self.size_bytes, slots=slots)
        self.said: tuple[tuple[int, Any], ...] = (
            (Kind.HELLO, m.Hello(wire.PROTOCOL, "1", 1)),
            (Kind.PUT, m.Content(digest, len(self.content))),
            (Kind.HAVE, m.Content(digest)),
            (Kind.CONFIGURE, configure),
            (Kind.SCHEDULE, m.Schedule(1, 1, 0.0, 16)),
            (Kind.STATISTICS, m.Which(1, True)),
            (Kind.LATENCY, m.Which(1)),
            (Kind.CONTROL, m.Control(0, 0, 1.0, bytes(20).hex())),
            (Kind.DEVICES, m.Nothing()),
            (Kind.RESTART, m.Which(1)),
            (Kind.RELEASE, m.Which(1)),
        )
        self.crashes: list[str] = []
        threading.excepthook = lambda args: self.crashes.append(repr(args.exc_value))
        self._server = BrokerServer(self.vdevice, self.path, limits=Limits(memory_per_client=1 << 24))
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        self._server.stop()
        self._thread.join(10)
        self._server.close()
        self.vdevice.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def memory(self, kind: int) -> int:
        """Return a descriptor to send: 1 and 2 are right ones, the others are not."""
        if kind == 3:
            return os.open("/dev/zero", os.O_RDWR | os.O_CLOEXEC)
        fd = os.memfd_create("fuzz", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        if kind == 2:
            os.write(fd, self.content)
        else:
            os.ftruncate(fd, self.size_bytes + (kind == 5))
        if kind != 4:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        return fd


@cache
def _rig() -> _Rig:
    return _Rig()


def make_case(rng: Random) -> bytes:
    """Say what a correct client says, with some of it changed, left out, doubled, or with another descriptor."""
    parts = []
    for kind, body in _rig().said:
        fd = {Kind.PUT: 2, Kind.CONFIGURE: 1}.get(Kind(kind), 0)
        text = m.to_bytes(body)
        chance = rng.random()
        if chance < 0.15:
            text = _change(rng, text)
        elif chance < 0.2:
            text = mutate_bytes(rng, text)[:40000]
        elif chance < 0.25:
            fd = rng.randrange(6)
        packet = wire.build_packet(kind if rng.random() > 0.03 else edge(rng, 16), rng.randrange(1 << 32), text)
        if rng.random() < 0.02:
            packet = mutate_bytes(rng, packet)
        if rng.random() > 0.06:
            parts += [bytes([fd]) + packet] * rng.choice((1, 1, 1, 1, 2))
    if rng.random() < 0.2:
        rng.shuffle(parts)
    return pack_parts([_frames(rng), *parts])


def _change(rng: Random, text: bytes) -> bytes:
    """Give a field another value, another name, or none."""
    value = json.loads(text)
    target = rng.choice(value["slots"]) if "slots" in value and rng.random() < 0.5 else value
    if not target:
        return b'{"a": 1}'
    key = rng.choice(list(target))
    how = rng.randrange(4)
    if how == 0:
        target[rng.choice(("more", key + "x"))] = target.pop(key)
    elif how == 1 and isinstance(target[key], int):
        target[key] += rng.choice((1, -1, 4096, 1 << 40))
    else:
        target[key] = rng.choice(_VALUES + _MORE)
    return json.dumps(value).encode()


def _frames(rng: Random) -> bytes:
    """Return messages about frames, 16 bytes each."""
    made = [
        wire.build_frames(rng.choice((FramesKind.RUN,) * 9 + (FramesKind.DONE,)), rng.choice((0, 0, 0, 1, 9)), count)
        for count in (rng.choice((1, 1, 2, 3, 4, 5, edge(rng, 32))) for _ in range(rng.randrange(6)))
    ]
    return mutate_bytes(rng, b"".join(made)) if made and rng.random() < 0.1 else b"".join(made)


def run(case: bytes) -> int:
    """Talk until we are shown out; afterwards a correct client is served, and no thread of the broker died."""
    rig = _rig()
    frames, *parts = unpack_parts(case)
    for part in parts:
        _parse(part[1:])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(10.0)
        sock.connect(str(rig.path))
        with suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                if not _say(rig, sock, part[0] if part else 0, part[1:], frames):
                    break
    _check(rig)
    return max(1, len(parts))


def _say(rig: _Rig, sock: socket.socket, kind: int, packet: bytes, frames: bytes) -> bool:
    fd = rig.memory(kind) if kind else -1
    try:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, "little"))] if kind else []
        sock.sendmsg([packet], ancillary, socket.MSG_NOSIGNAL)
        reply = wire.receive(sock)
    finally:
        if kind:
            os.close(fd)
    if reply is None:
        return False
    require(reply.kind in (Kind.DONE, Kind.REFUSED), f"a reply of kind {reply.kind}")
    if reply.kind == Kind.REFUSED:
        require(str(error_of(m.from_bytes(m.Refusal, reply.body))), "a refusal without words")
    if reply.fd >= 0:
        with socket.socket(fileno=reply.fd) as ring, suppress(BrokenPipeError, ConnectionResetError):
            for at in range(0, len(frames), wire.FRAMES_BYTES):
                ring.send(frames[at : at + wire.FRAMES_BYTES], socket.MSG_NOSIGNAL)
    return True


def _parse(packet: bytes) -> None:
    """Take the packet for every message that there is, as a client of a hostile broker would."""
    with suppress(MalformedMessage):
        wire.parse_frames(packet)
    try:
        _, _, body = wire.parse_packet(packet)
    except MalformedMessage:
        return
    for kind in _BODIES:
        with suppress(MalformedMessage):
            made = m.from_bytes(kind, body)
            if isinstance(made, m.Refusal):
                error_of(made)


def _check(rig: _Rig) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(10.0)
        sock.connect(str(rig.path))
        for kind, body in (rig.said[0], (Kind.DEVICES, m.Nothing())):
            wire.send(sock, kind, 1, m.to_bytes(body))
            reply = wire.receive(sock)
            require(reply is not None and reply.kind == Kind.DONE, "the broker does not serve others any more")
    require(not rig.crashes, f"a thread of the broker died: {rig.crashes[:1]}")


SURFACE = Surface("broker_messages", make_case, run, ())
