"""A network on this computer and an accelerator at once (feagi.md 2: ``HybridCpuHailo``).

The design's version adds the counts of two networks that know nothing of each other. Here they are one: spikes cross
the boundary, one burst later as everywhere, and what fires is what fires in the undivided network, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.burst import BurstResult, Engine, Network
from openhailo.errors import InvalidParameter

from .packing import Mask
from .part import ChipPart, Inputs, Part
from .partition import Partitioned

#: Parts of the neurons on the accelerator that the tuner tries.
SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


class Strategy(StrEnum):
    """Which neurons stay on this computer.

    LATENCY: those that inputs reach first (given as ``critical``), whose answer must not wait for a device.
    SIZE: small areas; large ones go to the accelerator until its share is full.
    FREQUENCY: those that fire most (measured); the accelerator gets the many that seldom do.
    """

    LATENCY = "latency"
    SIZE = "size"
    FREQUENCY = "frequency"


def place(
    network: Network,
    strategy: Strategy | str = Strategy.SIZE,
    *,
    share: float = 0.5,
    critical: npt.ArrayLike = (),
    inputs: Iterable[Inputs | None] = (),
    mode: str = "npu",
) -> Mask:
    """Return which neurons go to the accelerator (bool each).

    Args:
        network: the whole.
        strategy: how to choose.
        share: part of the neurons for the accelerator, 0 to 1.
        critical: neurons that stay here, whatever the share (latency).
        inputs: bursts to measure firing with (frequency).
        mode: of the engine that measures.

    Raises:
        InvalidParameter: an unknown strategy, or a share beyond 0 to 1.
    """
    if strategy not in tuple(Strategy) or not 0 <= share <= 1:
        raise InvalidParameter(what="placement", detail=f"strategy {strategy!r}, share {share}")
    count = len(network.neurons)
    wanted = round(count * share)
    kept = np.asarray(list(np.asarray(critical).reshape(-1)), np.int64)
    if kept.size and not (kept.min() >= 0 and kept.max() < count):
        raise InvalidParameter(what="critical", detail=f"neurons {kept.min()}..{kept.max()} of {count}")
    chosen = np.zeros(count, np.bool_)
    chosen[_ranking(network, Strategy(strategy), kept, inputs, mode)[:wanted]] = True
    chosen[kept] = False
    return chosen


def _ranking(
    network: Network, strategy: Strategy, critical: npt.NDArray[np.int64], inputs: Iterable[Inputs | None], mode: str
) -> npt.NDArray[np.int64]:
    """Neurons in the order in which they go to the accelerator."""
    if strategy is Strategy.FREQUENCY:
        return np.argsort(_firings(network, inputs, mode), kind="stable")
    if strategy is Strategy.LATENCY:
        return np.argsort(-_distance(network, critical), kind="stable")
    sizes = np.bincount(network.neurons.area, minlength=1 << 16)[network.neurons.area]
    # Areas of equal size stay together.
    return np.lexsort((np.arange(len(sizes)), network.neurons.area, -sizes))


def _firings(network: Network, inputs: Iterable[Inputs | None], mode: str) -> npt.NDArray[np.int64]:
    engine, counts = Engine(network, mode), np.zeros(len(network.neurons), np.int64)
    for entry in inputs:
        counts[engine.step(entry).fired] += 1
    return counts


def _distance(network: Network, critical: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Synapses between the critical neurons and each other one; the number of neurons where there is no way."""
    count, synapses = len(network.neurons), network.synapses
    distance = np.full(count, count, np.int64)
    distance[critical] = 0
    source, target = synapses.sources(), synapses.target
    inside = target < count
    source, target = source[inside], target[inside]
    reached, step = distance == 0, 0
    while True:
        step += 1
        new = np.zeros(count, np.bool_)
        new[target[reached[source]]] = True
        new &= distance == count
        if not new.any():
            return distance
        distance[new] = step
        reached = new


