"""From what the user typed to a checked request: names, paths, files. Reads; changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openhailo.driver.pci_config import max_read_request_bytes
from openhailo.errors import DeviceLost, InputError, OpenHailoError

from .firmware import TARGET, FirmwareFile, load_firmware, require_file
from .machine import Machine
from .parameters import parse_options
from .plan import Request
from .run import Runner
from .source import DriverPackage, DriverTree, read_package, read_tree, require_architecture, require_release
from .tree import Tree

#: What `groupadd` and `useradd` take; anything else in a rule or a command could mean something else.
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
#: Configuration space that everybody may read; capabilities lie behind it.
_HEADER_BYTES = 64


@dataclass(frozen=True)
class Wishes:
    """The options of the command as typed; ``way`` is "kernel" or "vfio"."""

    way: str = "kernel"
    user: str = ""
    group: str = "hailo"
    driver_source: Path | None = None
    driver_package: Path | None = None
    firmware: Path | None = None
    module_options: Sequence[str] = ()
    pcie_gen3: bool = False
    allow_unknown_driver: bool = False
    live: bool = True


def build_request(wishes: Wishes, machine: Machine, tree: Tree, runner: Runner) -> Request:
    """Check the wishes against the machine. Raises `InputError`, `BadImage`, `VersionUnsupported`."""
    _require_name("group", wishes.group)
    if wishes.user:
        _require_name("user", wishes.user)
        if wishes.user not in machine.users:
            raise InputError(what=f"user {wishes.user}", detail="not in /etc/passwd; --user '' leaves this out")
    if wishes.way != "kernel" and (wishes.driver_source or wishes.driver_package or wishes.module_options):
        raise InputError(what=wishes.way, detail="needs no kernel driver: leave driver and module options out")
    driver = _read_driver(wishes, machine, runner)
    if driver is not None:
        require_release(driver.version, allow_unknown=wishes.allow_unknown_driver)
    version = driver.version if driver else machine.module_version if wishes.way == "kernel" else None
    firmware = load_firmware(require_file(wishes.firmware), version) if wishes.firmware else None
    return Request(
        user=wishes.user,
        group=wishes.group,
        driver=driver,
        firmware=firmware,
        present_firmware=_present(tree),
        module_options=parse_options(wishes.module_options, version),
        pcie_gen3=wishes.pcie_gen3,
        allow_unknown_driver=wishes.allow_unknown_driver,
        max_read_request_bytes=_smallest_read(machine, tree),
        live=wishes.live,
    )


def _require_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(what=f"{what} {name!r}", detail="small letters, digits, - and _ make a name")


def _read_driver(wishes: Wishes, machine: Machine, runner: Runner) -> DriverTree | DriverPackage | None:
    if wishes.driver_source and wishes.driver_package:
        raise InputError(what="driver", detail="give --driver-source or --driver-package, not both")
    if wishes.driver_source:
        return read_tree(wishes.driver_source)
    if wishes.driver_package:
        if not wishes.live:
            raise InputError(what="driver package", detail="for another root give the driver's tree, --driver-source")
        package = read_package(require_file(wishes.driver_package), runner)
        require_architecture(package, machine)
        return package
    return None


def _present(tree: Tree) -> FirmwareFile | None:
    """A file that is there and sound; a broken one is as good as none."""
    if not tree.exists(TARGET):
        return None
    try:
        return load_firmware(tree.locate(TARGET))
    except OpenHailoError:
        return None


# --- what the card says --------------------------------------------------------------------------------------------


class _Bytes:
    """Configuration space as bytes (`openhailo.bus.protocols.ConfigSpace`), for reading."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> int:
        """Return ``size`` bytes as a number; what is not there reads as ones."""
        piece = self._data[offset : offset + size]
        return int.from_bytes(piece.ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Refuse: nothing here writes to a card."""
        raise InputError(what="configuration space", detail="is read only here")


def _smallest_read(machine: Machine, tree: Tree) -> int:
    """Return the smallest maximum read request of all cards in bytes; 0 without a card, or without the right to see."""
    sizes = []
    for function in machine.functions:
        data = tree.read(f"/sys/bus/pci/devices/{function.address}/config") or b""
        if len(data) > _HEADER_BYTES:
            try:
                sizes.append(max_read_request_bytes(_Bytes(data)))
            except DeviceLost:  # asleep beyond the reach of configuration space
                continue
    return min(sizes, default=0)
