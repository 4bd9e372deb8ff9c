"""Which tensors host ops read: by their shapes, by name, or found inside the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import onnx
from onnx import helper

from openhailo.compiler.passes.cut import cut_at
from openhailo.compiler.passes.graph import GraphIndex, attribute, copy_model
from openhailo.compiler.tensors import describe_inputs, describe_outputs
from openhailo.errors import InputError, ModelInvalid

from .request import ACTIVATED, MASKS, Nms

#: Name that stands for every output.
ALL: Final = "all"
#: Operators that only change where numbers lie.
_MOVES: Final = frozenset({"Reshape", "Transpose", "Identity", "Flatten", "Squeeze", "Unsqueeze"})
_LISTED: Final = 12

Shape = tuple[int, int, int]
Kind = Literal["softmax", "argmax"]


@dataclass(frozen=True)
class LogitsPlan:
    """Softmax or argmax of ``tensor``, as output ``name``."""

    kind: Kind
    tensor: str
    name: str


@dataclass(frozen=True)
class HostPlan:
    """What the host will do: ``levels`` of ``nms``, role to tensor, with ``prototypes`` of masks; and logits.

    ``image`` is (height, width) of the network's picture, None without boxes.
    """

    nms: Nms | None = None
    levels: tuple[Mapping[str, str], ...] = ()
    prototypes: str = ""
    image: tuple[int, int] | None = None
    logits: tuple[LogitsPlan, ...] = ()


@dataclass
class _Ends:
    """The tensors that the network will end at, in order, and the graph they are in."""

    model: onnx.ModelProto
    names: list[str]
    nhwc: frozenset[str]
    replaced: dict[str, str] = field(default_factory=dict)

    def shapes(self, names: Sequence[str]) -> dict[str, Shape]:
        """Return (height, width, features) of tensors, as the device will see them."""
        cut = cut_at(self.model, list(names))
        return {spec.name: spec.device_shape for spec in describe_outputs(cut, self.nhwc)}


def plan_host_ops(
    model: onnx.ModelProto,
    *,
    nms: Nms | None,
    softmax: Sequence[str],
    argmax: Sequence[str],
    end_nodes: Sequence[str],
    nhwc: frozenset[str],
) -> tuple[onnx.ModelProto, tuple[str, ...], HostPlan | None]:
    """Return the model, where it has to end, and what the host does behind it.

    Boxes get a sigmoid on the chip where their family wants one (see `Nms.activation`); a Softmax or ArgMax at the end
    is cut off where the host does it instead.

    Raises `ModelInvalid` when tensors are missing, `InputError` for names that are none.
    """
    if nms is None and not softmax and not argmax:
        return model, tuple(end_nodes), None
    names = [value.name for value in cut_at(model, end_nodes).graph.output]
    ends = _Ends(model, names, nhwc)
    plan = _plan_boxes(ends, nms, explicit=bool(end_nodes)) if nms else HostPlan()
    taken = {tensor for level in plan.levels for tensor in level.values()} | {plan.prototypes}
    logits = _plan_logits(ends, softmax, argmax, taken)
    plan = HostPlan(plan.nms, plan.levels, plan.prototypes, plan.image, logits)
    return ends.model, tuple(ends.names), plan


# --- boxes ------------------------------------------------------------------------------------------------------------


def _plan_boxes(ends: _Ends, nms: Nms, *, explicit: bool) -> HostPlan:
    image = _image(ends)
    pool = list(nms.outputs) or ends.names
    shapes = ends.shapes(pool)
    levels, missing = _levels(shapes, nms, image)
    if missing and not explicit and not nms.outputs:
        pool = _last_convolutions(ends.model, nms)
        shapes = ends.shapes(pool) if pool else {}
        # Deep inside, some layer may have a head's channels by chance: grids that are not complete say nothing there.
        levels, inner = _levels(shapes, nms, image, complete_only=True)
        if inner:
            raise _nothing_fits(nms, missing, ends.shapes(ends.names))
        ends.names = []
    elif missing:
        raise _nothing_fits(nms, missing, shapes)
    used = {tensor for level in levels for tensor in level.values()}
    prototypes = _prototypes(shapes, used, ends, nms) if nms.family == "yolov5-seg" else ""
    kept = [] if nms.outputs and not explicit else [n for n in ends.names if n not in used and n != prototypes]
    levels = tuple(_activated(ends, level, nms) for level in levels)
    read = [tensor for level in levels for tensor in level.values()]
    ends.names = [*read, *([prototypes] if prototypes else []), *kept]
    return HostPlan(nms, levels, prototypes, image)


def _image(ends: _Ends) -> tuple[int, int]:
    specs = [spec for spec in describe_inputs(ends.model, ends.nhwc) if spec.is_image]
    if len(specs) != 1:
        raise ModelInvalid(detail=f"boxes are fractions of one picture, but it has {len(specs)} inputs for pictures")
    height, width, _ = specs[0].device_shape
    return height, width


def _levels(
    shapes: Mapping[str, Shape], nms: Nms, image: tuple[int, int], *, complete_only: bool = False
) -> tuple[tuple[dict[str, str], ...], str]:
    """Return the levels, lowest stride first, and what is missing where they are not complete."""
    grids: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name, (height, width, features) in shapes.items():
        grids.setdefault((height, width), []).append((name, features))
    levels: list[dict[str, str]] = []
    for grid in sorted(grids, key=lambda grid: -grid[0] * grid[1]):
        roles = nms.roles(len(levels))
        level = _assign(grids[grid], roles)
        if not level or (complete_only and len(level) < len(roles)):
            continue
        if len(level) < len(roles):
            wanted = ", ".join(f"{role} with {roles[role]} channels" for role in roles if role not in level)
            return (), f"the {grid[0]}x{grid[1]} grid has no {wanted}"
        if nms.family == "yolov8" and (image[0] % grid[0] or image[1] * grid[0] != image[0] * grid[1]):
            return (), f"a {grid[0]}x{grid[1]} grid is no whole stride of a {image[0]}x{image[1]} picture"
        levels.append(level)
    wanted_levels = len(nms.anchors) or len(levels)
    if not levels or len(levels) != wanted_levels:
        roles = nms.roles(0)
        wanted = " and ".join(f"{role} with {count} channels" for role, count in roles.items())
        found = f", but there are {len(levels)} of {wanted_levels} levels" if levels else ""
        return (), f"each level needs {wanted}{found}"
    return tuple(levels), ""


def _assign(tensors: Sequence[tuple[str, int]], roles: Mapping[str, int]) -> dict[str, str]:
    """Give each role the first tensor of its grid that has its channels."""
    left, level = list(tensors), {}
    for role, channels in roles.items():
        found = next((entry for entry in left if entry[1] == channels), None)
        if found is not None:
            left.remove(found)
            level[role] = found[0]
    return level


def _nothing_fits(nms: Nms, missing: str, shapes: Mapping[str, Shape]) -> ModelInvalid:
    listed = ", ".join(f"{name} {h}x{w}x{c}" for name, (h, w, c) in list(shapes.items())[:_LISTED])
    more = ", ..." if len(shapes) > _LISTED else ""
    return ModelInvalid(
        detail=f"{nms.family} with {nms.classes} classes: {missing}; its outputs are {listed}{more}. "
        "Check --classes, or name the tensors with --nms-outputs"
    )


def _last_convolutions(model: onnx.ModelProto, nms: Nms) -> list[str]:
    """Return convolutions whose shape fits a role, and behind which no other of the same shape comes."""
    index = GraphIndex(model.graph)
    wanted = {count for level in range(max(len(nms.anchors), 1)) for count in nms.roles(level).values()}
    if nms.family == "yolov5-seg":
        wanted.add(MASKS)
    behind: dict[str, frozenset[tuple[int, ...]]] = {}
    found: list[str] = []
    for node in reversed(model.graph.node):
        after: frozenset[tuple[int, ...]] = frozenset()
        for name in node.output:
            after |= behind.get(name, frozenset())
        shape = index.shape(node.output[0]) if node.op_type == "Conv" else None
        if shape is not None and len(shape) == 4 and shape[1] in wanted:
            if shape not in after:
                found.append(node.output[0])
            after |= {shape}
        for name in node.input:
            behind[name] = behind.get(name, frozenset()) | after
    return found[::-1]


def _prototypes(shapes: Mapping[str, Shape], used: set[str], ends: _Ends, nms: Nms) -> str:
    """Return the tensor that masks are mixed from: that with the largest grid, besides the boxes'."""
    fitting = {name: h * w for name, (h, w, c) in shapes.items() if c == MASKS and name not in used}
    if not fitting:
        raise _nothing_fits(nms, f"there are no mask prototypes with {MASKS} channels", shapes)
    chosen = max(fitting, key=lambda name: fitting[name])
    reader = GraphIndex(ends.model.graph).sole_consumer(chosen)
    if chosen not in ends.names and reader is not None and reader.op_type in ("Sigmoid", "Relu", "LeakyRelu"):
        return str(reader.output[0])
    return chosen


