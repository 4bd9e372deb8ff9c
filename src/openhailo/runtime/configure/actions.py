"""Action lists as bytes: framing, repeated blocks, chunks (context-switch.md 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from openhailo.errors import InvalidHef
from openhailo.spec.actions import ACTION_HEADER, ACTIONS, REPEATED_HEADER, Action, ActionRules, ActionType
from openhailo.spec.layout import Struct
from openhailo.spec.limits import MAX_CHUNK_BYTES


class BuiltAction(NamedTuple):
    """An action type and its payload bytes."""

    type: int
    payload: bytes


@dataclass(frozen=True)
class ActionCodec:
    """Builds actions after one copy of the declarations."""

    actions: Mapping[int, Action]
    header: Struct
    repeated_header: Struct
    rules: ActionRules

    def build(self, kind: ActionType, **fields: Any) -> BuiltAction:
        """Build one action. Raises `InvalidHef` when a value of the file does not fit its field."""
        try:
            return BuiltAction(int(kind), self.actions[kind].payload.pack(**fields))
        except ValueError as error:
            raise InvalidHef(rule="action field", where=kind.name, detail=str(error)) from error

    def plain(self, action: BuiltAction) -> bytes:
        """Frame one action."""
        return self.header.pack(action_type=action.type, time_stamp=self.rules.host_time_stamp) + action.payload

    def buffers(self, actions: Iterable[BuiltAction], *, fold: bool = True) -> list[bytes]:
        """Frame a list as pieces that a chunk border may separate, folding runs of one repeatable type.

        A repeated header is one piece and every sub-payload another, as in the vendor's builder (context-switch.md 3).
        """
        pieces: list[bytes] = []
        for kind, run in groupby(actions, key=lambda action: action.type):
            same = list(run)
            if fold and self.actions[kind].repeatable:
                for first in range(0, len(same), self.rules.max_repeated):
                    pieces += self._block(same[first : first + self.rules.max_repeated])
            else:
                pieces += map(self.plain, same)
        return pieces

    def _block(self, same: Sequence[BuiltAction]) -> list[bytes]:
        if len(same) < self.rules.min_repeated:
            return [self.plain(action) for action in same]
        kind = ActionType.REPEATED_ACTION
        head = self.header.pack(action_type=int(kind), time_stamp=self.rules.host_time_stamp)
        head += self.repeated_header.pack(count=len(same), last_executed=0, sub_action_type=same[0].type)
        return [head, *(action.payload for action in same)]


CODEC = ActionCodec(ACTIONS, ACTION_HEADER, REPEATED_HEADER, ActionRules())


def chunks(pieces: Iterable[bytes], limit: int = MAX_CHUNK_BYTES) -> list[bytes]:
    """Join pieces into chunks of at most ``limit`` bytes without splitting a piece; no pieces, no chunks."""
    out: list[bytearray] = []
    for piece in pieces:
        if not out or len(out[-1]) + len(piece) > limit:
            out.append(bytearray())
        out[-1] += piece
    return [bytes(chunk) for chunk in out]
