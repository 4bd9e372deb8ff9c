r"""Networks from the Neuromorphic Intermediate Representation (package ``nir``). Needs the extra ``feagi``.

::

    model = import_nir("model.nir", dt_s=1e-4)
    print("\n".join(model.approximations))
    engine = model.engine()
    for frame in frames:
        fired = engine.step(model.inputs({"input": frame})).fired
        spikes = model.outputs(fired)["output"]

Neurons are LIF and IF nodes; between them any of Affine, Linear, Scale, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten
becomes synapses. What lies between the inputs and the first neurons, or behind the last ones, is computed here.

How it fits: with a = dt / tau, NIR's membrane moves by ``v += a * (v_leak - v + r * I)`` (Euler). FEAGI's embedded
burst adds, tests and then leaks: the same recursion for ``v - v_leak`` with leak a and inputs a * r * I. Every neuron's
potential is scaled by a power of two of its own so that its weights become whole numbers. What that changes is
said in `NirModel.approximations`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.burst import Engine, Network, Neurons, Synapses
from openhailo.errors import InputError, UnsupportedOp

from .nir_file import load_graph
from .nir_linear import MAX_ELEMENTS, apply, is_linear

Array = npt.NDArray[np.float64]
Edges = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]
MAX_NODES: Final = 10_000
MAX_NEURONS: Final = 1_000_000
MAX_SYNAPSES: Final = 50_000_000
MAX_PAIRS: Final = 1 << 32
"""Most pairs of neurons that are looked at."""
BATCH_VALUES: Final = 1 << 22
"""Connections are found by sending one spike at a time through the graph, so many values together."""
_HIGH: Final = 255
_TOP: Final = {8: 255, 16: 255 * 255 + 254}
_HINTS: Final = {
    "CubaLIF": "currents with a time constant have no counterpart; train or export with LIF",
    "CubaLI": "integrators do not fire; end the graph before it",
    "LI": "integrators do not fire; end the graph before it",
    "I": "integrators do not fire; use IF",
    "Delay": "a spike arrives one burst later, no matter where; leave the node out",
    "Threshold": "use IF or LIF with a threshold",
    "NIRGraph": "put the nodes of the inner graph into the outer one",
}


@dataclass(frozen=True)
class Population:
    """Neurons of one node: ids ``start`` onwards, their shape, and how each one's potential was scaled."""

    start: int
    shape: tuple[int, ...]
    gain: Array = field(repr=False)
    scale: Array = field(repr=False)

    @property
    def count(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, eq=False)