def _activated(ends: _Ends, level: Mapping[str, str], nms: Nms) -> dict[str, str]:
    """Return the level with a sigmoid behind the tensors whose family wants one."""
    result = dict(level)
    index = GraphIndex(ends.model.graph)
    for role, tensor in level.items():
        squashed = _is_squashed(index, tensor)
        if nms.family == "yolov5-seg" and squashed:
            raise ModelInvalid(detail=f"{tensor!r} is behind a sigmoid, which the host does here; end before it")
        if role not in ACTIVATED[nms.family] or nms.activation == "none":
            continue
        if nms.activation == "sigmoid" or not squashed:
            result[role] = _append_sigmoid(ends, tensor)
    return result


def _is_squashed(index: GraphIndex, tensor: str) -> bool:
    """Whether the numbers of ``tensor`` are probabilities already."""
    node = index.producer.get(tensor)
    while node is not None and node.op_type in _MOVES:
        node = index.producer.get(node.input[0])
    return node is not None and node.op_type in ("Sigmoid", "HardSigmoid", "Softmax")


def _append_sigmoid(ends: _Ends, tensor: str) -> str:
    index = GraphIndex(ends.model.graph)
    name = f"{tensor}_sigmoid"
    while name in index.producer or name in index.values:
        name += "_"
    ends.model = copy_model(ends.model)
    ends.model.graph.node.append(helper.make_node("Sigmoid", [tensor], [name], name=name))
    if tensor in ends.nhwc:
        ends.nhwc |= {name}
    return name


