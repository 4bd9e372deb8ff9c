"""The messages in device memory: controls, notifications, firmware logs (driver.md 3, 4)."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from openhailo._units import align_up
from openhailo.twin.faults import Faults
from openhailo.twin.memory import DeviceMemory
from openhailo.twin.observe import Observers
from openhailo.twin.violation import TwinViolation

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

#: Notifications that wait for the host's one buffer; older ones are kept, newer ones dropped.
MAX_QUEUED_NOTIFICATIONS = 256
#: Time until the firmware uses a notification buffer that the host gave back (GUESS: a turn of its loop). Not at once:
#: a host that gives it back in its interrupt handler would have the next one overwrite what nobody read yet (4.1).
NEXT_NOTIFICATION_NS = 20_000


class DoorbellPage:
    """The PCIe configuration block behind BAR4 window 1; only the doorbell in it is known (driver.md 2.1, 3)."""

    def __init__(self, offset: int, ring: Callable[[int], None]) -> None:
        self._offset, self._ring = offset, ring

    def read(self, offset: int, width: int) -> int:
        """No fact says what a read gives ("do not read back", driver.md 8.2 row 8)."""
        raise TwinViolation(f"PCIe configuration block: {8 * width}-bit read at 0x{offset:X}")

    def write(self, offset: int, width: int, value: int) -> None:
        """Ring: one plain 32-bit write."""
        if offset != self._offset or width != 4:
            raise TwinViolation(f"PCIe configuration block: {8 * width}-bit write at 0x{offset:X}, not the doorbell")
        self._ring(value)


class Mailbox:
    """Reads requests, writes responses, notifications and logs.

    Args:
        raise_bits: sets bits of the interrupt status: ``raise_bits(bits)``.
        status: gives the interrupt status register.
        notification_bit: the status bit of a notification.
        log_bases: device addresses of the two log rings.
        schedule: runs an action in so many nanoseconds.
    """

    def __init__(
        self,
        spec: ChipSpec,
        memory: DeviceMemory,
        *,
        raise_bits: Callable[[int], None],
        status: Callable[[], int],
        notification_bit: int,
        log_bases: tuple[int, int],
        faults: Faults,
        observers: Observers,
        schedule: Callable[[int, Callable[[], None]], None],
    ) -> None:
        self._schedule = schedule
        self._rules, self._memory = spec.mailbox, memory
        self._header, self._notification, self._log = spec.mailbox_header, spec.notification_header, spec.log_header
        self._base = spec.atr.mailbox_base
        self._raise_bits, self._status, self._notification_bit = raise_bits, status, notification_bit
        self._log_bases = log_bases
        self._faults, self._observers = faults, observers
        self._queue: deque[bytes] = deque()
        memory.on_write(self._base + self._rules.notification, lambda _stored: self._given_back())

    def reset(self) -> None:
        """Forget what was queued."""
        self._queue.clear()

    def read_request(self) -> tuple[bytes, bool]:
        """Return the request in the mailbox, and whether its digest and length are right."""
        header = self._memory.read(self._base + self._rules.request, self._header.size)
        fields = self._header.unpack(header)
        length = min(fields["length"], self._rules.max_message_bytes)
        request = self._memory.read(self._base + self._rules.request + self._header.size, length)
        good = length == fields["length"] and fields["digest"] == hashlib.md5(request, usedforsecurity=False).digest()
        return request, good

    def write_response(self, response: bytes) -> None:
        """Put ``response`` with its digest and length into the mailbox; the caller raises the interrupt."""
        if len(response) > self._rules.max_message_bytes:
            raise ValueError(f"response of {len(response)} bytes, at most {self._rules.max_message_bytes}")
        digest = hashlib.md5(response, usedforsecurity=False).digest()
        length = len(response)
        if self._faults.strikes("wrong_digests"):
            digest = bytes(byte ^ 0xFF for byte in digest)
        if self._faults.strikes("wrong_lengths"):
            length = self._faults.answer_length_bytes
        data = self._header.pack(digest=digest, length=length) + response
        self._memory.write(self._base + self._rules.response, data.ljust(align_up(len(data), 4), b"\0"))

    # --- notifications --------------------------------------------------------------------------------------------

    def notify(self, message: bytes) -> None:
        """Queue a notification and send it when the host's buffer is free."""
        if not 0 < len(message) <= self._rules.max_notification_bytes:
            raise ValueError(f"notification of {len(message)} bytes, 1..{self._rules.max_notification_bytes}")
        if len(self._queue) < MAX_QUEUED_NOTIFICATIONS:
            self._queue.append(message)
            self.pump()

    def _given_back(self) -> None:
        """The host wrote the buffer's header: the firmware's own loop finds it free a little later."""
        if self._queue:
            self._schedule(NEXT_NOTIFICATION_NS, self.pump)

    def pump(self) -> None:
        """Send the next notification if the buffer is free and the last interrupt was seen.

        The status bit is shared with "firmware booted" (5.1): a notification on top of an unseen boot would be taken
        for the boot, and its buffer would stay in use for ever.
        """
        if not self._queue or self._status() & self._notification_bit:
            return
        address = self._base + self._rules.notification
        header = self._notification.unpack(self._memory.read(address, self._notification.size))
        if header["in_use"]:
            return
        message = self._queue.popleft()
        self._memory.write(address, self._notification.pack(in_use=1, length=len(message)) + message)
        if self._observers.watched:
            self._observers.report("notification", {"message": message})
        self._raise_bits(self._notification_bit)

    # --- logs -----------------------------------------------------------------------------------------------------

    def write_log(self, cpu: int, data: bytes) -> None:
        """Append to the ring of ``cpu``; what does not fit before the host's offset is dropped (GUESS)."""
        base, header_bytes = self._log_bases[cpu], self._log.size
        ring_bytes = self._rules.log_size_bytes - header_bytes
        fields = self._log.unpack(self._memory.read(base, header_bytes))
        chip, host = fields["chip_offset"] % ring_bytes, fields["host_offset"] % ring_bytes
        room = (host - chip - 1) % ring_bytes
        data = data[:room]
        head = min(len(data), ring_bytes - chip)
        self._memory.write(base + header_bytes + chip, data[:head])
        self._memory.write(base + header_bytes, data[head:])
        chip = (chip + len(data)) % ring_bytes
        self._memory.write(base + self._log["chip_offset"].offset, chip.to_bytes(4, "little"))

    def reset_logs(self) -> None:
        """Empty both rings."""
        for base in self._log_bases:
            self._memory.write(base, bytes(self._log.size))
