"""The guide shows what the command prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.unit.setup.computers import Computer

from openhailo.cli.setup import plan_lines
from openhailo.setup import plan_kernel
from openhailo.setup.journal import JOURNAL
from openhailo.setup.plan import MODPROBE_OPTIONS, UDEV_RULES

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "debian-raspberry-pi.md"


def test_the_dry_run_in_the_guide(
    make_computer: Callable[[str], Computer], driver_tree: Path, firmware_file: Path
) -> None:
    computer = make_computer("raspberry")
    computer.add_card()
    request = computer.request(driver_source=driver_tree, firmware=firmware_file, user="anna")
    printed = plan_lines(plan_kernel(computer.machine, request, computer.tree), computer.machine)
    blocks = [block.lstrip("\n") for block in GUIDE.read_text().split("```")[1::2]]
    (block,) = [block for block in blocks if block.startswith("openhailo setup kernel: ")]
    shown = [line for line in block.splitlines() if line != "..."]
    assert len(shown) > 8
    assert [line for line in shown if line not in printed] == []


def test_paths_in_the_guide() -> None:
    text = GUIDE.read_text()
    for path in (JOURNAL, UDEV_RULES, MODPROBE_OPTIONS, "/lib/firmware/hailo/hailo8_fw.bin"):
        assert path in text
