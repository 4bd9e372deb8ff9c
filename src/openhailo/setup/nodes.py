"""Looking at the nodes of the kernel driver without disturbing whoever uses them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from openhailo.bus.chardev import CharDevice
from openhailo.bus.protocols import DeviceFile
from openhailo.bus.sysfs import list_functions
from openhailo.driver.kernel.calls import read_version
from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.kernel.resources import KernelOptions
from openhailo.errors import DeviceTimeout, OpenHailoError
from openhailo.spec.ioctl import RELEASES

from .machine import group_members, printable
from .tree import Tree

OpenFile = Callable[[str], DeviceFile]
_SYS_CLASS = "/sys/class/hailo_chardev"
#: Processes that are looked through for holders of a node.
_MAX_PROCESSES = 20_000
#: How long nodes may take: a soft reset and a load of the firmware have 5 s each (driver.md 2.4).
_ATTEMPTS, _INTERVAL_S = 75, 0.2


@dataclass(frozen=True)
class Holder:
    """A process that has a node open."""

    pid: int
    name: str


@dataclass(frozen=True)
class NodeReport:
    """What is known about one ``/dev/hailoN``.

    ``address`` is the PCI function behind it (empty where the driver does not say), ``version`` the driver's release,
    ``family`` its ABI family (empty: not one of those that openhailo knows). ``firmware_runs`` is None when the node
    was not, or could not be asked; ``problem`` says why. ``holders`` are the processes that we may see.
    """

    path: str
    address: str = ""
    version: str = ""
    family: str = ""
    firmware_runs: bool | None = None
    problem: str = ""
    holders: tuple[Holder, ...] = ()

    @property
    def supported(self) -> bool:
        """Tell whether openhailo speaks this release's language."""
        return bool(self.family)


def family_of(version: str) -> str:
    """Return the ABI family of a release (driver.md 0): A, B, C or D; empty for others."""
    release = RELEASES.get(version)
    return release.family if release else ""


def report_node(tree: Tree, number: int, open_file: OpenFile | None = CharDevice) -> NodeReport:
    """Ask a node who it is, through an open that claims nothing; with ``open_file=None`` only files are read."""
    path, name = f"/dev/hailo{number}", f"hailo{number}"
    address = printable(tree.text(f"{_SYS_CLASS}/{name}/board_location").strip())
    version = printable(tree.text("/sys/module/hailo_pci/version").strip())
    runs, problem = None, ""
    if open_file is not None:
        try:
            version, runs = _ask(open_file(path))
        except OpenHailoError as error:
            problem = str(error)
    holders = tuple(find_holders(tree, {path}))
    return NodeReport(path, address, version, family_of(version), runs, problem, holders)


def _ask(file: DeviceFile) -> tuple[str, bool | None]:
    """Return the release, and whether firmware runs; only the release of a driver that is not known."""
    found = ""
    try:
        found = ".".join(map(str, read_version(file)))
    finally:
        if found not in RELEASES:
            file.close()
    if found not in RELEASES:
        return found, None
    with KernelLink(file, options=KernelOptions(exclusive=False)) as link:
        return link.info.driver_version, link.is_firmware_loaded()


def find_holders(tree: Tree, paths: Collection[str]) -> list[Holder]:
    """Return the processes, other than this one, that have one of ``paths`` open; those of others only root sees."""
    pids = sorted(int(name) for name in tree.names("/proc") if name.isdecimal())[:_MAX_PROCESSES]
    users = [pid for pid in pids if pid != os.getpid() and _has_open(tree, pid, paths)]
    return [Holder(pid, printable(tree.text(f"/proc/{pid}/comm").strip())) for pid in users]


def _has_open(tree: Tree, pid: int, paths: Collection[str]) -> bool:
    return any(_link(tree.root / f"proc/{pid}/fd/{fd}") in paths for fd in tree.names(f"/proc/{pid}/fd"))


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


# --- verification ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One thing that was looked at after setting up."""

    what: str
    good: bool
    detail: str


