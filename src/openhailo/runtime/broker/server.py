"""The broker: owns devices, lets clients in, and ends when nobody needs it."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from openhailo.errors import DeviceBusy
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.limits import Limits
from openhailo.runtime.broker.models import Models
from openhailo.runtime.broker.place import Lock, check_path, life_lock, listen, peer
from openhailo.runtime.broker.session import Session
from openhailo.runtime.vdevice import VirtualDevice

_log = logging.getLogger(__name__)
_BACKLOG = 64
_END_TIMEOUT_S = 30.0
#: Whoever had us started takes so long at most to connect.
_FIRST_CLIENT_S = 10.0


def claim(path: Path) -> Lock:
    """Take the lock of a broker at ``path``, before devices are touched. Raises `DeviceBusy`, `AccessDenied`."""
    lock = life_lock(path)
    if not lock.take(wait=False):
        raise DeviceBusy(name=str(path), detail="a broker is there already")
    return lock


class BrokerServer:
    """Shares ``vdevice`` over the socket at ``path``; a context manager.

    Clients are of our own user, or with ``group`` (a group id) of anybody who may open the socket.
    """

    def __init__(
        self,
        vdevice: VirtualDevice,
        path: Path,
        *,
        group: int | None = None,
        limits: Limits | None = None,
        life: Lock | None = None,
    ) -> None:
        """Listen; ``life`` is the lock of ``path`` that was taken already (see `claim`).

        Raises `DeviceBusy` when a broker lives there, `AccessDenied`, `InputError`.
        """
        self.vdevice, self.path, self.limits = vdevice, check_path(path), limits or Limits()
        self.models = Models(vdevice, self.limits)
        self._group, self._had_clients = group, False
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()
        self._life = life or claim(path)
        try:
            self._listener = listen(path, group, _BACKLOG)
        except BaseException:
            self._life.release()
            raise
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def serve(self, idle_timeout_s: float | None = None) -> None:
        """Serve until `stop`, until there was no client for ``idle_timeout_s``, or until every device is gone."""
        since = time.monotonic()
        while self._has_devices():
            left = self._patience_left(since, idle_timeout_s)
            if left is not None and left <= 0:
                return
            ready = wire.wait_readable([self._listener.fileno(), self._wake], left)
            if self._listener.fileno() in ready:
                self._accept()
            if self._wake in ready:
                if os.eventfd_read(self._wake) >= _STOP:
                    return
                since = time.monotonic()

    def _patience_left(self, since: float, idle_timeout_s: float | None) -> float | None:
        with self._lock:
            if idle_timeout_s is None or self._sessions:
                return None
        if not self._had_clients:
            idle_timeout_s = max(idle_timeout_s, _FIRST_CLIENT_S)
        return idle_timeout_s - (time.monotonic() - since)

    def _has_devices(self) -> bool:
        """Whether a device is left: without any the next broker, not this one, can open them again."""
        return bool(self.vdevice.dispatcher.scheduler.alive)

    def stop(self) -> None:
        """End `serve`; from any thread, or a signal handler."""
        self._poke(_STOP)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        pid, uid = peer(sock)
        with self._lock:
            if not self._may_enter(uid) or len(self._sessions) >= self.limits.clients:
                _log.warning("process %d of user %d is not let in", pid, uid)
                sock.close()
                return
            session = Session(self, sock, pid, self._forget)
            self._sessions.add(session)
        self._had_clients = True
        session.start()

    def _may_enter(self, uid: int) -> bool:
        return self._group is not None or uid in (os.geteuid(), 0)

    def _forget(self, session: Session) -> None:
        with self._lock:
            self._sessions.discard(session)
        self._poke(1)

    def _poke(self, value: int) -> None:
        """Wake `serve`, unless we are closed already."""
        wake = self._wake
        if wake >= 0:
            with suppress(OSError):
                os.eventfd_write(wake, value)

    def close(self) -> None:
        """Show every client out, and remove the socket. Idempotent."""
        wake, self._wake = self._wake, -1
        if wake < 0:
            return
        with suppress(FileNotFoundError):
            self.path.unlink()
        self._listener.close()
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.end()
        for session in sessions:
            session.join(_END_TIMEOUT_S)
        os.close(wake)
        self._life.release()

    def __enter__(self) -> BrokerServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


#: Added to the count of events that wake `serve`.
_STOP = 1 << 20
