"""What stands between a user's arrays and the streams: most inputs and outputs are one stream each, some are not.

Planes feed several streams from one array, a mux gives several outputs from one stream, boxes of several streams are
one output. Copies are planned when a network is configured, and bound when an element type is first used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from openhailo.driver.link import ChipLink
from openhailo.errors import InputError, InvalidHef, ShapeMismatch
from openhailo.runtime.configure.layers import H2D, Layer
from openhailo.runtime.description import FusedOutput, NetworkDescription, TensorInfo
from openhailo.runtime.formats import DTYPES, Array, FormatOrder, FormatType, UserFormat
from openhailo.runtime.host_ops.port import op_port
from openhailo.runtime.mux import bind_leaf, leaf_cuts
from openhailo.runtime.nms_stream import NmsOutputStream, raw_boxes, real_boxes, round_robin
from openhailo.runtime.planes import bind_plane, image_shape, join_planes
from openhailo.runtime.session import BoundaryChannel
from openhailo.runtime.streams import InputStream, OutputRefill, OutputStream
from openhailo.runtime.transforms import FramesCopy, InputTransform, OutputTransform, plan_input, plan_output

#: (where results go, what fills it) of one stream.
Sink = tuple[Any, Any]
Orders = Callable[[Layer], FormatOrder]
#: The user's order of an output by name, None for the usual one.
ChosenOrder = Callable[[str], FormatOrder | None]


@dataclass(frozen=True)
class StreamOptions:
    """How streams are opened: see `openhailo.runtime.options.NetworkOptions`."""

    refill: OutputRefill
    interrupt_at_start: bool


class _Copies:
    """Bound copies by element type, each made when it is first used."""

    def __init__(self, bind: Callable[[Any], Any]) -> None:
        self._bind, self._made = bind, dict[Any, Any]()

    def __call__(self, kind: Any) -> Any:
        try:
            return self._made[kind]
        except KeyError:
            made = self._made[kind] = self._bind(kind)
            return made


# --- inputs -----------------------------------------------------------------------------------------------------------


class InputPort:
    """One input: the user's view, its streams, and the copy of an element type into each of them."""

    def __init__(
        self,
        info: TensorInfo,
        streams: Sequence[InputStream],
        bind: Callable[[FormatType], list[FramesCopy]],
        planes: Sequence[Layer] = (),
        layer: Layer | None = None,
    ) -> None:
        self.info, self.streams, self._planes, self._layer = info, tuple(streams), tuple(planes), layer
        self.copies = _Copies(bind)
        self._made_as = _Copies(self._bind_as)

    def view(self, form: UserFormat) -> TensorInfo:
        """Return the input as seen in ``form``: its shape, order and element type. Raises `InputError`."""
        return _seen_as(self.info, self._layer, form, to_device=True)

    def copies_as(self, form: UserFormat) -> list[FramesCopy]:
        """Return the copies of frames in ``form`` into each stream."""
        return self._made_as(form)  # type: ignore[no-any-return]

    def takes_memory(self, form: UserFormat) -> bool:
        """Whether the device can read frames in ``form`` where they are: bytes and their places are the same."""
        layer = self._layer
        if layer is None:
            return False
        plan = plan_input(layer.layout, layer.quantization, order=_order(self.info, form), user_type=form.type)
        return _same_bytes(plan, layer)

    def _bind_as(self, form: UserFormat) -> list[FramesCopy]:
        layer = self._layer
        if layer is None or _order(self.info, form) is self.info.order:
            self.view(form)
            return self.copies(form.type)  # type: ignore[no-any-return]
        plan = plan_input(layer.layout, layer.quantization, order=form.order, user_type=form.type)
        return [plan.bind(stream.slots.view, stream.slots.stride) for stream in self.streams]

    def frames(self, value: Any) -> tuple[Array, FormatType, bool]:
        """Return frames (n, *shape), their element type, and whether the caller gave a batch.

        A tuple is one array per plane. Raises `ShapeMismatch`, `InputError`.
        """
        if self._planes and isinstance(value, tuple):
            value = join_planes(self.info.name, self._planes, value)
        return frames_of(self.info, value)


def _tensor_input(layer: Layer, stream: InputStream, order: FormatOrder) -> InputPort:
    plan_input(layer.layout, layer.quantization, order=order)

    def bind(kind: FormatType) -> list[FramesCopy]:
        plan = plan_input(layer.layout, layer.quantization, order=order, user_type=kind)
        return [plan.bind(stream.slots.view, stream.slots.stride)]

    return InputPort(TensorInfo.of(layer, order), [stream], bind, layer=layer)


