"""QEMU, a guest kernel and busybox out of Debian packages, in a private tree: nothing is installed.

A private apt root with an empty status file downloads the full dependency closure; ``dpkg-deb`` unpacks it.  Programs
run through the tree's own dynamic loader, so any user can run them on any Debian release.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .kernel import extract_vmlinux

SUITES = ("trixie", "trixie-backports")
#: ``vfio-user-pci`` exists since QEMU 10.1; trixie itself has 10.0. All four must name the suite, or apt gives up.
PACKAGES = (
    *(f"{name}/trixie-backports" for name in ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")),
    "linux-image-cloud-amd64",
    "busybox-static",
    "virtiofsd",
    "zstd",
)
KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
_LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/icons")
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_DOWNLOAD_TIMEOUT_S = 300.0


class RigMissing(Exception):
    """The rig cannot be had here; the text says why. ``reachable``: packages can be had, so this is a failure."""

    def __init__(self, reason: str, *, reachable: bool = False) -> None:
        self.reachable = reachable
        super().__init__(reason)


@dataclass(frozen=True)
class Tree:
    """Unpacked packages under ``root``; ``versions`` is package -> version."""

    root: Path
    versions: dict[str, str]

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs ``program`` (a path inside the tree) with the tree's loader and libraries."""
        loader = self.root / "usr/lib64/ld-linux-x86-64.so.2"
        libraries = self.root / _LIBRARIES
        return [str(loader), "--library-path", str(libraries), str(self.root / program), *arguments]

    @property
    def kernel_release(self) -> str:
        """The name of the folder of modules, which is what the kernel calls itself."""
        (folder,) = sorted((self.root / "usr/lib/modules").iterdir())
        return folder.name

    @property
    def modules(self) -> Path:
        """The folder of the kernel's modules."""
        return self.root / "usr/lib/modules" / self.kernel_release / "kernel"

    @property
    def kernel(self) -> Path:
        """What QEMU boots: the uncompressed kernel."""
        return self.root / "vmlinux"


def cache_folder() -> Path:
    """Return where trees are kept: ``$XDG_CACHE_HOME/openhailo/vm``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "openhailo" / "vm"


def cached_tree(cache: Path | None = None) -> Tree:
    """Return the tree that was made before. Raises `RigMissing`."""
    _check_machine()
    cache = cache or cache_folder()
    try:
        index = json.loads((cache / "current.json").read_text())
        tree = Tree(cache / index["tree"], index["versions"])
    except (OSError, ValueError, KeyError) as error:
        raise RigMissing(f"no unpacked packages in {cache}: `make vm` gets them") from error
    if not tree.kernel.is_file():
        raise RigMissing(f"the tree in {cache} is damaged: remove that folder")
    return tree


def make_tree(cache: Path | None = None, *, refresh: bool = False) -> Tree:
    """Return the cached tree, or get the packages and unpack them. Raises `RigMissing`."""
    _check_machine()
    cache = cache or cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RigMissing(f"the cache cannot be written ({error})") from error
    with _locked(cache / "lock"):
        if not refresh:
            try:
                return cached_tree(cache)
            except RigMissing:
                pass
        return _build(cache)


def _check_machine() -> None:
    if platform.machine() != "x86_64":
        raise RigMissing(f"the guest is amd64 and shares this machine's Python, which is for {platform.machine()}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(cache: Path) -> Tree:
    for program in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(program) is None:
            raise RigMissing(f"{program} is missing: the rig is made of Debian packages")
    with tempfile.TemporaryDirectory(prefix="apt-", dir=cache) as folder:
        archives = _download(Path(folder), find_mirror(), find_keyring())
        versions = _versions(archives)
        key = hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()[:16]
        partial = Path(folder) / "tree"
        partial.mkdir()
        for archive in archives:
            unpack_archive(archive, partial)
        _finish(partial)
        target = cache / f"tree-{key}"
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    _remove_others(cache, target)
    index = cache / "current.json.new"
    index.write_text(json.dumps({"tree": target.name, "versions": versions}, indent=1))
    index.rename(cache / "current.json")
    return Tree(target, versions)


def _remove_others(cache: Path, keep: Path) -> None:
    for old in cache.glob("tree-*"):
        if old != keep:
            shutil.rmtree(old, ignore_errors=True)


# --- download ---------------------------------------------------------------------------------------------------------


def find_mirror() -> str:
    """Return the address of the main archive that this machine's apt is configured for."""
    query = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "LABEL: Debian", "COMPONENT: main"]
    found = run_tool(["apt-get", *query], "the sources of apt").split()
    if not found:
        raise RigMissing("apt knows no Debian archive here: is this Debian, and did `apt-get update` ever run?")
    return found[0]


