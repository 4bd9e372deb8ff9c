"""The user-space PCIe driver: a `ChipLink` over a bare PCI function (driver.md 11 (b))."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Sequence

from openhailo.bus.protocols import DmaDirection, PciFunction
from openhailo.errors import BootFailed, DeviceBusy, InputError
from openhailo.spec.chip import CHIP, ChipSpec

from . import pci_config
from .boot import Boot, DeviceMemory, FirmwareImage, parse_image
from .buffers import PcieBuffer
from .descriptors import PcieDescriptorList
from .hardware import Hardware, LinkOptions
from .life import LinkLife, sum_channels
from .link import (
    DOMAIN_HOST,
    DOMAIN_NONE,
    BufferRange,
    ChannelEvent,
    DescriptorList,
    HostBuffer,
    LinkInfo,
    LinkStatistics,
)
from .notifications import read_log
from .state import LinkState
from .vdma import Channel

_log = logging.getLogger(__name__)


__all__ = ["LinkOptions", "PcieLink"]


class PcieLink(LinkLife):
    """A chip on a PCI function that nobody else uses. A context manager; usable at once after construction."""

    def __init__(
        self,
        function: PciFunction,
        *,
        spec: ChipSpec = CHIP,
        firmware: bytes | None = None,
        options: LinkOptions | None = None,
    ) -> None:
        """Wake the function and boot ``firmware`` (the content of a firmware file), or attach to what runs already.

        The link owns ``function`` from now on, also when this raises: `DeviceLost` (no chip answers), `BadImage`,
        `BootFailed`, `DeviceTimeout`.
        """
        self.options = options or LinkOptions()
        super().__init__(spec, self.options.clock)
        self._configure_lock = threading.Lock()
        try:
            self._image = parse_image(firmware, spec) if firmware is not None else None
            pci_config.wake(function.config, self.options.pause)
            self._hardware = Hardware(function, spec, self.options)
        except BaseException:
            function.close()
            raise
        self._channels = {channel.index: channel for channel in self._hardware.channels}
        self._finalizer = weakref.finalize(self, self._hardware.shut_down)
        try:
            self.info = self._start()
        except BaseException:
            self.close()
            raise

    # --- life ---------------------------------------------------------------------------------------------------

    def soft_reset(self) -> None:
        """Restart the firmware; all networks and channel state are lost.

        Raises `BootFailed`, `DeviceTimeout`, `DeviceLost`; the link is then in state ``ERROR``.
        """
        self._require_open("soft reset")
        image = self._image
        if image is None:
            raise BootFailed(stage="soft reset", detail="no firmware image was given to load afterwards")
        self.drop_channels()
        self.states.move(LinkState.LOADING)
        try:
            with self._hardware.mailbox.exclusive:
                self._load(image, restart=self._hardware.mailbox.is_firmware_running())
                self._open_for_use()
        except BaseException:
            self.states.move(LinkState.ERROR)
            raise
        self.states.move(LinkState.READY)

    def drop_channels(self) -> None:
        """Disable every channel."""
        self.disable_channels(self._hardware.hub.enabled_channels)

    def _start(self) -> LinkInfo:
        hardware = self._hardware
        self.states.move(LinkState.LOADING)
        hardware.hub.check_alive()
        pci_config.disable_l0s(hardware.function.config)
        hardware.function.irq.enable()
        if self._image is not None:
            self._load_at_start(self._image)
            hardware.hub.check_alive()
        self._open_for_use()
        self.states.move(LinkState.READY)
        version = ".".join(map(str, self._image.version)) if self._image is not None else ""
        page = min(self._max_page_size(), self._spec.vdma.max_page_size)
        return LinkInfo("pcie", hardware.function.name, firmware_version=version, desc_max_page_size=page)

    def _load_at_start(self, image: FirmwareImage) -> None:
        hub = self._hardware.hub
        hub.enable()
        running = self._hardware.mailbox.is_firmware_running()
        if not running or self.options.reload_running:
            self._load(image, restart=running, hub_enabled=True)
        else:
            hub.disable()

    def _load(self, image: FirmwareImage, *, restart: bool, hub_enabled: bool = False) -> None:
        """Reset if needed, load and boot; interrupts are masked afterwards, as the kernel driver leaves them."""
        hardware, options = self._hardware, self.options
        hub = hardware.hub
        if not hub_enabled:
            hub.enable()
        memory = DeviceMemory(hardware.config, hardware.window, hardware.window_lock, self._spec)
        boot = Boot(hub, memory, hardware.window, self._spec, pause=options.pause)
        hub.booting = True
        try:
            if restart:
                boot.reset()
            boot.load(image, options.board_config, options.firmware_config)
        finally:
            hub.booting = False
            hub.disable()

    def _open_for_use(self) -> None:
        hardware = self._hardware
        hardware.hub.enable()
        if not hardware.mailbox.is_firmware_running():
            stage = "attach" if self._image is None else "start"
            raise BootFailed(stage=stage, detail="no firmware is running on the chip")
        if not self.options.vendor_accesses:
            hardware.notifications.collect_stale()

    def _max_page_size(self) -> int:
        """A hardware bug ties small read requests to small pages (driver.md 6.4, 8.2 row 13)."""
        request = pci_config.max_read_request_bytes(self._hardware.function.config)
        return request if request < self._spec.pci.min_max_read_request_bytes else self._spec.vdma.max_page_size

    # --- controls, notifications, logs --------------------------------------------------------------------------

    def control(self, request: bytes, cpu: int, timeout_s: float = 1.0) -> bytes:
        """Exchange one control message (see `openhailo.driver.link.ChipLink.control`)."""
        self._require_open("control")
        return self._hardware.mailbox.exchange(request, cpu, timeout_s)

    def read_notification(self, timeout_s: float) -> bytes | None:
        """Return the oldest notification's payload, or None after ``timeout_s`` or `wake`."""
        self._require_open("read_notification")
        box = self._hardware.notifications
        return self._hardware.hub.wait(box.take, timeout_s, wakeable=True)

    def read_log(self, cpu: int, limit_bytes: int | None = None) -> bytes:
        """Return and consume the firmware log of ``cpu``, or its first ``limit_bytes``."""
        self._require_open("read_log")
        return read_log(self._hardware.window, self._spec, cpu, limit_bytes)

    # --- memory -------------------------------------------------------------------------------------------------

    def alloc_buffer(self, size_bytes: int, direction: DmaDirection) -> PcieBuffer:
        """Allocate zeroed, page-aligned memory that the chip reaches."""
        self._require_open("alloc_buffer")
        return self._hardware.arena.alloc_buffer(size_bytes, direction)

    def map_buffer(self, buffer: memoryview, direction: DmaDirection) -> PcieBuffer:
        """Make the caller's buffer visible; what cannot be mapped is copied through memory of our own."""
        self._require_open("map_buffer")
        return self._hardware.arena.map_buffer(buffer, direction)

    def sync_buffer(self, buffer: HostBuffer, offset: int, size_bytes: int, to_device: bool) -> None:
        """Bring copies up to date; memory that is mapped directly is coherent."""
        ours = _our_buffer(buffer)
        if offset < 0 or size_bytes < 0 or offset + size_bytes > ours.size_bytes:
            raise InputError(what="sync", detail=f"{size_bytes} bytes at {offset} leave {ours.size_bytes} bytes")
        if to_device:
            ours.to_device(offset, size_bytes)
        else:
            ours.from_device(offset, size_bytes)

    def create_descriptor_list(self, count: int, page_size: int, *, circular: bool) -> PcieDescriptorList:
        """Create a list of ``count`` descriptors (driver.md 6.4)."""
        self._require_open("create_descriptor_list")
        if page_size > self.info.desc_max_page_size:
            raise InputError(
                what="descriptor page", detail=f"{page_size} bytes, this link takes {self.info.desc_max_page_size}"
            )
        return PcieDescriptorList(self._hardware.arena, self._spec, count, page_size, circular=circular)

    def program(
        self,
        dlist: DescriptorList,
        buffer: HostBuffer,
        *,
        size_bytes: int,
        offset: int = 0,
        starting_desc: int = 0,
        bind: bool = True,
        last_domain: int = DOMAIN_NONE,
        channel: int,
        batch_size: int = 1,
    ) -> int:
        """Point descriptors at a buffer (driver.md 6.5); ``channel`` matters to integrated engines only."""
        if channel not in self._channels:
            raise InputError(what="channel", detail=f"there is no channel {channel}")
        return _our_list(dlist).program(
            _our_buffer(buffer),
            size_bytes=size_bytes,
            offset=offset,
            starting_desc=starting_desc,
            bind=bind,
            last_domain=last_domain,
            batch_size=batch_size,
        )

    # --- channels -----------------------------------------------------------------------------------------------

    def enable_channels(self, bitmap: int) -> None:
        """Claim channels. Raises `DeviceBusy` when one is claimed, `InputError` for one that does not exist."""
        self._require_open("enable_channels")
        self.states.require("enable_channels", LinkState.READY, LinkState.RUNNING)
        channels = self._channels_of(bitmap)
        with self._configure_lock:
            hub = self._hardware.hub
            if hub.enabled_channels & bitmap:
                raise DeviceBusy(
                    name=self.info.name, detail=f"channels 0x{hub.enabled_channels & bitmap:X} are enabled already"
                )
            for channel in channels:
                channel.enable()
            hub.set_channels(hub.enabled_channels | bitmap)
            if bitmap:
                self.states.move(LinkState.RUNNING)

    def disable_channels(self, bitmap: int) -> None:
        """Forget the channels' transfers and release them; waiters are woken. Idempotent."""
        channels = self._channels_of(bitmap)
        with self._configure_lock:
            hub = self._hardware.hub
            hub.set_channels(hub.enabled_channels & ~bitmap)
            for channel in channels:
                channel.disable()
            if not hub.enabled_channels and self.state is LinkState.RUNNING:
                self.states.move(LinkState.READY)
        hub.wake()

    def launch(
        self,
        channel: int,
        dlist: DescriptorList,
        starting_desc: int,
        buffers: Sequence[BufferRange],
        *,
        bind: bool = True,
        first_domain: int = DOMAIN_NONE,
        last_domain: int = DOMAIN_HOST,
    ) -> int:
        """Start one transfer; return its descriptors (see `openhailo.driver.link.ChipLink.launch`)."""
        try:
            target = self._channels[channel]
        except KeyError:
            raise InputError(what="channel", detail=f"there is no channel {channel}") from None
        # Buffers and lists of another kind of link are refused where they are first looked at.
        return target.launch(dlist, starting_desc, buffers, bind, first_domain, last_domain)  # type: ignore[arg-type]

    def launch_many(
        self,
        channel: int,
        dlist: DescriptorList,
        starting_desc: int,
        transfers: Sequence[Sequence[BufferRange]],
        *,
        bind: bool = True,
        first_domain: int = DOMAIN_NONE,
        last_domain: int = DOMAIN_HOST,
    ) -> int:
        """Start several transfers at once, or none (see `openhailo.driver.link.ChipLink.launch_many`)."""
        try:
            target = self._channels[channel]
        except KeyError:
            raise InputError(what="channel", detail=f"there is no channel {channel}") from None
        if self.options.vendor_accesses:
            return target.launch_singly(dlist, starting_desc, transfers, bind, first_domain, last_domain)  # type: ignore[arg-type]
        return target.launch_many(dlist, starting_desc, transfers, bind, first_domain, last_domain)  # type: ignore[arg-type]

    def wait_channels(self, bitmap: int, timeout_s: float) -> list[ChannelEvent]:
        """Wait for completions or errors on the channels of ``bitmap``; empty after ``timeout_s`` or `wake`."""
        if not self._open:
            self._require_open("wait_channels")
        hub, clock = self._hardware.hub, self.options.clock
        deadline = clock() + timeout_s
        while True:
            hit = hub.wait(lambda: hub.take_channels(bitmap), timeout_s, wakeable=True)
            events = self._harvest(hit or bitmap & hub.enabled_channels)
            # An interrupt of something that was counted before brings nothing new: wait on.
            timeout_s = deadline - clock()
            if events or not hit or timeout_s <= 0:
                return events

    def wake(self) -> None:
        """Make the waits of other threads return early."""
        if self._open:
            self._hardware.hub.wake()

    def progress(self) -> dict[int, tuple[int, int]]:
        """Return (transfers in flight, transfers completed since enabling) per enabled channel."""
        enabled = self._hardware.hub.enabled_channels
        return {c.index: (c.in_flight, c.completed_total) for c in self._hardware.channels if enabled >> c.index & 1}

    def statistics(self) -> LinkStatistics:
        """Return what went over the link so far."""
        hardware = self._hardware
        return sum_channels(hardware.channels, controls=hardware.mailbox.exchanges, interrupts=hardware.hub.interrupts)

    def _harvest(self, bitmap: int) -> list[ChannelEvent]:
        channels = self._hardware.channels
        events = []
        while bitmap:
            low = bitmap & -bitmap
            bitmap ^= low
            event = channels[low.bit_length() - 1].harvest()
            if event is not None:
                events.append(event)
        return events

    def _channels_of(self, bitmap: int) -> list[Channel]:
        channels = self._hardware.channels
        if bitmap < 0 or bitmap >> len(channels):
            raise InputError(what="channels", detail=f"bitmap 0x{bitmap:X} has more than {len(channels)} channels")
        return [channel for channel in channels if bitmap >> channel.index & 1]


def _our_buffer(buffer: HostBuffer) -> PcieBuffer:
    if not isinstance(buffer, PcieBuffer):
        raise InputError(what="buffer", detail="it belongs to another kind of link")
    return buffer


def _our_list(dlist: DescriptorList) -> PcieDescriptorList:
    if not isinstance(dlist, PcieDescriptorList):
        raise InputError(what="descriptor list", detail="it belongs to another kind of link")
    return dlist
