"""Eventfds: waiting, waking, watching."""

from __future__ import annotations

import os

from openhailo.bus.message import MessageEvents


def test_what_is_set_is_returned_and_cleared() -> None:
    events = MessageEvents()
    other = events.watch()
    assert events.wait(0) == set()
    os.eventfd_write(other, 3)
    os.eventfd_write(events.message, 1)
    assert events.wait(20) == {events.message, other}
    assert events.wait(0) == set()
    events.close()


def test_looking_does_not_clear() -> None:
    events = MessageEvents()
    other = events.watch()
    os.eventfd_write(other, 1)
    assert events.peek([other]) == events.peek([other, events.message]) == {other}
    assert events.peek([events.message]) == events.peek([]) == set()
    assert other in events.wait(0)
    events.close()


def test_a_wake_before_the_wait_counts() -> None:
    events = MessageEvents()
    events.wake()
    ready = events.wait(20)
    assert len(ready) == 1 and events.message not in ready
    assert events.wait(-1) == set()
    events.close()


def test_all_descriptors_are_closed_once() -> None:
    events = MessageEvents()
    fds = [events.message, events.watch()]
    events.close()
    events.close()
    events.wake()
    for fd in fds:
        try:
            os.fstat(fd)
        except OSError:
            continue
        raise AssertionError(f"{fd} is open")
