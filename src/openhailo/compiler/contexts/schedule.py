"""A device graph as a line of nodes, and what is alive between any two of them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import onnx
from onnx import TensorProto

from openhailo.compiler.passes.graph import GraphIndex, copy_model, dims_of, infer_shapes, set_dims

#: Element types of one byte that a stream carries as they are.
CODES: Final = frozenset({TensorProto.UINT8, TensorProto.INT8})


@dataclass(frozen=True)
class Tensor:
    """A tensor that nodes compute or that enters the graph.

    ``made`` is the place of the node that makes it, of an input the place of its first reader; ``read`` the places of
    its readers, ascending. ``shape`` is that of one frame, None where it cannot cross from one context to another.
    """

    name: str
    made: int
    read: tuple[int, ...]
    is_input: bool
    element_type: int = TensorProto.UNDEFINED
    shape: tuple[int, ...] | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of one frame."""
        return math.prod(self.shape or ())

    def crossed(self) -> range:
        """Return the places at which it is alive: made before, and read there or later."""
        return range(self.made + 1, self.read[-1] + 1 if self.read else 0)

    def readers(self, first: int, end: int) -> bool:
        """Tell whether a node from ``first`` to before ``end`` reads it."""
        at = bisect_left(self.read, first)
        return at < len(self.read) and self.read[at] < end


@dataclass(frozen=True)
class Schedule:
    """The nodes of a graph in the order in which they run.

    ``nodes`` are those that have a place. The others, DequantizeLinear and what depends on constants only, cost
    nothing and are copied to wherever they are read (``copied``, by output). ``constant_bytes[i]`` are the bytes of
    the constants that node ``i`` is the first to read.
    """

    model: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    copied: Mapping[str, onnx.NodeProto]
    tensors: Mapping[str, Tensor]
    constant_bytes: tuple[int, ...]
    batch: int | str = 1
    alive: tuple[tuple[Tensor, ...], ...] = field(default=(), repr=False)

    def crossing(self, place: int) -> tuple[Tensor, ...]:
        """Return the tensors that cross a cut before node ``place``."""
        return self.alive[place]

    def sources(self, names: Iterable[str]) -> list[str]:
        """Return the tensors with a place that ``names`` come from: themselves, or what copied nodes read."""
        found: dict[str, None] = {}
        waiting = [name for name in reversed(list(names)) if name]
        while waiting:
            name = waiting.pop()
            if name in self.copied:
                waiting += [source for source in reversed(self.copied[name].input) if source]
            elif name in self.tensors:
                found[name] = None
        return list(found)


def make_schedule(model: onnx.ModelProto) -> Schedule:
    """Put the nodes of a device graph (uint8 ends, constants, topological order) into the order of least live memory.

    Raises `ModelInvalid` where shapes contradict each other.
    """
    index = GraphIndex(model.graph)
    copied = _copied(model.graph, index)
    placed = [node for node in model.graph.node if node.output[0] not in copied]
    bare = Schedule(model, (), copied, _known(model, placed), ())
    reads = [bare.sources(node.input) for node in placed]
    shapes = _frame_shapes(model)
    order = _order(placed, reads, {name: math.prod(shape or (0,)) for name, (_, shape) in shapes.items()})
    nodes = tuple(placed[at] for at in order)
    tensors = _tensors(model, nodes, [reads[at] for at in order], shapes)
    batch = (dims_of(model.graph.input[0]) or [1])[0]
    return Schedule(
        model, nodes, copied, tensors, _constant_bytes(nodes, copied, index), batch, _alive(tensors, len(nodes))
    )


def _copied(graph: onnx.GraphProto, index: GraphIndex) -> dict[str, onnx.NodeProto]:
    """Return the nodes without a place, by output; graph outputs are never among them."""
    copied: dict[str, onnx.NodeProto] = {}
    constant = set(index.initializers)
    for node in graph.node:
        is_constant = all(name in constant for name in node.input if name)
        reads_codes = node.op_type == "DequantizeLinear" and all(name in constant for name in node.input[1:] if name)
        if (is_constant or reads_codes) and not index.outputs.intersection(node.output):
            copied.update(dict.fromkeys(node.output, node))
            constant.update(node.output if is_constant else ())
    return copied


def _known(model: onnx.ModelProto, placed: Iterable[onnx.NodeProto]) -> dict[str, Tensor]:
    names = [value.name for value in model.graph.input]
    names += [out for node in placed for out in node.output if out]
    return {name: Tensor(name, 0, (), False) for name in names}


