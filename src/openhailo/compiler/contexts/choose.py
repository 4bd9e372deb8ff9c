"""Where to cut: the fewest bytes from context to context, with parts of about the same weight."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from openhailo.errors import DoesNotFit
from openhailo.spec.chip import CHIP, ChipSpec

from .schedule import Schedule

#: Least share of a part, of what it would have if all were alike. The first that can be kept is kept.
EVENNESS: Final = (0.5, 0.25, 0.1, 0.0)


def candidates(schedule: Schedule, spec: ChipSpec = CHIP) -> list[int]:
    """Return the places before which the graph can be cut.

    What crosses must be codes of one byte, frame by frame, and no more tensors than there are channels and streams
    besides those of the network's own inputs and outputs (context-switch.md 12 and 22).
    """
    graph, rules = schedule.model.graph, spec.vdma
    inputs, outputs = len(graph.input), len(graph.output)
    inbound, outbound = rules.host_to_device_channels, rules.channels - rules.host_to_device_channels
    room = min(inbound - 1 - inputs, outbound - outputs, (spec.program.max_io - inputs - outputs) // 2)
    found = []
    for place in range(1, len(schedule.nodes)):
        crossing = schedule.crossing(place)
        if 0 < len(crossing) <= room and all(tensor.shape is not None for tensor in crossing):
            found.append(place)
    return found


def fewest(schedule: Schedule, places: Sequence[int], max_bytes: int) -> int | None:
    """Return how many parts of at most ``max_bytes`` of constants there must be; None when no cuts make them so small.

    Filling each part as far as it goes gives the least number.
    """
    sizes = (0, *accumulate(schedule.constant_bytes))
    count, first, last = 1, 0, 0
    for place in (*places, len(schedule.nodes)):
        if sizes[place] - sizes[first] > max_bytes:
            count, first = count + 1, last
        if sizes[place] - sizes[first] > max_bytes:
            return None
        last = place
    return count


def choose(schedule: Schedule, contexts: int, places: Sequence[int], max_bytes: int | None = None) -> tuple[int, ...]:
    """Return the ``contexts - 1`` places of ``places`` to cut at.

    Args:
        schedule: of the graph.
        contexts: parts to make, 2 or more.
        places: that can be cut at, ascending.
        max_bytes: most bytes of constants that a part may have.

    Raises:
        DoesNotFit: there are not so many places, or a part is larger in any case.
    """
    if contexts - 1 > len(places):
        raise DoesNotFit(resource="places where the graph can be cut", need=contexts - 1, have=len(places))
    sizes = (0, *accumulate(schedule.constant_bytes))
    weights = _weights(schedule)
    for evenness in EVENNESS:
        least = evenness * weights[-1] / contexts

        def heavy(first: int, end: int, least: float = least) -> bool:
            return weights[end] - weights[first] >= least

        def large(first: int, end: int) -> bool:
            return max_bytes is not None and sizes[end] - sizes[first] > max_bytes

        cuts = _cheapest(schedule, contexts, places, heavy, large)
        if cuts is not None:
            return cuts
    largest = max(schedule.constant_bytes)
    raise DoesNotFit(resource="bytes of a context", need=max(largest, (max_bytes or 0) + 1), have=max_bytes or 0)


def _weights(schedule: Schedule) -> tuple[float, ...]:
    """Return the weight of all nodes before each place: half constants, half number of nodes, 2 in total."""
    total, count = max(sum(schedule.constant_bytes), 1), len(schedule.nodes)
    return (0.0, *accumulate(size / total + 1 / count for size in schedule.constant_bytes))


Predicate = Callable[[int, int], bool]


def _cheapest(
    schedule: Schedule, contexts: int, places: Sequence[int], heavy: Predicate, large: Predicate
) -> tuple[int, ...] | None:
    """Return the cuts with the fewest bytes crossing, found part by part; None when no cuts are allowed.

    ``heavy`` and ``large`` tell of a part (first place, end) whether it may stand alone, and whether it is too large.
    """
    costs = [sum(tensor.size_bytes for tensor in schedule.crossing(place)) for place in places]
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for _ in range(contexts - 1):
        reached: dict[int, tuple[int, tuple[int, ...]]] = {}
        for first, (cost, cuts) in best.items():
            for at in range(bisect_right(places, first), len(places)):
                place, total = places[at], cost + costs[at]
                if large(first, place):
                    break
                if total < reached.get(place, (total + 1, ()))[0] and heavy(first, place):
                    reached[place] = (total, (*cuts, place))
        best = reached
    count = len(schedule.nodes)
    ends = [(cost, cuts) for first, (cost, cuts) in best.items() if heavy(first, count) and not large(first, count)]
    return min(ends)[1] if ends else None
