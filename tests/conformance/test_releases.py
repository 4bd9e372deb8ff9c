"""Every check that can be asked of a chip behind a kernel driver, through the virtual driver of each release."""

from __future__ import annotations

import pytest

from openhailo.testing.check import Check
from openhailo.testing.conformance import load
from openhailo.testing.reference import RELEASES
from openhailo.testing.rig import Rig
from openhailo.testing.rig_kernel import KEPT, KernelRig

CHECKS = load()
APPLICABLE = [one for one in CHECKS if not one.missing(KernelRig.capabilities)]


@pytest.mark.parametrize("one", APPLICABLE, ids=[one.name for one in APPLICABLE])
@pytest.mark.parametrize("release", RELEASES)
def test_release(release: str, one: Check) -> None:
    with KernelRig(release) as rig:
        one.run(rig)


class NodeOnly(Rig):
    """What is known of a real card behind a kernel driver: its node."""

    capabilities = frozenset({"link", "device_file"})

    def __init__(self, rig: KernelRig) -> None:
        super().__init__(None)
        self._rig = rig

    def open_file(self):
        return self._rig.open_file()


SAFE = [one for one in CHECKS if "device_file" in one.needs and not one.missing(NodeOnly.capabilities)]


@pytest.mark.parametrize("one", SAFE, ids=[one.name for one in SAFE])
@pytest.mark.parametrize("release", ["4.17.1", "4.20.0", "4.22.0"])
def test_checks_of_the_node_alone(release: str, one: Check) -> None:
    """They are honest about their needs, so that they can be asked of a card."""
    with KernelRig(release) as rig:
        one.run(NodeOnly(rig))


def test_what_does_not_apply_is_what_the_kernel_driver_keeps() -> None:
    """Nothing is left out but what needs registers or the work of our own driver, and that is the smaller part."""
    on_twins = [one for one in CHECKS if "device_file" not in one.needs]
    for one in CHECKS:
        lacking = set(one.needs) - KernelRig.capabilities
        assert lacking <= KEPT.keys(), one.name
    assert sum(one in APPLICABLE for one in on_twins) >= 0.8 * len(on_twins)
