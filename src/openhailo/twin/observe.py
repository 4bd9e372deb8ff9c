"""What the twin reports to those who watch: `openhailo trace`, wire tests.

Nobody watching costs one truth test per access; fields are only put together when somebody does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class ChipEvent(NamedTuple):
    """One thing that happened.

    Kinds made by the hardware, and their fields:

    ========================  ======================================================================================
    read, write               bar, offset, width, value (host accesses)
    config_read, config_write offset, width, value (configuration space)
    doorbell                  bits
    control                   cpu, request, digest_ok
    response                  response, late_ns, dropped
    interrupt                 bits (set in the status register), channel (or None)
    message                   sent (False: MSI off, masked bus, dropped by a fault)
    descriptors               channel, first, count, sizes, controls, addresses (as fetched from host memory)
    transfer                  channel, size_bytes, processed
    channel                   channel, action (open, close, pause, resume, abort, error), and details
    notification              message
    boot                      stage, detail
    reset                     what
    ========================  ======================================================================================
    """

    time_ns: int
    kind: str
    fields: Mapping[str, Any]


Observer = Callable[[ChipEvent], None]


class Observers:
    """The watchers of one chip; false when there are none."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._callbacks: list[Observer] = []
        self.watched = False

    def add(self, callback: Observer) -> Callable[[], None]:
        """Start to report to ``callback``; returns the function that ends it."""
        self._callbacks.append(callback)
        self.watched = True

        def remove() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
            self.watched = bool(self._callbacks)

        return remove

    def report(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Hand an event to everyone."""
        event = ChipEvent(self._now_ns(), kind, fields)
        for callback in tuple(self._callbacks):
            callback(event)
