"""The link: what the runtime needs of a chip, whichever way it is reached.

`openhailo.driver.pcie_link.PcieLink` implements it over a bare PCI function; a link over the kernel driver has the same
semantics. Nothing above this file can tell them apart.

Life of a network on a link: `ChipLink.create_descriptor_list` and `ChipLink.alloc_buffer` per channel -> controls
that hand the list addresses to the firmware -> `ChipLink.enable_channels` -> the firmware activates the network and
starts the channels (driver.md 6.2) -> `ChipLink.launch` and `ChipLink.wait_channels` per frame -> the firmware
deactivates -> `ChipLink.disable_channels` -> close buffers and lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

from openhailo.bus.protocols import DmaDirection

__all__ = [
    "CPU_APP",
    "CPU_CORE",
    "DOMAIN_BOTH",
    "DOMAIN_DEVICE",
    "DOMAIN_HOST",
    "DOMAIN_NONE",
    "BufferRange",
    "ChannelError",
    "ChannelEvent",
    "ChipLink",
    "DescriptorList",
    "DmaDirection",
    "HostBuffer",
    "LinkInfo",
    "LinkStatistics",
]

#: The two processors that answer controls (control-protocol.md 1).
CPU_APP, CPU_CORE = 0, 1

#: Who is interrupted by a descriptor (driver.md 6.3).
DOMAIN_NONE, DOMAIN_DEVICE, DOMAIN_HOST, DOMAIN_BOTH = 0, 1, 2, 3


class ChannelError(IntEnum):
    """Why a channel stopped; ``NONE`` is false, so ``if event.error`` reads well."""

    NONE = 0
    INACTIVE = 1  # the channel is not running (any more): driver.md 6.7, 0xFF
    ENGINE = 2  # the engine reports an error: driver.md 6.1 error byte, 6.3 status bit 1, 6.7 0xFE


class ChannelEvent(NamedTuple):
    """What happened on one channel since the last wait: ``completed`` transfers, oldest first, and an error if any."""

    channel: int
    completed: int
    error: ChannelError = ChannelError.NONE


@dataclass(frozen=True)
class LinkInfo:
    """What a link knows about itself without asking the firmware.

    ``kind`` is ``"pcie"`` or ``"kernel"``; ``name`` the function's or node's name; versions are empty when not known;
    ``desc_max_page_size`` is the largest descriptor page in bytes (driver.md 6.4).
    """

    kind: str
    name: str
    driver_version: str = ""
    firmware_version: str = ""
    desc_max_page_size: int = 4096


@dataclass(frozen=True)
class LinkStatistics:
    """What went over a link since it was opened; transfers and descriptors that completed, by direction."""

    controls: int
    transfers_to_device: int
    transfers_from_device: int
    descriptors_to_device: int
    descriptors_from_device: int
    interrupts: int


@runtime_checkable
class HostBuffer(Protocol):
    """Host memory that the chip reaches. ``view`` is the host's side: a writable byte memoryview of ``size_bytes``."""

    size_bytes: int
    direction: DmaDirection
    view: memoryview

    def close(self) -> None:
        """Take it away from the chip; no transfer may be in flight on it. Idempotent."""
        ...


@runtime_checkable
class DescriptorList(Protocol):
    """A ring (or line) of ``count`` descriptors of up to ``page_size`` bytes; ``dma_address`` goes to the firmware."""

    dma_address: int
    count: int
    page_size: int
    circular: bool

    def close(self) -> None:
        """Free it; its channel must be disabled. Idempotent."""
        ...


#: A piece of a host buffer: (buffer, offset in bytes, size in bytes).
BufferRange = tuple[HostBuffer, int, int]


@runtime_checkable
class ChipLink(Protocol):
    """The way to one chip. Methods may be called from several threads unless they say otherwise."""

    info: LinkInfo

    def control(self, request: bytes, cpu: int, timeout_s: float = 1.0) -> bytes:
        """Send a control message (20-byte header and parameters, at most 1500 bytes) and return the response bytes.

        Exchanges are serialised. The response's digest and length are verified, its content is not.
        Raises `DeviceTimeout`, `MalformedReply`, `DeviceLost`.
        """
        ...

    def alloc_buffer(self, size_bytes: int, direction: DmaDirection) -> HostBuffer:
        """Allocate zeroed, page-aligned memory that the chip reaches. Raises `DmaMapError`."""
        ...

    def map_buffer(self, buffer: memoryview, direction: DmaDirection) -> HostBuffer:
        """Make the caller's contiguous buffer visible to the chip without a copy; the caller keeps it alive.

        Raises `DmaMapError` (the link may need page alignment: then copy into an allocated buffer instead).
        """
        ...

    def sync_buffer(self, buffer: HostBuffer, offset: int, size_bytes: int, to_device: bool) -> None:
        """Make writes of one side visible to the other where that is not automatic."""
        ...

    def create_descriptor_list(self, count: int, page_size: int, *, circular: bool) -> DescriptorList:
        """Create a list of ``count`` (a power of two when circular, at most 65536) descriptors.

        ``page_size`` is a power of two, 64..``info.desc_max_page_size``. Raises `InputError`, `DmaMapError`.
        """
        ...

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
        """Point descriptors at ``batch_size`` consecutive transfers of ``size_bytes``; return how many were used.

        The last descriptor of the last transfer interrupts ``last_domain``. ``bind=False`` leaves addresses alone.
        Semantics: driver.md 6.5. Raises `InputError`.
        """
        ...

    def enable_channels(self, bitmap: int) -> None:
        """Claim channels (bit c = channel c). Raises `DeviceBusy` when one is claimed already."""
        ...

    def disable_channels(self, bitmap: int) -> None:
        """Forget the channels' transfers and release them; waiters are woken. Idempotent."""
        ...

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
        """Start one transfer made of up to 8 ranges and return the number of descriptors it took.

        ``starting_desc`` is where the previous transfer ended (0 after `enable_channels`), modulo ``dlist.count``.
        Raises `QueueFull` (127 transfers, or no free descriptors), `StateError` (channel not enabled or not
        running), `InputError` (ranges), `DeviceLost`.
        """
        ...

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
        """Start ``transfers``, at least one, each as `launch` does, and return the descriptors they took together.

        The device hears of them at once, so small frames cost it and us less. All are started, or none.
        """
        ...

    def wait_channels(self, bitmap: int, timeout_s: float) -> list[ChannelEvent]:
        """Wait until something happened on any channel of ``bitmap``; empty after ``timeout_s`` or `wake`."""
        ...

    def wake(self) -> None:
        """Make the waits of other threads return early."""
        ...

    def read_notification(self, timeout_s: float) -> bytes | None:
        """Return the oldest notification's payload, waiting up to ``timeout_s``; None when there is none."""
        ...

    def read_log(self, cpu: int, limit_bytes: int | None = None) -> bytes:
        """Return and consume the firmware log of ``cpu`` (at most 4088 bytes), or its first ``limit_bytes``."""
        ...

    def statistics(self) -> LinkStatistics:
        """Return what went over the link so far."""
        ...

    def soft_reset(self) -> None:
        """Restart the firmware; all networks and channel state are lost. Raises `DeviceError`, `FirmwareError`."""
        ...

    def close(self) -> None:
        """Leave the chip quiet and free everything. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
