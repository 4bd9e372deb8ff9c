"""What every MPI rank of the test runs: a part of a network, compared with the whole, burst by burst."""

from __future__ import annotations

import sys

import numpy as np
from mpi4py import MPI

from openhailo.burst import Areas, Engine, Network
from openhailo.feagi.builders import build_small_world
from openhailo.feagi.partition import MpiPartitioned, split_by_cut

COUNT, BURSTS = 600, 60


def main() -> int:
    """Return 0 when all bursts are equal."""
    made = build_small_world(COUNT, 8, weight=5, psp=7, threshold=9.0, refractory_period=1, excitability=0.8)
    network = Network(made.neurons, made.synapses, Areas({3: False}, {3: True}))
    owners = split_by_cut(network, MPI.COMM_WORLD.Get_size())
    part, whole = MpiPartitioned.of_engine(network, owners, MPI.COMM_WORLD), Engine(network)
    rng, spikes = np.random.default_rng(1), 0
    for _ in range(BURSTS):
        inputs = (rng.choice(COUNT, 50, replace=False), np.full(50, 30.0, np.float32))
        seen, expected = part.step(inputs), whole.step(inputs)
        spikes += len(seen.fired)
        if not (np.array_equal(seen.fired, expected.fired) and np.array_equal(seen.potentials, expected.potentials)):
            return 1
    return 0 if spikes > BURSTS else 2


if __name__ == "__main__":
    sys.exit(main())
