"""A HEF's network group in the runtime's terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openhailo import hef as hef_floor
from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.hef import model as hef
from openhailo.hef.enums import WriteDataKind
from openhailo.hef.operations import WriteDataByType
from openhailo.runtime.configure.header import ApplicationFeatures
from openhailo.runtime.configure.layers import D2H, H2D, Layer, LayerKind, NmsStream
from openhailo.runtime.configure.operations import Operations
from openhailo.runtime.description import NetworkDescription
from openhailo.runtime.formats import FormatOrder, FrameLayout, Quantization
from openhailo.runtime.translate import Translator
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.enums import DeviceArchitecture

#: Device architecture -> targets of the compiler that it runs (hef.md 4).
ACCEPTED = {
    DeviceArchitecture.HAILO8_A0: {hef.HwArch.HAILO8_A0},
    DeviceArchitecture.HAILO8: {hef.HwArch.HAILO8P, hef.HwArch.HAILO8R, hef.HwArch.HAILO8L},
    DeviceArchitecture.HAILO8L: {hef.HwArch.HAILO8L},
}

_KINDS = {
    hef.Connection.BOUNDARY: LayerKind.BOUNDARY,
    hef.Connection.INTERMEDIATE: LayerKind.INTER_CONTEXT,
    hef.Connection.DDR: LayerKind.DDR,
}


def describe(
    content: bytes | hef.Hef, group: str | None, architecture: int, clusters: int, spec: ChipSpec = CHIP
) -> NetworkDescription:
    """Describe ``group`` (None: the default one) for a device.

    ``architecture`` is the identity's number; ``clusters`` the device's bitmap of working clusters, which chooses among
    the versions in a Hailo-8L file. Raises `HefError`, `InputError`.
    """
    file = read_for(content, architecture)
    chosen = file.network_group(group)
    core_op = chosen.core_op_for(clusters if architecture == DeviceArchitecture.HAILO8L else None)
    return _Describer(file, core_op, chosen, spec).describe()


def read_for(content: bytes | hef.Hef, architecture: int) -> hef.Hef:
    """Return the file, which was compiled for a device of ``architecture``. Raises `HefError`."""
    file = content if isinstance(content, hef.Hef) else hef_floor.read(content)
    _check_architecture(file.header.hw_arch, architecture)
    return file


def _check_architecture(compiled_for: int, architecture: int) -> None:
    try:
        device = DeviceArchitecture(architecture)
    except ValueError:
        raise UnsupportedHef(feature=f"device architecture {architecture}", hint="use a Hailo-8 or Hailo-8L") from None
    if compiled_for not in ACCEPTED.get(device, ()):
        name = hef.HwArch(compiled_for).name if compiled_for in set(hef.HwArch) else str(compiled_for)
        raise UnsupportedHef(
            feature=f"compiled for {name}, this device is a {device.name}",
            hint=f"recompile the model for {device.name}",
        )


class _Describer:
    """Collects the pieces of one description."""

    def __init__(self, file: hef.Hef, core_op: hef.CoreOp, group: hef.NetworkGroup, spec: ChipSpec) -> None:
        self._features, self._version = file.features, file.version
        self._core_op, self._group, self._spec = core_op, group, spec

    def describe(self) -> NetworkDescription:
        core_op, group, features = self._core_op, self._group, self._features
        if not core_op.contexts:
            raise InvalidHef(rule="contexts", where=group.name, detail="the core op has none")
        by_reference = self._version != 0
        translator = Translator(multi_network=features.multi_network, ccw_by_reference=by_reference)
        asap = features.preliminary_run_asap
        preliminary = translator.translate(core_op.preliminary, "preliminary config", required=asap)
        contexts = tuple(
            translator.translate(context.operations, f"context {index}", required=True)
            for index, context in enumerate(core_op.contexts)
        )
        layers = tuple(self._layers())
        return NetworkDescription(
            name=group.name,
            layers=layers,
            preliminary=preliminary,
            contexts=contexts,
            outputs=self._outputs(layers),
            config_channels=core_op.cfg_channels_count,
            networks=len(group.network_names),
            features=ApplicationFeatures(
                preliminary_run_asap=asap,
                batch_register_config=features.batch_register_config,
                can_fast_batch_switch=not self._writes_batch_size(),
            ),
            ccw_by_reference=by_reference,
            is_program=self._starts_program(preliminary) or self._starts_program(contexts[0]),
        )

    def _writes_batch_size(self) -> bool:
        """Whether the first lists depend on the batch size, so that a change of it needs all of them again."""
        first = (*self._core_op.preliminary, *self._core_op.contexts[0].operations)
        return any(
            isinstance(action, WriteDataByType) and action.data_type == WriteDataKind.BATCH_SIZE
            for operation in first
            for action in operation.actions
        )

    def _starts_program(self, operations: Operations) -> bool:
        """Whether the configuration begins as an image of ours does (spec/program.py)."""
        magic = self._spec.program.magic
        begin = b""
        for fetch in operations.fetches(self._spec.program.config_stream):
            for piece in fetch.pieces:
                begin += bytes(piece[: len(magic)])
                if len(begin) >= len(magic):
                    return begin.startswith(magic)
        return False

    def _outputs(self, layers: Iterable[Layer]) -> tuple[str, ...]:
        names = [x.name for x in layers if x.kind is LayerKind.BOUNDARY and x.direction is D2H]
        if len(set(names)) != len(names):
            raise InvalidHef(rule="output names", where=self._group.name, detail=f"{names} are not distinct")
        if not names:
            raise InvalidHef(rule="outputs", where=self._group.name, detail="there is none")
        known = [name for name in self._group.output_order if name in names]
        return (*known, *(name for name in names if name not in known))

    def _layers(self) -> Iterator[Layer]:
        for index, context in enumerate(self._core_op.contexts):
            for edge in context.edge_layers:
                for stream in edge.streams():
                    yield self._layer(stream, index)

    def _layer(self, edge: hef.EdgeLayer, context: int) -> Layer:
        kind = _KINDS.get(edge.connection)
        if kind is None:
            raise UnsupportedHef(feature=f"cache layer {edge.name!r}", hint="Hailo-8 networks do not use caches")
        if edge.mux is not None:
            raise UnsupportedHef(feature=f"multiplexed output {edge.name!r}", hint="compile without multiplexing")
        if kind is LayerKind.DDR and not self._features.padded_ddr_buffers:
            raise UnsupportedHef(feature="DDR layers without padded buffers")
        hw_padding = self._features.hw_padding
        unpadded = edge.core_pads(hw_padding=hw_padding)
        layout = _layout(edge, transposed=edge.transposed or self._core_op.transposed_net)
        return Layer(
            name=edge.name,
            kind=kind,
            direction=H2D if edge.is_input else D2H,
            context=context,
            stream=edge.sys_index,
            layout=layout.unpadded() if unpadded else layout,
            quantization=self._quantization(edge),
            network=edge.network_index if self._features.multi_network else 0,
            core_bytes_per_buffer=edge.core_bytes_per_buffer,
            core_buffers_per_frame=edge.core_buffers_per_frame,
            max_shmifo_size=edge.max_shmifo_size,
            feature_padding_payload=edge.shape.width * edge.data_bytes if unpadded else 0,
            core_pads=hw_padding,
            buffered_rows=edge.switch.buffers if edge.switch else 0,
            peer=_peer(edge.switch),
            pad_index=edge.pad_index,
            nms=self._nms(edge),
            original_names=edge.original_names,
            user_order=edge.user_order,
        )

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

    def _nms(self, edge: hef.EdgeLayer) -> NmsStream | None:
        info = edge.nms
        if info is None or edge.order is not FormatOrder.HAILO_NMS_ON_CHIP:
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
        if min(boxes.classes, boxes.max_boxes, boxes.box_bytes, boxes.burst_size) < 1:
            raise InvalidHef(rule="NMS shape", where=edge.name, detail=str(boxes))
        return boxes


def _layout(edge: hef.EdgeLayer, *, transposed: bool) -> FrameLayout:
    try:
        return FrameLayout(
            edge.order, *edge.shape, *edge.padded_shape, data_bytes=edge.data_bytes, transposed=transposed
        )
    except InvalidHef as error:
        raise InvalidHef(rule=error.rule, where=edge.name, detail=error.detail) from None


def _peer(switch: hef.ContextSwitchInfo | None) -> tuple[int, int] | None:
    if switch is None or switch.edge_connection_type is hef.Connection.BOUNDARY:
        return None
    if switch.connected_contexts:
        first = switch.connected_contexts[0]
        return (first.index, first.sys_index)
    return (switch.connected_context_index, switch.connected_sys_index)
