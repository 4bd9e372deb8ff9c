"""Streams and vstreams of a network group: what the API calls them and how they map (hef.md 6, 10 to 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openhailo.errors import InvalidHef
from openhailo.spec.program import FormatOrder

from .enums import Direction, LogitsType, PadFormatOrder, PadFormatType
from .layers import EdgeLayer, FusedLayer, NmsInfo, QuantInfo, Shape
from .ops import LogitsOp, NmsOp, YoloNmsOp, YoloSegNmsOp, Yolov8NmsOp

if TYPE_CHECKING:
    from .model import NetworkGroup, Op


@dataclass(frozen=True)
class Stream:
    """A physical stream: one DMA channel. ``hw_frame_size_bytes`` is what one frame takes on the wire.

    ``shape`` is the API's: rows and columns exchanged where the layer is transposed.
    """

    name: str
    direction: Direction
    index: int
    network_name: str
    shape: Shape
    hw_shape: Shape
    order: FormatOrder
    data_bytes: int
    quant: QuantInfo
    hw_frame_size_bytes: int
    transposed: bool
    layer: EdgeLayer


@dataclass(frozen=True)
class VStream:
    """What the user feeds or reads. ``data_bytes`` is the device's element size, ``streams`` the physical names.

    ``layers`` are the edge layers behind it (several for planes, defused boxes and host ops), ``op`` the host op.
    For boxes, ``nms_classes`` and ``nms_max_per_class`` say how many there can be.
    """

    name: str
    direction: Direction
    network_name: str
    shape: Shape
    order: FormatOrder
    data_bytes: int
    quant: QuantInfo
    streams: tuple[str, ...]
    layers: tuple[EdgeLayer, ...]
    original_names: tuple[str, ...] = ()
    op: Op | None = None
    nms_classes: int = 0
    nms_max_per_class: int = 0


def streams_of(group: NetworkGroup, direction: Direction) -> tuple[Stream, ...]:
    """Return the physical streams of one direction, in order of appearance over the contexts (hef.md 6)."""
    layers = _layers(group, direction)
    return tuple(_stream(group, layer, part) for layer in layers for part in layer.streams())


def _layers(group: NetworkGroup, direction: Direction) -> list[EdgeLayer]:
    return [layer for layer in group.core_op_for().boundary_layers() if layer.direction is direction]


def _stream(group: NetworkGroup, layer: EdgeLayer, part: EdgeLayer) -> Stream:
    hw_padding = group.features.hw_padding
    return Stream(
        name=part.name,
        direction=layer.direction,
        index=part.sys_index,
        network_name=network_name(group, layer),
        shape=api_shape(group, part),
        hw_shape=part.hw_shape(hw_padding=hw_padding),
        order=part.order,
        data_bytes=part.data_bytes,
        quant=part.quant,
        hw_frame_size_bytes=part.hw_frame_size_bytes(hw_padding=hw_padding),
        transposed=is_transposed(group, part),
        layer=part,
    )


def is_transposed(group: NetworkGroup, layer: EdgeLayer) -> bool:
    """Whether rows and columns are exchanged, by the layer or by the whole network (hef.md 5)."""
    return layer.transposed or group.core_op_for().transposed_net


def api_shape(group: NetworkGroup, layer: EdgeLayer) -> Shape:
    """The shape the API reports (hef.md 6): NMS layers as (classes, 5, boxes), transposed ones swapped."""
    if layer.nms is not None:
        return Shape(layer.nms.number_of_classes, 5, layer.nms.max_output_size * layer.nms.chunks)
    height, width, features = layer.shape
    return Shape(width, height, features) if is_transposed(group, layer) else layer.shape


def network_name(group: NetworkGroup, layer: EdgeLayer) -> str:
    """Full name of the network a layer belongs to. An index out of range: `InvalidHef`."""
    names = group.network_names
    index = layer.network_index if group.features.multi_network else 0
    if index >= len(names):
        detail = f"network index {index}, but the group has {len(names)}"
        raise InvalidHef(rule="network index", where=layer.name, detail=detail)
    return names[index]


# --- vstreams ---------------------------------------------------------------------------------------------------------


def input_vstreams(group: NetworkGroup) -> tuple[VStream, ...]:
    """Return the user's inputs: one per input layer, planes put together (hef.md 6)."""
    return tuple(_vstream(group, layer, layer) for layer in _layers(group, Direction.HOST_TO_DEVICE))


