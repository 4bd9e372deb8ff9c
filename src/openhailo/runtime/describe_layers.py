"""The edge layers of a HEF's network group in the runtime's terms (hef.md 6 to 12)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.hef import model as hef
from openhailo.runtime.configure.layers import D2H, H2D, FusedPart, Layer, LayerKind, Mux, NmsStream
from openhailo.runtime.description import BOX_NUMBERS, FusedOutput, TensorInfo
from openhailo.runtime.formats import DTYPES, FormatOrder, FormatType, FrameLayout, Quantization
from openhailo.runtime.host_ops import HostOp
from openhailo.runtime.mux import check_mux
from openhailo.runtime.nms_stream import WORD_BYTES

#: Streams that one output of boxes may come in (hef.md 12).
MAX_FUSED = 9

_KINDS = {
    hef.Connection.BOUNDARY: LayerKind.BOUNDARY,
    hef.Connection.INTERMEDIATE: LayerKind.INTER_CONTEXT,
    hef.Connection.DDR: LayerKind.DDR,
}


def output_names(group: hef.NetworkGroup, layers: Sequence[Layer], host_ops: Sequence[HostOp] = ()) -> tuple[str, ...]:
    """Return the names of the outputs in the file's order; those that it leaves out go last. Raises `InvalidHef`.

    A host op's output stands for the layers that it reads.
    """
    read = {layer.key for op in host_ops for layer in op.layers}
    outputs = [layer for layer in layers if layer.is_output and layer.key not in read]
    names = [leaf.name for layer in outputs if layer.fused is None for leaf in layer.leaves()]
    names += dict.fromkeys(layer.fused.name for layer in outputs if layer.fused is not None)
    names += [op.name for op in host_ops]
    if len(set(names)) != len(names):
        raise InvalidHef(rule="output names", where=group.name, detail=f"{names} are not distinct")
    if not names:
        raise InvalidHef(rule="outputs", where=group.name, detail="there is none")
    known = list(dict.fromkeys(name for name in group.output_order if name in names))
    return (*known, *(name for name in names if name not in known))


class LayerDescriber:
    """Describes the layers of one core op."""

    def __init__(self, core_op: hef.CoreOp, group: hef.NetworkGroup) -> None:
        self._core_op, self._features = core_op, group.features
        fused = core_op.fused_layers
        self._fused = {entry.layer.name: entry for entry in fused.fused_layers} if fused else {}

    def layers(self) -> Iterator[Layer]:
        """Yield the streams of every context, in file order."""
        for index, context in enumerate(self._core_op.contexts):
            for edge in context.edge_layers:
                for stream in edge.streams():
                    yield self._layer(stream, edge, index)

    def images(self) -> dict[str, TensorInfo]:
        """Return the inputs that come in planes; shape, element type and parameters are those of their planes."""
        edges = [edge for edge in self._core_op.boundary_layers() if edge.planes is not None]
        if len({edge.name for edge in edges}) != len(edges):
            raise InvalidHef(rule="planes", where=self._core_op.name, detail="two images have the same name")
        none = Quantization()
        dtype = DTYPES[FormatType.UINT8]
        return {edge.name: TensorInfo(edge.name, (), dtype, edge.user_order, none) for edge in edges}

    def fused(self) -> dict[str, FusedOutput]:
        """Return the outputs of boxes that come in several streams. Raises `InvalidHef`."""
        parts: dict[str, list[tuple[int, Layer]]] = {}
        for layer in self.layers():
            if layer.fused is not None:
                parts.setdefault(layer.fused.name, []).append((layer.fused.index, layer))
        return {name: self._fused_output(name, members) for name, members in parts.items()}

    # --- one layer --------------------------------------------------------------------------------------------------

    def _layer(self, edge: hef.EdgeLayer, whole: hef.EdgeLayer, context: int) -> Layer:
        """Describe the stream ``edge`` of the layer ``whole``, which is the same unless it consists of planes."""
        kind = _KINDS.get(whole.connection)
        if kind is None:
            raise UnsupportedHef(feature=f"cache layer {edge.name!r}", hint="Hailo-8 networks do not use caches")
        if kind is LayerKind.DDR and not self._features.padded_ddr_buffers:
            raise UnsupportedHef(feature="DDR layers without padded buffers")
        hw_padding = self._features.hw_padding
        unpadded = edge.core_pads(hw_padding=hw_padding)
        layout = self._layout(edge)
        boundary = kind is LayerKind.BOUNDARY
        nms = self._nms(edge) if boundary else None
        layer = Layer(
            name=edge.name,
            kind=kind,
            direction=H2D if edge.is_input else D2H,
            context=context,
            stream=edge.sys_index,
            layout=layout.unpadded() if unpadded else layout,
            quantization=self._quantization(edge),
            network=whole.network_index if self._features.multi_network else 0,
            core_bytes_per_buffer=edge.core_bytes_per_buffer,
            core_buffers_per_frame=edge.core_buffers_per_frame,
            max_shmifo_size=edge.max_shmifo_size,
            feature_padding_payload=edge.shape.width * edge.data_bytes if unpadded else 0,
            core_pads=hw_padding,
            buffered_rows=edge.switch.buffers if edge.switch else 0,
            peer=_peer(edge.switch),
            pad_index=whole.pad_index,
            nms=nms,
            mux=self._mux(edge) if boundary else None,
            fused=_fused_part(edge) if nms is not None else None,
            plane_of=whole.name if whole.planes is not None else "",
            original_names=edge.original_names,
            user_order=FormatOrder.NHWC if edge.mux is not None else edge.user_order,
        )
        if layer.mux is not None:
            check_mux(layer)
        return layer

    def _layout(self, edge: hef.EdgeLayer) -> FrameLayout:
        # A mux is rows of its parts; what its own order says matters to nobody.
        order = FormatOrder.NHCW if edge.mux is not None else edge.order
        transposed = edge.transposed or self._core_op.transposed_net
        sizes = (*edge.shape, *edge.padded_shape)
        try:
            return FrameLayout(order, *sizes, data_bytes=edge.data_bytes, transposed=transposed)
        except InvalidHef as error:
            raise InvalidHef(rule=error.rule, where=edge.name, detail=error.detail) from None

    def _quantization(self, edge: hef.EdgeLayer) -> Quantization:
        quant = edge.quant
        limits = (quant.limvals_min, quant.limvals_max)
        if not (self._features.scale_per_feature and quant.qp_scales):
            return Quantization((quant.qp_zp,), (quant.qp_scale,), limits)
        wanted = 2 if edge.nms is not None else edge.shape.features
        counts = {len(quant.qp_scales), len(quant.qp_zps)}
        if edge.is_input:
            wanted = max(counts)
        if counts != {wanted}:
            detail = f"{len(quant.qp_zps)} zero points and {len(quant.qp_scales)} scales for {wanted} features"
            raise InvalidHef(rule="quantisation", where=edge.name, detail=detail)
        return Quantization(quant.qp_zps, quant.qp_scales, limits)

    # --- several outputs in one stream ------------------------------------------------------------------------------

    def _mux(self, edge: hef.EdgeLayer) -> Mux | None:
        if edge.mux is None:
            return None
        parts = tuple(self._part(part) for part in edge.mux.predecessors)
        return Mux(edge.mux.height_gcd, edge.mux.height_ratios, parts)

    def _part(self, edge: hef.EdgeLayer) -> Layer:
        """Describe a part of a mux; the core never pads what it interleaves (hef.md 10)."""
        if edge.nms is not None or edge.planes is not None:
            raise UnsupportedHef(feature=f"{edge.name!r}, boxes or planes inside a multiplexed output")
        return Layer(
            name=edge.name,
            kind=LayerKind.BOUNDARY,
            direction=D2H,
            context=0,
            stream=0,
            layout=self._layout(edge),
            quantization=self._quantization(edge),
            mux=self._mux(edge),
            original_names=edge.original_names,
            user_order=FormatOrder.NHWC if edge.mux is not None else edge.user_order,
        )

    # --- boxes ------------------------------------------------------------------------------------------------------

    def _nms(self, edge: hef.EdgeLayer) -> NmsStream | None:
        info = edge.nms
        if info is None or edge.mux is not None or edge.order is not FormatOrder.HAILO_NMS_ON_CHIP:
            return None
        burst = self._features.nms_burst
        if info.burst_type != (hef.NmsBurst.H8_PER_CLASS if burst else hef.NmsBurst.NO_BURST):
            raise InvalidHef(rule="NMS burst", where=edge.name, detail=f"type {info.burst_type!r}")
        boxes = NmsStream(
            classes=info.number_of_classes,
            max_boxes=info.max_output_size,
            box_bytes=info.bbox_size,
            chunks=info.chunks,
            burst_size=info.burst_size if burst else 1,
            per_class_burst=burst,
        )
        self._check_nms(edge, boxes)
        return boxes

    def _check_nms(self, edge: hef.EdgeLayer, boxes: NmsStream) -> None:
        if min(boxes.classes, boxes.max_boxes, boxes.burst_size) < 1:
            raise InvalidHef(rule="NMS shape", where=edge.name, detail=str(boxes))
        if boxes.box_bytes != WORD_BYTES or edge.data_bytes != 2:
            detail = f"boxes of {boxes.box_bytes} bytes with numbers of {edge.data_bytes}; 8 and 2 are possible"
            raise InvalidHef(rule="NMS box", where=edge.name, detail=detail)
        if edge.transposed or self._core_op.transposed_net or edge.is_input:
            raise InvalidHef(rule="NMS layer", where=edge.name, detail="boxes are an output that is not transposed")

    def _fused_output(self, name: str, members: Sequence[tuple[int, Layer]]) -> FusedOutput:
        entry = self._fused.get(name)
        if entry is None:
            raise InvalidHef(rule="fused layer", where=name, detail="boxes are a part of it, but nothing describes it")
        indices = sorted(index for index, _ in members)
        if indices != list(range(len(indices))) or len(indices) > MAX_FUSED:
            raise InvalidHef(rule="fused layer", where=name, detail=f"its parts are numbered {indices}")
        info = entry.nms_info or entry.layer.nms
        parts = [layer.nms for _, layer in sorted(members, key=lambda member: member[0]) if layer.nms is not None]
        classes = info.number_of_classes if info else sum(part.classes for part in parts)
        for index, part in enumerate(parts):
            if part.classes != len(range(index, classes, len(parts))):
                detail = f"part {index} has {part.classes} of {classes} classes in {len(parts)} streams by turns"
                raise InvalidHef(rule="fused layer", where=name, detail=detail)
        boxes = max(part.max_boxes * part.chunks for part in parts)
        own = self._box_quantization(entry.layer.quant)
        return FusedOutput(
            TensorInfo(
                name,
                (classes, BOX_NUMBERS, boxes),
                DTYPES[FormatType.UINT16],
                FormatOrder.HAILO_NMS_BY_CLASS,
                own if own.valid else members[0][1].quantization,
                entry.layer.original_names,
            ),
            classes,
        )

    def _box_quantization(self, quant: hef.QuantInfo) -> Quantization:
        """Return the first pair of parameters, the only one that counts for boxes (hef.md 11)."""
        zero_point, scale = quant.qp_zp, quant.qp_scale
        if self._features.scale_per_feature and quant.qp_scales and quant.qp_zps:
            zero_point, scale = quant.qp_zps[0], quant.qp_scales[0]
        return Quantization((zero_point,), (scale,), (quant.limvals_min, quant.limvals_max))


def _fused_part(edge: hef.EdgeLayer) -> FusedPart | None:
    part = edge.nms.defuse_info if edge.nms is not None and edge.nms.is_defused else None
    return FusedPart(part.original_name, part.class_group_index) if part is not None else None


def _peer(switch: hef.ContextSwitchInfo | None) -> tuple[int, int] | None:
    if switch is None or switch.edge_connection_type is hef.Connection.BOUNDARY:
        return None
    if switch.connected_contexts:
        first = switch.connected_contexts[0]
        return (first.index, first.sys_index)
    return (switch.connected_context_index, switch.connected_sys_index)
