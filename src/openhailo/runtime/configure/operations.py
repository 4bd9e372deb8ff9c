"""Steps of a context: HEF operations translated, with the parts that need channels left open (context-switch.md 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openhailo.errors import InvalidHef
from openhailo.runtime.configure.actions import BuiltAction

Buffer = bytes | memoryview


@dataclass(frozen=True)
class Separator:
    """A trigger that waits for nothing: it only stands between actions."""


@dataclass(frozen=True)
class ConfigFetch:
    """One group of configuration bytes of one config stream, written and fetched together."""

    stream: int
    pieces: tuple[Buffer, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the group."""
        return sum(len(piece) for piece in self.pieces)


@dataclass(frozen=True)
class AllowInput:
    """Let the input layer of this stream flow."""

    stream: int


@dataclass(frozen=True)
class WaitOutput:
    """Wait until a batch of the output layer of this stream was written (``idle``: until its channel is idle)."""

    stream: int
    idle: bool = False


Step = BuiltAction | ConfigFetch | AllowInput | WaitOutput | Separator


@dataclass(frozen=True)
class Operations:
    """The steps of one context around its single group of input releases (context-switch.md 10.4)."""

    before: tuple[Step, ...] = ()
    inputs: tuple[AllowInput, ...] = ()
    after: tuple[Step, ...] = ()

    @property
    def config_streams(self) -> list[int]:
        """Config streams in use, ascending."""
        return sorted({fetch.stream for fetch in self.all_fetches()})

    def fetches(self, stream: int) -> list[ConfigFetch]:
        """The groups of one config stream, in order."""
        return [fetch for fetch in self.all_fetches() if fetch.stream == stream]

    def all_fetches(self) -> list[ConfigFetch]:
        """The groups of every config stream, in order."""
        return [step for step in (*self.before, *self.after) if isinstance(step, ConfigFetch)]


class ConfigGroup:
    """Consecutive configuration writes of one operation, collected per config stream.

    ``by_reference`` is the kind of write of HEF header versions above 0. The order in which the vendor fetches several
    streams of one group was seen in recordings only: ascending for version 0, else last used first.
    """

    def __init__(self, *, by_reference: bool) -> None:
        self._by_reference = by_reference
        self._streams: dict[int, list[Buffer]] = {}

    def add(self, stream: int, piece: Buffer) -> None:
        """Append one write."""
        self._streams.setdefault(stream, []).append(piece)

    def take(self) -> list[ConfigFetch]:
        """Return what was collected, in fetch order, and start again."""
        order = list(reversed(self._streams)) if self._by_reference else sorted(self._streams)
        taken = [ConfigFetch(stream, tuple(self._streams[stream])) for stream in order]
        self._streams.clear()
        return taken


def split_inputs(steps: Sequence[Step], where: str, *, required: bool) -> Operations:
    """Find the one contiguous group of input releases (context-switch.md 10.4). Raises `InvalidHef`."""
    places = [index for index, step in enumerate(steps) if isinstance(step, AllowInput)]
    if not places:
        if required:
            raise InvalidHef(rule="input dataflow", where=where, detail="no allow_input_dataflow action")
        return Operations(before=tuple(steps))
    first, last = places[0], places[-1]
    if last - first + 1 != len(places):
        raise InvalidHef(rule="input dataflow", where=where, detail="more than one group of allow_input_dataflow")
    group = tuple(step for step in steps[first : last + 1] if isinstance(step, AllowInput))
    return Operations(tuple(steps[:first]), group, tuple(steps[last + 1 :]))
