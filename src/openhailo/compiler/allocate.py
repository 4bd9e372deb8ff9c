"""Chip resources: stream indices, wire shapes, core counters and config transfers, each within its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from openhailo._units import align_up
from openhailo.errors import DoesNotFit
from openhailo.hef.layers import QuantInfo, Shape
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.program import FormatOrder

from .lower import Lowered, layer_name
from .passes.device_io import Quantization
from .tensors import TensorSpec

#: Widest counter of the stream registers: core bytes per buffer and buffers per frame (context-switch.md 7).
MAX_COUNTER: Final = 0xFFFF
#: Frames travel in multiples of this many bytes (hef.md 10).
TRANSFER_ALIGNMENT: Final = 8
#: A FETCH_CFG action counts its descriptors in 16 bits (context-switch.md 22).
MAX_FETCH_DESCRIPTORS: Final = 0xFFFF


@dataclass(frozen=True)
class Stream:
    """One stream. Shapes are (height, width, features); the padded one is what travels.

    ``peers`` are the other ends, (context, stream index), of one that never leaves the device and its buffers;
    ``ddr_rows`` the least number of rows of a buffer within one context.
    """

    name: str
    original_name: str
    is_input: bool
    index: int
    order: FormatOrder
    format_code: int
    shape: Shape
    padded_shape: Shape
    core_bytes_per_buffer: int
    core_buffers_per_frame: int
    quant: QuantInfo
    data_bytes: int = 1
    peers: tuple[tuple[int, int], ...] = ()
    ddr_rows: int = 0

    @property
    def transfer_bytes(self) -> int:
        """Bytes of one frame on the wire."""
        return align_up(self.padded_shape.elements * self.data_bytes, TRANSFER_ALIGNMENT)


def allocate_streams(network: str, lowered: Lowered, spec: ChipSpec = CHIP) -> tuple[Stream, ...]:
    """Number the streams, inputs from 0 and outputs after them, and choose how their frames travel.

    Raises:
        DoesNotFit: more streams than DMA channels, or a frame that the core's 16-bit counters cannot express.
    """
    inbound = spec.vdma.host_to_device_channels
    outbound = spec.vdma.channels - inbound
    # One of the channels towards the device carries the configuration.
    _check("host-to-device channels", 1 + len(lowered.inputs), inbound)
    _check("device-to-host channels", len(lowered.outputs), outbound)
    streams = []
    for index, tensor in enumerate((*lowered.inputs, *lowered.outputs)):
        is_input = index < len(lowered.inputs)
        known = (lowered.device.inputs if is_input else lowered.device.outputs)[tensor.name]
        quant = _pixel_quant() if is_input and tensor.name in lowered.pixels else _quant_info(known)
        streams.append(_stream(layer_name(network, tensor.name), tensor, quant, index, is_input=is_input))
    return tuple(streams)


def _check(resource: str, need: int, have: int) -> None:
    if need > have:
        raise DoesNotFit(resource=resource, need=need, have=have)


def _pixel_quant() -> QuantInfo:
    """Pixels enter as they are."""
    return QuantInfo(qp_zp=0.0, qp_scale=1.0, limvals_min=0.0, limvals_max=255.0)


def _quant_info(quantization: Quantization) -> QuantInfo:
    """The host clips to the limits before it scales, so they are the ends of the uint8 range (hef.md 8)."""
    scale, zero = quantization.scale, quantization.zero
    return QuantInfo(float(zero), scale, (0 - zero) * scale, (255 - zero) * scale)


def _stream(name: str, tensor: TensorSpec, quant: QuantInfo, index: int, *, is_input: bool) -> Stream:
    shape = Shape(*tensor.device_shape)
    flat = tensor.layout == "nc"
    padded = pad_features(shape) if flat else pad_columns(shape)
    core_bytes, core_buffers = core_counters(padded)
    return Stream(
        name=name,
        original_name=tensor.name,
        is_input=is_input,
        index=index,
        order=FormatOrder.NC if flat else FormatOrder.NHWC,
        format_code=2 if flat else 0,
        shape=shape,
        padded_shape=padded,
        core_bytes_per_buffer=core_bytes,
        core_buffers_per_frame=core_buffers,
        quant=quant,
    )


def pad_features(shape: Shape) -> Shape:
    """Pad an NC frame to whole 8-byte words."""
    return shape._replace(features=align_up(shape.features, TRANSFER_ALIGNMENT))


def pad_columns(shape: Shape) -> Shape:
    """Pad the rows of an NHWC frame with columns until the frame is a multiple of 8 bytes.

    The peripheral side cuts a frame into equal buffers of a multiple of 8 bytes; a frame that is none itself cannot
    be framed (context-switch.md 14), and columns are what the host pads with (hef.md 7).
    """
    padded = shape
    while padded.elements % TRANSFER_ALIGNMENT:
        padded = padded._replace(width=padded.width + 1)
    return padded


def core_counters(padded: Shape) -> tuple[int, int]:
    """Return (bytes per buffer, buffers per frame) whose product is the frame: rows where they fit.

    Raises:
        DoesNotFit: no such pair within 16 bits each.
    """
    frame, row = padded.elements, padded.width * padded.features
    if row <= MAX_COUNTER and padded.height <= MAX_COUNTER:
        return row, padded.height
    for size in range(min(frame, MAX_COUNTER), 0, -1):
        if frame % size == 0:
            if frame // size > MAX_COUNTER:
                break
            return size, frame // size
    raise DoesNotFit(resource="core buffers per frame", need=-(-frame // MAX_COUNTER), have=MAX_COUNTER)


def program_limit(spec: ChipSpec = CHIP) -> int:
    """Return the most configuration bytes that one context can load: a full descriptor list per config channel."""
    # One descriptor of a list stays free; the pages of config lists are no larger (context-switch.md 3).
    per_channel = (spec.vdma.max_descriptors - 1) * spec.vdma.default_page_size
    return min(spec.limits.max_config_channels * per_channel, spec.program.max_payload_bytes)


def config_pieces(size_bytes: int, spec: ChipSpec = CHIP) -> tuple[int, ...]:
    """Return the sizes of the config transfers that carry ``size_bytes``: a fetch action's worth, a channel each.

    Raises:
        DoesNotFit: more than the descriptor lists of all config channels hold.
    """
    rules = spec.vdma
    _check("bytes of configuration", size_bytes, program_limit(spec))
    largest = MAX_FETCH_DESCRIPTORS * rules.default_page_size
    full, rest = divmod(size_bytes, largest)
    return (largest,) * full + ((rest,) if rest else ())


def stream_table(streams: Sequence[Stream]) -> list[Mapping[str, object]]:
    """Return the streams as plain values, for reports."""
    return [
        {
            "name": stream.name,
            "direction": "input" if stream.is_input else "output",
            "index": stream.index,
            "order": stream.order.name,
            "shape": list(stream.shape),
            "padded_shape": list(stream.padded_shape),
            "transfer_bytes": stream.transfer_bytes,
            "scale": stream.quant.qp_scale,
            "zero_point": stream.quant.qp_zp,
        }
        for stream in streams
    ]
