"""`openhailo devices`: every state a device can be in, and the command that comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.setup.computers import BDF, Computer, build_computer

from openhailo.cli.devices import Row, device_rows
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return build_computer(tmp_path / "machine", "debian13")


@pytest.fixture
def make_driver() -> Iterator[Callable[..., VirtualKernelDriver]]:
    drivers: list[VirtualKernelDriver] = []

    def make(release: str = "4.23.0", **options: object) -> VirtualKernelDriver:
        drivers.append(VirtualKernelDriver(Twin(), release, **options))  # type: ignore[arg-type]
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


def row(computer: Computer, name: str, **options: object) -> Row:
    rows = device_rows(computer.tree, **({"open_file": None} | options))  # type: ignore[arg-type]
    (found,) = [row for row in rows if row.name == name]
    return found


def test_without_a_card_there_are_the_twins(computer: Computer) -> None:
    rows = device_rows(computer.tree, None)
    assert [row.name for row in rows] == ["twin:", "twin:hailo8l", "vfio-user:PATH"]
    assert [row.usable for row in rows] == [True, True, False]


def test_a_node_that_is_ready(computer: Computer, make_driver: Callable[..., VirtualKernelDriver]) -> None:
    driver = make_driver("4.20.1")
    computer.put("dev/hailo0", mode=0o666)
    computer.put("sys/class/hailo_chardev/hailo0/board_location", BDF)
    computer.add_card(driver="hailo")
    found = row(computer, "kernel:/dev/hailo0", open_file=lambda _: driver.open())
    assert (found.version, found.state, found.usable) == ("4.20.1 (family B)", f"ready, card {BDF}", True)
    assert found.command == "openhailo identify -d kernel:/dev/hailo0"
    function = row(computer, f"pci:{BDF}")
    assert (function.state, function.usable) == ("behind /dev/hailo0", False)
    assert function.command == f"openhailo bind vfio {BDF} --apply"


def test_a_node_without_firmware(computer: Computer, make_driver: Callable[..., VirtualKernelDriver]) -> None:
    driver = make_driver("4.17.1", firmware_files={})
    computer.put("dev/hailo0", mode=0o666)
    found = row(computer, "kernel:/dev/hailo0", open_file=lambda _: driver.open())
    assert (found.state, found.usable) == ("no firmware runs", False)
    assert "--firmware" in found.command


def test_a_node_that_we_may_not_open_is_not_asked(computer: Computer) -> None:
    computer.put("dev/hailo0")
    computer.put("sys/module/hailo_pci/version", "4.23.0\n")

    def ask(path: str) -> object:
        raise AssertionError(path)

    found = row(computer, "kernel:/dev/hailo0", open_file=ask, access=lambda path: False)
    assert (found.state, found.version, found.usable) == ("no access", "4.23.0 (family D)", False)
    assert found.command == "openhailo setup kernel"


@pytest.mark.parametrize(
    ("version", "state", "command"),
    [
        ("4.24.0", "unknown release", "openhailo identify -d kernel:/dev/hailo0 --allow-unknown-driver"),
        ("5.1.0", "not supported", "openhailo setup kernel"),
        ("", "not supported", "openhailo setup kernel"),
    ],
)
def test_releases_that_are_not_known(computer: Computer, version: str, state: str, command: str) -> None:
    computer.put("dev/hailo0")
    computer.put("sys/module/hailo_pci/version", version)
    found = row(computer, "kernel:/dev/hailo0", access=lambda path: True)
    assert (found.state, found.command, found.usable) == (state, command, False)


def test_a_node_in_use_names_who_uses_it(computer: Computer) -> None:
    computer.put("dev/hailo0")
    computer.put("sys/module/hailo_pci/version", "4.23.0")
    computer.put("proc/77/comm", "camera\n")
    (computer.root / "proc/77/fd").mkdir()
    (computer.root / "proc/77/fd/3").symlink_to("/dev/hailo0")
    assert row(computer, "kernel:/dev/hailo0", access=lambda path: True).state == "ready, used by camera (77)"


def test_a_function_for_vfio(computer: Computer) -> None:
    computer.add_card(driver="vfio-pci", group=9)
    allowed = {"/dev/vfio/9": False, "/dev/vfio/devices/vfio0": False}
    computer.put("dev/vfio/9")
    found = row(computer, f"pci:{BDF}", access=lambda path: allowed[path])
    assert (found.state, found.command, found.usable) == ("no access", "openhailo setup vfio", False)
    allowed["/dev/vfio/9"] = True
    found = row(computer, f"pci:{BDF}", access=lambda path: allowed[path])
    assert (found.state, found.command) == ("ready, IOMMU group 9", f"openhailo identify -d pci:{BDF}")
    assert found.usable
    allowed["/dev/vfio/9"] = False
    computer.put(f"sys/bus/pci/devices/{BDF}/vfio-dev/vfio0/dev")
    computer.put("dev/vfio/devices/vfio0")
    allowed["/dev/vfio/devices/vfio0"] = True
    assert row(computer, f"pci:{BDF}", access=lambda path: allowed[path]).usable


def test_a_function_for_vfio_without_an_iommu(computer: Computer) -> None:
    computer.add_card(driver="vfio-pci", group=2)
    computer.put("dev/vfio/noiommu-2")
    found = row(computer, f"pci:{BDF}", access=lambda path: True)
    assert (found.state, found.usable) == ("without an IOMMU", False)
    assert found.command == f"sudo openhailo identify -d pci:{BDF},trusted-host"


@pytest.mark.parametrize(
    ("driver", "group", "state", "command"),
    [
        ("", 3, "unbound, IOMMU group 3", f"openhailo bind vfio {BDF} --apply"),
        ("", None, "unbound, no IOMMU", "openhailo setup kernel"),
        ("hailo", None, "with the kernel driver", f"openhailo bind vfio {BDF} --apply"),
        ("pci-stub", 3, "with another driver", f"openhailo bind vfio {BDF} --apply"),
    ],
)
def test_functions_by_their_driver(
    computer: Computer, driver: str, group: int | None, state: str, command: str
) -> None:
    computer.add_card(driver=driver, group=group)
    computer.put(f"sys/bus/pci/devices/{BDF}/power_state", "D3hot\n")
    computer.put(f"sys/bus/pci/devices/{BDF}/current_link_speed", "8.0 GT/s PCIe\n")
    computer.put(f"sys/bus/pci/devices/{BDF}/current_link_width", "4\n")
    found = row(computer, f"pci:{BDF}")
    assert (found.state, found.command) == (f"{state}, D3hot, 8.0 GT/s PCIe, x4", command)
    assert (found.driver, found.usable) == (driver or "none", False)


def test_odd_names_in_dev_are_no_nodes(computer: Computer) -> None:
    for name in ("hailo", "hailox", "hailo-1", "hailo1x"):
        computer.put(f"dev/{name}")
    assert all(row.name.startswith(("twin:", "vfio-user:")) for row in device_rows(computer.tree, None))
