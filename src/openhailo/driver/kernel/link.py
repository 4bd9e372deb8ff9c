"""The link over the kernel driver: a `ChipLink` on one open of ``/dev/hailoN`` (driver.md 7, 11 (a))."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from openhailo.bus.protocols import DeviceFile, DmaDirection
from openhailo.driver.control import FirmwareClient
from openhailo.driver.life import LinkLife, sum_channels
from openhailo.driver.link import (
    CPU_APP,
    CPU_CORE,
    DOMAIN_HOST,
    DOMAIN_NONE,
    BufferRange,
    ChannelEvent,
    DescriptorList,
    HostBuffer,
    LinkInfo,
    LinkStatistics,
)
from openhailo.driver.state import LinkState
from openhailo.errors import BootFailed, DeviceBusy, DeviceError, DeviceTimeout, InputError
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.enums import ResetType

from .calls import Calls, find_release, read_version
from .channels import KernelChannel
from .lists import KernelDescriptorList
from .memory import ContinuousBuffer, KernelBuffer, flat
from .resources import KernelOptions, Resources


class KernelLink(LinkLife):
    """A chip behind the kernel driver. A context manager; usable at once after construction."""

    def __init__(self, file: DeviceFile, *, spec: ChipSpec = CHIP, options: KernelOptions | None = None) -> None:
        """Find out the release, claim the board, start listening.

        The link owns ``file`` from now on, also when this raises: `VersionUnsupported`, `DeviceBusy`, `DeviceError`.
        The firmware was loaded by the driver; if it was not, controls raise `BootFailed`.
        """
        self.options = options or KernelOptions()
        super().__init__(spec, self.options.clock)
        self._name, self._owned = file.name, False
        self._configure_lock = threading.RLock()
        self.states.move(LinkState.LOADING)
        try:
            kernel = self.options.kernel
            version = read_version(file, kernel)
            release = find_release(version, allow_unknown=self.options.allow_unknown_driver, kernel=kernel)
            self._calls = Calls(file, release, kernel.rules)
            properties = self._calls.call("QUERY_DEVICE_PROPERTIES")
            page = self._page_size(properties["desc_max_page_size"])
            if self.options.exclusive:
                self._claim()
            self._resources = Resources(self._calls, spec, self.options, properties)
        except BaseException:
            file.close()
            raise
        self._finalizer = weakref.finalize(self, self._resources.shut_down)
        text = ".".join(map(str, version))
        self.info = LinkInfo("kernel", file.name, driver_version=text, desc_max_page_size=page)
        self.states.move(LinkState.READY)

    def _page_size(self, reported: int) -> int:
        """Clamp what the driver reports.

        With 16 or 64 KiB pages (Raspberry Pi 5) it reports more than the hardware takes (driver.md 8.1 row 12); above
        the kernel's page size short descriptors would appear in the middle of a buffer (row 13).
        """
        rules = self._spec.vdma
        if reported < rules.min_page_size:
            raise DeviceError(f"{self._name}: the driver allows pages of {reported} bytes only; load it again")
        return min(reported, rules.max_page_size, self._calls.file.page_size)

    def _claim(self) -> None:
        """Own the board: otherwise nobody tells the firmware to stop when we exit (driver.md 8.1 row 33)."""
        if not self._owned:
            if self._calls.call("MARK_AS_IN_USE")["in_use"]:
                raise DeviceBusy(name=self._name, detail="another process runs networks on it")
            self._owned = True

    # --- life ---------------------------------------------------------------------------------------------------

    def soft_reset(self) -> None:
        """Restart the firmware by its own control; all networks and channel state are lost.

        The driver has no request for it (control-protocol.md 7.6), and it is not told: it keeps our open, memory and
        lists, which is why these stay valid. Closing the open instead would ring the shutdown doorbell at a firmware
        that boots. Raises `BootFailed`, `DeviceTimeout`, `DeviceLost`; the link is then in state ``ERROR``.
        """
        self._require_open("soft reset")
        self._claim()
        self.drop_channels()
        self.states.move(LinkState.LOADING)
        try:
            client = FirmwareClient(self, self._spec)
            client.reset(ResetType.SOFT)
            self._await_firmware(client)
        except BaseException:
            self.states.move(LinkState.ERROR)
            raise
        self.states.move(LinkState.READY)

    def _await_firmware(self, client: FirmwareClient) -> None:
        deadline = self.options.clock() + self._spec.limits.soft_reset_timeout_s
        while True:
            with contextlib.suppress(BootFailed, DeviceTimeout):
                if self.is_firmware_loaded():
                    client.identify()
                    return
            if self.options.clock() >= deadline:
                raise BootFailed(stage="soft reset", detail="the firmware did not come back; reload hailo_pci")
            self.options.pause(0.01)

    def is_firmware_loaded(self) -> bool:
        """Ask the driver whether firmware runs."""
        return bool(self._calls.call("QUERY_DEVICE_PROPERTIES")["is_fw_loaded"])

    def drop_channels(self) -> None:
        """Disable every channel."""
        self.disable_channels(self._resources.enabled)

    # --- controls, notifications, logs --------------------------------------------------------------------------

    def control(self, request: bytes, cpu: int, timeout_s: float = 1.0) -> bytes:
        """Exchange one control message (see `openhailo.driver.link.ChipLink.control`)."""
        self._require_open("control")
        return self._resources.mailbox.exchange(request, cpu, timeout_s)

    def read_notification(self, timeout_s: float) -> bytes | None:
        """Return the oldest notification's payload, or None after ``timeout_s`` or `wake`."""
        self._require_open("read_notification")
        return self._resources.inbox.wait_notification(timeout_s)

    def read_log(self, cpu: int, limit_bytes: int | None = None) -> bytes:
        """Return and consume the firmware log of ``cpu``, or its first ``limit_bytes``, in pieces of 512 bytes."""
        self._require_open("read_log")
        if cpu not in (CPU_APP, CPU_CORE):
            raise InputError(what="log", detail=f"there is no processor {cpu}; use 0 (application) or 1 (core)")
        ring = self._spec.mailbox.log_size_bytes - self._spec.log_header.size
        limit = ring if limit_bytes is None else min(limit_bytes, ring)
        data = b""
        while len(data) < limit:
            want = min(limit - len(data), self._calls.rules.max_log_read_bytes)
            got = self._calls.call("READ_LOG", cpu_id=cpu, buffer_size=want)
            data += got["buffer"][: min(got["read_bytes"], want)]
            if got["read_bytes"] < want:
                break
        return data

    # --- memory -------------------------------------------------------------------------------------------------

    def alloc_buffer(self, size_bytes: int, direction: DmaDirection) -> KernelBuffer:
        """Allocate zeroed, page-aligned memory that the chip reaches."""
        self._require_open("alloc_buffer")
        self._claim()
        return self._resources.memory.alloc(size_bytes, direction)

    def map_buffer(self, buffer: memoryview, direction: DmaDirection) -> KernelBuffer:
        """Make the caller's buffer visible; what cannot be mapped is copied through memory of our own."""
        self._require_open("map_buffer")
        self._claim()
        return self._resources.memory.map(flat(buffer), direction)

    def alloc_continuous(self, size_bytes: int) -> ContinuousBuffer:
        """Allocate memory that is contiguous on the bus; the caller closes it before the link. Raises `DmaMapError`."""
        self._require_open("alloc_continuous")
        self._claim()
        return ContinuousBuffer(self._calls, size_bytes)

    def sync_buffer(self, buffer: HostBuffer, offset: int, size_bytes: int, to_device: bool) -> None:
        """Hand a range over to the other side where that is not automatic (driver.md 8.1 row 25)."""
        self._require_open("sync_buffer")
        if not isinstance(buffer, KernelBuffer):
            raise InputError(what="buffer", detail="it belongs to another kind of link")
        if offset < 0 or size_bytes < 0 or offset + size_bytes > buffer.size_bytes:
            raise InputError(what="sync", detail=f"{size_bytes} bytes at {offset} leave {buffer.size_bytes} bytes")
        self._resources.memory.sync(buffer, offset, size_bytes, to_device)

    def create_descriptor_list(self, count: int, page_size: int, *, circular: bool) -> KernelDescriptorList:
        """Create a list of ``count`` descriptors (driver.md 6.4)."""
        self._require_open("create_descriptor_list")
        self._claim()
        dlist = KernelDescriptorList(
            self._calls,
            self._spec,
            count,
            page_size,
            circular=circular,
            max_page_size=self.info.desc_max_page_size,
            on_close=self._resources.release_list,
        )
        self._resources.keep_list(dlist)
        return dlist

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
        """Point descriptors at a buffer (driver.md 6.5)."""
        self._require_open("program")
        self._channel(channel)
        if not isinstance(dlist, KernelDescriptorList) or not isinstance(buffer, KernelBuffer):
            raise InputError(what="program", detail="the descriptor list or buffer belongs to another kind of link")
        return dlist.program(
            buffer,
            size_bytes=size_bytes,
            offset=offset,
            starting_desc=starting_desc,
            bind=bind,
            last_domain=last_domain,
            channel=channel,
            batch_size=batch_size,
        )

    # --- channels -----------------------------------------------------------------------------------------------

    def enable_channels(self, bitmap: int) -> None:
        """Claim channels. Raises `DeviceBusy` when one is claimed, `InputError` for one that does not exist."""
        self._require_open("enable_channels")
        self.states.require("enable_channels", LinkState.READY, LinkState.RUNNING)
        self._check_bitmap(bitmap)
        self._claim()
        with self._configure_lock:
            if self._resources.enabled & bitmap:
                raise DeviceBusy(
                    name=self._name, detail=f"channels 0x{self._resources.enabled & bitmap:X} are enabled already"
                )
            if bitmap:
                self._resources.enable(bitmap)
                self.states.move(LinkState.RUNNING)

    def disable_channels(self, bitmap: int) -> None:
        """Forget the channels' transfers and release them; waiters are woken. Idempotent."""
        self._check_bitmap(bitmap)
        with self._configure_lock:
            self._resources.disable(bitmap)
            if not self._resources.enabled and self.state is LinkState.RUNNING:
                self.states.move(LinkState.READY)
        self._resources.inbox.wake()

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
        return self.launch_many(
            channel, dlist, starting_desc, (buffers,), bind=bind, first_domain=first_domain, last_domain=last_domain
        )

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
        """Start several transfers (see `openhailo.driver.link.ChipLink.launch_many`), with one request for each.

        All are checked before the first is started; when the driver itself refuses a later one, the channel is unusable
        until it is disabled and enabled.
        """
        target: Any = dlist  # lists of another kind of link are refused where they are first looked at
        return self._channel(channel).launch(target, starting_desc, transfers, bind, first_domain, last_domain)

    def wait_channels(self, bitmap: int, timeout_s: float) -> list[ChannelEvent]:
        """Wait for completions or errors on the channels of ``bitmap``; empty after ``timeout_s`` or `wake`."""
        self._require_open("wait_channels")
        return self._resources.inbox.wait_channels(bitmap, timeout_s)

    def wake(self) -> None:
        """Make the waits of other threads return early."""
        self._resources.inbox.wake()

    def read_timestamps(self, channel: int) -> list[tuple[int, int]]:
        """Return and forget (time in ns, processed descriptors) of the channel's interrupts, at most 255."""
        self._require_open("read_timestamps")
        self._channel(channel)
        got = self._calls.call("VDMA_INTERRUPTS_READ_TIMESTAMPS", channel_index=channel)
        kept = got["timestamps"][: got["timestamps_count"]]
        return [(stamp["timestamp_ns"], stamp["desc_num_processed"]) for stamp in kept]

    def progress(self) -> dict[int, tuple[int, int]]:
        """Return (transfers in flight, transfers completed since enabling) per enabled channel."""
        return {c.index: (c.in_flight, c.completed_total) for c in self._resources.channels if c.enabled}

    def statistics(self) -> LinkStatistics:
        """Return what went over the link so far."""
        resources = self._resources
        return sum_channels(
            resources.channels, controls=resources.mailbox.exchanges, interrupts=resources.inbox.interrupts
        )

    def _channel(self, index: int) -> KernelChannel:
        if not 0 <= index < len(self._resources.channels):
            raise InputError(what="channel", detail=f"there is no channel {index}")
        return self._resources.channels[index]

    def _check_bitmap(self, bitmap: int) -> None:
        channels = len(self._resources.channels)
        if bitmap < 0 or bitmap >> channels:
            raise InputError(what="channels", detail=f"bitmap 0x{bitmap:X} has more than {channels} channels")
