"""Networks for tests: drawn by hypothesis, as the package has them and as the slow oracle has them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from openhailo.burst import Areas, Network, Neurons, Synapses


def _load_oracle() -> Any:
    name = "feagi_oracle"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "burst" / "oracle.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


oracle = _load_oracle()


def random_network(rng: np.random.Generator, count: int, precision: str = "int8", degree: float = 4.0) -> Network:
    """A network in which everything that a network can have occurs."""
    pick = rng.integers
    neurons = Neurons.create(
        count,
        precision,
        threshold=pick(0, 12, count).astype(np.float32),
        threshold_limit=np.where(rng.random(count) < 0.2, 20.0, 0.0),
        potential=None,
        leak=rng.choice(np.float32([0, 0.1, 0.25, 1]), count),
        refractory_period=rng.choice([0, 0, 1, 3], count),
        excitability=rng.choice(np.float32([1, 1, 1, 0.5, 0]), count),
        valid=rng.random(count) < 0.95,
        consecutive_limit=rng.choice([0, 0, 65535, 1, 3], count),
        snooze=rng.choice([0, 2, 300], count),
        charge_accumulation=rng.random(count) < 0.8,
        area=np.concatenate([[1], pick(0, 6, count - 1)]),
    )
    edges = int(count * degree)
    synapses = Synapses.from_edges(
        count,
        pick(0, count, edges),
        pick(0, count + (1 if pick(0, 3) == 0 else 0), edges),
        pick(0, 4, edges),
        pick(0, 6, edges),
        pick(0, 2, edges),
        rng.random(edges) < 0.9 if pick(0, 2) else None,
    )
    uniform = {int(area): bool(pick(0, 2)) for area in range(6) if pick(0, 3) == 0}
    driven = {int(area): bool(pick(0, 2)) for area in range(6) if pick(0, 4) == 0}
    areas = Areas(uniform, driven) if pick(0, 2) else Areas()
    return Network(neurons, synapses, areas, float(pick(0, 5)), bool(pick(0, 2)))


def random_inputs(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    size = int(rng.integers(0, 6))
    if size == 0:
        return None
    return rng.integers(0, count, size).astype(np.uint32), rng.choice(np.float32([1, 5, 30, -4, 0.5]), size)


def as_pairs(inputs: tuple[np.ndarray, np.ndarray] | None) -> list[tuple[int, float]]:
    """Inputs as the oracle takes them."""
    return [] if inputs is None else list(zip(inputs[0].tolist(), inputs[1], strict=True))


def oracle_of(network: Network, mode: str) -> Any:
    """The slow oracle of the same network."""
    kind = oracle.Int8 if network.neurons.precision == "int8" else oracle.Fp32
    rows = network.neurons
    value = int if kind is oracle.Int8 else np.float32
    cells = [
        oracle.Cell(
            potential=value(rows.potential[i]),
            threshold=value(rows.threshold[i]),
            limit=value(rows.threshold_limit[i]),
            leak=rows.leak[i],
            period=int(rows.refractory_period[i]),
            countdown=int(rows.refractory_countdown[i]),
            excitability=rows.excitability[i],
            valid=bool(rows.valid[i]),
            fire_limit=int(rows.consecutive_limit[i]),
            fire_count=int(rows.consecutive_count[i]),
            snooze=int(rows.snooze[i]),
            accumulates=bool(rows.charge_accumulation[i]),
            area=int(rows.area[i]),
        )
        for i in range(len(rows))
    ]
    synapses = network.synapses
    valid = np.ones(len(synapses), bool) if synapses.valid is None else synapses.valid
    columns = (synapses.sources(), synapses.target, synapses.weight, synapses.psp, synapses.kind)
    wires = [
        oracle.Wire(*(int(c[i]) for c in columns), bool(valid[i]))  # type: ignore[call-arg]
        for i in range(len(synapses))
    ]
    areas = network.areas
    return oracle.Oracle(
        cells,
        wires,
        kind,
        mode,
        dict(areas.psp_uniform),
        dict(areas.mp_driven),
        network.power_amount,
        network.fatigue,
    )


#: (seed, neurons, precision, mode)
cases = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(2, 40),
    st.sampled_from(["int8", "fp32"]),
    st.sampled_from(["npu", "embedded"]),
)
