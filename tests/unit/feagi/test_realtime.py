"""The burst loop on a clock of its own: due times, deadlines, statistics."""

from __future__ import annotations

import pytest

from openhailo.errors import InvalidParameter
from openhailo.feagi.realtime import BurstLoop, RealtimeStatistics


class Clock:
    """Time that passes when somebody sleeps, or says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-5)


def loop(clock: Clock, durations: list[float], rate: float = 100.0) -> tuple[BurstLoop, list[float]]:
    begun: list[float] = []

    def burst(number: int) -> int:
        begun.append(clock.now - 100.0)
        clock.now += durations[number % len(durations)]
        return 7

    return BurstLoop(burst, rate, clock=clock, sleep=clock.sleep), begun


def test_a_loop_in_time() -> None:
    clock = Clock()
    made, begun = loop(clock, [0.004])
    statistics = made.run(1.0)
    assert (statistics.bursts, statistics.missed, statistics.skipped) == (100, 0, 0)
    assert statistics.achieved_hz == pytest.approx(100, rel=1e-3)
    assert statistics.fired == 7
    assert statistics.burst_s == pytest.approx(0.004)
    assert begun[-1] == pytest.approx(0.99, abs=1e-4), "lateness does not add up"
    assert statistics.jitter_s < 1e-4


def test_deadlines_that_are_missed() -> None:
    clock = Clock()
    made, begun = loop(clock, [0.004, 0.035, 0.004, 0.004])
    statistics = made.run(0.12)
    # The second burst runs from 10 to 45 ms: 20 and 30 ms pass without one, that of 40 ms begins late.
    assert begun[:4] == pytest.approx([0.0, 0.01, 0.045, 0.05], abs=1e-4)
    assert statistics.missed == 2
    assert statistics.skipped == 4
    assert statistics.worst_s == pytest.approx(0.035)


def test_reports_and_an_end() -> None:
    clock = Clock()
    made, _ = loop(clock, [0.001])
    reports: list[RealtimeStatistics] = []

    def report(statistics: RealtimeStatistics) -> None:
        reports.append(statistics)
        if len(reports) == 3:
            made.stop()

    statistics = made.run(100.0, report=report, every_s=0.5)
    assert [entry.elapsed_s for entry in reports] == pytest.approx([0.501, 1.001, 1.501], abs=0.011)
    assert statistics.bursts == reports[-1].bursts


def test_rates() -> None:
    for rate in (0, -1, 2e6):
        with pytest.raises(InvalidParameter):
            BurstLoop(lambda _: 0, rate)
