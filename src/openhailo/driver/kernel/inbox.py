"""Where the threads that block in the driver leave what they learned."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from openhailo.driver.link import ChannelError, ChannelEvent
from openhailo.errors import OpenHailoError

#: Notifications kept for a reader; the oldest are dropped beyond it.
QUEUE_DEPTH = 256

_T = TypeVar("_T")


Rest = Callable[[threading.Condition, float], object]


def rest_in_real_time(condition: threading.Condition, seconds: float) -> None:
    """Wait on ``condition`` for at most ``seconds``."""
    condition.wait(seconds)


class Inbox:
    """Events of channels, notifications, and an error that ended a thread; waits have deadlines and can be woken.

    ``rest(condition, seconds)`` lets at most so much time of ``clock`` pass; it may return early, and does when the
    condition, which is held, is notified.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, rest: Rest = rest_in_real_time) -> None:
        self.condition = threading.Condition()
        self._clock, self._rest = clock, rest
        self._wakes = 0
        self._events: dict[int, tuple[int, ChannelError]] = {}
        self._notifications: deque[bytes] = deque(maxlen=QUEUE_DEPTH)
        self._failure: OpenHailoError | None = None
        #: Times that the driver told of channels, and notifications lost because nobody read.
        self.interrupts = self.dropped = 0
        self.closed = False

    def post(self, events: list[ChannelEvent]) -> None:
        """Add what happened on channels."""
        with self.condition:
            self.interrupts += 1
            for channel, completed, error in events:
                before, seen = self._events.get(channel, (0, ChannelError.NONE))
                self._events[channel] = (before + completed, error or seen)
            if events:
                self.condition.notify_all()

    def notify(self, payload: bytes) -> None:
        """Add a notification."""
        with self.condition:
            self.dropped += len(self._notifications) == QUEUE_DEPTH
            self._notifications.append(payload)
            self.condition.notify_all()

    def fail(self, error: OpenHailoError) -> None:
        """Have waits for channels raise ``error`` from now on."""
        with self.condition:
            self._failure = self._failure or error
            self.condition.notify_all()

    def forget(self, bitmap: int) -> None:
        """Drop events of the channels of ``bitmap``."""
        with self.condition:
            for channel in [c for c in self._events if bitmap >> c & 1]:
                del self._events[channel]

    def wake(self) -> None:
        """Make waits return early."""
        with self.condition:
            self._wakes += 1
            self.condition.notify_all()

    def close(self) -> None:
        """End every wait, now and later."""
        with self.condition:
            self.closed = True
            self.condition.notify_all()

    def wait_channels(self, bitmap: int, timeout_s: float) -> list[ChannelEvent]:
        """Return and forget what happened on ``bitmap``; empty after ``timeout_s`` or `wake`."""
        return self._wait(lambda: self._take(bitmap), timeout_s)

    def wait_notification(self, timeout_s: float) -> bytes | None:
        """Return the oldest notification; None after ``timeout_s`` or `wake`."""
        return self._wait(lambda: self._notifications.popleft() if self._notifications else None, timeout_s)

    def _wait(self, take: Callable[[], _T], timeout_s: float) -> _T:
        with self.condition:
            wakes, deadline = self._wakes, self._clock() + timeout_s
            while True:
                taken = take()
                if taken or self.closed or self._wakes != wakes:
                    return taken
                remaining = deadline - self._clock()
                if remaining <= 0:
                    return taken
                self._rest(self.condition, remaining)

    def _take(self, bitmap: int) -> list[ChannelEvent]:
        hit = [channel for channel in self._events if bitmap >> channel & 1]
        if not hit and self._failure is not None:
            raise self._failure
        return [ChannelEvent(channel, *self._events.pop(channel)) for channel in hit]
