"""Edge layers to protobuf messages."""

from __future__ import annotations

from openhailo.errors import InvalidHef

from .codec import encode
from .layers import EdgeLayer, FusedLayer, MuxInfo, PlanesInfo, QuantInfo
from .wire import pb

_HOLDERS = pb.ProtoHEFEdgeLayer | pb.ProtoHefEdge


def encode_edge_layer(layer: EdgeLayer, message: pb.ProtoHEFEdgeLayer) -> None:
    """Fill ``message``. A number that its field cannot hold: `InvalidHef`."""
    try:
        message.direction = int(layer.direction)  # type: ignore[assignment]  # the stub wants its own enum
        message.edge_layer_type = int(layer.kind)  # type: ignore[assignment]
        message.network_index = layer.network_index
        if layer.pad_index is not None:
            message.pad_index = layer.pad_index
        if layer.switch is not None:
            message.context_switch_info.SetInParent()
            encode(layer.switch, message.context_switch_info)
        _encode_edge(layer, message)
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidHef):
            raise
        raise InvalidHef(rule="value range", where=layer.name, detail=str(error)) from error


def encode_fused_layer(fused: FusedLayer, message: pb.ProtoHEFEdgeLayerFused) -> None:
    """Fill ``message``."""
    _encode_info(fused.layer, message.layer_info)
    message.defused_layers_names.extend(fused.defused_layers_names)
    if fused.nms_info is not None:
        message.nms_info.SetInParent()
        encode(fused.nms_info, message.nms_info)


def _encode_edge(layer: EdgeLayer, message: _HOLDERS) -> None:
    if layer.mux is not None:
        _encode_mux(layer, layer.mux, message.layer_mux)
    elif layer.planes is not None:
        _encode_planes(layer, layer.planes, message.layer_planes)
    else:
        _encode_info(layer, message.layer_info)


def _encode_info(layer: EdgeLayer, info: pb.ProtoHEFEdgeLayerInfo) -> None:
    info.name = layer.name
    _encode_base(layer, info.edge_layer_base)
    if layer.quant != QuantInfo():
        encode(layer.quant, info.numeric_info)
    info.hn_output_layer_name = layer.hn_output_layer_name
    info.original_names.extend(layer.original_names)
    info.transposed = layer.transposed


def _encode_mux(layer: EdgeLayer, mux: MuxInfo, message: pb.ProtoHEFEdgeLayerMux) -> None:
    message.name = layer.name
    message.hn_output_layer_name = layer.hn_output_layer_name
    message.original_names.extend(layer.original_names)
    _encode_base(layer, message.edge_layer_base)
    data = message.mux_data
    data.number_of_predecessors = len(mux.predecessors)
    data.height_gcd = mux.height_gcd
    data.height_ratios_list_len = len(mux.height_ratios)
    data.height_ratios_list.extend(mux.height_ratios)
    for part in mux.predecessors:
        _encode_edge(part, message.predecessors.add())


def _encode_planes(layer: EdgeLayer, planes: PlanesInfo, message: pb.ProtoHEFEdgeLayerPlanes) -> None:
    message.SetInParent()
    message.name = layer.name
    message.planes_format = int(planes.format)  # type: ignore[assignment]
    message.height, message.width, message.features = layer.shape
    for part in planes.planes:
        _encode_edge(part, message.planes.add())


def _encode_base(layer: EdgeLayer, base: pb.ProtoHEFEdgeLayerBase) -> None:
    base.SetInParent()
    base.height, base.width, base.features = layer.shape
    base.padded_height, base.padded_width, base.padded_features = layer.padded_shape
    base.format = layer.format_code
    base.sys_index = layer.sys_index
    base.core_bytes_per_buffer = layer.core_bytes_per_buffer
    base.core_buffers_per_frame = layer.core_buffers_per_frame
    if layer.nms is not None:
        base.additional_info.nms_info.SetInParent()
        encode(layer.nms, base.additional_info.nms_info)
    base.data_bytes = layer.data_bytes
    for indices in layer.buffer_indices:
        encode(indices, base.buffer_indices.add())
    base.host_argmax = layer.host_argmax
    base.max_shmifo_size = layer.max_shmifo_size
    base.engine_id = layer.engine_id
