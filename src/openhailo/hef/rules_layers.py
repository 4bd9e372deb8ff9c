"""Rules about edge layers: shapes, formats, stream numbers, buffers (hef.md 5, 7, 8, 10 to 12, 16)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from openhailo.spec.program import FormatOrder

from .decode_layers import MAX_MUX_EDGES
from .enums import Connection, Direction, EdgeKind, NmsBurst
from .findings import Problem, core_ops, rule
from .layers import FORMAT_CODES, EdgeLayer, NmsInfo, QuantInfo
from .model import Features, Hef

MAX_CORE_REGISTER = 0xFFFF  # hef.md 5: u16 in the stream registers
DDR_ROW_BYTES = 512
MAX_CHANNELS = 16  # per direction (context-switch.md 12)
MAX_FRAME_BYTES = 1 << 30  # far above any device memory; bounds what a hostile file makes a reader allocate
MAX_PADDED_FRAME = 65535  # frames that the core pads to 8 bytes (context-switch.md 14)
NMS_BOX_BYTES, NMS_DATA_BYTES, NMS_QUANT_PAIRS = 8, 2, 2  # hef.md 8 and 11
MAX_BURST_BYTES = 65536  # hef.md 11
MAX_DEFUSED = 9  # hef.md 12


def _all_layers(hef: Hef) -> Iterator[tuple[str, EdgeLayer]]:
    """Yield every layer that is written as one."""
    for _, core_op, where in core_ops(hef):
        for number, context in enumerate(core_op.contexts):
            for place, layer in enumerate(context.edge_layers):
                yield f"{where}.contexts[{number}].edge_layers[{place}]", layer


def _with_parts(hef: Hef) -> Iterator[tuple[str, EdgeLayer]]:
    """Yield every layer and what is nested in it."""
    for where, layer in _all_layers(hef):
        yield from _nested(where, layer)


def _nested(where: str, layer: EdgeLayer) -> Iterator[tuple[str, EdgeLayer]]:
    yield f"{where} {layer.name!r}", layer
    for part in _parts(layer):
        yield from _nested(where, part)


def _parts(layer: EdgeLayer) -> tuple[EdgeLayer, ...]:
    if layer.mux is not None:
        return layer.mux.predecessors
    return layer.planes.planes if layer.planes is not None else ()


def _streams(hef: Hef) -> Iterator[tuple[str, EdgeLayer, Features]]:
    """Yield every boundary stream with the features of its file."""
    for group, core_op, where in core_ops(hef):
        for layer in core_op.boundary_layers():
            for stream in layer.streams():
                yield f"{where} {stream.name!r}", stream, group.features


# --- structure --------------------------------------------------------------------------------------------------------


@rule("edge layers", "hef.md 16: edge_layers")
def edge_layers(hef: Hef) -> Iterator[Problem]:
    """A context without layers moves nothing."""
    for _, core_op, where in core_ops(hef):
        for number, context in enumerate(core_op.contexts):
            if not context.edge_layers:
                yield f"{where}.contexts[{number}]", "no edge layers"


@rule("directions", "hef.md 16: direction of the output = 0")
def directions(hef: Hef) -> Iterator[Problem]:
    """A core op needs an input and an output."""
    for _, core_op, where in core_ops(hef):
        found = {layer.direction for layer in core_op.boundary_layers()}
        for direction in Direction:
            if direction not in found:
                yield where, f"no boundary layer with direction {direction.name}"


@rule("stream index", "hef.md 16: output sys_index = input sys_index without ext 20")
def stream_index(hef: Hef) -> Iterator[Problem]:
    """Streams of a context have numbers of their own; extension 20 lets an input and an output share one."""
    for group, core_op, where in core_ops(hef):
        for number, context in enumerate(core_op.contexts):
            seen: set[tuple[Direction | None, int]] = set()
            for layer in (part for whole in context.edge_layers for part in whole.streams()):
                direction = layer.direction if group.features.dual_direction_stream_index else None
                if (direction, layer.sys_index) in seen:
                    yield f"{where}.contexts[{number}]", f"stream index {layer.sys_index} of {layer.name!r} is taken"
                seen.add((direction, layer.sys_index))


@rule("boundary channels", "context-switch.md 12")
def boundary_channels(hef: Hef) -> Iterator[Problem]:
    """Every stream takes a DMA channel; config channels share those of the inputs."""
    for _, core_op, where in core_ops(hef):
        streams = [stream for layer in core_op.boundary_layers() for stream in layer.streams()]
        inputs = sum(stream.is_input for stream in streams) + core_op.cfg_channels_count
        outputs = sum(not stream.is_input for stream in streams)
        if inputs > MAX_CHANNELS or outputs > MAX_CHANNELS:
            yield where, f"{inputs} input and config channels, {outputs} outputs; {MAX_CHANNELS} each at most"


@rule("buffer indices", "hef.md 16: buffer_indices empty")
def buffer_indices(hef: Hef) -> Iterator[Problem]:
    """Exactly one."""
    for where, layer in _with_parts(hef):
        if layer.kind is not EdgeKind.PLANES and len(layer.buffer_indices) != 1:
            yield where, f"{len(layer.buffer_indices)} buffer_indices, needs exactly one"


@rule("mux", "hef.md 12", unsafe=True)
def mux(hef: Hef) -> Iterator[Problem]:
    """Outputs only; a row ratio per part; a bounded number of parts."""
    for where, layer in _all_layers(hef):
        if sum(1 for _ in _nested("", layer)) - 1 > MAX_MUX_EDGES:
            yield where, f"more than {MAX_MUX_EDGES} edges in one layer"
    for where, layer in _with_parts(hef):
        if layer.mux is None:
            continue
        if layer.is_input:
            yield where, "a mux is an output"
        if not layer.mux.predecessors or len(layer.mux.height_ratios) != len(layer.mux.predecessors):
            yield where, f"{len(layer.mux.predecessors)} parts, {len(layer.mux.height_ratios)} row ratios"
        if any(part.kind is EdgeKind.PLANES for part in layer.mux.predecessors):
            yield where, "planes inside a mux"


@rule("planes", "hef.md 12", unsafe=True)
def planes(hef: Hef) -> Iterator[Problem]:
    """Boundary inputs made of ordinary layers."""
    for where, layer in _with_parts(hef):
        if layer.planes is None:
            continue
        if not layer.is_input or layer.connection is not Connection.BOUNDARY:
            yield where, "planes are a boundary input"
        if not layer.planes.planes or any(part.kind is not EdgeKind.INFO for part in layer.planes.planes):
            yield where, "planes consist of one or more ordinary layers"


@rule("connected contexts", "hef.md 5: ContextSwitchInformation.connected_contexts")
def connected_contexts(hef: Hef) -> Iterator[Problem]:
    """A layer inside the chip names its other end."""
    for where, layer in _all_layers(hef):
        count = len(layer.switch.connected_contexts) if layer.switch else 0
        if layer.connection is Connection.DDR and count != 1:
            yield where, f"{count} connected contexts, a DDR layer needs exactly one"
        if layer.connection is Connection.INTERMEDIATE and not count:
            yield where, "no connected context"


@rule("padded ddr extension", "hef.md 16: padded_ddr ext 3 missing with DDR layers")
def padded_ddr_extension(hef: Hef) -> Iterator[Problem]:
    """DDR layers need extension 3."""
    for where, layer in _all_layers(hef):
        if layer.connection is Connection.DDR and not hef.features.padded_ddr_buffers:
            yield where, "a DDR layer without extension 3 (PADDED_DDR_BUFFERS)"


@rule("ddr row size", "hef.md 16: DDR core_bytes_per_buffer not a multiple of 512")
def ddr_row_size(hef: Hef) -> Iterator[Problem]:
    """Rows of DDR layers fill descriptors."""
    for where, layer in _all_layers(hef):
        if layer.connection is Connection.DDR and layer.core_bytes_per_buffer % DDR_ROW_BYTES:
            yield where, f"core_bytes_per_buffer {layer.core_bytes_per_buffer} is not a multiple of {DDR_ROW_BYTES}"


@rule("core registers", "hef.md 5: EdgeLayerBase 9 and 10")
def core_registers(hef: Hef) -> Iterator[Problem]:
    """Both are 16-bit registers."""
    for where, layer in _with_parts(hef):
        if max(layer.core_bytes_per_buffer, layer.core_buffers_per_frame) > MAX_CORE_REGISTER:
            registers = (layer.core_bytes_per_buffer, layer.core_buffers_per_frame)
            yield where, f"core registers {registers}, at most {MAX_CORE_REGISTER}"


@rule("host argmax", "hef.md 5: EdgeLayerBase 14")
def host_argmax(hef: Hef) -> Iterator[Problem]:
    """An old flag that readers refuse."""
    for where, layer in _with_parts(hef):
        if layer.host_argmax:
            yield where, "host_argmax must be false"


# --- shapes and formats -----------------------------------------------------------------------------------------------


@rule("zero shape", "hef.md 16: any of height, width, features, padded_* = 0", unsafe=True)
def zero_shape(hef: Hef) -> Iterator[Problem]:
    """Sizes are divisors."""
    for where, layer in _with_parts(hef):
        sizes = layer.shape if layer.kind is EdgeKind.PLANES else (*layer.shape, *layer.padded_shape)
        if layer.nms is None and min(sizes) < 1:
            yield where, f"shape {tuple(layer.shape)} padded to {tuple(layer.padded_shape)}"


@rule("data bytes", "hef.md 16: data_bytes 0 or > 2", unsafe=True)
def data_bytes(hef: Hef) -> Iterator[Problem]:
    """Elements have one or two bytes."""
    for where, layer in _with_parts(hef):
        if layer.kind is not EdgeKind.PLANES and layer.data_bytes not in (1, 2):
            yield where, f"data_bytes {layer.data_bytes}, needs 1 or 2"


@rule("frame size", "a bound of this reader", unsafe=True)
def frame_size(hef: Hef) -> Iterator[Problem]:
    """Frames that no device could hold."""
    for where, layer in _with_parts(hef):
        size = max(layer.shape.elements, layer.padded_shape.elements) * 4
        size = max(size, _boxes_bytes(layer.nms))
        if size > MAX_FRAME_BYTES:
            yield where, f"a frame of up to {size} bytes, at most {MAX_FRAME_BYTES}"
    for _, core_op, where in core_ops(hef):
        for fused in core_op.fused_layers.fused_layers if core_op.fused_layers else ():
            size = max(_boxes_bytes(fused.nms_info), _boxes_bytes(fused.layer.nms))
            if size > MAX_FRAME_BYTES:
                yield where, f"{fused.layer.name!r} has up to {size} bytes, at most {MAX_FRAME_BYTES}"


def _boxes_bytes(nms: NmsInfo | None) -> int:
    if nms is None:
        return 0
    boxes = max(nms.number_of_classes, 1) * max(nms.max_output_size, 1) * nms.chunks
    return max(nms.hw_frame_size_bytes, boxes * max(nms.bbox_size, 1))


@rule("padding", "hef.md 7")
def padding(hef: Hef) -> Iterator[Problem]:
    """The padded shape holds the real one."""
    for where, layer in _with_parts(hef):
        if layer.kind is not EdgeKind.INFO or layer.nms is not None:
            continue
        if any(real > padded for real, padded in zip(layer.shape, layer.padded_shape, strict=True)):
            yield where, f"shape {tuple(layer.shape)} is larger than padded shape {tuple(layer.padded_shape)}"


@rule("format", "hef.md 7", unsafe=True)
def format_code(hef: Hef) -> Iterator[Problem]:
    """Known orders, with the sizes that some of them need."""
    for where, layer in _with_parts(hef):
        if layer.kind is EdgeKind.PLANES:
            continue
        if layer.format_code not in FORMAT_CODES:
            yield where, f"format code {layer.format_code} is not known"
        elif layer.order is FormatOrder.F8CR and layer.padded_shape.features % 8:
            yield where, f"F8CR needs a multiple of 8 padded features, not {layer.padded_shape.features}"
        elif layer.order is FormatOrder.YUY2 and layer.padded_shape.elements * layer.data_bytes % 8:
            yield where, "YUY2 frames are a multiple of 8 bytes"
        elif (layer.order is FormatOrder.HAILO_NMS_ON_CHIP) != (layer.nms is not None):
            yield where, "nms_info and format 6 (boxes) go together"


@rule("frame alignment", "context-switch.md 14; hef.md 3: extension 11")
def frame_alignment(hef: Hef) -> Iterator[Problem]:
    """The periphery counts in 8 bytes; extension 11 lets the core fill up frames below 64 KiB."""
    for where, layer, features in _streams(hef):
        if layer.kind is not EdgeKind.INFO or layer.nms is not None or layer.format_code not in FORMAT_CODES:
            continue
        shape = layer.hw_shape(hw_padding=features.hw_padding)
        frame = shape.elements * layer.data_bytes
        if layer.order is FormatOrder.RGB888 or frame % 8 == 0:
            continue
        if not features.hw_padding:
            yield where, f"a frame of {frame} bytes is no multiple of 8; offer extension 11 (HW_PADDING) or pad it"
        elif frame >= MAX_PADDED_FRAME:
            yield where, f"a frame of {frame} bytes is no multiple of 8 and too large for extension 11; pad it"


@rule("numeric info", "hef.md 16: numeric_info empty; hef.md 8")
def numeric_info(hef: Hef) -> Iterator[Problem]:
    """A transformation needs parameters, finite ones."""
    for where, layer, _ in _streams(hef):
        for leaf in layer.leaves():
            if not leaf.quant.valid:
                yield where, f"{leaf.name!r} has no quantisation parameters (use scale 1)"
            elif not _finite(leaf.quant):
                yield where, f"{leaf.name!r} has quantisation parameters that are no numbers"


def _finite(quant: QuantInfo) -> bool:
    plain = (quant.qp_zp, quant.qp_scale, quant.limvals_min, quant.limvals_max)
    return all(math.isfinite(value) for value in (*plain, *quant.qp_zps, *quant.qp_scales))


@rule("scale per feature", "hef.md 8: per feature (ext 25)")
def scale_per_feature(hef: Hef) -> Iterator[Problem]:
    """With extension 25 outputs have a pair per feature, and inputs equal pairs."""
    for where, layer, features in _streams(hef):
        if not features.scale_per_feature:
            continue
        for leaf in layer.leaves():
            zps, scales = leaf.quant.qp_zps, leaf.quant.qp_scales
            need = NMS_QUANT_PAIRS if leaf.nms else leaf.shape.features
            if layer.is_input and (len(set(zps)) != 1 or len(set(scales)) != 1):
                yield where, f"input {leaf.name!r} needs equal qp_zps and equal qp_scales"
            if not layer.is_input and (len(zps) != need or len(scales) != need):
                yield where, f"{leaf.name!r} has {len(zps)} qp_zps and {len(scales)} qp_scales, needs {need}"


# --- boxes ------------------------------------------------------------------------------------------------------------


@rule("nms stream", "hef.md 11")
def nms_stream(hef: Hef) -> Iterator[Problem]:
    """Boxes sorted out on the chip have a fixed form."""
    for where, layer, features in _streams(hef):
        if layer.nms is not None:
            yield from ((where, detail) for detail in _nms_problems(layer, features))


def _nms_problems(layer: EdgeLayer, features: Features) -> Iterator[str]:
    nms = layer.nms
    assert nms is not None
    if layer.is_input or layer.transposed:
        yield "boxes are an output that is not transposed"
    if layer.data_bytes != NMS_DATA_BYTES:
        yield f"data_bytes {layer.data_bytes}, boxes have 2"
    if nms.bbox_size != NMS_BOX_BYTES or not nms.number_of_classes or not nms.max_output_size:
        yield f"bbox_size {nms.bbox_size}, {nms.number_of_classes} classes, {nms.max_output_size} boxes"
    wanted = NmsBurst.H8_PER_CLASS if features.nms_burst else NmsBurst.NO_BURST
    if nms.burst_type is not wanted:
        yield f"burst type {nms.burst_type.name}, needs {wanted.name} (extension 19: {features.nms_burst})"
    if features.nms_burst and not 0 < nms.burst_size * nms.bbox_size <= MAX_BURST_BYTES:
        yield f"a burst of {nms.burst_size} boxes; at most {MAX_BURST_BYTES} bytes"
    if nms.is_defused and (nms.defuse_info is None or nms.defuse_info.class_group_index >= MAX_DEFUSED):
        yield f"a part of a fused output needs defuse_info with an index below {MAX_DEFUSED}"
