"""Notifications as programs get them: a thread per device that calls back (pyhailort-api.md 17).

The first argument of a callback is a number, not a device, as in the original. An exception in a callback ends the
process there; here it is printed and the thread goes on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from openhailo.errors import OpenHailoError

from . import _structs as st
from ._boards import Board
from ._enums import NotificationId, OvercurrentAlertState, TemperatureZone
from ._errors import fail

NotificationCallback = Callable[[int, "Notification", object], object]
#: Longest wait for a notification before the thread looks whether it should end.
_POLL_S = 0.1
#: Ids of the firmware that no callback can be set for have 11 and more (pyhailort-api.md 17).
_IDS = frozenset(int(member) for member in NotificationId.__members__.values())

Maker = Callable[[Mapping[str, Any]], Any]


def _alarm(values: Mapping[str, Any]) -> Any:
    return st.HealthMonitorTemperatureAlarmNotificationMessage(
        TemperatureZone(values["temperature_zone"]),
        values["alarm_ts_id"],
        values["ts0_temperature"],
        values["ts1_temperature"],
    )


def _overcurrent(values: Mapping[str, Any]) -> Any:
    return st.HealthMonitorOvercurrentAlertNotificationMessage(
        OvercurrentAlertState(values["overcurrent_zone"]),
        values["exceeded_alert_threshold"],
        bool(values["is_last_overcurrent_violation_reached"]),
    )


def _clusters(values: Mapping[str, Any]) -> Any:
    return st.HealthMonitorLcuEccErrorNotificationMessage(values["cluster_bitmap"])


def _processor(values: Mapping[str, Any]) -> Any:
    return st.HealthMonitorCpuEccNotificationMessage(values["memory_bitmap"])


#: Event of the firmware -> notification id, name of the body, what makes it (runtime-behaviour.md 19).
_BODIES: Mapping[int, tuple[int, str, Maker]] = {
    0: (0, "rx_error_notification", lambda v: st.RxErrorNotificationMessage(**v)),
    1: (8, "debug_notification", lambda v: st.DebugNotificationMessage(**v)),
    2: (1, "health_monitor_temperature_alarm_notification", _alarm),
    3: (
        2,
        "health_monitor_dataflow_shutdown_notification",
        lambda v: st.HealthMonitorDataflowShutdownNotificationMessage(**v),
    ),
    4: (3, "health_monitor_overcurrent_alert_notification", _overcurrent),
    5: (4, "health_monitor_lcu_ecc_error_notification", _clusters),
    6: (5, "health_monitor_lcu_ecc_error_notification", _clusters),
    7: (6, "health_monitor_cpu_ecc_notification", _processor),
    8: (7, "health_monitor_cpu_ecc_notification", _processor),
    9: (9, "", dict),
    10: (
        10,
        "health_monitor_clock_changed_notification",
        lambda v: st.HealthMonitoClockChangedNotificationMessage(**v),
    ),
}


class NotificationMessageParameters:
    """The body of a notification: exactly one of its attributes has a value, the others raise a status."""

    def __init__(self, kind: str, message: Any) -> None:
        """Hold ``message`` under the name ``kind``."""
        self._kind, self._message = kind, message


def _body(name: str) -> property:
    def get(self: NotificationMessageParameters) -> Any:
        if self._kind != name:
            fail("INVALID_OPERATION", f"this notification has {self._kind or 'no body'}, not {name}")
        return self._message

    return property(get, None, None, f"The body of a {name}.")


for _name in {name for _, name, _ in _BODIES.values() if name}:
    setattr(NotificationMessageParameters, _name, _body(_name))


@dataclass(frozen=True, eq=False)
class Notification:
    """One message of the firmware."""

    notification_id: NotificationId
    sequence: int
    body: NotificationMessageParameters


def notification_of(message: Any) -> Notification | None:
    """Return what programs get for a message of openhailo; None for one that they cannot subscribe to."""
    row = _BODIES.get(message.event_id)
    if row is None:
        return None
    number, name, make = row
    body = NotificationMessageParameters(name, make(dict(message.values)))
    return Notification(NotificationId(number), message.sequence, body)


class Notifier:
    """Calls back for one device, from a thread that runs while somebody wants to be called."""

    def __init__(self, board: Board, number: int) -> None:
        """Take the board, and the number that callbacks get as their first argument."""
        self._board, self._number = board, number
        self._callbacks: dict[int, tuple[NotificationCallback, object]] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self, notification_id: int, callback: NotificationCallback, opaque: object) -> None:
        """Call ``callback`` from now on."""
        if notification_id not in _IDS:
            fail("INVALID_ARGUMENT", f"there is no notification {notification_id}")
        self._callbacks[notification_id] = (callback, opaque)
        if self._thread is None:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="hailo notifications", daemon=True)
            self._thread.start()

    def unsubscribe(self, notification_id: int) -> None:
        """Call nobody any more."""
        self._callbacks.pop(notification_id, None)
        if not self._callbacks:
            self.close()

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._callbacks.clear()
        self._ended.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            message = None
            with suppress(OpenHailoError):
                message = self._board.device.read_notification(_POLL_S)
            found = notification_of(message) if message is not None else None
            if found is not None:
                self._call(found)

    def _call(self, found: Notification) -> None:
        callback, opaque = self._callbacks.get(int(found.notification_id), (None, None))
        if callback is None:
            return
        try:
            callback(self._number, found, opaque)
        except Exception:  # a callback of a program may raise anything
            sys.excepthook(*sys.exc_info())
