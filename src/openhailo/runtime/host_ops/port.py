"""Host ops as outputs of a network: what stands between the streams that an op reads and the user's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from openhailo.errors import InputError
from openhailo.hef.enums import LogitsType
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.description import BOX_NUMBERS, TensorInfo
from openhailo.runtime.formats import DTYPES, Array, FormatOrder, FormatType, Quantization
from openhailo.runtime.host_ops import logits
from openhailo.runtime.host_ops.boxes import best, formed, from_classes
from openhailo.runtime.host_ops.describe import BoxOp, HostOp, IouOp, LogitsOp
from openhailo.runtime.host_ops.layouts import DETECTION
from openhailo.runtime.host_ops.maps import frame_view
from openhailo.runtime.host_ops.settings import NmsLimits, NmsSettings
from openhailo.runtime.nms_stream import NmsOutputStream, real_boxes, round_robin
from openhailo.runtime.streams import OutputStream
from openhailo.runtime.transforms import plan_output

Sink = tuple[Any, Any]


def op_port(op: HostOp, streams: Mapping[str, OutputStream], order: FormatOrder | None) -> Any:
    """Return the port of ``op``; ``streams`` are the open ones by layer name, ``order`` the user's choice.

    Raises `InputError` for an order that the op does not give.
    """
    chosen = order or op.orders[0]
    if chosen not in op.orders:
        names = ", ".join(known.name for known in op.orders)
        raise InputError(what=f"format {chosen.name} of {op.name!r}", detail=f"this output is given as {names}")
    mine = [streams[layer.name] for layer in op.layers]
    if isinstance(op, BoxOp):
        return DecodedPort(op, mine) if op.decoded_shape else BoxPort(op, mine, chosen)
    if isinstance(op, IouOp):
        return IouPort(op, cast(list[NmsOutputStream], mine), chosen)
    assert isinstance(op, LogitsOp), "there is no other kind"
    return (ArgmaxPort if op.kind is LogitsType.ARGMAX else SoftmaxPort)(op, mine[0], chosen)


class _Found:
    """What one frame's layers gave for boxes, and the limits that counted when the frame was handed in."""

    __slots__ = ("limits", "parts")

    def __init__(self, layers: int, limits: NmsLimits) -> None:
        self.parts: list[Any] = [None] * layers
        self.limits = limits


def _box_info(op: HostOp, order: FormatOrder, settings: NmsSettings) -> TensorInfo:
    limits, by_class = settings.snapshot(), order is FormatOrder.HAILO_NMS_BY_CLASS
    shape = (limits.classes, BOX_NUMBERS, limits.per_class) if by_class else (limits.total,)
    dtype = DTYPES[FormatType.FLOAT32] if by_class else DETECTION
    return TensorInfo(op.name, shape, dtype, order, Quantization(), op.original_names, settings)


#: ``take(index, view, parts, score)``: what to do with one frame of layer ``index``.
Take = Callable[[int, Array, list[Any], float], None]


def _reader(layer: Layer, stream: OutputStream, index: int, take: Take) -> Callable[[list[_Found], int, int], None]:
    """Return the function that goes over slots of one stream, whose frames it takes as they lie there."""
    views = frame_view(layer, stream.slots.view, stream.slots.stride)

    def read(frames: list[_Found], first: int, last: int) -> None:
        for frame, slot in zip(frames, range(first, last), strict=True):
            take(index, views[slot], frame.parts, frame.limits.score)

    return read


