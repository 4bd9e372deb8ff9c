"""Odd names, links, files that lie: typed errors, and nothing is touched outside the root."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.setup.computers import Computer, build_driver_tree, build_firmware, snapshot

from openhailo.errors import BadImage, InputError, SetupFailed, VersionUnsupported
from openhailo.setup import Tree, apply_plan, plan_kernel
from openhailo.setup.firmware import load_firmware
from openhailo.setup.parameters import parse_options
from openhailo.setup.run import SystemRunner
from openhailo.setup.source import read_package, read_tree, require_architecture
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.firmware.image import build_placeholder_image

Make = Callable[[str], Computer]
NASTY = ["two words", "semi;colon", "$(touch pwned)", "`id`", "quote'", 'double"', "-rf", "ünïcode", "a&b|c>d"]


@pytest.mark.parametrize("name", NASTY)
def test_odd_paths_of_a_driver_stay_one_word(
    make_computer: Make, tmp_path: Path, firmware_file: Path, name: str
) -> None:
    computer = make_computer("debian13")
    folder = build_driver_tree(tmp_path / name)
    plan = plan_kernel(computer.machine, computer.request(driver_source=folder, firmware=firmware_file), computer.tree)
    lines = [line for step in plan.steps for action in step.actions for line in action.lines()]
    (copy,) = [line for line in lines if line.startswith("copy ")]
    assert shlex.split(copy)[1] == str(folder)
    list(apply_plan(plan, computer.tree, computer.runner))
    assert not any(name in word for call in computer.runner.calls for word in call)
    assert (computer.root / "usr/src/hailo_pci-4.23.0/common/hailo_ioctl_common.h").is_file()


@pytest.mark.parametrize("name", ["new\nline", "escape\x1b[2J", "bell\a", "rtl\u202e"])
def test_paths_that_would_steer_the_terminal_are_refused(make_computer: Make, tmp_path: Path, name: str) -> None:
    computer = make_computer("debian13")
    with pytest.raises(InputError, match="cannot be shown"):
        computer.request(driver_source=build_driver_tree(tmp_path / name))
    image = tmp_path / f"{name}.bin"
    image.write_bytes(build_firmware())
    with pytest.raises(InputError, match="cannot be shown"):
        computer.request(firmware=image)


@pytest.mark.parametrize("name", ["", "Root", "a b", "x\n", "-g", "a:b", "a,b", "a" * 40, "$(id)", "ü"])
@pytest.mark.parametrize("what", ["user", "group"])
def test_names_of_users_and_groups_are_plain(make_computer: Make, what: str, name: str) -> None:
    computer = make_computer("debian13")
    if (what, name) == ("user", ""):
        assert computer.request(user="").user == ""
        return
    with pytest.raises(InputError):
        computer.request(**{what: name})


def test_an_unknown_user_is_refused(make_computer: Make) -> None:
    with pytest.raises(InputError, match="not in /etc/passwd"):
        make_computer("debian13").request(user="bob")


@pytest.mark.parametrize("release", ["", "a/b", "..", "-x", "a b", "x\n", "a" * 100])
def test_kernel_releases_are_names(make_computer: Make, release: str) -> None:
    from openhailo.setup import read_machine

    computer = make_computer("debian13")
    if not release:
        assert read_machine(computer.tree, computer.platform, "").kernel == computer.kernel
        return
    with pytest.raises(InputError, match="kernel release"):
        read_machine(computer.tree, computer.platform, release)


@pytest.mark.parametrize(
    "word",
    [
        "unknown=1",
        "o_dbg",
        "o_dbg=8",
        "o_dbg=-1",
        "o_dbg=²",
        "o_dbg=7\ninstall hailo_pci rm",
        "force_desc_page_size=100",
        "force_desc_page_size=65536",
        "force_desc_page_size=99999999999999999999",
        "no_power_mode=1",
        "no_power_mode=Y N",
        "",
        "=",
    ],
)
def test_module_options_that_the_driver_would_refuse(word: str) -> None:
    with pytest.raises(InputError):
        parse_options([word])


def test_options_of_later_releases() -> None:
    assert parse_options(["support_soft_reset=N"], (4, 20, 0)) == {"support_soft_reset": "N"}
    assert parse_options(["support_soft_reset=N"]) == {"support_soft_reset": "N"}
    with pytest.raises(InputError, match=r"since 4\.20\.0"):
        parse_options(["support_soft_reset=N"], (4, 19, 0))


# --- links ----------------------------------------------------------------------------------------------------------


def test_links_do_not_lead_out_of_the_root(make_computer: Make, tmp_path: Path) -> None:
    computer = make_computer("debian13")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for name, target in {"absolute": str(outside), "upwards": "../../../../../../.." + str(outside)}.items():
        (computer.root / name).symlink_to(target)
        assert not computer.tree.exists(f"/{name}/secret")
        assert computer.tree.read(f"/{name}/secret") is None
    assert computer.tree.locate("/../../../etc/passwd") == computer.root / "etc/passwd"
    (computer.root / "loop").symlink_to("loop")
    assert computer.tree.read("/loop") is None
    with pytest.raises(InputError, match="too many symbolic links"):
        computer.tree.locate("/loop/x")
    with pytest.raises(InputError, match="not an absolute path"):
        computer.tree.locate("etc")


@pytest.mark.parametrize("place", ["etc/udev/rules.d/60-openhailo.rules", "lib/firmware/hailo/hailo8_fw.bin"])
def test_a_link_where_a_file_belongs_stops_setup(
    make_computer: Make, tmp_path: Path, driver_tree: Path, firmware_file: Path, place: str
) -> None:
    computer = make_computer("debian13")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (computer.root / place).parent.mkdir(parents=True, exist_ok=True)
    (computer.root / place).symlink_to(victim)
    plan = plan_kernel(
        computer.machine, computer.request(driver_source=driver_tree, firmware=firmware_file), computer.tree
    )
    with pytest.raises(InputError, match="is a symbolic link"):
        list(apply_plan(plan, computer.tree, computer.runner))
    assert victim.read_text() == "untouched"


def test_a_folder_that_is_a_link_inside_the_root_is_followed(make_computer: Make, firmware_file: Path) -> None:
    """``/lib`` is one on every Debian since 12."""
    computer = make_computer("debian13")
    assert computer.tree.locate("/lib/firmware") == computer.root / "usr/lib/firmware"


def test_a_folder_where_a_file_belongs(make_computer: Make, driver_tree: Path, firmware_file: Path) -> None:
    computer = make_computer("debian13")
    (computer.root / "etc/udev/rules.d/60-openhailo.rules").mkdir()
    plan = plan_kernel(
        computer.machine, computer.request(driver_source=driver_tree, firmware=firmware_file), computer.tree
    )
    with pytest.raises(InputError, match="no regular file"):
        list(apply_plan(plan, computer.tree, computer.runner))


# --- a driver's tree ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/etc/shadow", "../../outside", "../../../../../../../etc/passwd"])
def test_links_in_a_tree_may_not_lead_out(driver_tree: Path, target: str) -> None:
    (driver_tree / "common/link.h").symlink_to(target)
    with pytest.raises(InputError, match="leads out"):
        read_tree(driver_tree)


def test_links_inside_a_tree_are_kept(make_computer: Make, driver_tree: Path, firmware_file: Path) -> None:
    (driver_tree / "linux/pcie/common").symlink_to("../../common")
    computer = make_computer("debian13")
    plan = plan_kernel(
        computer.machine, computer.request(driver_source=driver_tree, firmware=firmware_file), computer.tree
    )
    list(apply_plan(plan, computer.tree, computer.runner))
    copy = computer.root / "usr/src/hailo_pci-4.23.0/linux/pcie/common"
    assert copy.is_symlink()
    assert (copy / "hailo_ioctl_common.h").is_file()


def test_other_things_in_a_tree_are_refused(driver_tree: Path) -> None:
    os.mkfifo(driver_tree / "common/pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        read_tree(driver_tree)


def test_a_tree_that_is_none(tmp_path: Path, driver_tree: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_tree(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="says nowhere which release"):
        read_tree(tmp_path / "empty")
    (driver_tree / "linux/pcie/Kbuild").unlink()
    with pytest.raises(InputError, match="no Kbuild or Makefile"):
        read_tree(driver_tree)


def test_a_tree_that_is_too_large(driver_tree: Path) -> None:
    with (driver_tree / "huge").open("wb") as file:
        file.truncate(300 << 20)
    with pytest.raises(InputError, match="more than"):
        read_tree(driver_tree)


def test_what_belongs_to_version_control_is_not_copied(driver_tree: Path) -> None:
    (driver_tree / ".git").mkdir()
    (driver_tree / ".git/config").write_text("x")
    assert not any(".git" in entry for entry in read_tree(driver_tree).entries)


@pytest.mark.parametrize(
    ("text", "name", "ours"),
    [
        ('PACKAGE_NAME="hailo_pci"\nPACKAGE_VERSION="4.20.1"\n', "hailo_pci/4.20.1", False),
        ("PACKAGE_NAME=other\nPACKAGE_VERSION=4.20.1\n", "other/4.20.1", False),
        ('PACKAGE_NAME="hailo_pci"\nPACKAGE_VERSION="#MODULE_VERSION#"\n', "hailo_pci/4.23.0", True),
        ('PACKAGE_NAME="$(id)"\nPACKAGE_VERSION="4.20.1"\n', "hailo_pci/4.20.1", True),
        ('PACKAGE_NAME="../../etc"\nPACKAGE_VERSION="4.20.1"\n', "hailo_pci/4.20.1", True),
        ('PACKAGE_NAME="hailo_pci"\nPACKAGE_VERSION="04.20.1"\n', "hailo_pci/4.23.0", True),
    ],
)
def test_the_trees_own_dkms_file_counts_when_it_is_plain(driver_tree: Path, text: str, name: str, ours: bool) -> None:
    (driver_tree / "dkms.conf").write_text(text)
    tree = read_tree(driver_tree)
    assert tree.label == name
    assert bool(tree.dkms_conf) is ours


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"linux/pcie/src/pcie.c": 'MODULE_VERSION("4.19.0");'}, (4, 19, 0)),
        ({"linux/pcie/Makefile": "VERSION := 4.18.0\n"}, (4, 18, 0)),
        (
            {
                "common/hailo_ioctl_common.h": "#define X_VER_MAJOR 4\n"
                "#define X_VER_MINOR 17\n#define X_VER_REVISION 1\n"
            },
            (4, 17, 1),
        ),
    ],
)
def test_where_a_release_may_stand(tmp_path: Path, files: dict[str, str], version: tuple[int, int, int]) -> None:
    folder = build_driver_tree(tmp_path / "tree")
    (folder / "common/hailo_ioctl_common.h").write_text("")
    for path, text in files.items():
        (folder / path).write_text(text)
    assert read_tree(folder).version == version


@pytest.mark.parametrize("version", [*RELEASES, "4.24.0", "4.16.2", "5.0.0", "5.3.0"])
def test_releases_that_openhailo_speaks_to(make_computer: Make, tmp_path: Path, version: str) -> None:
    computer = make_computer("debian13")
    folder = build_driver_tree(tmp_path / "tree", version)
    if version in RELEASES:
        assert computer.request(driver_source=folder).driver.version_text == version  # type: ignore[union-attr]
        return
    with pytest.raises(VersionUnsupported):
        computer.request(driver_source=folder)
    if version == "4.24.0":
        assert computer.request(driver_source=folder, allow_unknown_driver=True).driver is not None
    else:
        with pytest.raises(VersionUnsupported, match="hailo_pci 4"):
            computer.request(driver_source=folder, allow_unknown_driver=True)


def test_a_file_that_turns_into_a_link_after_the_plan_is_not_followed(
    make_computer: Make, driver_tree: Path, firmware_file: Path, tmp_path: Path
) -> None:
    computer = make_computer("debian13")
    plan = plan_kernel(
        computer.machine, computer.request(driver_source=driver_tree, firmware=firmware_file), computer.tree
    )
    source = driver_tree / "linux/pcie/src/pcie.c"
    source.unlink()
    source.symlink_to("/etc/passwd")
    list(apply_plan(plan, computer.tree, computer.runner))
    copy = computer.root / "usr/src/hailo_pci-4.23.0/linux/pcie/src/pcie.c"
    assert copy.is_symlink()  # the link itself was copied, not what it leads to


# --- a package ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("", "not a Debian package"),
        ("Package: $(id)\nVersion: 4.23.0\nArchitecture: all\n", "no release of the driver"),
        ("Package: -rf\nVersion: 4.23.0\nArchitecture: all\n", "no release of the driver"),
        ("Package: hailo-dkms\nVersion: latest\nArchitecture: all\n", "no release of the driver"),
        ("Package: hailo-dkms\nVersion: 4.23.0.1\nArchitecture: all\n", "no release of the driver"),
        ("Version: 4.23.0\n", "no release of the driver"),
        ("Package: hailo-dkms\nVersion: 4.23.0\nArchitecture: riscv64\n", "is for riscv64"),
    ],
)
def test_packages_that_are_not_the_driver(make_computer: Make, tmp_path: Path, fields: str, says: str) -> None:
    computer = make_computer("debian13")
    computer.runner.fields = fields
    package = tmp_path / "x.deb"
    package.write_bytes(b"")
    with pytest.raises(InputError, match=says):
        computer.request(driver_package=package)


def test_a_package_is_for_the_running_system(make_computer: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--driver-source"):
        make_computer("debian13").request(driver_package=tmp_path / "x.deb", live=False)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed: this is no Debian")
def test_a_real_package_is_read(make_computer: Make, tmp_path: Path) -> None:
    content = tmp_path / "content"
    (content / "DEBIAN").mkdir(parents=True)
    fields = "Package: hailo-dkms\nVersion: 1:4.23.0-2\nArchitecture: arm64\nMaintainer: nobody\nDescription: none\n"
    (content / "DEBIAN/control").write_text(fields)
    package = tmp_path / "-a b; c.deb"
    runner = SystemRunner()
    assert runner.run(["dpkg-deb", "--build", str(content), str(package)], timeout_s=60).code == 0
    found = read_package(package, runner)
    assert (found.name, found.package_version, found.version) == ("hailo-dkms", "1:4.23.0-2", (4, 23, 0))
    require_architecture(found, make_computer("debian13").machine)
    with pytest.raises(InputError, match="is for arm64, this machine is amd64"):
        require_architecture(found, make_computer("debian12").machine)
    package.write_bytes(b"!<arch>\nnot really")
    with pytest.raises(InputError, match="not a Debian package"):
        read_package(package, runner)


def test_a_tree_or_a_package_but_not_both(make_computer: Make, tmp_path: Path, driver_tree: Path) -> None:
    with pytest.raises(InputError, match="not both"):
        make_computer("debian13").request(driver_source=driver_tree, driver_package=tmp_path / "x.deb")


# --- firmware -------------------------------------------------------------------------------------------------------


def test_firmware_that_lies(tmp_path: Path) -> None:
    good = build_firmware()
    path = tmp_path / "fw.bin"
    bad = {
        "empty": b"",
        "short": good[:-1],
        "long": good + b"\0",
        "magic": b"\0" + good[1:],
        "header version": good[:4] + b"\1" + good[5:],
        "code size": good[:20] + b"\xff\xff\xff\xff" + good[24:],
        "huge": bytes(6 << 20),
    }
    for name, content in bad.items():
        path.write_bytes(content)
        with pytest.raises(BadImage):
            load_firmware(path)
            pytest.fail(name)


def test_a_placeholder_is_not_given_to_a_card(tmp_path: Path) -> None:
    path = tmp_path / "fw.bin"
    path.write_bytes(build_placeholder_image())
    with pytest.raises(BadImage, match="placeholder for the twin"):
        load_firmware(path)


def test_firmware_of_another_release_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "fw.bin"
    path.write_bytes(build_firmware((4, 20, 0)))
    assert load_firmware(path, (4, 20, 0)).warnings == ()
    (warning,) = load_firmware(path, (4, 23, 0)).warnings
    assert "firmware 4.20.0 with driver 4.23.0" in warning


def test_a_development_build_is_the_same_release(tmp_path: Path) -> None:
    """Bits 27 to 31 of the revision are flags (control-protocol.md 3.2)."""
    path = tmp_path / "fw.bin"
    image = bytearray(build_firmware())
    image[16:20] = (0x40000000).to_bytes(4, "little")
    path.write_bytes(image)
    assert load_firmware(path).version == (4, 23, 0)


def test_a_mixed_file_and_a_wrong_processor_are_warnings(tmp_path: Path) -> None:
    path = tmp_path / "fw.bin"
    image = bytearray(build_firmware())
    image[12:16] = (22).to_bytes(4, "little")
    image[16:20] = (1 << 27).to_bytes(4, "little")
    path.write_bytes(image)
    assert len(load_firmware(path).warnings) == 2


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_firmware_that_is_no_file(make_computer: Make, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "fw.bin"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(InputError, match="no such file"):
        make_computer("debian13").request(firmware=path)


def test_a_broken_file_at_the_place_is_as_good_as_none(make_computer: Make) -> None:
    computer = make_computer("debian13")
    computer.put("lib/firmware/hailo/hailo8_fw.bin", b"garbage")
    assert computer.request().present_firmware is None
    computer.put("lib/firmware/hailo/hailo8_fw.bin", build_firmware())
    assert computer.request().present_firmware is not None


# --- files of the machine that lie ----------------------------------------------------------------------------------


def test_odd_files_of_a_machine_are_survived(make_computer: Make) -> None:
    computer = make_computer("debian13")
    noise = bytes(range(256)) * 40
    for path in ("etc/os-release", "etc/group", "etc/passwd", "var/lib/dpkg/status", "sys/kernel/security/lockdown"):
        computer.put(path, noise)
    computer.put(f"lib/modules/{computer.kernel}/modules.dep", noise + b"\nhailo_pci.ko.xz:\n")
    computer.put(f"lib/modules/{computer.kernel}/hailo_pci.ko.xz", b"\xfd7zXZ\0not really")
    computer.put("dev/hailo99999999999999999999")
    computer.put("sys/module/hailo_pci/version", noise)
    machine = computer.machine
    assert (machine.module_version, machine.nodes) == (None, ())
    assert machine.distribution.name.isprintable()


def test_nothing_outside_a_fake_root_is_touched(make_computer: Make, tmp_path: Path) -> None:
    computer = make_computer("debian13")
    neighbour = tmp_path / "neighbour"
    neighbour.mkdir()
    before = snapshot(neighbour)
    tree = Tree(computer.root)
    tree.write("/../neighbour-file", b"x", 0o600)
    assert (computer.root / "neighbour-file").read_bytes() == b"x"
    assert snapshot(neighbour) == before
    with pytest.raises(InputError, match="cannot be written"):
        tree.write("/no/such/folder/file", b"x", 0o600)
    with pytest.raises(InputError, match="no such folder"):
        Tree(tmp_path / "missing")


# --- running programs -----------------------------------------------------------------------------------------------


def test_programs_run_without_a_shell_and_with_a_plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("PYTHONPATH", "/nonsense")
    runner = SystemRunner()
    done = runner.run(["env"], timeout_s=30)
    assert done.code == 0
    assert "PYTHONPATH" not in done.output
    assert "LC_ALL=C" in done.output
    assert runner.run(["echo", "$(id); *"], timeout_s=30).output == "$(id); *\n"


def test_how_programs_end() -> None:
    runner = SystemRunner()
    assert runner.run(["no-such-program-anywhere"], timeout_s=30).code == 127
    assert runner.run(["sleep", "60"], timeout_s=0.05).code == 124
    assert runner.run(["/"], timeout_s=30).code == 126
    assert runner.run(["false"], timeout_s=30).last_words == "it printed nothing"
    done = runner.run(["sh", "-c", "echo one; echo two >&2; exit 3"], timeout_s=30)
    assert (done.code, done.last_words) == (3, "two")


def test_a_full_disk_is_a_typed_error(
    make_computer: Make, driver_tree: Path, firmware_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = make_computer("debian13")
    plan = plan_kernel(
        computer.machine, computer.request(driver_source=driver_tree, firmware=firmware_file), computer.tree
    )

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "file")

    monkeypatch.setattr("openhailo.setup.work.shutil.copyfileobj", full)
    with pytest.raises(SetupFailed, match="No space left"):
        list(apply_plan(plan, computer.tree, computer.runner))
