"""The measured networks in our own form (see :mod:`benchmarks.feagi_tokens`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.feagi_tokens import KICK, LEAK, THRESHOLD, Tokens, start_of, targets_of
from openhailo.burst import EXCITATORY, INHIBITORY, Areas, Engine, Network, Neurons, Synapses

_STRONG_PAIRS = ((10, 25), (25, 10), (50, 5), (5, 50))
_WEAK_PAIRS = ((1, 25), (5, 5), (25, 1))

Bytes = npt.NDArray[np.uint8]


def build_network(tokens: Tokens) -> Network:
    """The network for our engine. With ``divided``, contributions are larger by what they will be divided by."""
    rng = np.random.default_rng(tokens.seed + 2)
    size, fan_out = tokens.count * tokens.fan_out, tokens.fan_out
    pairs = np.array(_WEAK_PAIRS, np.uint8)[rng.integers(0, len(_WEAK_PAIRS), size, dtype=np.uint8)]
    pairs[::fan_out] = np.array(_STRONG_PAIRS, np.uint8)[rng.integers(0, len(_STRONG_PAIRS), tokens.count)]
    kind = np.full(size, INHIBITORY, np.uint8)
    kind[::fan_out] = EXCITATORY
    weight, psp = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    if tokens.divided:
        weight, psp = _times(weight, psp, fan_out)
    starts = np.arange(0, size + 1, fan_out, dtype=np.uint32)
    synapses = Synapses(starts, targets_of(tokens).reshape(-1), weight, psp, kind)
    areas = Areas(psp_uniform={3: False}) if tokens.divided else Areas()
    return Network(Neurons.create(tokens.count, threshold=THRESHOLD, leak=LEAK), synapses, areas)


def _times(weight: Bytes, psp: Bytes, factor: int) -> tuple[Bytes, Bytes]:
    """The smaller of each pair times ``factor``."""
    first = weight <= psp
    return np.where(first, weight * factor, weight).astype(np.uint8), np.where(first, psp, psp * factor).astype(
        np.uint8
    )


def start(engine: Engine, tokens: Tokens) -> None:
    """Let the first neurons fire: one burst with input for them alone."""
    first = start_of(tokens)
    engine.step((first, np.full(len(first), KICK, np.float32)))
