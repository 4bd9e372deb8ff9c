"""Sensory messages into a mirror of FEAGI, and its answers."""

from __future__ import annotations

import struct
from functools import cache
from random import Random

import numpy as np

from openhailo.burst import Network, Neurons, Synapses
from openhailo.errors import OpenHailoError
from openhailo.feagi.agent import Mirror
from openhailo.feagi.connectome import Connectome
from openhailo.feagi.container import (
    AreaPoints,
    Container,
    build_container,
    build_xyzp,
    parse_container,
    parse_xyzp,
)
from tests.fuzz.mutate import edge, mutate_bytes
from tests.fuzz.surface import Surface, require

_AREAS = (b"ieye0000", b"ohand000")


@cache
def _mirror() -> Mirror:
    neurons = Neurons.create(8, threshold=10.0, area=np.repeat([3, 4], 4))
    synapses = Synapses.from_edges(8, np.arange(4), np.arange(4, 8), weight=4, psp=5)
    places = {"neurons": {"coordinates": [number // 3 % 3 for number in range(24)]}}
    names = {3: _AREAS[0].decode(), 4: _AREAS[1].decode()}
    return Mirror(Connectome(Network(neurons, synapses), 0, names, places))


def make_case(rng: Random) -> bytes:
    """A message with values at the edges, some of its bytes or lengths changed."""
    made = []
    for _ in range(rng.randrange(4)):
        count = rng.choice((0, 1, 3, 40))
        x, y, z = ([edge(rng, 32) if rng.random() < 0.2 else rng.randrange(4)] * count for _ in range(3))
        p = [rng.choice((0.0, 30.0, -1e30, float("nan"), float("inf")))] * count
        made.append(
            AreaPoints(rng.choice((*_AREAS, bytes(8))), *(np.array(v, np.uint32) for v in (x, y, z)), np.array(p))
        )
    structure = bytearray(build_xyzp(made, from_data=rng.random() < 0.3))
    if rng.random() < 0.4:
        struct.pack_into("<I", structure, min(rng.choice((0, 2, 12, 16, 28)), len(structure) - 4), edge(rng, 32))
    others = tuple(rng.randbytes(rng.randrange(2, 9)) for _ in range(rng.randrange(2)))
    data = build_container(Container((bytes(structure), *others), rng.randbytes(8), rng.randrange(65536)))
    return mutate_bytes(rng, data) if rng.random() < 0.4 else data


def run(case: bytes) -> int:
    """Offer it, make a burst, and read the answer."""
    require(build_container(parse_container(case)) == case, "a container is not what was read")
    mirror = _mirror()
    mirror.offer(case)
    fired = mirror.step().fired
    answer = parse_xyzp(parse_container(mirror.motor()).structures[0])
    require(sum(len(area) for area in answer) == len(fired), "a spike is missing in the answer")
    return 1


SURFACE = Surface("agent_messages", make_case, run, (OpenHailoError,))
