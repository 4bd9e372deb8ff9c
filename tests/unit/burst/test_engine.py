"""Every core against the slow oracle, bit for bit, on networks that nobody would draw by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.burst import networks

from openhailo.burst import Areas, Engine, Network, Neurons, Synapses, available_backends
from openhailo.errors import InputError

TRAITS = st.builds(
    networks.Traits,
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 140),
    synapses=st.integers(0, 300),
    bursts=st.integers(1, 8),
    precision=st.sampled_from(["int8", "fp32"]),
    mode=st.sampled_from(["npu", "embedded"]),
    batch=st.sampled_from([0, 3, 20, 10_000]),
    lazy=st.sampled_from([0, 10, 1_000_000]),
    flags=st.booleans(),
    alike=st.booleans(),
)


def engines_of(network, traits):
    return [
        Engine(network, traits.mode, backend=name, batch_candidates=traits.batch, lazy_reset_neurons=traits.lazy)
        for name in available_backends()
    ]


@settings(max_examples=150, deadline=None)
@given(TRAITS)
def test_every_core_equals_the_oracle(traits):
    network, slow, inputs = networks.make(traits)
    networks.assert_equal_bursts(traits, engines_of(network, traits), slow, inputs)


@settings(max_examples=40, deadline=None)
@given(TRAITS, st.integers(2, 4))
def test_parts_of_a_network_equal_the_whole(traits, parts):
    network, _, inputs = networks.make(traits)
    owner = np.random.default_rng(traits.seed).integers(0, parts, traits.count)
    common = {"batch_candidates": traits.batch, "lazy_reset_neurons": traits.lazy}
    whole = Engine(network, traits.mode, **common)
    split = [Engine(network, traits.mode, owned=owner == part, **common) for part in range(parts)]
    for entry in inputs:
        expected = whole.step(entry)
        candidates = sum(engine.propagate(entry) for engine in split)
        results = [engine.update(candidates) for engine in split]
        fired = np.concatenate([result.fired for result in results])
        potentials = np.concatenate([result.potentials for result in results])
        order = np.argsort(fired)
        assert fired[order].tolist() == expected.fired.tolist()
        assert candidates == expected.candidates
        for engine in split:
            engine.set_fired(fired[order], potentials[order])
    for part, engine in enumerate(split):
        np.testing.assert_array_equal(engine.state.potential[owner == part], whole.state.potential[owner == part])


@pytest.mark.parametrize("backend", available_backends())
def test_many_bursts_at_once_equal_one_at_a_time(backend):
    network, _, inputs = networks.make(networks.Traits(7, count=100, synapses=900, bursts=20))
    single, batch = Engine(network, backend=backend), Engine(network, backend=backend)
    steps = [single.step(entry) for entry in inputs]
    run = batch.run(25, inputs)
    for index, step in enumerate(steps):
        assert run[index].tolist() == step.fired.tolist()
        assert run.candidates[index] == step.candidates
    assert (len(run), run.first_burst, batch.state.burst) == (25, 1, 25)


@pytest.mark.parametrize("backend", available_backends())
def test_a_state_can_be_taken_up_again(backend):
    network, _, inputs = networks.make(networks.Traits(11, count=60, synapses=500, bursts=12))
    engine = Engine(network, backend=backend)
    for entry in inputs[:6]:
        engine.step(entry)
    kept = engine.state
    first = [engine.step(entry).fired.tolist() for entry in inputs[6:]]
    engine.restore(kept)
    assert [engine.step(entry).fired.tolist() for entry in inputs[6:]] == first
    engine.reset()
    assert engine.state.burst == 0
    np.testing.assert_array_equal(engine.neurons.potential, network.neurons.potential)


def test_the_switch_to_batches_is_at_ten_thousand_candidates():
    count = 10_000
    neurons = Neurons.create(count, threshold=1.0, threshold_limit=10.0)
    network = Network(neurons, Synapses.from_edges(count, [], []))
    ids, values = np.arange(count), np.full(count, 30.0)
    for backend in available_backends():
        below, at = Engine(network, backend=backend), Engine(network, backend=backend)
        assert below.step((ids[1:], values[1:])).fired.size == 0
        assert at.step((ids, values)).fired.size == count


def test_hostile_arrays_end_in_typed_errors():
    neurons = Neurons.create(3)
    good = {"row_start": [0, 1, 1, 1], "target": [2], "weight": [1], "psp": [1], "kind": [0]}
    for name, bad in [
        ("row_start", [0, 1, 0, 1]),
        ("row_start", [0, 1, 2, 2]),
        ("row_start", [1, 1, 1, 1]),
        ("row_start", []),
        ("row_start", [0, -1, 1, 1]),
        ("target", [-1]),
        ("target", [2**32]),
        ("target", [[2]]),
        ("weight", [256]),
        ("psp", [1.5]),
        ("kind", ["x"]),
        ("weight", [1, 2]),
        ("valid", [True, False]),
    ]:
        with pytest.raises(InputError):
            Synapses(**{**good, name: bad})
    with pytest.raises(InputError):
        Synapses.from_edges(3, [3], [0])
    with pytest.raises(InputError):
        Network(neurons, Synapses.from_edges(2, [0], [1]))
    with pytest.raises(InputError):
        Network(neurons, Synapses(**good), power_amount=float("inf"))


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold": [1.0, 2.0]},
        {"leak": float("nan")},
        {"excitability": float("nan")},
        {"refractory_period": 65536},
        {"refractory_period": -1},
        {"snooze": 0.5},
        {"area": 70000},
        {"valid": 2},
        {"precision": "fp16"},
        {"potential": "much"},
    ],
)
def test_neurons_that_cannot_be_are_refused(bad):
    with pytest.raises(InputError):
        Neurons.create(3, **bad)
    with pytest.raises(InputError):
        Neurons.create(50_000_000)


def test_calls_that_do_not_fit_are_refused():
    network = Network(Neurons.create(3), Synapses.from_edges(3, [0], [1]), Areas())
    engine = Engine(network)
    for call in (
        lambda: Engine(network, "gpu"),
        lambda: Engine(network, threads=0),
        lambda: Engine(network, backend="fpga"),
        lambda: Engine(network, owned=[True]),
        lambda: engine.step(([0], [1.0, 2.0])),
        lambda: engine.step(([-1], [1.0])),
        lambda: engine.run(-1),
        lambda: engine.run(1, [None, None]),
        lambda: engine.set_fired([2, 1], [0, 0]),
        lambda: engine.set_fired([3], [0]),
        lambda: engine.set_fired([1], []),
    ):
        with pytest.raises(InputError):
            call()