def _planar_input(info: TensorInfo, layers: Sequence[Layer], streams: Sequence[InputStream]) -> InputPort:
    for layer in layers:
        plan_input(layer.layout, layer.quantization, order=layer.user_order)
    if len({layer.layout.data_bytes for layer in layers}) != 1:
        raise InvalidHef(rule="planes", where=info.name, detail="planes differ in their element size")

    def bind(kind: FormatType) -> list[FramesCopy]:
        return [
            bind_plane(layers, index, kind, stream.slots.view, stream.slots.stride)
            for index, stream in enumerate(streams)
        ]

    first = TensorInfo.of(layers[0], layers[0].user_order)
    info = replace(info, shape=image_shape(layers), dtype=first.dtype, quantization=first.quantization)
    return InputPort(info, streams, bind, layers)


def _order(info: TensorInfo, form: UserFormat) -> FormatOrder:
    return info.order if form.order is FormatOrder.AUTO else form.order


def _seen_as(info: TensorInfo, layer: Layer | None, form: UserFormat, *, to_device: bool) -> TensorInfo:
    """Return ``info`` in the user's order and element type. Raises `InputError` where there is no such conversion."""
    order = _order(info, form)
    if layer is None:
        if order is not info.order:
            raise InputError(what=f"format {order.name} of {info.name!r}", detail=f"it comes as {info.order.name} only")
        dtype = info.dtype if form.type is FormatType.AUTO else DTYPES[form.type]
        return replace(info, dtype=dtype)
    plan = (plan_input if to_device else plan_output)(
        layer.layout, layer.quantization, order=order, user_type=form.type
    )
    return replace(info, order=order, shape=plan.shape, dtype=plan.dtype)


def _same_bytes(plan: InputTransform | OutputTransform, layer: Layer) -> bool:
    """Whether user frames are transfers as they are."""
    is_whole = math.prod(plan.shape) * plan.dtype.itemsize == layer.layout.transfer_bytes
    return plan.plain and plan.dtype == DTYPES[layer.layout.type] and is_whole


def frames_of(info: TensorInfo, value: Any) -> tuple[Array, FormatType, bool]:
    """Return frames (n, *shape), their element type, and whether ``value`` is a batch. Raises `ShapeMismatch`."""
    array = np.asarray(value)
    kind = _kind(info, array)
    if kind is FormatType.FLOAT32 and array.dtype != np.float32:
        array = array.astype(np.float32)
    shape = array.shape
    if shape[1:] == info.shape:
        return np.ascontiguousarray(array), kind, True
    if shape == info.shape:
        return np.ascontiguousarray(array)[None], kind, False
    # A missing or additional axis of length 1 (grey images, NC vectors as 1x1xC) means the same frame; an array of four
    # axes is a batch.
    bare, seen, rest = _bare(info.shape), _bare(shape), _bare(shape[1:])
    if seen == bare and len(shape) < 4:
        return np.ascontiguousarray(array).reshape(1, *info.shape), kind, False
    if shape and rest == bare:
        return np.ascontiguousarray(array).reshape(-1, *info.shape), kind, True
    raise ShapeMismatch(name=info.name, expected=info.shape, seen=shape, detail="or a batch of it with a leading axis")


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _kind(info: TensorInfo, array: Array) -> FormatType:
    if array.dtype == info.dtype:
        return FormatType.AUTO
    if array.dtype.kind == "f":
        return FormatType.FLOAT32
    if array.dtype == np.uint8 and info.dtype == np.uint16:
        return FormatType.UINT8
    raise InputError(
        what=info.name, detail=f"takes float32 or {info.dtype} (already quantised), not {array.dtype}; convert it first"
    )


# --- outputs ----------------------------------------------------------------------------------------------------------


