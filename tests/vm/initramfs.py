"""The guest's first file system: a newc cpio archive, uncompressed, because unpacking would cost more than it saves."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .kernel import VFIO_MODULES, read_module
from .packages import Tree

_FOLDER, _FILE, _LINK = 0o040755, 0o100755, 0o120777
#: What the scripts below use; all are links to busybox.
_APPLETS = ("sh", "mount", "mkdir", "insmod", "chroot", "poweroff", "reboot", "cat", "ls", "echo", "sync")

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
echo RIG-START
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
mount -t virtiofs -o ro share /host && for name in proc sys dev; do mount -o bind /$name /host/$name; done
cd /host && . /environment && chroot /host {command}
echo RIG-DONE rc=$?
sync
poweroff -f
"""


class Archive:
    """Builds a newc archive (cpio(5)); ids and times are zero, so that equal contents give equal bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def folder(self, name: str) -> None:
        """Add an empty folder; its parents must be there already."""
        self._add(name, _FOLDER, b"")

    def file(self, name: str, data: bytes) -> None:
        """Add an executable file."""
        self._add(name, _FILE, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(name, _LINK, target.encode())

    def finish(self) -> bytes:
        """Return the whole archive."""
        trailer = _entry(0, 0, "TRAILER!!!", b"")
        return b"".join([*self._parts, trailer])

    def _add(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        self._parts.append(_entry(self._inode, mode, name, data))


def _entry(inode: int, mode: int, name: str, data: bytes) -> bytes:
    """One entry: magic, thirteen numbers of eight hexadecimal digits, name, data; name and data end 4-aligned."""
    raw = name.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + raw
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


@dataclass(frozen=True)
class Payload:
    """What the guest does: ``command`` is run inside the shared root with ``environment``; ``modules`` come first."""

    command: Sequence[str]
    environment: Mapping[str, str]
    modules: Sequence[str] = VFIO_MODULES


def build_initramfs(tree: Tree, payload: Payload) -> bytes:
    """Return the archive for one run. Raises `BadKernel` where a module is missing."""
    archive = Archive()
    for name in ("bin", "dev", "proc", "sys", "tmp", "host", "modules"):
        archive.folder(name)
    archive.file("bin/busybox", _busybox(tree).read_bytes())
    for applet in _APPLETS:
        archive.link(f"bin/{applet}", "busybox")
    for module in payload.modules:
        archive.file(f"modules/{Path(module).name}.ko", read_module(tree.modules, module))
    order = "".join(f"{Path(module).name}\n" for module in payload.modules)
    archive.file("modules/order", order.encode())
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in payload.environment.items())
    archive.file("environment", exports.encode())
    archive.file("init", INIT.format(command=shlex.join(payload.command)).encode())
    return archive.finish()


def _busybox(tree: Tree) -> Path:
    return next(path for path in (tree.root / "usr/bin/busybox", tree.root / "bin/busybox") if path.is_file())
