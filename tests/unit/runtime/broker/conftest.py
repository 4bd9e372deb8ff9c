"""A broker in a thread of the test, and raw clients for it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.frames.nets import tagged

import openhailo
from openhailo.runtime.broker import messages as m
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.limits import Limits
from openhailo.runtime.broker.memory import SharedMemory
from openhailo.runtime.broker.rings import lay_out
from openhailo.runtime.broker.server import BrokerServer
from openhailo.runtime.broker.wire import Kind

SHAPE = (12, 12, 3)
WAIT_S = 30.0


class Peer:
    """A client that says what it likes."""

    def __init__(self, path: Path, *, greet: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(str(path))
        if greet:
            self.ask(Kind.HELLO, m.Hello(wire.PROTOCOL, "test", os.getpid()))

    def ask(self, kind: int, body: Any, fd: int = -1) -> Any:
        """Send a request; return the refusal, or the reply's message."""
        wire.send(self.socket, kind, 1, body if isinstance(body, bytes) else m.to_bytes(body), fd)
        reply = wire.receive(self.socket)
        assert reply is not None
        return m.from_bytes(m.Refusal, reply.body) if reply.kind == Kind.REFUSED else reply

    def put(self, content: bytes, digest: str) -> Any:
        """Send a file."""
        memory = SharedMemory.create(len(content))
        memory.view[:] = content
        try:
            return self.ask(Kind.PUT, m.Content(digest, len(content)), memory.fd)
        finally:
            memory.forget_descriptor()

    @property
    def is_shown_out(self) -> bool:
        """Whether the broker has let go of it."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()


class Broker:
    """A broker that serves in a thread."""

    def __init__(self, path: Path, devices: int = 1, **limits: Any) -> None:
        self.vdevice = openhailo.open_virtual_device(["twin:"] * devices)
        self.server = BrokerServer(self.vdevice, path, limits=Limits(**limits))
        self.path = path
        self._thread = threading.Thread(target=self.server.serve)
        self._thread.start()

    def close(self) -> None:
        self.server.stop()
        self._thread.join(WAIT_S)
        self.server.close()
        self.vdevice.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a short name."""
    path = Path(tempfile.mkdtemp(prefix="ohb-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def broker(folder: Path, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker with the limits of the parameter."""
    made = Broker(folder / "b.sock", **getattr(request, "param", {}))
    yield made
    made.close()


@pytest.fixture
def peer(broker: Broker) -> Iterator[Peer]:
    """A raw client."""
    made = Peer(broker.path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def net() -> Any:
    """(HEF, frames, results) of a small network."""
    return tagged(SHAPE, "first", 1, 64)


def wish(description: Any, digest: str, depth: int = 8, **changes: Any) -> m.Configure:
    """Return a correct request to configure a network, but for ``changes``."""
    slots, size = lay_out(description, depth)
    values: dict[str, Any] = {
        "digest": digest, "group": description.name, "batch_size": 0, "timeout_s": 10.0, "queue_transfers": 32,
        "depth": depth, "memory_bytes": size, "slots": slots,
    }  # fmt: skip
    return m.Configure(**{**values, **changes})
