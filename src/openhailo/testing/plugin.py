"""A pytest plugin: ``--device NAME`` and the fixture ``rig``.

Entry point ``openhailo`` in group ``pytest11``. A test that takes ``rig`` gets the device that ``--device`` names, or
``OPENHAILO_DEVICE``, or else a reference twin of its own::

    def test_temperature(rig):
        assert rig.client.chip_temperature().ts0_c < 100
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .rig import Rig, open_rig

DEFAULT_DEVICE = "twin:"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--device``."""
    group = parser.getgroup("openhailo", "openhailo devices")
    group.addoption("--device", default=None, help="device under test, scheme:target (default: a virtual chip)")


def device_name(config: pytest.Config) -> str:
    """Return the device that the user asked for: option, environment, or the twin."""
    return config.getoption("--device", default=None) or os.environ.get("OPENHAILO_DEVICE") or DEFAULT_DEVICE


def is_twin(name: str) -> bool:
    """Tell whether ``name`` is the reference twin, which every test may have for itself."""
    return name in ("twin", "twin:")


@pytest.fixture(scope="session")
def _shared_rig(request: pytest.FixtureRequest) -> Iterator[Rig | None]:
    """The one rig of a real device, None for twins."""
    name = device_name(request.config)
    if is_twin(name):
        yield None
        return
    with open_rig(name) as rig:
        yield rig


@pytest.fixture
def rig(_shared_rig: Rig | None) -> Iterator[Rig]:
    """The device under test: a twin of its own, or the real device brought back to a known state."""
    if _shared_rig is None:
        with open_rig(DEFAULT_DEVICE) as twin:
            yield twin
        return
    _shared_rig.reset()
    yield _shared_rig
