"""The streams that carry codes from one load of the chip to another, or round the chip."""

from __future__ import annotations

from typing import Final

from openhailo._units import align_up
from openhailo.compiler.allocate import TRANSFER_ALIGNMENT, Stream, core_counters
from openhailo.hef.layers import QuantInfo, Shape
from openhailo.spec.program import FormatOrder

from .split import Crossing

#: Frames above this are padded to whole descriptors, which always have a framing (context-switch.md 14).
SMALL_FRAME_BYTES: Final = 4096
#: A descriptor's page: what rows of a buffer are a multiple of (context-switch.md 13).
ROW_BYTES: Final = 512
CODES: Final = QuantInfo(qp_zp=0.0, qp_scale=1.0, limvals_min=0.0, limvals_max=255.0)


def code_stream(crossing: Crossing, index: int, *, is_input: bool) -> Stream:
    """Return the stream that carries a crossing tensor: its codes in a row, padded at the end."""
    size = crossing.tensor.size_bytes
    alignment = ROW_BYTES if size > SMALL_FRAME_BYTES else TRANSFER_ALIGNMENT
    padded = Shape(1, 1, align_up(size, alignment))
    core_bytes, core_buffers = core_counters(padded)
    return Stream(
        name=crossing.name,
        original_name=crossing.tensor.name,
        is_input=is_input,
        index=index,
        order=FormatOrder.NC,
        format_code=2,
        shape=Shape(1, 1, size),
        padded_shape=padded,
        core_bytes_per_buffer=core_bytes,
        core_buffers_per_frame=core_buffers,
        quant=CODES,
    )
