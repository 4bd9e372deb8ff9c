"""The host ops of a HEF's network group: wired, checked, and made ready to run (hef.md 13)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.hef import model as hef
from openhailo.hef import ops as o
from openhailo.hef.enums import LogitsType, PadFormatOrder, PadFormatType
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import DTYPES, FormatOrder, FormatType
from openhailo.runtime.host_ops.boxes import BoxFinder
from openhailo.runtime.host_ops.layouts import frame_bytes
from openhailo.runtime.host_ops.levels import Classes, Level
from openhailo.runtime.host_ops.maps import check_quantization
from openhailo.runtime.host_ops.masks import Prototypes
from openhailo.runtime.host_ops.settings import BOX_ORDERS, MAX_RESULT_BYTES, NmsLimits
from openhailo.runtime.host_ops.ssd import SsdLevel
from openhailo.runtime.host_ops.yolov5 import Yolov5Level
from openhailo.runtime.host_ops.yolov8 import Yolov8Level
from openhailo.runtime.host_ops.yolox import YoloxLevel

#: Layers that one op may read: a bound of this reader, above the channels of a device.
MAX_LAYERS = 64


@dataclass(frozen=True, eq=False)
class HostOp:
    """One op: its output ``name``, the ``layers`` it reads, and the ``orders`` its output can have, default first."""

    name: str
    layers: tuple[Layer, ...]
    orders: tuple[FormatOrder, ...]

    @property
    def original_names(self) -> tuple[str, ...]:
        """Layers of the model that it was compiled from."""
        return tuple(name for layer in self.layers for name in layer.original_names)


@dataclass(frozen=True, eq=False)
class BoxOp(HostOp):
    """Boxes out of maps. ``decoded_shape`` is there where nothing is suppressed: (1, boxes, numbers)."""

    finder: BoxFinder
    limits: NmsLimits
    decoded_shape: tuple[int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class IouOp(HostOp):
    """Suppression of boxes that the chip has sorted by class; class ``dropped`` is the background."""

    limits: NmsLimits
    dropped: int | None = None


@dataclass(frozen=True, eq=False)
class LogitsOp(HostOp):
    """Softmax, or argmax with results of type ``dtype``, of one layer."""

    kind: LogitsType
    dtype: np.dtype[Any]


def describe_ops(group: hef.NetworkGroup, layers: Sequence[Layer]) -> tuple[HostOp, ...]:
    """Return the host ops of ``group``, whose output layers are among ``layers``. Raises `HefError`."""
    by_pad = {layer.pad_index: layer for layer in layers if layer.pad_index is not None}
    sources = {edge.dst: edge.src for edge in group.pad_edges}
    with np.errstate(all="ignore"):
        ops = tuple(_op(op, by_pad, sources) for op in group.host_ops)
    claimed = [layer.name for op in ops for layer in op.layers]
    if len(set(claimed)) != len(claimed):
        raise UnsupportedHef(feature="an output layer that is read by host ops more than once")
    return ops


class _Wiring:
    """The layers that feed one op, by the pad of the core op that they come from."""

    def __init__(self, op: hef.Op, by_pad: Mapping[int, Layer], sources: Mapping[int, int]) -> None:
        self.where = op.name or "op"
        if not op.input_pads or len(op.input_pads) > MAX_LAYERS:
            detail = f"{len(op.input_pads)} input pads; 1 to {MAX_LAYERS} are possible"
            raise InvalidHef(rule="op wiring", where=self.where, detail=detail)
        self.layers: dict[int, Layer] = {}
        for pad in op.input_pads:
            source = sources.get(pad.index)
            if source is None or source not in by_pad:
                detail = f"input pad {pad.index} is wired to no output of the core op"
                raise InvalidHef(rule="op wiring", where=self.where, detail=detail)
            self.layers[source] = by_pad[source]
        for layer in self.layers.values():
            if layer.mux is not None:
                raise UnsupportedHef(feature=f"host op {self.where!r} on a multiplexed stream")

    def __getitem__(self, pad: int) -> Layer:
        """Return the layer at a decoder's pad. Raises `InvalidHef`."""
        if pad not in self.layers:
            detail = f"a decoder names pad {pad}, which does not feed the op"
            raise InvalidHef(rule="decoder pads", where=self.where, detail=detail)
        return self.layers[pad]

    def only(self) -> Layer:
        """Return the one layer of an op that takes one. Raises `InvalidHef`."""
        if len(self.layers) != 1:
            detail = f"{len(self.layers)} input layers, needs one"
            raise InvalidHef(rule="op wiring", where=self.where, detail=detail)
        return next(iter(self.layers.values()))

    def named(self, name: str) -> Layer:
        """Return the layer called ``name``. Raises `InvalidHef`."""
        for layer in self.layers.values():
            if layer.name == name:
                return layer
        detail = f"no layer {name!r} feeds the op"
        raise InvalidHef(rule="op wiring", where=self.where, detail=detail)


