"""The conformance suite through VFIO: every check that a function offers which this process owns."""

from __future__ import annotations

import time
from collections import Counter

from openhailo.bus.registry import open_endpoint
from openhailo.testing.conformance import load
from openhailo.testing.rig import FunctionRig
from openhailo.twin.firmware.image import build_placeholder_image

from .bus import Function

#: Beyond what any board offers: this chip executes this project's programs.
PROGRAMS = "programs"


def steps(outside, settings):
    """Return one step that runs all checks; each failure is reported by name."""
    function = Function(settings["ports"][0])

    def suite():
        function.bind()
        rig = open_rig(function)
        failed, skipped = {}, Counter()
        checks = load()
        for one in checks:
            missing = one.missing(rig.capabilities)
            if missing:
                skipped[missing] += 1
                continue
            outside.report(begins=one.name)  # a check that ends this process cannot report
            started = time.monotonic()
            try:
                rig.reset()
                one.run(rig)
            except Exception as error:
                failed[one.name] = f"{type(error).__name__}: {error}"
                rig.close()
                rig = open_rig(function)
            outside.report(check=one.name, seconds=round(time.monotonic() - started, 3), ok=one.name not in failed)
        rig.close()
        ran = len(checks) - skipped.total()
        outside.report(
            conformance={"passed": ran - len(failed), "failed": failed, "skipped": skipped, "total": len(checks)}
        )
        assert not failed, failed
        return {"passed": ran - len(failed)}

    return [("suite", suite)]


def open_rig(function) -> FunctionRig:
    """Open the function as a rig."""
    endpoint = open_endpoint(function.name)
    rig = FunctionRig(endpoint.function, firmware=build_placeholder_image())
    rig.capabilities |= {PROGRAMS}
    return rig
