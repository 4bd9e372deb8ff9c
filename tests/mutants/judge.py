"""Runs conformance checks against a bent declaration until one fails."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from openhailo.spec.chip import ChipSpec
from openhailo.testing.check import Check
from openhailo.testing.rig import ALL, TwinRig, TwinSetup

from .mutations import Mutant

#: A single check of a healthy twin takes milliseconds.
CHECK_LIMIT_S = 10.0


class Hang(BaseException):
    """A check did not end."""


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant: ``side`` is who noticed it ("twin", "driver"), ``by`` the check that failed."""

    name: str
    refused: bool = False
    side: str = ""
    by: str = ""
    reason: str = ""
    golden: int = 0
    seconds: float = 0.0

    @property
    def caught(self) -> bool:
        """Tell whether a check failed."""
        return bool(self.side)


class Judge:
    """Knows the checks, how long each takes, and which are about what."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = [check for check in checks if not check.missing(ALL)]
        self._cost: dict[str, float] = {}

    def rehearse(self) -> list[str]:
        """Run everything on healthy twins, twice to measure it warm; return what fails."""
        failing: dict[str, str] = {}
        for _ in range(2):
            for check in self._checks:
                started = time.perf_counter()
                failure = run(check, TwinSetup())
                self._cost[check.name] = time.perf_counter() - started
                if failure:
                    failing[check.name] = failure
        return [f"{name}: {why}" for name, why in failing.items()]

    def order(self, mutant: Mutant) -> list[Check]:
        """Return the checks, the most related first and the quickest of those that are equally so."""
        return sorted(self._checks, key=lambda check: (-len(check.about & mutant.tags), self._cost.get(check.name, 0)))

    def judge(self, mutant: Mutant) -> Verdict:
        """Bend the twin's copy, then the driver's, until a check notices."""
        started = time.perf_counter()
        try:
            bent = mutant.build()
            build_twin(bent)
        except Exception as error:
            return Verdict(mutant.name, refused=True, reason=f"{type(error).__name__}: {error}")
        for side, check, setup in self._trials(mutant, bent):
            failure = run(check, setup)
            if failure:
                seconds = time.perf_counter() - started
                return Verdict(mutant.name, side=side, by=check.name, reason=failure, seconds=seconds)
        return Verdict(mutant.name, seconds=time.perf_counter() - started)

    def _trials(self, mutant: Mutant, bent: ChipSpec) -> Iterator[tuple[str, Check, TwinSetup]]:
        """Yield what to try: related checks with the twin bent, then with the driver bent, then all others likewise.

        What only the driver reads is found by the second round, which spares it the many checks of the third.
        """
        checks = self.order(mutant)
        related = [check for check in checks if check.about & mutant.tags]
        others = [check for check in checks if not check.about & mutant.tags]
        for some in (related, others):
            for side, setup in (("twin", TwinSetup(spec=bent)), ("driver", TwinSetup(host_spec=bent))):
                for check in some:
                    yield side, check, setup


def build_twin(spec: ChipSpec) -> None:
    """Build a twin and let its firmware start; a declaration that contradicts itself is refused here."""
    with TwinRig(TwinSetup(spec=spec)) as rig:
        assert rig.twin


def run(check: Check, setup: TwinSetup) -> str:
    """Return why ``check`` fails with ``setup``; empty when it passes."""
    try:
        with limit(CHECK_LIMIT_S), TwinRig(setup) as rig:
            check.run(rig)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a violation or a hang is as good as a wrong value
        return f"{type(error).__name__}: {error}"[:200]
    return ""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise `Hang` in here after ``seconds`` of processor time, so that a busy machine is not taken for a hang."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hang(f"no end after {seconds:g} s of work")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
