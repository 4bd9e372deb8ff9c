"""Takes a graph apart at its cuts: one graph per context, and the tensors that go from one to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import helper

from openhailo.compiler.passes.graph import Array, copy_model, rename_tensor, replace_nodes
from openhailo.compiler.ranges import open_session

from .schedule import Schedule, Tensor

TRIAL_FRAMES = 3
CODE_TYPES = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


@dataclass(frozen=True)
class Crossing:
    """A tensor that context ``writer`` leaves for the contexts ``readers``; ``name`` is its name in their graphs."""

    name: str
    tensor: Tensor
    writer: int
    readers: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """The graph of one context. ``inputs`` and ``outputs`` are the network's own that belong to it."""

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Graphs in the order in which they run, and what they hand on."""

    parts: tuple[Part, ...]
    crossings: tuple[Crossing, ...]


def split(schedule: Schedule, cuts: Sequence[int], prefix: str) -> Split:
    """Cut the graph before the places ``cuts``, ascending; crossing tensors are called ``prefix_0``, ``prefix_1``..."""
    bounds = list(pairwise((0, *cuts, len(schedule.nodes))))
    crossings = _crossings(schedule, bounds, prefix)
    parts = tuple(_part(schedule, bound, context, crossings) for context, bound in enumerate(bounds))
    return Split(parts, crossings)


def _crossings(schedule: Schedule, bounds: Sequence[tuple[int, int]], prefix: str) -> tuple[Crossing, ...]:
    taken = {value.name for value in (*schedule.model.graph.input, *schedule.model.graph.output)}
    found: list[Crossing] = []
    for tensor in sorted(schedule.tensors.values(), key=lambda tensor: tensor.made):
        writer = next(at for at, (first, end) in enumerate(bounds) if first <= tensor.made < end)
        readers = tuple(at for at, bound in enumerate(bounds) if at > writer and tensor.readers(*bound))
        if readers:
            name = f"{prefix}_{len(found)}"
            while name in taken:
                name += "_"
            found.append(Crossing(name, tensor, writer, readers))
    return tuple(found)


def _part(schedule: Schedule, bound: tuple[int, int], context: int, crossings: Sequence[Crossing]) -> Part:
    graph, nodes = schedule.model.graph, list(schedule.nodes[slice(*bound)])
    made = {out for node in nodes for out in node.output}
    own = {
        value.name
        for value in graph.input
        if bound[0] <= schedule.tensors[value.name].made < bound[1] and schedule.tensors[value.name].read
    }
    outputs = [value for value in graph.output if value.name in made]
    arriving = [crossing for crossing in crossings if context in crossing.readers]
    leaving = [crossing for crossing in crossings if crossing.writer == context]
    ends = own | {value.name for value in outputs}
    nodes += [
        helper.make_node("Identity", [c.tensor.name], [c.name], name=c.name) for c in leaving if c.tensor.name in ends
    ]
    model = copy_model(schedule.model)
    for name in ("value_info", "input", "output"):
        model.graph.ClearField(name)
    replace_nodes(model.graph, _with_copies(schedule, nodes))
    for crossing in (*arriving, *(c for c in leaving if c.tensor.name not in ends)):
        rename_tensor(model.graph, crossing.tensor.name, crossing.name)
    model.graph.input.extend(value for value in graph.input if value.name in own)
    model.graph.input.extend(_value(crossing, schedule.batch) for crossing in arriving)
    model.graph.output.extend(outputs)
    model.graph.output.extend(_value(crossing, schedule.batch) for crossing in leaving)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(kept)
    return Part(model, tuple(v.name for v in graph.input if v.name in own), tuple(value.name for value in outputs))


def _with_copies(schedule: Schedule, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return ``nodes`` with the nodes without a place that they need, each before its first reader."""
    done: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    for node in nodes:
        waiting = [node]
        while waiting:
            copied = (schedule.copied.get(name) for name in waiting[-1].input if name not in done)
            missing = [source for source in copied if source is not None]
            if missing:
                waiting += missing
                continue
            ready = waiting.pop()
            if done.isdisjoint(ready.output):
                done.update(ready.output)
                ordered.append(ready)
    return ordered


def _value(crossing: Crossing, batch: int | str) -> onnx.ValueInfoProto:
    tensor = crossing.tensor
    return helper.make_tensor_value_info(crossing.name, tensor.element_type, [batch, *(tensor.shape or ())])


def is_exact(whole: onnx.ModelProto, pieces: Split, *, frames: int = TRIAL_FRAMES, seed: int = 0) -> bool:
    """Tell whether the parts, one after the other, compute bit for bit what ``whole`` does, on random frames.

    ONNX Runtime fuses operators; a cut where it would fuse across gives other roundings.
    """
    rng = np.random.default_rng(seed)
    session = open_session(whole)
    is_free = isinstance(session.get_inputs()[0].shape[0], str)
    names = [value.name for value in whole.graph.output]
    sessions = [open_session(part.model) for part in pieces.parts]
    for count in (1, frames) if is_free else (1,):
        feed = {
            entry.name: rng.integers(0, 256, (count, *entry.shape[1:])).astype(CODE_TYPES[entry.type])
            for entry in session.get_inputs()
        }
        expected = dict(zip(names, session.run(names, feed), strict=True))
        seen = dict(_run(pieces, sessions, feed))
        if not all(np.array_equal(expected[name], seen[name]) for name in names):
            return False
    return True


def _run(pieces: Split, sessions: Sequence[Any], feed: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    known = dict(feed)
    for part, session in zip(pieces.parts, sessions, strict=True):
        wanted = [value.name for value in part.model.graph.output]
        results = session.run(wanted, {value.name: known[value.name] for value in part.model.graph.input})
        known.update(zip(wanted, results, strict=True))
    yield from known.items()
