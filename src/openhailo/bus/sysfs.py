"""PCI functions as the kernel lists them under ``/sys``; nothing here touches a device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from openhailo.spec.pci import PciIdentity

SYSFS = Path("/sys")
#: Flag of a memory range in the kernel's ``resource`` file.
_RESOURCE_MEMORY = 0x200
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass(frozen=True)
class PciFunctionInfo:
    """One PCI function. Text fields are empty and numbers None where the kernel does not say.

    ``driver`` is the bound kernel driver; ``numa_node`` is None when the platform has one node; ``link_speed`` reads
    like ``"8.0 GT/s PCIe"``; ``power_state`` like ``"D3hot"``; ``bars`` maps index to (bus address, size in bytes).
    """

    address: str
    vendor_id: int
    device_id: int
    driver: str = ""
    iommu_group: int | None = None
    numa_node: int | None = None
    link_speed: str = ""
    link_width: int | None = None
    power_state: str = ""
    bars: tuple[tuple[int, int, int], ...] = ()


def list_functions(root: Path = SYSFS, identity: PciIdentity | None = None) -> list[PciFunctionInfo]:
    """Return the functions with the chip's ids under ``root``, sorted by address; a missing folder means none."""
    identity = identity or PciIdentity()
    folder = root / "bus" / "pci" / "devices"
    if not folder.is_dir():
        return []
    entries = sorted(entry for entry in folder.iterdir() if _ADDRESS.fullmatch(entry.name))
    wanted = (identity.vendor_id, identity.device_id)
    return [_describe(e) for e in entries if (_number(e / "vendor"), _number(e / "device")) == wanted]


def find_function(address: str, root: Path = SYSFS) -> PciFunctionInfo | None:
    """Return the function at ``address``, whatever it is; None when there is none."""
    entry = root / "bus" / "pci" / "devices" / address
    return _describe(entry) if is_address(address) and entry.is_dir() else None


def group_members(function: PciFunctionInfo, root: Path = SYSFS) -> list[PciFunctionInfo]:
    """Return every function in the same IOMMU group, itself included; none where there is no IOMMU."""
    folder = root / "bus" / "pci" / "devices" / function.address / "iommu_group" / "devices"
    if not folder.is_dir():
        return []
    return [_describe(root / "bus" / "pci" / "devices" / entry.name) for entry in sorted(folder.iterdir())]


def memory_windows(root: Path = SYSFS) -> list[tuple[int, int]]:
    """Return (bus address, size in bytes) of all memory BARs and bridge windows of the machine."""
    found = []
    for path in sorted((root / "bus" / "pci" / "devices").glob("*/resource")):
        for line in _text(path).splitlines():
            numbers = [_parse_number(word) or 0 for word in line.split()]
            if len(numbers) == 3 and numbers[1] > numbers[0] and numbers[2] & _RESOURCE_MEMORY:
                found.append((numbers[0], numbers[1] - numbers[0] + 1))
    return found


def is_address(text: str) -> bool:
    """Tell whether ``text`` is a full PCI address such as ``0001:01:00.0``."""
    return _ADDRESS.fullmatch(text) is not None


def _describe(entry: Path) -> PciFunctionInfo:
    numa_node = _number(entry / "numa_node")
    return PciFunctionInfo(
        address=entry.name,
        vendor_id=_number(entry / "vendor") or 0,
        device_id=_number(entry / "device") or 0,
        driver=_link_name(entry / "driver"),
        iommu_group=_parse_number(_link_name(entry / "iommu_group")),
        numa_node=None if numa_node is None or numa_node < 0 else numa_node,
        link_speed=_text(entry / "current_link_speed"),
        link_width=_number(entry / "current_link_width"),
        power_state=_text(entry / "power_state"),
        bars=_bars(_text(entry / "resource")),
    )


def _bars(text: str) -> tuple[tuple[int, int, int], ...]:
    """Parse the kernel's ``resource`` file: one line "start end flags" per BAR; unused lines are zero."""
    found: list[tuple[int, int, int]] = []
    for index, line in enumerate(text.splitlines()[:6]):
        words = line.split()
        start, end = (_parse_number(words[0]), _parse_number(words[1])) if len(words) == 3 else (None, None)
        if start is not None and end is not None and end > start:
            found.append((index, start, end - start + 1))
    return tuple(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    return _parse_number(_text(path))


def _parse_number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _link_name(path: Path) -> str:
    return path.readlink().name if path.is_symlink() else ""
