"""Networks that fire at a steady rate without input, for measurements that mean the same thing in every simulator.

A random permutation sends a fixed number of tokens round: each neuron has one strong excitatory synapse to its successor,
so that a neuron that fires makes its successor fire in the next burst, and since no two neurons share a successor the
number of firing neurons stays what it was. The other synapses are weak and go to random neurons; each takes away 25, the
step that FEAGI's code 0 stands for. With leak 0.5 a potential between two visits stays within codes -42..42, a strong
contribution of 250 less up to eight weak ones saturates at code 127, and the threshold 10.0 is code 59: the successor
fires whatever came before, and nobody else does. The measured rate is reported beside every time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openhailo.burst import EXCITATORY, INHIBITORY, Areas, Engine, Network, Neurons, Synapses

THRESHOLD, LEAK = 10.0, 0.5
STRONG, WEAK = 250.0, -25.0
_STRONG_PAIRS = ((10, 25), (25, 10), (50, 5), (5, 50))
_WEAK_PAIRS = ((1, 25), (5, 5), (25, 1))


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


def build_network(tokens: Tokens) -> Network:
    """The network for our engine. With ``divided``, contributions are larger by what they will be divided by."""
    rng = np.random.default_rng(tokens.seed + 2)
    size, fan_out = tokens.count * tokens.fan_out, tokens.fan_out
    weak = np.array(_WEAK_PAIRS, np.uint8)[rng.integers(0, len(_WEAK_PAIRS), size, dtype=np.uint8)]
    weak[::fan_out] = np.array(_STRONG_PAIRS, np.uint8)[rng.integers(0, len(_STRONG_PAIRS), tokens.count)]
    kind = np.full(size, INHIBITORY, np.uint8)
    kind[::fan_out] = EXCITATORY
    weight, psp = np.ascontiguousarray(weak[:, 0]), np.ascontiguousarray(weak[:, 1])
    if tokens.divided:
        weight, psp = _times(weight, psp, fan_out)
    starts = np.arange(0, size + 1, fan_out, dtype=np.uint32)
    synapses = Synapses(starts, targets_of(tokens).reshape(-1), weight, psp, kind)
    areas = Areas(psp_uniform={3: False}) if tokens.divided else Areas()
    return Network(Neurons.create(tokens.count, threshold=THRESHOLD, leak=LEAK), synapses, areas)


def _times(weight: npt.NDArray[np.uint8], psp: npt.NDArray[np.uint8], factor: int) -> tuple[npt.NDArray[np.uint8], ...]:
    """The smaller of each pair times ``factor``."""
    first = weight <= psp
    return np.where(first, weight * factor, weight).astype(np.uint8), np.where(first, psp, psp * factor).astype(
        np.uint8
    )


def start(engine: Engine, tokens: Tokens) -> None:
    """Let the first neurons fire: one burst with input for them alone."""
    first = start_of(tokens)
    engine.step((first, np.full(len(first), 50.0, np.float32)))
