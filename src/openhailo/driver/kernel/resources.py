"""What a link over the kernel driver holds, and how it is given back."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openhailo.driver.link import ChannelError, ChannelEvent
from openhailo.errors import DeviceBusy, DeviceError, OpenHailoError
from openhailo.spec.ioctl import KERNEL, KernelSpec

from .calls import Calls
from .channels import KernelChannel
from .inbox import Inbox, Rest, rest_in_real_time
from .lists import KernelDescriptorList
from .mailbox import KernelMailbox
from .memory import KernelMemory
from .waiter import NotificationReader, Waiter

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

_log = logging.getLogger(__name__)

#: How long a blocked thread may take to come home; it does not when the card was unplugged (driver.md 8.1 row 36).
HOME_S = 2.0


@dataclass(frozen=True)
class KernelOptions:
    """How a `KernelLink` behaves.

    ``allow_unknown_driver``: try a 4.x release that is not in the tables with those of the nearest older one.
    ``exclusive``: own the board from the start, so that others who ask are told and the driver tells the firmware when
    we leave; without it the board is claimed when memory or channels are first used. ``measure_timestamps``: have the
    driver note when interrupts come (`KernelLink.read_timestamps`). ``clock`` and ``pause`` are seconds, and ``rest``
    waits for what the link's threads bring (`Inbox`); ``kernel`` is what is known of the driver: for tests.
    """

    allow_unknown_driver: bool = False
    exclusive: bool = True
    measure_timestamps: bool = False
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    rest: Rest = rest_in_real_time
    kernel: KernelSpec = KERNEL


class Resources:
    """Everything that must be given back at the end; knows nothing of the link, so that it can outlive it."""

    def __init__(self, calls: Calls, spec: ChipSpec, options: KernelOptions, properties: dict[str, Any]) -> None:
        self.calls, self._options = calls, options
        self.inbox = Inbox(options.clock, options.rest)
        self.mailbox = KernelMailbox(calls, spec, options.clock)
        name = calls.file.name
        self.channels = [KernelChannel(index, calls, spec, name) for index in range(spec.vdma.channels)]
        self.memory = KernelMemory(calls, properties["allocation_mode"], self.uses)
        self._lists: dict[int, KernelDescriptorList] = {}
        self.waiters: list[Waiter] = []
        self.enabled = 0
        self.reader = NotificationReader(calls, self.inbox)

    def uses(self, thing: object) -> bool:
        """Tell whether a running channel needs ``thing``."""
        return any(channel.enabled and channel.uses(thing) for channel in self.channels)

    def keep_list(self, dlist: KernelDescriptorList) -> None:
        """Remember a list, to free it at the end."""
        self._lists[dlist.handle] = dlist

    def release_list(self, dlist: KernelDescriptorList) -> None:
        """Free a list, now or when its channel is disabled: the driver does not look (driver.md 8.1 row 10)."""
        if not self.uses(dlist) and self._lists.pop(dlist.handle, None) is not None:
            dlist.release()

    def sweep(self) -> None:
        """Free what waited for channels that are disabled now."""
        for dlist in [dlist for dlist in self._lists.values() if dlist.closed]:
            self.release_list(dlist)
        self.memory.sweep()

    def enable(self, bitmap: int) -> None:
        """Claim channels and wait for them from now on."""
        behaviour = self.calls.release.behaviour
        values = {"enable_timestamps_measure": int(self._options.measure_timestamps)}
        try:
            self.calls.call(behaviour.enable_ioctl, channels_bitmap_per_engine=(bitmap, 0, 0), **values)
        except DeviceError as error:
            if type(error) is not DeviceError:
                raise
            # EINVAL: one of them is enabled through another open.
            raise DeviceBusy(name=self.calls.file.name, detail=f"channels 0x{bitmap:X} have an owner") from error
        for channel in self._channels_of(bitmap):
            channel.set_enabled(True)
        self.inbox.forget(bitmap)
        self.enabled |= bitmap
        self.waiters.append(Waiter(self.calls, bitmap, self.channels, self.inbox))

    def disable(self, bitmap: int) -> None:
        """Release enabled channels; their waiters come home before anything else is freed."""
        bitmap &= self.enabled
        if not bitmap:
            return
        for waiter in self.waiters:
            waiter.drop(bitmap)
        self.enabled &= ~bitmap
        try:
            name = self.calls.release.behaviour.disable_ioctl
            self.calls.call(name, channels_bitmap_per_engine=(bitmap, 0, 0))
        finally:
            for waiter in self.waiters:
                if not waiter.settle(bitmap, HOME_S):
                    _log.warning("%s: a thread that waits for channels does not come back", self.calls.file.name)
            self.waiters = [waiter for waiter in self.waiters if waiter.wanted]
            for channel in self._channels_of(bitmap):
                channel.set_enabled(False)
            self.inbox.forget(bitmap)
            self._lose_others()
            self.sweep()
            self.inbox.wake()

    def _lose_others(self) -> None:
        """Up to 4.18 disabling one channel makes the driver forget all of them (driver.md 8.1 row 19)."""
        if not self.calls.release.behaviour.disable_wipes_all:
            return
        lost = [c for c in self._channels_of(self.enabled) if c.lose("forgotten by the driver")]
        self.inbox.post([ChannelEvent(channel.index, 0, ChannelError.INACTIVE) for channel in lost])

    def _channels_of(self, bitmap: int) -> list[KernelChannel]:
        return [channel for channel in self.channels if bitmap >> channel.index & 1]

    def shut_down(self) -> None:
        """Give everything back: channels, threads, lists, memory, the open; no step keeps the next from being made.

        Closing the open makes the driver tell the firmware that the host leaves, if the board is ours.
        """
        steps: tuple[Callable[[], None], ...] = (
            lambda: self.disable(self.enabled),
            self.inbox.close,
            lambda: self.reader.close(HOME_S),
            self._release_lists,
            self.memory.close,
            self.calls.file.close,
        )
        with contextlib.ExitStack() as stack:
            for step in reversed(steps):
                stack.callback(self._try, step)

    def _release_lists(self) -> None:
        while self._lists:
            dlist = self._lists.popitem()[1]
            dlist.closed = True
            dlist.release()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (OpenHailoError, OSError) as error:
            _log.debug("closing %s: %s", self.calls.file.name, error)