def output_vstreams(group: NetworkGroup) -> tuple[VStream, ...]:
    """Return the user's outputs in the API's order.

    Mux layers appear as their leaves, defused boxes as the fused layer, layers that feed a host op as its output
    (hef.md 6). An output that the order does not name goes last: `openhailo.hef.check` reports it.
    """
    found: dict[str, VStream] = {}
    claimed = _host_op_outputs(group, found)
    fused_names = _fused_outputs(group, found)
    for layer in _layers(group, Direction.DEVICE_TO_HOST):
        if layer.pad_index in claimed or layer.name in fused_names:
            continue
        for leaf in layer.leaves():
            found[leaf.name] = _vstream(group, layer, leaf)
    order = {name: place for place, name in enumerate(group.output_order)}
    return tuple(sorted(found.values(), key=lambda vstream: order.get(vstream.name, len(order))))


def _vstream(group: NetworkGroup, layer: EdgeLayer, leaf: EdgeLayer) -> VStream:
    nms = leaf.nms
    return VStream(
        name=leaf.name,
        direction=layer.direction,
        network_name=network_name(group, layer),
        shape=api_shape(group, leaf),
        order=leaf.user_order,
        data_bytes=leaf.data_bytes,
        quant=leaf.quant,
        streams=tuple(stream.name for stream in layer.streams()),
        layers=leaf.streams(),
        original_names=leaf.original_names,
        nms_classes=nms.number_of_classes if nms else 0,
        nms_max_per_class=nms.max_output_size * nms.chunks if nms else 0,
    )


def _fused_outputs(group: NetworkGroup, found: dict[str, VStream]) -> set[str]:
    """Add the fused box outputs to ``found``; return the names of the layers they are made of (hef.md 12)."""
    parts: dict[str, list[tuple[int, EdgeLayer]]] = {}
    for layer in _layers(group, Direction.DEVICE_TO_HOST):
        part_of = layer.nms.defuse_info if layer.nms is not None and layer.nms.is_defused else None
        if part_of is not None:
            parts.setdefault(part_of.original_name, []).append((part_of.class_group_index, layer))
    fused = group.core_op_for().fused_layers
    used: set[str] = set()
    for entry in fused.fused_layers if fused else ():
        members = [layer for _, layer in sorted(parts.get(entry.layer.name, []), key=lambda part: part[0])]
        if members:
            found[entry.layer.name] = _fused_vstream(group, entry, members)
            used |= {layer.name for layer in members}
    return used


def _fused_vstream(group: NetworkGroup, fused: FusedLayer, members: list[EdgeLayer]) -> VStream:
    """Describe one output made of several box streams; its class ``i`` comes from member ``i mod n`` (hef.md 12)."""
    layer, nms = fused.layer, fused.nms_info or fused.layer.nms or NmsInfo()
    boxes = nms.max_output_size * nms.chunks
    return VStream(
        name=layer.name,
        direction=Direction.DEVICE_TO_HOST,
        network_name=network_name(group, members[0]),
        shape=Shape(nms.number_of_classes, 5, boxes),
        order=FormatOrder.HAILO_NMS_BY_CLASS,
        data_bytes=members[0].data_bytes,
        quant=layer.quant,
        streams=tuple(member.name for member in members),
        layers=tuple(members),
        original_names=layer.original_names,
        nms_classes=nms.number_of_classes,
        nms_max_per_class=boxes,
    )


# --- host ops ---------------------------------------------------------------------------------------------------------


