"""Waits without a limit: the virtual kernel driver blocks in them (`EventLoop.wait_for`)."""

from __future__ import annotations

import threading

import pytest

from openhailo.twin.clock import SteppedClock, WallClock
from openhailo.twin.loop import EventLoop


def start(loop, ready):
    """Start a wait in a thread; return once it blocks, with the thread."""
    blocked = threading.Event()

    def check():
        done = ready()
        if not done:
            blocked.set()
        return done

    thread = threading.Thread(target=loop.wait_for, args=(check,), daemon=True)
    thread.start()
    assert blocked.wait(30)
    return thread


@pytest.mark.parametrize("clock", [SteppedClock, WallClock, lambda: WallClock(jumps=False)])
def test_runs_what_is_due_and_jumps(clock):
    loop, seen = EventLoop(clock()), []
    with loop.lock:
        loop.schedule(1_000_000, lambda: seen.append(loop.clock.now_ns()))
    loop.wait_for(lambda: bool(seen))
    assert seen[0] >= 1_000_000


def test_computes():
    loop, seen = EventLoop(SteppedClock()), []
    loop.offload(lambda: 7, seen.append)
    loop.wait_for(lambda: bool(seen))
    assert seen == [7]


def test_blocks_until_another_thread_schedules():
    loop, seen = EventLoop(SteppedClock()), []
    thread = start(loop, lambda: bool(seen))
    with loop.lock:
        loop.schedule(5_000, lambda: seen.append(1))
    thread.join(30)
    assert not thread.is_alive()


def test_blocks_until_another_thread_notifies():
    loop, done = EventLoop(SteppedClock()), []
    thread = start(loop, lambda: bool(done))
    with loop.lock:
        done.append(1)
        loop.notify()
    thread.join(30)
    assert not thread.is_alive()


def test_time_does_not_jump_past_the_end_of_a_wait():
    """What comes after a limited wait ended must not be there when it looks."""
    loop, done, late = EventLoop(SteppedClock()), [], []
    endless = start(loop, lambda: bool(done))

    def look():
        if not late:
            with loop.lock:
                if not loop._events and not late:
                    loop.schedule(2_000_000_000, lambda: late.append(1))
        return bool(late)

    assert loop.wait(look, 1.0) is False
    assert loop.clock.now_ns() >= 1_000_000_000
    with loop.lock:
        done.append(1)
        loop.notify()
    endless.join(30)
    assert not endless.is_alive()


def test_hold_keeps_what_is_due():
    loop, seen = EventLoop(SteppedClock()), []
    with loop.lock:
        loop.schedule(500, lambda: seen.append(1))
    with loop.hold():
        loop.on_access(reading=False)
        assert seen == []
    loop.on_access(reading=False)
    assert seen == [1]