def verify_nodes(
    tree: Tree,
    group: str,
    user: str,
    functions: int,
    *,
    open_file: OpenFile = CharDevice,
    pause: Callable[[float], None],
    attempts: int = _ATTEMPTS,
) -> list[Check]:
    """Wait for the nodes and their permissions, then ask each for its version.

    Later drivers probe in the background, and udev comes after. ``functions`` is how many cards PCI shows: none, and
    there is nothing to verify. ``pause`` waits in seconds between ``attempts``. Raises `DeviceTimeout` when no node
    comes.
    """
    if not functions:
        return [Check("card", True, "none is visible on PCI, so there is no node to look at")]
    checks = _patiently(lambda: _look_at_nodes(tree, group, user, functions), pause, attempts)
    numbers = _node_numbers(tree)
    if not numbers:
        budget_s = attempts * _INTERVAL_S
        raise DeviceTimeout(
            what="/dev/hailo0",
            budget_s=budget_s,
            elapsed_s=budget_s,
            hint="the kernel log (`journalctl -k -g hailo`) says why; docs/troubleshooting.md lists the usual reasons",
        )
    return checks + [_answer(report_node(tree, number, open_file)) for number in numbers]


def verify_vfio(
    tree: Tree, group: str, user: str, *, pause: Callable[[float], None], attempts: int = _ATTEMPTS // 5
) -> list[Check]:
    """Look at each card: whether vfio-pci has it, and who may open the node of its IOMMU group (udev may come late)."""
    return _patiently(lambda: _look_at_functions(tree, group, user), pause, attempts)


def _patiently(look: Callable[[], list[Check]], pause: Callable[[float], None], attempts: int) -> list[Check]:
    """Look until all is good, at most ``attempts`` times; return what was seen last."""
    checks = look()
    for _ in range(attempts - 1):
        if all(check.good for check in checks):
            break
        pause(_INTERVAL_S)
        checks = look()
    return checks


def _node_numbers(tree: Tree) -> list[int]:
    return sorted(int(n[5:]) for n in tree.names("/dev") if n.startswith("hailo") and n[5:].isdecimal())


def _look_at_nodes(tree: Tree, group: str, user: str, functions: int) -> list[Check]:
    numbers = _node_numbers(tree)
    count = Check("nodes", len(numbers) >= functions, f"{len(numbers)} for {functions} cards")
    return [count, *(_access(tree, f"/dev/hailo{number}", group, user) for number in numbers)]


def _answer(report: NodeReport) -> Check:
    runs = {True: "firmware runs", False: "no firmware runs: see the kernel log", None: "not asked"}
    family = f"family {report.family}" if report.family else "not supported"
    detail = report.problem or f"hailo_pci {report.version} ({family}), {runs[report.firmware_runs]}"
    return Check(f"answer of {report.path}", report.supported and report.firmware_runs is True, detail)


def _look_at_functions(tree: Tree, group: str, user: str) -> list[Check]:
    functions = list_functions(tree.root / "sys")
    checks = [] if functions else [Check("card", True, "none is visible on PCI, so there is no node to look at")]
    for function in functions:
        bound = function.driver == "vfio-pci"
        advice = "" if bound else f"; `openhailo bind vfio {function.address} --apply` changes it"
        checks.append(Check(f"driver of {function.address}", bound, f"{function.driver or 'none'}{advice}"))
        if bound:
            checks.append(_access(tree, f"/dev/vfio/{function.iommu_group}", group, user))
    return checks


def _access(tree: Tree, path: str, group: str, user: str) -> Check:
    """Tell whether group or user may read and write ``path``."""
    what = f"access to {path}"
    try:
        status = tree.locate(path).stat()
    except OSError as error:
        return Check(what, False, error.strerror or "it is not there")
    mode = stat.S_IMODE(status.st_mode)
    gid = _group_id(tree, group)
    members = group_members(tree, group) or []
    for_all = mode & 0o006 == 0o006
    for_group = mode & 0o060 == 0o060 and status.st_gid == gid and (not user or user in members)
    detail = f"mode {mode:04o}, group id {status.st_gid}, {group} is {'missing' if gid is None else gid}"
    return Check(what, for_all or for_group, detail)


def _group_id(tree: Tree, group: str) -> int | None:
    for line in tree.text("/etc/group").splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[0] == group and fields[2].isdecimal():
            return int(fields[2])
    return None
