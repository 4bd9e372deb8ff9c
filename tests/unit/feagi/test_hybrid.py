"""Computer and chip together: the bits of the whole network, whatever is where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import openhailo
from openhailo.burst import Engine, Network, Neurons, Synapses
from openhailo.errors import InvalidParameter
from openhailo.feagi.builders import build_layered
from openhailo.feagi.hybrid import HybridCpuHailo, Strategy, place, tune

from .networks import random_inputs, random_network


@pytest.fixture(scope="module")
def device() -> Iterator[Any]:
    with openhailo.open("twin:") as opened:
        yield opened


@given(st.integers(0, 2**32 - 1), st.integers(4, 60), st.sampled_from(["int8", "fp32"]))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hybrid_is_the_whole(device: Any, seed: int, count: int, precision: str) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, count, precision, degree=6)
    mode = ("npu", "embedded")[seed % 2]
    whole = Engine(network, mode)
    with HybridCpuHailo(network, rng.random(count) < 0.5, device, mode) as hybrid:
        for _ in range(6):
            inputs = random_inputs(rng, count)
            assert np.array_equal(hybrid.process_burst(inputs).fired, whole.step(inputs).fired)


def test_all_here_and_all_there(device: Any) -> None:
    network = build_layered([20, 20], 5, weight=5, psp=5)
    for mask in (np.zeros(40, np.bool_), np.ones(40, np.bool_)):
        whole = Engine(network)
        with HybridCpuHailo(network, mask, device) as hybrid:
            assert hybrid.share == mask.mean()
            assert (hybrid.temperature_celsius() is None) == (not mask.any())
            inputs = [(range(20), [50.0] * 20), None, None]
            fired = [result.fired.tolist() for result in hybrid.run(inputs)]
            assert fired == [whole.step(entry).fired.tolist() for entry in inputs]
            hybrid.reset()
            assert hybrid.process_burst(inputs[0]).fired.tolist() == fired[0]


def test_inputs_are_made_while_a_burst_runs(device: Any) -> None:
    made: list[int] = []

    def inputs() -> Iterator[None]:
        for number in range(5):
            made.append(number)
            yield None

    network = build_layered([5, 5], 2)
    with HybridCpuHailo(network, np.arange(10) < 5, device) as hybrid:
        results = hybrid.run(inputs())
        next(results)
        next(results)
        assert len(list(results)) == 3
    assert made == [0, 1, 2, 3, 4]


def chain(count: int) -> Network:
    return Network(Neurons.create(count), Synapses.from_edges(count, range(count - 1), range(1, count), 5, 5))


def test_latency_keeps_what_is_near() -> None:
    mask = place(chain(10), Strategy.LATENCY, share=0.6, critical=[0, 1])
    assert mask.tolist() == [False] * 4 + [True] * 6
    assert not place(chain(10), "latency", share=1.0, critical=[0])[0]


def test_size_moves_large_areas() -> None:
    network = build_layered([10, 40, 30], 2)
    mask = place(network, "size", share=0.5)
    assert mask.tolist() == [False] * 10 + [True] * 40 + [False] * 30


def test_frequency_keeps_what_fires() -> None:
    network = chain(6)
    bursts = [([2], [50.0])] * 4
    assert place(network, "frequency", share=0.5, inputs=bursts).tolist() == [True, True, False, False, False, True]


def test_the_tuner_takes_the_quickest(device: Any) -> None:
    times = iter([0.0, 5.0] * 2 + [0.0, 1.0] * 2 + [0.0, 3.0] * 2)
    mask, measured = tune(
        chain(20),
        [None, None],
        device,
        shares=(0.0, 0.5, 1.0),
        strategy="latency",
        critical=[0],
        clock=lambda: next(times),
    )
    assert [(entry.share, entry.burst_s) for entry in measured] == [(0.0, 5.0), (0.5, 1.0), (1.0, 3.0)]
    assert mask.sum() == 10


def test_what_makes_no_sense() -> None:
    for wrong in ({"strategy": "x"}, {"share": 2.0}, {"critical": [99]}):
        with pytest.raises(InvalidParameter):
            place(chain(3), **wrong)
    with pytest.raises(InvalidParameter):
        tune(chain(3), [])
