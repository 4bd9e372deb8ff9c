"""Put together the HEF of a one-context network from its streams and configuration bytes (hef.md 15 and 17).

The result keeps every rule of `openhailo.hef.check`; the vendor's library accepts, configures and runs such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from openhailo.errors import InvalidHef
from openhailo.spec.program import FormatOrder

from .compatibility import REQUIRED_EXTENSION
from .contexts import Context, CoreOp, GroupMetadata, PartialCoreOp
from .enums import Direction, ExtensionType, HwArch, LogitsType
from .layers import FORMAT_CODES, ContextSwitchInfo, EdgeLayer, QuantInfo, Shape
from .model import Extension, Hef, HefHeader, NetworkGroup, Op, PartialNetworkGroup
from .operations import AllowInputDataflow, Operation, WriteCcw
from .ops import (
    IouNmsOp,
    LogitsOp,
    NmsOp,
    Pad,
    PadEdge,
    SsdNmsOp,
    YoloNmsOp,
    YoloSegNmsOp,
    Yolov8NmsOp,
    YoloxNmsOp,
)

MAX_CORE_REGISTER = 0xFFFF  # hef.md 5
MAX_PADDED_FRAME = 65535  # frames that the core fills up to 8 bytes by itself (context-switch.md 14)
SHMIFO_BYTES = 65536  # what files of the vendor's compiler say

#: Bytes of one group of configuration writes: far below the 65535 descriptors of 512 bytes that one fetch takes.
GROUP_BYTES = 16 << 20

#: Clusters of a Hailo-8L that files are made for, where the caller names none (hef.md 17).
ALL_CLUSTERS = (0xFF,)

IDENTITY = QuantInfo(qp_zp=0.0, qp_scale=1.0, limvals_min=0.0, limvals_max=255.0)

_OP_EXTENSIONS: dict[type[object], ExtensionType] = {
    YoloNmsOp: ExtensionType.HAILO_NET_FLOW_YOLOV5_NMS,
    YoloxNmsOp: ExtensionType.HAILO_NET_FLOW_YOLOX_NMS,
    SsdNmsOp: ExtensionType.HAILO_NET_FLOW_SSD_NMS,
    IouNmsOp: ExtensionType.HAILO_NET_FLOW_IOU_NMS,
    YoloSegNmsOp: ExtensionType.HAILO_NET_FLOW_YOLOV5_SEG_NMS,
    Yolov8NmsOp: ExtensionType.HAILO_NET_FLOW_YOLOV8_NMS,
}


@dataclass(frozen=True)
class StreamSpec:
    """One input or output. ``shape`` is (height, width, features); ``order`` that on the wire.

    ``padded_shape`` None lets `compose` pad just as much as frames need to be a multiple of 8 bytes.
    """

    name: str
    shape: tuple[int, int, int]
    order: FormatOrder = FormatOrder.NHWC
    data_bytes: int = 1
    quant: QuantInfo = IDENTITY
    padded_shape: tuple[int, int, int] | None = None
    original_names: tuple[str, ...] = ()


def compose(
    name: str,
    inputs: Sequence[StreamSpec],
    outputs: Sequence[StreamSpec],
    config: Sequence[bytes | memoryview],
    *,
    hw_arch: HwArch = HwArch.HAILO8P,
    cluster_layouts: Sequence[int] = ALL_CLUSTERS,
    host_ops: Sequence[Op] = (),
    pad_edges: Sequence[PadEdge] = (),
    output_order: Sequence[str] = (),
    bottleneck_fps: float = 0.0,
    latency_s: float = 0.0,
    sdk_version: str = "",
    timestamp: int = 0,
) -> Hef:
    """Return a HEF with one network group and one context.

    Args:
        name: of the network group and its network.
        inputs: streams 0, 1, ...; the pads of the core op are numbered alike.
        outputs: streams and pads that follow the inputs.
        config: bytes for config channel 0, 1, ..., sent once per activation.
        hw_arch: HAILO8P or HAILO8L.
        cluster_layouts: bitmaps of working clusters, for HAILO8L.
        host_ops: post-processing by the host.
        pad_edges: wires from output pads of the core op to input pads of host ops.
        output_order: names of the outputs as the API lists them; by default outputs that feed no op, then ops.
        bottleneck_fps: the compiler's estimate, frames per second.
        latency_s: the compiler's estimate, seconds.
        sdk_version: text for the header.
        timestamp: milliseconds since 1970, for the header.
    """
    specs = [(spec, Direction.HOST_TO_DEVICE) for spec in inputs]
    specs += [(spec, Direction.DEVICE_TO_HOST) for spec in outputs]
    layers = tuple(_layer(spec, direction, index) for index, (spec, direction) in enumerate(specs))
    metadata = GroupMetadata(
        network_group_name=name,
        bottleneck_fps=bottleneck_fps,
        latency=latency_s,
        cfg_channels_count=max(len(config), 1),
    )
    core_op = CoreOp(metadata, (_context(layers),), preliminary=_config_operations(config))
    order = tuple(output_order) or _output_order(layers, host_ops, pad_edges)
    group = _group(core_op, order, tuple(host_ops), tuple(pad_edges))
    if hw_arch is HwArch.HAILO8L:
        group = _per_layout(group, core_op, cluster_layouts)
    return Hef(
        header=HefHeader(hw_arch, timestamp, sdk_version),
        network_groups=(group,),
        extensions=tuple(Extension(int(number), number.name) for number in _demanded(layers, host_ops)),
        optional_extensions=_offered(layers),
    )


def _layer(spec: StreamSpec, direction: Direction, index: int) -> EdgeLayer:
    padded = Shape(*(spec.padded_shape or padded_shape(spec)))
    bytes_per_buffer, buffers = core_registers(padded, spec.data_bytes)
    return EdgeLayer(
        name=spec.name,
        direction=direction,
        shape=Shape(*spec.shape),
        padded_shape=padded,
        format_code=format_code(spec.order),
        data_bytes=spec.data_bytes,
        sys_index=index,
        core_bytes_per_buffer=bytes_per_buffer,
        core_buffers_per_frame=buffers,
        quant=spec.quant,
        pad_index=index,
        max_shmifo_size=SHMIFO_BYTES,
        switch=ContextSwitchInfo(),
        original_names=spec.original_names or (spec.name.rpartition("/")[2],),
    )


def format_code(order: FormatOrder) -> int:
    """Return the compiler's code for a device order (hef.md 7). None there is: `InvalidHef`."""
    for code, (device, _) in FORMAT_CODES.items():
        if device == order:
            return code
    raise InvalidHef(rule="format", where="stream", detail=f"no device order {order!r}")


