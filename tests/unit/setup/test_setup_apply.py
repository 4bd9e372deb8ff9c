"""Carrying a plan out, finding it done, taking it back; failures in the middle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.setup.computers import Computer, build_computer, snapshot

from openhailo.errors import DeviceBusy, InputError, SetupFailed
from openhailo.setup import JOURNAL, Journal, Plan, State, Tree, apply_plan, plan_kernel, plan_vfio, undo_journal
from openhailo.setup.journal import describe_undo

Make = Callable[[str], Computer]
EVERYTHING = {"user": "anna", "module_options": ["no_power_mode=Y"]}


def kernel_plan(computer: Computer, **wishes: object) -> Plan:
    return plan_kernel(computer.machine, computer.request(**wishes), computer.tree)


def apply(computer: Computer, plan: Plan) -> dict[str, bool]:
    return {result.step.name: result.changed for result in apply_plan(plan, computer.tree, computer.runner)}


def undo(computer: Computer) -> list[str]:
    """Take everything back; return what was left."""
    return [done.what for done in undo_journal(computer.tree, computer.runner) if done.problem]


def test_apply_and_undo_leave_the_root_as_it_was(computer: Computer, driver_tree: Path, firmware_file: Path) -> None:
    computer.add_card(group=1)
    before = snapshot(computer.root)
    wishes = {**EVERYTHING, "driver_source": driver_tree, "firmware": firmware_file}
    wishes |= {"pcie_gen3": computer.kind == "raspberry"}
    done = apply(computer, kernel_plan(computer, **wishes))
    expected = {"packages", "driver", "firmware", "group", "udev", "options", "load"}
    expected |= {"pcie-gen3"} if computer.kind == "raspberry" else set()
    assert {name for name, changed in done.items() if changed} == expected
    during = snapshot(computer.root)
    assert during != before
    assert (computer.root / "usr/src/hailo_pci-4.23.0/linux/pcie/src/pcie.c").is_file()
    assert undo(computer) == []
    assert snapshot(computer.root) == before


def test_vfio_and_back(computer: Computer, firmware_file: Path) -> None:
    computer.add_card(group=1)
    before = snapshot(computer.root)
    plan = plan_vfio(computer.machine, computer.request(user="anna", firmware=firmware_file), computer.tree)
    assert {n for n, changed in apply(computer, plan).items() if changed} == {
        "firmware",
        "group",
        "udev",
        "limits",
        "boot",
        "ids",
        "load",
    }
    assert undo(computer) == []
    assert snapshot(computer.root) == before


def test_a_second_time_there_is_nothing_to_do(computer: Computer, driver_tree: Path, firmware_file: Path) -> None:
    wishes = {**EVERYTHING, "driver_source": driver_tree, "firmware": firmware_file}
    apply(computer, kernel_plan(computer, **wishes))
    calls = len(computer.runner.calls)
    again = kernel_plan(computer, **wishes)
    assert (again.open, again.blocked) == ([], [])
    before = snapshot(computer.root)
    assert not any(apply(computer, again).values())
    assert (len(computer.runner.calls), snapshot(computer.root)) == (calls, before)


def test_two_ways_in_turn_are_taken_back_in_one_go(make_computer: Make, driver_tree: Path, firmware_file: Path) -> None:
    computer = make_computer("debian13")
    computer.add_card(group=1)
    before = snapshot(computer.root)
    wishes = {**EVERYTHING, "driver_source": driver_tree, "firmware": firmware_file}
    apply(computer, kernel_plan(computer, **wishes))
    apply(computer, plan_vfio(computer.machine, computer.request(**wishes), computer.tree))
    assert undo(computer) == []
    assert snapshot(computer.root) == before


def test_a_debian_package_and_back(make_computer: Make, tmp_path: Path, firmware_file: Path) -> None:
    computer = make_computer("debian12")
    package = tmp_path / "hailo driver; rm -rf $HOME.deb"
    package.write_bytes(b"!<arch>\n")
    computer.runner.fields = "Package: hailo-dkms\nVersion: 4.23.0-1\nArchitecture: all\n"
    before = snapshot(computer.root)
    done = apply(computer, kernel_plan(computer, driver_package=package, firmware=firmware_file))
    assert done["driver"]
    assert ("apt-get", "install", "--yes", "--no-install-recommends", str(package)) in computer.runner.calls
    assert undo(computer) == []
    assert snapshot(computer.root) == before


def test_a_driver_that_was_registered_before_stays_registered(
    make_computer: Make, driver_tree: Path, firmware_file: Path
) -> None:
    computer = make_computer("debian13")
    computer.runner.dkms(["add", "-m", "hailo_pci", "-v", "4.23.0"])
    computer.put("usr/src/hailo_pci-4.23.0/dkms.conf", "of somebody else")
    before = snapshot(computer.root)
    assert apply(computer, kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file))["driver"]
    assert undo(computer) == []
    assert snapshot(computer.root) == before


def test_an_undo_that_claims_to_have_worked_is_found_out(
    make_computer: Make, driver_tree: Path, firmware_file: Path
) -> None:
    """DKMS 3.0 does so without /proc."""
    computer = make_computer("debian12")
    apply(computer, kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file))
    computer.runner.lazy = True
    (left,) = [done for done in undo_journal(computer.tree, computer.runner) if "dkms" in done.what and done.problem]
    assert "/var/lib/dkms/hailo_pci/4.23.0/source is there still" in left.problem


def test_new_firmware_reloads_the_module_and_the_old_file_comes_back(
    make_computer: Make, driver_tree: Path, firmware_file: Path
) -> None:
    computer = make_computer("debian12")
    apply(computer, kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file))
    path = computer.root / "lib/firmware/hailo/hailo8_fw.bin"
    old = path.read_bytes()
    firmware_file.write_bytes(old.replace(b"machine code", b"MACHINE CODE"))
    done = apply(computer, kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file))
    assert {name for name, changed in done.items() if changed} == {"firmware", "load"}
    assert computer.runner.calls[-2:] == [("modprobe", "--remove", "hailo_pci"), ("modprobe", "hailo_pci")]
    assert path.read_bytes() != old
    assert undo(computer) == []


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["update", "install", "add", "build", "groupadd", "usermod", "modprobe"])
def test_a_command_that_fails_stops_there_and_all_of_it_can_be_taken_back(
    make_computer: Make, driver_tree: Path, firmware_file: Path, word: str
) -> None:
    computer = make_computer("debian13")
    before = snapshot(computer.root)
    computer.runner.fails = {word: 3}
    with pytest.raises(SetupFailed, match=f"ended with 3: E: {word} does not work") as caught:
        apply(computer, kernel_plan(computer, **EVERYTHING, driver_source=driver_tree, firmware=firmware_file))
    assert "--undo" in str(caught.value)
    assert word in computer.runner.calls[-1]
    computer.runner.fails = {}
    assert undo(computer) == []
    assert snapshot(computer.root) == before


def test_a_command_that_lies_is_found_out(make_computer: Make, driver_tree: Path, firmware_file: Path) -> None:
    computer = make_computer("debian13")
    computer.runner.lazy = True
    with pytest.raises(SetupFailed, match="all commands worked, and yet: not installed: dkms"):
        apply(computer, kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file))


def test_a_blocked_plan_changes_nothing(computer: Computer) -> None:
    before = snapshot(computer.root)
    with pytest.raises(SetupFailed, match="nothing was changed"):
        apply(computer, kernel_plan(computer))
    assert (snapshot(computer.root), computer.runner.calls) == (before, [])


class PowerCut(BaseException):
    """Nothing may catch it."""


def cut_after(function: Callable[..., object], count: int) -> Callable[..., object]:
    """Return ``function``, which raises `PowerCut` instead of working when it was called ``count`` times."""
    calls = iter(range(count))

    def call(*values: object, **named: object) -> object:
        if next(calls, None) is None:
            raise PowerCut
        return function(*values, **named)

    return call


@pytest.mark.parametrize(("what", "least"), [("commands", 8), ("files", 15)])
def test_whenever_the_power_goes_all_of_it_can_be_taken_back(
    make_computer: Make,
    driver_tree: Path,
    firmware_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    least: int,
) -> None:
    """The journal is written before the deed: whatever action is the last one, undo knows of it."""
    finished = False
    for count in range(100):
        computer = make_computer_again(make_computer, count)
        before = snapshot(computer.root)
        real = computer.runner.run
        with monkeypatch.context() as patch:
            if what == "commands":
                patch.setattr(computer.runner, "run", cut_after(real, count))
            else:
                patch.setattr(Tree, "write", cut_after(Tree.write, count))
            try:
                apply(computer, kernel_plan(computer, **EVERYTHING, driver_source=driver_tree, firmware=firmware_file))
                finished = True
            except PowerCut:
                pass
        monkeypatch.setattr(computer.runner, "run", tolerant(real))
        list(undo_journal(computer.tree, computer.runner))
        assert snapshot(computer.root) == before, count
        if finished:
            break
    assert finished
    assert count >= least


def make_computer_again(make_computer: Make, number: int) -> Computer:
    computer = make_computer("debian13")
    target = computer.root.with_name(f"debian13-{number}")
    computer.root.rename(target)
    computer.root = computer.runner.root = target
    return computer


def tolerant(run: Callable[..., object]) -> Callable[..., object]:
    """As real programs do: taking back what was never done is an error of theirs, not an exception of ours."""
    from openhailo.setup import Completed

    def call(argv: list[str], *, timeout_s: float) -> object:
        try:
            return run(argv, timeout_s=timeout_s)
        except (OSError, ValueError):
            return Completed(1, error="nothing to remove")

    return call


# --- undo -----------------------------------------------------------------------------------------------------------


def test_undo_says_first_what_it_would_do(make_computer: Make, driver_tree: Path, firmware_file: Path) -> None:
    computer = make_computer("debian13")
    apply(computer, kernel_plan(computer, **EVERYTHING, driver_source=driver_tree, firmware=firmware_file))
    before = snapshot(computer.root)
    assert computer.tree.mode(JOURNAL) == 0o644
    lines = describe_undo(Journal(computer.tree))
    assert lines[0] == "$ modprobe --remove hailo_pci"
    assert lines[-1].startswith("$ apt-mark auto dkms")
    assert "remove /usr/src/hailo_pci-4.23.0" in lines
    assert snapshot(computer.root) == before


def test_a_file_that_somebody_changed_since_is_left(
    make_computer: Make, driver_tree: Path, firmware_file: Path
) -> None:
    computer = make_computer("debian13")
    apply(computer, kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file))
    rule = computer.root / "etc/udev/rules.d/60-openhailo.rules"
    rule.write_text("# mine now\n")
    assert undo(computer) == ["remove /etc/udev/rules.d/60-openhailo.rules"]
    assert rule.read_text() == "# mine now\n"
    assert not computer.tree.exists(JOURNAL)


def test_our_lines_leave_a_configuration_that_was_edited_since(
    make_computer: Make, driver_tree: Path, firmware_file: Path
) -> None:
    computer = make_computer("raspberry")
    apply(computer, kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file, pcie_gen3=True))
    config = computer.root / "boot/firmware/config.txt"
    before = config.read_text()
    config.write_text("# new first line\n" + before + "gpu_mem=64\n")
    assert undo(computer) == []
    assert config.read_text() == "# new first line\ndtparam=audio=on\n[cm4]\notg_mode=1gpu_mem=64\n"


def test_a_folder_that_others_use_now_is_left(make_computer: Make, firmware_file: Path, driver_tree: Path) -> None:
    computer = make_computer("debian13")
    apply(computer, kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file))
    other = computer.put("lib/firmware/hailo/other.bin", "x")
    assert undo(computer) == ["remove /lib/firmware/hailo"]
    assert other.exists()


def test_nothing_to_take_back(computer: Computer) -> None:
    assert list(undo_journal(computer.tree, computer.runner)) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"format": 2, "records": []}', "does not write"),
        ('{"format": 1, "records": {}}', "does not write"),
        ('{"format": 1, "records": [7]}', "does not write"),
        ('{"format": 1, "records": [{"kind": "run", "argv": ["sh", "-c", "id"], "gone": ""}]}', "does not write"),
        ('{"format": 1, "records": [{"kind": "run", "argv": ["dkms", 7], "gone": ""}]}', "does not write"),
        ('{"format": 1, "records": [{"kind": "tree", "path": "/usr/src/../../home"}]}', "does not write"),
        ('{"format": 1, "records": [{"kind": "run", "argv": ["dkms"], "gone": "x"}]}', "does not write"),
        ('{"format": 1, "records": [{"kind": "tree", "path": "/home"}]}', "does not write"),
        ('{"format": 1, "records": [{"kind": "folder", "path": "relative"}]}', "does not write"),
        ('{"format": 1, "records": [{"kind": "run", "argv": [], "gone": "", "home": ["/etc"]}]}', "does not write"),
    ],
)
def test_a_journal_that_setup_did_not_write_is_refused(computer: Computer, text: str, says: str) -> None:
    computer.put(JOURNAL[1:], text, 0o600)
    before = snapshot(computer.root)
    with pytest.raises(InputError, match=says):
        list(undo_journal(computer.tree, computer.runner))
    assert (snapshot(computer.root), computer.runner.calls) == (before, [])


def test_a_journal_that_others_can_write_is_refused(computer: Computer) -> None:
    computer.put(JOURNAL[1:], json.dumps({"format": 1, "records": []}), 0o666)
    with pytest.raises(InputError, match="not trusted"):
        Journal(computer.tree)


def test_two_runs_at_a_time_are_refused(make_computer: Make, driver_tree: Path, firmware_file: Path) -> None:
    computer = make_computer("debian13")
    plan = kernel_plan(computer, driver_source=driver_tree, firmware=firmware_file)
    first = apply_plan(plan, computer.tree, computer.runner)
    next(first)
    with pytest.raises(DeviceBusy, match="another setup"):
        apply(computer, plan)
    with pytest.raises(DeviceBusy, match="another setup"):
        undo(computer)
    list(first)
    assert undo(computer) == []


_VALUES = st.none() | st.integers() | st.sampled_from(["", "run", "file", "/etc", "/etc/passwd", "dkms", "sh"])
_KEYS = st.sampled_from(["kind", "argv", "gone", "path", "home", "wrote", "previous", "mode", "added"])
_RECORDS = st.lists(st.dictionaries(_KEYS, _VALUES | st.lists(_VALUES, max_size=3), max_size=6), max_size=3)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Computer:
    """A machine for many journals."""
    made = build_computer(tmp_path_factory.mktemp("machine") / "m", "debian13")
    made.runner.lazy = True
    return made


@given(records=_RECORDS)
@settings(max_examples=200)
def test_whatever_stands_in_a_journal_is_refused_or_harmless(victim: Computer, records: list[object]) -> None:
    victim.put(JOURNAL[1:], json.dumps({"format": 1, "records": records}), 0o600)
    with contextlib.suppress(InputError):
        list(undo_journal(victim.tree, victim.runner))
    assert {call[0] for call in victim.runner.calls} <= {"dkms"}
    assert (victim.root / "etc/passwd").is_file()


def test_states_have_words() -> None:
    assert [state.value for state in State] == ["done", "to do", "blocked", "skipped"]
