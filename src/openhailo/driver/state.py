"""The life of a link: Idle, Loading, Ready, Running, Error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import Enum

from openhailo.errors import StateError


class LinkState(Enum):
    """Where a link is. ``RUNNING`` means that vDMA channels are enabled."""

    IDLE = "idle"
    LOADING = "loading"
    READY = "ready"
    RUNNING = "running"
    ERROR = "in error"


#: What may follow what. Staying in a state is always allowed and tells nobody.
TRANSITIONS: Mapping[LinkState, frozenset[LinkState]] = {
    LinkState.IDLE: frozenset({LinkState.LOADING}),
    LinkState.LOADING: frozenset({LinkState.READY, LinkState.ERROR, LinkState.IDLE}),
    LinkState.READY: frozenset({LinkState.RUNNING, LinkState.LOADING, LinkState.ERROR, LinkState.IDLE}),
    LinkState.RUNNING: frozenset({LinkState.READY, LinkState.LOADING, LinkState.ERROR, LinkState.IDLE}),
    LinkState.ERROR: frozenset({LinkState.LOADING, LinkState.IDLE}),
}

Listener = Callable[[LinkState, LinkState], None]


class StateMachine:
    """A state with rules and listeners; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = LinkState.IDLE
        self._listeners: list[Listener] = []

    @property
    def state(self) -> LinkState:
        """The present state."""
        return self._state

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(before, after)`` after each change, outside the lock; return a function that stops it."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return stop

    def move(self, after: LinkState) -> None:
        """Go to ``after``. Raises `StateError` when that is not allowed from here."""
        with self._lock:
            before = self._state
            if before is after:
                return
            if after not in TRANSITIONS[before]:
                raise StateError(what=f"becoming {after.value}", state=before.value, hint="open the device again")
            self._state = after
            listeners = list(self._listeners)
        for listener in listeners:
            listener(before, after)

    def require(self, what: str, *allowed: LinkState) -> None:
        """Raise `StateError` unless the state is one of ``allowed``."""
        if self._state not in allowed:
            hint = "recover or reopen the device" if self._state is LinkState.ERROR else "open the device first"
            raise StateError(what=what, state=self._state.value, hint=hint)
