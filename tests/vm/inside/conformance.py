"""The conformance suite through VFIO: every check but those of a kernel driver's node, and a few that say why."""

from __future__ import annotations

import time
from collections import Counter

from openhailo.bus.registry import open_endpoint
from openhailo.testing.conformance import load
from openhailo.testing.rig import Lacking

from .bus import Function
from .remote import RemoteRig, Session

_EXACT = "wants virtual time, which only passes when it is told to"
_SLOW = "waits 5 s for every boot that does not come"
#: What only a chip in the same process can be asked, by name, and why.
HERE_ONLY = {
    "boot.refuses_bad_headers": _SLOW,
    "boot.only_the_trigger_value_boots": _SLOW,
    "boot.driver_gives_up_in_time": _EXACT,
    "boot.driver_polls_the_boot_status": _EXACT,
    "controls.power_statistics": _EXACT,
    "contexts.sleeping_and_halting": _EXACT,
    "contexts.time_stamps": _EXACT,
    "inference.latency": _EXACT,
    "raw.exchange_power": _EXACT,
    "raw.exchange_system": _EXACT,
    "mailbox.driver_waits_one_second": _EXACT,
    "controls.idle_time": _EXACT,
    "boot.sleeping_bars_do_not_answer": "a kernel ends processes that touch BARs of a function that sleeps",
    "vdma.high_addresses": "memory that VFIO gives here lies below 4 GiB",
    "vdma.bad_descriptors": "what lies behind a buffer is another buffer of the same process here",
}
#: Needs of checks that wait without a driver's patience: time is real here and the processors may be busy with others,
#: so such a check may try a second time. How often that was used is reported.
TIMED = {"clock", "raw"}
#: How a check ends that wants an access refused which no fact allows.
VIOLATION = "should have raised TwinViolation"


def steps(outside, settings):
    """Return one step that runs all checks; each is reported by name."""
    function = Function(settings["ports"][0])

    def suite():
        function.bind()
        run = Run(outside, Session(outside, open_endpoint(function.name).function))
        checks = load()
        for one in checks:
            run.take(one)
        run.session.function.close()
        passed = len(checks) - run.skipped.total() - len(run.failed)
        outside.report(
            conformance={"passed": passed, "failed": run.failed, "skipped": run.skipped, "total": len(checks)}
        )
        assert not run.failed, run.failed
        return {"passed": passed, "tried twice": run.again}

    return [("suite", suite)]


class Run:
    """What came out so far."""

    def __init__(self, outside, session: Session) -> None:
        self.outside, self.session = outside, session
        self.failed, self.skipped, self.again = {}, Counter(), 0

    def take(self, one) -> None:
        """Run a check, or count why not."""
        missing = one.missing(RemoteRig.capabilities) or HERE_ONLY.get(one.name)
        if missing:
            self.skipped[missing] += 1
            return
        self.outside.report(begins=one.name)  # a check that ends this process cannot report
        started = time.monotonic()
        problem = self.attempt(one)
        if problem and TIMED & set(one.needs):
            self.again += 1
            problem = self.attempt(one)
        if problem:
            self.failed[one.name] = problem
        self.outside.report(check=one.name, seconds=round(time.monotonic() - started, 3), ok=not problem)

    def attempt(self, one) -> str:
        """Run a check; returns its problem, nothing if it passed or cannot be asked here."""
        try:
            with RemoteRig(self.session) as rig:
                one.run(rig)
        except Lacking as lacking:
            self.skipped[str(lacking)] += 1
        except Exception as error:
            if not str(error).endswith(VIOLATION):
                return f"{type(error).__name__}: {error}"
            self.skipped["a violation is reported by the server, it cannot be raised here"] += 1
        return ""
