"""What the firmware says on its own: notifications and logs (driver.md 4, control-protocol.md 9, 10)."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from openhailo.bus.protocols import Window
from openhailo.errors import InputError, MalformedReply

from .link import CPU_APP, CPU_CORE

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

#: Notifications kept for a reader; the oldest are dropped beyond it.
QUEUE_DEPTH = 256


class NotificationBox:
    """The device-to-host buffer in BAR4 and the queue behind it."""

    def __init__(self, window: Window, lock: threading.RLock, spec: ChipSpec) -> None:
        """Take BAR4 and the lock that guards its first window against being pointed elsewhere."""
        self._window, self._lock, self._rules = window, lock, spec.mailbox
        self._header = spec.notification_header
        self.queue: deque[bytes] = deque(maxlen=QUEUE_DEPTH)
        #: Messages lost because nobody read, and buffers that made no sense.
        self.dropped = self.malformed = 0

    def collect(self) -> None:
        """Fetch the buffer if it is in use, and hand it back to the firmware (driver.md 4.1)."""
        with self._lock:
            at = self._rules.notification
            word = self._window.read32(at)
            header = self._header.unpack(word.to_bytes(4, "little"))
            length = header["length"]
            if not header["in_use"] or word == 0xFFFFFFFF:
                self.malformed += 1
                return
            valid = length <= self._rules.max_notification_bytes
            payload = self._window.read_block(at + self._header.size, -(-length // 4) * 4)[:length] if valid else b""
            # One dword holds flag and length: the length stays, as the kernel driver leaves it.
            self._window.write32(at, int.from_bytes(self._header.pack(in_use=0, length=length), "little"))
        if not valid:
            self.malformed += 1
            return
        self.dropped += len(self.queue) == QUEUE_DEPTH
        self.queue.append(payload)

    def collect_stale(self) -> None:
        """Fetch a notification whose interrupt was lost, so that the firmware does not wait for ever."""
        with self._lock:
            word = self._window.read32(self._rules.notification)
        if self._header.unpack(word.to_bytes(4, "little"))["in_use"] and word != 0xFFFFFFFF:
            self.collect()

    def take(self) -> bytes | None:
        """Return the oldest notification, or None."""
        return self.queue.popleft() if self.queue else None


def read_log(window: Window, spec: ChipSpec, cpu: int, limit_bytes: int | None = None) -> bytes:
    """Return what the log ring of ``cpu`` holds, or its first ``limit_bytes``, and mark that as read (driver.md 4.2).

    Raises `InputError` for another processor than 0 or 1 and `MalformedReply` for offsets outside the ring.
    """
    rules, header = spec.mailbox, spec.log_header
    bases = {CPU_APP: rules.app_log, CPU_CORE: rules.core_log}
    if cpu not in bases:
        raise InputError(what="log", detail=f"there is no processor {cpu}; use 0 (application) or 1 (core)")
    base = bases[cpu]
    offsets = header.unpack(window.read_block(base, header.size))
    host, chip = offsets["host_offset"], offsets["chip_offset"]
    size_bytes = rules.log_size_bytes - header.size
    if host >= size_bytes or chip >= size_bytes:
        raise MalformedReply(what="log header", detail=f"offsets {host} and {chip} leave a ring of {size_bytes} bytes")
    held = (chip - host) % size_bytes
    count = held if limit_bytes is None else min(held, limit_bytes)
    first = min(count, size_bytes - host)
    data = _read_span(window, base + header.size, host, host + first)
    data += _read_span(window, base + header.size, 0, count - first)
    if count:
        window.write32(base + header["host_offset"].offset, (host + count) % size_bytes)
    return data


def _read_span(window: Window, base: int, start: int, end: int) -> bytes:
    """Read bytes ``[start, end)`` of a ring, with aligned accesses only."""
    first, last = start & ~3, -(-end // 4) * 4
    return window.read_block(base + first, last - first)[start - first : end - first]
