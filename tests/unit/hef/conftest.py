"""Fixtures over the samples, and the real files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hef_samples import REAL, SAMPLES, minimal_hef

from openhailo.hef.model import Hef


@pytest.fixture
def minimal() -> Hef:
    return minimal_hef()


@pytest.fixture(params=sorted(SAMPLES))
def any_hef(request: pytest.FixtureRequest) -> Hef:
    """Each of the samples."""
    return SAMPLES[request.param]()


@pytest.fixture(params=REAL)
def real_path(request: pytest.FixtureRequest, shared_dir: Path) -> Path:
    """Each of the real files."""
    path: Path = shared_dir / "hefs" / f"{request.param}.hef"
    return path
