"""The edge layers of a network group as configuration needs them (context-switch.md 1, 10.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from openhailo.runtime.formats import FormatOrder, FrameLayout, Quantization
from openhailo.spec.enums import EdgeLayerDirection

__all__ = [
    "BoundLayer",
    "FusedPart",
    "HostBufferInfo",
    "Layer",
    "LayerKind",
    "Mux",
    "NmsStream",
    "StreamRegisters",
    "creation_order",
]

H2D, D2H = EdgeLayerDirection.HOST_TO_DEVICE, EdgeLayerDirection.DEVICE_TO_HOST


class LayerKind(IntEnum):
    """What a layer connects; the value is its place in the creation order (context-switch.md 10.5)."""

    DDR = 0
    BOUNDARY = 1
    INTER_CONTEXT = 2
    CACHE = 3


@dataclass(frozen=True)
class NmsStream:
    """An output whose boxes the chip sorts out (hef.md 11). ``burst_size`` counts boxes per transfer."""

    classes: int
    max_boxes: int
    box_bytes: int
    chunks: int
    burst_size: int
    per_class_burst: bool

    @property
    def transfer_bytes(self) -> int:
        """Bytes of one transfer: a box, a burst, or a whole frame when a burst holds every box of a class."""
        if not self.per_class_burst:
            return self.box_bytes
        burst = self.burst_size * self.box_bytes
        return burst * self.classes * self.chunks if self.burst_size >= self.max_boxes + 1 else burst

    @property
    def transfers_per_frame(self) -> int:
        """The most transfers that one frame can take (hef.md 11)."""
        if self.per_class_burst and self.burst_size >= self.max_boxes + 1:
            return 1
        return self.classes * self.max_boxes * self.chunks


@dataclass(frozen=True)
class FusedPart:
    """Which part of an output in several box streams a layer is: output ``name``, group of classes ``index``."""

    name: str
    index: int


@dataclass(frozen=True)
class Mux:
    """Outputs interleaved by rows: ``rounds`` times, for each part in turn, ``rows[i]`` of its rows (hef.md 12)."""

    rounds: int
    rows: tuple[int, ...]
    parts: tuple[Layer, ...]


@dataclass(frozen=True)
class Layer:
    """One edge of one context.

    ``layout`` is what travels (see `openhailo.runtime.describe` for streams the core pads itself); ``peer`` is
    (context, stream) of the other end of an internal layer; ``pad_index`` ties outputs to host ops. ``mux`` holds the
    outputs that share this stream, ``plane_of`` names the image that this plane belongs to, ``fused`` the output that
    these boxes are a part of.
    """

    name: str
    kind: LayerKind
    direction: EdgeLayerDirection
    context: int
    stream: int
    layout: FrameLayout
    quantization: Quantization
    network: int = 0
    core_bytes_per_buffer: int = 0
    core_buffers_per_frame: int = 0
    max_shmifo_size: int = 0
    feature_padding_payload: int = 0
    core_pads: bool = False
    buffered_rows: int = 0
    peer: tuple[int, int] | None = None
    pad_index: int | None = None
    nms: NmsStream | None = None
    mux: Mux | None = None
    fused: FusedPart | None = None
    plane_of: str = ""
    original_names: tuple[str, ...] = ()
    user_order: FormatOrder = FormatOrder.NHWC

    @property
    def is_output(self) -> bool:
        """Whether the host reads it."""
        return self.kind is LayerKind.BOUNDARY and self.direction is D2H

    @property
    def transfer_bytes(self) -> int:
        """Bytes of one transfer (hef.md 10, 11)."""
        return self.nms.transfer_bytes if self.nms else self.layout.transfer_bytes

    @property
    def transfers_per_frame(self) -> int:
        """Transfers that make a frame: 1 but for boxes sorted out on the chip."""
        return self.nms.transfers_per_frame if self.nms else 1

    def leaves(self) -> Iterator[Layer]:
        """Yield the outputs in wire order: those of a mux, recursively, else the layer itself."""
        if self.mux is None:
            yield self
            return
        for part in self.mux.parts:
            yield from part.leaves()

    @property
    def key(self) -> tuple[int, EdgeLayerDirection, int]:
        """What identifies the layer: streams are numbered per direction and context (context-switch.md 21.16)."""
        return (self.context, self.direction, self.stream)


@dataclass(frozen=True)
class StreamRegisters:
    """Stream registers of the core (context-switch.md 7); the names are those of the structure."""

    core_bytes_per_buffer: int
    core_buffers_per_frame: int
    periph_bytes_per_buffer: int
    periph_buffers_per_frame: int
    feature_padding_payload: int = 0
    buffer_padding_payload: int = 0
    buffer_padding: int = 0
    is_core_hw_padding_config_in_dfc: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame in units of the peripheral side: the input credit of one frame."""
        return self.periph_bytes_per_buffer * self.periph_buffers_per_frame


@dataclass(frozen=True)
class HostBufferInfo:
    """Where a channel's descriptors lie (context-switch.md 6); the names are those of the structure."""

    dma_address: int
    desc_page_size: int
    total_desc_count: int
    bytes_in_pattern: int
    buffer_type: int = 0


@dataclass(frozen=True)
class BoundLayer:
    """A layer with everything an action about it says. ``peer_channel`` is the D2H half of a DDR input."""

    layer: Layer
    channel: int
    buffer: HostBufferInfo
    registers: StreamRegisters
    credit: int
    peer_channel: int = 0


def creation_order(layer: Layer) -> tuple[bool, int]:
    """Sort key of a context's layers: outputs before inputs, then DDR, boundary, inter-context, cache."""
    return (layer.direction is H2D, int(layer.kind))
