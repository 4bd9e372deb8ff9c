"""A device's message as an eventfd: waiting for it, and being woken meanwhile."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from contextlib import suppress


class MessageEvents:
    """The eventfd of the message, one to wake the waiter, and others that a backend watches."""

    def __init__(self) -> None:
        """Make the eventfds."""
        self.message = self._make()
        self._woken = -1
        self._poll = select.poll()
        self._watched: list[int] = []
        self._poll.register(self.message, select.POLLIN)
        self._woken = self.watch()

    def _make(self) -> int:
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def watch(self) -> int:
        """Make one more eventfd that ends a wait, and return it."""
        fd = self._make()
        self._watched.append(fd)
        self._poll.register(fd, select.POLLIN)
        return fd

    def wait(self, timeout_s: float) -> set[int]:
        """Wait until something arrives, one thread at a time; return which eventfds were set, and clear them."""
        ready = {fd for fd, _ in self._poll.poll(max(0.0, timeout_s) * 1000)}
        for fd in ready:
            with suppress(BlockingIOError):  # another waiter took it
                os.eventfd_read(fd)
        return ready

    def peek(self, fds: Iterable[int]) -> set[int]:
        """Return which of ``fds`` are set, without waiting and without clearing them."""
        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll(0)}

    def wake(self) -> None:
        """Make a concurrent or the next `wait` return early."""
        if self._woken >= 0:
            os.eventfd_write(self._woken, 1)

    def close(self) -> None:
        """Close the eventfds. Idempotent."""
        if self._woken >= 0:
            for fd in (self.message, *self._watched):
                os.close(fd)
            self.message = self._woken = -1
            self._watched.clear()
