"""A throw-away Debian with DKMS, a compiler and kernel headers, out of packages: nothing of the machine is touched.

The packages are unpacked, not installed: what their scripts would have done, and the programs here need, is done below.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from tests.vm.packages import RigMissing, apt_options, cache_folder, find_keyring, find_mirror, run_tool, unpack_archive

from openhailo.setup import SystemRunner

PACKAGES = (
    *("dkms", "kmod", "udev", "passwd", "base-files", "base-passwd", "bash", "coreutils", "findutils", "sed", "grep"),
    *("mawk", "gzip", "dash", "util-linux", "diffutils", "libc-bin", "linux-headers-cloud-amd64"),
)
_NEEDED_BYTES = 1 << 30


def build_root(target: Path, suite: str) -> str:
    """Unpack the packages under ``target`` and return the kernel release there. Raises `RigMissing` with the reason."""
    if os.geteuid() != 0:
        raise RigMissing("only root can enter another root")
    if os.uname().machine != "x86_64":
        raise RigMissing("the packages are for amd64")
    if shutil.disk_usage(target.parent).free < _NEEDED_BYTES:
        raise RigMissing(f"{target.parent} has less than {_NEEDED_BYTES >> 20} MiB left")
    archives = _archives(suite)
    target.mkdir()
    for archive in archives:
        unpack_archive(archive, target)
    _merge(target)
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
    builtin = "kernel/drivers/vfio/pci/vfio-pci.ko\n"  # the kernel itself is not among the packages
    (target / f"usr/lib/modules/{kernel}/modules.builtin").write_text(builtin)
    done = SystemRunner(target).run(["depmod", kernel], timeout_s=60)
    if done.code:
        raise RigMissing(f"programs cannot be run in another root: {done.last_words}")
    return kernel


def _merge(target: Path) -> None:
    """Make ``/lib`` and its like links into ``/usr``, as the installer does: Debian 12's packages have none."""
    for name in ("bin", "sbin", "lib", "lib64"):
        folder = target / name
        if not folder.is_symlink():
            if folder.is_dir():
                shutil.copytree(folder, target / "usr" / name, symlinks=True, dirs_exist_ok=True)
                shutil.rmtree(folder)
            folder.symlink_to(f"usr/{name}")


def _archives(suite: str) -> list[Path]:
    """Return the downloaded packages, kept between runs."""
    cache = cache_folder().with_name("setup") / suite
    kept = sorted((cache / "archives").glob("*.deb"))
    if kept:
        return kept
    mirror, keyring = find_mirror(), find_keyring()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        root = Path(folder)
        for name in ("lists/partial", "archives/partial", "etc", "state"):
            (root / name).mkdir(parents=True)
        (root / "status").touch()
        (root / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} {suite} main\n")
        run_tool(["apt-get", *apt_options(root), "-qq", "update"], "the lists of packages")
        if not any((root / "lists").glob("*Packages*")):
            raise RigMissing(f"no lists of packages from {mirror}: no network")
        command = ["apt-get", *apt_options(root), "-qq", "-y", "--download-only", "install", *PACKAGES]
        run_tool(command, "the packages", reachable=True)
        with contextlib.suppress(OSError):  # another test process was faster
            (root / "archives").rename(cache / "archives")
    return sorted((cache / "archives").glob("*.deb"))


def _status(archive: Path) -> str:
    """The package as dpkg would list it."""
    fields = run_tool(["dpkg-deb", "--field", str(archive), "Package", "Version", "Architecture"], archive.name)
    return f"{fields.rstrip()}\nStatus: install ok installed\n\n"
