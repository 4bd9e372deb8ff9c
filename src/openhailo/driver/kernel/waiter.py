"""Threads that block in the driver: it has no poll (driver.md 1.3, 8.1 row 4)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from openhailo.bus.chardev import driver_error
from openhailo.driver.link import ChannelError, ChannelEvent
from openhailo.errors import DeviceError, OpenHailoError
from openhailo.spec.ioctl import EntryKind

from .calls import Calls
from .channels import KernelChannel
from .inbox import Inbox

_WAIT = "VDMA_INTERRUPTS_WAIT"
#: Waits in a row that may tell nothing: the driver reports old events once, not for ever (driver.md 8.1 rows 5, 34).
_MAX_EMPTY = 100_000


class EntryReader:
    """What an entry of INTERRUPTS_WAIT means in a release (driver.md 6.7)."""

    def __init__(self, calls: Calls) -> None:
        self._behaviour = calls.release.behaviour
        layout = calls.release[_WAIT].struct
        member = layout["irq_data"]
        self.count_at, self._base, self._entry = layout["channels_count"].offset, member.offset, member.type

    def entries(self, argument: bytearray) -> list[dict[str, Any]]:
        """Return the entries that the driver filled in."""
        entry = self._entry
        assert not isinstance(entry, str)
        return [entry.unpack(argument, self._base + i * entry.size) for i in range(argument[self.count_at])]

    def account(self, channel: KernelChannel, entry: Mapping[str, Any]) -> ChannelEvent | None:
        """Bring ``channel`` up to date."""
        behaviour = self._behaviour
        if behaviour.entry_kind is EntryKind.BYTE:
            # With a mark the number of completed transfers is lost.
            marks = {behaviour.entry_inactive: ChannelError.INACTIVE, behaviour.entry_error: ChannelError.ENGINE}
            error = marks.get(entry["data"], ChannelError.NONE)
            return channel.count(0 if error else entry["data"], error)
        # validation_success is left alone: a failure sticks to all later channels of a call (driver.md 6.7).
        error = ChannelError.NONE if entry["is_active"] else ChannelError.INACTIVE
        if entry["host_error"] or entry["device_error"]:
            error = ChannelError.ENGINE
        if behaviour.entry_kind is EntryKind.COUNT:
            return channel.count(entry["transfers_completed"], error)
        return channel.reach(entry["host_num_processed"], error)


class Waiter:
    """One thread for channels that were enabled together; it ends when all of them are disabled.

    A wait cannot be given a new set of channels, so each `enable` gets a thread. Disabling a channel wakes it.
    """

    def __init__(self, calls: Calls, bitmap: int, channels: list[KernelChannel], inbox: Inbox) -> None:
        self._calls, self._channels, self._inbox = calls, channels, inbox
        self._reader = EntryReader(calls)
        self._layout = calls.release[_WAIT].struct
        self._changed = threading.Condition()
        self.wanted = self._inside = bitmap
        self._thread = threading.Thread(target=self._run, name="openhailo-interrupts", daemon=True)
        self._thread.start()

    def drop(self, bitmap: int) -> None:
        """Do not wait for the channels of ``bitmap`` any more, from the next wait on."""
        with self._changed:
            self.wanted &= ~bitmap

    def settle(self, bitmap: int, timeout_s: float) -> bool:
        """Wait until the thread is past every wait for ``bitmap``; False when it does not come back in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside & bitmap, timeout_s)

    def _run(self) -> None:
        empty = 0
        while bitmap := self._next():
            argument = bytearray(self._layout.pack(channels_bitmap_per_engine=(bitmap, 0, 0)))
            try:
                self._calls.raw(_WAIT, argument)
            except OSError as error:
                self._end(self._calls.typed(error, _WAIT))
                return
            except OpenHailoError as error:
                self._end(error)
                return
            entries = self._reader.entries(argument)
            empty = 0 if entries else empty + 1
            if empty > _MAX_EMPTY:
                self._end(DeviceError("the driver reports channels without end; somebody else disabled ours"))
                return
            self._deliver(entries)

    def _deliver(self, entries: list[dict[str, Any]]) -> None:
        found = (
            self._reader.account(self._channels[entry["channel_index"]], entry)
            for entry in entries
            if entry["channel_index"] < len(self._channels)
        )
        self._inbox.post([event for event in found if event is not None])

    def _next(self) -> int:
        with self._changed:
            self._inside = self.wanted
            self._changed.notify_all()
            return self._inside

    def _end(self, error: OpenHailoError) -> None:
        with self._changed:
            wanted, self.wanted, self._inside = self.wanted, 0, 0
            self._changed.notify_all()
        if wanted:
            self._inbox.fail(error)


class NotificationReader:
    """The thread in READ_NOTIFICATION. The driver keeps one only; a second one overwrites it (driver.md 4.1)."""

    def __init__(self, calls: Calls, inbox: Inbox) -> None:
        self._calls, self._inbox = calls, inbox
        #: Why the thread ended, if nobody asked it to.
        self.failure: OpenHailoError | None = None
        self._thread = threading.Thread(target=self._run, name="openhailo-notifications", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        request = self._calls.release["READ_NOTIFICATION"]
        expected = self._calls.release.behaviour.notification_disabled_errno
        while not self._inbox.closed:
            argument = bytearray(request.struct.size)
            try:
                self._calls.raw(request.name, argument)
            except OSError as error:
                if error.errno != expected:
                    self.failure = driver_error(error, name=self._calls.file.name, what=request.name)
                return
            except OpenHailoError as error:
                self.failure = error
                return
            message = request.struct.unpack(argument)
            self._inbox.notify(message["buffer"][: min(message["buffer_len"], len(message["buffer"]))])

    def close(self, timeout_s: float) -> None:
        """End the thread. The driver's mark is never cleared: nobody can read through this open again."""
        self._calls.call("DISABLE_NOTIFICATION")
        self._thread.join(timeout_s)
