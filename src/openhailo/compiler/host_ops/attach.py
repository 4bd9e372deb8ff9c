"""Host ops of a HEF: made from a plan and the streams that were allocated (hef.md 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from openhailo.compiler.allocate import Stream, core_counters, pad_columns
from openhailo.compiler.lower import layer_name
from openhailo.errors import DoesNotFit, ModelInvalid
from openhailo.hef import model as hm
from openhailo.hef import ops as o
from openhailo.hef.composer import op_extensions
from openhailo.hef.enums import LogitsType, PadFormatOrder, PadFormatType
from openhailo.hef.layers import QuantInfo
from openhailo.hef.rules_ops import BOX_RECORD_BYTES, MAX_RESULT_BYTES
from openhailo.spec.program import FormatOrder

from .request import Nms
from .select import HostPlan, LogitsPlan

#: Input and output pads of host ops are numbered from here on, above those of the core op.
_FIRST_PAD: Final = 1000
_NHCW_CODE: Final = 1  # hef.md 7
_PLAIN: Final = QuantInfo(qp_zp=0.0, qp_scale=1.0, limvals_min=0.0, limvals_max=255.0)


@dataclass(frozen=True)
class HostOps:
    """The ops, how they are wired to the core op, and the names of all outputs in order."""

    ops: tuple[hm.Op, ...] = ()
    edges: tuple[o.PadEdge, ...] = ()
    output_names: tuple[str, ...] = ()

    @property
    def extensions(self) -> frozenset[hm.ExtensionType]:
        """What the file has to demand for them."""
        return op_extensions(self.ops)


def attach(plan: HostPlan | None, network: str, streams: Sequence[Stream]) -> tuple[tuple[Stream, ...], HostOps]:
    """Return the streams as the ops want them, and the ops. Raises `CompileError`."""
    if plan is None:
        return tuple(streams), HostOps()
    builder = _Builder(network, streams)
    if plan.nms is not None:
        builder.add_boxes(plan, plan.nms)
    for logits in plan.logits:
        builder.add_logits(logits)
    return builder.finish()


class _Builder:
    """Collects ops; ``streams`` are replaced where an op wants another order."""

    def __init__(self, network: str, streams: Sequence[Stream]) -> None:
        self._network = network
        self._streams = list(streams)
        self._place = {s.original_name: i for i, s in enumerate(streams) if not s.is_input}
        self._ops: list[hm.Op] = []
        self._edges: list[o.PadEdge] = []
        self._next = _FIRST_PAD
        self._outputs: dict[int, str] = {}

    def finish(self) -> tuple[tuple[Stream, ...], HostOps]:
        """Return everything; an op's output takes the place of the first layer that it reads."""
        names: list[str] = []
        for stream in self._streams:
            name = self._outputs.get(stream.index, stream.name)
            if not stream.is_input and name not in names:
                names.append(name)
        taken = [stream.name for stream in self._streams if stream.is_input]
        if len({*names, *taken}) != len(names) + len(taken):
            raise ModelInvalid(detail=f"the names of outputs {names} and inputs {taken} are not distinct")
        return tuple(self._streams), HostOps(tuple(self._ops), tuple(self._edges), tuple(names))

    # --- boxes ------------------------------------------------------------------------------------------------------

    def add_boxes(self, plan: HostPlan, nms: Nms) -> None:
        """Add the op that finds boxes; it reads NHCW (hef.md 13)."""
        tensors = [tensor for level in plan.levels for tensor in level.values()]
        tensors += [plan.prototypes] if plan.prototypes else []
        for tensor in tensors:
            self._make_nhcw(tensor)
        size = nms.classes * nms.max_per_class * BOX_RECORD_BYTES
        if size > MAX_RESULT_BYTES:
            raise DoesNotFit(resource="bytes of a frame's boxes", need=size, have=MAX_RESULT_BYTES)
        body = o.NmsOp(
            nms_score_th=nms.score_threshold,
            nms_iou_th=nms.iou_threshold,
            max_proposals_per_class=nms.max_per_class,
            classes=nms.classes,
            background_removal=nms.background,
            bbox_decoding_only=nms.decoding_only,
            method=self._method(plan, nms),
        )
        self._add(body, tensors, o.Pad(name=layer_name(self._network, nms.output_name)))

    def _make_nhcw(self, tensor: str) -> None:
        place = self._place[tensor]
        stream = self._streams[place]
        padded = pad_columns(stream.shape)
        size, count = core_counters(padded)
        self._streams[place] = replace(
            stream,
            order=FormatOrder.NHCW,
            format_code=_NHCW_CODE,
            padded_shape=padded,
            core_bytes_per_buffer=size,
            core_buffers_per_frame=count,
        )

    def _pad(self, tensor: str) -> int:
        return self._streams[self._place[tensor]].index

    def _method(self, plan: HostPlan, nms: Nms) -> o.NmsMethod:
        assert plan.image is not None, "boxes come with a picture"
        height, width = (float(side) for side in plan.image)
        levels = [{role: self._pad(tensor) for role, tensor in level.items()} for level in plan.levels]
        strides = [plan.image[0] // self._grid(level) for level in plan.levels]
        if nms.family == "yolox":
            free = [
                o.YoloxBboxDecoder(s, lv["reg"], lv["cls"], lv["obj"]) for s, lv in zip(strides, levels, strict=True)
            ]
            return o.YoloxNmsOp(height, width, tuple(free))
        if nms.family == "yolov8":
            pairs = [o.Yolov8BboxDecoder(s, lv["reg"], lv["cls"]) for s, lv in zip(strides, levels, strict=True)]
            return o.Yolov8NmsOp(height, width, 0, tuple(pairs), nms.regression_length)
        if nms.family == "ssd":
            priors = [
                o.SsdBboxDecoder(tuple(sizes[1::2]), tuple(sizes[::2]), lv["reg"], lv["cls"])
                for sizes, lv in zip(nms.anchors, levels, strict=True)
            ]
            return o.SsdNmsOp(height, width, nms.centers_scale, nms.sizes_scale, 0, 1, 2, 3, tuple(priors))
        anchored = tuple(
            o.YoloBboxDecoder(tuple(map(int, sizes[1::2])), tuple(map(int, sizes[::2])), stride, lv["out"])
            for sizes, stride, lv in zip(nms.anchors, strides, levels, strict=True)
        )
        if nms.family == "yolov5":
            return o.YoloNmsOp(height, width, 0, anchored)
        stream = self._streams[self._place[plan.prototypes]]
        proto = o.YoloSegProtoInfo(stream.shape.features, plan.image[0] // stream.shape.height, stream.name)
        return o.YoloSegNmsOp(height, width, anchored, proto, nms.mask_threshold)

    def _grid(self, level: Mapping[str, str]) -> int:
        return max(1, self._streams[self._place[next(iter(level.values()))]].shape.height)

    # --- logits -----------------------------------------------------------------------------------------------------

    def add_logits(self, plan: LogitsPlan) -> None:
        """Add a softmax or an argmax."""
        stream = self._streams[self._place[plan.tensor]]
        vector, argmax = stream.order is FormatOrder.NC, plan.kind == "argmax"
        order = PadFormatOrder.NC if vector else PadFormatOrder.NHW if argmax else PadFormatOrder.NHWC
        kind = PadFormatType.AUTO
        if argmax:
            kind = PadFormatType.UINT8 if stream.shape.features <= 1 << 8 else PadFormatType.UINT16
        pad = o.Pad(
            name=layer_name(self._network, plan.name), format_order=order, format_type=kind, numeric_info=_PLAIN
        )
        body = o.LogitsOp(LogitsType.ARGMAX if argmax else LogitsType.SOFTMAX)
        self._add(body, [plan.tensor], pad)

    # --- both -------------------------------------------------------------------------------------------------------

    def _add(self, body: o.NmsOp | o.LogitsOp, tensors: Sequence[str], output: o.Pad) -> None:
        inputs = []
        for tensor in tensors:
            stream = self._streams[self._place[tensor]]
            inputs.append(o.Pad(index=self._number(), name=stream.name))
            self._edges.append(o.PadEdge(stream.index, inputs[-1].index))
            self._outputs[stream.index] = output.name
        output = replace(output, index=self._number())
        self._ops.append(hm.Op(body, output.name, tuple(inputs), (output,)))

    def _number(self) -> int:
        self._next += 1
        return self._next - 1