def _host_op_outputs(group: NetworkGroup, found: dict[str, VStream]) -> set[int]:
    """Add the outputs of host ops to ``found``; return the core op's pads that feed them (hef.md 13)."""
    by_pad = {
        layer.pad_index: layer for layer in _layers(group, Direction.DEVICE_TO_HOST) if layer.pad_index is not None
    }
    sources = {edge.dst: edge.src for edge in group.pad_edges}
    claimed: set[int] = set()
    for op in group.host_ops:
        pads = [sources[pad.index] for pad in op.input_pads if pad.index in sources]
        layers = tuple(by_pad[pad] for pad in pads if pad in by_pad)
        if not layers or len(op.output_pads) != 1:
            detail = f"{len(layers)} input layers, {len(op.output_pads)} output pads; needs some and exactly one"
            raise InvalidHef(rule="host op wiring", where=op.name or "op", detail=detail)
        claimed.update(pads)
        found[op.output_pads[0].name] = _op_vstream(group, op, layers)
    return claimed


def _op_vstream(group: NetworkGroup, op: Op, layers: tuple[EdgeLayer, ...]) -> VStream:
    pad, first = op.output_pads[0], layers[0]
    shape, order = op_output_shape(op, layers)
    nms = op.body if isinstance(op.body, NmsOp) and not op.body.bbox_decoding_only else None
    return VStream(
        name=pad.name,
        direction=Direction.DEVICE_TO_HOST,
        network_name=network_name(group, first),
        shape=shape,
        order=order,
        data_bytes=2 if pad.format_type is PadFormatType.UINT16 else first.data_bytes,
        quant=pad.numeric_info or first.quant,
        streams=tuple(layer.name for layer in layers),
        layers=layers,
        original_names=tuple(name for layer in layers for name in layer.original_names),
        op=op,
        nms_classes=nms.output_classes if nms else 0,
        nms_max_per_class=nms.max_proposals_per_class if nms else 0,
    )


def op_output_shape(op: Op, layers: tuple[EdgeLayer, ...]) -> tuple[Shape, FormatOrder]:
    """Return shape and order of a host op's result (hef.md 13).

    Boxes are (classes, 5, boxes per class); boxes without suppression (1, all boxes, numbers per box).
    """
    body, first = op.body, layers[0]
    if isinstance(body, NmsOp):
        if body.bbox_decoding_only:
            return decoded_boxes_shape(body, layers), FormatOrder.NHWC
        masks = isinstance(body.method, YoloSegNmsOp)
        order = FormatOrder.HAILO_NMS_WITH_BYTE_MASK if masks else FormatOrder.HAILO_NMS_BY_CLASS
        return Shape(body.output_classes, 5, body.max_proposals_per_class), order
    number = op.output_pads[0].format_order
    order = first.user_order if number in (PadFormatOrder.AUTO, PadFormatOrder.MAX_ENUM) else FormatOrder(int(number))
    if isinstance(body, LogitsOp) and body.logits_type is LogitsType.ARGMAX:
        return Shape(first.shape.height, first.shape.width, 1), order
    return first.shape, order


def decoded_boxes_shape(op: NmsOp, layers: tuple[EdgeLayer, ...]) -> Shape:
    """Return (1, boxes, numbers per box) of an op that decodes boxes without suppression (hef.md 13)."""
    cells = {layer.pad_index: layer.shape.height * layer.shape.width for layer in layers}
    match op.method:
        case YoloNmsOp(bbox_decoders=decoders):
            boxes = sum(cells.get(decoder.pad_index, 0) * len(decoder.w) for decoder in decoders)
            return Shape(1, boxes, 5 + op.classes)
        case Yolov8NmsOp(bbox_decoders=decoders):
            boxes = sum(cells.get(decoder.reg_pad_index, 0) for decoder in decoders)
            return Shape(1, boxes, 4 + op.classes)
        case _:
            raise InvalidHef(rule="bbox decoding", where="nms_op", detail="only YOLOv5 and YOLOv8 can do without NMS")
