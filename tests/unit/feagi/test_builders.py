"""Recipes: counts, statistics, and what makes no network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from openhailo.burst import Engine
from openhailo.errors import InputError
from openhailo.feagi.builders import (
    build_layered,
    build_random,
    build_small_world,
    build_steady,
    build_topographic,
    steady_start,
)


def test_random() -> None:
    network = build_random(5000, 8, inhibitory=0.3, weight=3, psp=4, seed=7, threshold=9.0)
    synapses = network.synapses
    assert len(synapses) == 40_000
    assert (np.diff(synapses.row_start) == 8).all()
    assert 0.27 < synapses.kind.mean() < 0.33
    assert (synapses.kind.reshape(5000, 8) == synapses.kind.reshape(5000, 8)[:, :1]).all(), "a source has one kind"
    arrivals = np.bincount(synapses.target, minlength=5000)
    assert abs(arrivals.var() / 8 - 1) < 0.15, "in-degrees are spread like those of random targets"
    assert (synapses.weight == 3).all()
    assert np.array_equal(build_random(5000, 8, seed=7).synapses.target, synapses.target)


def test_small_world() -> None:
    ring = build_small_world(100, 4, rewired=0.0).synapses
    assert sorted(ring.target[:4].tolist()) == [1, 2, 98, 99]
    mixed = build_small_world(4000, 10, rewired=0.2, seed=3).synapses
    distance = (mixed.target.astype(int) - mixed.sources()) % 4000
    far = np.minimum(distance, 4000 - distance) > 5
    assert 0.18 < far.mean() < 0.22


def test_layered() -> None:
    network = build_layered([10, 20, 5], 3)
    source, target = network.synapses.sources(), network.synapses.target
    assert len(source) == 90
    assert ((source < 10) == (target < 30)).all()
    assert (network.neurons.area == np.repeat([3, 4, 5], [10, 20, 5])).all()
    assert len(build_layered([4]).synapses) == 0


def test_topographic() -> None:
    network = build_topographic((4, 6), 1, inhibit_around=True)
    synapses = network.synapses
    assert len(network.neurons) == 48
    lengths = np.diff(synapses.row_start)[:24].reshape(4, 6)
    assert lengths[0, 0] == 4
    assert lengths[1, 1] == 9
    assert synapses.target[synapses.kind == 0].tolist() == list(range(24, 48))


def test_steady() -> None:
    engine = Engine(build_steady(4000, 10))
    assert len(engine.step(steady_start(4000)).fired) == 60
    counts = {len(engine.step().fired) for _ in range(100)}
    assert counts == {60}


@pytest.mark.parametrize(
    "make",
    [
        lambda: build_random(0),
        lambda: build_random(10, -1),
        lambda: build_random(10, 2, inhibitory=1.5),
        lambda: build_random(10, 2, weight=256),
        lambda: build_random(1 << 20, 1 << 20),
        lambda: build_small_world(4, 4),
        lambda: build_layered([]),
        lambda: build_layered([3, 0]),
        lambda: build_topographic((0, 4)),
        lambda: build_steady(0),
    ],
)
def test_what_makes_no_network(make: Any) -> None:
    with pytest.raises(InputError):
        make()
