"""A network as a HEF: an ``snn`` program, one stream of requests, one of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from openhailo._units import align_up
from openhailo.burst import Network
from openhailo.compiler.allocate import Stream, core_counters
from openhailo.compiler.emit import build_hef, build_program
from openhailo.hef.layers import QuantInfo, Shape
from openhailo.hef.model import Hef
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.program import FormatOrder, ProgramKind

from .packing import Mask, build_payload

#: Frames are rows of so many bytes: one descriptor's worth.
ROW_BYTES: Final = 512
#: Inputs that one request carries; more of them take several requests.
MAX_DELTAS: Final = 4096
#: An answer has room for many bursts of a small network.
MIN_REPLY_BYTES: Final = 64 * 1024
MIN_BURSTS: Final = 1
REQUEST, REPLY = "request", "reply"


@dataclass(frozen=True)
class FrameSizes:
    """Sizes of the two frames: bytes, inputs per request, bursts per request."""

    request_bytes: int
    reply_bytes: int
    deltas: int
    bursts: int


def frame_sizes(neurons: int, spec: ChipSpec = CHIP) -> FrameSizes:
    """Return the frames for a network of ``neurons``."""
    burst = spec.snn_burst.size + -(-neurons // 64) * 8
    reply = align_up(max(spec.snn_reply.size + burst * MIN_BURSTS, MIN_REPLY_BYTES), ROW_BYTES)
    bursts = (reply - spec.snn_reply.size) // burst
    deltas = min(max(neurons, 256), MAX_DELTAS)
    request = align_up(spec.snn_request.size + 4 * bursts + 8 * deltas, ROW_BYTES)
    return FrameSizes(request, reply, deltas, bursts)


def build_streams(name: str, sizes: FrameSizes) -> tuple[Stream, Stream]:
    """Return the two streams: bytes, as they are."""
    return _stream(name, REQUEST, sizes.request_bytes, 0), _stream(name, REPLY, sizes.reply_bytes, 1)


def _stream(network: str, name: str, size_bytes: int, index: int) -> Stream:
    shape = Shape(size_bytes // ROW_BYTES, 1, ROW_BYTES)
    core_bytes, core_buffers = core_counters(shape)
    return Stream(
        name=f"{network}/{name}",
        original_name=name,
        is_input=index == 0,
        index=index,
        order=FormatOrder.NHWC,
        format_code=0,
        shape=shape,
        padded_shape=shape,
        core_bytes_per_buffer=core_bytes,
        core_buffers_per_frame=core_buffers,
        quant=QuantInfo(qp_zp=0.0, qp_scale=1.0, limvals_min=0.0, limvals_max=255.0),
    )


def build_snn_hef(
    network: Network, mode: str = "npu", *, name: str = "snn", arch: str = "hailo8", owned: Mask | None = None
) -> Hef:
    """Return the HEF that executes ``network``, or the part that has the neurons ``owned``, on a virtual chip.

    Raises:
        BufferTooLarge: it does not fit.
        InputError: an unknown mode, or no neurons.
    """
    streams = build_streams(name, frame_sizes(len(network.neurons)))
    program = build_program(build_payload(network, mode, owned=owned), streams, kind=ProgramKind.SNN)
    return build_hef(name, program, streams, arch=arch)
