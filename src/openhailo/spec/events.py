"""Device-to-host notifications (facts: control-protocol.md 9; all native little endian, packed).

An id above 13 must never be sent: the official library indexes past its table at 14 (control-protocol.md 9.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .enums import EventId
from .layout import Struct, sequential

__all__ = ["EVENTS", "EVENT_HEADER", "Event", "EventId", "EventRules"]


@dataclass(frozen=True)
class Event:
    """One notification: its payload after the header, and the parameter count that the header must carry."""

    id: int
    name: str
    payload: Struct
    parameter_count: int
    source: str = ""


@dataclass(frozen=True)
class EventRules:
    """Limits of a notification (control-protocol.md 9.1, 9.4)."""

    host_accepts_bytes: int = 48
    red_threshold_c: int = 120
    red_hysteresis_c: int = 116
    orange_threshold_c: int = 104
    orange_hysteresis_c: int = 99


EVENT_HEADER: Struct = sequential(
    "d2h_event_header",
    "control-protocol.md 9.2",
    ("version", "le32"),
    ("sequence", "le32"),
    ("priority", "le32"),
    ("module_id", "le32"),
    ("event_id", "le32"),
    ("parameter_count", "le32"),
    ("payload_length", "le32"),
)

_Member = tuple[str, str | Struct]
_TEMPERATURES: tuple[_Member, ...] = (("ts0_temperature", "f32"), ("ts1_temperature", "f32"))
_POSITION: tuple[_Member, ...] = (
    ("application_index", "u8"),
    ("batch_index", "le16"),
    ("context_index", "le16"),
    ("action_index", "le16"),
)


def _event(kind: EventId, *members: _Member) -> Event:
    source = f"control-protocol.md 9.3 ({kind.value})"
    return Event(kind.value, kind.name, sequential(kind.name.lower(), source, *members), len(members), source)


_ALL = (
    _event(EventId.ETHERNET_SERVICE_RX_ERROR, ("error", "le32"), ("queue_number", "le32"), ("rx_errors_count", "le32")),
    _event(
        EventId.D2H_HOST_INFO,
        ("connection_status", "le32"),
        ("connection_type", "le32"),
        ("vdma_is_active", "le32"),
        ("host_port", "le32"),
        ("host_ip_addr", "le32"),
    ),
    _event(
        EventId.HEALTH_MONITOR_TEMPERATURE_ALARM,
        ("temperature_zone", "le32"),
        ("alarm_ts_id", "le32"),
        *_TEMPERATURES,
    ),
    _event(EventId.HEALTH_MONITOR_CLOSED_STREAMS, *_TEMPERATURES),
    # The header of this one counts four parameters although three are there (control-protocol.md 9.3).
    Event(
        EventId.HEALTH_MONITOR_OVERCURRENT_PROTECTION_ALERT.value,
        EventId.HEALTH_MONITOR_OVERCURRENT_PROTECTION_ALERT.name,
        sequential(
            "health_monitor_overcurrent_protection_alert",
            "control-protocol.md 9.3 (4)",
            ("overcurrent_zone", "le32"),
            ("exceeded_alert_threshold", "f32"),
            ("is_last_overcurrent_violation_reached", "u8"),
        ),
        4,
        "control-protocol.md 9.3 (4)",
    ),
    _event(EventId.HEALTH_MONITOR_LCU_ECC_CORRECTABLE, ("cluster_bitmap", "le16")),
    _event(EventId.HEALTH_MONITOR_LCU_ECC_UNCORRECTABLE, ("cluster_bitmap", "le16")),
    _event(EventId.HEALTH_MONITOR_CPU_ECC_ERROR, ("memory_bitmap", "le32")),
    _event(EventId.HEALTH_MONITOR_CPU_ECC_FATAL, ("memory_bitmap", "le32")),
    _event(EventId.CONTEXT_SWITCH_BREAKPOINT_REACHED, *_POSITION),
    _event(EventId.HEALTH_MONITOR_CLOCK_CHANGED, ("previous_clock", "le32"), ("current_clock", "le32")),
    _event(EventId.HW_INFER_MANAGER_INFER_DONE, ("infer_cycles", "le32")),
    _event(EventId.CONTEXT_SWITCH_RUN_TIME_ERROR, ("exit_status", "le32"), *_POSITION),
    _event(EventId.START_UPDATE_CACHE_OFFSET, ("cache_id_bitmask", "le64")),
)

EVENTS: Mapping[int, Event] = {event.id: event for event in _ALL}