class NirModel:
    """An imported graph.

    Attributes:
        network: neurons and synapses in fp32, for mode "embedded".
        populations: neurons by name of their node.
        approximations: what is not exactly as NIR says, one sentence each.
        dt_s: time of one burst in the unit of the graph's time constants.
    """

    network: Network
    populations: Mapping[str, Population]
    approximations: tuple[str, ...]
    dt_s: float
    graph: Any = field(repr=False)
    order: tuple[str, ...] = field(repr=False)

    def engine(self, **options: Any) -> Engine:
        """An engine for it, in the only mode that fits; ``options`` as `Engine` takes them."""
        return Engine(self.network, "embedded", **options)

    def inputs(self, values: Mapping[str, npt.ArrayLike] | None = None) -> tuple[npt.NDArray[np.uint32], Any]:
        """What goes into one burst: ids and potentials, for inputs by node name, with all constant currents.

        Raises:
            InputError: an unknown input or a wrong shape.
        """
        received = _evaluate(self.graph, self.order, self._frames(values or {}), bias=True)
        ids, potentials = [np.zeros(0, np.uint32)], [np.zeros(0, np.float32)]
        for name, population in self.populations.items():
            if name in received:
                ids.append(np.arange(population.start, population.start + population.count, dtype=np.uint32))
                current = _fit(name, received[name][0], population.shape)
                with np.errstate(over="ignore"):
                    potentials.append((current * population.gain * population.scale).astype(np.float32))
        found = np.concatenate(potentials)
        if not np.isfinite(found).all():
            raise InputError(what="inputs", detail="currents are too large for 32-bit numbers")
        return np.concatenate(ids), found

    def outputs(self, fired: npt.ArrayLike) -> dict[str, Array]:
        """What each output node gets from the neurons that fired in a burst: spikes (0 or 1), or sums of them."""
        ids, sources = np.asarray(fired, np.int64), {}
        for name, population in self.populations.items():
            spikes = np.zeros(population.count)
            inside = ids[(ids >= population.start) & (ids < population.start + population.count)]
            spikes[inside - population.start] = 1.0
            sources[name] = spikes.reshape(1, *population.shape)
        received = _evaluate(self.graph, self.order, sources, bias=True)
        outputs = [name for name, node in self.graph.nodes.items() if type(node).__name__ == "Output"]
        return {name: received[name][0] for name in outputs if name in received}

    def _frames(self, values: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        frames = {}
        for name, value in values.items():
            node = self.graph.nodes.get(name)
            if type(node).__name__ != "Input":
                raise InputError(what="inputs", detail=f"{name!r} is no input of the graph")
            shape = tuple(int(size) for size in np.ravel(node.input_type["input"]))
            frame = np.asarray(value, np.float64)
            if frame.size != np.prod(shape) or not np.isfinite(frame).all():
                raise InputError(what=f"input {name!r}", detail=f"needs finite numbers of shape {shape}")
            frames[name] = frame.reshape(1, *shape)
        return frames


def import_nir(source: Any, *, dt_s: float, weight_bits: int = 16) -> NirModel:
    """Read an NIR graph as a network.

    Args:
        source: path of a file, or a `nir.NIRGraph`.
        dt_s: time of one burst, in the unit of the graph's time constants (NIR says seconds).
        weight_bits: 8: one synapse per connection; 16: two where it takes them, for 65,280 levels instead of 256.

    Raises:
        UnsupportedOp: a node that has no counterpart; the hint says what to do.
        InputError: a damaged file or graph, a time step that is longer than a time constant, or too large a network.
    """
    if weight_bits not in _TOP:
        raise InputError(what="weight_bits", detail=f"{weight_bits}; 8 or 16 are possible")
    if not np.isfinite(dt_s) or dt_s <= 0:
        raise InputError(what="dt_s", detail=f"{dt_s}; a positive time is needed")
    graph = load_graph(source) if isinstance(source, str | Path) else source
    order = _linear_order(graph)
    builder = _Builder(graph, order, float(dt_s), _TOP[weight_bits])
    network = builder.network()
    return NirModel(network, builder.populations, tuple(builder.notes), float(dt_s), graph, order)


def _is_neuron(node: Any) -> bool:
    return type(node).__name__ in {"LIF", "IF"}


def _linear_order(graph: Any) -> tuple[str, ...]:
    """Linear nodes so that each comes after those it reads. Raises for nodes without counterpart and for circles."""
    nodes = getattr(graph, "nodes", None)
    if not isinstance(nodes, dict) or not nodes or len(nodes) > MAX_NODES:
        raise InputError(what="graph", detail=f"an NIRGraph of 1..{MAX_NODES} nodes is needed")
    for name, node in nodes.items():
        if not _is_neuron(node) and not is_linear(node):
            kind = type(node).__name__
            raise UnsupportedOp(op=kind, node=str(name), hint=_HINTS.get(kind, "it has no counterpart"))
    _check_edges(graph)
    linear = {name for name, node in nodes.items() if is_linear(node)}
    left = {name: {a for a, b in graph.edges if b == name and a in linear} for name in linear}
    order: list[str] = []
    while left:
        ready = sorted(name for name, waits in left.items() if not waits)
        if not ready:
            raise InputError(what="graph", detail=f"a circle without neurons: {', '.join(sorted(left)[:5])}")
        order += ready
        left = {name: waits - set(ready) for name, waits in left.items() if name not in ready}
    return tuple(order)


def _check_edges(graph: Any) -> None:
    if len(graph.edges) > MAX_NODES * 10:
        raise InputError(what="graph", detail=f"{len(graph.edges)} edges, at most {MAX_NODES * 10} are taken")
    for source, target in graph.edges:
        if source not in graph.nodes or target not in graph.nodes:
            raise InputError(what="graph", detail=f"an edge from {source!r} to {target!r}, which are not both there")


def _evaluate(graph: Any, order: tuple[str, ...], sources: Mapping[str, Array], *, bias: bool) -> dict[str, Array]:
    """What every node receives, by name, when ``sources`` (frames, *shape) are given and everything else is silent.

    With ``bias`` nodes that add constants speak up even if nothing reaches them; nodes that get nothing are left out.
    """
    given: dict[str, Array] = dict(sources)
    readers: dict[str, list[str]] = {}
    for source, target in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
        readers.setdefault(source, []).append(target)
    received: dict[str, Array] = {}

    def hand_on(name: str, value: Array) -> None:
        for target in readers.get(name, ()):
            if target in received and received[target].shape != value.shape:
                detail = f"receives shapes {received[target].shape[1:]} and {value.shape[1:]}"
                raise InputError(what=f"node {target!r}", detail=detail)
            received[target] = received[target] + value if target in received else value

    for name, spikes in given.items():
        if _is_neuron(graph.nodes[name]):
            hand_on(name, spikes)
    for name in order:
        node = graph.nodes[name]
        value: Array | None = given.get(name, received.get(name))
        if value is None and bias and hasattr(node, "bias"):
            value = _silence(node)
        if value is not None:
            hand_on(name, apply(name, node, value, bias=bias))
    return received


def _silence(node: Any) -> Array | None:
    """One frame of zeros in the shape that ``node`` takes, where it is known."""
    shape = (node.input_type or {}).get("input")
    if shape is None:
        return None
    sizes = [int(size) for size in np.ravel(shape)]
    if hasattr(node, "groups"):  # NIR's own type counts the channels of one group
        sizes[0] *= int(np.ravel(node.groups)[0])
    return np.zeros((1, *sizes)) if 0 < math.prod(sizes) <= MAX_ELEMENTS else None


def _fit(name: str, values: Array, shape: tuple[int, ...]) -> Array:
    if values.size != np.prod(shape):
        raise InputError(what=f"node {name!r}", detail=f"receives shape {values.shape}, its parameters have {shape}")
    return values.reshape(-1)


class _Builder:
    """Collects populations, synapses, and what had to be given up."""

    def __init__(self, graph: Any, order: tuple[str, ...], dt_s: float, top: int) -> None:
        self.graph, self.order, self.dt_s, self.top = graph, order, dt_s, top
        self.populations: dict[str, Population] = {}
        self.notes: list[str] = []
        self._start = 0

    def network(self) -> Network:
        """The whole network; sets ``populations`` and ``notes``."""
        membranes = {name: self._membrane(name) for name, node in self.graph.nodes.items() if _is_neuron(node)}
        if not membranes:
            raise InputError(what="graph", detail="it has no LIF or IF node, so that nothing could fire")
        source, target, weight = self._edges()
        gain = np.concatenate([population.gain for population in self.populations.values()])
        change = weight * gain[target]
        scale = _scales(target, np.abs(change), self._start, self.top)
        for name, population in self.populations.items():
            part = scale[population.start : population.start + population.count]
            self.populations[name] = Population(population.start, population.shape, population.gain, part)
        whole = np.rint(change * scale[target])
        self._note_weights(change, whole / scale[target])
        return Network(self._neurons(list(membranes.values()), scale), _synapses(self._start, source, target, whole))

    def _membrane(self, name: str) -> tuple[Array, Array, Array]:
        """Leak, threshold and resting value of one population, which is entered; all flat."""
        node = self.graph.nodes[name]
        r, threshold = _parameter(name, node, "r"), _parameter(name, node, "v_threshold")
        reset = _parameter(name, node, "v_reset")
        leaky = type(node).__name__ == "LIF"
        rest = _parameter(name, node, "v_leak") if leaky else np.zeros(r.shape)
        part = self.dt_s / _parameter(name, node, "tau") if leaky else np.full(r.shape, self.dt_s)
        if not {threshold.shape, reset.shape, rest.shape, part.shape} == {r.shape} or not r.size:
            raise InputError(what=f"node {name!r}", detail="its parameters have different shapes, or none")
        if leaky and not ((part > 0) & (part <= 1)).all():
            raise InputError(what=f"node {name!r}", detail=f"a time constant below the step of {self.dt_s}; lower dt_s")
        difference = np.abs(reset - rest).max()
        if difference > 0:
            kind = "v_leak" if leaky else "0"
            self.notes.append(f"{name}: after firing, potentials go to {kind}, up to {difference:g} beside v_reset.")
        self.populations[name] = Population(self._start, r.shape, (part * r).reshape(-1), np.ones(r.size))
        self._start += r.size
        if self._start > MAX_NEURONS:
            raise InputError(what="graph", detail=f"more than {MAX_NEURONS} neurons")
        leak = part if leaky else np.zeros(r.shape)
        return leak.reshape(-1), (threshold - rest).reshape(-1), rest.reshape(-1)

    def _neurons(self, membranes: list[tuple[Array, Array, Array]], scale: Array) -> Neurons:
        leak, threshold, rest = (np.concatenate([part[column] for part in membranes]) for column in range(3))
        with np.errstate(over="ignore"):
            # NIR fires above the threshold, FEAGI from it on.
            strict = np.nextafter((threshold * scale).astype(np.float32), np.float32(np.inf))
            start = (-rest * (1 - leak) * scale).astype(np.float32)
        if not (np.isfinite(strict).all() and np.isfinite(start).all()):
            raise InputError(what="graph", detail="thresholds are too far from its weights for 32-bit numbers")
        return Neurons.create(self._start, "fp32", threshold=strict, potential=start, leak=leak.astype(np.float32))

    def _edges(self) -> Edges:
        pieces = [piece for name in self.populations for piece in self._edges_of(name)]
        empty = np.zeros(0, np.int64)
        columns = zip((empty, empty, np.zeros(0)), *pieces, strict=True)
        source, target, weight = (np.concatenate(column) for column in columns)
        if pieces:
            self.notes.append("A spike reaches the neurons behind it one burst later, also without a Delay node.")
        return source, target, weight

    def _edges_of(self, name: str) -> Iterator[Edges]:
        """Send a spike of each neuron through the linear nodes, many neurons at a time."""
        origin, found = self.populations[name], 0
        if origin.count * self._start > MAX_PAIRS:
            raise InputError(what=f"node {name!r}", detail=f"{origin.count} neurons among {self._start} are too many")
        step = max(1, min(origin.count, BATCH_VALUES // max(origin.count, self._start)))
        for first in range(0, origin.count, step):
            size = min(step, origin.count - first)
            spikes = np.zeros((size, origin.count))
            spikes[np.arange(size), first + np.arange(size)] = 1.0
            sent = {name: spikes.reshape(size, *origin.shape)}
            received = _evaluate(self.graph, self.order, sent, bias=False)
            for other, target in self.populations.items():
                if other not in received:
                    continue
                _fit(other, received[other][0], target.shape)
                came, went = np.nonzero(received[other].reshape(size, -1))
                found += len(came)
                if found > MAX_SYNAPSES:
                    raise InputError(what="graph", detail=f"more than {MAX_SYNAPSES} synapses")
                weight = received[other].reshape(size, -1)[came, went]
                yield came + origin.start + first, went + target.start, weight

    def _note_weights(self, wanted: Array, got: Array) -> None:
        worst = np.abs(wanted - got).max(initial=0.0)
        if worst > 0:
            share = worst / np.abs(wanted).max()
            self.notes.append(f"Weights are rounded, by at most {share:.2g} of the largest ({worst:.3g}).")
        self.notes.append("Potentials are 32-bit floating point numbers.")


def _parameter(name: str, node: Any, key: str) -> Array:
    try:
        values = np.asarray(getattr(node, key), np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(what=f"node {name!r}", detail=f"{key} is no array of numbers") from error
    if not np.isfinite(values).all() or (key == "tau" and not (values > 0).all()):
        raise InputError(
            what=f"node {name!r}", detail=f"{key} has values that are not finite or, for tau, not positive"
        )
    return values


def _scales(target: npt.NDArray[np.int64], size: Array, count: int, top: int) -> Array:
    """A power of two per neuron that brings its largest weight just below ``top``."""
    largest = np.zeros(count)
    np.maximum.at(largest, target, size)
    with np.errstate(divide="ignore"):
        exponent = np.where(largest > 0, np.floor(np.log2(top / np.where(largest > 0, largest, 1.0))), 0.0)
    if np.abs(exponent).max() > 100:
        raise InputError(what="graph", detail="weights are too large or too small for 32-bit numbers")
    return np.exp2(exponent)


def _synapses(count: int, source: npt.NDArray[np.int64], target: npt.NDArray[np.int64], whole: Array) -> Synapses:
    """Synapses of whole weights: quotient with a postsynaptic potential of 255, rest with one of 1."""
    high, low = np.divmod(np.abs(whole).astype(np.int64), _HIGH)
    kind = (whole < 0).astype(np.uint8)
    parts = [(values > 0, values, psp) for values, psp in ((high, _HIGH), (low, 1))]
    columns = [np.concatenate([column[keep] for keep, _, _ in parts]) for column in (source, target, kind)]
    weight = np.concatenate([values[keep] for keep, values, _ in parts])
    psp = np.concatenate([np.full(int(keep.sum()), psp) for keep, _, psp in parts])
    return Synapses.from_edges(count, columns[0], columns[1], weight, psp, columns[2])
