"""Watching a link: is the firmware alive, do frames move, and what to do when not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from openhailo.errors import DeviceError, FirmwareError, OpenHailoError, ProtocolError, StateError
from openhailo.spec.chip import ChipSpec
from openhailo.spec.enums import ResetType

from .control import FirmwareClient
from .link import ChipLink
from .state import LinkState

_log = logging.getLogger(__name__)


class Recovery(IntEnum):
    """How far a recovery had to go; all networks must be configured again after each."""

    NN_CORE = 1  # the neural core was reset, the firmware kept running
    FIRMWARE = 2  # the firmware was reset and loaded again


class Recoverable(ChipLink, Protocol):
    """A link that can be watched and brought back: `openhailo.driver.life.LinkLife` has most of it."""

    recovery_lock: threading.Lock

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds, from any beginning."""
        ...

    @property
    def state(self) -> LinkState:
        """Where the link is in its life."""
        ...

    @property
    def spec(self) -> ChipSpec:
        """The declaration it goes by."""
        ...

    def drop_channels(self) -> None:
        """Disable every channel."""
        ...

    def fail(self) -> None:
        """Go to state ``ERROR``."""
        ...

    def progress(self) -> dict[int, tuple[int, int]]:
        """Return (transfers in flight, transfers completed since enabling) per enabled channel."""
        ...


def recover(link: Recoverable, client: FirmwareClient | None = None) -> Recovery:
    """Bring a stuck chip back: reset the neural core; if it still does not answer, reset and reload the firmware.

    Channels are disabled first. When nothing helps the link is in state ``ERROR`` and the last error is raised.
    """
    client = client or FirmwareClient(link, link.spec)
    with link.recovery_lock:
        link.drop_channels()
        if link.state is LinkState.READY and _reset_core(client):
            return Recovery.NN_CORE
        try:
            link.soft_reset()
            client.identify()
        except (OpenHailoError, OSError):
            link.fail()
            raise
        return Recovery.FIRMWARE


def _reset_core(client: FirmwareClient) -> bool:
    try:
        client.reset(ResetType.NN_CORE)
        client.identify()
    except (ProtocolError, FirmwareError, TimeoutError, StateError) as error:
        _log.warning("resetting the neural core does not help: %s", error)
        return False
    return True


class Watchdog:
    """Looks at a link from time to time; `check` is one look, `start` makes a thread do it.

    A channel is stuck when it has transfers in flight and completed none for ``stall_s`` seconds. A firmware is stuck
    when it does not identify itself; that is asked at most every ``heartbeat_s`` seconds, and only while nothing moves.
    """

    def __init__(
        self,
        link: Recoverable,
        *,
        heartbeat_s: float = 5.0,
        stall_s: float = 10.0,
        on_recovery: Callable[[Recovery], None] | None = None,
    ) -> None:
        self._link, self._client = link, FirmwareClient(link, link.spec)
        self._heartbeat_s, self._stall_s, self._on_recovery = heartbeat_s, stall_s, on_recovery
        self._clock = link.clock
        self._last_sign = self._clock()
        #: Channel -> (completed transfers, time when that number was first seen).
        self._seen: dict[int, tuple[int, float]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> Recovery | None:
        """Look once; recover if something is stuck, and tell what was done. Raises when recovery fails."""
        if self._link.state not in (LinkState.READY, LinkState.RUNNING):
            return None
        if self._is_stalled() or not self._is_firmware_alive():
            done = recover(self._link, self._client)
            self._seen.clear()
            self._last_sign = self._clock()
            if self._on_recovery is not None:
                self._on_recovery(done)
            return done
        return None

    def start(self, period_s: float = 1.0) -> None:
        """Look every ``period_s`` seconds in a thread of its own, until `stop` or a recovery that fails."""
        if self._thread is not None:
            raise StateError(what="start", state="already watching", hint="stop it first")
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(period_s,), name="openhailo-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Idempotent."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None

    def _run(self, period_s: float) -> None:
        while not self._stop.wait(period_s):
            try:
                self.check()
            except (OpenHailoError, OSError) as error:
                _log.error("the device cannot be recovered: %s", error)
                return

    def _is_stalled(self) -> bool:
        now = self._clock()
        stalled = False
        for channel, (in_flight, completed) in self._link.progress().items():
            before = self._seen.get(channel)
            if before is None or before[0] != completed or not in_flight:
                moved = before is not None and before[0] != completed
                self._last_sign = now if moved else self._last_sign
                self._seen[channel] = (completed, now)
            elif now - before[1] >= self._stall_s:
                _log.warning("channel %d does not move", channel)
                stalled = True
        return stalled

    def _is_firmware_alive(self) -> bool:
        if self._clock() - self._last_sign < self._heartbeat_s:
            return True
        try:
            self._client.identify()
        except DeviceError:
            raise
        except (ProtocolError, FirmwareError, TimeoutError) as error:
            _log.warning("the firmware does not answer: %s", error)
            return False
        self._last_sign = self._clock()
        return True
