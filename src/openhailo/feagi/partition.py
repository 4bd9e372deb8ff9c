"""One network in several parts that run at the same time: engines, chips, processes; the same bits as in one piece.

A part computes its own neurons. What fired anywhere goes to every part before the next burst, so a spike arrives one
burst later, as everywhere. The number of candidates decides between two ways to compute (feagi.md 6), so parts agree on
it in the middle of a burst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from openhailo.burst import BurstResult, Engine, Network, State
from openhailo.errors import InputError

from .part import Inputs, Part

Owners = npt.NDArray[np.int64]
#: Neighbourhoods are looked at so often; later rounds hardly move anything.
ROUNDS: Final = 8
#: A part may be larger than its share by so much.
SLACK: Final = 0.05


def split_evenly(network: Network, parts: int) -> Owners:
    """Return the part of each neuron: equal stretches of ids. Raises `InputError`."""
    count = len(network.neurons)
    if not 1 <= parts <= max(count, 1):
        raise InputError(what="parts", detail=f"{parts} for {count} neurons")
    return np.arange(count, dtype=np.int64) * parts // max(count, 1)


def split_by_area(network: Network, parts: int) -> Owners:
    """Return the part of each neuron: whole areas, the largest first, each to the part that has least so far.

    Raises `InputError`.
    """
    areas, sizes = np.unique(network.neurons.area, return_counts=True)
    if not 1 <= parts <= len(areas):
        raise InputError(what="parts", detail=f"{parts} for {len(areas)} areas")
    owner_of_area = np.zeros(1 << 16, np.int64)
    load = np.zeros(parts, np.int64)
    for area, size in sorted(zip(areas.tolist(), sizes.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])):
        part = int(np.argmin(load))
        owner_of_area[area] = part
        load[part] += size
    return owner_of_area[network.neurons.area]


def split_by_cut(network: Network, parts: int, *, rounds: int = ROUNDS) -> Owners:
    """Return the part of each neuron: neurons move to where most of their neighbours are, while parts stay even.

    Starts from equal stretches of ids, so the result never cuts more synapses than those do. Raises `InputError`.
    """
    owners = best = split_evenly(network, parts)
    count, limit = len(owners), int(np.ceil(len(owners) / parts * (1 + SLACK)))
    source, target = network.synapses.sources().astype(np.int64), network.synapses.target.astype(np.int64)
    inside = target < count
    source, target = source[inside], target[inside]
    fewest = _cut(owners, source, target)
    for _ in range(rounds):
        near = np.bincount(source * parts + owners[target], minlength=count * parts)
        near += np.bincount(target * parts + owners[source], minlength=count * parts)
        near = near.reshape(count, parts)
        owners = _moved(owners, near, limit)
        cut = _cut(owners, source, target)
        if cut >= fewest:
            break
        fewest, best = cut, owners
    return best


def _cut(owners: Owners, source: npt.NDArray[Any], target: npt.NDArray[Any]) -> int:
    return int(np.count_nonzero(owners[source] != owners[target]))


def _moved(owners: Owners, near: npt.NDArray[Any], limit: int) -> Owners:
    """Move neurons with the most to gain, as far as the parts have room."""
    wanted = near.argmax(axis=1)
    places = np.arange(len(owners))
    gain = near[places, wanted] - near[places, owners]
    movers = np.flatnonzero(gain > 0)
    movers = movers[np.argsort(-gain[movers], kind="stable")]
    room = limit - np.bincount(owners, minlength=near.shape[1])
    moved = owners.copy()
    for part in range(near.shape[1]):
        going = movers[wanted[movers] == part][: max(0, int(room[part]))]
        moved[going] = part
    return moved


def cut_synapses(network: Network, owners: npt.NDArray[Any]) -> int:
    """Return how many synapses go from one part to another."""
    inside = network.synapses.target < len(owners)
    return _cut(np.asarray(owners), network.synapses.sources()[inside], network.synapses.target[inside])


class Partitioned:
    """Parts that run one network together; `step` is what an engine's is."""

    def __init__(self, parts: Sequence[Part], *, parallel: bool = True) -> None:
        """Run ``parts``, each of which owns other neurons; ``parallel`` gives each a thread."""
        if not parts:
            raise InputError(what="parts", detail="none")
        self.parts = tuple(parts)
        self._pool = ThreadPoolExecutor(len(parts), "openhailo part") if parallel and len(parts) > 1 else None
        self._last: BurstResult | None = None

    @classmethod
    def of_engines(
        cls, network: Network, owners: npt.ArrayLike, mode: str = "npu", *, parallel: bool = True, **options: Any
    ) -> Self:
        """Return ``network`` in an engine per number in ``owners``; ``options`` go to the engines."""
        numbers = np.asarray(owners)
        engines = [Engine(network, mode, owned=numbers == part, **options) for part in np.unique(numbers)]
        return cls(engines, parallel=parallel)

    def _each(self, work: Callable[[Part], Any]) -> list[Any]:
        return list((self._pool.map if self._pool else map)(work, self.parts))

    def step(self, inputs: Inputs | None = None) -> BurstResult:
        """One burst of the whole network."""
        candidates = sum(self._each(lambda part: part.propagate(inputs)))
        results = self._each(lambda part: part.update(candidates))
        merged = merge(results, candidates)
        for part in self.parts:
            part.set_fired(merged.fired, merged.potentials)
        self._last = merged
        return merged

    def reset(self) -> None:
        """Go back to the beginning."""
        for part in self.parts:
            part.reset()

    def states(self) -> list[State]:
        """The state of each part."""
        return [part.state for part in self.parts]

    def close(self) -> None:
        """Stop the threads; the parts are the caller's. Idempotent."""
        if self._pool is not None:
            self._pool.shutdown()


def merge(results: Sequence[BurstResult], candidates: int) -> BurstResult:
    """Put the results of all parts together."""
    fired = np.concatenate([result.fired for result in results])
    potentials = np.concatenate([result.potentials for result in results])
    order = np.argsort(fired, kind="stable")
    return BurstResult(
        fired=fired[order],
        potentials=potentials[order],
        burst=results[0].burst,
        candidates=candidates,
        power_injections=sum(result.power_injections for result in results),
        synaptic_injections=sum(result.synaptic_injections for result in results),
        refractory=sum(result.refractory for result in results),
    )


class MpiPartitioned:
    """The part of this process in a network that runs on all ranks of an MPI communicator (``mpi4py``).

    Every rank gives the same inputs to `step`, and gets the same result.
    """

    def __init__(self, part: Part, communicator: Any) -> None:
        """Run ``part`` on this rank of ``communicator``."""
        self.part, self._comm = part, communicator

    @classmethod
    def of_engine(
        cls, network: Network, owners: npt.ArrayLike, communicator: Any, mode: str = "npu", **options: Any
    ) -> Self:
        """Return this rank's neurons of ``network`` in an engine; ``owners`` are ranks."""
        owned = np.asarray(owners) == communicator.Get_rank()
        return cls(Engine(network, mode, owned=owned, **options), communicator)

    def step(self, inputs: Inputs | None = None) -> BurstResult:
        """One burst of the whole network."""
        candidates = int(self._comm.allreduce(self.part.propagate(inputs)))
        merged = merge(self._comm.allgather(self.part.update(candidates)), candidates)
        self.part.set_fired(merged.fired, merged.potentials)
        return merged
