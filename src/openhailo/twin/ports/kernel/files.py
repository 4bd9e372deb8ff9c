"""One open of the device node: dispatch of requests, mmap, close (driver.md 1.3, 7.1)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .calls_board import BLOCKING_CALLS, BOARD_CALLS
from .calls_vdma import VDMA_CALLS, wait_for_channels
from .memory import OpenMemory
from .registers import failure

if TYPE_CHECKING:
    from .driver import VirtualKernelDriver

SOC_TYPE = ord("s")


class VirtualDeviceFile:
    """What ``open("/dev/hailoN")`` gives; implements `openhailo.bus.protocols.DeviceFile`.

    Calls may come from many threads; those that block are woken as the driver would wake them, or by `interrupt`.
    """

    def __init__(self, driver: VirtualKernelDriver, process_id: int) -> None:
        self.driver, self.process_id, self.name = driver, process_id, driver.name
        self.invalid = self.closed = False
        #: Notifications since the last read, merged by it; sticky "disabled" (4.1).
        self.notifications, self.notifications_disabled = 0, False
        #: The last range that was synchronised: handle, type, offset, bytes.
        self.last_sync = (0, 0, 0, 0)
        #: Somebody read notifications through this open.
        self.has_reader = False
        #: Channels enabled through this open (1.3; from 4.19 on).
        self.channels = 0
        self.memory = OpenMemory(
            driver.twin.dma,
            driver.user,
            contiguous_limit_bytes=driver.contiguous_limit_bytes,
            contiguous_errno=driver.release.contiguous_errno,
        )
        self._signals = 0
        #: Calls that block now: what they wait for, and the channels among it.
        self._blocked: dict[int, tuple[Callable[[], bool], int]] = {}
        self._blocked_count = 0

    @property
    def page_size(self) -> int:
        """The kernel's page size in bytes."""
        return self.driver.page_size

    def ioctl(self, request: int, argument: bytearray) -> int:
        """Carry out one request on ``argument``; returns what the driver returns, raises `OSError` with its errno."""
        driver = self.driver
        call = driver.abi.calls.get(request)
        if driver.settle is not None and call is not None and call.name == "FW_CONTROL":
            driver.settle()  # what the firmware tells meanwhile must not overwrite what nobody read yet
        with driver.loop.lock:
            self._check_open()
            if call is None:
                raise self._unknown(request)
            layout = call.layout
            if layout is not None and len(argument) < layout.size:
                raise failure(errno.EFAULT, f"{call.name} needs {layout.size} bytes, not {len(argument)}")
            values = layout.read(argument) if layout is not None else {}
            handler = BOARD_CALLS.get(call.name) or VDMA_CALLS.get(call.name)
            if handler is not None:
                return handler(self, values, argument)
        if call.name == "VDMA_INTERRUPTS_WAIT":
            return wait_for_channels(self, values, argument)
        return BLOCKING_CALLS[call.name](self, values, argument)

    def _check_open(self) -> None:
        if self.closed:
            raise failure(errno.EBADF, "the file is closed")
        if self.driver.removed:
            raise failure(errno.ENODEV, "the device is gone")
        if self.invalid:
            raise failure(errno.EINVAL, "the open did not survive the suspend")

    def _unknown(self, request: int) -> OSError:
        """SoC requests exist from 4.18 on and are refused on a Hailo-8; nobody knows the others (7.1, 7.2).

        GUESS: the type alone decides, so any number of type 's' is refused.
        """
        if request >> 8 & 0xFF == SOC_TYPE and self.driver.release.family != "A":
            return failure(errno.EINVAL, "this is not a SoC board")
        return failure(errno.ENOTTY, f"request 0x{request:08X}")

    def store(self, argument: bytearray, name: str, **values: object) -> None:
        """Copy results out: put ``values`` into the structure ``name`` at the start of ``argument``."""
        self.driver.abi.structs[name].store(argument, **values)

    def block(self, ready: Callable[[], bool], *, channels: int = 0) -> None:
        """Wait until ``ready()``; a signal (`interrupt`) is EINTR. Without the lock.

        The waiting thread runs the chip, unless somebody else does (``settle`` of the driver).
        """
        loop, before = self.driver.loop, self._signals

        def is_over() -> bool:
            return ready() or self._signals != before

        with loop.lock:
            self._blocked_count += 1
            key = self._blocked_count
            self._blocked[key] = (is_over, channels)
            loop.notify()
        try:
            if self.driver.settle is None:
                loop.wait_for(is_over)
            else:
                loop.wait_quietly(is_over)
        finally:
            with loop.lock:
                del self._blocked[key]
        with loop.lock:
            if self._signals != before and not ready():
                raise failure(errno.EINTR, "a signal arrived")

    def is_settled(self, *, channels: bool, notifications: bool) -> bool:
        """Tell whether the client's threads have taken all there is; needs the lock.

        ``channels``: threads wait for every enabled channel; ``notifications``: one reads them. Settled is a client
        none of whose waits is about to end, or is missing because its thread deals with what the last one brought.
        """
        if self.closed or self.invalid or self.driver.removed:
            return True
        waits = list(self._blocked.values())
        if any(is_over() for is_over, _ in waits):
            return False
        covered = 0
        for _, waited in waits:
            covered |= waited
        if channels and self.channels & ~covered:
            return False
        if not notifications or self.notifications_disabled:
            return True
        return not self.notifications and (not self.has_reader or any(not waited for _, waited in waits))

    def was_interrupted(self, before: int | None = None) -> int:
        """Return the number of signals so far; compare two to see whether one arrived."""
        return self._signals if before is None else self._signals - before

    def interrupt(self) -> None:
        """Deliver a signal to the calls that block in this open now: they fail with EINTR (7.5, 8.1 row 28)."""
        with self.driver.loop.lock:
            self._signals += 1
            self.driver.loop.notify()

    def mmap(self, length: int, offset: int) -> memoryview:
        """Return the memory whose handle is ``offset`` (7.1)."""
        with self.driver.loop.lock:
            self._check_open()
            return self.memory.mmap(length, offset, lists=self.driver.release.family == "A")

    def is_alive(self) -> bool:
        """Open the node once more, which looks at the card (1.3)."""
        try:
            self.driver.open().close()
        except OSError as error:
            return error.errno not in (errno.ENXIO, errno.ENODEV)
        return True

    def is_same_process(self) -> bool:
        """Tell whether the caller opened the file; a forked child has no notification waiter (4.1)."""
        return os.getpid() == self.process_id

    def close_interrupted(self) -> None:
        """Close while a signal arrives: 4.17 leaks the open and fails with EINTR, later releases close (1.3)."""
        if self.driver.release.family != "A":
            self.close()
            return
        self.closed = True
        raise failure(errno.EINTR, "the open is leaked: the driver still counts it")

    def close(self) -> None:
        """Give up the open (1.3). Idempotent."""
        driver = self.driver
        with driver.loop.lock:
            if self.closed:
                return
            self.closed = True
            owner = driver.owner is self
        if owner and not driver.removed and not self.invalid:
            self._say_goodbye()
        with driver.loop.lock:
            self._release_channels(owner=owner)
            self.memory.close()
            if owner:
                driver.owner = None
            driver.forget(self)
            driver.loop.notify()

    def _say_goodbye(self) -> None:
        """The owner's firmware message; its failure is ignored (1.3)."""
        try:
            self.driver.shut_down(wait=True)
        except OSError as error:
            if error.errno != errno.ETIMEDOUT:
                raise

    def _release_channels(self, *, owner: bool) -> None:
        channels = self.driver.channels
        if self.driver.release.tracks_channels:
            if self.channels:
                channels.disable(self.channels)
        elif owner:  # up to 4.18 only the owner disables, and then everybody's
            channels.disable(channels.enabled)
        self.channels = 0
