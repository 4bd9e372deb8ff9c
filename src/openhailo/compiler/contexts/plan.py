"""From a device graph to the contexts of a HEF: how many, cut where, and what travels between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import onnx

from openhailo._units import align_up
from openhailo.compiler.allocate import (
    TRANSFER_ALIGNMENT,
    Stream,
    config_pieces,
    core_counters,
    program_limit,
)
from openhailo.compiler.emit import ContextPlan, build_program
from openhailo.errors import DoesNotFit, ModelInvalid
from openhailo.hef.layers import QuantInfo, Shape
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.limits import MAX_CONTEXTS
from openhailo.spec.program import FormatOrder

from .choose import candidates, choose
from .schedule import Schedule, make_schedule
from .split import Crossing, Split, is_exact, split

#: Every network group has three contexts besides the dynamic ones (context-switch.md 22).
MOST_CONTEXTS: Final = MAX_CONTEXTS - 3
#: Frames above this are padded to whole descriptors, which always have a framing (context-switch.md 14).
SMALL_FRAME_BYTES: Final = 4096
ROW_BYTES: Final = 512
CODES: Final = QuantInfo(qp_zp=0.0, qp_scale=1.0, limvals_min=0.0, limvals_max=255.0)


@dataclass(frozen=True)
class Contexts:
    """The contexts of a network, and a table of them for the report."""

    plans: tuple[ContextPlan, ...]
    table: tuple[Mapping[str, Any], ...]


def plan_contexts(
    network: str,
    model: onnx.ModelProto,
    streams: Sequence[Stream],
    *,
    contexts: int = 0,
    context_bytes: int | None = None,
    spec: ChipSpec = CHIP,
) -> Contexts | None:
    """Split ``model`` and lay out the streams of every context; None where one context is all there is.

    Args:
        network: name of the network.
        model: the device graph, whose ends are named as ``streams``.
        streams: of the boundary.
        contexts: how many; 0 takes as few as have room.
        context_bytes: room for the program of one context; by default what a list of descriptors can bring.
        spec: the chip.

    Raises:
        DoesNotFit: no cut makes parts that are small enough, or there are not so many places to cut at.
    """
    if not 0 <= contexts <= MOST_CONTEXTS:
        raise DoesNotFit(resource="contexts", need=contexts, have=MOST_CONTEXTS)
    room = program_limit(spec) if context_bytes is None else min(context_bytes, program_limit(spec))
    if contexts == 1 or (not contexts and _program_bytes(model, streams, spec) <= room):
        return None
    schedule = make_schedule(model)
    places = candidates(schedule, spec)
    counts = (contexts,) if contexts else range(2, min(len(places) + 1, MOST_CONTEXTS) + 1)
    for count in counts:
        plans = _planned(network, schedule, places, streams, count, room if not contexts or context_bytes else None)
        if plans is not None:
            return plans
    raise DoesNotFit(resource="bytes of a context", need=max(schedule.constant_bytes), have=room)


def _program_bytes(model: onnx.ModelProto, streams: Sequence[Stream], spec: ChipSpec) -> int:
    """Return the bytes of the program that runs ``model`` in one context."""
    size = spec.program_header.size + len(streams) * spec.io_record.size + model.ByteSize()
    return align_up(size, spec.program.alignment)


def _planned(
    network: str,
    schedule: Schedule,
    places: Sequence[int],
    streams: Sequence[Stream],
    count: int,
    room: int | None,
) -> Contexts | None:
    """Cut into ``count`` parts; None when their programs have no room after all."""
    try:
        pieces = _exact_split(network, schedule, list(places), count, room)
    except DoesNotFit:
        if room is None:
            raise
        return None
    layouts = [_streams_of(context, pieces, streams) for context in range(count)]
    programs = [
        build_program(part.model.SerializeToString(deterministic=True), layout)
        for part, layout in zip(pieces.parts, layouts, strict=True)
    ]
    if room is not None and max(map(len, programs)) > room:
        return None
    for program in programs:
        config_pieces(len(program))
    plans = tuple(ContextPlan(*pair) for pair in zip(programs, layouts, strict=True))
    return Contexts(plans, _table(plans, pieces))


def _exact_split(network: str, schedule: Schedule, places: list[int], count: int, room: int | None) -> Split:
    """Return a split that computes the same bits as the whole graph; cuts that change them are not used."""
    while True:
        cuts = choose(schedule, count, places, room)
        pieces = split(schedule, cuts, network)
        if is_exact(schedule.model, pieces):
            return pieces
        wrong = [cut for cut in cuts if not is_exact(schedule.model, split(schedule, (cut,), network))]
        if not wrong:
            raise ModelInvalid(detail=f"no split into {count} contexts gives the bits of the whole; use fewer")
        places = [place for place in places if place not in wrong]


# --- streams ----------------------------------------------------------------------------------------------------------


def _streams_of(context: int, pieces: Split, streams: Sequence[Stream]) -> tuple[Stream, ...]:
    part = pieces.parts[context]
    own = [stream for stream in streams if stream.name in {*part.inputs, *part.outputs}]
    return (*own, *_internal_streams(context, pieces.crossings, len(streams)))


def _numbers(context: int, crossings: Sequence[Crossing], first: int) -> dict[str, int]:
    """Return the stream index of every crossing that ends in ``context``: after those of the boundary."""
    here = [c.name for c in crossings if context == c.writer or context in c.readers]
    return {name: first + at for at, name in enumerate(here)}


def _internal_streams(context: int, crossings: Sequence[Crossing], first: int) -> list[Stream]:
    numbers = _numbers(context, crossings, first)
    made = []
    for crossing in crossings:
        if crossing.name not in numbers:
            continue
        is_input = context != crossing.writer
        ends = (crossing.writer,) if is_input else crossing.readers
        peers = tuple((end, _numbers(end, crossings, first)[crossing.name]) for end in ends)
        made.append(replace(internal_stream(crossing, numbers[crossing.name], is_input=is_input), peers=peers))
    return made


def internal_stream(crossing: Crossing, index: int, *, is_input: bool) -> Stream:
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


def _table(plans: Sequence[ContextPlan], pieces: Split) -> tuple[Mapping[str, Any], ...]:
    """Return what the report says about each context. Bytes are those of one frame."""
    rows = []
    for plan, part in zip(plans, pieces.parts, strict=True):
        inner = [stream for stream in plan.streams if stream.peers]
        rows.append(
            {
                "nodes": len(part.model.graph.node),
                "program_bytes": len(plan.program),
                "inputs": list(part.inputs),
                "outputs": list(part.outputs),
                "reads": {s.original_name: s.transfer_bytes for s in inner if s.is_input},
                "writes": {s.original_name: s.transfer_bytes for s in inner if not s.is_input},
            }
        )
    return tuple(rows)
