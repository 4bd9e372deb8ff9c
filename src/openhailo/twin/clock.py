"""The twin's time: virtual nanoseconds, moved by whoever uses the chip.

Both clocks let a waiting host jump to the next event. They differ in what an *idle* wait does, and in whether real time
counts: `SteppedClock` is fully deterministic and never blocks; `WallClock` follows real time and blocks.
"""

from __future__ import annotations

import time
from typing import Protocol

#: What one register access costs on the stepped clock.
ACCESS_NS = 1_000


class Clock(Protocol):
    """Virtual time in nanoseconds since the twin was made."""

    #: An idle wait blocks the calling thread in real time (another thread may bring work).
    blocks: bool
    #: A wait may jump to the next event instead of waiting for it.
    jumps: bool

    def now_ns(self) -> int:
        """Return the present."""
        ...

    def tick(self) -> int:
        """A register access took place; return the present after it."""
        ...

    def advance_to(self, due_ns: int) -> None:
        """Move forward to ``due_ns``; never backward."""
        ...


class SteppedClock:
    """Time moves only when told: 1 us per register access, and by waits and steps."""

    blocks = False
    jumps = True

    def __init__(self, start_ns: int = 0) -> None:
        self._now = start_ns

    def now_ns(self) -> int:
        """Return the present."""
        return self._now

    def tick(self) -> int:
        """Add the cost of one register access."""
        self._now += ACCESS_NS
        return self._now

    def advance_to(self, due_ns: int) -> None:
        """Move forward to ``due_ns``."""
        self._now = max(self._now, due_ns)


class WallClock:
    """Real time, plus the waits that were skipped (``jumps``); ``jumps=False`` sits them out."""

    blocks = True

    def __init__(self, *, jumps: bool = True) -> None:
        self.jumps = jumps
        self._zero = time.monotonic_ns()
        self._skipped = 0

    def now_ns(self) -> int:
        """Return the present."""
        return time.monotonic_ns() - self._zero + self._skipped

    def tick(self) -> int:
        """Return the present: an access costs what it really costs."""
        return time.monotonic_ns() - self._zero + self._skipped

    def advance_to(self, due_ns: int) -> None:
        """Skip forward to ``due_ns``."""
        self._skipped += max(0, due_ns - self.now_ns())
