"""What setup knows about a machine: read from its file system, nothing is asked of programs or of the card."""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from openhailo.bus.sysfs import PciFunctionInfo, list_functions
from openhailo.errors import InputError

from .parameters import MODULE, Version
from .tree import Tree

#: What the packages call the machines that `uname -m` names.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386"}
#: Debian releases that the plans were written for.
SUPPORTED_DEBIAN = ("12", "13")
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})")
_RELEASE = re.compile(r"[A-Za-z0-9._+~-]{1,64}")


@dataclass(frozen=True)
class Platform:
    """What the running kernel says about itself: its release, its machine name, its page size in bytes."""

    release: str
    machine: str
    page_size_bytes: int

    @classmethod
    def of_host(cls) -> Platform:
        """Ask the running kernel."""
        names = os.uname()
        return cls(names.release, names.machine, os.sysconf("SC_PAGESIZE"))


@dataclass(frozen=True)
class Distribution:
    """Which system is installed; ``is_raspberry`` is Raspberry Pi OS, which calls itself Debian."""

    id: str
    version: str
    name: str
    is_raspberry: bool = False


@dataclass(frozen=True)
class Machine:
    """Facts about a machine. ``None`` and empty texts mean that the system does not say.

    ``architecture`` is the package system's word. ``iommu_groups`` counts groups of devices that an IOMMU keeps apart.
    ``module_file`` is the kernel driver for ``kernel``, ``module_version`` what the file says, ``loaded_version`` what
    is loaded. ``nodes`` are the numbers of ``/dev/hailo*``.
    """

    distribution: Distribution
    architecture: str
    kernel: str
    page_size_bytes: int
    model: str = ""
    secure_boot: bool | None = None
    lockdown: str = ""
    iommu_groups: int = 0
    functions: tuple[PciFunctionInfo, ...] = ()
    module_file: str = ""
    module_version: Version | None = None
    loaded_version: str = ""
    nodes: tuple[int, ...] = ()
    users: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_pi5(self) -> bool:
        """Tell whether this is a Raspberry Pi 5 (or 500, or Compute Module 5)."""
        return re.search(r"Raspberry Pi (5|500|Compute Module 5)\b", self.model) is not None


def read_machine(tree: Tree, platform: Platform, kernel: str = "") -> Machine:
    """Read the facts under ``tree``; ``kernel`` is the release to prepare, by default the running one.

    Raises `InputError` for a release that is no name.
    """
    release = kernel or platform.release
    if not _RELEASE.fullmatch(release) or release.startswith((".", "-")):
        raise InputError(what=f"kernel release {release!r}", detail="use a name under /lib/modules")
    module = find_module(tree, release, MODULE)
    return Machine(
        distribution=read_distribution(tree),
        architecture=_native_architecture(tree) or _ARCHITECTURES.get(platform.machine, platform.machine),
        kernel=release,
        page_size_bytes=platform.page_size_bytes,
        model=tree.text("/proc/device-tree/model").rstrip("\0\n"),
        secure_boot=_secure_boot(tree),
        lockdown=_lockdown(tree),
        iommu_groups=len(tree.names("/sys/kernel/iommu_groups")),
        functions=tuple(list_functions(tree.root / "sys")),
        module_file=module,
        module_version=file_version(tree, module) if module else None,
        loaded_version=tree.text(f"/sys/module/{MODULE}/version").strip(),
        nodes=tuple(sorted(int(n[5:]) for n in tree.names("/dev") if re.fullmatch(r"hailo[0-9]{1,4}", n))),
        users=frozenset(line.partition(":")[0] for line in tree.text("/etc/passwd").splitlines()),
    )


def read_distribution(tree: Tree) -> Distribution:
    """Read ``/etc/os-release`` (quotes taken off; an unknown file gives empty texts)."""
    values: dict[str, str] = {}
    for line in (tree.text("/etc/os-release") or tree.text("/usr/lib/os-release")).splitlines():
        name, equals, value = line.strip().partition("=")
        if equals:
            values[name] = value.strip("\"'")
    raspberry = values.get("ID") == "raspbian" or tree.exists("/etc/rpi-issue")
    name = values.get("PRETTY_NAME") or values.get("NAME") or "an unknown system"
    return Distribution(values.get("ID", ""), values.get("VERSION_ID", ""), printable(name), raspberry)


