"""Device-to-host notifications (control-protocol.md 9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

INFO, CRITICAL = 0, 1

#: Event name -> module index of the header (control-protocol.md 9.2 says that hosts do not look at it).
_MODULES = {
    "HEALTH_MONITOR": 22,
    "CONTEXT_SWITCH": 19,
    "HW_INFER_MANAGER": 55,
    "START_UPDATE_CACHE": 19,
    "ETHERNET_SERVICE": 2,
    "D2H_HOST": 20,
}


def build_event(spec: ChipSpec, name: str, *, sequence: int, priority: int = INFO, **fields: Any) -> bytes:
    """Serialise event ``name`` (control-protocol.md 9.3): 28 header bytes and its payload."""
    event = next(e for e in spec.events.values() if e.name == name)
    header = spec.event_header.pack(
        sequence=sequence,
        priority=priority,
        module_id=next(module for prefix, module in _MODULES.items() if name.startswith(prefix)),
        event_id=event.id,
        parameter_count=event.parameter_count,
        payload_length=event.payload.size,
    )
    return header + event.payload.pack(**fields)


class Notifier:
    """Numbers events and hands them to the chip."""

    def __init__(self, spec: ChipSpec, send: Callable[[bytes], None]) -> None:
        self._spec, self._send = spec, send
        self._sequence = 0

    def emit(self, name: str, *, priority: int = INFO, **fields: Any) -> None:
        """Send event ``name``."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._send(build_event(self._spec, name, sequence=self._sequence, priority=priority, **fields))

    def run_time_error(self, status: int, position: tuple[int, int, int, int]) -> None:
        """Event 12: an action failed at (application, batch, context, action); ``status`` must be a valid one."""
        app, batch, context, action = position
        self.emit(
            "CONTEXT_SWITCH_RUN_TIME_ERROR",
            priority=CRITICAL,
            exit_status=status,
            application_index=app & 0xFF,
            batch_index=batch & 0xFFFF,
            context_index=context & 0xFFFF,
            action_index=action & 0xFFFF,
        )

    def breakpoint_reached(self, position: tuple[int, int, int, int]) -> None:
        """Event 9: the breakpoint matched the action about to run."""
        app, batch, context, action = position
        self.emit(
            "CONTEXT_SWITCH_BREAKPOINT_REACHED",
            application_index=app & 0xFF,
            batch_index=batch & 0xFFFF,
            context_index=context & 0xFFFF,
            action_index=action & 0xFFFF,
        )