def _op(op: hef.Op, by_pad: Mapping[int, Layer], sources: Mapping[int, int]) -> HostOp:
    wiring = _Wiring(op, by_pad, sources)
    if len(op.output_pads) != 1 or not op.output_pads[0].name:
        detail = f"{len(op.output_pads)} output pads; needs one, with a name"
        raise InvalidHef(rule="op output", where=wiring.where, detail=detail)
    if isinstance(op.body, o.NmsOp):
        return _nms_op(op.output_pads[0].name, op.body, wiring)
    if isinstance(op.body, o.LogitsOp):
        return _logits_op(op.output_pads[0], op.body, wiring)
    raise UnsupportedHef(feature=f"host op {wiring.where!r} of an unknown kind")


# --- boxes ------------------------------------------------------------------------------------------------------------


def _nms_op(name: str, body: o.NmsOp, wiring: _Wiring) -> HostOp:
    if not (math.isfinite(body.nms_score_th) and math.isfinite(body.nms_iou_th)):
        detail = f"thresholds {body.nms_score_th} and {body.nms_iou_th}"
        raise InvalidHef(rule="NMS numbers", where=wiring.where, detail=detail)
    if isinstance(body.method, o.IouNmsOp):
        return _iou_op(name, body, wiring)
    classes = Classes.of(body, wiring.where)
    finder = _finder(body, classes, wiring)
    unread = {layer.name for layer in wiring.layers.values()} - {layer.name for layer in finder.layers}
    if unread:
        raise InvalidHef(rule="op wiring", where=wiring.where, detail=f"no decoder reads {sorted(unread)}")
    if body.bbox_decoding_only:
        shape = (1, *_decoded(body, classes, wiring))
        return BoxOp(name, finder.layers, (FormatOrder.NHWC,), finder, _limits(body, wiring), shape)
    masked = isinstance(body.method, o.YoloSegNmsOp)
    orders = (FormatOrder.HAILO_NMS_WITH_BYTE_MASK,) if masked else BOX_ORDERS
    return BoxOp(name, finder.layers, orders, finder, _limits(body, wiring))


def _finder(body: o.NmsOp, classes: Classes, wiring: _Wiring) -> BoxFinder:
    method = body.method
    prototypes = None
    if isinstance(method, o.YoloSegNmsOp):
        if method.proto_info is None:
            raise InvalidHef(rule="op wiring", where=wiring.where, detail="masks without prototypes")
        layer, image = wiring.named(method.proto_info.proto_layer), (method.image_height, method.image_width)
        prototypes = Prototypes(layer, image=image, threshold=method.mask_threshold)
    levels = list(_levels(method, classes, wiring, prototypes.count if prototypes else 0))
    if not levels:
        raise InvalidHef(rule="NMS decoders", where=wiring.where, detail="there is none")
    finder = BoxFinder(levels, prototypes)
    if len({layer.name for layer in finder.layers}) != len(finder.layers):
        raise UnsupportedHef(feature=f"host op {wiring.where!r} that reads a layer twice")
    return finder


def _levels(method: o.NmsMethod | None, classes: Classes, wiring: _Wiring, masks: int) -> Iterator[Level]:
    match method:
        case o.YoloNmsOp() | o.YoloSegNmsOp():
            image = (method.image_height, method.image_width)
            for anchored in method.bbox_decoders:
                yield Yolov5Level(wiring[anchored.pad_index], anchored, image=image, classes=classes, masks=masks)
        case o.YoloxNmsOp():
            for free in method.bbox_decoders:
                pads = (free.obj_pad_index, free.cls_pad_index, free.reg_pad_index)
                yield YoloxLevel(*(wiring[pad] for pad in pads), classes=classes)
        case o.Yolov8NmsOp():
            image, length = (method.image_height, method.image_width), method.regression_length
            for pair in method.bbox_decoders:
                scores, sides = wiring[pair.cls_pad_index], wiring[pair.reg_pad_index]
                yield Yolov8Level(scores, sides, stride=pair.stride, length=length, image=image, classes=classes)
        case o.SsdNmsOp():
            for ssd in method.bbox_decoders:
                scores, corrections = wiring[ssd.cls_pad_index], wiring[ssd.reg_pad_index]
                yield SsdLevel(scores, corrections, ssd, method, classes=classes)
        case _:
            raise InvalidHef(rule="op kind", where=wiring.where, detail="an NMS op without a method")


def _limits(body: o.NmsOp, wiring: _Wiring) -> NmsLimits:
    pixels = 0
    if isinstance(body.method, o.YoloSegNmsOp):
        pixels = int(body.method.image_height) * int(body.method.image_width)
    per_class, classes = body.max_proposals_per_class, body.output_classes
    if per_class < 1 and not body.bbox_decoding_only:
        raise InvalidHef(rule="NMS limits", where=wiring.where, detail="at most 0 boxes per class")
    limits = NmsLimits(
        classes, body.nms_score_th, body.nms_iou_th, per_class, per_class * classes, mask_bytes=2 * pixels
    )
    size = frame_bytes(
        FormatOrder.HAILO_NMS_WITH_BYTE_MASK,
        classes=classes,
        max_per_class=per_class,
        max_total=limits.total,
        mask_bytes=limits.mask_bytes,
    )
    if size > MAX_RESULT_BYTES:
        detail = f"a result of up to {size} bytes, at most {MAX_RESULT_BYTES}"
        raise InvalidHef(rule="NMS limits", where=wiring.where, detail=detail)
    return limits


def _decoded(body: o.NmsOp, classes: Classes, wiring: _Wiring) -> tuple[int, int]:
    """Return (boxes, numbers per box) of an op that suppresses nothing."""
    match body.method:
        case o.YoloNmsOp(bbox_decoders=anchored):
            grids = [(wiring[decoder.pad_index].layout, len(decoder.w)) for decoder in anchored]
            numbers = 5 + classes.count
        case o.Yolov8NmsOp(bbox_decoders=pairs):
            grids = [(wiring[decoder.reg_pad_index].layout, 1) for decoder in pairs]
            numbers = 4 + classes.count
        case _:
            raise UnsupportedHef(feature=f"host op {wiring.where!r}: only YOLOv5 and YOLOv8 can do without NMS")
    return sum(layout.height * layout.width * each for layout, each in grids), numbers


def _iou_op(name: str, body: o.NmsOp, wiring: _Wiring) -> IouOp:
    layers = tuple(wiring.layers.values())
    if any(layer.nms is None for layer in layers):
        raise InvalidHef(rule="op inputs", where=wiring.where, detail="it takes boxes that the chip sorted out")
    fused = [layer.fused for layer in layers]
    if len(layers) > 1 or fused[0] is not None:
        indices = sorted(part.index for part in fused if part is not None)
        if indices != list(range(len(layers))) or len({part.name for part in fused if part}) != 1:
            raise InvalidHef(rule="op wiring", where=wiring.where, detail="its inputs are no parts of one output")
        layers = tuple(sorted(layers, key=lambda layer: layer.fused.index if layer.fused else 0))
    classes = Classes.of(body, wiring.where)
    seen = sum(layer.nms.classes for layer in layers if layer.nms is not None)
    if seen not in (classes.count, body.output_classes):
        detail = f"boxes of {seen} classes, the op has {classes.count}"
        raise InvalidHef(rule="NMS classes", where=wiring.where, detail=detail)
    dropped = classes.background if seen == classes.count else None
    return IouOp(name, layers, BOX_ORDERS, _limits(body, wiring), dropped)


# --- logits -----------------------------------------------------------------------------------------------------------


def _logits_op(pad: o.Pad, body: o.LogitsOp, wiring: _Wiring) -> LogitsOp:
    layer = wiring.only()
    if layer.nms is not None:
        raise InvalidHef(rule="op inputs", where=wiring.where, detail=f"{layer.name!r} is boxes, not numbers")
    asked = pad.format_order
    vector = layer.layout.order is FormatOrder.NC
    argmax = body.logits_type is LogitsType.ARGMAX
    if not argmax:
        check_quantization(layer)
    usual = FormatOrder.NC if vector else (FormatOrder.NHW if argmax else FormatOrder.NHWC)
    if asked not in (PadFormatOrder.AUTO, PadFormatOrder.MAX_ENUM, usual):
        raise UnsupportedHef(feature=f"host op {wiring.where!r} that gives order {asked.name}")
    return LogitsOp(pad.name, (layer,), (usual,), body.logits_type, _index_type(pad, layer, wiring))


def _index_type(pad: o.Pad, layer: Layer, wiring: _Wiring) -> np.dtype[Any]:
    """Return the type of an argmax: the pad's, else the device's, or a larger one where indices need it."""
    asked = {PadFormatType.UINT8: FormatType.UINT8, PadFormatType.UINT16: FormatType.UINT16}.get(pad.format_type)
    features = layer.layout.features
    needed = FormatType.UINT8 if features <= 1 << 8 else FormatType.UINT16
    if features > 1 << 16 or (asked is not None and asked < needed):
        detail = f"indices of {features} features in {asked.name if asked else 'UINT16'}"
        raise InvalidHef(rule="op output", where=wiring.where, detail=detail)
    return DTYPES[asked or max(needed, layer.layout.type)]