def printable(text: str) -> str:
    """Replace what would steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def require_supported(machine: Machine) -> None:
    """Raise `InputError`, with what to do instead, where the plans do not apply."""
    found = machine.distribution
    if machine.architecture not in ("amd64", "arm64"):
        raise InputError(
            what=f"{found.name} for {machine.architecture}",
            detail="the drivers need a 64-bit system; install the 64-bit one (the twin runs here as it is)",
        )
    known = found.id in ("debian", "raspbian") and found.version in SUPPORTED_DEBIAN
    if not known:
        raise InputError(
            what=found.name,
            detail="setup knows Debian 12 and 13 and Raspberry Pi OS; elsewhere install kernel headers and DKMS with "
            "the system's own tools and follow docs/debian-raspberry-pi.md by hand (the twin runs here as it is)",
        )


# --- modules ------------------------------------------------------------------------------------------------------


def find_module(tree: Tree, release: str, name: str) -> str:
    """Return the path of module ``name`` for a kernel; empty when there is none. "-" and "_" are the same in names."""
    folder = f"/lib/modules/{release}"
    for path in _module_paths(tree, folder):
        if path.rpartition("/")[2].partition(".ko")[0].replace("-", "_") == name.replace("-", "_"):
            return f"{folder}/{path}"
    return ""


def has_module(tree: Tree, release: str, name: str) -> bool:
    """Tell whether a kernel has module ``name``, as a file or built in."""
    return bool(find_module(tree, release, name)) or tree.exists(f"/sys/module/{name.replace('-', '_')}")


def _module_paths(tree: Tree, folder: str) -> Iterator[str]:
    """Yield what DKMS installed (``depmod`` need not know it yet), what ``depmod`` lists, what is built in."""
    yield from (f"updates/dkms/{name}" for name in tree.names(f"{folder}/updates/dkms"))
    for line in tree.text(f"{folder}/modules.dep").splitlines():
        path = line.partition(":")[0]
        if not path.startswith("/") and tree.exists(f"{folder}/{path}"):
            yield path
    yield from tree.text(f"{folder}/modules.builtin").splitlines()


def file_version(tree: Tree, path: str) -> Version | None:
    """Return the version that a module file carries; None where it is compressed in a way Python does not read."""
    data = tree.read(path) or b""
    if path.endswith(".xz"):
        try:
            data = lzma.LZMADecompressor(memlimit=64 << 20).decompress(data, max_length=64 << 20)
        except (lzma.LZMAError, EOFError):
            return None
    found = re.search(rb"\0version=([0-9.]{1,20})\0", b"\0" + data)
    return parse_version(found[1].decode()) if found else None


def parse_version(text: str) -> Version | None:
    """Turn ``4.23.0`` (or ``4.23.0-1``) into numbers; None for anything else."""
    found = _VERSION.match(text.strip())
    if not found or text.strip()[found.end() : found.end() + 1] not in ("", "-", "~", "+"):
        return None
    return int(found[1]), int(found[2]), int(found[3])


# --- the rest -----------------------------------------------------------------------------------------------------


def packages(tree: Tree) -> dict[str, tuple[str, str]]:
    """Return the installed packages: name -> (version, architecture)."""
    found = {}
    for block in tree.text("/var/lib/dpkg/status").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" ok installed") and "Package" in fields:
            found[fields["Package"]] = (fields.get("Version", ""), fields.get("Architecture", ""))
    return found


def _native_architecture(tree: Tree) -> str:
    """A 64-bit kernel may run a 32-bit system, as on older Raspberry Pi OS: dpkg's own package tells."""
    return packages(tree).get("dpkg", ("", ""))[1]


def _secure_boot(tree: Tree) -> bool | None:
    """The variable is four bytes of attributes and one byte of value."""
    data = tree.read(_SECURE_BOOT)
    return data[4] == 1 if data and len(data) == 5 else None


def _lockdown(tree: Tree) -> str:
    """The kernel marks the mode in force: ``[none] integrity confidentiality``."""
    found = re.search(r"\[(\w+)\]", tree.text("/sys/kernel/security/lockdown"))
    return found[1] if found and found[1] != "none" else ""


def group_members(tree: Tree, group: str) -> list[str] | None:
    """Return the members that ``/etc/group`` lists; None when there is no such group."""
    for line in tree.text("/etc/group").splitlines():
        name, _, rest = line.partition(":")
        if name == group:
            return [member for member in rest.rpartition(":")[2].split(",") if member]
    return None
