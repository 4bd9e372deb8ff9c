"""Networks that fire at a steady rate without input, for measurements that mean the same thing in every simulator.

A random permutation sends a fixed number of tokens round: each neuron has one strong excitatory synapse to its
successor, so that a neuron that fires makes its successor fire in the next burst; no two neurons share a successor, so
the number of firing neurons stays what it was. The other synapses are weak and go to random neurons; each takes away
25, the step that FEAGI's code 0 stands for. With leak 0.5 a potential between two visits stays within codes -42..42, a
strong contribution of 250 less a few weak ones saturates at code 127, and the threshold 10.0 is code 59: the successor
fires whatever came before, and nobody else does. The measured rate is reported beside every time.

NumPy alone: peers that do not have openhailo read this, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

THRESHOLD, LEAK = 10.0, 0.5
STRONG, WEAK, KICK = 250.0, -25.0, 50.0


@dataclass(frozen=True)
class Tokens:
    """What is generated: ``rate`` is the part of the neurons that fires in each burst."""

    count: int
    fan_out: int = 10
    rate: float = 0.015
    seed: int = 1
    divided: bool = False

    @property
    def firing(self) -> int:
        """Neurons that fire in each burst."""
        return max(1, round(self.count * self.rate))


def targets_of(tokens: Tokens) -> npt.NDArray[np.uint32]:
    """Targets (count, fan_out): the successor first, then random neurons."""
    rng = np.random.default_rng(tokens.seed)
    targets = rng.integers(0, tokens.count, (tokens.count, tokens.fan_out), dtype=np.uint32)
    targets[:, 0] = rng.permutation(tokens.count)
    return targets


def start_of(tokens: Tokens) -> npt.NDArray[np.uint32]:
    """The neurons that fire first, ascending."""
    rng = np.random.default_rng(tokens.seed + 1)
    return np.sort(rng.choice(tokens.count, tokens.firing, replace=False)).astype(np.uint32)


def weights_of(tokens: Tokens) -> npt.NDArray[np.float32]:
    """Contributions (count, fan_out) as values, for simulators that know no units of their own."""
    weights = np.full((tokens.count, tokens.fan_out), WEAK, np.float32)
    weights[:, 0] = STRONG
    return weights
