"""Looking at nodes: every release of the virtual kernel driver, nodes that do not answer, holders, verification."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.setup.computers import BDF, Computer

from openhailo.errors import AccessDenied, DeviceTimeout
from openhailo.setup import Tree
from openhailo.setup.nodes import Holder, NodeReport, find_holders, report_node, verify_nodes, verify_vfio
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualDeviceFile, VirtualKernelDriver

Make = Callable[[str], Computer]
#: driver.md 0.
FAMILIES = {
    **dict.fromkeys(("4.17.0", "4.17.1"), "A"),
    **dict.fromkeys(("4.18.0", "4.19.0", "4.20.0", "4.20.1"), "B"),
    **dict.fromkeys(("4.21.0", "4.22.0"), "C"),
    "4.23.0": "D",
}


class Renamed:
    """A node whose driver says that it is another release."""

    def __init__(self, file: VirtualDeviceFile, version: tuple[int, int, int]) -> None:
        self._file, self._version, self.name, self.closed = file, version, file.name, False

    def ioctl(self, request: int, argument: bytearray) -> int:
        result = self._file.ioctl(request, argument)
        if request == 0x400C6702:
            argument[:] = struct.pack("<3I", *self._version)
        return result

    def mmap(self, length: int, offset: int) -> memoryview:
        return self._file.mmap(length, offset)

    def close(self) -> None:
        self.closed = True
        self._file.close()


@pytest.fixture
def make_driver() -> Iterator[Callable[..., VirtualKernelDriver]]:
    drivers: list[VirtualKernelDriver] = []

    def make(release: str = "4.23.0", **options: object) -> VirtualKernelDriver:
        drivers.append(VirtualKernelDriver(Twin(), release, **options))  # type: ignore[arg-type]
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "dev").mkdir()
    return Tree(tmp_path)


def test_every_release_is_known(make_driver: Callable[..., VirtualKernelDriver], tree: Tree) -> None:
    assert set(FAMILIES) == set(RELEASES)
    for release, family in FAMILIES.items():
        driver = make_driver(release)
        report = report_node(tree, 0, lambda path, driver=driver: driver.open())  # type: ignore[misc]
        assert report == NodeReport("/dev/hailo0", "", release, family, firmware_runs=True), release
        assert driver.files == []


def test_asking_claims_nothing(make_driver: Callable[..., VirtualKernelDriver], tree: Tree) -> None:
    """Whoever runs networks keeps the board, and nobody tells its firmware to stop (driver.md 8.1 row 33)."""
    driver = make_driver()
    owner = driver.open()
    claim = bytearray(1)
    owner.ioctl(0x4001760C, claim)
    assert report_node(tree, 0, lambda _: driver.open()).supported
    assert (bytes(claim), driver.owner) == (b"\0", owner)


def test_a_driver_without_firmware(make_driver: Callable[..., VirtualKernelDriver], tree: Tree) -> None:
    driver = make_driver("4.18.0", firmware_files={})
    report = report_node(tree, 0, lambda _: driver.open())
    assert (report.supported, report.firmware_runs, report.problem) == (True, False, "")


@pytest.mark.parametrize("version", [(4, 24, 0), (5, 1, 0), (4, 16, 0)])
def test_releases_that_are_not_known_are_asked_for_no_more_than_that(
    make_driver: Callable[..., VirtualKernelDriver], tree: Tree, version: tuple[int, int, int]
) -> None:
    file = Renamed(make_driver().open(), version)
    report = report_node(tree, 0, lambda _: file)
    assert (report.version, report.family, report.firmware_runs) == (".".join(map(str, version)), "", None)
    assert file.closed


def test_a_node_that_does_not_answer(tree: Tree) -> None:
    def denied(path: str) -> VirtualDeviceFile:
        raise AccessDenied(name=path, hint="be somebody else")

    report = report_node(tree, 3, denied)
    assert (report.path, report.supported, "be somebody else" in report.problem) == ("/dev/hailo3", False, True)

    class Broken:
        name, closed = "/dev/hailo3", False

        def ioctl(self, request: int, argument: bytearray) -> int:
            raise OSError(errno.EIO, "broken")

        def close(self) -> None:
            self.closed = True

    file = Broken()
    assert report_node(tree, 3, lambda _: file).problem != ""  # type: ignore[arg-type,return-value]
    assert file.closed


def test_what_files_say_when_a_node_is_not_opened(make_computer: Make) -> None:
    computer = make_computer("debian13")
    computer.put("sys/class/hailo_chardev/hailo1/board_location", "0001:01:00.0")
    computer.put("sys/module/hailo_pci/version", "4.21.0\n")
    report = report_node(computer.tree, 1, None)
    assert report == NodeReport("/dev/hailo1", "0001:01:00.0", "4.21.0", "C")


def test_who_has_a_node_open(make_computer: Make) -> None:
    computer = make_computer("debian13")
    for pid, name, target in ((7, "camera\x1b[2J\n", "/dev/hailo0"), (8, "shell\n", "/dev/pts/0"), (9, "gone", "")):
        computer.put(f"proc/{pid}/comm", name)
        folder = computer.root / f"proc/{pid}/fd"
        folder.mkdir()
        if target:
            (folder / "3").symlink_to(target)
    own = computer.root / f"proc/{os.getpid()}/fd"
    own.mkdir(parents=True)
    (own / "5").symlink_to("/dev/hailo0")
    assert find_holders(computer.tree, {"/dev/hailo0"}) == [Holder(7, "camera?[2J")]
    assert report_node(computer.tree, 0, None).holders == (Holder(7, "camera?[2J"),)


# --- verification ---------------------------------------------------------------------------------------------------


class Waits:
    """Counts pauses; after ``ready`` of them the node is there."""

    def __init__(self, computer: Computer, ready: int) -> None:
        self._computer, self._ready, self.count = computer, ready, 0

    def __call__(self, seconds: float) -> None:
        self.count += 1
        if self.count == self._ready:
            self._computer.put("dev/hailo0", mode=0o660)


def test_without_a_card_there_is_nothing_to_verify(make_computer: Make) -> None:
    (check,) = verify_nodes(make_computer("debian13").tree, "hailo", "anna", 0, pause=lambda _: None)
    assert check.good


def test_nodes_may_come_late(make_computer: Make, make_driver: Callable[..., VirtualKernelDriver]) -> None:
    computer, driver = make_computer("debian13"), make_driver()
    computer.runner.groupadd(["hailo"])
    computer.runner.usermod(["hailo", "anna"])
    waits = Waits(computer, 3)
    checks = verify_nodes(computer.tree, "hailo", "anna", 1, open_file=lambda _: driver.open(), pause=waits)
    assert [check.good for check in checks] == [True, True, True]
    assert waits.count == 3
    assert "4.23.0 (family D), firmware runs" in checks[-1].detail


def test_permissions_may_come_late(make_computer: Make, make_driver: Callable[..., VirtualKernelDriver]) -> None:
    """udev sets them after the kernel made the node."""
    computer, driver = make_computer("debian13"), make_driver()
    computer.runner.groupadd(["hailo"])
    node = computer.put("dev/hailo0", mode=0o600)
    checks = verify_nodes(
        computer.tree, "hailo", "", 1, open_file=lambda _: driver.open(), pause=lambda _: node.chmod(0o660)
    )
    assert all(check.good for check in checks)


def test_a_node_that_never_comes(make_computer: Make) -> None:
    with pytest.raises(DeviceTimeout, match="journalctl"):
        verify_nodes(make_computer("debian13").tree, "hailo", "", 1, pause=lambda _: None)


@pytest.mark.parametrize(
    ("mode", "member", "good"), [(0o666, False, True), (0o660, True, True), (0o660, False, False), (0o600, True, False)]
)
def test_access_of_the_user(
    make_computer: Make, make_driver: Callable[..., VirtualKernelDriver], mode: int, member: bool, good: bool
) -> None:
    computer, driver = make_computer("debian13"), make_driver()
    computer.runner.groupadd(["hailo"])
    if member:
        computer.runner.usermod(["hailo", "anna"])
    computer.put("dev/hailo0", mode=mode)
    checks = verify_nodes(computer.tree, "hailo", "anna", 1, open_file=lambda _: driver.open(), pause=lambda _: None)
    assert checks[1].good is good


def test_cards_for_vfio(make_computer: Make) -> None:
    computer = make_computer("debian13")
    assert [check.good for check in verify_vfio(computer.tree, "hailo", "anna", pause=lambda _: None)] == [True]
    computer.runner.groupadd(["hailo"])
    computer.runner.usermod(["hailo", "anna"])
    computer.add_card(driver="vfio-pci", group=4)
    checks = verify_vfio(computer.tree, "hailo", "anna", pause=lambda _: None)
    assert [(check.what, check.good) for check in checks] == [
        (f"driver of {BDF}", True),
        ("access to /dev/vfio/4", False),
    ]
    computer.put("dev/vfio/4", mode=0o660)
    assert all(check.good for check in verify_vfio(computer.tree, "hailo", "anna", pause=lambda _: None))
    (computer.root / "dev/vfio/4").chmod(0o600)
    assert [check.good for check in verify_vfio(computer.tree, "hailo", "anna", pause=lambda _: None)] == [True, False]
    computer.add_card("0001:02:00.0", driver="hailo")
    (*_, last) = verify_vfio(computer.tree, "hailo", "anna", pause=lambda _: None)
    assert (last.good, "openhailo bind vfio 0001:02:00.0 --apply" in last.detail) == (False, True)


def test_fewer_nodes_than_cards(make_computer: Make, make_driver: Callable[..., VirtualKernelDriver]) -> None:
    computer, driver = make_computer("debian13"), make_driver()
    computer.put("dev/hailo0", mode=0o666)
    checks = verify_nodes(computer.tree, "hailo", "", 2, open_file=lambda _: driver.open(), pause=lambda _: None)
    assert (checks[0].good, checks[0].detail) == (False, "1 for 2 cards")
