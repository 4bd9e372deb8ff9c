"""Buffers in host memory inside one context: the part runs in two stages, and what lies between them waits outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx

from openhailo._units import align_up
from openhailo.compiler.allocate import Stream
from openhailo.compiler.emit import build_program
from openhailo.hef.layers import Shape
from openhailo.spec.chip import CHIP, ChipSpec

from .choose import candidates
from .schedule import Schedule, Tensor, make_schedule
from .split import Crossing, Split, is_exact, split
from .streams import ROW_BYTES, code_stream

#: Rows of a buffer take a descriptor each; one stays free, and a list has so many at most (context-switch.md 13, 22).
MAX_ROWS = CHIP.vdma.max_descriptors - 1


@dataclass(frozen=True)
class Staged:
    """The program images of a context's stages, one after the other, and its streams, those of the buffers last."""

    program: bytes
    streams: tuple[Stream, ...]
    buffered: tuple[Crossing, ...] = ()


def one_stage(model: onnx.ModelProto, streams: Sequence[Stream]) -> Staged:
    """Return a context that keeps everything on the chip."""
    return Staged(build_program(model.SerializeToString(deterministic=True), streams), tuple(streams))


def stage(model: onnx.ModelProto, streams: Sequence[Stream], *, context: int, network: str, most_bytes: int) -> Staged:
    """Buffer in host memory what is alive where most is, if that is more than ``most_bytes``.

    Args:
        model: graph of the context.
        streams: of its edge, named as the ends of the graph.
        context: its number.
        network: name of the network.
        most_bytes: of activations that may be alive on the chip between two nodes, per frame; where the graph cannot be
            cut, more stay there all the same.
    """
    schedule = make_schedule(model)
    alive = _alive_bytes(schedule)
    for place in sorted(_places(schedule, streams), key=lambda place: -alive[place]):
        if alive[place] <= most_bytes:
            break
        pieces = split(schedule, (place,), f"{network}/ddr_{context}")
        if is_exact(model, pieces):
            return _staged(pieces, streams, context)
    return one_stage(model, streams)


def _alive_bytes(schedule: Schedule) -> list[int]:
    """Return the bytes of codes alive before every node."""
    return [sum(tensor.size_bytes for tensor in schedule.crossing(place)) for place in range(len(schedule.nodes))]


def _places(schedule: Schedule, streams: Sequence[Stream], spec: ChipSpec = CHIP) -> list[int]:
    """Return where the part can be cut: rows fit into a list, and each buffer takes a channel of either direction."""
    half = spec.vdma.host_to_device_channels
    taken = [1 + sum(s.is_input for s in streams), sum(not s.is_input for s in streams)]

    def fits(crossing: Sequence[Tensor]) -> bool:
        rows = (align_up(tensor.size_bytes, ROW_BYTES) // ROW_BYTES for tensor in crossing)
        return max(taken) + len(crossing) <= half and all(count <= MAX_ROWS for count in rows)

    return [place for place in candidates(schedule, spec) if fits(schedule.crossing(place))]


def _staged(pieces: Split, streams: Sequence[Stream], context: int) -> Staged:
    first = 1 + max(stream.index for stream in streams)
    buffers = []
    for number, crossing in enumerate(pieces.crossings):
        out, back = first + 2 * number, first + 2 * number + 1
        buffers += [_half(crossing, out, (context, back), False), _half(crossing, back, (context, out), True)]
    everything = (*streams, *buffers)
    images = []
    for part in pieces.parts:
        ends = {True: {v.name for v in part.model.graph.input}, False: {v.name for v in part.model.graph.output}}
        own = [stream for stream in everything if stream.name in ends[stream.is_input]]
        images.append(build_program(part.model.SerializeToString(deterministic=True), own))
    return Staged(b"".join(images), everything, pieces.crossings)


def _half(crossing: Crossing, index: int, peer: tuple[int, int], is_input: bool) -> Stream:
    """Return one half of a buffer. Rows fill descriptors (context-switch.md 13); a whole frame waits in it."""
    stream = code_stream(crossing, index, is_input=is_input)
    rows = align_up(crossing.tensor.size_bytes, ROW_BYTES) // ROW_BYTES
    return replace(
        stream,
        padded_shape=Shape(1, 1, rows * ROW_BYTES),
        core_bytes_per_buffer=ROW_BYTES,
        core_buffers_per_frame=rows,
        peers=(peer,),
        ddr_rows=rows,
    )
