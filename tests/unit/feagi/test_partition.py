"""A network in parts fires as the whole does: engines, chips, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import openhailo
from openhailo.burst import Engine, Network, Neurons, Synapses
from openhailo.errors import BufferTooLarge, InferenceFailed, InputError
from openhailo.feagi.builders import build_layered, build_small_world
from openhailo.feagi.part import ChipPart
from openhailo.feagi.partition import (
    MpiPartitioned,
    Partitioned,
    cut_synapses,
    split_by_area,
    split_by_cut,
    split_evenly,
)

from .networks import cases, random_inputs, random_network


@given(cases, st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_parts_are_the_whole(case: Any, parts: int, batch: int) -> None:
    seed, count, precision, mode = case
    rng = np.random.default_rng(seed)
    network = random_network(rng, count, precision)
    owners = rng.integers(0, parts, count)
    options = {"batch_candidates": max(1, batch)}
    whole = Engine(network, mode, **options)
    together = Partitioned.of_engines(network, owners, mode, parallel=False, **options)
    for _ in range(8):
        inputs = random_inputs(rng, count)
        expected, seen = whole.step(inputs), together.step(inputs)
        assert seen.fired.tolist() == expected.fired.tolist()
        assert seen.potentials.tolist() == expected.potentials.tolist()
        assert (seen.candidates, seen.burst) == (expected.candidates, expected.burst)
    for part, state in zip(np.unique(owners), together.states(), strict=True):
        assert np.array_equal(state.potential[owners == part], whole.state.potential[owners == part])


def test_threads_change_nothing() -> None:
    network = build_small_world(2000, 10, weight=3, psp=4, threshold=9.0)
    whole, together = Engine(network), Partitioned.of_engines(network, split_evenly(network, 3))
    rng = np.random.default_rng(1)
    for _ in range(20):
        inputs = (rng.choice(2000, 300, replace=False), np.full(300, 20.0))
        assert np.array_equal(together.step(inputs).fired, whole.step(inputs).fired)
    together.reset()
    whole.reset()
    assert np.array_equal(together.step(inputs).fired, whole.step(inputs).fired)
    together.close()


@pytest.mark.parametrize(("precision", "seed"), [("int8", 1), ("int8", 8), ("fp32", 3)])
def test_chips_and_engine_share_a_network(precision: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, 300, precision, degree=12)
    owners = rng.integers(0, 3, 300)
    whole = Engine(network)
    with (
        openhailo.open("twin:") as first,
        openhailo.open("twin:") as second,
        ChipPart(network, owners == 0, first) as left,
        ChipPart(network, owners == 1, second) as right,
    ):
        together = Partitioned([left, right, Engine(network, owned=owners == 2)])
        for _ in range(25):
            inputs = (rng.choice(300, 40, replace=False), np.full(40, 40.0))
            expected, seen = whole.step(inputs), together.step(inputs)
            assert np.array_equal(seen.fired, expected.fired)
        for part in (0, 1):
            state = together.states()[part]
            assert np.array_equal(state.potential[owners == part], whole.state.potential[owners == part])
        together.close()


def test_a_network_that_is_too_large_for_one_chip() -> None:
    count = 1_900_000
    network = Network(
        Neurons.create(count, "fp32", threshold=10.0, leak=0.0),
        Synapses.from_edges(count, [0, count - 1], [count - 1, 0], 5, 5),
    )
    owners = split_evenly(network, 2)
    with openhailo.open("twin:") as first, openhailo.open("twin:") as second:
        with pytest.raises(BufferTooLarge):
            ChipPart(network, np.ones(count, np.bool_), first)
        with ChipPart(network, owners == 0, first) as left, ChipPart(network, owners == 1, second) as right:
            together = Partitioned([left, right])
            fired = [together.step(([0], [50.0]) if n == 0 else None).fired.tolist() for n in range(4)]
            assert fired == [[0], [count - 1], [0], [count - 1]]
            together.close()


def test_a_part_keeps_its_order() -> None:
    network = random_network(np.random.default_rng(1), 20)
    with openhailo.open("twin:") as device, ChipPart(network, np.ones(20, np.bool_), device) as part:
        with pytest.raises(InferenceFailed, match="BAD_ORDER"):
            part.update(0)
        with pytest.raises(InferenceFailed, match="BAD_COMMAND"):
            part.process_burst()
        part.set_fired([3, 2], np.zeros(2, np.int8))
        with pytest.raises(InferenceFailed, match="BAD_NEURON"):
            part.propagate()


def test_splits() -> None:
    layered = build_layered([100, 50, 30, 20], 4)
    owners = split_by_area(layered, 2)
    assert np.bincount(owners).tolist() == [100, 100]
    assert all(len(set(owners[layered.neurons.area == area])) == 1 for area in range(3, 7))
    ring = build_small_world(1000, 6, rewired=0.05, seed=2)
    shuffled = np.random.default_rng(0).permutation(1000)
    mixed = Network(
        ring.neurons, Synapses.from_edges(1000, shuffled[ring.synapses.sources()], shuffled[ring.synapses.target])
    )
    even, cut = split_evenly(mixed, 4), split_by_cut(mixed, 4)
    assert cut_synapses(mixed, cut) < 0.8 * cut_synapses(mixed, even)
    assert np.bincount(cut).max() <= 263
    assert cut_synapses(ring, split_evenly(ring, 4)) < 600
    for split, parts in ((split_evenly, 0), (split_by_area, 9), (split_by_cut, 5000)):
        with pytest.raises(InputError):
            split(layered, parts)
    with pytest.raises(InputError):
        Partitioned([])


class Rank:
    """A communicator of one process that answers for another rank as well."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def Get_rank(self) -> int:
        return 0

    def allreduce(self, value: int) -> int:
        self.candidates = value + self.other.propagate(self.inputs)
        return self.candidates

    def allgather(self, value: Any) -> list[Any]:
        return [value, self.other.update(self.candidates)]


def test_ranks() -> None:
    rng = np.random.default_rng(4)
    network = random_network(rng, 60)
    owners = rng.integers(0, 2, 60)
    rank = Rank(Engine(network, owned=owners == 1))
    part, whole = MpiPartitioned.of_engine(network, owners, rank), Engine(network)
    for _ in range(10):
        rank.inputs = random_inputs(rng, 60)
        result = part.step(rank.inputs)
        rank.other.set_fired(result.fired, result.potentials)
        assert np.array_equal(result.fired, whole.step(rank.inputs).fired)
