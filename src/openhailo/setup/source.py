"""The kernel driver that the user brings: a source tree or a Debian package. Nothing is fetched, nothing is run.

What a plan can know before anything is built: which release it says it is, where the module's own folder is, and that
the tree holds nothing but files, folders and links that stay inside.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openhailo.errors import InputError, VersionUnsupported
from openhailo.spec.ioctl import RELEASES

from .machine import Machine, parse_version
from .parameters import MODULE, Version
from .run import Runner

_MAX_FILES = 20_000
_MAX_TREE_BYTES = 256 << 20
_MAX_PACKAGE_BYTES = 256 << 20
_SKIPPED = frozenset({".git", ".svn", "__pycache__"})
#: The folder of the module in the vendor's tree (driver.md 1.2). That it builds as any module does is a GUESS.
_MODULE_FOLDERS = ("linux/pcie", ".")
#: Where a version may stand; the first that is found counts (driver.md 1.2, 7; the names of the macros are a GUESS:
#: the facts name the header and the version's three numbers, not how they are spelt).
_VERSION_FILES = (
    "common/hailo_ioctl_common.h",
    "linux/pcie/src/pcie.c",
    "src/pcie.c",
    "linux/pcie/Makefile",
    "Makefile",
)
_MACRO = r"(?m)^[ \t]*#[ \t]*define[ \t]+\w*VER\w*_{part}[ \t]+\(?(\d{{1,4}})\)?[ \t]*(?:/[/*].*)?$"
_LITERAL = re.compile(r'MODULE_VERSION\s*\(\s*"([0-9.]{5,20})"')
_ASSIGNED = re.compile(r"(?m)^[ \t]*(?:PACKAGE_)?VERSION[ \t]*:?=[ \t]*\"?([0-9.]{5,20})\"?[ \t]*$")
_NAME = re.compile(r"(?m)^[ \t]*PACKAGE_NAME[ \t]*=[ \t]*[\"']?([A-Za-z0-9][A-Za-z0-9._+-]{0,63})[\"']?[ \t]*$")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{1,63}")

_DKMS_CONF = """\
# Written by openhailo setup: the driver's tree has none that is complete at its top.
PACKAGE_NAME="{name}"
PACKAGE_VERSION="{version}"
BUILT_MODULE_NAME[0]="{module}"
BUILT_MODULE_LOCATION[0]="{folder}"
DEST_MODULE_LOCATION[0]="/updates/dkms"
MAKE[0]="make -C ${{kernel_source_dir}} M=${{dkms_tree}}/${{PACKAGE_NAME}}/${{PACKAGE_VERSION}}/build/{folder} modules"
CLEAN="make -C ${{kernel_source_dir}} M=${{dkms_tree}}/${{PACKAGE_NAME}}/${{PACKAGE_VERSION}}/build/{folder} clean"
AUTOINSTALL="yes"
"""


@dataclass(frozen=True)
class DriverTree:
    """A source tree: what is in it (folders end with "/"), its name and version for DKMS, where these stood.

    ``dkms_conf`` is empty when the tree has a usable one of its own at the top.
    """

    folder: Path
    name: str
    version: Version
    version_from: str
    entries: tuple[str, ...]
    dkms_conf: str = ""

    @property
    def label(self) -> str:
        """What DKMS calls it."""
        return f"{self.name}/{self.version_text}"

    @property
    def version_text(self) -> str:
        """Like ``4.23.0``."""
        return ".".join(map(str, self.version))


@dataclass(frozen=True)
class DriverPackage:
    """A Debian package with the driver: its name and versions as the package says."""

    path: Path
    name: str
    package_version: str
    version: Version
    architecture: str


def require_release(version: Version, *, allow_unknown: bool = False) -> None:
    """Raise `VersionUnsupported` for a driver that the runtime does not speak to (or not without being told)."""
    text = ".".join(map(str, version))
    known = list(RELEASES)
    if text in RELEASES:
        return
    if version >= (5, 0, 0):
        raise VersionUnsupported(
            component="kernel driver",
            version=f"{text} (drivers from 5.0 on are for other chips)",
            supported=f"hailo_pci {known[-1]} for a Hailo-8 or Hailo-8L",
        )
    if not allow_unknown or version < next(iter(RELEASES.values())).version:
        hint = ", or try it at your own risk with --allow-unknown-driver" if version > (4, 17, 0) else ""
        raise VersionUnsupported(
            component="kernel driver", version=text, supported=f"hailo_pci {known[0]} to {known[-1]}{hint}"
        )


# --- a tree ---------------------------------------------------------------------------------------------------------


def read_tree(folder: Path) -> DriverTree:
    """Look a source tree over. Raises `InputError` for one that is unsafe, too large, or not the driver's."""
    if not str(folder).isprintable():
        raise InputError(what=ascii(str(folder)), detail="the path has characters that cannot be shown; rename it")
    if not folder.is_dir():
        raise InputError(what=str(folder), detail="there is no such folder")
    folder = folder.resolve()
    entries = tuple(_entries(folder))
    own = _text(folder / "dkms.conf") if "dkms.conf" in entries else ""
    version, source = _find_version(folder, own)
    name = _NAME.search(own)
    if name is not None and source == "dkms.conf":
        return DriverTree(folder, name[1], version, source, entries)
    place = _module_folder(folder)
    text = ".".join(map(str, version))
    conf = _DKMS_CONF.format(name=MODULE, version=text, module=MODULE, folder=place)
    return DriverTree(folder, MODULE, version, source, entries, conf)