class OutputPort(Protocol):
    """One or more outputs from one or more streams."""

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The outputs."""
        ...

    @property
    def streams(self) -> tuple[OutputStream, ...]:
        """The streams that they come in."""
        ...

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return a sink per stream for ``count`` frames of AUTO (raw) or FLOAT32 elements."""
        ...

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Return a result per output: the first ``count`` frames, or without ``batched`` the only one."""
        ...


class TensorOutput:
    """One stream, one array."""

    def __init__(self, layer: Layer, stream: OutputStream, order: FormatOrder) -> None:
        plan_output(layer.layout, layer.quantization, order=order)
        self.info, self._layer = TensorInfo.of(layer, order), layer
        self.infos, self.streams = (self.info,), (stream,)
        self._made_as = _Copies(self._bind_as)

        def bind(kind: FormatType) -> FramesCopy:
            plan = plan_output(layer.layout, layer.quantization, order=order, user_type=kind)
            return plan.bind(stream.slots.view, stream.slots.stride)

        self._copies = _Copies(bind)

    def views(self, forms: Sequence[UserFormat]) -> tuple[TensorInfo, ...]:
        """Return the output as seen in a form. Raises `InputError`."""
        return (_seen_as(self.info, self._layer, forms[0], to_device=False),)

    def sink(self, arrays: Sequence[Array], forms: Sequence[UserFormat]) -> Sink:
        """Return the sink that fills the user's array (n, *shape) in a form."""
        return arrays[0], self._made_as(forms[0])

    def takes_memory(self, form: UserFormat) -> bool:
        """Whether the device can write frames in ``form`` where they are to be."""
        layer = self._layer
        plan = plan_output(layer.layout, layer.quantization, order=_order(self.info, form), user_type=form.type)
        return _same_bytes(plan, layer)

    def _bind_as(self, form: UserFormat) -> FramesCopy:
        layer, stream = self._layer, self.streams[0]
        plan = plan_output(layer.layout, layer.quantization, order=_order(self.info, form), user_type=form.type)
        return plan.bind(stream.slots.view, stream.slots.stride)

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return the sink of the stream."""
        return [(_empty(self.info, count, kind), self._copies(kind))]

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Return the array."""
        return [outs[0][:count] if batched else outs[0][0]]


class _Arrays(list[Array]):
    """Arrays of several outputs, sliced together."""

    def __getitem__(self, key: Any) -> Any:
        return _Arrays(array[key] for array in self)


class MuxOutput:
    """One stream, an array per leaf."""

    def __init__(self, layer: Layer, stream: OutputStream, order_of: Orders) -> None:
        self._leaves = [(leaf, cuts, order_of(leaf)) for leaf, cuts in leaf_cuts(layer)]
        for leaf, _, order in self._leaves:
            plan_output(leaf.layout, leaf.quantization, order=order)
        self.infos = tuple(TensorInfo.of(leaf, order) for leaf, _, order in self._leaves)
        self.streams = (stream,)
        self._copies = _Copies(lambda kind: self._bind([UserFormat(kind)] * len(self._leaves)))
        self._made_as = _Copies(self._bind)

    def views(self, forms: Sequence[UserFormat]) -> tuple[TensorInfo, ...]:
        """Return the outputs as seen in forms. Raises `InputError`."""
        each = zip(self.infos, self._leaves, forms, strict=True)
        return tuple(_seen_as(info, leaf, form, to_device=False) for info, (leaf, _, _), form in each)

    def sink(self, arrays: Sequence[Array], forms: Sequence[UserFormat]) -> Sink:
        """Return the sink that fills the user's arrays (n, *shape) in forms."""
        return _Arrays(arrays), self._made_as(tuple(forms))

    def _bind(self, forms: Sequence[UserFormat]) -> FramesCopy:
        slots = self.streams[0].slots
        copies = [
            bind_leaf(leaf, cuts, _order(info, form), form.type, slots.view, slots.stride)
            for info, (leaf, cuts, _), form in zip(self.infos, self._leaves, forms, strict=True)
        ]

        def read(outs: Any, first: int, last: int) -> None:
            for copy, out in zip(copies, iter(outs), strict=True):
                copy(out, first, last)

        return read

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return the sink of the stream."""
        return [(_Arrays(_empty(info, count, kind) for info in self.infos), self._copies(kind))]

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Return an array per leaf."""
        return [out[:count] if batched else out[0] for out in iter(outs[0])]


class BoxesOutput:
    """Boxes per class from one stream, or from several whose classes take turns (hef.md 11, 12).

    A frame's result is a list with an array (n, 5) per class: y_min, x_min, y_max, x_max, score; float32, or uint16 as
    the chip sent them. A batch is a list of these.
    """

    def __init__(self, info: TensorInfo, streams: Sequence[NmsOutputStream], classes: int) -> None:
        self.infos, self.streams, self._classes = (info,), tuple(streams), classes
        self._real = real_boxes(info.quantization)

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return a sink per stream."""
        read = self._real if kind is FormatType.FLOAT32 else raw_boxes
        return [([None] * count, read) for _ in self.streams]

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Return the boxes of each class, for each frame."""
        frames = [round_robin(parts, self._classes) for parts in zip(*(out[:count] for out in outs), strict=True)]
        return [frames if batched else frames[0]]


