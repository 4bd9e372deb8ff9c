"""Calls that fail, and calls that block."""

from __future__ import annotations

import threading

import pytest


def fails(code, function, *args, **kwargs):
    """Check that the call raises `OSError` with ``code``."""
    with pytest.raises(OSError) as caught:
        function(*args, **kwargs)
    assert caught.value.errno == code, caught.value


def watch(client, function):
    """Start ``function`` in a thread and return once it blocks; the result gives what it returned, or its errno."""
    loop = client.driver.loop
    blocked, wait_for, box = threading.Event(), loop.wait_for, []

    def watched(ready):
        def check():
            done = ready()
            if not done:
                blocked.set()
            return done

        wait_for(check)

    def run():
        try:
            box.append(function())
        except OSError as error:
            box.append(error.errno)

    loop.wait_for = watched
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert blocked.wait(30)
    loop.wait_for = wait_for

    def result():
        thread.join(30)
        assert box, "the call is still blocked"
        return box[0]

    return result
