"""A file system root: absolute paths inside it, symbolic links that never lead out, files replaced as a whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from openhailo.errors import DeviceBusy, InputError

#: Files under /proc, /sys and /etc that matter here are far smaller.
_READ_LIMIT_BYTES = 64 << 20
_MAX_LINKS = 40


class Tree:
    """The file system under ``root``; every path below is absolute inside it, as text."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Take an existing folder. Raises `InputError`."""
        if not root.is_dir():
            raise InputError(what=str(root), detail="there is no such folder")
        self.root = root.resolve()

    @property
    def is_host(self) -> bool:
        """Tell whether this is the running system's own root."""
        return self.root == Path("/")

    def locate(self, path: str, *, follow_last: bool = True) -> Path:
        """Return where ``path`` lies, with links followed as if the root were ``/``.

        Raises `InputError` for a path that is not absolute, or that has too many links.
        """
        if not path.startswith("/"):
            raise InputError(what=path, detail="not an absolute path")
        pending = [part for part in reversed(path.split("/")) if part and part != "."]
        place: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                place = place[:-1]
                continue
            here = self.root.joinpath(*place, part)
            if not here.is_symlink() or (not pending and not follow_last):
                place.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise InputError(what=path, detail="too many symbolic links")
            target = here.readlink()
            place = [] if target.is_absolute() else place
            pending += [part for part in reversed(PurePosixPath(target).parts) if part not in ("/", ".")]
        return self.root.joinpath(*place)

    def read(self, path: str) -> bytes | None:
        """Return the content of a regular file; None when it is missing, no file, too large or closed to us."""
        try:
            place = self.locate(path)
            if not stat.S_ISREG(place.stat().st_mode):
                return None
            with place.open("rb") as stream:
                data = stream.read(_READ_LIMIT_BYTES + 1)
        except (OSError, InputError):
            return None
        return data if len(data) <= _READ_LIMIT_BYTES else None

    def text(self, path: str) -> str:
        """Return the content of a file as text, empty when `read` gives nothing."""
        return (self.read(path) or b"").decode("utf-8", "replace")

    def exists(self, path: str) -> bool:
        """Tell whether there is anything at ``path``."""
        try:
            return self.locate(path).exists()
        except (OSError, InputError):
            return False

    def mode(self, path: str) -> int | None:
        """Return the permission bits; None when there is nothing."""
        try:
            return stat.S_IMODE(self.locate(path).stat().st_mode)
        except (OSError, InputError):
            return None

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a folder; none when there is no folder."""
        try:
            return sorted(entry.name for entry in self.locate(path).iterdir())
        except (OSError, InputError):
            return []

    def folder_of(self, path: str) -> str:
        """Return the folder that ``path`` is in."""
        return str(PurePosixPath(path).parent)

    def missing_folders(self, path: str) -> list[str]:
        """Return the folders, outermost first, that ``path`` needs above it and that are not there."""
        missing = []
        folder = self.folder_of(path)
        while not self.exists(folder):
            missing.append(folder)
            folder = self.folder_of(folder)
        return missing[::-1]

    def require_plain(self, path: str) -> None:
        """Raise `InputError` when something other than a regular file is at ``path``."""
        place = self.locate(path, follow_last=False)
        if place.is_symlink():
            raise InputError(what=path, detail=f"is a symbolic link to {place.readlink()}; remove it first")
        if place.exists() and not place.is_file():
            raise InputError(what=path, detail="is no regular file; remove it first")

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        """Make one folder with exactly ``mode``."""
        place = self.locate(path)
        place.mkdir()
        place.chmod(mode)

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Put ``content`` at ``path`` at once: whoever reads sees the old file or the new one. Raises `InputError`."""
        self.require_plain(path)
        place = self.locate(path, follow_last=False)
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        except OSError as error:
            raise InputError(what=path, detail=f"cannot be written: {error.strerror}") from error
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            Path(name).replace(place)
        except OSError as error:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise InputError(what=path, detail=f"cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs of setup on this root out meanwhile. Raises `DeviceBusy`."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise DeviceBusy(name=str(self.root), detail="another setup works on it") from error
        finally:
            os.close(descriptor)

    def remove(self, path: str) -> None:
        """Remove a file (a link itself, not what it leads to); nothing there is fine."""
        with contextlib.suppress(FileNotFoundError):
            self.locate(path, follow_last=False).unlink()