# --- logits -----------------------------------------------------------------------------------------------------------


def _plan_logits(
    ends: _Ends, softmax: Sequence[str], argmax: Sequence[str], taken: Iterable[str]
) -> tuple[LogitsPlan, ...]:
    free = [name for name in ends.names if name not in set(taken)]
    plans: list[LogitsPlan] = []
    asked: tuple[tuple[Kind, Sequence[str]], ...] = (("softmax", softmax), ("argmax", argmax))
    for kind, names in asked:
        for name in free if ALL in names else names:
            if name not in free:
                raise InputError(what=f"--{kind}", detail=f"no output {name!r}; there are: {', '.join(free) or 'none'}")
            if any(plan.name.removesuffix(f"_{plan.kind}") == name for plan in plans):
                raise InputError(what=f"--{kind}", detail=f"{name!r} has another op already")
            plans.append(_plan_output(ends, kind, name))
    tensors = [plan.tensor for plan in plans]
    if len(set(tensors)) != len(tensors):
        raise InputError(what="--softmax/--argmax", detail="two of the outputs are made of the same tensor")
    return tuple(plans)


def _plan_output(ends: _Ends, kind: Kind, name: str) -> LogitsPlan:
    """Do ``kind`` for output ``name`` on the host: instead of the node that does it, or behind the output."""
    index = GraphIndex(ends.model.graph)
    node = index.producer.get(name)
    if node is None or node.op_type.lower() != kind:
        return LogitsPlan(kind, name, f"{name}_{kind}")
    source = str(node.input[0])
    shape = index.shape(source)
    if shape is None or index.producer.get(source) is None:
        raise ModelInvalid(detail=f"{node.op_type} {node.name!r} reads {source!r}, whose shape is not known")
    rank = len(shape)
    axis = int(attribute(node, "axis", -1 if kind == "softmax" else 0)) % rank
    if axis != (rank - 1 if source in ends.nhwc or rank < 4 else 1):
        raise ModelInvalid(detail=f"{node.op_type} {node.name!r} works on axis {axis}, the host on channels")
    ends.names[ends.names.index(name)] = source
    return LogitsPlan(kind, source, name)
