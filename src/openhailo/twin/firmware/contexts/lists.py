"""Action lists: parsed once, never trusted (context-switch.md 4, 8, 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openhailo.spec.actions import Action
    from openhailo.spec.chip import ChipSpec

_UNKNOWN = "CONTEXT_SWITCH_STATUS_READ_INVALID_ACTION_TYPE"
_CUT = "CONTEXT_SWTICH_STATUS_MISALIGNMENT_ERROR_WHILE_READING_ACTIONS"
_BAD_HEADER = "CONTEXT_SWITCH_STATUS_REPEATED_ACTION_INVALID_HEADER"
_BAD_SUB = "CONTEXT_SWITCH_STATUS_REPEATED_ACTION_INVALID_SUBACTION_TYPE"
_BAD_COUNT = "CONTEXT_SWITCH_STATUS_REPEATED_ACTION_INVALID_ACTION_COUNT"
REPEATED = "REPEATED_ACTION"


class ListFault(Exception):
    """A list that cannot be parsed: the status, and the number of the action at fault."""

    def __init__(self, status: str, action_index: int) -> None:
        self.status, self.action_index = status, action_index
        super().__init__(f"{status} at action {action_index}")


@dataclass(frozen=True, slots=True)
class Step:
    """One action to execute.

    ``index`` counts the actions of the list; the subs of a repeated block share the block's. ``offset`` is where the
    action's header starts in the list, ``sub`` the place inside a block (-1: a plain action).
    """

    name: str
    fields: Mapping[str, Any]
    index: int
    offset: int
    sub: int = -1


def parse_list(spec: ChipSpec, data: bytes | bytearray) -> list[Step]:
    """Parse the reassembled bytes of one context. Raises `ListFault`.

    Every action takes at least its header, every sub at least a byte, so work and memory are bounded by the size.
    """
    steps: list[Step] = []
    at = index = 0
    while at < len(data):
        action = _action_at(spec, data, at, index)
        body = at + spec.action_header.size
        if action.name == REPEATED:
            at = _parse_block(spec, data, at, index, steps)
        else:
            at = body + action.payload.size
            if at > len(data):
                raise ListFault(_CUT, index)
            steps.append(Step(action.name, action.payload.unpack(data, body), index, body - spec.action_header.size))
        index += 1
    return steps


def _action_at(spec: ChipSpec, data: bytes | bytearray, at: int, index: int) -> Action:
    if at + spec.action_header.size > len(data):
        raise ListFault(_CUT, index)
    action = spec.actions.get(spec.action_header.unpack(data, at)["action_type"])
    if action is None:
        raise ListFault(_UNKNOWN, index)
    return action


def _parse_block(spec: ChipSpec, data: bytes | bytearray, at: int, index: int, steps: list[Step]) -> int:
    """Append the subs of the repeated block at ``at``; return where the next action starts."""
    body = at + spec.action_header.size
    if body + spec.repeated_header.size > len(data):
        raise ListFault(_BAD_HEADER, index)
    header = spec.repeated_header.unpack(data, body)
    sub = spec.actions.get(header["sub_action_type"])
    if sub is None or not sub.repeatable or sub.payload.size == 0:
        raise ListFault(_BAD_SUB, index)
    if header["count"] == 0:
        raise ListFault(_BAD_COUNT, index)
    first = body + spec.repeated_header.size
    end = first + int(header["count"]) * sub.payload.size
    if end > len(data):
        raise ListFault(_CUT, index)
    payloads = (sub.payload.unpack(data, where) for where in range(first, end, sub.payload.size))
    steps.extend(Step(sub.name, fields, index, at, n) for n, fields in enumerate(payloads))
    return end
