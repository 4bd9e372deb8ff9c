"""The function's one interrupt message (driver.md 1.1, 10.1, 10.2)."""

from __future__ import annotations

from collections.abc import Callable

from openhailo.twin.faults import Faults
from openhailo.twin.observe import Observers


class Msi:
    """Sends a message when the configuration space allows it: MSI on, bus mastering on, D0.

    Messages that cannot be sent are lost, as on the real bus; the status registers keep the state.
    """

    def __init__(self, *, may_send: Callable[[], bool], faults: Faults, observers: Observers) -> None:
        self._may_send, self._faults, self._observers = may_send, faults, observers
        self._sink: Callable[[], None] = lambda: None
        #: Messages sent and not yet taken by an in-process host.
        self.pending = 0

    def on_message(self, sink: Callable[[], None]) -> None:
        """Call ``sink()`` for each message sent."""
        self._sink = sink

    def send(self) -> None:
        """Send the message, if allowed."""
        faults = self._faults
        sent = self._may_send() and not faults.link_down and not faults.strikes("drop_interrupts")
        if self._observers.watched:
            self._observers.report("message", {"sent": sent})
        if sent:
            self.pending += 1
            self._sink()

    def take(self) -> bool:
        """Tell whether a message arrived since the last call."""
        arrived, self.pending = self.pending > 0, 0
        return arrived
