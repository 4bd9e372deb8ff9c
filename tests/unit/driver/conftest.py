"""A link over the scripted function."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("driver_fakes", Path(__file__).with_name("fakes.py"))
assert _spec is not None and _spec.loader is not None
fakes: Any = importlib.util.module_from_spec(_spec)
sys.modules["driver_fakes"] = fakes
_spec.loader.exec_module(fakes)

from driver_fakes import FakeChip  # noqa: E402

from openhailo.driver.pcie_link import LinkOptions, PcieLink  # noqa: E402


@pytest.fixture
def chip() -> FakeChip:
    """A chip whose firmware runs already."""
    return FakeChip()


@pytest.fixture
def options(chip: FakeChip) -> LinkOptions:
    """Options on the chip's clock."""
    return LinkOptions(clock=chip.clock, pause=chip.clock.sleep)


@pytest.fixture
def link(chip: FakeChip, options: LinkOptions) -> Iterator[PcieLink]:
    """An attached link."""
    with PcieLink(chip, options=options) as attached:
        chip.log.clear()
        yield attached
