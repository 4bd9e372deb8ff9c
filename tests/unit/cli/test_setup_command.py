"""`openhailo setup` as typed: what it prints, what it refuses, when it changes something."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.setup.computers import Computer, build_computer, build_driver_tree, build_firmware, snapshot
from typer.testing import CliRunner, Result

from openhailo.cli.main import app
from openhailo.errors import AccessDenied, BadImage, DeviceTimeout, InputError, SetupFailed
from openhailo.setup import Platform
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    """A Raspberry Pi that is taken for the running machine: its root, its kernel, its programs."""
    made = build_computer(tmp_path / "machine", "raspberry")
    monkeypatch.setattr(Platform, "of_host", classmethod(lambda _: made.platform))
    monkeypatch.setattr("openhailo.setup.SystemRunner", lambda root: made.runner)
    monkeypatch.setattr("openhailo.setup.Tree.is_host", property(lambda _: True))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "anna")
    return made


@pytest.fixture
def wishes(tmp_path: Path) -> list[str]:
    driver = build_driver_tree(tmp_path / "my driver")
    firmware = tmp_path / "hailo8_fw.4.23.0.bin"
    firmware.write_bytes(build_firmware())
    return ["--driver-source", str(driver), "--firmware", str(firmware)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openhailo.cli.setup.time.sleep", lambda _: None)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nodes of the machine are twins behind the virtual kernel driver."""
    with VirtualKernelDriver(Twin(), "4.23.0") as driver:
        defaults = {"open_file": lambda _: driver.open(), "attempts": 2}
        monkeypatch.setattr("openhailo.setup.nodes.verify_nodes.__kwdefaults__", defaults)
        yield


def setup(computer: Computer, *words: str) -> Result:
    return CliRunner().invoke(app, ["setup", *words, "--root", str(computer.root)])


def facts(computer: Computer, *words: str) -> Any:
    done = setup(computer, *words, "--json")
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", [[], ["kernel"], ["vfio"]])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_dry_run_is_the_default_and_changes_nothing(
    computer: Computer, wishes: list[str], way: list[str], dry: list[str]
) -> None:
    before = snapshot(computer.root)
    files = wishes[2:] if way == ["vfio"] else wishes
    done = setup(computer, *way, *dry, *files)
    assert done.exit_code == 0, done.exception
    assert f"openhailo setup {(way or ['kernel'])[0]}: a dry run, nothing is changed" in done.stdout
    assert "Raspberry Pi 5" in done.stdout
    assert "none visible on PCI" in done.stdout
    assert (snapshot(computer.root), computer.runner.calls) == (before, [])


def test_a_dry_run_prints_exactly_what_is_done(computer: Computer, wishes: list[str]) -> None:
    shown = facts(computer, *wishes)
    lines = [line for step in shown["steps"] if step["state"] == "to do" for line in step["actions"]]
    assert setup(computer, *wishes, "--apply").exit_code == 0
    assert [shlex.split(line[2:]) for line in lines if line.startswith("$ ")] == [
        list(c) for c in computer.runner.calls
    ]
    for index, line in enumerate(lines):
        if not line.startswith("write "):
            continue
        path = line.split()[1]
        content = (computer.root / path[1:]).read_bytes()
        assert f"{len(content)} bytes" in line
        rest = [text for text in lines[index + 1 :] if not text.startswith("    = ")]
        if b"\0" not in content:
            assert "\n".join(text[4:] for text in rest[: content.count(b"\n")]) + "\n" == content.decode()


def test_done_steps_are_marked(computer: Computer, wishes: list[str]) -> None:
    setup(computer, *wishes, "--apply")
    done = setup(computer, *wishes)
    assert "[done] packages" in done.stdout
    assert "\n0 to do, 0 blocked" in done.stdout
    again = setup(computer, *wishes, "--apply")
    assert "[changed]" not in again.stdout


def test_whoever_called_sudo_gets_access(computer: Computer, wishes: list[str]) -> None:
    assert "group hailo with anna in it" in setup(computer, *wishes).stdout
    assert "group hailo\n" in setup(computer, *wishes, "--user", "").stdout
    assert "group npu with anna" in setup(computer, *wishes, "--group", "npu").stdout


