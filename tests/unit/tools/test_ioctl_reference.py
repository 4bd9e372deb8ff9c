"""The generated ioctl page, and the two declarations behind it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from openhailo.spec.ioctl import RELEASES
from openhailo.twin.ports.kernel.abi import build_abi

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def ioctl_reference():
    """The tool, which is no part of the package."""
    found = importlib.util.spec_from_file_location("ioctl_reference", ROOT / "tools" / "ioctl_reference.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_page_is_what_would_be_written(ioctl_reference):
    assert ioctl_reference.PAGE.read_text() == ioctl_reference.render(), "run: python -m tools.ioctl_reference"


def test_check(ioctl_reference, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(ioctl_reference, "PAGE", tmp_path / "ioctl.md")
    monkeypatch.setattr("sys.argv", ["ioctl_reference", "--check"])
    assert ioctl_reference.main() == 1
    monkeypatch.setattr("sys.argv", ["ioctl_reference"])
    assert ioctl_reference.main() == 0
    monkeypatch.setattr("sys.argv", ["ioctl_reference", "--check"])
    assert ioctl_reference.main() == 0
    assert "up to date" in capsys.readouterr().out


def test_differences_are_bold(ioctl_reference):
    page = ioctl_reference.render()
    launch = next(line for line in page.splitlines() if line.startswith("| VDMA_LAUNCH_TRANSFER"))
    cells = [cell.strip() for cell in launch.split("|")[3:-1]]
    assert cells[1:4] == ["C03D760F", "**C041760F**", "C041760F"]
    assert cells[6:] == ["**8099760F**", "8099760F", "8099760F"]
    assert "### vdma_launch_transfer_params, 4.21.0 - 4.23.0: 153 bytes" in page


@pytest.mark.parametrize("name", RELEASES)
def test_client_and_kernel_side_agree(name):
    """Two readings of the facts, made apart: the same requests, and members at the same places."""
    release = RELEASES[name]
    calls = build_abi(release.version).calls
    declared = {call.number: call for call in release.ioctls.values() if call.implemented}
    assert set(declared) == set(calls)
    for number, call in declared.items():
        layout = calls[number].layout
        for member in call.struct.members:
            if layout is not None and member.name in layout.names:
                assert layout.offset(member.name) == member.offset, (call.name, member.name)
