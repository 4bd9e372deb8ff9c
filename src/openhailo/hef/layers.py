"""Edge layers: what enters and leaves a context, with shapes, formats and quantisation (hef.md 5 to 12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from openhailo._units import align_up
from openhailo.errors import UnsupportedHef
from openhailo.spec.program import FormatOrder

from .enums import Connection, Direction, EdgeKind, NmsBurst, PlanesFormat

#: Compiler's format code -> (device order, the user's order by default) (hef.md 7).
FORMAT_CODES: dict[int, tuple[FormatOrder, FormatOrder]] = {
    0: (FormatOrder.NHWC, FormatOrder.NHWC),
    1: (FormatOrder.NHCW, FormatOrder.NHWC),
    2: (FormatOrder.NC, FormatOrder.NC),
    3: (FormatOrder.FCR, FormatOrder.FCR),
    4: (FormatOrder.BAYER_RGB, FormatOrder.BAYER_RGB),
    5: (FormatOrder.NHW, FormatOrder.NHW),
    6: (FormatOrder.HAILO_NMS_ON_CHIP, FormatOrder.HAILO_NMS_BY_CLASS),
    7: (FormatOrder.F8CR, FormatOrder.F8CR),
    8: (FormatOrder.RGB888, FormatOrder.NHWC),
    11: (FormatOrder.YUY2, FormatOrder.YUY2),
    13: (FormatOrder.NHWC, FormatOrder.NHWC),
    14: (FormatOrder.HAILO_YYUV, FormatOrder.NV12),
    15: (FormatOrder.HAILO_YYVU, FormatOrder.NV21),
    16: (FormatOrder.HAILO_YYYYUV, FormatOrder.I420),
}

#: Planes format -> the user's order of the whole image (hef.md 12).
PLANES_ORDERS: dict[PlanesFormat, FormatOrder] = {
    PlanesFormat.NV12: FormatOrder.NV12,
    PlanesFormat.NV21: FormatOrder.NV21,
    PlanesFormat.I420: FormatOrder.I420,
}

#: Largest value of GET_HW_CONSTS.max_periph_bytes_per_buffer, a u16 (control-protocol.md, opcode 72).
MAX_PERIPH_BYTES = 0xFFFF


class Shape(NamedTuple):
    """Rows, columns, channels."""

    height: int = 0
    width: int = 0
    features: int = 0

    @property
    def elements(self) -> int:
        """How many elements a frame of this shape has."""
        return self.height * self.width * self.features


@dataclass(frozen=True)
class QuantInfo:
    """Real number = (integer - zero point) * scale; input values are clipped to the limits first (hef.md 8).

    ``qp_zps`` and ``qp_scales`` have one entry per feature and count only with extension 25.
    """

    qp_zp: float = 0.0
    qp_scale: float = 0.0
    limvals_min: float = 0.0
    limvals_max: float = 0.0
    qp_zps: tuple[float, ...] = ()
    qp_scales: tuple[float, ...] = ()

    @property
    def valid(self) -> bool:
        """False for all zero, which means "none given" (hef.md 8)."""
        return any((self.qp_zp, self.qp_scale, self.limvals_min, self.limvals_max))

    @property
    def identity(self) -> bool:
        """Zero point 0 and scale 1: integers are the numbers themselves."""
        return self.qp_zp == 0 and self.qp_scale == 1


@dataclass(frozen=True)
class NmsDefuseInfo:
    """Which part of a fused box output this stream is."""

    class_group_index: int = 0
    original_name: str = ""


@dataclass(frozen=True)
class NmsInfo:
    """Boxes sorted out on the chip (hef.md 11); ``input_division_factor`` 0 means 1 chunk per frame."""

    type_index: int = 0
    number_of_classes: int = 0
    max_output_size: int = 0
    bbox_size: int = 0
    is_defused: bool = False
    defuse_info: NmsDefuseInfo | None = field(default=None, metadata={"of": NmsDefuseInfo})
    input_division_factor: int = 0
    burst_size: int = 0
    burst_type: NmsBurst = field(default=NmsBurst.NO_BURST, metadata={"of": NmsBurst})

    @property
    def chunks(self) -> int:
        """Pieces that one frame comes in."""
        return self.input_division_factor or 1

    @property
    def hw_frame_size_bytes(self) -> int:
        """Bytes a stream reports for a frame (hef.md 10)."""
        per_class = 2 + self.bbox_size * max(self.burst_size, self.max_output_size)
        return self.chunks * self.number_of_classes * per_class + self.bbox_size * self.burst_size


@dataclass(frozen=True)
class ResourceIndices:
    """A buffer of the core and its cluster."""

    index: int = 0
    cluster_index: int = 0


@dataclass(frozen=True)
class ConnectedContext:
    """The other end of a layer inside the chip."""

    index: int = 0
    name: str = ""
    sys_index: int = 0
    engine_id: int = 0


@dataclass(frozen=True)
class ContextSwitchInfo:
    """What a layer is connected to; ``buffers`` is the least number of buffered rows of a DDR layer."""

    edge_connection_type: Connection = field(default=Connection.BOUNDARY, metadata={"of": Connection})
    context_index: int = 0
    context_name: str = ""
    connected_context_index: int = 0
    connected_context_name: str = ""
    buffers: int = 0
    connected_sys_index: int = 0
    connected_contexts: tuple[ConnectedContext, ...] = field(default=(), metadata={"of": ConnectedContext})
    cache_id: int = 0


@dataclass(frozen=True)
class MuxInfo:
    """Several outputs interleaved by rows (hef.md 12): ``height_gcd`` rounds of ``height_ratios[i]`` rows each."""

    height_gcd: int = 0
    height_ratios: tuple[int, ...] = ()
    predecessors: tuple[EdgeLayer, ...] = ()


@dataclass(frozen=True)
class PlanesInfo:
    """An image whose planes are streams of their own (hef.md 12)."""

    format: PlanesFormat = PlanesFormat.NV12
    planes: tuple[EdgeLayer, ...] = ()


@dataclass(frozen=True)
class EdgeLayer:
    """One edge of a context. A mux or planes layer holds its parts as edge layers of their own.

    ``shape`` is what the user sees, ``padded_shape`` what travels (0, 0, 0 for planes, which do not travel as one).
    ``format_code`` is the compiler's (hef.md 7), ``data_bytes`` the size of an element, ``sys_index`` the stream index.
    ``pad_index`` ties an output to host ops (None: not there). ``switch`` None means a boundary layer.
    """

    name: str
    direction: Direction
    shape: Shape
    padded_shape: Shape
    format_code: int = 0
    data_bytes: int = 1
    sys_index: int = 0
    core_bytes_per_buffer: int = 0
    core_buffers_per_frame: int = 0
    quant: QuantInfo = QuantInfo()
    pad_index: int | None = None
    network_index: int = 0
    max_shmifo_size: int = 0
    buffer_indices: tuple[ResourceIndices, ...] = (ResourceIndices(),)
    switch: ContextSwitchInfo | None = None
    original_names: tuple[str, ...] = ()
    hn_output_layer_name: str = ""
    transposed: bool = False
    nms: NmsInfo | None = None
    mux: MuxInfo | None = None
    planes: PlanesInfo | None = None
    host_argmax: bool = False
    engine_id: int = 0

    @property
    def kind(self) -> EdgeKind:
        """One stream, a mux, or planes."""
        if self.mux is not None:
            return EdgeKind.MUX
        return EdgeKind.INFO if self.planes is None else EdgeKind.PLANES

    @property
    def connection(self) -> Connection:
        """What the layer connects to: the host, another context, DDR or a cache."""
        return self.switch.edge_connection_type if self.switch else Connection.BOUNDARY

    @property
    def is_input(self) -> bool:
        """Whether data flows to the device."""
        return self.direction is Direction.HOST_TO_DEVICE

    @property
    def order(self) -> FormatOrder:
        """Order of the elements on the wire. Unknown code: `UnsupportedHef`."""
        if self.planes is not None:
            return PLANES_ORDERS[self.planes.format]
        return self._orders()[0]

    @property
    def user_order(self) -> FormatOrder:
        """Order of the user's array by default. Unknown code: `UnsupportedHef`."""
        if self.planes is not None:
            return PLANES_ORDERS[self.planes.format]
        return self._orders()[1]

    def _orders(self) -> tuple[FormatOrder, FormatOrder]:
        try:
            return FORMAT_CODES[self.format_code]
        except KeyError:
            raise UnsupportedHef(feature=f"device format code {self.format_code} of {self.name!r}") from None

    def core_pads(self, *, hw_padding: bool, max_periph_bytes: int = MAX_PERIPH_BYTES) -> bool:
        """Whether the core itself adds the padding, so that frames travel unpadded (hef.md 10, last row).

        Args:
            hw_padding: the HEF has optional extension 11, which replaces this rule.
            max_periph_bytes: GET_HW_CONSTS.max_periph_bytes_per_buffer of the device.
        """
        row = self.shape.width * self.shape.features
        return (
            not hw_padding
            and self.kind is EdgeKind.INFO
            and self.connection is Connection.BOUNDARY
            and self.order is FormatOrder.NHCW
            and self.core_buffers_per_frame == self.shape.height
            and row % 8 == 0
            and row * self.data_bytes < max_periph_bytes
        )

    def hw_shape(self, *, hw_padding: bool, max_periph_bytes: int = MAX_PERIPH_BYTES) -> Shape:
        """The shape that travels (hef.md 10)."""
        if self.core_pads(hw_padding=hw_padding, max_periph_bytes=max_periph_bytes):
            return self.shape
        return self.padded_shape

    def hw_frame_size_bytes(self, *, hw_padding: bool, max_periph_bytes: int = MAX_PERIPH_BYTES) -> int:
        """Bytes of one frame of this stream (hef.md 10); a mux is the sum of its leaves (hef.md 12)."""
        if self.nms is not None:
            return self.nms.hw_frame_size_bytes
        if self.mux is not None:  # the core never pads what it interleaves (hef.md 10)
            return sum(leaf.hw_frame_size_bytes(hw_padding=True) for leaf in self.leaves())
        if self.planes is not None:
            sizes = (part.hw_frame_size_bytes(hw_padding=hw_padding) for part in self.planes.planes)
            return sum(sizes)
        shape = self.hw_shape(hw_padding=hw_padding, max_periph_bytes=max_periph_bytes)
        # RGB888 pixels are four bytes on the wire, the fourth zero (hef.md 7).
        features = 4 if self.order is FormatOrder.RGB888 else shape.features
        return align_up(shape.height * shape.width * features * self.data_bytes, 8)

    def leaves(self) -> tuple[EdgeLayer, ...]:
        """The logical layers: a mux's leaves in wire order (recursively), else the layer itself."""
        if self.mux is None:
            return (self,)
        return tuple(leaf for part in self.mux.predecessors for leaf in part.leaves())

    def streams(self) -> tuple[EdgeLayer, ...]:
        """The physical streams: one per plane for planes, else the layer itself (hef.md 6)."""
        return self.planes.planes if self.planes is not None else (self,)


@dataclass(frozen=True)
class FusedLayer:
    """One box output that the chip delivers in several streams (hef.md 12)."""

    layer: EdgeLayer
    defused_layers_names: tuple[str, ...] = ()
    nms_info: NmsInfo | None = None
