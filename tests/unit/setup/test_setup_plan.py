"""What a plan says on each kind of machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.setup.computers import Computer

from openhailo.errors import InputError
from openhailo.setup import State, Step, plan_kernel, plan_vfio
from openhailo.setup.plan import header_packages
from openhailo.setup.steps import Command, Plan, PutFile

Make = Callable[[str], Computer]


def step_of(plan: Plan, name: str) -> Step:
    return next(step for step in plan.steps if step.name == name)


def commands(step: Step) -> list[tuple[str, ...]]:
    return [action.argv for action in step.actions if isinstance(action, Command)]


def files(step: Step) -> dict[str, str]:
    return {action.path: action.content.decode() for action in step.actions if isinstance(action, PutFile)}


HEADERS = {
    "debian12": ("linux-headers-amd64", "linux-headers-6.1.0-37-amd64"),
    "debian13": ("linux-headers-arm64", "linux-headers-6.12.41+deb13-arm64"),
    "raspberry": ("linux-headers-rpi-2712", "linux-headers-6.12.25+rpt-rpi-2712"),
}


def test_headers_follow_the_kernel_and_fit_the_running_one(computer: Computer) -> None:
    machine = computer.machine
    assert header_packages(machine, exact=True) == HEADERS[computer.kind]
    assert header_packages(machine, exact=False) == HEADERS[computer.kind][:1]


@pytest.mark.parametrize(
    ("kernel", "package"),
    [
        ("6.12.41+deb13-cloud-amd64", "linux-headers-cloud-amd64"),
        ("6.1.0-37-rt-amd64", "linux-headers-rt-amd64"),
        ("6.12.41+deb13-arm64-16k", "linux-headers-arm64-16k"),
        ("6.12.25+rpt-rpi-v8", "linux-headers-rpi-v8"),
        ("6.18.0-mine", ""),
    ],
)
def test_headers_of_other_flavours(make_computer: Make, kernel: str, package: str) -> None:
    from openhailo.setup import read_machine

    computer = make_computer("debian13")
    machine = read_machine(computer.tree, computer.platform, kernel)
    assert header_packages(machine, exact=False) == ((package,) if package else ())


def test_a_kernel_of_ones_own_needs_headers_by_hand(make_computer: Make, driver_tree: Path) -> None:
    computer = make_computer("debian13")
    computer.platform = type(computer.platform)("6.18.0-mine", "aarch64", 4096)
    step = step_of(
        plan_kernel(computer.machine, computer.request(driver_source=driver_tree), computer.tree), "packages"
    )
    assert step.state is State.BLOCKED
    assert "by hand" in step.note
    computer.put("lib/modules/6.18.0-mine/build/Makefile")
    step = step_of(
        plan_kernel(computer.machine, computer.request(driver_source=driver_tree), computer.tree), "packages"
    )
    assert commands(step)[-1][-1] == "dkms"


def test_the_whole_way_over_the_kernel_driver(computer: Computer, driver_tree: Path, firmware_file: Path) -> None:
    request = computer.request(driver_source=driver_tree, firmware=firmware_file, user="anna")
    plan = plan_kernel(computer.machine, request, computer.tree)
    assert [step.name for step in plan.open if step.name != "options"] == [
        "packages",
        "driver",
        "firmware",
        "group",
        "udev",
        "load",
    ]
    assert plan.blocked == []
    assert commands(step_of(plan, "packages")) == [
        ("apt-get", "update"),
        ("apt-get", "install", "--yes", "--no-install-recommends", "dkms", *HEADERS[computer.kind]),
    ]
    which = ("-m", "hailo_pci", "-v", "4.23.0")
    assert commands(step_of(plan, "driver")) == [
        ("dkms", "add", *which),
        ("dkms", "build", *which, "-k", computer.kernel),
        ("dkms", "install", *which, "-k", computer.kernel),
    ]
    assert commands(step_of(plan, "group")) == [
        ("groupadd", "--system", "hailo"),
        ("usermod", "--append", "--groups", "hailo", "anna"),
    ]
    (rule,) = files(step_of(plan, "udev")).values()
    assert rule.splitlines()[1:] == ['SUBSYSTEM=="hailo_chardev", GROUP="hailo", MODE="0660"']
    (firmware,) = step_of(plan, "firmware").actions
    assert isinstance(firmware, PutFile)
    assert (firmware.path, firmware.content) == ("/lib/firmware/hailo/hailo8_fw.bin", firmware_file.read_bytes())
    assert commands(step_of(plan, "load")) == [("modprobe", "hailo_pci")]


def test_the_generated_dkms_file_builds_the_modules_folder(make_computer: Make, driver_tree: Path) -> None:
    computer = make_computer("debian13")
    plan = plan_kernel(computer.machine, computer.request(driver_source=driver_tree), computer.tree)
    ((path, text),) = files(step_of(plan, "driver")).items()
    assert path == "/usr/src/hailo_pci-4.23.0/dkms.conf"
    assert 'PACKAGE_VERSION="4.23.0"' in text
    assert 'BUILT_MODULE_LOCATION[0]="linux/pcie"' in text
    assert "/build/linux/pcie modules" in text


def test_large_pages_limit_the_descriptors(make_computer: Make) -> None:
    computer = make_computer("raspberry")
    step = step_of(plan_kernel(computer.machine, computer.request(), computer.tree), "options")
    (text,) = files(step).values()
    assert text.splitlines()[-1] == "options hailo_pci force_desc_page_size=4096"
    small = make_computer("debian13")
    assert step_of(plan_kernel(small.machine, small.request(), small.tree), "options").state is State.SKIPPED


def test_a_card_that_reads_little_is_not_forced_to_large_descriptors(make_computer: Make) -> None:
    """MaxReadReq 256: a fault of the hardware limits the page to 256 (driver.md 6.4, 8.2 row 13)."""
    computer = make_computer("raspberry")
    config = bytearray(256)
    config[0x06], config[0x34] = 0x10, 0x40
    config[0x40] = 0x10
    config[0x49] = 1 << 4
    computer.add_card(config=bytes(config))
    request = computer.request()
    assert request.max_read_request_bytes == 256
    plan = plan_kernel(computer.machine, request, computer.tree)
    assert step_of(plan, "options").state is State.SKIPPED
    assert any("256 bytes" in text for text in plan.advice)


def test_what_only_root_sees_is_said(make_computer: Make) -> None:
    computer = make_computer("raspberry")
    computer.add_card(config=bytes(64))
    plan = plan_kernel(computer.machine, computer.request(), computer.tree)
    assert any("only root sees" in text for text in plan.advice)


def test_module_options_are_written_with_what_they_mean(make_computer: Make) -> None:
    computer = make_computer("debian12")
    request = computer.request(module_options=["no_power_mode=Y", "o_dbg=7"])
    (text,) = files(step_of(plan_kernel(computer.machine, request, computer.tree), "options")).values()
    assert text.splitlines()[-1] == "options hailo_pci no_power_mode=Y o_dbg=7"
    assert "D3hot" in text


def test_generation_3_is_added_to_the_end_of_the_configuration(make_computer: Make) -> None:
    computer = make_computer("raspberry")
    plan = plan_kernel(computer.machine, computer.request(pcie_gen3=True), computer.tree)
    (text,) = files(step_of(plan, "pcie-gen3")).values()
    assert text == "dtparam=audio=on\n[cm4]\notg_mode=1\n# openhailo setup\n[all]\ndtparam=pciex1_gen=3\n"
    assert not any("--pcie-gen3" in advice for advice in plan.advice)
    without = plan_kernel(computer.machine, computer.request(), computer.tree)
    assert step_of(without, "pcie-gen3").state is State.SKIPPED
    assert any("--pcie-gen3" in advice for advice in without.advice)


def test_generation_3_is_for_a_raspberry_pi_5_only(make_computer: Make) -> None:
    computer = make_computer("debian13")
    plan = plan_kernel(computer.machine, computer.request(pcie_gen3=True), computer.tree)
    assert step_of(plan, "pcie-gen3").state is State.BLOCKED


def test_without_driver_and_firmware_the_plan_says_what_to_bring(computer: Computer) -> None:
    plan = plan_kernel(computer.machine, computer.request(), computer.tree)
    assert [step.name for step in plan.blocked] == ["driver", "firmware"]
    assert "--driver-source" in plan.blocked[0].note
    assert "openhailo setup vfio" in plan.blocked[0].note
    assert "--firmware" in plan.blocked[1].note
    assert "$ dkms build -m hailo_pci -v VERSION" in plan.blocked[0].would
    assert plan.blocked[1].would[0].startswith("write /lib/firmware/hailo/hailo8_fw.bin")
    assert any("no Hailo card is visible" in advice for advice in plan.advice)


def test_a_module_that_came_with_the_kernel_is_taken_as_it_is(computer: Computer) -> None:
    computer.runner.driver_version = "4.20.0"
    computer.runner._put_module()
    machine = computer.machine
    assert (machine.module_version, machine.module_file.endswith("hailo_pci.ko")) == ((4, 20, 0), True)
    plan = plan_kernel(machine, computer.request(), computer.tree)
    assert step_of(plan, "packages").state is State.SKIPPED
    assert (step_of(plan, "driver").state, step_of(plan, "driver").note[:6]) == (State.DONE, "4.20.0")


@pytest.mark.parametrize(("version", "allowed"), [("5.1.0", False), ("4.24.0", True)])
def test_a_module_of_an_unknown_release(computer: Computer, version: str, allowed: bool) -> None:
    computer.runner.driver_version = version
    computer.runner._put_module()
    step = step_of(plan_kernel(computer.machine, computer.request(), computer.tree), "driver")
    assert (step.state, version in step.note) == (State.BLOCKED, True)
    request = computer.request(allow_unknown_driver=True)
    step = step_of(plan_kernel(computer.machine, request, computer.tree), "driver")
    assert step.state is (State.DONE if allowed else State.BLOCKED)
    assert plan_vfio(computer.machine, computer.request(way="vfio"), computer.tree).steps


def test_a_driver_is_no_business_of_vfio(computer: Computer, driver_tree: Path, firmware_file: Path) -> None:
    computer.runner.driver_version = "4.20.0"
    computer.runner._put_module()
    for wishes in ({"driver_source": driver_tree}, {"module_options": ["o_dbg=7"]}):
        with pytest.raises(InputError, match="needs no kernel driver"):
            computer.request(way="vfio", **wishes)
    assert computer.request(way="vfio", firmware=firmware_file).firmware.warnings == ()  # type: ignore[union-attr]
    assert computer.request(firmware=firmware_file).firmware.warnings  # type: ignore[union-attr]


def test_another_release_than_the_module_that_is_there_is_forced(computer: Computer, driver_tree: Path) -> None:
    computer.runner.driver_version = "4.20.0"
    computer.runner._put_module()
    plan = plan_kernel(computer.machine, computer.request(driver_source=driver_tree), computer.tree)
    assert commands(step_of(plan, "driver"))[-1][-1] == "--force"


def test_sources_that_are_there_but_unknown_to_dkms_are_not_overwritten(computer: Computer, driver_tree: Path) -> None:
    computer.put("usr/src/hailo_pci-4.23.0/mine.c", "mine")
    plan = plan_kernel(computer.machine, computer.request(driver_source=driver_tree), computer.tree)
    step = step_of(plan, "driver")
    assert (step.state, "remove it first" in step.note) == (State.BLOCKED, True)


def test_a_driver_that_dkms_knows_is_built_for_a_new_kernel(computer: Computer, driver_tree: Path) -> None:
    computer.runner.dkms(["add", "-m", "hailo_pci", "-v", "4.23.0"])
    computer.put("usr/src/hailo_pci-4.23.0/dkms.conf", "")
    step = step_of(plan_kernel(computer.machine, computer.request(driver_source=driver_tree), computer.tree), "driver")
    assert [call[1] for call in commands(step)] == ["build", "install"]
    assert step.actions[-1].undo[:2] == ("dkms", "unbuild")  # type: ignore[union-attr]


def test_secure_boot_and_lockdown_are_noticed(make_computer: Make) -> None:
    computer = make_computer("debian13")
    variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    computer.put(variable, b"\x06\0\0\0\1")
    computer.put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    machine = computer.machine
    assert (machine.secure_boot, machine.lockdown) == (True, "integrity")
    assert any("mokutil" in advice for advice in plan_kernel(machine, computer.request(), computer.tree).advice)
    computer.put(variable, b"\x06\0\0\0\0")
    machine = computer.machine
    assert machine.secure_boot is False
    assert any("locked down" in advice for advice in plan_kernel(machine, computer.request(), computer.tree).advice)


# --- systems that setup does not know -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ubuntu", "debian11", "nothing"])
def test_other_systems_are_refused_with_advice(make_computer: Make, kind: str) -> None:
    computer = make_computer(kind)
    for plan in (plan_kernel, plan_vfio):
        with pytest.raises(InputError, match=r"Debian 12 and 13 and Raspberry Pi OS.*twin"):
            plan(computer.machine, computer.request(), computer.tree)


def test_a_32_bit_system_on_a_64_bit_kernel_is_refused(make_computer: Make) -> None:
    computer = make_computer("raspberry")
    status = computer.root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("arm64", "armhf"))
    with pytest.raises(InputError, match="64-bit"):
        plan_kernel(computer.machine, computer.request(), computer.tree)


def test_a_system_without_a_file_about_itself(tmp_path: Path) -> None:
    from openhailo.setup import Platform, Tree, read_machine

    machine = read_machine(Tree(tmp_path), Platform("6.1.0-1-amd64", "x86_64", 4096))
    assert machine.distribution.name == "an unknown system"
    with pytest.raises(InputError, match="an unknown system"):
        plan_vfio(machine, None, Tree(tmp_path))  # type: ignore[arg-type]


# --- without the vendor's driver --------------------------------------------------------------------------------------


def test_the_way_over_vfio(computer: Computer, firmware_file: Path) -> None:
    computer.add_card(driver="hailo", group=7)
    plan = plan_vfio(computer.machine, computer.request(firmware=firmware_file, user="anna"), computer.tree)
    assert plan.blocked == []
    text = {path: text for step in plan.steps if step.name != "firmware" for path, text in files(step).items()}
    assert {path: body.splitlines()[-1] for path, body in text.items()} == {
        "/etc/udev/rules.d/60-openhailo-vfio.rules": ('SUBSYSTEM=="misc", KERNEL=="iommu", GROUP="hailo", MODE="0660"'),
        "/etc/security/limits.d/openhailo.conf": "@hailo - memlock 2097152",
        "/etc/modules-load.d/openhailo-vfio.conf": "vfio-pci",
        "/etc/modprobe.d/openhailo-vfio.conf": "softdep hailo_pci pre: vfio-pci",
    }
    ids = 'ATTRS{vendor}=="0x1e60", ATTRS{device}=="0x2864"'
    assert (
        f'SUBSYSTEM=="vfio-dev", {ids}, GROUP="hailo", MODE="0660"' in text["/etc/udev/rules.d/60-openhailo-vfio.rules"]
    )
    assert "options vfio-pci ids=1e60:2864" in text["/etc/modprobe.d/openhailo-vfio.conf"]
    bind = step_of(plan, "bind")
    assert (bind.state, "openhailo bind vfio 0001:01:00.0 --apply" in bind.note) == (State.SKIPPED, True)
    assert bind.actions == ()


def test_without_an_iommu_vfio_is_blocked_and_says_what_to_do(computer: Computer) -> None:
    computer.add_card()
    plan = plan_vfio(computer.machine, computer.request(), computer.tree)
    assert "iommu" in [step.name for step in plan.blocked]
    assert "intel_iommu=on" in step_of(plan, "iommu").note
    assert any("Raspberry Pi 5" in text for text in plan.advice) is (computer.kind == "raspberry")


def test_a_card_outside_every_group_is_blocked_too(make_computer: Make) -> None:
    computer = make_computer("debian12")
    (computer.root / "sys/kernel/iommu_groups/1").mkdir(parents=True)
    computer.add_card()
    assert step_of(plan_vfio(computer.machine, computer.request(), computer.tree), "iommu").state is State.BLOCKED


def test_a_kernel_without_vfio_is_blocked(make_computer: Make) -> None:
    computer = make_computer("debian12")
    computer.put(f"lib/modules/{computer.kernel}/modules.dep", "")
    assert step_of(plan_vfio(computer.machine, computer.request(), computer.tree), "vfio-pci").state is State.BLOCKED
    computer.put(f"lib/modules/{computer.kernel}/modules.builtin", "kernel/drivers/vfio/pci/vfio-pci.ko\n")
    assert step_of(plan_vfio(computer.machine, computer.request(), computer.tree), "vfio-pci").state is State.DONE


def test_each_way_warns_of_the_other(make_computer: Make) -> None:
    computer = make_computer("debian12")
    computer.put("etc/modprobe.d/openhailo-vfio.conf", "")
    computer.add_card(driver="vfio-pci", group=1)
    plan = plan_kernel(computer.machine, computer.request(), computer.tree)
    assert any("vfio-pci at boot" in text for text in plan.warnings)
    assert any("openhailo bind kernel 0001:01:00.0 --apply" in text for text in plan.advice)


def test_another_root_is_prepared_without_touching_what_runs(computer: Computer, driver_tree: Path) -> None:
    request = computer.request(driver_source=driver_tree, live=False)
    assert step_of(plan_kernel(computer.machine, request, computer.tree), "load").state is State.SKIPPED
    vfio = plan_vfio(computer.machine, request, computer.tree)
    assert (step_of(vfio, "load").state, step_of(vfio, "iommu").state) == (State.SKIPPED, State.SKIPPED)


def test_rules_count_at_once_where_udev_runs(make_computer: Make) -> None:
    computer = make_computer("debian12")
    assert commands(step_of(plan_kernel(computer.machine, computer.request(), computer.tree), "udev")) == []
    computer.put("run/udev/control")
    step = step_of(plan_kernel(computer.machine, computer.request(), computer.tree), "udev")
    assert [call[1] for call in commands(step)] == ["control", "trigger"]
