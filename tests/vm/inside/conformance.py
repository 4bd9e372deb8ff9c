"""The conformance suite through VFIO: every check but those that need virtual time, or a kernel driver's node."""

from __future__ import annotations

import time
from collections import Counter

from openhailo.bus.registry import open_endpoint
from openhailo.testing.check import Mismatch
from openhailo.testing.conformance import load
from openhailo.testing.rig import Lacking

from .bus import Function
from .remote import RemoteRig, Session

#: What only a chip in the same process can be asked, by name, and why.
HERE_ONLY = {
    "boot.sleeping_bars_do_not_answer": "a kernel ends processes that touch BARs of a function that sleeps",
    "vdma.high_addresses": "memory that VFIO gives here lies below 4 GiB",
    "vdma.bad_descriptors": "what lies behind a buffer is another buffer of the same process here",
}
#: How a check ends that wants an access refused which no fact allows.
VIOLATION = "should have raised TwinViolation"


def steps(outside, settings):
    """Return one step that runs all checks; each is reported by name."""
    function = Function(settings["ports"][0])

    def suite():
        function.bind()
        session = Session(outside, open_endpoint(function.name).function)
        failed, skipped = {}, Counter()
        checks = load()
        for one in checks:
            missing = one.missing(RemoteRig.capabilities) or HERE_ONLY.get(one.name)
            if missing:
                skipped[missing] += 1
                continue
            outside.report(begins=one.name)  # a check that ends this process cannot report
            started = time.monotonic()
            try:
                with RemoteRig(session) as rig:
                    one.run(rig)
            except Mismatch as mismatch:
                if not str(mismatch).endswith(VIOLATION):
                    failed[one.name] = str(mismatch)
                else:
                    skipped["a violation is reported by the server, it cannot be raised here"] += 1
                    continue
            except Lacking as lacking:
                skipped[str(lacking)] += 1
                continue
            except Exception as error:
                failed[one.name] = f"{type(error).__name__}: {error}"
            outside.report(check=one.name, seconds=round(time.monotonic() - started, 3), ok=one.name not in failed)
        session.function.close()
        passed = len(checks) - skipped.total() - len(failed)
        outside.report(conformance={"passed": passed, "failed": failed, "skipped": skipped, "total": len(checks)})
        assert not failed, failed
        return {"passed": passed}

    return [("suite", suite)]