def padded_shape(spec: StreamSpec) -> tuple[int, int, int]:
    """Return the least padded shape for which a frame can travel.

    Frames are a multiple of 8 bytes; smaller ones than 64 KiB the core fills up by itself (context-switch.md 14).
    """
    height, width, features = spec.shape
    if height * width * features * spec.data_bytes < MAX_PADDED_FRAME:
        return spec.shape
    while height * width * features * spec.data_bytes % 8:
        width += 1
    return height, width, features


def core_registers(padded: Shape, data_bytes: int) -> tuple[int, int]:
    """Return bytes per buffer and buffers per frame of the core: a row each, split where it is too long for 16 bits."""
    row, rows = padded.width * padded.features * data_bytes, padded.height
    parts = next(n for n in range(1, row + 1) if row % n == 0 and row // n <= MAX_CORE_REGISTER)
    return row // parts, min(rows * parts, MAX_CORE_REGISTER)


def _context(layers: tuple[EdgeLayer, ...]) -> Context:
    released = tuple(AllowInputDataflow(layer.sys_index) for layer in layers if layer.is_input)
    return Context(operations=(Operation(actions=released),), edge_layers=layers)


def _config_operations(config: Sequence[bytes | memoryview]) -> tuple[Operation, ...]:
    return tuple(
        Operation(actions=(WriteCcw(piece, channel),))
        for channel, content in enumerate(config)
        for piece in _pieces(memoryview(content).cast("B").toreadonly())
    )


def _pieces(content: memoryview) -> Iterator[memoryview]:
    for start in range(0, max(len(content), 1), GROUP_BYTES):
        yield content[start : start + GROUP_BYTES]


def _output_order(layers: Sequence[EdgeLayer], ops: Sequence[Op], edges: Sequence[PadEdge]) -> tuple[str, ...]:
    wired = {edge.src for edge in edges}
    plain = [layer.name for layer in layers if not layer.is_input and layer.pad_index not in wired]
    return (*plain, *(pad.name for op in ops for pad in op.output_pads))


def _group(core_op: CoreOp, order: tuple[str, ...], ops: tuple[Op, ...], edges: tuple[PadEdge, ...]) -> NetworkGroup:
    layers = core_op.contexts[0].edge_layers
    pads = {layer.pad_index or 0: layer for layer in layers}
    node = Op(
        body=core_op,
        name=core_op.name,
        input_pads=tuple(Pad(index, layer.name) for index, layer in pads.items() if layer.is_input),
        output_pads=tuple(Pad(index, layer.name) for index, layer in pads.items() if not layer.is_input),
    )
    return NetworkGroup(
        metadata=core_op.metadata,
        ops=(node, *ops),
        pad_edges=edges,
        sorted_outputs_order=order,
        networks_names=(core_op.name,),
        declared_name=core_op.name,
    )


def _per_layout(group: NetworkGroup, core_op: CoreOp, layouts: Sequence[int]) -> NetworkGroup:
    """Return the group as a Hailo-8L file has it: the content once per set of working clusters (hef.md 17)."""
    versions = tuple(PartialCoreOp(core_op, layout) for layout in layouts)
    node = replace(group.ops[0], body=replace(core_op, partial_core_ops=versions))
    partials = tuple(PartialNetworkGroup(group, layout) for layout in layouts)
    return replace(group, ops=(node, *group.ops[1:]), partial_network_groups=partials)


def _demanded(layers: Sequence[EdgeLayer], ops: Sequence[Op]) -> list[ExtensionType]:
    numbers = {ExtensionType.HAILO_NET_FLOW, REQUIRED_EXTENSION}
    if any(layer.quant.qp_scales for layer in layers):
        numbers.add(ExtensionType.OUTPUT_SCALE_PER_FEATURE)
    return sorted(numbers | op_extensions(ops))


def op_extensions(ops: Sequence[Op]) -> frozenset[ExtensionType]:
    """Return the extensions that a file with these host ops demands (hef.md 3)."""
    numbers: set[ExtensionType] = set()
    for op in ops:
        if isinstance(op.body, NmsOp) and op.body.method is not None:
            numbers.add(_OP_EXTENSIONS[type(op.body.method)])
            if op.body.bbox_decoding_only:
                numbers.add(ExtensionType.HAILO_NET_FLOW_BBOX_DECODING)
        if isinstance(op.body, LogitsOp):
            argmax = op.body.logits_type is LogitsType.ARGMAX
            numbers.add(ExtensionType.HAILO_NET_FLOW_ARGMAX if argmax else ExtensionType.HAILO_NET_FLOW_SOFTMAX)
    return frozenset(numbers)


def _offered(layers: Sequence[EdgeLayer]) -> tuple[Extension, ...]:
    number = ExtensionType.HW_PADDING
    if any(layer.padded_shape.elements * layer.data_bytes % 8 for layer in layers):
        return (Extension(int(number), number.name),)
    return ()
