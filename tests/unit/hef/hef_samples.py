"""HEFs to start from: the smallest one, rich ones; and a container builder that shares no code with the product."""

from __future__ import annotations

import binascii
import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace

import xxhash

from openhailo import hef as hef_floor
from openhailo.hef import model as m
from openhailo.hef import operations as o
from openhailo.hef import ops
from openhailo.hef.enums import PadFormatOrder, PadFormatType
from openhailo.hef.schema import hef_pb2 as pb
from openhailo.spec.program import FormatOrder

REAL = (
    "mnist_cnn_28x28_h8_dfc3.27_v0",
    "mnist_cnn_32x32_h8_dfc3.27_v0",
    "arcface_mobilefacenet_h8_v2",
    "skillcheck_mobilenet_v2_224_h8_v2",
)
QUANT = m.QuantInfo(0.0, 1.0, 0.0, 255.0)


def seal_bytes(proto: bytes, ccws: bytes = b"", version: int = 2, additional: bytes = b"") -> bytes:
    """Wrap ``proto`` in a container, written from hef.md 1 alone."""
    start = struct.pack(">III", 0x01484546, version, len(proto))
    if version == 0:
        return start + bytes(4) + hashlib.md5(proto).digest() + proto
    if version == 1:
        return start + struct.pack(">IQI", binascii.crc32(proto + ccws), len(ccws), 0) + proto + ccws
    if version == 2:
        return start + struct.pack(">QQQQ", xxhash.xxh3_64(proto + ccws).intdigest(), len(ccws), 0, 0) + proto + ccws
    padding = bytes(-(56 + len(proto)) % 4096)
    body = proto + padding + ccws + additional
    sizes = (len(ccws) + len(padding), len(padding), len(additional), 0, 0)
    return start + struct.pack(">QQIQQQ", xxhash.xxh3_64(body).intdigest(), *sizes) + body


def minimal_hef() -> m.Hef:
    """The HEF of hef.md 15, field by field."""
    layer_in = m.EdgeLayer(
        name="net/in",
        direction=m.Direction.HOST_TO_DEVICE,
        shape=m.Shape(8, 8, 3),
        padded_shape=m.Shape(8, 8, 3),
        core_bytes_per_buffer=24,
        core_buffers_per_frame=8,
        quant=QUANT,
        pad_index=0,
        switch=m.ContextSwitchInfo(),
        original_names=("in",),
    )
    layer_out = m.EdgeLayer(
        name="net/out",
        direction=m.Direction.DEVICE_TO_HOST,
        shape=m.Shape(1, 1, 16),
        padded_shape=m.Shape(1, 1, 16),
        format_code=2,
        sys_index=1,
        core_bytes_per_buffer=16,
        core_buffers_per_frame=1,
        quant=QUANT,
        pad_index=1,
    )
    context = m.Context(
        operations=(m.Operation(o.TriggerNone(), (o.AllowInputDataflow(0),)),),
        edge_layers=(layer_in, layer_out),
    )
    core_op = m.CoreOp(
        metadata=m.GroupMetadata("net", cfg_channels_count=1),
        contexts=(context,),
        preliminary=(m.Operation(o.TriggerNone(), (m.WriteCcw(bytes(range(256))),)),),
    )
    group = m.NetworkGroup(
        metadata=m.GroupMetadata("net"),
        ops=(m.Op(core_op),),
        sorted_outputs_order=("net/out",),
        networks_names=("net",),
    )
    return m.Hef(m.HefHeader(), (group,), extensions=(m.Extension(13), m.Extension(26)))


def edit_core(hef: m.Hef, edit: Callable[[m.CoreOp], m.CoreOp]) -> m.Hef:
    """Return ``hef`` with its (first) core op changed."""
    group = hef.network_groups[0]
    op = replace(group.ops[0], body=edit(group.core_op))
    return replace(hef, network_groups=(replace(group, ops=(op, *group.ops[1:])),))


def edit_context(hef: m.Hef, edit: Callable[[m.Context], m.Context]) -> m.Hef:
    """Return ``hef`` with the first context changed."""
    return edit_core(hef, lambda core: replace(core, contexts=(edit(core.contexts[0]), *core.contexts[1:])))


def edit_layer(hef: m.Hef, place: int, **changes: object) -> m.Hef:
    """Return ``hef`` with fields of one edge layer changed."""

    def edit(context: m.Context) -> m.Context:
        layers = list(context.edge_layers)
        layers[place] = replace(layers[place], **changes)  # type: ignore[arg-type]
        return replace(context, edge_layers=tuple(layers))

    return edit_context(hef, edit)


def add_actions(hef: m.Hef, *actions: o.Action) -> m.Hef:
    """Return ``hef`` with an operation more in front of its context's."""
    operation = m.Operation(o.TriggerNone(), actions)
    return edit_context(hef, lambda context: replace(context, operations=(operation, *context.operations)))