def _empty(info: TensorInfo, count: int, kind: FormatType) -> Array:
    return np.empty((count, *info.shape), np.float32 if kind is FormatType.FLOAT32 else info.dtype)


# --- all of a network -------------------------------------------------------------------------------------------------


class Ports:
    """The open streams of a network and the ports on them. ``streams`` are closed by the owner, all of them."""

    def __init__(
        self,
        link: ChipLink,
        description: NetworkDescription,
        orders: Orders,
        options: StreamOptions,
        streams: list[InputStream | OutputStream],
        chosen: ChosenOrder = lambda name: None,
    ) -> None:
        """Open nothing yet; ``streams`` gets every stream as it opens, ``chosen`` is asked for outputs of host ops."""
        self._link, self._description, self._orders, self._options = link, description, orders, options
        self._streams, self._chosen = streams, chosen
        self.inputs: list[InputPort] = []
        self.outputs: list[OutputPort] = []

    def open(self, boundary: Sequence[BoundaryChannel]) -> None:
        """Allocate slots for every channel and plan the transformations. Raises `InputError`, `DmaMapError`."""
        opened = [(channel.layer, self._open(channel)) for channel in boundary]
        ins = [(layer, stream) for layer, stream in opened if isinstance(stream, InputStream)]
        outs = [(layer, stream) for layer, stream in opened if isinstance(stream, OutputStream)]
        self.inputs = list(self._input_ports(ins))
        self.outputs = self._in_order(list(self._output_ports(outs)))

    def _in_order(self, ports: list[OutputPort]) -> list[OutputPort]:
        """Sort by the place of a port's first result, so that ordinary networks need no sorting per call."""
        place = {name: index for index, name in enumerate(self._description.outputs)}
        return sorted(ports, key=lambda port: min(place[info.name] for info in port.infos))

    def _open(self, boundary: BoundaryChannel) -> InputStream | OutputStream:
        layer = boundary.layer
        place = (self._link, layer.name, boundary.channel, boundary.dlist, boundary.ring)
        if layer.direction is H2D:
            source = InputStream(*place)
            self._streams.append(source)
            if self._options.interrupt_at_start:
                source.interrupt_at_start()
            return source
        sink = OutputStream(*place) if layer.nms is None else NmsOutputStream(*place, layer.nms)
        self._streams.append(sink)
        sink.refill = self._options.refill
        return sink

    def _input_ports(self, opened: Sequence[tuple[Layer, InputStream]]) -> Iterator[InputPort]:
        done: set[str] = set()
        for layer, stream in opened:
            if not layer.plane_of:
                yield _tensor_input(layer, stream, self._orders(layer))
            elif layer.plane_of not in done:
                done.add(layer.plane_of)
                planes = [(other, source) for other, source in opened if other.plane_of == layer.plane_of]
                info = self._description.images[layer.plane_of]
                yield _planar_input(info, [plane for plane, _ in planes], [source for _, source in planes])

    def _output_ports(self, opened: Sequence[tuple[Layer, OutputStream]]) -> Iterator[OutputPort]:
        fused: dict[str, list[tuple[int, NmsOutputStream]]] = {}
        by_name = {layer.name: stream for layer, stream in opened}
        read = {layer.name for op in self._description.host_ops for layer in op.layers}
        for op in self._description.host_ops:
            yield op_port(op, by_name, self._chosen(op.name))
        for layer, stream in opened:
            if layer.name in read:
                continue
            if layer.mux is not None:
                yield MuxOutput(layer, stream, self._orders)
            elif not isinstance(stream, NmsOutputStream):
                yield TensorOutput(layer, stream, self._orders(layer))
            elif layer.fused is not None:
                fused.setdefault(layer.fused.name, []).append((layer.fused.index, stream))
            else:
                assert layer.nms is not None, "the stream was made for it"
                _check_boxes_order(layer, self._orders(layer))
                yield BoxesOutput(TensorInfo.of_boxes(layer), [stream], layer.nms.classes)
        for name, parts in fused.items():
            output: FusedOutput = self._description.fused[name]
            streams = [stream for _, stream in sorted(parts, key=lambda part: part[0])]
            yield BoxesOutput(output.info, streams, output.classes)


def _check_boxes_order(layer: Layer, order: FormatOrder) -> None:
    if order is not FormatOrder.HAILO_NMS_BY_CLASS:
        detail = "boxes sorted out on the chip are given by class only (hef.md 11)"
        raise InputError(what=f"format {order.name} of {layer.name!r}", detail=detail)
