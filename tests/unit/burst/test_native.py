"""The compiled core by itself: what it refuses, its kernels, its threads, and life without it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from tests.unit.burst import compare, networks

from openhailo.burst import Engine, Network, Neurons, Synapses, available_backends
from openhailo.burst.native import KERNEL_VARIABLE, load_module
from openhailo.burst.network import wire
from openhailo.errors import InputError, StateError

needs_native = pytest.mark.skipif(load_module() is None, reason="openhailo-native is not installed: no C++ compiler")

WITHOUT = """
import sys
sys.modules["openhailo_native"] = None
from openhailo.burst import Engine, Network, Neurons, Synapses, available_backends
assert available_backends() == ("numpy",), available_backends()
network = Network(Neurons.create(3, threshold=10.0), Synapses.from_edges(3, [0, 1], [1, 2], 200, 1))
engine = Engine(network)
print(engine.backend, [engine.step(([0], [40.0]) if i == 0 else None).fired.tolist() for i in range(4)])
"""


def test_without_the_compiled_core_numpy_takes_over():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "numpy [[0], [1], [2], []]"


@pytest.mark.parametrize("seed", range(60))
def test_every_kernel_equals_the_oracle(seed):
    engines = compare.engines_named(list(available_backends()))
    compare.compare(compare.traits_of(seed), engines, compare.Tally())


def test_the_environment_chooses_the_core(monkeypatch):
    network = Network(Neurons.create(1), Synapses.from_edges(1, [], []))
    monkeypatch.setenv("OPENHAILO_BURST", "numpy")
    assert Engine(network).backend == "numpy"
    monkeypatch.setenv("OPENHAILO_BURST", "abacus")
    with pytest.raises(InputError, match="abacus"):
        Engine(network)


@needs_native
def test_an_unknown_kernel_is_refused(monkeypatch):
    monkeypatch.setenv(KERNEL_VARIABLE, "mmx")
    with pytest.raises(InputError, match="mmx"):
        Engine(Network(Neurons.create(1), Synapses.from_edges(1, [], [])), backend="native")


def _busy_network(count: int, fan_out: int, seed: int = 5) -> Network:
    rng = np.random.default_rng(seed)
    neurons = Neurons.create(
        count,
        threshold=rng.choice([1.0, 8.0, 20.0], count),
        leak=rng.choice([0.1, 0.4], count),
        refractory_period=rng.integers(0, 3, count),
        excitability=rng.choice([1.0, 0.7], count),
        consecutive_limit=rng.integers(0, 4, count),
        snooze=2,
    )
    size = count * fan_out
    source, target = np.repeat(np.arange(count), fan_out), rng.integers(0, count, size)
    kind = (rng.random(size) < 0.4).astype(np.uint8)
    return Network(neurons, Synapses.from_edges(count, source, target, rng.integers(0, 9, size), 4, kind))


@pytest.mark.parametrize("threads", [2, 3])
@needs_native
def test_threads_change_nothing(threads):
    count = 65_536 * 3 + 17
    network, rng = _busy_network(count, 4), np.random.default_rng(6)
    inputs = [(rng.integers(0, count, 9000), rng.uniform(5, 60, 9000)) for _ in range(6)]
    one, many = Engine(network, backend="native"), Engine(network, threads=threads, backend="native")
    plain = Engine(network, backend="numpy")
    batch = Engine(network, threads=threads, backend="native").run(6, inputs)
    for index, entry in enumerate(inputs):
        expected = plain.step(entry)
        for engine in (one, many):
            result = engine.step(entry)
            assert np.array_equal(result.fired, expected.fired)
            assert vars(result).keys() == vars(expected).keys()
            assert (result.candidates, result.synaptic_injections, result.refractory) == (
                expected.candidates,
                expected.synaptic_injections,
                expected.refractory,
            )
        assert np.array_equal(batch[index], expected.fired)
        assert expected.candidates >= 10_000 or index == 0
    for name in ("potential", "refractory_countdown", "consecutive_count"):
        assert np.array_equal(getattr(many.state, name), getattr(plain.state, name))


@needs_native
def test_many_different_synapses_take_the_wide_form():
    rng, count = np.random.default_rng(8), 70_000
    source, target = rng.integers(0, count, 400_000), rng.integers(0, count, 400_000)
    weight, psp, kind = rng.integers(0, 256, 400_000), rng.integers(0, 256, 400_000), rng.integers(0, 2, 400_000)
    synapses = Synapses.from_edges(count, source, target, weight, psp, kind)
    network = Network(Neurons.create(count, threshold=20.0), synapses)
    native, plain = Engine(network, backend="native"), Engine(network, backend="numpy")
    entry = (np.arange(0, count, 40), np.full(len(range(0, count, 40)), 50.0))
    for burst in range(5):
        expected = plain.step(entry if burst == 0 else None)
        assert np.array_equal(native.step(entry if burst == 0 else None).fired, expected.fired)
        assert expected.fired.size > 0


def _arrays():
    network, _, _ = networks.make(networks.Traits(3, count=70, synapses=200))
    neurons = network.neurons
    cells = {item.name: getattr(neurons, item.name) for item in fields(neurons) if item.name != "precision"}
    return {**cells, "active": neurons.valid}, vars(wire(network, "npu"))


def _build(cells, wiring, **changed):
    options = {
        "is_int8": True,
        "embedded": False,
        "threads": 1,
        "batch_candidates": 10_000,
        "lazy_reset_neurons": 1_000_000,
        "powered": np.zeros(0, np.uint32),
        "power": 1.0,
    }
    return load_module().Engine(cells, wiring, **{**options, **changed})


@needs_native
def test_the_extension_refuses_arrays_that_would_lead_it_astray():
    cells, wiring = _arrays()
    last = len(wiring["target"])
    falling = wiring["row_start"].copy()
    falling[1:-1] = last
    falling[-2] = 0
    for name, bad in [
        ("target", np.full_like(wiring["target"], 70)),
        ("target", wiring["target"].astype(np.int64)),
        ("weight", wiring["weight"][1:]),
        ("row_start", wiring["row_start"][1:]),
        ("row_start", falling),
        ("divisor", np.zeros(70, np.uint32)),
        ("divisor", np.ones(69, np.uint32)),
        ("mp_driven", np.ones(71, np.bool_)),
    ]:
        with pytest.raises((ValueError, RuntimeError)):
            _build(cells, {**wiring, name: bad})
    for name, bad in [
        ("potential", cells["potential"][1:]),
        ("potential", cells["potential"].astype(np.float32)),
        ("snooze", cells["snooze"][:-1]),
        ("threshold", None),
    ]:
        with pytest.raises((ValueError, RuntimeError)):
            _build({**cells, name: bad}, wiring)
    for changed in ({"threads": 0}, {"threads": 65}, {"powered": np.array([70], np.uint32)}, {"kernel": "mmx"}):
        with pytest.raises(ValueError):
            _build(cells, wiring, **changed)


@needs_native
def test_the_extension_refuses_calls_that_do_not_fit():
    engine = _build(*_arrays())
    ids, values = np.array([70], np.uint32), np.ones(1, np.float32)
    offsets = np.array([0, 1], np.int64)
    for call in (
        lambda: engine.propagate(ids, values),
        lambda: engine.propagate(ids, np.ones(2, np.float32)),
        lambda: engine.update(0),
        lambda: engine.run(1, offsets, ids, values),
        lambda: engine.run(1, np.array([0, 2], np.int64), ids, values),
        lambda: engine.run(2, np.array([0, -5, 1], np.int64), ids - 1, values),
        lambda: engine.run(-1, offsets, ids, values),
        lambda: engine.set_fired(ids, np.zeros(1, np.int8)),
        lambda: engine.set_fired(ids - 1, np.zeros(2, np.int8)),
        lambda: engine.set_fired(ids - 1, np.zeros(1, np.float32)),
        lambda: engine.restore(np.zeros(69, np.int8), np.zeros(70, np.uint16), np.zeros(70, np.uint16), 0),
    ):
        with pytest.raises((ValueError, RuntimeError)):
            call()


@pytest.mark.parametrize("backend", available_backends())
def test_halves_of_a_burst_come_in_turn(backend):
    network = Network(Neurons.create(70), Synapses.from_edges(70, [0], [1]))
    engine = Engine(network, backend=backend)
    with pytest.raises(StateError):
        engine.update(0)
    engine.propagate(([3], [40.0]))
    for call in (engine.propagate, engine.step, lambda: engine.run(1), lambda: engine.set_fired([], [])):
        with pytest.raises(StateError):
            call()
    engine.reset()
    assert engine.step().fired.size == 0
    assert engine.step(([3], [40.0])).fired.tolist() == [3]


@pytest.mark.parametrize("mode", ["npu", "embedded"])
@pytest.mark.parametrize("threads", [1, 3])
@needs_native
def test_large_networks_whose_synapses_are_sorted_by_tile(mode, threads):
    rng, count = np.random.default_rng(9), 270_001
    source, target = np.repeat(np.arange(count), 5), rng.integers(0, count, count * 5)
    kind = (rng.random(count * 5) < 0.5).astype(np.uint8)
    neurons = Neurons.create(count, threshold=18.0, leak=rng.choice([0.2, 0.5], count), refractory_period=1)
    network = Network(neurons, Synapses.from_edges(count, source, target, rng.integers(1, 6, count * 5), 9, kind))
    engines = [
        Engine(network, mode, threads=threads, backend="native"),
        Engine(network, mode, threads=threads, backend="native"),
        Engine(network, mode, backend="numpy"),
    ]
    inputs = [
        (rng.integers(0, count, size), rng.uniform(20, 50, size).astype(np.float32)) for size in (80_000, 9_000, 0, 50)
    ]
    together = engines[0].run(len(inputs), inputs)
    for index, entry in enumerate(inputs):
        single, expected = (engine.step(entry) for engine in engines[1:])
        assert expected.fired.size > 3000  # enough to be sorted; the first burst is too much for it
        assert np.array_equal(single.fired, expected.fired)
        assert np.array_equal(together[index], expected.fired)
        assert single.candidates == together.candidates[index] == expected.candidates
        assert single.synaptic_injections == expected.synaptic_injections
        assert single.refractory == expected.refractory
    for name in ("potential", "refractory_countdown", "consecutive_count"):
        assert np.array_equal(getattr(engines[0].state, name), getattr(engines[2].state, name))
        assert np.array_equal(getattr(engines[1].state, name), getattr(engines[2].state, name))
