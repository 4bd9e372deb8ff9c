"""What every module of the firmware is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .config import FirmwareConfig
from .logs import FirmwareLog
from .notifications import Notifier

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec
    from openhailo.twin.board import Board


class NoAnswer(Exception):
    """A control that is deliberately not answered (control-protocol.md 7.6)."""


#: Parameter values in, response values out; None is an empty success. Raises `refusal.Refused` or `NoAnswer`.
Handler = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


class Keeper(Protocol):
    """A family of controls that keeps something between two of them."""

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return what is kept, as plain values that stay as they are."""
        ...


@dataclass
class Parts:
    """The chip, the declaration and the shared services."""

    board: Board
    spec: ChipSpec
    config: FirmwareConfig
    log: FirmwareLog
    notifier: Notifier

    def status(self, name: str) -> int:
        """Return the status word called ``name``; an empty name is success."""
        return int(self.spec.statuses[name]) if name else 0

    def now_ns(self) -> int:
        """Return the twin's time."""
        return self.board.clock.now_ns()
