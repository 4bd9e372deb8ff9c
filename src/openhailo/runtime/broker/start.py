"""Connecting to a broker, and starting one where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from openhailo.errors import BrokerLost, DeviceError, DeviceNotFound, DeviceTimeout
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.client import Connection
from openhailo.runtime.broker.messages import MAX_TEXT, Refusal, from_bytes
from openhailo.runtime.broker.place import start_lock
from openhailo.runtime.broker.refusals import error_of

#: A card boots in a few seconds, after its reset.
START_TIMEOUT_S = 60.0
#: A broker that was started on demand ends so long after its last client.
IDLE_TIMEOUT_S = 10.0
#: How often a broker may end, because it was idle, between our connecting to it and its hearing of us.
_ATTEMPTS = 5
_READY = b"ready"
#: Descriptor of the pipe by which a broker says that it listens.
_READY_FD = 3


def connect(path: Path, names: Sequence[str], *, start: bool, idle_timeout_s: float = IDLE_TIMEOUT_S) -> Connection:
    """Return a connection to the broker at ``path``; without one, ``start`` one for the devices ``names``.

    Raises `DeviceNotFound` (no broker), what opening the devices raises, and what `Connection` raises.
    """
    for _ in range(_ATTEMPTS):
        found = _try(path)
        if found is not None:
            return found
        if not start:
            raise DeviceNotFound(name=f"broker at {path}", hint="start it with `openhailo broker --socket PATH`")
        with start_lock(path):
            found = _try(path)
            if found is not None:
                return found
            _start(path, names, idle_timeout_s)
    raise DeviceError(f"the broker at {path} ends as soon as it is started; see {log_path(path)}")


def log_path(path: Path) -> Path:
    """Return where a broker that was started on demand writes what it has to say."""
    return path.with_name(path.name + ".log")


def _try(path: Path) -> Connection | None:
    try:
        return Connection(path)
    except (ConnectionRefusedError, FileNotFoundError, BrokerLost):
        return None


def _start(path: Path, names: Sequence[str], idle_timeout_s: float) -> None:
    """Start a broker that outlives us, and wait until it listens."""
    reader, writer = os.pipe()
    log = os.open(log_path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    # Modules of the folder that a program runs in are not the broker's (-P).
    command = [sys.executable, "-P", "-m", "openhailo.runtime.broker", "--socket", str(path)]
    command += [argument for name in names for argument in ("--device", name)]
    command += ["--idle-timeout", str(idle_timeout_s), "--ready-fd", str(_READY_FD)]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_DUP2, log, fd) for fd in (1, 2)),
        (os.POSIX_SPAWN_DUP2, writer, _READY_FD),
    ]
    try:
        pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setsid=True)
    finally:
        os.close(writer)
        os.close(log)
    try:
        _wait_until_ready(reader, path)
    finally:
        os.close(reader)
        _forget(pid)


def _wait_until_ready(reader: int, path: Path) -> None:
    if not wire.wait_readable([reader], START_TIMEOUT_S):
        raise DeviceTimeout(
            what=f"starting the broker at {path}",
            budget_s=START_TIMEOUT_S,
            elapsed_s=START_TIMEOUT_S,
            hint=f"see {log_path(path)}",
        )
    said = os.read(reader, 8 * MAX_TEXT)
    if said == _READY:
        return
    if said:
        raise error_of(from_bytes(Refusal, said))
    raise DeviceError(f"the broker could not be started; see {log_path(path)}")


def tell_ready(fd: int, refusal: bytes = _READY) -> None:
    """Tell whoever started us that we listen, or why not."""
    if fd >= 0:
        os.write(fd, refusal)
        os.close(fd)


#: Brokers that were started here and may have to be waited for once they have ended.
_STARTED: list[int] = []


def _forget(pid: int) -> None:
    """Leave a broker to itself; take note of those that have ended."""
    _STARTED.append(pid)
    for each in list(_STARTED):
        with suppress(ChildProcessError):
            if os.waitpid(each, os.WNOHANG) == (0, 0):
                continue
        _STARTED.remove(each)
