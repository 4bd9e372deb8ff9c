"""From a device graph to the contexts of a HEF: how many, cut where, and what travels between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import onnx

from openhailo._units import align_up
from openhailo.compiler.allocate import Stream, config_pieces, program_limit
from openhailo.compiler.emit import ContextPlan
from openhailo.errors import DoesNotFit, ModelInvalid
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.limits import MAX_CONTEXTS

from .choose import candidates, choose, fewest
from .schedule import Schedule, make_schedule
from .split import Crossing, Part, Split, is_exact, split
from .stages import Staged, one_stage, stage
from .streams import code_stream

#: Every network group has three contexts besides the dynamic ones (context-switch.md 22).
MOST_CONTEXTS: Final = MAX_CONTEXTS - 3
#: How many contexts more than the constants alone need are tried: graphs and records take room as well.
SPARE_CONTEXTS: Final = 8


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
    ddr_above: int | None = None,
    spec: ChipSpec = CHIP,
) -> Contexts | None:
    """Split ``model`` and lay out the streams of every context; None where one ordinary context is all there is.

    Args:
        network: name of the network.
        model: the device graph, whose ends are named as ``streams``.
        streams: of the boundary.
        contexts: how many; 0 takes as few as have room.
        context_bytes: room for the program of one context; by default what a list of descriptors can bring.
        ddr_above: most bytes of activations that stay on the chip where most are alive; more wait in host memory.
        spec: the chip.

    Raises:
        DoesNotFit: no cut makes parts that are small enough, or there are not so many places to cut at.
    """
    if not 0 <= contexts <= MOST_CONTEXTS:
        raise DoesNotFit(resource="contexts", need=contexts, have=MOST_CONTEXTS)
    room = program_limit(spec) if context_bytes is None else min(context_bytes, program_limit(spec))
    buffers = Buffers(network, ddr_above)
    if contexts == 1 or (not contexts and _program_bytes(model, streams, spec) <= room):
        return _one_context(buffers, model, streams)
    schedule = make_schedule(model)
    places = candidates(schedule, spec)
    limit = room if not contexts or context_bytes else None
    for count in (contexts,) if contexts else _counts(schedule, places, room):
        plans = _planned(buffers, schedule, places, streams, count, limit)
        if plans is not None:
            return plans
    raise DoesNotFit(resource="bytes of a context", need=max(schedule.constant_bytes), have=room)


def _counts(schedule: Schedule, places: Sequence[int], room: int) -> range:
    """Return the numbers of contexts to try: from the least that constants need, to a few more for all the rest."""
    least = max(fewest(schedule, places, room) or MOST_CONTEXTS, 2)
    return range(least, min(least + SPARE_CONTEXTS, len(places) + 1, MOST_CONTEXTS) + 1)


def _one_context(buffers: Buffers, model: onnx.ModelProto, streams: Sequence[Stream]) -> Contexts | None:
    """Lay out the only context; None without buffers, since its program is then loaded once per activation."""
    whole = buffers.stage(model, streams, 0) if buffers.above is not None else None
    if whole is None or not whole.buffered:
        return None
    ends = tuple(v.name for v in model.graph.input), tuple(v.name for v in model.graph.output)
    table = _table((whole,), Split((Part(model, *ends),), ()))
    return Contexts((ContextPlan(whole.program, whole.streams),), table)


@dataclass(frozen=True)
class Buffers:
    """Which activations wait in host memory: none, or those above a number of bytes."""

    network: str
    above: int | None

    def stage(self, model: onnx.ModelProto, streams: Sequence[Stream], context: int) -> Staged:
        """Lay out one context."""
        if self.above is None:
            return one_stage(model, streams)
        return stage(model, streams, context=context, network=self.network, most_bytes=self.above)


def _program_bytes(model: onnx.ModelProto, streams: Sequence[Stream], spec: ChipSpec) -> int:
    """Return the bytes of the program that runs ``model`` in one context."""
    size = spec.program_header.size + len(streams) * spec.io_record.size + model.ByteSize()
    return align_up(size, spec.program.alignment)


def _planned(
    buffers: Buffers,
    schedule: Schedule,
    places: Sequence[int],
    streams: Sequence[Stream],
    count: int,
    room: int | None,
) -> Contexts | None:
    """Cut into ``count`` parts; None when their programs have no room after all."""
    try:
        pieces = _exact_split(buffers.network, schedule, list(places), count, room)
    except DoesNotFit:
        if room is None:
            raise
        return None
    staged = [
        buffers.stage(part.model, _streams_of(context, pieces, streams), context)
        for context, part in enumerate(pieces.parts)
    ]
    if room is not None and max(len(context.program) for context in staged) > room:
        return None
    for context in staged:
        config_pieces(len(context.program))
    plans = tuple(ContextPlan(context.program, context.streams) for context in staged)
    return Contexts(plans, _table(staged, pieces))


def _exact_split(network: str, schedule: Schedule, places: list[int], count: int, room: int | None) -> Split:
    """Return a split that computes the same bits as the whole graph; cuts that change them are not used."""
    prefix = f"{network}/inter_context"
    while True:
        cuts = choose(schedule, count, places, room)
        pieces = split(schedule, cuts, prefix)
        if is_exact(schedule.model, pieces):
            return pieces
        wrong = [cut for cut in cuts if not is_exact(schedule.model, split(schedule, (cut,), prefix))]
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
        made.append(replace(code_stream(crossing, numbers[crossing.name], is_input=is_input), peers=peers))
    return made


def _table(staged: Sequence[Staged], pieces: Split) -> tuple[Mapping[str, Any], ...]:
    """Return what the report says about each context. Bytes are those of one frame."""
    rows = []
    for context, part in zip(staged, pieces.parts, strict=True):
        inner = [stream for stream in context.streams if stream.peers and not stream.ddr_rows]
        rows.append(
            {
                "nodes": len(part.model.graph.node),
                "program_bytes": len(context.program),
                "inputs": list(part.inputs),
                "outputs": list(part.outputs),
                "reads": {s.original_name: s.transfer_bytes for s in inner if s.is_input},
                "writes": {s.original_name: s.transfer_bytes for s in inner if not s.is_input},
                "buffers": {c.tensor.name: c.tensor.size_bytes for c in context.buffered},
            }
        )
    return tuple(rows)
