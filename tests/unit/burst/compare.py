"""Compare every core with the slow oracle on many generated networks: `python -m tests.unit.burst.compare`."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.unit.burst import networks

from openhailo.burst import Engine, available_backends
from openhailo.burst.native import KERNEL_VARIABLE, load_module


@dataclass
class Tally:
    """What has been compared."""

    networks: int = 0
    bursts: int = 0
    fired: int = 0
    modes: dict[str, int] = field(default_factory=dict)


def traits_of(seed: int) -> networks.Traits:
    """Traits of network number ``seed``: all modes, precisions and switches take turns."""
    rng = np.random.default_rng(seed + 1_000_000)
    return networks.Traits(
        seed=seed,
        count=int(rng.integers(0, 40)) if seed % 10 else int(rng.integers(64, 400)),
        synapses=int(rng.integers(0, 200)) if seed % 10 else int(rng.integers(0, 2000)),
        bursts=8,
        precision=("int8", "fp32")[seed % 2],
        mode=("npu", "npu", "embedded")[seed // 2 % 3],
        batch=int(rng.choice([0, 3, 8, 10_000])),
        lazy=int(rng.choice([0, 10, 1_000_000])),
        flags=bool(rng.integers(2)),
        alike=bool(rng.integers(2)),
    )


def compare(traits: networks.Traits, engines: list[tuple[str, str]], tally: Tally) -> None:
    """One network on every engine (backend, kernel) and on the oracle."""
    network, slow, inputs = networks.make(traits)
    built = []
    for backend, kernel in engines:
        os.environ[KERNEL_VARIABLE] = kernel
        settings = {"batch_candidates": traits.batch, "lazy_reset_neurons": traits.lazy}
        built.append(Engine(network, traits.mode, backend=backend, **settings))
    os.environ.pop(KERNEL_VARIABLE, None)
    networks.assert_equal_bursts(traits, built, slow, inputs)
    tally.networks += 1
    tally.bursts += len(inputs) * len(built)
    tally.fired += len(slow.fired)
    mode = "embedded" if traits.mode == "embedded" else "npu batch" if traits.batch < 10_000 else "npu"
    key = f"{traits.precision} {mode}"
    tally.modes[key] = tally.modes.get(key, 0) + 1


def engines_named(backends: list[str]) -> list[tuple[str, str]]:
    """Every kernel of the compiled core is an engine of its own."""
    module = load_module()
    kernels = list(module.kernels()) if module is not None and "native" in backends else []
    return [("native", kernel) for kernel in kernels] + [(name, "") for name in backends if name != "native"]


def main() -> None:
    """Compare, and report what was compared."""
    from tools.report import Row, write_report

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--backends", nargs="+", default=list(available_backends()))
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    engines, tally = engines_named(arguments.backends), Tally()
    for seed in range(arguments.first, arguments.first + arguments.networks):
        compare(traits_of(seed), engines, tally)
    rows = [Row("feagi_networks_compared", tally.networks, "networks", aim=">= 10000")]
    rows += [Row("feagi_bursts_compared", tally.bursts, "bursts"), Row("feagi_engines", len(engines), "engines")]
    rows += [Row(f"networks: {name}", count, "networks") for name, count in sorted(tally.modes.items())]
    if arguments.report is not None:
        write_report(arguments.report, rows)
    print(f"{tally.networks} networks, {tally.bursts} bursts equal the oracle's on {engines}: {tally.modes}")


if __name__ == "__main__":
    main()
