"""A host that knows only requests and bytes, behind the kernel driver: the sibling of `RawHost`.

It brings its own descriptors, in contiguous memory whose bus address the driver tells; only the counter that hands them
over is the driver's business. For that each channel has a shadow: a list of the driver's of as many descriptors, which
is launched without being bound, and which the device never sees.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import queue
import threading
from collections.abc import Callable

from openhailo.bus.protocols import DeviceFile
from openhailo.testing.check import expect, expect_true

from .host import MessageHost, settle
from .node import Memory, Node

#: A channel that is never enabled: waiting for it as well makes a wait return at once (driver.md 8.1 row 5).
NEVER = 1 << 31
SHADOW_PAGE, LIST_ALIGNMENT = 64, 0x10000

Wait = Callable[[Callable[[], bool], float], bool]
Peek = Callable[[int, int], int]


class Contiguous:
    """Contiguous memory of the driver (`openhailo.testing.conformance.raw.host.Room`)."""

    def __init__(self, node: Node, size_bytes: int, alignment: int) -> None:
        total = size_bytes + (alignment if alignment > 4096 else 0)
        self.handle, address = node.continuous(total)
        skip = -address % alignment
        self.iova = address + skip
        self.view = node.file.mmap(total, self.handle)[skip : skip + size_bytes]
        self.view[:] = bytes(size_bytes)


class _Shadow:
    def __init__(self, node: Node, channel: int, count: int) -> None:
        self.channel, self.count, self.head = channel, count, 0
        self.memory: Memory = node.memory(count * SHADOW_PAGE)
        self.dlist, _ = node.create(count, SHADOW_PAGE)


class IoctlHost(MessageHost):
    """Drives a chip through one open of the node, which it closes.

    ``wait(ready, seconds)`` lets the device work until ``ready()`` or the time is up. ``peek(bar, offset)`` looks at a
    register behind the driver's back, where the rig can.
    """

    def __init__(self, file: DeviceFile, release: str, *, wait: Wait, peek: Peek) -> None:
        self.node, self._wait, self._peek = Node(file, release), wait, peek
        self._shadows: dict[int, _Shadow] = {}
        self._seen = self._enabled = 0
        self._notifications: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        expect("the board is free", self.node.mark(), 0)
        self._reader = threading.Thread(target=self._read, name="raw-notifications", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Give the board back."""
        with contextlib.suppress(OSError):
            if self._enabled:
                self.node.disable(self._enabled)
            self.node.call("NO_NOTIFICATION")
        self._reader.join(5.0)
        self.node.file.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._notifications.put(self.node.notification())

    # --- messages -------------------------------------------------------------------------------------------------

    def ask(self, cpu: int, request: bytes, timeout_s: float = 1.0, *, digest: bytes | None = None) -> bytes | None:
        """Exchange one control; None when nothing comes."""
        try:
            answer = self.node.control(request, cpu, round(timeout_s * 1000), digest)
        except OSError as error:
            if error.errno in (errno.ETIMEDOUT, errno.ENODEV):
                return None
            raise
        length = int.from_bytes(answer[16:20], "little")
        expect_true(f"a response length of {length}", 24 <= length <= 1500)
        data = answer[20 : 20 + length]
        expect("digest of the response", answer[:16], hashlib.md5(data, usedforsecurity=False).digest())
        return data

    def notification(self, timeout_s: float = 1.0) -> bytes | None:
        """Wait for a notification."""
        if self._wait(lambda: not self._notifications.empty(), timeout_s):
            return self._notifications.get()
        return None

    # --- time -----------------------------------------------------------------------------------------------------

    def settle(self, seconds: float = 0.3, until: Callable[[], bool] | None = None) -> None:
        """Let the device work until nothing comes any more; completed transfers are taken off the driver's rings."""
        settle(lambda: self._wait(self._poll, seconds), until)

    def rest(self, seconds: float) -> None:
        """Let the device work for ``seconds``."""
        self._wait(lambda: False, seconds)

    def _poll(self) -> bool:
        if not self._enabled:
            return False
        entries = self.node.wait(self._enabled | NEVER)
        for entry in entries:
            self._seen |= 1 << entry.channel
        return bool(entries)

    def interrupted(self) -> int:
        """Return and forget the channels that interrupted the host."""
        self._poll()
        seen, self._seen = self._seen, 0
        return seen

    # --- memory and channels --------------------------------------------------------------------------------------

    def alloc(self, size_bytes: int, alignment: int = 4096) -> Contiguous:
        """Allocate memory that the device reaches."""
        return Contiguous(self.node, size_bytes, alignment)

    def advance(self, channel: int, descriptors: int, count: int) -> None:
        """Hand over descriptors: launch as many of the shadow list, unbound and without interrupts.

        A channel that does not run does not take them, as it would not without a driver.
        """
        shadow = self._shadow(channel, count)
        piece = (shadow.memory, 0, descriptors * SHADOW_PAGE)
        try:
            used = self.node.launch(channel, shadow.dlist, shadow.head, [piece], bind=False, last=0)
        except OSError as error:
            if error.errno != errno.ECONNRESET:
                raise
            return
        expect("descriptors of a launch", used, descriptors)
        shadow.head = (shadow.head + descriptors) % count

    def _shadow(self, channel: int, count: int) -> _Shadow:
        shadow = self._shadows.get(channel)
        if shadow is None or shadow.count != count:
            self._restart(channel)
            shadow = self._shadows[channel] = _Shadow(self.node, channel, count)
        return shadow

    def _restart(self, channel: int) -> None:
        bit = 1 << channel
        if self._enabled & bit:
            self.node.disable(bit)
        self.node.enable(bit)
        self._enabled |= bit

    def forget_rings(self) -> None:
        """Start every ring at 0 again, as after an activation."""
        if self._enabled:
            self.node.disable(self._enabled)
            self.node.enable(self._enabled)
        for shadow in self._shadows.values():
            shadow.head = 0

    def registers(self, channel: int, *, device_half: bool = False) -> tuple[int, int, int, int]:
        """Return the four dwords of a channel half."""
        at = self.half(channel) ^ (0x10 if device_half else 0)
        first, second, third, fourth = (self._peek(2, at + word) for word in (0, 4, 8, 12))
        return first, second, third, fourth