def find_keyring() -> Path:
    for name in KEYRINGS:
        path = Path("/usr/share/keyrings") / name
        if path.is_file():
            return path
    raise RigMissing("the keys of the Debian archive are missing: package debian-archive-keyring")


def apt_options(root: Path) -> list[str]:
    """Return the options that keep apt inside ``root``: lists and archives of its own, and nothing installed."""
    settings = {
        "Dir::State": root / "state",
        "Dir::State::status": root / "status",
        "Dir::State::lists": root / "lists",
        "Dir::Cache": root,
        "Dir::Etc::sourcelist": root / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::parts": root / "etc",
        "Dir::Etc::preferences": root / "none",
        "Dir::Etc::preferencesparts": root / "etc",
        "APT::Architecture": "amd64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::Check-Valid-Until": "false",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _download(root: Path, mirror: str, keyring: Path) -> list[Path]:
    for name in ("lists/partial", "archives/partial", "etc", "state"):
        (root / name).mkdir(parents=True)
    (root / "status").touch()
    lines = [f"deb [signed-by={keyring}] {mirror} {suite} main\n" for suite in SUITES]
    (root / "sources.list").write_text("".join(lines))
    options = apt_options(root)
    run_tool(["apt-get", *options, "-qq", "update"], "the lists of packages")
    if not any((root / "lists").glob("*Packages*")):  # an unreachable mirror is a warning for apt, not an error
        raise RigMissing(f"no lists of packages from {mirror}: no network, or not a mirror of {SUITES[0]}")
    command = ["apt-get", *options, "-qq", "-y", "--download-only", "install", *PACKAGES]
    run_tool(command, "the packages", reachable=True)
    archives = sorted((root / "archives").glob("*.deb"))
    if not archives:
        raise RigMissing("apt downloaded nothing", reachable=True)
    return archives


def run_tool(command: Sequence[str], what: str, *, reachable: bool = False) -> str:
    """Run a tool and return what it prints. Raises `RigMissing`."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigMissing(f"{what}: {error}", reachable=reachable) from error
    if done.returncode:
        complaint = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RigMissing(f"{what}: {complaint}", reachable=reachable)
    return done.stdout


# --- unpack -----------------------------------------------------------------------------------------------------------


def _versions(archives: Sequence[Path]) -> dict[str, str]:
    """Read package and version out of the file names (``name_version_arch.deb``, a colon written as ``%3a``)."""
    parts = [archive.stem.split("_") for archive in archives]
    return {name: version.replace("%3a", ":") for name, version, *_ in parts}


def unpack_archive(archive: Path, target: Path) -> None:
    skip = [f"--exclude={path}" for path in _LEFT_OUT]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            ["tar", "-x", "-C", str(target), "--no-same-owner", *skip], stdin=source.stdout, check=False
        )
    if source.returncode or done.returncode:
        raise RigMissing(f"{archive.name} cannot be unpacked into {target}", reachable=True)


def _finish(root: Path) -> None:
    """Take the uncompressed kernel out, which boots a second faster, and leave the other one."""
    tree = Tree(root, {})
    image = (root / f"boot/vmlinuz-{tree.kernel_release}").read_bytes()
    tree.kernel.write_bytes(extract_vmlinux(image, tree.command("usr/bin/zstd")))
