"""Every check that can be asked of a chip behind a kernel driver, through the virtual driver of each release."""

from __future__ import annotations

import pytest

from openhailo.testing.check import Check
from openhailo.testing.conformance import load
from openhailo.testing.reference import RELEASES
from openhailo.testing.rig_kernel import KEPT, KernelRig

CHECKS = load()
APPLICABLE = [one for one in CHECKS if not one.missing(KernelRig.capabilities)]


@pytest.mark.parametrize("one", APPLICABLE, ids=[one.name for one in APPLICABLE])
@pytest.mark.parametrize("release", RELEASES)
def test_release(release: str, one: Check) -> None:
    with KernelRig(release) as rig:
        one.run(rig)


def test_what_does_not_apply_is_what_the_kernel_driver_keeps() -> None:
    """Nothing is left out but what needs registers or the work of our own driver, and that is the smaller part."""
    for one in CHECKS:
        lacking = set(one.needs) - KernelRig.capabilities
        assert lacking <= KEPT.keys(), one.name
    assert len(APPLICABLE) >= 0.8 * len(CHECKS)
