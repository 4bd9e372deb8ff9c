"""Networks by recipe: random, small-world, layered, topographic, and one that fires at a steady rate by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.burst import EXCITATORY, INHIBITORY, Network, Neurons, Synapses
from openhailo.errors import InputError

FIRST_AREA: Final = 3
"""Areas 0 to 2 are FEAGI's own (feagi.md 5 step 1)."""
MAX_SYNAPSES: Final = 1 << 30
U32 = npt.NDArray[np.uint32]


def build_random(
    count: int,
    degree: int = 10,
    *,
    inhibitory: float = 0.2,
    weight: int = 1,
    psp: int = 1,
    seed: int = 0,
    **neurons: Any,
) -> Network:
    """``count`` neurons with ``degree`` synapses each to random targets, a part ``inhibitory`` of the sources inhibits.

    ``neurons`` are parameters of `Neurons.create`. Raises `InputError` for numbers that make no network.
    """
    _check(count, degree, inhibitory)
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, count, count * degree, dtype=np.uint32)
    kind = np.where(rng.random(count) < inhibitory, INHIBITORY, EXCITATORY).astype(np.uint8)
    return _of_rows(count, degree, targets, weight, psp, np.repeat(kind, degree), neurons)


def build_small_world(
    count: int, degree: int = 10, *, rewired: float = 0.1, weight: int = 1, psp: int = 1, seed: int = 0, **neurons: Any
) -> Network:
    """A ring: each neuron reaches its ``degree`` nearest ones, and a part ``rewired`` of the synapses anywhere instead.

    Raises `InputError`.
    """
    _check(count, degree, rewired)
    if degree >= count:
        raise InputError(what="degree", detail=f"{degree} nearest of {count} neurons")
    rng = np.random.default_rng(seed)
    steps = np.array([step for k in range(1, degree // 2 + 2) for step in (k, -k)][:degree])
    targets = ((np.arange(count)[:, None] + steps) % count).astype(np.uint32).reshape(-1)
    moved = rng.random(len(targets)) < rewired
    targets[moved] = rng.integers(0, count, int(moved.sum()), dtype=np.uint32)
    kind = np.full(len(targets), EXCITATORY, np.uint8)
    return _of_rows(count, degree, targets, weight, psp, kind, neurons)


def build_layered(
    sizes: Sequence[int], degree: int = 10, *, weight: int = 1, psp: int = 1, seed: int = 0, **neurons: Any
) -> Network:
    """Layers of ``sizes``, an area each; every neuron reaches ``degree`` random ones of the next layer.

    Raises `InputError`.
    """
    if not sizes:
        raise InputError(what="sizes", detail="no layers")
    for size in sizes:
        _check(size, degree, 0.0)
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    layers = zip(starts[:-2], starts[1:-1], starts[2:], strict=True)
    edges = [
        (np.repeat(np.arange(first, middle), degree), rng.integers(middle, last, (middle - first) * degree))
        for first, middle, last in layers
    ]
    source = np.concatenate([edge[0] for edge in edges]) if edges else np.zeros(0, np.uint32)
    target = np.concatenate([edge[1] for edge in edges]) if edges else np.zeros(0, np.uint32)
    count = int(starts[-1])
    area = np.repeat(np.arange(FIRST_AREA, FIRST_AREA + len(sizes)), sizes)
    made = Neurons.create(count, **{"area": area, **neurons})
    return Network(made, Synapses.from_edges(count, source, target, weight, psp))


def build_topographic(
    shape: tuple[int, int],
    radius: int = 1,
    *,
    weight: int = 1,
    psp: int = 1,
    inhibit_around: bool = False,
    **neurons: Any,
) -> Network:
    """Two sheets of ``shape`` (rows, columns); each neuron of the first reaches those around its place in the second.

    ``inhibit_around`` makes all but the very place inhibit: a detector of spots and edges. Raises `InputError`.
    """
    rows, columns = shape
    _check(rows * columns, (2 * radius + 1) ** 2, 0.0)
    sheet = rows * columns
    sources, targets, kinds = [], [], []
    at_row, at_column = np.divmod(np.arange(sheet), columns)
    for row in range(-radius, radius + 1):
        for column in range(-radius, radius + 1):
            to_row, to_column = at_row + row, at_column + column
            inside = (to_row >= 0) & (to_row < rows) & (to_column >= 0) & (to_column < columns)
            sources.append(np.flatnonzero(inside))
            targets.append(sheet + to_row[inside] * columns + to_column[inside])
            kinds.append(np.full(int(inside.sum()), INHIBITORY if inhibit_around and (row or column) else EXCITATORY))
    area = np.repeat([FIRST_AREA, FIRST_AREA + 1], sheet)
    made = Neurons.create(2 * sheet, **{"area": area, **neurons})
    source, target, kind = (np.concatenate(part) for part in (sources, targets, kinds))
    return Network(made, Synapses.from_edges(2 * sheet, source, target, weight, psp, kind))


def build_steady(count: int, degree: int = 10, *, seed: int = 0) -> Network:
    """A network that goes on firing at the rate at which it was started (`steady_start`), for measurements.

    Each neuron makes one other fire, along a permutation, so as many fire in every burst; the other synapses inhibit
    just as much as code 0 is off zero (feagi.md 3: 25 units). Raises `InputError`.
    """
    _check(count, max(degree, 1), 0.0)
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, count, (count, degree), dtype=np.uint32)
    targets[:, 0] = rng.permutation(count)
    weight, kind = np.full((count, degree), 1, np.uint8), np.full((count, degree), INHIBITORY, np.uint8)
    weight[:, 0], kind[:, 0] = 10, EXCITATORY
    starts = np.arange(0, count * degree + 1, degree, dtype=np.uint32)
    psp = np.full(count * degree, 25, np.uint8)
    synapses = Synapses(starts, targets.reshape(-1), weight.reshape(-1), psp, kind.reshape(-1))
    return Network(Neurons.create(count, threshold=10.0, leak=0.5), synapses)


def steady_start(count: int, rate: float = 0.015, *, seed: int = 0) -> tuple[U32, npt.NDArray[np.float32]]:
    """Inputs (ids, potentials) that make a part ``rate`` of a steady network's neurons fire."""
    rng = np.random.default_rng(seed + 1)
    ids = np.sort(rng.choice(count, max(1, round(count * rate)), replace=False)).astype(np.uint32)
    return ids, np.full(len(ids), 50.0, np.float32)


def _of_rows(
    count: int, degree: int, targets: U32, weight: int, psp: int, kind: npt.NDArray[np.uint8], neurons: dict[str, Any]
) -> Network:
    starts = np.arange(0, count * degree + 1, degree, dtype=np.uint32) if degree else np.zeros(count + 1, np.uint32)
    size = count * degree
    for what, value in (("weight", weight), ("psp", psp)):
        if not 0 <= value <= 255:
            raise InputError(what=what, detail=f"{value} is not in 0..255")
    synapses = Synapses(starts, targets, np.full(size, weight, np.uint8), np.full(size, psp, np.uint8), kind)
    return Network(Neurons.create(count, **neurons), synapses)


def _check(count: int, degree: int, part: float) -> None:
    if count < 1 or degree < 0 or count * degree > MAX_SYNAPSES:
        raise InputError(what="network", detail=f"{count} neurons with {degree} synapses each")
    if not 0 <= part <= 1:
        raise InputError(what="part", detail=f"{part} is not in 0..1")