def test_a_user_without_a_name(computer: Computer, wishes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> object:
        raise KeyError(number)

    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert "group hailo\n" in setup(computer, *wishes).stdout


@pytest.mark.usefixtures("answering")
def test_apply_verifies_the_node(computer: Computer, wishes: list[str]) -> None:
    computer.add_card()
    done = setup(computer, *wishes, "--apply")
    assert done.exit_code == 0, (done.stdout, done.exception)
    assert "[good] access to /dev/hailo0" in done.stdout
    assert "hailo_pci 4.23.0 (family D), firmware runs" in done.stdout


@pytest.mark.usefixtures("answering")
def test_a_card_without_a_node_is_no_success(computer: Computer, wishes: list[str]) -> None:
    computer.add_card()
    computer.runner.cards = 0
    done = setup(computer, *wishes, "--apply")
    assert isinstance(done.exception, DeviceTimeout)


@pytest.mark.usefixtures("answering")
def test_a_node_that_the_user_cannot_open_is_no_success(computer: Computer, wishes: list[str]) -> None:
    computer.add_card()
    computer.add_card("0001:02:00.0")
    done = setup(computer, *wishes, "--apply")
    assert (done.exit_code, "[BAD] nodes: 1 for 2 cards" in done.stdout) == (3, True)


def test_vfio_verifies_who_has_the_card(computer: Computer, wishes: list[str]) -> None:
    computer.add_card(driver="hailo", group=1)
    done = setup(computer, "vfio", *wishes[2:], "--apply")
    assert (done.exit_code, "[BAD] driver of 0001:01:00.0: hailo" in done.stdout) == (3, True)


def test_undo_shows_and_then_does(computer: Computer, wishes: list[str]) -> None:
    before = snapshot(computer.root)
    assert "nothing to take back" in setup(computer, "--undo").stdout
    setup(computer, *wishes, "--apply")
    during = snapshot(computer.root)
    shown = setup(computer, "--undo")
    assert "remove /etc/udev/rules.d/60-openhailo.rules" in shown.stdout
    assert snapshot(computer.root) == during
    done = setup(computer, "--undo", "--apply")
    assert (done.exit_code, "[left]" in done.stdout) == (0, False)
    assert snapshot(computer.root) == before
    assert facts(computer, "--undo", "--apply")["undone"] == []


def test_undo_that_leaves_something_says_so(computer: Computer, wishes: list[str]) -> None:
    setup(computer, *wishes, "--apply")
    computer.put("etc/udev/rules.d/60-openhailo.rules", "mine\n")
    done = setup(computer, "--undo", "--apply")
    assert done.exit_code == 1
    assert "[left] remove /etc/udev/rules.d/60-openhailo.rules: it was changed since" in done.stdout


def test_apply_as_json(computer: Computer, wishes: list[str]) -> None:
    value = facts(computer, *wishes, "--apply")
    assert value["applied"] is True
    assert {"name": "driver", "result": "changed"} in value["results"]
    assert value["checks"][0]["good"] is True


def test_apply_needs_root(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for words in (["--apply"], ["--undo", "--apply"]):
        done = setup(computer, *words)
        assert isinstance(done.exception, AccessDenied)
        assert "sudo" in str(done.exception)
    assert setup(computer).exit_code == 0


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["magic"], InputError, "kernel or vfio"),
        (["--apply", "--dry-run"], InputError, "exclude each other"),
        (["--apply"], SetupFailed, "--driver-source"),
        (["--driver-source", "/nowhere"], InputError, "no such folder"),
        (["--firmware", "/etc/passwd"], BadImage, "application header"),
        (["--module-option", "fast=yes"], InputError, "the options are o_dbg"),
        (["--kernel", "../../etc"], InputError, "kernel release"),
    ],
)
def test_what_cannot_be_done_is_said(computer: Computer, words: list[str], error: type[Exception], says: str) -> None:
    before = snapshot(computer.root)
    done = setup(computer, *words)
    assert isinstance(done.exception, error), (done.stdout, done.exception)
    assert says in str(done.exception)
    assert snapshot(computer.root) == before


def test_warnings_and_advice_are_printed(computer: Computer, wishes: list[str], tmp_path: Path) -> None:
    old = tmp_path / "old.bin"
    old.write_bytes(build_firmware((4, 20, 0)))
    done = setup(computer, *wishes, "--firmware", str(old))
    assert "warning: firmware 4.20.0 with driver 4.23.0" in done.stdout
    assert "advice: no Hailo card is visible" in done.stdout
