"""Enumeration under a made-up sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from openhailo.bus import sysfs
from openhailo.bus.sysfs import is_address, list_functions

RESOURCE = """0x0000000600000000 0x0000000600003fff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000000600008000 0x0000000600008fff 0x000000000014220c
garbage
0x0000000600004000 0x0000000600007fff 0x000000000014220c
"""


def add(root: Path, address: str, **files: str) -> Path:
    folder = root / "bus/pci/devices" / address
    folder.mkdir(parents=True)
    for name, text in ({"vendor": "0x1e60", "device": "0x2864"} | files).items():
        (folder / name).write_text(text + "\n", encoding="ascii")
    return folder


def test_a_full_entry(tmp_path: Path) -> None:
    folder = add(
        tmp_path, "0001:01:00.0", numa_node="1", current_link_speed="8.0 GT/s PCIe", current_link_width="4",
        power_state="D3hot", resource=RESOURCE,
    )  # fmt: skip
    for name, target in (("driver", "hailo"), ("iommu_group", "17")):
        (tmp_path / target).mkdir()
        (folder / name).symlink_to(tmp_path / target)
    (found,) = list_functions(tmp_path)
    assert (found.address, found.vendor_id, found.device_id) == ("0001:01:00.0", 0x1E60, 0x2864)
    assert (found.driver, found.iommu_group, found.numa_node) == ("hailo", 17, 1)
    assert (found.link_speed, found.link_width, found.power_state) == ("8.0 GT/s PCIe", 4, "D3hot")
    assert found.bars == ((0, 0x600000000, 0x4000), (2, 0x600008000, 0x1000), (4, 0x600004000, 0x4000))


def test_a_bare_entry(tmp_path: Path) -> None:
    add(tmp_path, "0000:01:00.0", numa_node="-1", resource="")
    (found,) = list_functions(tmp_path)
    assert (found.driver, found.iommu_group, found.numa_node, found.link_width, found.bars) == (
        "",
        None,
        None,
        None,
        (),
    )


def test_other_devices_and_strange_names_are_left_out(tmp_path: Path) -> None:
    add(tmp_path, "0000:02:00.0")
    add(tmp_path, "0000:01:00.0")
    add(tmp_path, "0000:03:00.0", device="0x45c4")
    add(tmp_path, "0000:04:00.0", vendor="nonsense")
    add(tmp_path, "not-an-address")
    assert [f.address for f in list_functions(tmp_path)] == ["0000:01:00.0", "0000:02:00.0"]


def test_no_pci_at_all(tmp_path: Path) -> None:
    assert list_functions(tmp_path) == []


@pytest.mark.parametrize(("text", "valid"), [
    ("0000:01:00.0", True), ("10000:e1:00.0", True), ("01:00.0", False), ("0000:01:00.8", False), ("../x", False),
])  # fmt: skip
def test_addresses(text: str, valid: bool) -> None:
    assert is_address(text) is valid


# --- what VFIO asks --------------------------------------------------------------------------------------------------


def test_functions_by_address_groups_and_windows(tmp_path):
    devices, group = tmp_path / "bus/pci/devices", tmp_path / "kernel/iommu_groups/9"
    resources = {
        "0000:00:1c.0": "0x0 0x0 0x0\n" * 7 + "0xe000 0xefff 0x101\n0xfe000000 0xfe0fffff 0x200\n",
        "0000:01:00.0": "0xfe000000 0xfe003fff 0x14220c\nnonsense\n0x5 0x4 0x200\n",
        "0000:02:00.0": "",
    }
    for address, text in resources.items():
        (devices / address).mkdir(parents=True)
        (devices / address / "vendor").write_text("0x8086\n")
        (devices / address / "resource").write_text(text)
        if not address.startswith("0000:02"):
            (group / "devices").mkdir(parents=True, exist_ok=True)
            (group / "devices" / address).symlink_to(devices / address)
            (devices / address / "iommu_group").symlink_to(group)
    found = sysfs.find_function("0000:01:00.0", tmp_path)
    assert found is not None and (found.vendor_id, found.iommu_group) == (0x8086, 9)
    assert [member.address for member in sysfs.group_members(found, tmp_path)] == ["0000:00:1c.0", "0000:01:00.0"]
    alone = sysfs.find_function("0000:02:00.0", tmp_path)
    assert alone is not None and sysfs.group_members(alone, tmp_path) == []
    assert sysfs.find_function("0000:03:00.0", tmp_path) is None
    assert sysfs.find_function("../devices", tmp_path) is None
    assert sysfs.memory_windows(tmp_path) == [(0xFE000000, 0x100000), (0xFE000000, 0x4000)]
    assert sysfs.memory_windows(tmp_path / "none") == []
