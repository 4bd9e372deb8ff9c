"""A burst loop that keeps a rate: due times are multiples of the period, so lateness never adds up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from openhailo.errors import InvalidParameter

DEFAULT_HZ: Final = 1000.0
#: Times that percentiles are made of; older ones are forgotten.
WINDOW: Final = 4096
#: The last stretch before a due time is not slept through: a sleeping thread wakes up late.
SPIN_S: Final = 0.0002


@dataclass(frozen=True)
class RealtimeStatistics:
    """How a loop is doing.

    Attributes:
        bursts: that ran.
        missed: that ended after the next one was due.
        skipped: due times that passed while a burst was still running; no burst was run for them.
        elapsed_s: since the start.
        achieved_hz: bursts a second.
        fired: neurons that fired, per burst.
        burst_s: time of a burst: median.
        worst_s: and the longest of the last ones.
        jitter_s: how late bursts began: 99 of 100 began within this.
    """

    bursts: int
    missed: int
    skipped: int
    elapsed_s: float
    achieved_hz: float
    fired: float
    burst_s: float
    worst_s: float
    jitter_s: float


@dataclass
class _Window:
    """The last values of something."""

    values: np.ndarray[Any, np.dtype[np.float64]] = field(default_factory=lambda: np.zeros(WINDOW))
    count: int = 0

    def add(self, value: float) -> None:
        self.values[self.count % WINDOW] = value
        self.count += 1

    def percentile(self, part: float) -> float:
        return float(np.percentile(self.values[: min(self.count, WINDOW)], part)) if self.count else 0.0


class BurstLoop:
    """Calls ``burst(number)`` at a fixed rate; it returns how many neurons fired.

    A burst that ends after the next one is due is a missed deadline. The loop does not run faster afterwards to make up
    for it: due times that have passed are skipped, and counted.

    Args:
        burst: what to do; its argument counts from 0.
        rate_hz: bursts a second.
        clock, sleep: of this computer, unless a test says otherwise.
    """

    def __init__(
        self,
        burst: Callable[[int], int],
        rate_hz: float = DEFAULT_HZ,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if not 0 < rate_hz <= 1e6:
            raise InvalidParameter(what="rate", detail=f"{rate_hz} Hz is not in 0..1000000")
        self._burst, self._period, self._clock, self._sleep = burst, 1.0 / rate_hz, clock, sleep
        self._times, self._late = _Window(), _Window()
        self._bursts = self._missed = self._skipped = self._fired = 0
        self._started = self._ended = 0.0
        self._stopping = False

    def stop(self) -> None:
        """End `run` after the burst that runs; may be called from the burst itself, or another thread."""
        self._stopping = True

    def run(
        self,
        seconds: float,
        *,
        report: Callable[[RealtimeStatistics], object] | None = None,
        every_s: float = 1.0,
    ) -> RealtimeStatistics:
        """Run for ``seconds``; ``report`` gets statistics about ``every_s``. Return those of the whole run."""
        self._begin()
        slots, slot, next_report = round(seconds / self._period), 0, every_s
        while slot < slots and not self._stopping:
            due = self._started + slot * self._period
            self._wait_until(due)
            begun = self._clock()
            self._fired += self._burst(self._bursts)
            ended = self._clock()
            self._account(begun - due, ended - begun)
            slot = self._next_slot(slot, ended)
            if report is not None and ended - self._started >= next_report:
                report(self.statistics)
                next_report += every_s
        if not self._stopping:
            self._wait_until(self._started + slots * self._period)
        self._ended = self._clock()
        return self.statistics

    def _begin(self) -> None:
        self._times, self._late = _Window(), _Window()
        self._bursts = self._missed = self._skipped = self._fired = 0
        self._stopping, self._ended = False, 0.0
        self._started = self._clock()

    def _account(self, late: float, took: float) -> None:
        self._bursts += 1
        self._times.add(took)
        self._late.add(late)

    def _next_slot(self, slot: int, now: float) -> int:
        """Return the next due time, as a number of periods."""
        following = slot + 1
        if now <= self._started + following * self._period:
            return following
        self._missed += 1
        passed = int((now - self._started) / self._period)
        self._skipped += max(0, passed - following)
        return max(following, passed)

    def _wait_until(self, due: float) -> None:
        left = due - self._clock()
        if left > SPIN_S:
            self._sleep(left - SPIN_S)
        while self._clock() < due:
            self._sleep(0)

    @property
    def statistics(self) -> RealtimeStatistics:
        """How it is going."""
        elapsed = (self._ended or self._clock()) - self._started
        bursts = self._bursts
        return RealtimeStatistics(
            bursts=bursts,
            missed=self._missed,
            skipped=self._skipped,
            elapsed_s=elapsed,
            achieved_hz=bursts / elapsed if elapsed > 0 else 0.0,
            fired=self._fired / bursts if bursts else 0.0,
            burst_s=self._times.percentile(50),
            worst_s=self._times.percentile(100),
            jitter_s=self._late.percentile(99),
        )
