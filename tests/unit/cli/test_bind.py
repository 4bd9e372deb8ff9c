"""`openhailo bind`: what it prints, and that it does nothing without --apply."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from openhailo.cli.main import app
from openhailo.errors import DeviceError

ADDRESS = "0000:01:00.0"


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A bus with one card that the kernel driver has."""
    devices, drivers = tmp_path / "bus/pci/devices", tmp_path / "bus/pci/drivers"
    folder, group = devices / ADDRESS, tmp_path / "kernel/iommu_groups/7"
    for path in (folder, drivers / "hailo", drivers / "vfio-pci", group / "devices"):
        path.mkdir(parents=True)
    (folder / "vendor").write_text("0x1e60\n")
    (folder / "device").write_text("0x2864\n")
    (folder / "driver").symlink_to(drivers / "hailo")
    (folder / "iommu_group").symlink_to(group)
    return tmp_path


def run(sysfs: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["bind", *arguments, "--sysfs", str(sysfs)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_without_apply_it_only_shows(sysfs: Path) -> None:
    before = sorted(sysfs.rglob("*"))
    said = run(sysfs, "vfio", ADDRESS)
    assert said.startswith(f"{ADDRESS}: driver hailo, IOMMU group 7\n")
    folder = sysfs / "bus/pci/devices" / ADDRESS
    lines = [line.strip() for line in said.splitlines()]
    writes = [
        f"echo vfio-pci > {folder}/driver_override",
        f"echo {ADDRESS} > {sysfs}/bus/pci/drivers/hailo/unbind",
        f"echo {ADDRESS} > {sysfs}/bus/pci/drivers_probe",
    ]
    places = [lines.index(write) for write in writes]
    assert places == sorted(places)
    assert all(lines[place + 1].startswith("# ") for place in places)
    back = lines[lines.index("The way back:") :]
    assert f"echo '' > {folder}/driver_override" in back
    assert sorted(sysfs.rglob("*")) == before


def test_nothing_to_do(sysfs: Path) -> None:
    said = run(sysfs, "kernel")
    assert "Nothing to do." in said and "echo" not in said


def test_problems_are_shown_and_keep_it_from_being_done(sysfs: Path) -> None:
    (sysfs / "bus/pci/devices" / ADDRESS / "iommu_group").unlink()
    assert "PROBLEM: there is no IOMMU" in run(sysfs, "vfio")
    with pytest.raises(DeviceError, match="no IOMMU"):
        run(sysfs, "vfio", "--apply")


def test_as_json(sysfs: Path) -> None:
    data = json.loads(run(sysfs, "vfio", ADDRESS, "--json"))
    assert [write["text"] for write in data["writes"]] == ["vfio-pci", ADDRESS, ADDRESS]
    assert (data["target"], data["applied"], data["driver"]) == ("vfio", False, "hailo")
    assert data["problems"] == [] and len(data["undo"]) == 3


def test_done_already(sysfs: Path) -> None:
    data = json.loads(run(sysfs, "kernel", ADDRESS, "--json", "--apply"))
    assert data["writes"] == [] and data["applied"] is True
