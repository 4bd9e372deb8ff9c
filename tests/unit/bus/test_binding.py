"""Plans to change the driver of a function, and carrying them out, on a ``/sys`` of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from openhailo.bus.binding import Plan, apply, plan_binding
from openhailo.errors import AccessDenied, DeviceError, DeviceNotFound, InputError

ADDRESS = "0000:01:00.0"


class Sysfs:
    """A PCI bus as files, which acts on what is written like the kernel does."""

    def __init__(self, root: Path) -> None:
        self.root, self.devices, self.drivers = root, root / "bus/pci/devices", root / "bus/pci/drivers"
        self.devices.mkdir(parents=True)
        self.log: list[str] = []
        self.broken: set[str] = set()
        self.deaf = False
        (root / "bus/pci/drivers_probe").write_text("")
        for driver in ("vfio-pci", "pcieport"):
            self.add_driver(driver)

    def add_driver(self, name: str) -> None:
        (self.drivers / name).mkdir(parents=True)
        (self.drivers / name / "unbind").write_text("")

    def add(self, address: str = ADDRESS, driver: str = "", group: int | None = 4, device: int = 0x2864) -> None:
        folder = self.devices / address
        folder.mkdir()
        (folder / "vendor").write_text("0x1e60\n")
        (folder / "device").write_text(f"0x{device:04x}\n")
        (folder / "driver_override").write_text("(null)\n")
        if group is not None:
            members = self.root / "kernel/iommu_groups" / str(group) / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / address).symlink_to(folder)
            (folder / "iommu_group").symlink_to(members.parent)
        if driver:
            self.bind(address, driver)

    def bind(self, address: str, driver: str) -> None:
        if not (self.drivers / driver).is_dir():
            self.add_driver(driver)
        (self.devices / address / "driver").symlink_to(self.drivers / driver)

    def write(self, path: Path, text: str) -> None:
        """Do what the kernel does; ``hailo`` is the driver that wants the card when it is free to choose."""
        path = path.parent.resolve() / path.name
        self.log.append(f"{text.strip()!r} > {path.relative_to(self.root)}")
        if path.name in self.broken:
            raise PermissionError(13, "Permission denied")
        assert path.exists(), path
        if path.name == "unbind":
            assert (self.devices / text / "driver").resolve() == path.parent
            (self.devices / text / "driver").unlink()
        elif path.name == "drivers_probe" and not self.deaf and not (self.devices / text / "driver").is_symlink():
            wanted = (self.devices / text / "driver_override").read_text().strip()
            wanted = wanted if wanted not in ("", "(null)") else "hailo"
            if (self.drivers / wanted).is_dir():
                self.bind(text, wanted)
        elif path.name == "driver_override":
            path.write_text(text)

    def driver(self, address: str = ADDRESS) -> str:
        link = self.devices / address / "driver"
        return link.resolve().name if link.is_symlink() else ""

    def apply(self, plan: Plan) -> str:
        return apply(plan, self.root, write=self.write, uid=0).driver


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


def texts(plan: Plan) -> list[tuple[str, str]]:
    return [("/".join(step.path.parts[-2:]), step.text) for step in plan.writes]


def test_from_the_kernel_driver_to_vfio(sysfs: Sysfs) -> None:
    sysfs.add(driver="hailo")
    plan = plan_binding("vfio", ADDRESS, sysfs.root)
    assert texts(plan) == [
        (f"{ADDRESS}/driver_override", "vfio-pci"),
        ("hailo/unbind", ADDRESS),
        ("pci/drivers_probe", ADDRESS),
    ]
    assert plan.problems == () and all(step.meaning for step in plan.writes)
    assert sysfs.log == [] and sysfs.driver() == "hailo"
    assert sysfs.apply(plan) == "vfio-pci" == sysfs.driver()


@pytest.mark.parametrize("had", ["hailo", "vfio-pci", ""])
@pytest.mark.parametrize("target", ["vfio", "kernel", "none"])
def test_there_and_back(sysfs: Sysfs, had: str, target: str) -> None:
    sysfs.add_driver("hailo")
    sysfs.add(driver=had)
    plan = plan_binding(target, ADDRESS, sysfs.root)
    wanted = {"vfio": "vfio-pci", "kernel": "hailo", "none": ""}[target]
    assert plan.is_done == (had == wanted)
    assert sysfs.apply(plan) == wanted
    assert plan_binding(target, ADDRESS, sysfs.root).is_done
    for step in plan.undo:
        sysfs.write(step.path, step.text)
    assert sysfs.driver() == had


def test_without_its_module_nobody_takes_it(sysfs: Sysfs) -> None:
    sysfs.add(driver="vfio-pci")
    plan = plan_binding("kernel", ADDRESS, sysfs.root)
    assert sysfs.apply(plan) == ""
    assert any("modprobe hailo_pci" in note for note in plan.notes)


def test_the_only_card_needs_no_address(sysfs: Sysfs) -> None:
    with pytest.raises(DeviceNotFound, match="no Hailo-8"):
        plan_binding("vfio", "", sysfs.root)
    sysfs.add()
    assert plan_binding("vfio", "", sysfs.root).function.address == ADDRESS
    assert plan_binding("vfio", f"pci:{ADDRESS.upper()}", sysfs.root).function.address == ADDRESS
    sysfs.add("0000:02:00.0", group=5)
    with pytest.raises(InputError, match=r"which of 0000:01:00\.0, 0000:02:00\.0"):
        plan_binding("vfio", "", sysfs.root)


@pytest.mark.parametrize("address", ["1:0", "../../x", "0000:01:00.9", "0000:01:00.0/.."])
def test_addresses_that_are_none(sysfs: Sysfs, address: str) -> None:
    sysfs.add()
    with pytest.raises(InputError, match=r"is not like 0000:01:00\.0"):
        plan_binding("vfio", address, sysfs.root)


def test_other_cards_are_left_alone(sysfs: Sysfs) -> None:
    sysfs.add(device=0x1234)
    with pytest.raises(DeviceNotFound, match="it is left alone"):
        plan_binding("vfio", ADDRESS, sysfs.root)
    with pytest.raises(DeviceNotFound, match="openhailo devices"):
        plan_binding("vfio", "0000:09:00.0", sysfs.root)
    with pytest.raises(InputError, match="is not vfio, kernel or none"):
        plan_binding("uio", ADDRESS, sysfs.root)


@pytest.mark.parametrize(("now", "steps"), [("1\n", [("link/l0s_aspm", "0")]), ("0\n", []), (None, [])])
def test_the_link_is_kept_out_of_l0s(sysfs: Sysfs, now: str | None, steps: list[tuple[str, str]]) -> None:
    sysfs.add()
    if now is not None:
        (sysfs.devices / ADDRESS / "link").mkdir()
        (sysfs.devices / ADDRESS / "link/l0s_aspm").write_text(now)
    assert texts(plan_binding("vfio", ADDRESS, sysfs.root))[1:-1] == steps


# --- what stands in the way ------------------------------------------------------------------------------------------


def refuse(sysfs: Sysfs, words: str) -> None:
    plan = plan_binding("vfio", ADDRESS, sysfs.root)
    assert len(plan.problems) == 1 and words in plan.problems[0]
    with pytest.raises(DeviceError, match=words):
        sysfs.apply(plan)
    assert sysfs.log == []


def test_the_module_is_missing(sysfs: Sysfs) -> None:
    sysfs.add()
    (sysfs.drivers / "vfio-pci" / "unbind").unlink()
    (sysfs.drivers / "vfio-pci").rmdir()
    refuse(sysfs, "modprobe vfio-pci")


def test_no_iommu(sysfs: Sysfs) -> None:
    sysfs.add(group=None)
    refuse(sysfs, "there is no IOMMU")


@pytest.mark.parametrize(("text", "allowed"), [("Y\n", True), ("N\n", False)])
def test_no_iommu_is_no_problem_where_that_is_wanted(sysfs: Sysfs, text: str, allowed: bool) -> None:
    sysfs.add(group=None)
    (sysfs.root / "module/vfio/parameters").mkdir(parents=True)
    (sysfs.root / "module/vfio/parameters/enable_unsafe_noiommu_mode").write_text(text)
    plan = plan_binding("vfio", ADDRESS, sysfs.root)
    assert (plan.problems == ()) == allowed
    assert any("trusted-host" in note for note in plan.notes)


def test_others_in_the_group(sysfs: Sysfs) -> None:
    sysfs.add()
    sysfs.add("0000:01:00.1", driver="xhci_hcd", device=0x9999)
    sysfs.add("0000:00:1c.0", driver="pcieport", device=0x9998)
    refuse(sysfs, "has devices that the kernel uses: 0000:01:00.1")


def test_only_root(sysfs: Sysfs) -> None:
    sysfs.add()
    with pytest.raises(AccessDenied, match="sudo"):
        apply(plan_binding("vfio", ADDRESS, sysfs.root), sysfs.root, write=sysfs.write, uid=1000)
    assert sysfs.log == []


def test_a_write_that_fails_says_how_to_go_back(sysfs: Sysfs) -> None:
    sysfs.add(driver="hailo")
    sysfs.broken.add("unbind")
    with pytest.raises(DeviceError, match=rf"hailo/unbind failed: Permission denied.*bind kernel {ADDRESS} --apply"):
        sysfs.apply(plan_binding("vfio", ADDRESS, sysfs.root))


def test_writes_without_an_effect_are_noticed(sysfs: Sysfs) -> None:
    sysfs.add(driver="hailo")
    sysfs.deaf = True
    with pytest.raises(DeviceError, match=r"bound to no driver after all writes.*dmesg"):
        sysfs.apply(plan_binding("vfio", ADDRESS, sysfs.root))


def test_a_card_that_goes_meanwhile(sysfs: Sysfs) -> None:
    sysfs.add(driver="vfio-pci")
    plan = plan_binding("vfio", ADDRESS, sysfs.root)
    for path in sorted((sysfs.devices / ADDRESS).iterdir()):
        path.unlink()
    (sysfs.devices / ADDRESS).rmdir()
    with pytest.raises(DeviceError, match="gone from the bus"):
        sysfs.apply(plan)


def test_attributes_are_written_as_they_are(sysfs: Sysfs) -> None:
    """With the real system call: opened for writing only, which is all that ``unbind`` allows."""
    sysfs.add()
    (sysfs.devices / ADDRESS / "driver_override").chmod(0o200)
    with pytest.raises(DeviceError, match="bound to no driver"):
        apply(plan_binding("vfio", ADDRESS, sysfs.root), sysfs.root, uid=0)
    assert (sysfs.root / "bus/pci/drivers_probe").read_text() == ADDRESS
