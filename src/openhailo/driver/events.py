"""Notifications as values (control-protocol.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openhailo.errors import MalformedReply
from openhailo.spec.chip import ChipSpec

PRIORITY_INFO, PRIORITY_CRITICAL = 0, 1


@dataclass(frozen=True)
class Notification:
    """One message of the firmware. ``values`` holds the payload's members by name, floats and integers."""

    event_id: int
    name: str
    sequence: int
    priority: int
    values: Mapping[str, int | float]


def parse_notification(spec: ChipSpec, payload: bytes) -> Notification:
    """Parse what `ChipLink.read_notification` returned. Raises `MalformedReply`.

    The checks are the official library's (control-protocol.md 9.1-9.3): known id, parameter count, room for the payload
    and, where it is checked there too, its length.
    """
    header_size = spec.event_header.size
    if len(payload) < header_size:
        raise _bad(f"{len(payload)} bytes, the header alone has {header_size}")
    if len(payload) > spec.event_rules.host_accepts_bytes:
        raise _bad(f"{len(payload)} bytes, at most {spec.event_rules.host_accepts_bytes} are accepted")
    header = spec.event_header.unpack(payload)
    event = spec.events.get(header["event_id"])
    if event is None:
        raise _bad(f"there is no event {header['event_id']}")
    if header["parameter_count"] != event.parameter_count:
        raise _bad(f"{event.name} with {header['parameter_count']} parameters, {event.parameter_count} expected")
    if len(payload) - header_size < event.payload.size:
        raise _bad(f"{event.name} with {len(payload) - header_size} payload bytes, {event.payload.size} expected")
    values = event.payload.unpack(payload, header_size)
    return Notification(event.id, event.name, header["sequence"], header["priority"], values)


def _bad(detail: str) -> MalformedReply:
    return MalformedReply(what="notification", detail=detail)
