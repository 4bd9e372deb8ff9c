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


def changes(page: str, step: str) -> list[str]:
    section = page.split(f"### {step}", 1)[1].split("\n###", 1)[0].split("\n## ", 1)[0]
    return [line[2:] for line in section.splitlines() if line.startswith("* ")]


def test_what_changes_between_releases_is_listed(ioctl_reference):
    """Literals of driver.md 7.6."""
    page = ioctl_reference.render()
    nothing = ["Nothing that a program can see, but the version number."]
    for step in ("4.17.0 → 4.17.1", "4.20.0 → 4.20.1", "4.21.0 → 4.22.0"):
        assert changes(page, step) == nothing
    first = changes(page, "4.17.1 → 4.18.0, family A → B")
    assert "`DESC_LIST_BIND_VDMA_BUFFER` is now `DESC_LIST_PROGRAM` (80257609 → 802B7609)" in first
    assert any("`vdma_buffer_map_params`, 36 → 40 bytes: with `buffer_type` at 20" in line for line in first)
    assert any("`vdma_interrupts_wait_params`, 781 → 685 bytes" in line for line in first)
    assert any("`vdma_launch_transfer_params`, 61 → 65 bytes" in line for line in first)
    second = changes(page, "4.20.1 → 4.21.0, family B → C")
    assert any("43 → 51 bytes: with `batch_size` at 24, with `stride` at 47" in line for line in second)
    assert any("685 → 301 bytes" in line for line in second)
    assert any("65 → 153 bytes" in line and "`buffers` with 8 entries, not 2" in line for line in second)
    last = changes(page, "4.22.0 → 4.23.0, family C → D")
    assert last[0] == "`MEMORY_TRANSFER` is gone"


def test_members_that_moved_are_bold(ioctl_reference):
    page = ioctl_reference.render()
    section = page.split("### desc_list_program_params, 4.21.0 - 4.23.0: 51 bytes")[1].split("\n###")[0]
    assert "| **24** | **4** | **`batch_size`** | **le32** |" in section
    assert "| **28** | **8** | **`desc_handle`** | **le64** |" in section
    assert "| 16 | 8 | `buffer_offset` | le64 |" in section
    first = page.split("### desc_list_program_params, 4.18.0 - 4.20.1: 43 bytes")[1].split("\n###")[0]
    assert "**" not in first


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