@dataclass(frozen=True)
class Measurement:
    """What the tuner saw: ``share`` of the neurons on the accelerator took ``burst_s`` a burst (median)."""

    share: float
    burst_s: float


class HybridCpuHailo:
    """A network on the engine of this computer and on a chip.

    Args:
        network: the whole.
        on_chip: which neurons are on the chip (`place`).
        device: as for `Hailo8Accelerator`.
        mode: "npu" or "embedded".
        threads: of the engine.
        options: for opening the device.
    """

    def __init__(
        self,
        network: Network,
        on_chip: npt.ArrayLike,
        device: Any = None,
        mode: str = "npu",
        *,
        threads: int = 1,
        **options: Any,
    ) -> None:
        self.on_chip: Mask = np.asarray(on_chip, np.bool_)
        self._chip: ChipPart | None = None
        parts: list[Part] = []
        if self.on_chip.any():
            self._chip = ChipPart(network, self.on_chip, device, mode, **options)
            parts.append(self._chip)
        if not self.on_chip.all() or not parts:
            parts.append(Engine(network, mode, threads, owned=~self.on_chip))
        self._whole = Partitioned(parts)
        self._fetcher = ThreadPoolExecutor(1, "openhailo inputs")

    def process_burst(self, inputs: Inputs | None = None) -> BurstResult:
        """Run one burst of both halves at the same time."""
        return self._whole.step(inputs)

    def run(self, inputs: Iterable[Inputs | None]) -> Iterator[BurstResult]:
        """Run a burst per entry of ``inputs``; the next entry is made while a burst runs (pipelining)."""
        entries = iter(inputs)
        nothing = object()

        def prepare() -> Any:
            return next(entries, nothing)

        ahead = self._fetcher.submit(prepare)
        while (entry := ahead.result()) is not nothing:
            ahead = self._fetcher.submit(prepare)
            yield self._whole.step(entry)

    @property
    def share(self) -> float:
        """Part of the neurons that is on the chip."""
        return float(self.on_chip.mean()) if self.on_chip.size else 0.0

    def temperature_celsius(self) -> float | None:
        """The chip's temperature; None while nothing is on it."""
        return None if self._chip is None else self._chip.temperature_celsius()

    def reset(self) -> None:
        """Go back to the beginning."""
        self._whole.reset()

    def close(self) -> None:
        """Let go of the chip and the threads. Idempotent."""
        self._fetcher.shutdown()
        self._whole.close()
        if self._chip is not None:
            self._chip.close()

    def __enter__(self) -> HybridCpuHailo:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def tune(
    network: Network,
    inputs: Sequence[Inputs | None],
    device: Any = None,
    *,
    strategy: Strategy | str = Strategy.SIZE,
    shares: Sequence[float] = SHARES,
    mode: str = "npu",
    clock: Callable[[], float] = time.perf_counter,
    **options: Any,
) -> tuple[Mask, list[Measurement]]:
    """Measure ``shares`` with ``inputs`` and return the quickest placement, and what was measured.

    ``options`` go to `place` (``critical``). Raises `InvalidParameter` when there is nothing to measure with.
    """
    if not inputs or not shares:
        raise InvalidParameter(what="tuning", detail="inputs and shares are needed")
    measured: list[Measurement] = []
    best: tuple[float, Mask] | None = None
    for share in shares:
        mask = place(network, strategy, share=share, inputs=inputs, mode=mode, **options)
        with HybridCpuHailo(network, mask, device, mode) as hybrid:
            hybrid.process_burst(inputs[0])
            times = []
            for entry in inputs:
                started = clock()
                hybrid.process_burst(entry)
                times.append(clock() - started)
        burst_s = float(np.median(times))
        measured.append(Measurement(share, burst_s))
        if best is None or burst_s < best[0]:
            best = (burst_s, mask)
    assert best is not None, "there was a share"
    return best[1], measured
