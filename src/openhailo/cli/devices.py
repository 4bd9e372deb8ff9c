"""List what can be opened: kernel-driver nodes, PCI functions, twins; what each is, and the command that comes next."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openhailo.bus.chardev import CharDevice

from ._output import JsonOption, print_json, print_table

if TYPE_CHECKING:
    from openhailo.bus.sysfs import PciFunctionInfo
    from openhailo.setup import Tree
    from openhailo.setup.nodes import NodeReport, OpenFile

NAME = "devices"
#: Hailo-8, 8R and 8L have one PCI id (driver.md 1.1): only the firmware tells them apart.
_CHIP = "Hailo-8 or 8L"
_COLUMNS = ("name to open", "chip", "driver", "version", "state", "what to do")

Access = Callable[[str], bool]


@dataclass(frozen=True)
class Row:
    """One device. ``name`` is what `openhailo.open` takes; ``usable`` tells whether it does so right now.

    ``command`` is what comes next, with ``note`` saying what for.
    """

    name: str
    chip: str
    driver: str
    version: str
    state: str
    usable: bool
    command: str
    note: str = ""


def command(json: JsonOption = False) -> None:
    """Run `openhailo devices`."""
    from openhailo.setup import Tree

    rows = device_rows(Tree())
    if json:
        print_json(rows)
        return
    print_table("", _COLUMNS, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    action = f"{row.command}  ({row.note})" if row.note else row.command
    return row.name, row.chip, row.driver, row.version, row.state, action


def device_rows(tree: Tree, open_file: OpenFile | None = CharDevice, access: Access | None = None) -> list[Row]:
    """Return every device under ``tree``; nodes are asked through ``open_file`` (None: they are not).

    ``access`` tells whether a path may be opened for reading and writing.
    """
    from openhailo.bus.sysfs import list_functions
    from openhailo.setup.nodes import report_node

    may = access or (lambda path: os.access(tree.locate(path), os.R_OK | os.W_OK))
    numbers = sorted(int(name[5:]) for name in tree.names("/dev") if name.startswith("hailo") and name[5:].isdecimal())
    reports = [report_node(tree, number, open_file if may(f"/dev/hailo{number}") else None) for number in numbers]
    rows = [_node_row(report, may(report.path)) for report in reports]
    behind = {report.address: report.path for report in reports}
    rows += [_function_row(function, behind, tree, may) for function in list_functions(tree.root / "sys")]
    return [*rows, *_twin_rows()]


def _node_row(report: NodeReport, may_open: bool) -> Row:
    """Describe a node of the kernel driver."""
    name, version = f"kernel:{report.path}", report.version or "unknown"
    if report.supported:
        version = f"{version} (family {report.family})"
    state, action, note = _node_state(report, may_open)
    usable = not note and may_open
    state = f"{state}, card {report.address}" if report.address else state
    holders = ", ".join(f"{holder.name} ({holder.pid})" for holder in report.holders)
    state = f"{state}, used by {holders}" if holders else state
    return Row(name, _CHIP, "hailo_pci", version, state, usable, action, note)


def _node_state(report: NodeReport, may_open: bool) -> tuple[str, str, str]:
    """Return state, command, and what the command is for; no reason means that the device can be used."""
    identify = f"openhailo identify -d kernel:{report.path}"
    if not may_open:
        return "no access", "openhailo setup kernel", "gives you the right to open it"
    if report.problem:
        return "does not answer", "journalctl -k -g hailo", report.problem
    if not report.supported:
        if report.version.startswith("4."):
            return "unknown release", f"{identify} --allow-unknown-driver", "as the nearest older release, at your risk"
        return "not supported", "openhailo setup kernel", "install hailo_pci 4.17.0 to 4.23.0"
    if report.firmware_runs is False:
        return "no firmware runs", "openhailo setup kernel --firmware FILE", "the driver found no firmware file"
    return "ready", identify, ""


def _function_row(function: PciFunctionInfo, behind: Mapping[str, str], tree: Tree, may: Access) -> Row:
    """Describe a PCI function by the driver that has it."""
    state, action, note = _function_state(function, behind, tree, may)
    details = [text for text in (state, function.power_state, function.link_speed) if text]
    if function.link_width:
        details.append(f"x{function.link_width}")
    name = f"pci:{function.address}"
    version = tree.text("/sys/module/hailo_pci/version").strip() if function.driver == "hailo" else ""
    driver = function.driver or "none"
    return Row(name, _CHIP, driver, version or "-", ", ".join(details), not note, action, note)


def _function_state(
    function: PciFunctionInfo, behind: Mapping[str, str], tree: Tree, may: Access
) -> tuple[str, str, str]:
    bind = f"openhailo bind vfio {function.address} --apply"
    if function.driver == "vfio-pci":
        return _vfio_state(function, tree, may)
    if function.driver == "hailo":
        node = behind.get(function.address)
        state = f"behind {node}" if node else "with the kernel driver"
        return state, bind, "to use it without the kernel driver"
    if function.driver:
        return "with another driver", bind, "takes it away from that driver"
    if function.iommu_group is None:
        return "unbound, no IOMMU", "openhailo setup kernel", "or `openhailo setup vfio`, which says what is missing"
    return f"unbound, IOMMU group {function.iommu_group}", bind, "or `openhailo setup kernel` for the kernel driver"


def _vfio_state(function: PciFunctionInfo, tree: Tree, may: Access) -> tuple[str, str, str]:
    if any(tree.exists(node) and may(node) for node in _vfio_nodes(function, tree)):
        return f"ready, IOMMU group {function.iommu_group}", f"openhailo identify -d pci:{function.address}", ""
    if tree.exists(f"/dev/vfio/noiommu-{function.iommu_group}"):
        trusted = f"sudo openhailo identify -d pci:{function.address},trusted-host"
        return "without an IOMMU", trusted, "the card can then write all memory of this machine"
    return "no access", "openhailo setup vfio", "gives you the right to open it"


def _vfio_nodes(function: PciFunctionInfo, tree: Tree) -> list[str]:
    """The node of its group, and of the device itself where the kernel has iommufd; either will do."""
    devices = tree.names(f"/sys/bus/pci/devices/{function.address}/vfio-dev")
    return [f"/dev/vfio/{function.iommu_group}", *(f"/dev/vfio/devices/{name}" for name in devices)]


def _twin_rows() -> list[Row]:
    serve = "openhailo twin serve --socket PATH"
    return [
        Row("twin:", "virtual Hailo-8", "none", "-", "ready", True, "openhailo identify -d twin:"),
        Row("twin:hailo8l", "virtual Hailo-8L", "none", "-", "ready", True, "openhailo identify -d twin:hailo8l"),
        Row(
            "vfio-user:PATH",
            "virtual",
            "none",
            "-",
            "if it is served",
            False,
            serve,
            "in a process of its own; nothing lists sockets",
        ),
    ]
