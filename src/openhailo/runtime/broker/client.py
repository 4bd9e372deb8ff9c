"""One connection to a broker: requests and replies, in turn."""

from __future__ import annotations

import os
import socket
import threading
import weakref
from pathlib import Path
from typing import Any, TypeVar

from openhailo.errors import AccessDenied, BrokerLost, DeviceTimeout, MalformedMessage, StateError, VersionUnsupported
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.messages import Hello, Nothing, Refusal, Welcome, from_bytes, to_bytes
from openhailo.runtime.broker.place import check_path, peer
from openhailo.runtime.broker.refusals import error_of
from openhailo.runtime.broker.wire import Kind, release

#: Longest wait for a reply; compiling is done by clients, so configuring is the longest that a broker does.
REPLY_TIMEOUT_S = 60.0
M = TypeVar("M")

#: Sockets of this process: a forked child closes its copies, so that the broker hears when the parent ends.
_SOCKETS: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def keep_from_children(sock: socket.socket) -> socket.socket:
    """Have a forked child close ``sock``; return it."""
    _SOCKETS.add(sock)
    return sock


def _close_in_child() -> None:
    for sock in list(_SOCKETS):
        sock.close()


os.register_at_fork(after_in_child=_close_in_child)


class Owner:
    """The process that something belongs to."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_us(self) -> bool:
        """Whether this is that process."""
        return self._pid == os.getpid()

    def require(self, what: str) -> None:
        """Raise `StateError` in a forked child."""
        if self._pid != os.getpid():
            hint = "open the virtual device again in this process"
            raise StateError(what=what, state="in a forked child", hint=hint)


def lost(path: Path, why: str = "the broker ended") -> BrokerLost:
    """Return the error for a broker that is not there any more."""
    return BrokerLost(name=f"broker at {path}", detail=why)


class Connection:
    """A connection to the broker at ``path``. For several threads."""

    def __init__(self, path: Path, *, protocol: int = wire.PROTOCOL) -> None:
        """Connect and say hello.

        Raises `ConnectionRefusedError` and `FileNotFoundError` when there is no broker, `AccessDenied`,
        `VersionUnsupported`, `BrokerLost` when it ends just now.
        """
        self.path = check_path(path)
        self._owner = Owner()
        self._lock = threading.Lock()
        self._ident = 0
        self.is_lost = False
        self._socket = keep_from_children(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        try:
            self._connect()
            hello = Hello(protocol, release(), os.getpid())
            self.welcome = self.ask(Kind.HELLO, hello, Welcome)
            if self.welcome.protocol != protocol:
                raise _other_version(self.welcome.version, self.welcome.pid)
        except BaseException:
            self._socket.close()
            raise

    def _connect(self) -> None:
        self._socket.settimeout(REPLY_TIMEOUT_S)
        try:
            self._socket.connect(str(self.path))
        except PermissionError as error:
            hint = "it belongs to another user; ask to be put into the group that it was started with"
            raise AccessDenied(name=str(self.path), hint=hint) from error
        _, uid = peer(self._socket)
        if uid not in (os.geteuid(), 0) and uid != self.path.stat().st_uid:
            raise AccessDenied(name=str(self.path), hint=f"user {uid} answers there, who does not own the socket")

    def ask(self, kind: Kind, request: Any, reply: type[M], fd: int = -1) -> M:
        """Send a request and return its reply.

        Raises what the broker refuses with, `BrokerLost`, `DeviceTimeout`, `MalformedMessage`, `StateError`.
        """
        made, received = self.ask_for_descriptor(kind, request, reply, fd)
        if received >= 0:
            os.close(received)
        return made

    def ask_for_descriptor(self, kind: Kind, request: Any, reply: type[M], fd: int = -1) -> tuple[M, int]:
        """Do the same for a reply that a descriptor comes with; it is -1 when none did."""
        self._owner.require("using a broker")
        body = to_bytes(request)
        with self._lock:
            if self.is_lost:
                raise lost(self.path)
            self._ident += 1
            message = self._exchange(kind, body, fd)
        try:
            if message.kind == Kind.REFUSED:
                raise error_of(from_bytes(Refusal, message.body))
            return from_bytes(reply, message.body), message.fd
        except BaseException:
            if message.fd >= 0:
                os.close(message.fd)
            raise

    def _exchange(self, kind: Kind, body: bytes, fd: int) -> wire.Message:
        try:
            wire.send(self._socket, kind, self._ident, body, fd)
            message = wire.receive(self._socket)
        except TimeoutError as error:
            self.is_lost = True
            what, budget = f"reply of the broker at {self.path}", REPLY_TIMEOUT_S
            hint = "end it, the next call starts it again"
            raise DeviceTimeout(what=what, budget_s=budget, elapsed_s=budget, hint=hint) from error
        except OSError as error:
            self.is_lost = True
            raise lost(self.path) from error
        except MalformedMessage:
            self.is_lost = True
            raise
        if message is None or message.ident != self._ident or message.kind not in (Kind.DONE, Kind.REFUSED):
            self.is_lost = True
            if message is not None and message.fd >= 0:
                os.close(message.fd)
            raise lost(self.path)
        return message

    def tell(self, kind: Kind, request: Any) -> None:
        """Send a request whose reply says nothing. Raises what `ask` does."""
        self.ask(kind, request, Nothing)

    @property
    def has_ended(self) -> bool:
        """Whether the broker let go of us, as far as can be known without asking it."""
        if self.is_lost or not self._lock.acquire(blocking=False):
            return self.is_lost
        try:
            # Nothing was asked, so there is nothing to be read but the end.
            self.is_lost = bool(wire.wait_readable([self._socket.fileno()], 0.0))
        except (OSError, ValueError):
            self.is_lost = True
        finally:
            self._lock.release()
        return self.is_lost

    def close(self) -> None:
        """Let go; the broker frees all that this client held. Idempotent."""
        self.is_lost = True
        self._socket.close()


def _other_version(version: str, pid: int) -> VersionUnsupported:
    supported = f"the same release of openhailo for all programs, then end the broker that runs (process {pid})"
    return VersionUnsupported(component="the broker's release", version=version, supported=supported)
