"""List what can be opened: PCI functions with the chip's id, kernel-driver nodes, twins."""

from __future__ import annotations

from pathlib import Path

from ._output import JsonOption, print_json, print_table

NAME = "devices"


def command(json: JsonOption = False) -> None:
    """Run `openhailo devices`."""
    rows = [*_pci_rows(), *_node_rows(), *_twin_rows()]
    if json:
        print_json(rows)
        return
    print_table("", ("name", "kind", "state", "what can be done"), [tuple(row.values()) for row in rows])


def _row(name: str, kind: str, state: str, use: str) -> dict[str, str]:
    return {"name": name, "kind": kind, "state": state, "use": use}


def _pci_rows() -> list[dict[str, str]]:
    from openhailo.bus.registry import schemes
    from openhailo.bus.sysfs import list_functions

    usable = "pci" in schemes()
    rows = []
    for function in list_functions():
        state = ", ".join(
            text
            for text in (function.driver and f"driver {function.driver}", function.power_state, function.link_speed)
            if text
        )
        use = "open it" if usable else "seen only: this version has no backend for real PCI functions yet"
        rows.append(_row(f"pci:{function.address}", "PCI function", state or "no driver bound", use))
    return rows


def _node_rows(folder: Path = Path("/dev")) -> list[dict[str, str]]:
    from openhailo.bus.registry import schemes

    use = "open it" if "kernel" in schemes() else "seen only: this version has no backend for the kernel driver yet"
    return [
        _row(f"kernel:{node}", "kernel driver", _driver_version(), use) for node in sorted(folder.glob("hailo[0-9]*"))
    ]


def _driver_version(path: Path = Path("/sys/module/hailo_pci/version")) -> str:
    try:
        return f"hailo_pci {path.read_text(encoding='ascii').strip()}"
    except OSError:
        return "hailo_pci, version unknown"


def _twin_rows() -> list[dict[str, str]]:
    return [
        _row("twin:", "virtual Hailo-8", "ready", "open it"),
        _row("twin:hailo8l", "virtual Hailo-8L", "ready", "open it"),
    ]
