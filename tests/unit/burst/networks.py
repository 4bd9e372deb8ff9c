"""Random networks, made twice from one seed: for the engine and for the slow oracle beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tests.unit.burst import oracle

from openhailo.burst import Areas, Network, Neurons, Synapses


@dataclass(frozen=True)
class Traits:
    """What a generated network is made of."""

    seed: int
    count: int = 12
    synapses: int = 60
    bursts: int = 8
    precision: str = "int8"
    mode: str = "npu"
    batch: int = 10_000
    lazy: int = 1_000_000
    flags: bool = True
    alike: bool = False


def make(traits: Traits):
    """The network, its oracle, and the inputs of each burst."""
    rng = np.random.default_rng(traits.seed)
    neurons = _neurons(rng, traits)
    edges = _edges(rng, traits)
    areas = _areas(rng, traits)
    power, fatigue = float(rng.choice([0.0, 1.0, 2.5, 60.0])), bool(rng.random() < 0.3)
    network = Network(neurons, Synapses.from_edges(traits.count, **edges), areas, power, fatigue)
    slow = oracle.Oracle(
        cells=_cells(neurons),
        wires=_wires(edges),
        precision=oracle.Int8 if traits.precision == "int8" else oracle.Fp32,
        mode=traits.mode,
        uniform=dict(areas.psp_uniform),
        mp_driven=dict(areas.mp_driven),
        power=power,
        fatigue=fatigue,
    )
    return network, slow, [_inputs(rng, traits.count) for _ in range(traits.bursts)]


def _neurons(rng, traits: Traits) -> Neurons:
    count = traits.count

    def pick(values):
        chosen = rng.choice(values, size=count)
        return np.full(count, chosen[0]) if traits.alike and count else chosen

    neurons = Neurons.create(
        count,
        traits.precision,
        threshold=pick([-30.0, 0.5, 1.0, 4.0, 20.0, 50.0]),
        threshold_limit=pick([0.0, 0.0, 10.0, 49.0, -60.0]),
        potential=pick([-100.0, -25.0, -25.0, 0.0, 3.7, 49.0]),
        leak=pick([0.0, 0.05, 0.1, 0.25, 0.5, 0.9, 1.0]),
        refractory_period=pick([0, 0, 0, 1, 2, 65535]),
        excitability=pick([1.0, 1.0, 0.5, 0.8, 0.0, 100.0, -1.0, 0.999]),
        valid=pick([True] * 9 + [False]),
        consecutive_limit=pick([0, 0, 65535, 1, 2, 3]),
        snooze=pick([0, 1, 3, 65535]),
        charge_accumulation=pick([True, True, False]),
        area=np.sort(rng.integers(0, 6, count)) if rng.random() < 0.5 else rng.integers(0, 6, count),
    )
    neurons.refractory_countdown[:] = rng.choice([0, 0, 0, 0, 1, 2], size=count)
    neurons.consecutive_count[:] = rng.choice([0, 0, 1, 3, 65535], size=count)
    return neurons


def _edges(rng, traits: Traits) -> dict:
    size = traits.synapses if traits.count else 0
    beyond = traits.count + (2 if rng.random() < 0.3 else 0)
    wild = rng.random() < 0.3
    return {
        "source": rng.integers(0, max(traits.count, 1), size).astype(np.uint32),
        "target": rng.integers(0, max(beyond, 1), size).astype(np.uint32),
        "weight": rng.integers(0, 256 if wild else 5, size).astype(np.uint8),
        "psp": rng.integers(0, 256 if wild else 12, size).astype(np.uint8),
        "kind": rng.choice([0, 0, 0, 1, 2], size=size).astype(np.uint8),
        "valid": None if rng.random() < 0.5 else rng.random(size) < 0.9,
    }


def _areas(rng, traits: Traits) -> Areas:
    if not traits.flags:
        return Areas()
    flags = [{int(area): bool(rng.integers(2)) for area in rng.integers(0, 6, 4)} for _ in range(2)]
    return Areas(psp_uniform=flags[0], mp_driven=flags[1] if rng.random() < 0.6 else {})


def _inputs(rng, count: int):
    size = int(rng.integers(0, count + 2))
    ids = rng.integers(0, count + 1, size).astype(np.uint32)
    values = rng.choice([1.0, 3.3, 25.0, 60.0, -12.5, 0.1, 0.0, -1e30, 3e38, np.nan, np.inf], size=size)
    return ids, values.astype(np.float32)


def _cells(neurons: Neurons) -> list:
    cast = int if neurons.precision == "int8" else np.float32
    return [
        oracle.Cell(
            potential=cast(neurons.potential[i]),
            threshold=cast(neurons.threshold[i]),
            limit=cast(neurons.threshold_limit[i]),
            leak=neurons.leak[i],
            period=int(neurons.refractory_period[i]),
            countdown=int(neurons.refractory_countdown[i]),
            excitability=float(neurons.excitability[i]),
            valid=bool(neurons.valid[i]),
            fire_limit=int(neurons.consecutive_limit[i]),
            fire_count=int(neurons.consecutive_count[i]),
            snooze=int(neurons.snooze[i]),
            accumulates=bool(neurons.charge_accumulation[i]),
            area=int(neurons.area[i]),
        )
        for i in range(len(neurons))
    ]


def _wires(edges: dict) -> list:
    valid = np.ones(len(edges["source"]), bool) if edges["valid"] is None else edges["valid"]
    columns = [edges[name].tolist() for name in ("source", "target", "weight", "psp", "kind")]
    return [oracle.Wire(*row, valid=ok) for *row, ok in zip(*columns, valid.tolist(), strict=True)]


def assert_equal_bursts(traits: Traits, engines: list, slow, inputs) -> None:
    """Step every engine and the oracle; fired sets, candidates and the whole state must agree to the bit."""
    before = oracle.BATCH_CANDIDATES, oracle.LAZY_RESET_NEURONS
    oracle.BATCH_CANDIDATES, oracle.LAZY_RESET_NEURONS = traits.batch, traits.lazy
    try:
        for entry in inputs:
            fired = slow.step(list(zip(entry[0].tolist(), entry[1], strict=True)))
            for engine in engines:
                _assert_equal_burst(engine, engine.step(entry), slow, fired)
    finally:
        oracle.BATCH_CANDIDATES, oracle.LAZY_RESET_NEURONS = before


def _assert_equal_burst(engine, result, slow, fired) -> None:
    assert result.fired.tolist() == fired
    assert result.burst == slow.burst
    assert result.candidates == slow.candidates
    state = engine.state
    dtype = state.potential.dtype
    assert result.potentials.tobytes() == np.array([slow.fired[number] for number in fired], dtype).tobytes()
    expected = np.array([cell.potential for cell in slow.cells], dtype)
    np.testing.assert_array_equal(state.potential, expected)
    assert state.refractory_countdown.tolist() == [cell.countdown for cell in slow.cells]
    assert state.consecutive_count.tolist() == [cell.fire_count for cell in slow.cells]
