"""Fixtures: machines, a driver's source tree, a firmware file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.setup.computers import Computer, build_computer, build_driver_tree, build_firmware


@pytest.fixture
def make_computer(tmp_path: Path) -> Callable[[str], Computer]:
    """Make a folder that looks like a machine of a kind (see ``OS_RELEASE``)."""
    return lambda kind: build_computer(tmp_path / kind, kind)


@pytest.fixture(params=["debian12", "debian13", "raspberry"])
def computer(request: pytest.FixtureRequest, make_computer: Callable[[str], Computer]) -> Computer:
    """Each machine that setup knows."""
    return make_computer(request.param)


@pytest.fixture
def driver_tree(tmp_path: Path) -> Path:
    """A source tree of a driver, written here: the shape of driver.md 1.2, nothing of the vendor's."""
    return build_driver_tree(tmp_path / "driver")


@pytest.fixture
def firmware_file(tmp_path: Path) -> Path:
    """A firmware file that is sound: headers as in driver.md 2.3, and code that is no placeholder."""
    path = tmp_path / "hailo8_fw.4.23.0.bin"
    path.write_bytes(build_firmware())
    return path
