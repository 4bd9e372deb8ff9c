"""Packages, processes, command lines and logs of the rig, without a guest."""

from __future__ import annotations

import json
import sys

import pytest
from tests.vm import packages
from tests.vm.guest import Guest, Setup, device
from tests.vm.journal import Marks, reads_and_writes
from tests.vm.packages import RigMissing, Tree, apt_options, cached_tree, make_tree
from tests.vm.processes import NotStarted, Process

# --- packages ---------------------------------------------------------------------------------------------------------


def test_nothing_is_cached(tmp_path):
    with pytest.raises(RigMissing, match="no unpacked packages") as caught:
        cached_tree(tmp_path)
    assert not caught.value.reachable


def test_a_cached_tree(tmp_path):
    (tmp_path / "tree-1").mkdir()
    (tmp_path / "current.json").write_text(json.dumps({"tree": "tree-1", "versions": {"qemu": "11"}}))
    with pytest.raises(RigMissing, match="damaged"):
        cached_tree(tmp_path)
    (tmp_path / "tree-1/vmlinux").touch()
    tree = cached_tree(tmp_path)
    assert tree.versions == {"qemu": "11"}
    assert make_tree(tmp_path) == tree


def test_programs_run_through_the_tree(tmp_path):
    command = Tree(tmp_path, {}).command("usr/bin/x", "-a")
    assert command[0] == str(tmp_path / "usr/lib64/ld-linux-x86-64.so.2")
    assert command[-2:] == [str(tmp_path / "usr/bin/x"), "-a"]


def fake_tools(folder, monkeypatch, **scripts):
    """Put programs of these names on the path, and nothing else."""
    for name, text in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize("missing", ["apt_get", "dpkg_deb", "tar"])
def test_a_machine_without_the_tools(tmp_path, monkeypatch, missing):
    (tmp_path / "bin").mkdir()
    tools = {"apt_get": "", "dpkg_deb": "", "tar": ""}
    del tools[missing]
    fake_tools(tmp_path / "bin", monkeypatch, **tools)
    with pytest.raises(RigMissing, match=f"{missing.replace('_', '-')} is missing"):
        make_tree(tmp_path / "cache")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", "knows no Debian archive"),
        ('echo "E: broken" >&2; exit 100', "sources of apt: E: broken"),
        ("[ $1 = indextargets ] && echo http://mirror; exit 0", "no lists of packages from http://mirror"),
    ],
)
def test_a_machine_without_packages(tmp_path, monkeypatch, script, reason):
    (tmp_path / "bin").mkdir()
    (tmp_path / packages.KEYRINGS[0]).touch()
    fake_tools(tmp_path / "bin", monkeypatch, apt_get=script, dpkg_deb="", tar="")
    monkeypatch.setattr(packages, "find_keyring", lambda: tmp_path / packages.KEYRINGS[0])
    with pytest.raises(RigMissing, match=reason) as caught:
        make_tree(tmp_path / "cache")
    assert not caught.value.reachable


def test_another_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.platform, "machine", lambda: "aarch64")
    with pytest.raises(RigMissing, match="aarch64"):
        make_tree(tmp_path)


def test_apt_stays_in_its_folder(tmp_path):
    options = apt_options(tmp_path)
    places = [word for word in options if word.startswith("Dir::")]
    assert all(str(tmp_path) in word or word.endswith("=-") for word in places)
    assert "APT::Install-Recommends=false" in options


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_process_that_ends_at_once(tmp_path):
    with Process([sys.executable, "-c", "print('why')"], tmp_path / "log") as process:
        with pytest.raises(NotStarted, match="why"):
            process.wait_for_files(tmp_path / "never")
        assert process.exit_code == 0


def test_a_process_that_goes_on_is_ended(tmp_path):
    code = f"import pathlib, signal; pathlib.Path({str(tmp_path / 'ready')!r}).touch(); signal.pause()"
    with Process([sys.executable, "-c", code], tmp_path / "log") as process:
        process.wait_for_files(tmp_path / "ready")
        assert process.exit_code is None
    assert process.exit_code == -15
    process.close()


# --- the command line of QEMU -----------------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path):
    setup = Setup(["-c", "0"], [tmp_path / "a", tmp_path / "b"], spare_ports=1)
    return Guest(Tree(tmp_path, {}), tmp_path, setup)._qemu()


def test_the_guest_is_emulated(words):
    """A /dev/kvm of a cloud machine may be one that kills guests (vm-rig.md 8)."""
    machine = words[words.index("-machine") + 1]
    assert "accel=tcg" in machine
    assert not any("kvm" in word for word in words)


def test_memory_is_shared_and_the_iommu_complete(words):
    assert any("memory-backend-memfd" in word and "share=on" in word for word in words)
    assert "intel-iommu,intremap=on,caching-mode=on" in words
    assert "-no-reboot" in words


def test_functions_are_behind_ports(words, tmp_path):
    functions = [json.loads(word) for word in words if word.startswith("{")]
    assert functions == [device(0, tmp_path / "a"), device(1, tmp_path / "b")]
    assert functions[1]["socket"] == {"type": "unix", "path": str(tmp_path / "b")}
    assert [word.split(",")[1] for word in words if word.startswith("pcie-root-port")] == ["id=rp0", "id=rp1", "id=rp2"]


# --- the log of the chip ----------------------------------------------------------------------------------------------


def test_what_lies_between_two_marks(tmp_path):
    log = tmp_path / "log"
    before = [{"k": "dma", "op": "map", "iova": 0, "size": 4096}, {"k": "dma", "op": "map", "iova": 8192, "size": 4096}]
    before.append({"k": "dma", "op": "unmap", "iova": 0, "size": 4096})
    between = [
        {"k": "w", "bar": 2, "name": "channel 1 source CONTROL_AVAIL"},
        {"k": "w", "bar": 2, "name": "channel 16 destination CONTROL_AVAIL"},
        {"k": "r", "bar": 0, "name": "ISTATUS_HOST"},
        {"k": "r", "bar": 4, "name": "request +0x0"},
        {"k": "msi", "sent": True},
        {"k": "dma", "op": "map", "iova": 0, "size": 4096},
    ]

    def write(records):
        with log.open("a") as stream:
            stream.writelines(json.dumps(record) + "\n" for record in records)

    marks = Marks(log)
    write(before)
    marks.set("it begins")
    write(between)
    marks.set("it ends", frames=2)
    write(before)
    counts = marks.span("it").counts()
    assert counts == {
        "dma map": 0.5,
        "msi": 0.5,
        "read interrupt register": 0.5,
        "read mailbox": 0.5,
        "write input channel": 0.5,
        "write output channel": 0.5,
    }
    assert reads_and_writes(counts) == (1.0, 1.0)
    assert marks.maps("it") == {8192: 4096}
