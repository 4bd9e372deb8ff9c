"""The guide shows what the commands print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.unit.setup.computers import Computer

from openhailo.cli.setup import plan_lines
from openhailo.setup import Journal, apply_plan, plan_kernel, plan_vfio
from openhailo.setup.journal import JOURNAL, describe_undo
from openhailo.setup.plan import MODPROBE_OPTIONS, UDEV_RULES

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "debian-raspberry-pi.md"
Make = Callable[[str], Computer]


def shown(start: str) -> list[str]:
    """Return the lines of the block that begins with ``start``, without the marks for what is left out."""
    blocks = [block.lstrip("\n") for block in GUIDE.read_text().split("```")[1::2]]
    (block,) = [block for block in blocks if block.startswith(start)]
    return [line for line in block.splitlines() if line != "..."]


def test_the_kernel_way_and_its_undo(make_computer: Make, driver_tree: Path, firmware_file: Path) -> None:
    computer = make_computer("raspberry")
    computer.add_card()
    request = computer.request(driver_source=driver_tree, firmware=firmware_file, user="anna")
    plan = plan_kernel(computer.machine, request, computer.tree)
    printed = plan_lines(plan, computer.machine)
    wanted = shown("openhailo setup kernel: ")
    assert len(wanted) > 8
    assert [line for line in wanted if line not in printed] == []
    list(apply_plan(plan, computer.tree, computer.runner))
    assert shown("openhailo setup --undo: ")[1:] == describe_undo(Journal(computer.tree))


def test_the_vfio_way(make_computer: Make, firmware_file: Path) -> None:
    computer = make_computer("debian12")
    computer.add_card(driver="hailo", group=1)
    request = computer.request(way="vfio", firmware=firmware_file, user="anna")
    printed = plan_lines(plan_vfio(computer.machine, request, computer.tree), computer.machine)
    wanted = shown("openhailo setup vfio: ")
    assert len(wanted) > 15
    assert [line for line in wanted if line not in printed] == []


def test_paths_in_the_guide() -> None:
    text = GUIDE.read_text()
    for path in (JOURNAL, UDEV_RULES, MODPROBE_OPTIONS, "/lib/firmware/hailo/hailo8_fw.bin"):
        assert path in text