def nms_hef(method: ops.NmsMethod, /, **fields: object) -> m.Hef:
    """A HEF with one NHCW output at pad 1 that feeds an NMS op whose result is called boxes."""
    hef = edit_layer(
        minimal_hef(), 1, shape=m.Shape(4, 4, 32), padded_shape=m.Shape(4, 4, 32), format_code=1,
        core_bytes_per_buffer=128, core_buffers_per_frame=4,
    )  # fmt: skip
    body = ops.NmsOp(0.3, 0.6, 10, 3, method=method)
    op = m.Op(
        body=replace(body, **fields),  # type: ignore[arg-type]
        name="nms",
        input_pads=(m.Pad(7),),
        output_pads=(m.Pad(8, "boxes", PadFormatOrder.HAILO_NMS, format_type=PadFormatType.AUTO),),
    )
    group = hef.network_groups[0]
    group = replace(
        group, ops=(*group.ops, op), pad_edges=(m.PadEdge(1, 7),), sorted_outputs_order=("boxes",)
    )  # fmt: skip
    return replace(hef, network_groups=(group,))


def mux_hef() -> m.Hef:
    """A HEF whose output interleaves two layers, one of them a mux again."""
    leaves = tuple(
        m.EdgeLayer(
            name=f"net/leaf{i}",
            direction=m.Direction.DEVICE_TO_HOST,
            shape=m.Shape(4, 6, i + 1),
            padded_shape=m.Shape(4, 8, 8),
            format_code=1,
            quant=QUANT,
            sys_index=1,
        )
        for i in range(3)
    )
    inner = replace(leaves[0], name="net/inner", mux=m.MuxInfo(4, (1, 1), leaves[1:]), quant=m.QuantInfo())
    hef = edit_layer(
        minimal_hef(), 1, name="net/mux", mux=m.MuxInfo(4, (1, 1), (leaves[0], inner)), quant=m.QuantInfo()
    )
    group = replace(hef.network_groups[0], sorted_outputs_order=("net/leaf2", "net/leaf0", "net/leaf1"))
    return replace(hef, network_groups=(group,))


def planes_hef() -> m.Hef:
    """A HEF whose input is an image of two planes with a stream each."""
    planes = tuple(
        m.EdgeLayer(
            name=f"net/plane{i}",
            direction=m.Direction.HOST_TO_DEVICE,
            shape=shape,
            padded_shape=shape,
            quant=QUANT,
            sys_index=i,
        )
        for i, shape in enumerate((m.Shape(8, 8, 1), m.Shape(4, 4, 2)))
    )
    hef = edit_layer(
        minimal_hef(), 0, shape=m.Shape(8, 8, 3), padded_shape=m.Shape(), buffer_indices=(), quant=m.QuantInfo(),
        core_bytes_per_buffer=0, core_buffers_per_frame=0, original_names=(), name="net/image",
        planes=m.PlanesInfo(m.PlanesFormat.NV12, planes),
    )  # fmt: skip
    hef = edit_layer(hef, 1, sys_index=5)
    operation = m.Operation(o.TriggerNone(), (o.AllowInputDataflow(0), o.AllowInputDataflow(1)))
    return edit_context(hef, lambda context: replace(context, operations=(operation,)))


def boxes_hef() -> m.Hef:
    """A HEF with two streams of boxes, sorted out on the chip, that make one output."""
    nms = m.NmsInfo(
        number_of_classes=2, max_output_size=4, bbox_size=8, is_defused=True, burst_size=0,
        defuse_info=m.NmsDefuseInfo(0, "net/fused"),
    )  # fmt: skip
    hef = edit_layer(minimal_hef(), 1, name="net/part0", format_code=6, data_bytes=2, nms=nms)
    second = replace(
        hef.network_groups[0].core_op.contexts[0].edge_layers[1], name="net/part1", sys_index=2, pad_index=2,
        nms=replace(nms, number_of_classes=1, defuse_info=m.NmsDefuseInfo(1, "net/fused")),
    )  # fmt: skip
    hef = edit_context(hef, lambda context: replace(context, edge_layers=(*context.edge_layers, second)))
    fused = m.FusedLayer(
        layer=replace(second, name="net/fused", switch=None, pad_index=None, sys_index=0),
        defused_layers_names=("net/part0", "net/part1"),
        nms_info=m.NmsInfo(number_of_classes=3, max_output_size=4, bbox_size=8),
    )
    return edit_core(hef, lambda core: replace(core, fused_layers=m.FusedLayers(True, ("net/fused",), (fused,))))


def anchored_hef() -> m.Hef:
    """A HEF with YOLO boxes made by the host."""
    return nms_hef(ops.YoloNmsOp(64.0, 64.0, 0, (ops.YoloBboxDecoder((10, 20), (12, 24), 8, 1),)))


def hailo8l_hef() -> m.Hef:
    """A HEF with a version for each of two cluster layouts."""
    stream = hef_floor.StreamSpec
    inputs, outputs = [stream("net/in", (8, 8, 3))], [stream("net/out", (1, 1, 16), FormatOrder.NC)]
    return hef_floor.compose(
        "net", inputs, outputs, [bytes(range(64))], hw_arch=m.HwArch.HAILO8L, cluster_layouts=(0x3C, 0x0F)
    )


SAMPLES: dict[str, Callable[[], m.Hef]] = {
    "minimal": minimal_hef,
    "nms": anchored_hef,
    "mux": mux_hef,
    "planes": planes_hef,
    "boxes": boxes_hef,
    "hailo8l": hailo8l_hef,
}


def proto_of(hef: m.Hef) -> pb.ProtoHEFHef:
    """The protobuf message of a HEF, to be bent."""
    data = hef_floor.write(hef, 0, verify=False)
    return pb.ProtoHEFHef.FromString(data[32:])
