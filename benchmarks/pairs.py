"""Two things measured in turn, so that a machine whose speed drifts hits both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Median seconds per unit of work of ours and of the peer, and the median of the pairwise speed ratios."""

    ours_s: float
    peer_s: float
    speed_ratio: float


def measure_pair(
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    ours_units: int = 1,
    peer_units: int = 1,
    rounds: int = 15,
    seconds: float = 0.15,
) -> Pair:
    """Run both in turn, ``rounds`` times for about ``seconds`` each; ratio above 1 means that ours is faster."""
    ours_calls, peer_calls = calls_for(ours, seconds), calls_for(peer, seconds)
    ours_times, peer_times = [], []
    for _ in range(rounds):
        ours_times.append(timed(ours, ours_calls) / ours_units)
        peer_times.append(timed(peer, peer_calls) / peer_units)
    ratios = [p / o for o, p in zip(ours_times, peer_times, strict=True)]
    return Pair(statistics.median(ours_times), statistics.median(peer_times), statistics.median(ratios))


def calls_for(work: Callable[[], object], seconds: float) -> int:
    """Return how many calls fill ``seconds``, after a warm-up."""
    work()
    once = min(timed(work, 1) for _ in range(3))
    return max(1, int(seconds / max(once, 1e-7)))


def timed(work: Callable[[], object], calls: int) -> float:
    """Return the seconds one call took, over ``calls`` calls."""
    started = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - started) / calls
