"""Every check on one kind of device, counted."""

from __future__ import annotations

import logging

from openhailo.testing.check import Check
from openhailo.testing.conformance import load
from openhailo.testing.rig import TwinRig
from openhailo.testing.rig_kernel import KEPT, KernelRig

from .page import Result

NO_NODE = "a chip without a kernel driver has no node"


def run_device(name: str) -> Result:
    """Run every check on one kind of device, each on a device of its own."""
    logging.disable(logging.CRITICAL)  # broken devices are complained about
    result = Result(name)
    for one in load():
        _run(one, result)
    return result


def _run(one: Check, result: Result) -> None:
    rig = TwinRig() if result.name == "twin" else KernelRig(result.name)
    missing = [need for need in one.needs if need not in rig.capabilities]
    if missing:
        result.left_out[one.subject] += 1
        result.reasons[KEPT.get(missing[0], NO_NODE)] += 1
        return
    try:
        with rig:
            one.run(rig)
    except Exception as error:
        result.failed[one.name] = f"{type(error).__name__}: {error}"
    else:
        result.passed[one.subject] += 1
