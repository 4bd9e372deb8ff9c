"""A throw-away Debian 13 with DKMS, a compiler and kernel headers, out of packages: nothing of the machine is touched.

The packages are unpacked, not installed: what their scripts would have done, and the programs here need, is done below.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.vm.packages import RigMissing, _keyring, _mirror, _run, _unpack, apt_options, cache_folder

PACKAGES = (
    *("dkms", "kmod", "udev", "passwd", "base-files", "base-passwd", "bash", "coreutils", "findutils", "sed", "grep"),
    *("mawk", "gzip", "dash", "util-linux", "diffutils", "libc-bin", "linux-headers-cloud-amd64"),
)
_NEEDED_BYTES = 1 << 30
_DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9)}


def build_root(target: Path) -> str:
    """Unpack the packages under ``target`` and return the kernel release there. Raises `RigMissing` with the reason."""
    if os.geteuid() != 0:
        raise RigMissing("only root can enter another root")
    if os.uname().machine != "x86_64":
        raise RigMissing("the packages are for amd64")
    if shutil.disk_usage(target.parent).free < _NEEDED_BYTES:
        raise RigMissing(f"{target.parent} has less than {_NEEDED_BYTES >> 20} MiB left")
    archives = _archives()
    target.mkdir()
    for archive in archives:
        _unpack(archive, target)
    _make_devices(target)
    for name in ("passwd", "group"):
        shutil.copy(target / f"usr/share/base-passwd/{name}.master", target / f"etc/{name}")
    with (target / "etc/passwd").open("a") as users, (target / "etc/group").open("a") as groups:
        users.write("anna:x:1000:1000::/home/anna:/bin/bash\n")
        groups.write("anna:x:1000:\n")
    (target / "usr/bin/awk").symlink_to("mawk")
    (target / "sys/module").mkdir(parents=True)
    (target / "var/lib/dpkg").mkdir(parents=True, exist_ok=True)
    (target / "var/lib/dpkg/status").write_text("".join(_status(archive) for archive in archives))
    (kernel,) = [path.name for path in (target / "usr/lib/modules").iterdir()]
    subprocess.run(["chroot", str(target), "depmod", kernel], check=True, capture_output=True)
    return kernel


def _archives() -> list[Path]:
    """Return the downloaded packages, kept between runs."""
    cache = cache_folder().with_name("setup")
    kept = sorted((cache / "archives").glob("*.deb"))
    if kept:
        return kept
    mirror, keyring = _mirror(), _keyring()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        root = Path(folder)
        for name in ("lists/partial", "archives/partial", "etc", "state"):
            (root / name).mkdir(parents=True)
        (root / "status").touch()
        (root / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} trixie main\n")
        _run(["apt-get", *apt_options(root), "-qq", "update"], "the lists of packages")
        if not any((root / "lists").glob("*Packages*")):
            raise RigMissing(f"no lists of packages from {mirror}: no network")
        command = ["apt-get", *apt_options(root), "-qq", "-y", "--download-only", "install", *PACKAGES]
        _run(command, "the packages", reachable=True)
        with contextlib.suppress(OSError):  # another test process was faster
            (root / "archives").rename(cache / "archives")
    return sorted((cache / "archives").glob("*.deb"))


def _make_devices(target: Path) -> None:
    try:
        for name, (major, minor) in _DEVICES.items():
            os.mknod(target / "dev" / name, 0o20666, os.makedev(major, minor))
            (target / "dev" / name).chmod(0o666)
        (target / "dev/null").write_bytes(b"x")
    except OSError as error:
        raise RigMissing(f"device nodes cannot be made or used here ({error.strerror})") from error


def _status(archive: Path) -> str:
    """The package as dpkg would list it."""
    fields = _run(["dpkg-deb", "--field", str(archive), "Package", "Version", "Architecture"], archive.name)
    return f"{fields.rstrip()}\nStatus: install ok installed\n\n"
