"""Sockets and time: several devices, one client each, all in one thread (vfio-user.md 1.1, 12)."""

from __future__ import annotations

import os
import selectors
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from openhailo.errors import AccessDenied, DeviceBusy, InputError

from .connection import Connection
from .device import ServedDevice
from .protocol import log

#: Longest path of a UNIX socket, in bytes (unix(7)).
_LONGEST_PATH = 107
T = TypeVar("T")


class Listener:
    """A socket file that only its owner can open; removed when closed."""

    def __init__(self, path: Path) -> None:
        """Listen at ``path``. A stale socket there is replaced. Raises `InputError`, `DeviceBusy`, `AccessDenied`."""
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise InputError(what="socket path", detail=f"longer than {_LONGEST_PATH} bytes: {path}")
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        try:
            _remove_stale(path)
            self._bind()
            self._inode = path.stat().st_ino
        except PermissionError as error:
            self.sock.close()
            raise AccessDenied(name=str(path), hint=f"the folder must be writable ({error})") from error
        except OSError as error:
            self.sock.close()
            raise InputError(what="socket path", detail=f"cannot listen at {path}: {error}") from error
        except BaseException:
            self.sock.close()
            raise

    def _bind(self) -> None:
        before = os.umask(0o177)
        try:
            self.sock.bind(os.fspath(self.path))
        finally:
            os.umask(before)
        self.sock.listen(1)

    def close(self) -> None:
        """Stop to listen. Idempotent."""
        if self.sock.fileno() >= 0:
            self.sock.close()
            if self.path.exists() and self.path.stat().st_ino == self._inode:
                self.path.unlink()


def _remove_stale(path: Path) -> None:
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise InputError(what="socket path", detail=f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # somebody listens, and is busy
            pass
    raise DeviceBusy(name=str(path), detail="another process serves this socket")


@dataclass(eq=False)
class _Slot:
    """A device, where clients find it, and the client it has. ``deadline``: when that must have negotiated."""

    device: ServedDevice
    listener: Listener | None = None
    connection: Connection | None = None
    deadline: float = 0.0
    events: int = 0


class Server:
    """Serves devices to one client each; whoever calls `step` or `run` is the only thread that touches them.

    ``wake`` may be called from any thread or signal handler; hand it to devices whose executor must wake the server.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._slots: list[_Slot] = []
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wakeup, selectors.EVENT_READ, lambda _mask: os.eventfd_read(self._wakeup))
        self._stopping = False
        #: Errors in the chip's model that ended a connection; always a bug of ours.
        self.failures = 0

    # --- what is served -------------------------------------------------------------------------------------------

    def listen(self, device: ServedDevice, path: Path) -> None:
        """Serve ``device`` to whoever connects at ``path``, one at a time. For errors see `Listener`."""
        slot = _Slot(device, Listener(path))
        self._slots.append(slot)
        assert slot.listener is not None
        self._selector.register(slot.listener.sock, selectors.EVENT_READ, partial(self._accept, slot))

    def adopt(self, device: ServedDevice, sock: socket.socket) -> None:
        """Serve ``device`` on the connected ``sock`` until that closes; the device stays the caller's."""
        slot = _Slot(device)
        self._slots.append(slot)
        self._connect(slot, sock)

    @property
    def devices(self) -> int:
        """How many devices there are; adopted ones leave with their client."""
        return len(self._slots)

    @property
    def clients(self) -> int:
        """How many clients there are."""
        return sum(slot.connection is not None for slot in self._slots)

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self, between: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`, or until the last adopted client has left; ``between`` is called after every turn."""
        while not self._stopping and self._slots:
            self.step(None)
            between()

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping = True
        self.wake()

    def wake(self) -> None:
        """Make a concurrent or the next `step` go round."""
        try:
            os.eventfd_write(self._wakeup, 1)
        except OSError:  # closed meanwhile, or woken already
            return

    def step(self, timeout_s: float | None = 0.0) -> None:
        """Run the chips, wait at most ``timeout_s`` (None: as long as it takes) for messages, handle some."""
        waits = [self._attend(slot) for slot in tuple(self._slots)]
        limits = [limit for limit in (*waits, timeout_s) if limit is not None]
        for key, mask in self._selector.select(min(limits) if limits else None):
            key.data(mask)
        for slot in tuple(self._slots):
            self._attend(slot)

    def _attend(self, slot: _Slot) -> float | None:
        """Run the chip of ``slot``; returns the seconds until that is needed again."""
        connection = slot.connection
        if connection is None:
            return None
        wait = self._guard(slot, connection.pump)
        if not connection.closed and not connection.negotiated:
            left = slot.deadline - time.monotonic()
            if left <= 0:
                slot.device.notices.add("disconnect", "the client does not negotiate")
                self._guard(slot, connection.close)
            wait = left if wait is None else min(wait, left)
        self._follow(slot)
        return None if slot.connection is None else wait

    def _serve(self, slot: _Slot, _mask: int) -> None:
        if slot.connection is not None:
            self._guard(slot, slot.connection.step)
            self._follow(slot)

    def _guard(self, slot: _Slot, work: Callable[[], T]) -> T | None:
        """Do ``work``; an error in the model of one chip must not take the others down: its card is pulled."""
        try:
            return work()
        except Exception:  # nothing a client sends should get here, so this hides nothing: it is logged and counted
            self.failures += 1
            log.exception("%s: the chip's model failed; the client is dropped", slot.device.name)
            if slot.connection is not None and not slot.connection.closed:
                self._guard(slot, slot.connection.close)
            return None

    def _accept(self, slot: _Slot, _mask: int) -> None:
        assert slot.listener is not None
        try:
            sock, _ = slot.listener.sock.accept()
        except OSError as error:  # gone again, or no descriptors left
            slot.device.notices.add("accept", error)
            return
        if slot.connection is not None:
            slot.device.notices.add("disconnect", "a second client: the device has one already")
            sock.close()
            return
        self._connect(slot, sock)

    def _connect(self, slot: _Slot, sock: socket.socket) -> None:
        slot.connection = Connection(sock, slot.device)
        slot.deadline = time.monotonic() + slot.device.wire.rules.handshake_timeout_s
        slot.events = selectors.EVENT_READ
        self._selector.register(sock, slot.events, partial(self._serve, slot))
        log.info("%s: a client connected", slot.device.name)

    def _follow(self, slot: _Slot) -> None:
        """Watch what the connection needs now, or nothing any more."""
        connection = slot.connection
        if connection is None:
            return
        if connection.closed:
            self._selector.unregister(connection.sock)
            slot.connection, slot.events = None, 0
            if slot.listener is None:
                self._slots.remove(slot)
            return
        events = selectors.EVENT_WRITE if connection.blocked else selectors.EVENT_READ
        if events != slot.events:
            slot.events = events
            self._selector.modify(connection.sock, events, partial(self._serve, slot))

    def close(self) -> None:
        """Drop all clients, remove the socket files, power the devices off. Idempotent."""
        for slot in self._slots:
            if slot.listener is not None:
                slot.listener.close()
            if slot.connection is not None:
                slot.connection.close()
            slot.device.close()
        self._slots.clear()
        if self._wakeup >= 0:
            self._selector.close()
            os.close(self._wakeup)
            self._wakeup = -1

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
