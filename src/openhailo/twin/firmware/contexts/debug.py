"""Breakpoints, HALT and action time stamps: opcodes 36, 52, 53, 59 (context-switch.md 20)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from openhailo.twin.firmware.parts import Parts
from openhailo.twin.firmware.refusal import Refused

from .lists import Step
from .store import DYNAMIC

if TYPE_CHECKING:
    from .run import Run
    from .store import Context

CLEARED, WAITING, REACHED = range(3)
SET, CONTINUE, CLEAR = range(3)
#: GUESS: breakpoint ids are 8 bits in the API; the number that silicon has is not public.
MAX_BREAKPOINTS = 8
_CS = "CONTEXT_SWITCH_STATUS_"
_NO_BATCH = -1


@dataclass
class _Breakpoint:
    data: Mapping[str, Any]
    status: int = WAITING


class Debugger:
    """What stops an activation, and what times it. Settings outlive activations, as the firmware's do."""

    def __init__(self, parts: Parts, resume: Callable[[], None]) -> None:
        self._parts, self._resume = parts, resume
        self._breakpoints: dict[int, _Breakpoint] = {}
        self._halted = False
        self._stamp_batch = _NO_BATCH
        self._started_ns = 0

    # --- breakpoints ----------------------------------------------------------------------------------------------

    @property
    def is_armed(self) -> bool:
        """Tell whether any breakpoint waits to be reached."""
        return bool(self._breakpoints)

    def command(self, breakpoint_id: int, control: int, data: Mapping[str, Any]) -> None:
        """Opcode 52. Raises `Refused`."""
        if breakpoint_id >= MAX_BREAKPOINTS:
            raise Refused(_CS + "RECEIVED_INVALID_BREAKPOINT_ID")
        if control == SET:
            self._set(breakpoint_id, data)
        elif control == CONTINUE:
            self._continue(breakpoint_id)
        elif control == CLEAR:
            self._clear(breakpoint_id)
        else:
            raise Refused(_CS + "RECEIVED_INVALID_BREAKPOINT_CONTROL")

    def _set(self, breakpoint_id: int, data: Mapping[str, Any]) -> None:
        existing = self._breakpoints.get(breakpoint_id)
        if existing is not None and existing.status == WAITING:
            raise Refused(_CS + "USER_MUST_CLEAR_OR_REACH_BREAKPOINT_BEFORE_SETTING_NEW_ONE")
        self._breakpoints[breakpoint_id] = _Breakpoint(dict(data))

    def _continue(self, breakpoint_id: int) -> None:
        """Go on from a breakpoint, or from a HALT action, which uses the same control."""
        reached = self._breakpoints.get(breakpoint_id)
        if reached is not None and reached.status == REACHED:
            del self._breakpoints[breakpoint_id]
        elif not self._halted:
            raise Refused(_CS + "USER_CANT_CONTINUE_WHEN_BREAKPOINT_IS_CLEARED_OR_NOT_REACHED_YET")
        self._halted = False
        self._resume()

    def _clear(self, breakpoint_id: int) -> None:
        cleared = self._breakpoints.pop(breakpoint_id, None)
        if cleared is not None and cleared.status == REACHED:
            self._halted = False
            self._resume()

    def status(self, breakpoint_id: int) -> int:
        """Opcode 53. Raises `Refused`."""
        if breakpoint_id >= MAX_BREAKPOINTS:
            raise Refused(_CS + "RECEIVED_INVALID_BREAKPOINT_ID")
        found = self._breakpoints.get(breakpoint_id)
        return found.status if found is not None else CLEARED

    def check(self, position: tuple[int, int, int, int]) -> Callable[[], bool] | None:
        """Before an action: stop if a waiting breakpoint matches; event 9 says where."""
        for found in self._breakpoints.values():
            if found.status == WAITING and _matches(found.data, position):
                found.status = REACHED
                self._parts.notifier.breakpoint_reached(position)
                return self.halt()
        return None

    def halt(self) -> Callable[[], bool]:
        """Stop until CONTINUE."""
        self._halted = True
        return partial(self._is_released)

    def _is_released(self) -> bool:
        return not self._halted

    def begin_activation(self) -> None:
        """A new activation: nothing is halted, breakpoints wait again, time stamps count from now."""
        self._halted = False
        self._started_ns = self._parts.now_ns()
        for found in self._breakpoints.values():
            found.status = WAITING

    # --- time stamps ----------------------------------------------------------------------------------------------

    @property
    def is_stamping(self) -> bool:
        """Tell whether actions are being timed."""
        return self._stamp_batch != _NO_BATCH

    def configure_stamps(self, batch_index: int, is_enabled: bool) -> None:
        """Opcode 59: time the actions of the cycle ``batch_index``. Raises `Refused`."""
        if not is_enabled and not self.is_stamping:
            raise Refused(_CS + "USER_TIMESTAMP_CONFIGURATION_IS_DISABLED_ALREADY")
        self._stamp_batch = batch_index if is_enabled else _NO_BATCH

    def open_context(self, run: Run, context: Context) -> None:
        """A context begins; the list to be downloaded starts as the host sent it."""
        if run.batch_counter == 0:
            context.live[:] = context.sent

    def stamp(self, run: Run, context: Context, step: Step) -> None:
        """Write the time of the action just done into its header, and progress into a block's.

        GUESS: the unit; microseconds of the twin's time since the activation.
        """
        if context.kind == DYNAMIC and run.batch_counter != self._stamp_batch:
            return
        spec = self._parts.spec
        member = spec.action_header["time_stamp"]
        stamp = (self._parts.now_ns() - self._started_ns) // 1000 & 0xFFFFFFFF
        packed = spec.action_header.pack(time_stamp=stamp)
        span = slice(member.offset, member.offset + member.size_bytes)
        context.live[step.offset + span.start : step.offset + span.stop] = packed[span]
        if step.sub >= 0:
            context.live[step.offset + spec.action_header.size + spec.repeated_header["last_executed"].offset] = (
                step.sub
            )

    def snapshot(self) -> dict[str, Any]:
        """Return breakpoints as id -> (status, data), and the cycle that is timed."""
        return {
            "breakpoints": {number: (b.status, dict(b.data)) for number, b in self._breakpoints.items()},
            "is_halted": self._halted,
            "stamped_batch": self._stamp_batch,
        }


def _matches(data: Mapping[str, Any], position: tuple[int, int, int, int]) -> bool:
    names = ("application", "batch", "context", "action")
    return all(
        data[f"break_at_any_{name}_index"] or data[f"{name}_index"] == value
        for name, value in zip(names, position, strict=True)
    )