def _entries(folder: Path) -> Iterator[str]:
    """Yield what is to be copied, sorted; folders end with "/"."""
    total_bytes = count = 0
    pending = [folder]
    while pending:
        here = pending.pop()
        for entry in sorted(os.scandir(here), key=lambda e: e.name):
            if entry.name in _SKIPPED:
                continue
            count += 1
            path = Path(entry.path)
            name = str(path.relative_to(folder))
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                if path.readlink().is_absolute() or not path.resolve().is_relative_to(folder):
                    raise InputError(what=ascii(name), detail="is a symbolic link that leads out of the driver's tree")
            elif stat.S_ISDIR(status.st_mode):
                pending.append(path)
            elif not stat.S_ISREG(status.st_mode):
                raise InputError(what=ascii(name), detail="is neither a file nor a folder; this is no source tree")
            total_bytes += status.st_size
            if count > _MAX_FILES or total_bytes > _MAX_TREE_BYTES:
                raise InputError(
                    what=str(folder),
                    detail=f"more than {_MAX_FILES} files or {_MAX_TREE_BYTES >> 20} MiB; name the driver's own folder",
                )
            yield name + ("/" if entry.is_dir(follow_symlinks=False) else "")


def _find_version(folder: Path, dkms_conf: str) -> tuple[Version, str]:
    found = _ASSIGNED.search(dkms_conf)
    version = parse_version(found[1]) if found else None
    if found and version is not None and ".".join(map(str, version)) == found[1]:
        return version, "dkms.conf"
    for name in _VERSION_FILES:
        version = _version_in(_text(folder / name))
        if version is not None:
            return version, name
    raise InputError(
        what=str(folder),
        detail=f"says nowhere which release it is (looked in dkms.conf, {', '.join(_VERSION_FILES)}); "
        "name the top of the driver's tree",
    )


def _version_in(text: str) -> Version | None:
    parts = [re.search(_MACRO.format(part=part), text) for part in ("MAJOR", "MINOR", "(?:REVISION|PATCH|REV)")]
    if all(parts):
        major, minor, revision = (int(part[1]) for part in parts if part)
        return major, minor, revision
    found = _LITERAL.search(text) or _ASSIGNED.search(text)
    return parse_version(found[1]) if found else None


def _module_folder(folder: Path) -> str:
    for place in _MODULE_FOLDERS:
        if any((folder / place / name).is_file() for name in ("Kbuild", "Makefile")):
            return place
    raise InputError(what=str(folder), detail="has no Kbuild or Makefile; name the top of the driver's tree")


# --- a package -------------------------------------------------------------------------------------------------------


def read_package(path: Path, runner: Runner) -> DriverPackage:
    """Ask ``dpkg-deb`` what a package says about itself. Raises `InputError`."""
    if path.is_file() and path.stat().st_size > _MAX_PACKAGE_BYTES:
        raise InputError(what=str(path), detail=f"larger than {_MAX_PACKAGE_BYTES >> 20} MiB; this is not the driver")
    done = runner.run(["dpkg-deb", "--field", str(path), "Package", "Version", "Architecture"], timeout_s=30)
    if done.code:
        raise InputError(what=str(path), detail=f"not a Debian package: {done.last_words}")
    fields = dict(line.split(": ", 1) for line in done.output.splitlines() if ": " in line)
    name, text, architecture = (fields.get(key, "") for key in ("Package", "Version", "Architecture"))
    version = parse_version(text.rpartition(":")[2])
    if not _SAFE.fullmatch(name) or version is None:
        raise InputError(what=str(path), detail=f"package {name!r} {text!r} is no release of the driver")
    return DriverPackage(path, name, text, version, architecture)


def require_architecture(package: DriverPackage, machine: Machine) -> None:
    """Raise `InputError` for a package that is made for other machines."""
    if package.architecture not in ("all", machine.architecture):
        raise InputError(
            what=str(package.path), detail=f"is for {package.architecture}, this machine is {machine.architecture}"
        )


# --- reading ---------------------------------------------------------------------------------------------------------


def read_limited(path: Path, limit_bytes: int) -> bytes:
    """Return a file's content, at most one byte more than ``limit_bytes``. Raises `InputError`."""
    try:
        if not path.is_file():
            raise InputError(what=str(path), detail="there is no such file")
        with path.open("rb") as stream:
            return stream.read(limit_bytes + 1)
    except OSError as error:
        raise InputError(what=str(path), detail=f"cannot be read: {error.strerror}") from error


def _text(path: Path) -> str:
    """A missing file is empty; a link was looked at before."""
    return read_limited(path, 1 << 20).decode("utf-8", "replace") if path.is_file() else ""
