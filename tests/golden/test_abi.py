"""Both readings of the kernel driver's ABI, the link's and the virtual driver's, against the facts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.golden.abi import BEHAVIOUR, NINE, AbiFacts

from openhailo.spec.ioctl import KERNEL


@pytest.mark.facts
@pytest.mark.parametrize("release", NINE)
def test_every_value_of_a_release(shared_dir: Path, release: str, checked) -> None:
    compared, different = AbiFacts(shared_dir).count(KERNEL)[release]
    assert different == []
    checked(compared, 500)


@pytest.mark.facts
def test_nothing_differs(shared_dir: Path) -> None:
    assert AbiFacts(shared_dir).differences(KERNEL) == []


def test_behaviour_has_a_column_for_each_release() -> None:
    assert {name: len(row) for name, row in BEHAVIOUR.items()} == dict.fromkeys(BEHAVIOUR, len(NINE))
    for name, row in BEHAVIOUR.items():
        assert [getattr(release.behaviour, name) for release in KERNEL.releases.values()] == row
