"""What one client may use, and all of them together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from openhailo._units import GIB, MIB
from openhailo.errors import DoesNotFit


@dataclass(frozen=True)
class Limits:
    """Limits of a broker; memory in bytes."""

    clients: int = 64
    models_per_client: int = 16
    memory_per_client: int = 512 * MIB
    content_bytes: int = 1 * GIB
    content_files: int = 32
    #: Requests of a client that may be refused, at once and per second, before it is shown out.
    refusals: int = 100
    refusals_per_s: float = 20.0
    #: Networks that stay configured although no client has them, for the next one.
    kept_networks: int = 8


def require(resource: str, need: int, have: int) -> None:
    """Raise `DoesNotFit` when more is needed than there is."""
    if need > have:
        raise DoesNotFit(resource=resource, need=need, have=have)


class Patience:
    """Runs out when too many requests are refused in a short time. For several threads."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with all of it."""
        self._most, self._rate, self._clock = float(limits.refusals), limits.refusals_per_s, clock
        self._left, self._at = self._most, clock()
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Note a refusal; False when there is no patience left."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._at) * self._rate) - 1
            self._at = now
            return self._left > 0
