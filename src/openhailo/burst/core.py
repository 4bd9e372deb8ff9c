"""What an engine drives: the core protocol, and what one burst and many bursts give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

BATCH_CANDIDATES = 10_000
"""Candidates from which the npu updates in batches (feagi.md 6)."""
LAZY_RESET_NEURONS = 1_000_000
"""Neurons from which only those that fired lose a charge that does not accumulate (feagi.md 5 step 1)."""

Ids = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Settings:
    """How a core computes; the two numbers are FEAGI's unless a test says otherwise."""

    mode: str = "npu"
    threads: int = 1
    batch_candidates: int = BATCH_CANDIDATES
    lazy_reset_neurons: int = LAZY_RESET_NEURONS


@dataclass(frozen=True)
class BurstResult:
    """One burst.

    Attributes:
        fired: ids of the neurons that fired, ascending.
        potentials: their potentials at that moment, before reset (stored values).
        burst: number of the burst; the first is 1.
        candidates: neurons that received something.
        power_injections: power and fatigue contributions.
        synaptic_injections: contributions of synapses.
        refractory: valid candidates (embedded: valid neurons) left with a countdown above 0.
    """

    fired: Ids
    potentials: npt.NDArray[Any]
    burst: int
    candidates: int
    power_injections: int
    synaptic_injections: int
    refractory: int


@dataclass(frozen=True)
class RunResult:
    """Many bursts: burst ``i`` fired ``fired[offsets[i]:offsets[i + 1]]``; ``candidates`` has one count per burst."""

    offsets: npt.NDArray[np.int64]
    fired: Ids
    candidates: npt.NDArray[np.int64]
    first_burst: int

    def __len__(self) -> int:
        return len(self.candidates)

    def __getitem__(self, index: int) -> Ids:
        """Ids that fired in the run's burst ``index``, ascending."""
        start = range(len(self))[index]
        return self.fired[self.offsets[start] : self.offsets[start + 1]]


@dataclass(frozen=True)
class State:
    """What changes from burst to burst. ``fired`` and ``potentials`` are those of the burst before."""

    potential: npt.NDArray[Any]
    refractory_countdown: npt.NDArray[np.uint16]
    consecutive_count: npt.NDArray[np.uint16]
    fired: Ids
    potentials: npt.NDArray[Any]
    burst: int


class Core(Protocol):
    """A network in executable form; every implementation gives the same bits."""

    def propagate(self, ids: Ids, values: npt.NDArray[np.float32]) -> int:
        """Begin the next burst: add up what neurons receive; return the number of candidates."""
        ...

    def update(self, candidates: int) -> BurstResult:
        """End the burst: change the neurons; ``candidates`` decides between the npu's two ways."""
        ...

    def step(self, ids: Ids, values: npt.NDArray[np.float32]) -> BurstResult:
        """A whole burst."""
        ...

    def run(self, count: int, offsets: npt.NDArray[np.int64], ids: Ids, values: npt.NDArray[np.float32]) -> RunResult:
        """``count`` bursts; burst ``i`` gets inputs ``offsets[i]:offsets[i + 1]``."""
        ...

    def state(self) -> State:
        """A copy of the present state."""
        ...

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        ...

    def set_fired(self, fired: Ids, potentials: npt.NDArray[Any]) -> None:
        """Take these (ascending ids) as what fired in the burst before."""
        ...
