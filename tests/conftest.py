"""Fixtures shared by every tier."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of facts, HEF files and recorded traces that lies beside the repository."""
    path = REPOSITORY.parent / "shared"
    if not (path / "facts").is_dir():
        pytest.skip("the facts folder is not beside this checkout (it is in CI)")
    return path
