"""Edge layers from protobuf messages."""

from __future__ import annotations

from typing import Any

from openhailo.errors import InvalidHef

from .codec import decode, decode_enum
from .enums import Direction, EdgeKind, PlanesFormat
from .layers import (
    ContextSwitchInfo,
    EdgeLayer,
    FusedLayer,
    MuxInfo,
    NmsInfo,
    PlanesInfo,
    QuantInfo,
    ResourceIndices,
    Shape,
)
from .wire import pb

MAX_MUX_EDGES = 32  # hef.md 12
NMS_FORMAT = 6  # hef.md 7: HAILO_NMS_ON_CHIP

_KINDS = {"layer_info": EdgeKind.INFO, "layer_mux": EdgeKind.MUX, "layer_planes": EdgeKind.PLANES}


def decode_edge_layer(message: pb.ProtoHEFEdgeLayer, where: str) -> EdgeLayer:
    """Return one edge layer. A missing alternative or one that the type field denies: `InvalidHef`."""
    alternative = message.WhichOneof("edge")
    if alternative is None:
        raise InvalidHef(rule="layer info", where=where, detail="an edge layer without content")
    if int(_KINDS[alternative]) != int(message.edge_layer_type):
        detail = f"type {message.edge_layer_type}, but the content is {alternative}"
        raise InvalidHef(rule="layer kind", where=where, detail=detail)
    switch = message.context_switch_info
    common: dict[str, Any] = {
        "direction": decode_enum(Direction, message.direction, where),
        "pad_index": message.pad_index if message.HasField("pad_index") else None,
        "network_index": message.network_index,
        "switch": decode(ContextSwitchInfo, switch, where) if message.HasField("context_switch_info") else None,
    }
    return EdgeDecoder(common).decode(message, where)


def decode_fused_layer(message: pb.ProtoHEFEdgeLayerFused, where: str) -> FusedLayer:
    """Return one fused output; its layer always goes to the host."""
    return FusedLayer(
        layer=EdgeDecoder({"direction": Direction.DEVICE_TO_HOST}).info(message.layer_info, where),
        defused_layers_names=tuple(message.defused_layers_names),
        nms_info=decode(NmsInfo, message.nms_info, where) if message.HasField("nms_info") else None,
    )


class EdgeDecoder:
    """Decodes one top-level layer and what is nested in it, within the limit on edges."""

    def __init__(self, common: dict[str, Any]) -> None:
        """``common`` are the fields that the top-level message gives."""
        self.common = common
        self.edges = 0

    def decode(self, message: pb.ProtoHEFEdgeLayer | pb.ProtoHefEdge, where: str) -> EdgeLayer:
        """Return the layer in whichever alternative is set."""
        match message.WhichOneof("edge"):
            case "layer_info":
                return self.info(message.layer_info, where)
            case "layer_mux":
                return self.mux(message.layer_mux, where)
            case "layer_planes":
                return self.planes(message.layer_planes, where)
            case _:
                raise InvalidHef(rule="layer info", where=where, detail="an edge without content")

    def nested(self, message: pb.ProtoHefEdge, where: str) -> EdgeLayer:
        """Return a part of a mux or of planes."""
        self.edges += 1
        if self.edges > MAX_MUX_EDGES:
            raise InvalidHef(rule="mux edges", where=where, detail=f"more than {MAX_MUX_EDGES} edges in one layer")
        inner = EdgeDecoder({"direction": self.common["direction"]})
        inner.edges = self.edges
        layer = inner.decode(message, where)
        self.edges = inner.edges
        return layer

    def info(self, info: pb.ProtoHEFEdgeLayerInfo, where: str) -> EdgeLayer:
        """Return an ordinary layer."""
        return EdgeLayer(
            name=info.name,
            quant=decode(QuantInfo, info.numeric_info, where),
            original_names=tuple(info.original_names),
            hn_output_layer_name=info.hn_output_layer_name,
            transposed=info.transposed,
            **self._base(info, where),
            **self.common,
        )

    def mux(self, mux: pb.ProtoHEFEdgeLayerMux, where: str) -> EdgeLayer:
        """Return a layer that interleaves others."""
        parts = tuple(self.nested(part, f"{where}.predecessors[{i}]") for i, part in enumerate(mux.predecessors))
        return EdgeLayer(
            name=mux.name,
            original_names=tuple(mux.original_names),
            hn_output_layer_name=mux.hn_output_layer_name,
            mux=MuxInfo(mux.mux_data.height_gcd, tuple(mux.mux_data.height_ratios_list), parts),
            **self._base(mux, where),
            **self.common,
        )

    def planes(self, planes: pb.ProtoHEFEdgeLayerPlanes, where: str) -> EdgeLayer:
        """Return an image whose planes are layers."""
        parts = tuple(self.nested(part, f"{where}.planes[{i}]") for i, part in enumerate(planes.planes))
        return EdgeLayer(
            name=planes.name,
            shape=Shape(planes.height, planes.width, planes.features),
            padded_shape=Shape(),
            buffer_indices=(),
            planes=PlanesInfo(decode_enum(PlanesFormat, planes.planes_format, where), parts),
            **self.common,
        )

    @staticmethod
    def _base(message: pb.ProtoHEFEdgeLayerInfo | pb.ProtoHEFEdgeLayerMux, where: str) -> dict[str, Any]:
        if not message.HasField("edge_layer_base"):
            raise InvalidHef(rule="layer info", where=where, detail="no edge_layer_base")
        base = message.edge_layer_base
        # Other formats may carry an nms_info too; nothing reads it, and in the model it means a stream of boxes.
        has_nms = base.format == NMS_FORMAT and base.additional_info.HasField("nms_info")
        return {
            "shape": Shape(base.height, base.width, base.features),
            "padded_shape": Shape(base.padded_height, base.padded_width, base.padded_features),
            "format_code": base.format,
            "sys_index": base.sys_index,
            "core_bytes_per_buffer": base.core_bytes_per_buffer,
            "core_buffers_per_frame": base.core_buffers_per_frame,
            "nms": decode(NmsInfo, base.additional_info.nms_info, where) if has_nms else None,
            "data_bytes": base.data_bytes,
            "buffer_indices": tuple(decode(ResourceIndices, item, where) for item in base.buffer_indices),
            "host_argmax": base.host_argmax,
            "max_shmifo_size": base.max_shmifo_size,
            "engine_id": base.engine_id,
        }