def _order(placed: list[onnx.NodeProto], reads: list[list[str]], sizes: Mapping[str, int]) -> list[int]:
    """Return an order in which, step by step, the node runs that leaves the least bytes alive; ties keep the order."""
    left: dict[str, set[int]] = {}
    for at, names in enumerate(reads):
        for name in names:
            left.setdefault(name, set()).add(at)
    makers = {out: at for at, node in enumerate(placed) for out in node.output if out}
    waits = [{makers[name] for name in names if name in makers} for names in reads]
    followers: dict[int, list[int]] = {}
    for at, before in enumerate(waits):
        for maker in before:
            followers.setdefault(maker, []).append(at)
    ready, order = sorted(at for at, before in enumerate(waits) if not before), []

    def growth(at: int) -> tuple[int, int]:
        made = sum(sizes.get(out, 0) for out in placed[at].output if left.get(out))
        freed = sum(sizes.get(name, 0) for name in reads[at] if left[name] == {at})
        return made - freed, at

    while ready:
        at = min(ready, key=growth)
        ready.remove(at)
        order.append(at)
        for name in reads[at]:
            left[name].discard(at)
        for follower in followers.get(at, ()):
            waits[follower].discard(at)
            if not waits[follower]:
                ready.append(follower)
    assert len(order) == len(placed), "the graph has no cycle"
    return order


def _tensors(
    model: onnx.ModelProto,
    nodes: tuple[onnx.NodeProto, ...],
    reads: list[list[str]],
    shapes: Mapping[str, tuple[int, tuple[int, ...] | None]],
) -> dict[str, Tensor]:
    read: dict[str, list[int]] = {}
    for place, names in enumerate(reads):
        for name in names:
            read.setdefault(name, []).append(place)
    made = {out: place for place, node in enumerate(nodes) for out in node.output if out}
    inputs = {value.name for value in model.graph.input}
    tensors = {}
    for name in (*inputs, *made):
        places = tuple(read.get(name, ()))
        kind, shape = shapes.get(name, (TensorProto.UNDEFINED, None))
        first = made[name] if name in made else min(places, default=0)
        tensors[name] = Tensor(name, first, places, name in inputs, kind, shape)
    return tensors


def _alive(tensors: Mapping[str, Tensor], count: int) -> tuple[tuple[Tensor, ...], ...]:
    alive: list[list[Tensor]] = [[] for _ in range(count + 1)]
    for tensor in tensors.values():
        for place in tensor.crossed():
            alive[place].append(tensor)
    return tuple(map(tuple, alive))


def _frame_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, tuple[int, ...] | None]]:
    """Return element type and shape of a frame of every tensor; no shape where a frame is not one item of axis 0."""
    is_free = any(isinstance(size, str) for value in model.graph.input for size in dims_of(value) or ())
    one, two = _shapes_of(model, 1), _shapes_of(model, 2) if is_free else None
    frames: dict[str, tuple[int, tuple[int, ...] | None]] = {}
    for name, (kind, shape) in one.items():
        whole = shape is not None and shape[:1] == (1,) and 0 not in shape
        if whole and shape is not None and two is not None:
            whole = two.get(name, (0, None))[1] == (2, *shape[1:])
        frames[name] = (kind, shape[1:] if whole and shape is not None and kind in CODES else None)
    return frames


def _shapes_of(model: onnx.ModelProto, batch: int) -> dict[str, tuple[int, tuple[int, ...] | None]]:
    fixed = copy_model(model)
    for value in fixed.graph.input:
        set_dims(value, [batch, *(dims_of(value) or [])[1:]])
    index = GraphIndex(infer_shapes(fixed).graph)
    return {name: (value.type.tensor_type.elem_type, index.shape(name)) for name, value in index.values.items()}


def _constant_bytes(
    nodes: Iterable[onnx.NodeProto], copied: Mapping[str, onnx.NodeProto], index: GraphIndex
) -> tuple[int, ...]:
    counted: set[str] = set()
    sizes = []
    for node in nodes:
        size, waiting = 0, list(node.input)
        while waiting:
            name = waiting.pop()
            if name in counted:
                continue
            if name in index.initializers:
                counted.add(name)
                size += index.initializers[name].ByteSize()
            elif name in copied:
                counted.add(name)
                size += copied[name].ByteSize()
                waiting += copied[name].input
        sizes.append(size + node.ByteSize())
    return tuple(sizes)
