"""Action lists as the firmware executed them: downloaded, taken apart, with the times of their actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openhailo.driver.control import FirmwareClient
from openhailo.errors import MalformedReply
from openhailo.runtime.configure.actions import CODEC, ActionCodec
from openhailo.spec.actions import ActionType
from openhailo.spec.enums import ContextType

#: What the host writes where the firmware puts a time (context-switch.md 4).
NO_TIME = 0xFFFFFFFF


@dataclass(frozen=True)
class ExecutedAction:
    """One action. ``time`` is the firmware's stamp, None where it made none; subs of a repeated block share it."""

    name: str
    fields: Mapping[str, Any]
    time: int | None


@dataclass(frozen=True)
class ContextActions:
    """The list of one context, in the order of execution; ``index`` counts dynamic contexts."""

    kind: ContextType
    index: int
    actions: tuple[ExecutedAction, ...]
    raw: bytes
    batch_counter: int
    idle_time: int

    @property
    def name(self) -> str:
        """As the vendor's tools call it: ``activation``, ``dynamic_0``, ..."""
        name = self.kind.name.lower()
        return f"{name}_{self.index}" if self.kind is ContextType.DYNAMIC else name


def parse_action_list(data: bytes, codec: ActionCodec = CODEC) -> tuple[ExecutedAction, ...]:
    """Take a list apart (context-switch.md 4, 8, 9). Raises `MalformedReply`; work is bounded by the size."""
    found: list[ExecutedAction] = []
    at = 0
    while at < len(data):
        header = codec.header.unpack(_piece(data, at, codec.header.size))
        stamp = header["time_stamp"]
        time = None if stamp == NO_TIME else stamp
        at += codec.header.size
        action = codec.actions.get(header["action_type"])
        if action is None:
            raise MalformedReply(what="action list", detail=f"action {header['action_type']} at {at} is not known")
        if action.id != ActionType.REPEATED_ACTION:
            found.append(
                ExecutedAction(action.name, action.payload.unpack(_piece(data, at, action.payload.size)), time)
            )
            at += action.payload.size
            continue
        block = codec.repeated_header.unpack(_piece(data, at, codec.repeated_header.size))
        at += codec.repeated_header.size
        sub = codec.actions.get(block["sub_action_type"])
        if sub is None or not sub.repeatable:
            raise MalformedReply(what="action list", detail=f"action {block['sub_action_type']} repeated at {at}")
        for _ in range(block["count"]):
            found.append(ExecutedAction(sub.name, sub.payload.unpack(_piece(data, at, sub.payload.size)), time))
            at += sub.payload.size
    return tuple(found)


def _piece(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise MalformedReply(what="action list", detail=f"{size} bytes at {at} of {len(data)}")
    return data[at : at + size]


def download(
    firmware: FirmwareClient, application: int, contexts: int, *, preliminary: bool
) -> Iterator[ContextActions]:
    """Fetch every list of ``application``: activation, preliminary if there is one, dynamic ones, batch switching."""
    wanted = [(ContextType.ACTIVATION, 0)]
    wanted += [(ContextType.PRELIMINARY, 0)] if preliminary else []
    wanted += [(ContextType.DYNAMIC, index) for index in range(contexts)]
    for kind, index in (*wanted, (ContextType.BATCH_SWITCHING, 0)):
        got = firmware.download_action_list(application, kind, index)
        yield ContextActions(kind, index, parse_action_list(got.data), got.data, got.batch_counter, got.idle_time)
