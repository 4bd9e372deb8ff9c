"""The event loop of a twin: due actions, work done outside the lock, and hosts that wait.

There are no threads in here. Whoever touches the chip runs what became due: a register access, a wait for interrupts,
or a test that steps.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .board import ChannelFault
from .clock import Clock

Action = Callable[[], None]
#: A run that handles more events than this is a self-renewing timer, not a chip that becomes idle.
MAX_EVENTS = 5_000_000


class EventLoop:
    """Events in order of due time, then of arrival. Every method but `wake`, waits and runs needs ``lock`` held."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._events: list[tuple[int, int, int, Action]] = []
        self._count = 0
        self._epoch = 0
        self._offloaded: deque[tuple[int, Callable[[], Any], Callable[[Any], None]]] = deque()
        self._computing = False
        self._running = False
        self._waiting = 0
        self._quiet = 0
        self._deadlines: list[int] = []
        self._woken = False

    # --- called from inside -------------------------------------------------------------------------------------

    def schedule(self, delay_ns: int, action: Action) -> None:
        """Run ``action`` in ``delay_ns``."""
        self._count += 1
        heapq.heappush(self._events, (self.clock.now_ns() + delay_ns, self._count, self._epoch, action))
        if self._waiting:
            self._changed.notify_all()

    def offload(self, compute: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run ``compute`` without the lock, then ``then(result)`` with it, in order."""
        self._offloaded.append((self._epoch, compute, then))
        if self._waiting:
            self._changed.notify_all()

    def drop_all(self) -> None:
        """Forget every event and all offloaded work, also a result that is being computed."""
        self._epoch += 1
        self._events.clear()
        self._offloaded.clear()

    def notify(self) -> None:
        """Tell waiting hosts that something happened for them."""
        if self._waiting or self._quiet:
            self._changed.notify_all()

    # --- called by hosts, through the ports ---------------------------------------------------------------------

    @contextmanager
    def hold(self) -> Iterator[None]:
        """What becomes due in here runs afterwards.

        For accesses that follow each other within microseconds on a real bus, where a process that the scheduler left
        out for milliseconds must not look like a slow bus to the chip.
        """
        with self.lock:
            before, self._running = self._running, True
            try:
                yield
            finally:
                self._running = before

    def on_access(self, *, reading: bool) -> None:
        """A register is accessed: time passes, what became due runs.

        A host that only polls gets its computations done by its reads; where another thread waits for interrupts they
        are left to that thread.
        """
        now = self.clock.tick()
        if self._events and self._events[0][0] <= now:
            self._run_due(now)
        if reading and self._offloaded and not self._waiting:
            self._compute_one()

    def wait(self, take: Callable[[], bool], timeout_s: float) -> bool:
        """Run the chip until ``take()`` is true, `wake` was called, or the time is up; True only for the first."""
        deadline_ns = self.clock.now_ns() + int(timeout_s * 1e9)
        real_deadline = time.monotonic() + timeout_s
        with self.lock:
            self._waiting += 1
            self._deadlines.append(deadline_ns)
            try:
                while not self._woken:
                    self._run_due(self.clock.now_ns())
                    if take():
                        return True
                    if not self._compute_one() and not self._pass_time(deadline_ns, real_deadline):
                        return False
                self._woken = False
                return False
            finally:
                self._waiting -= 1
                self._deadlines.remove(deadline_ns)
                self.notify()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Run the chip until ``ready()`` is true, however long that takes.

        An idle chip blocks the calling thread in real time whatever the clock: another thread brings work, or makes
        ``ready`` true and calls `notify`. Time never jumps past the end of another thread's `wait`.
        """
        with self.lock:
            self._waiting += 1
            try:
                while True:
                    self._run_due(self.clock.now_ns())
                    if ready():
                        return
                    if not self._compute_one():
                        self._pass_any_time()
            finally:
                self._waiting -= 1

    def wait_quietly(self, ready: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait in real time until ``ready()``; False when it was not in time.

        Runs nothing and lets no time of the chip pass: for hosts of several threads of which one drives a stepped chip.
        """
        with self.lock:
            self._quiet += 1
            try:
                return self._changed.wait_for(ready, timeout_s)
            finally:
                self._quiet -= 1

    def step_until(self, deadline_ns: int) -> None:
        """Do the next thing: run what is due, compute, or jump to the next event, at most to ``deadline_ns``."""
        with self.lock:
            if self._compute_one():
                return
            due = self._events[0][0] if self._events else deadline_ns
            self.clock.advance_to(min(due, deadline_ns))
            self._run_due(self.clock.now_ns())

    def wake(self) -> None:
        """Make a concurrent or the next `wait` return."""
        with self.lock:
            self._woken = True
            self._changed.notify_all()

    def step(self) -> bool:
        """Jump to the next event and run all that is due then, with its computations; False if there was nothing."""
        with self.lock:
            if self._compute_one():
                return True
            if not self._events:
                return False
            self.clock.advance_to(self._events[0][0])
            self._run_due(self.clock.now_ns())
            return True

    def run_until_idle(self) -> int:
        """Step until nothing is left to do; returns the number of steps."""
        steps = 0
        while self.step():
            steps += 1
            if steps > MAX_EVENTS:
                raise RuntimeError("the twin never becomes idle: something schedules itself for ever")
        return steps

    # --- the machinery --------------------------------------------------------------------------------------------

    def _pass_time(self, deadline_ns: int, real_deadline: float) -> bool:
        """Nothing can run now: jump, block, or give up (False)."""
        if self._computing:
            return self._block(real_deadline - time.monotonic())
        due = self._events[0][0] if self._events else None
        if due is not None and due <= deadline_ns and self.clock.jumps:
            self.clock.advance_to(due)
            return True
        if not self.clock.blocks:
            self.clock.advance_to(deadline_ns)
            return False
        left = real_deadline - time.monotonic()
        if due is not None and not self.clock.jumps:
            until_due = max(0.0, (due - self.clock.now_ns()) / 1e9)
            if until_due < left:
                self._changed.wait(until_due)
                return True
        return self._block(left)

    def _pass_any_time(self) -> None:
        """Nothing can run now and nobody set a limit: jump to the next event, or block."""
        due = self._events[0][0] if self._events else None
        if due is None or self._computing or any(limit < due for limit in self._deadlines):
            self._changed.wait()
        elif self.clock.jumps:
            self.clock.advance_to(due)
        else:
            self._changed.wait(max(0.0, (due - self.clock.now_ns()) / 1e9))

    def _block(self, seconds: float) -> bool:
        if seconds <= 0:
            return False
        self._changed.wait(seconds)
        return True

    def _run_due(self, now: int) -> None:
        if self._running:  # an action or an observer touched a register: its own run goes on
            return
        events = self._events
        self._running = True
        try:
            while events and events[0][0] <= now:
                _call(heapq.heappop(events)[3])
        finally:
            self._running = False

    def _compute_one(self) -> bool:
        """Run the oldest offloaded work; False if there is none, or another thread is at it."""
        if self._computing or self._running or not self._offloaded:
            return False
        epoch, compute, then = self._offloaded.popleft()
        self._computing = True
        try:
            self.lock.release()
            try:
                result = compute()
            finally:
                self.lock.acquire()
            if epoch == self._epoch:
                self._deliver(then, result)
        finally:
            self._computing = False
            self._changed.notify_all()
        return True

    def _deliver(self, then: Callable[[Any], None], result: Any) -> None:
        self._running = True
        try:
            _call(partial(then, result))
        finally:
            self._running = False


def _call(action: Action) -> None:
    """Run ``action``; a channel that stopped with an error says so in its registers, which is all silicon would do."""
    try:
        action()
    except ChannelFault:
        return
