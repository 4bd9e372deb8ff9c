"""Where a broker is: its socket, the lock that says that it lives, and who may use it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

from openhailo.errors import AccessDenied, DeviceBusy, InputError

#: Names the socket of a broker that is running already, for everybody; none is started then.
SOCKET_VARIABLE = "OPENHAILO_BROKER"
_LONGEST_PATH = 107  # sun_path of struct sockaddr_un, without the final 0
_CREDENTIALS = struct.Struct("3i")


def runtime_dir() -> Path:
    """Return the folder of this user's sockets, private to him. Raises `AccessDenied`.

    ``$XDG_RUNTIME_DIR/openhailo``, or ``openhailo-UID`` in the folder of temporary files.
    """
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    shared = not (base and Path(base).is_dir() and Path(base).stat().st_uid == os.geteuid())
    path = Path(tempfile.gettempdir()) / f"openhailo-{os.geteuid()}" if shared else Path(base) / "openhailo"
    path.mkdir(mode=0o700, exist_ok=True)
    state = path.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise AccessDenied(name=str(path), hint="it has to be a folder of yours that nobody else may enter (mode 0700)")
    return path


def socket_path(names: Sequence[str]) -> Path:
    """Return the socket of the broker of a set of devices. Raises `AccessDenied`."""
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]
    return runtime_dir() / f"broker-{digest}.sock"


def check_path(path: Path) -> Path:
    """Return ``path``, which a socket can have. Raises `InputError`."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise InputError(what=f"socket {path}", detail=f"longer than {_LONGEST_PATH} bytes")
    return path


class Lock:
    """An exclusive lock on a file beside the socket, held as long as its owner lives. A context manager."""

    def __init__(self, path: Path) -> None:
        """Nothing is locked yet."""
        self._path, self._fd = path, -1

    def take(self, *, wait: bool) -> bool:
        """Lock, or return False when somebody else has it and we do not ``wait``. Raises `AccessDenied`."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise AccessDenied(name=str(self._path), hint=f"{error.strerror}; use another --socket") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Unlock. The file stays: removing it would let two owners lock two files of the same name. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Lock:
        """Wait for it, unless it is taken already."""
        if self._fd < 0:
            self.take(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def life_lock(path: Path) -> Lock:
    """Return the lock that a broker at ``path`` holds while it lives."""
    return Lock(path.with_name(path.name + ".lock"))


def start_lock(path: Path) -> Lock:
    """Return the lock of whoever starts a broker at ``path``."""
    return Lock(path.with_name(path.name + ".start"))


def listen(path: Path, group: int | None, backlog: int) -> socket.socket:
    """Return a listening socket, mode 0600, or 0660 for ``group``. The caller has the life lock, so an old one is dead.

    Raises `DeviceBusy` when something else is there, `AccessDenied`.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise DeviceBusy(name=str(path), detail="it is no socket")
        path.unlink()
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(0o660)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise AccessDenied(name=str(path), hint=f"{error.strerror}; use another --socket") from error
    finally:
        os.umask(before)
    return listener


def peer(sock: socket.socket) -> tuple[int, int]:
    """Return process id and user id of the other side (SO_PEERCRED)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid
