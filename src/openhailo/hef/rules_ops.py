"""Rules about host post-processing (hef.md 13)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from openhailo.errors import InvalidHef
from openhailo.spec.program import FormatOrder

from .enums import Direction
from .findings import Problem, rule
from .layers import EdgeLayer
from .model import Hef, NetworkGroup, Op
from .ops import (
    IouNmsOp,
    NmsMethod,
    NmsOp,
    SsdNmsOp,
    YoloNmsOp,
    YoloSegNmsOp,
    Yolov8NmsOp,
    YoloxNmsOp,
)

MAX_RESULT_BYTES = 1 << 30  # bounds what a hostile file makes a reader allocate
BOX_RECORD_BYTES = 38  # the largest record of one box, with a mask (hef.md 13)


class Wired(NamedTuple):
    """An NMS op with what its pads are wired to."""

    op: Op
    nms: NmsOp
    where: str
    outputs: dict[int, EdgeLayer]  # of the core op, by pad
    sources: dict[int, int]  # input pad of an op -> output pad of the core op


def _nms_ops(hef: Hef) -> Iterator[Wired]:
    for group in hef.network_groups:
        if not group.host_ops:
            continue
        outputs, sources = _outputs_by_pad(group), {edge.dst: edge.src for edge in group.pad_edges}
        for place, op in enumerate(group.ops):
            if isinstance(op.body, NmsOp):
                yield Wired(op, op.body, f"{group.name}.ops[{place}]", outputs, sources)


def _outputs_by_pad(group: NetworkGroup) -> dict[int, EdgeLayer]:
    try:
        layers = group.core_op_for().boundary_layers()
    except InvalidHef:
        return {}
    outputs = [layer for layer in layers if layer.direction is Direction.DEVICE_TO_HOST]
    return {layer.pad_index: layer for layer in outputs if layer.pad_index is not None}


@rule("op kind", "hef.md 5: Op, NmsOp", unsafe=True)
def op_kind(hef: Hef) -> Iterator[Problem]:
    """Every op says what it does, and every NMS op how."""
    for group in hef.network_groups:
        for place, op in enumerate(group.ops):
            if op.body is None:
                yield f"{group.name}.ops[{place}]", "an op without content"
    for wired in _nms_ops(hef):
        if wired.nms.method is None:
            yield wired.where, "an NMS op without a method"


@rule("op wiring", "hef.md 13: wiring")
def op_wiring(hef: Hef) -> Iterator[Problem]:
    """Every input pad is wired to an output of the core op."""
    for group in hef.network_groups:
        if not group.host_ops:
            continue
        sources = {edge.dst: edge.src for edge in group.pad_edges}
        known = _outputs_by_pad(group)
        for op in group.host_ops:
            for pad in op.input_pads:
                if sources.get(pad.index) not in known:
                    yield group.name, f"input pad {pad.index} of op {op.name!r} is wired to no output of the core op"


@rule("decoder pads", "hef.md 13: decoder pads are those of the core op")
def decoder_pads(hef: Hef) -> Iterator[Problem]:
    """Decoders name output pads of the core op, not input pads of their own op."""
    for wired in _nms_ops(hef):
        for pad in decoder_pad_indices(wired.nms.method):
            if pad not in wired.outputs:
                yield wired.where, f"a decoder names pad {pad}, which is no output of the core op"


def decoder_pad_indices(method: NmsMethod | None) -> Iterator[int]:
    """Yield the pads that the decoders of ``method`` name."""
    match method:
        case YoloNmsOp(bbox_decoders=anchored) | YoloSegNmsOp(bbox_decoders=anchored):
            yield from (decoder.pad_index for decoder in anchored)
        case YoloxNmsOp(bbox_decoders=free):
            for decoder in free:
                yield from (decoder.reg_pad_index, decoder.cls_pad_index, decoder.obj_pad_index)
        case SsdNmsOp(bbox_decoders=ssd):
            for anchors in ssd:
                yield from (anchors.reg_pad_index, anchors.cls_pad_index)
        case Yolov8NmsOp(bbox_decoders=pairs):
            for pair in pairs:
                yield from (pair.reg_pad_index, pair.cls_pad_index)
        case _:
            return


@rule("anchors", "hef.md 13: anchors {w, h}")
def anchors(hef: Hef) -> Iterator[Problem]:
    """Widths and heights of anchors come in pairs."""
    for wired in _nms_ops(hef):
        method = wired.nms.method
        if not isinstance(method, YoloNmsOp | YoloSegNmsOp | SsdNmsOp):
            continue
        for decoder in method.bbox_decoders:
            if len(decoder.w) != len(decoder.h) or not decoder.w:
                yield wired.where, f"{len(decoder.w)} anchor widths, {len(decoder.h)} heights"


@rule("op inputs", "hef.md 13: op inputs keep the device format")
def op_inputs(hef: Hef) -> Iterator[Problem]:
    """NMS ops read NHCW of one type, IOU reads boxes; channels are not padded."""
    for op, nms, where, outputs, sources in _nms_ops(hef):
        layers = [outputs[pad] for pad in (sources.get(p.index) for p in op.input_pads) if pad in outputs]
        wanted = FormatOrder.HAILO_NMS_ON_CHIP if isinstance(nms.method, IouNmsOp) else FormatOrder.NHCW
        for layer in layers:
            if layer.order is not wanted:
                yield where, f"input {layer.name!r} is {layer.order.name}, needs {wanted.name}"
            elif layer.nms is None and layer.padded_shape.features != layer.shape.features:
                yield where, f"input {layer.name!r} has padded features"
        if len({layer.data_bytes for layer in layers}) > 1:
            yield where, "inputs of different types"


@rule("op output", "hef.md 13: exactly one output per op", unsafe=True)
def op_output(hef: Hef) -> Iterator[Problem]:
    """One output, of a size that can be held, with parameters that are numbers."""
    for group in hef.network_groups:
        for op in group.host_ops:
            if len(op.output_pads) != 1:
                yield group.name, f"op {op.name!r} has {len(op.output_pads)} output pads, needs exactly one"
    for _, nms, where, _, _ in _nms_ops(hef):
        size = nms.classes * nms.max_proposals_per_class * BOX_RECORD_BYTES + 2 * _image_pixels(nms.method)
        if not size <= MAX_RESULT_BYTES:  # also catches what is no number
            yield where, f"a result of up to {size} bytes, at most {MAX_RESULT_BYTES}"
        if nms.background_removal and nms.classes < 1:
            yield where, "background removal without classes"


def _image_pixels(method: NmsMethod | None) -> float:
    if isinstance(method, YoloSegNmsOp):
        pixels = method.image_height * method.image_width
        return pixels if pixels >= 0 else math.nan
    return 0
