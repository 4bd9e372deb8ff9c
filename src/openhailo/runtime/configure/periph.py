"""How the peripheral side frames a stream, and its credit (context-switch.md 14)."""

from __future__ import annotations

from dataclasses import replace

from openhailo._units import align_up
from openhailo.driver.results import HwConsts
from openhailo.errors import InvalidHef
from openhailo.runtime.configure.layers import D2H, Layer, LayerKind, NmsStream, StreamRegisters

#: Largest value of a 16-bit counter, and of the core's input window (context-switch.md 14).
MAX_COUNTER = 0xFFFF
MAX_PERIPH_BYTES = 0x10000


def initial_credit(layer: Layer, consts: HwConsts) -> int:
    """Return the window of the layer in bytes: the file's, or the chip's default."""
    return layer.max_shmifo_size or consts.default_initial_credit_size


def stream_registers(layer: Layer, page_size: int, consts: HwConsts, *, performance: bool = True) -> StreamRegisters:
    """Compute the stream registers of ``layer`` for descriptors of ``page_size`` bytes.

    ``performance`` is the ordinary power mode, in which few large buffers replace many small ones where the chip asks
    for it. Raises `InvalidHef` when no framing exists.
    """
    start = StreamRegisters(
        layer.core_bytes_per_buffer,
        layer.core_buffers_per_frame,
        0,
        0,
        layer.feature_padding_payload,
        is_core_hw_padding_config_in_dfc=int(layer.core_pads),
    )
    if layer.nms is not None:
        return _nms_framing(start, layer.nms)
    framed = _framing(layer, start, page_size, initial_credit(layer, consts))
    if layer.kind is not LayerKind.DDR:
        framed = _credit_framing(layer, framed, consts, performance=performance)
    if layer.direction is D2H and framed.periph_bytes_per_buffer > consts.outbound_data_stream_size - 8 - page_size:
        raise _no_framing(layer, f"{framed.periph_bytes_per_buffer} bytes exceed the outbound stream")
    return framed


def _nms_framing(start: StreamRegisters, nms: NmsStream) -> StreamRegisters:
    periph_bytes = nms.box_bytes * nms.burst_size
    return replace(
        start, periph_bytes_per_buffer=periph_bytes, periph_buffers_per_frame=nms.transfer_bytes // periph_bytes
    )


def _framing(layer: Layer, start: StreamRegisters, page_size: int, window: int) -> StreamRegisters:
    if page_size >= window:
        raise _no_framing(layer, f"descriptor pages of {page_size} bytes do not fit a window of {window}")
    layout = layer.layout
    frame, payload, padding = layout.frame_bytes, 0, 0
    if layer.core_pads and frame % 8:
        if frame >= MAX_COUNTER:
            raise _no_framing(layer, f"a frame of {frame} bytes cannot be padded by the core")
        payload, padding = frame, -frame % 8
        frame += padding
    row = layout.frame_bytes // layout.padded_height
    ddr = layer.kind is LayerKind.DDR
    periph_bytes = _largest_ddr(layer, row, window) if ddr else _largest(layer, row, frame, window, page_size)
    total = layer.core_bytes_per_buffer * layer.core_buffers_per_frame if ddr else frame
    return replace(
        start,
        periph_bytes_per_buffer=periph_bytes,
        periph_buffers_per_frame=min(total // periph_bytes, MAX_COUNTER),
        buffer_padding_payload=payload,
        buffer_padding=padding,
    )


def _largest(layer: Layer, row: int, frame: int, window: int, page_size: int) -> int:
    ceiling = min(MAX_PERIPH_BYTES, window, window - page_size - 1)
    for size in range(min(align_up(row, 8), ceiling & ~7), 0, -8):
        if frame % size == 0:
            return size
    raise _no_framing(layer, f"no multiple of 8 divides a frame of {frame} bytes")


def _largest_ddr(layer: Layer, row: int, window: int) -> int:
    ceiling = min(MAX_PERIPH_BYTES, window - 1)
    for size in range(min(align_up(row, 512), ceiling & ~511), 0, -512):
        if layer.core_bytes_per_buffer % size == 0:
            return size
    raise _no_framing(layer, f"no multiple of 512 divides a row of {layer.core_bytes_per_buffer} bytes")


def _credit_framing(layer: Layer, framed: StreamRegisters, consts: HwConsts, *, performance: bool) -> StreamRegisters:
    word = consts.fifo_word_granularity_bytes
    if word < 1 or framed.periph_bytes_per_buffer % word:
        raise _no_framing(layer, f"{framed.periph_bytes_per_buffer} bytes are not a multiple of {word}")
    if not (consts.should_optimize_credits and performance):
        return framed
    total, limit = framed.frame_bytes, consts.max_periph_buffers_per_frame
    fewest = -(-total // max(consts.max_acceptable_bytes_per_buffer, framed.periph_bytes_per_buffer))
    for buffers in range(fewest, min(total, limit)):
        if (total // word) % buffers == 0 and total // buffers <= consts.max_periph_bytes_per_buffer:
            break
    else:
        if total > limit:
            return framed
        buffers = total
    return replace(framed, periph_bytes_per_buffer=total // buffers, periph_buffers_per_frame=buffers)


def _no_framing(layer: Layer, detail: str) -> InvalidHef:
    return InvalidHef(rule="periph framing", where=layer.name, detail=detail)