class BoxPort:
    """Boxes with suppression. Streams are read in the op's order, each for the same frames before the next."""

    def __init__(self, op: BoxOp, streams: Sequence[OutputStream], order: FormatOrder) -> None:
        self._op, self._order, self.streams = op, order, tuple(streams)
        self.settings = NmsSettings(op.name, order, op.limits)
        self._readers = [
            _reader(layer, stream, index, op.finder.gather)
            for index, (layer, stream) in enumerate(zip(op.layers, streams, strict=True))
        ]

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The output, as the settings are now."""
        return (_box_info(self._op, self._order, self.settings),)

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return a sink per stream; boxes are float32 whatever ``kind`` is."""
        limits = self.settings.snapshot()
        frames = [_Found(len(self.streams), limits) for _ in range(count)]
        return [(frames, reader) for reader in self._readers]

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Decode what was taken, suppress, and return the result of each frame."""
        finder, order = self._op.finder, self._order
        results = [finder.result(frame.parts, frame.limits, order) for frame in outs[0][:count]]
        return [results if batched else results[0]]


class DecodedPort:
    """Every box, without suppression: one float32 array (1, boxes, numbers) per frame."""

    def __init__(self, op: BoxOp, streams: Sequence[OutputStream]) -> None:
        assert op.decoded_shape is not None, "the caller asked"
        self._op, self.streams = op, tuple(streams)
        dtype = DTYPES[FormatType.FLOAT32]
        info = TensorInfo(op.name, op.decoded_shape, dtype, FormatOrder.NHWC, Quantization(), op.original_names)
        self.infos = (info,)

        def take(index: int, view: Array, parts: list[Any], score: float) -> None:
            op.finder.copy(index, view, parts)

        self._readers = [
            _reader(layer, stream, index, take)
            for index, (layer, stream) in enumerate(zip(op.layers, streams, strict=True))
        ]

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return a sink per stream; results are float32 whatever ``kind`` is."""
        frames = [_Found(len(self.streams), self._op.limits) for _ in range(count)]
        return [(frames, reader) for reader in self._readers]

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Decode every box of each frame."""
        results = [self._op.finder.all_boxes(frame.parts) for frame in outs[0][:count]]
        return [np.stack(results) if batched else results[0]]


class _Boxes(list[Any]):
    """What a stream of boxes gave for each frame, and the limits that counted when the frames were handed in."""

    def __init__(self, count: int, limits: NmsLimits) -> None:
        super().__init__([None] * count)
        self.limits = limits


class IouPort:
    """Boxes that the chip has sorted by class, suppressed on the host."""

    def __init__(self, op: IouOp, streams: Sequence[NmsOutputStream], order: FormatOrder) -> None:
        self._op, self._order, self.streams = op, order, tuple(streams)
        self.settings = NmsSettings(op.name, order, op.limits)
        self._read = real_boxes(op.layers[0].quantization)
        self._classes = sum(layer.nms.classes for layer in op.layers if layer.nms is not None)

    @property
    def infos(self) -> tuple[TensorInfo, ...]:
        """The output, as the settings are now."""
        return (_box_info(self._op, self._order, self.settings),)

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return a sink per stream."""
        limits = self.settings.snapshot()
        return [(_Boxes(count, limits), self._read) for _ in self.streams]

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Suppress the boxes of each frame."""
        limits = outs[0].limits
        results = [self._result(parts, limits) for parts in zip(*(out[:count] for out in outs), strict=True)]
        return [results if batched else results[0]]

    def _result(self, parts: Sequence[Any], limits: NmsLimits) -> Any:
        boxes = round_robin(parts, self._classes)
        if self._op.dropped is not None:
            del boxes[self._op.dropped]
        with np.errstate(all="ignore"):
            return formed(best(from_classes(boxes, limits.score), limits, self._order), limits, self._order)


class SoftmaxPort:
    """Probabilities over the features of one layer, float32."""

    def __init__(self, op: LogitsOp, stream: OutputStream, order: FormatOrder) -> None:
        layer = op.layers[0]
        plan = plan_output(layer.layout, layer.quantization, order=order, user_type=FormatType.FLOAT32)
        copy = plan.bind(stream.slots.view, stream.slots.stride)

        def read(out: Array, first: int, last: int) -> None:
            with np.errstate(over="ignore"):
                copy(out, first, last)

        self._copy = read
        self.streams, self._shape = (stream,), plan.shape
        self.infos = (TensorInfo(op.name, plan.shape, plan.dtype, order, Quantization(), op.original_names),)

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return the sink of the stream; results are float32 whatever ``kind`` is."""
        return [(np.empty((count, *self._shape), np.float32), self._copy)]

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Turn the frames into probabilities, in place."""
        frames = outs[0][:count]
        logits.softmax(frames)
        return [frames if batched else frames[0]]


class ArgmaxPort:
    """The index of the first largest feature, of the op's integer type."""

    def __init__(self, op: LogitsOp, stream: OutputStream, order: FormatOrder) -> None:
        layer = op.layers[0]
        layout = layer.layout
        vector = order is FormatOrder.NC
        height, width = (layout.width, layout.height) if layout.transposed else (layout.height, layout.width)
        self._shape = (1,) if vector else (height, width)
        self.streams, self._dtype = (stream,), op.dtype
        self.infos = (TensorInfo(op.name, self._shape, op.dtype, order, Quantization(), op.original_names),)
        self._bind(layer, stream, vector)

    def _bind(self, layer: Layer, stream: OutputStream, vector: bool) -> None:
        """Copy frames as they lie in memory where that is plain rows; else bring them into the user's order first."""
        layout = layer.layout
        if layout.order is FormatOrder.NHCW and not layout.transposed:
            views = frame_view(layer, stream.slots.view, stream.slots.stride)
            self._raw_shape: tuple[int, ...] = (layout.height, layout.features, layout.width)

            def read(out: Array, first: int, last: int) -> None:
                np.copyto(out.transpose(0, 1, 3, 2), views[first:last])

            self._copy: Any = read
            self._frames: Callable[[Array], Array] = lambda out: out.transpose(0, 1, 3, 2)
        else:
            order = FormatOrder.NC if vector else FormatOrder.NHWC
            plan = plan_output(layout, layer.quantization, order=order)
            self._copy, self._raw_shape = plan.bind(stream.slots.view, stream.slots.stride), plan.shape
            self._frames = lambda out: out.reshape(len(out), 1, 1, -1) if vector else out
        self._raw_type = DTYPES[layout.type]

    def begin(self, count: int, kind: FormatType) -> list[Sink]:
        """Return the sink of the stream, for the device's integers; indices are integers whatever ``kind`` is."""
        return [(np.empty((count, *self._raw_shape), self._raw_type), self._copy)]

    def finish(self, outs: Sequence[Any], count: int, batched: bool) -> Sequence[Any]:
        """Return the indices of each frame."""
        frames = self._frames(outs[0][:count])
        found = np.empty(frames.shape[:3], self._dtype)
        logits.argmax(frames, found)
        result = found.reshape(count, *self._shape)
        return [result if batched else result[0]]
