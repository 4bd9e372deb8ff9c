"""The link over the kernel driver: each release's differences as its user sees them (driver.md 7, 8.1)."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable
from functools import partial

from openhailo.bus.protocols import DeviceFile, DmaDirection
from openhailo.driver.kernel.calls import Calls, find_release
from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.kernel.resources import KernelOptions
from openhailo.driver.link import CPU_APP, ChannelError, ChannelEvent
from openhailo.errors import (
    BootFailed,
    Cancelled,
    DeviceBusy,
    DeviceError,
    DeviceLost,
    DeviceTimeout,
    DmaMapError,
    InputError,
    OpenHailoError,
    StateError,
    VersionUnsupported,
)
from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig
from openhailo.testing.rig_kernel import KernelRig

from .kernel_pieces import FACTS, virtual
from .pieces import OUT_CHANNEL, DriverNetwork
from .raw.host import message
from .raw.lists import answer_to, frame
from .vdma import SILICON, reverse

_NEEDS = ("device_file", "fresh", "state", "faults", "clock")
TO, FROM = DmaDirection.TO_DEVICE, DmaDirection.FROM_DEVICE


class Between:
    """A device file whose requests pass `meddle` first; what that returns, if anything, is the result."""

    def __init__(self, file: DeviceFile, meddle: Callable[[int, bytearray], int | None]) -> None:
        self._file, self._meddle = file, meddle
        self.name, self.mmap, self.close, self.is_alive = file.name, file.mmap, file.close, file.is_alive

    @property
    def page_size(self) -> int:
        """As it is."""
        return self._file.page_size

    def ioctl(self, request: int, argument: bytearray) -> int:
        """Meddle, and otherwise pass it on."""
        result = self._meddle(request, argument)
        return self._file.ioctl(request, argument) if result is None else result


def _link(rig: Rig) -> KernelLink:
    link = rig.link
    assert isinstance(link, KernelLink), "behind a kernel driver the link is its own"
    return link


def _network(rig: Rig, count: int = 16) -> DriverNetwork:
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=count)
    network.start()
    return network


def _frames(network: DriverNetwork, numbers: range) -> None:
    for number in numbers:
        network.read()
        network.send(frame(number))
        expect(f"frame {number}", network.receive(), answer_to(frame(number)))


# --- which driver it is ---------------------------------------------------------------------------------------------


@check("kernel_link", needs=_NEEDS, about=["driver_info", "QUERY_DRIVER_INFO", "probes", "family"])
def the_release_is_found(rig: Rig) -> None:
    """Version and kind are told; firmware is seen."""
    link = _link(rig)
    expect("release and kind", (link.info.driver_version, link.info.kind), (virtual(rig).release, "kernel"))
    expect("firmware", link.is_firmware_loaded(), True)


def _saying(rig: KernelRig, version: tuple[int, int, int]) -> DeviceFile:
    """Return an open whose driver says that it is ``version``."""

    def meddle(request: int, argument: bytearray) -> int | None:
        known = rig.driver.abi.calls.get(request)
        if known is None or known.name != "QUERY_DRIVER_INFO":
            return None
        argument[:] = b"".join(number.to_bytes(4, "little") for number in version)
        return 0

    return Between(rig.open_file(), meddle)


@check("kernel_link", needs=_NEEDS, about=["driver_info", "releases"])
def unknown_releases(rig: Rig) -> None:
    """Refused with the reason, or tried as the nearest older one; 5.0 and later are for other chips (driver.md 1.1)."""
    here = virtual(rig)
    major, minor, number = map(int, here.release.split("."))
    unknown = (major, minor, number + 50)
    error = expect_error("an unknown release", VersionUnsupported, partial(KernelLink, _saying(here, unknown)))
    expect_true(f"a way out in {str(error)!r}", "allow_unknown_driver" in str(error) and "4.23.0" in str(error))
    options = KernelOptions(allow_unknown_driver=True)
    with KernelLink(_saying(here, unknown), options=options) as link:
        expect("bytes of an answer", len(link.control(message(0), CPU_APP)) > 100, True)
    for version in ((5, 0, 0), (5, 1, 0), (4, 16, 9)):
        refused = partial(KernelLink, _saying(here, version), options=options)
        error = expect_error(f"release {version}", VersionUnsupported, refused)
        expect_true(f"what to install in {str(error)!r}", "4.23.0" in str(error))
    expect("opens that are left", here.driver.files, [])


#: Errno -> what a user gets (driver.md 7.5).
TYPED: tuple[tuple[int, type[OpenHailoError]], ...] = (
    (errno.ENODEV, DeviceLost),
    (errno.EIO, DeviceLost),
    (errno.ENXIO, DmaMapError),
    (errno.ENOMEM, DmaMapError),
    (errno.ENOBUFS, DmaMapError),
    (errno.ECONNRESET, StateError),
    (errno.EBUSY, StateError),
    (errno.EINVAL, DeviceError),
    (errno.EFAULT, DeviceError),
    (errno.ERANGE, DeviceError),
    (errno.ENOTTY, DeviceError),
    (errno.ETIMEDOUT, DeviceTimeout),
    (errno.ECANCELED, Cancelled),
    (errno.EINTR, Cancelled),
    (errno.EPERM, DeviceError),
)


@check("kernel_link", needs=_NEEDS, about=["errno"])
def every_errno_is_typed(rig: Rig) -> None:
    """No OSError comes out of a request, and each error names the request or the device (driver.md 7.5)."""
    here, codes = virtual(rig), dict(TYPED)
    pending: list[int] = []

    def meddle(request: int, _argument: bytearray) -> int | None:
        known = here.driver.abi.calls.get(request)
        if pending and known is not None and known.name == "QUERY_DEVICE_PROPERTIES":
            raise OSError(pending[0], "scripted")
        return None

    version = tuple(map(int, here.release.split(".")))
    calls = Calls(Between(here.open_file(), meddle), find_release((version[0], version[1], version[2])))
    for code, kind in codes.items():
        pending[:] = [code]
        error = expect_error(errno.errorcode[code], kind, partial(calls.call, "QUERY_DEVICE_PROPERTIES"))
        expect(f"kind of {errno.errorcode[code]}", type(error), kind)
        told = ("PROPERTIES", "/dev/hailo", "kernel driver")
        expect_true(f"a name in {str(error)!r}", any(word in str(error) for word in told))


# --- memory ---------------------------------------------------------------------------------------------------------


@check("kernel_link", needs=_NEEDS, about=["VDMA_CONTINUOUS_BUFFER_ALLOC", "VDMA_CONTINUOUS_BUFFER_FREE"])
def continuous_buffers(rig: Rig) -> None:
    """Bus address and view are the same memory; too much is a typed error (driver.md 7.5)."""
    link = _link(rig)
    buffer = link.alloc_continuous(10_000)
    buffer.view[:8] = b"openhail"
    seen = rig.twin.dma.view(buffer.dma_address, 10_000, write=False)
    expect("bytes as the device sees them", seen is not None and bytes(seen[:8]), b"openhail")
    buffer.close()
    buffer.close()
    expect("registered memory", len(rig.twin.dma), 0)
    expect_error("a gigabyte", DmaMapError, partial(link.alloc_continuous, 1 << 30))


@check("kernel_link", needs=_NEEDS, about=["no_contiguous_errno", "DESC_LIST_CREATE"])
def no_memory_for_lists(rig: Rig) -> None:
    """The release's own errno is the same typed error (driver.md 7.5)."""
    with virtual(rig).on_machine(contiguous_limit_bytes=0x10000) as other:
        dlist = other.link.create_descriptor_list(4096, 512, circular=True)
        error = expect_error(
            "a longer list", DmaMapError, partial(other.link.create_descriptor_list, 8192, 512, circular=True)
        )
        hint = "kernel" if FACTS[other.release].contiguous == errno.ENOMEM else "CMA"
        expect_true(f"{hint} in {str(error)!r}", hint in str(error))
        dlist.close()


@check("kernel_link", needs=_NEEDS, about=["allocation_mode", "VDMA_LOW_MEMORY_BUFFER_ALLOC", "VDMA_BUFFER_MAP"])
def memory_from_the_driver(rig: Rig) -> None:
    """Where DMA does not reach all of memory the driver allocates (driver.md 8.1 row 24)."""
    with virtual(rig).on_machine(allocation_mode=1) as other:
        memory = other.link.alloc_buffer(5000, TO)
        held = other.driver.files[0].memory.pages
        expect("buffers of the driver's", len(held), 1)
        memory.close()
        expect("buffers that are left", len(held), 0)
        network = _network(other)
        _frames(network, range(20))
        network.stop()
        other.close_link()
        expect("registered memory", len(other.twin.dma), 0)


@check("kernel_link", needs=_NEEDS, about=["VDMA_BUFFER_MAP", "VDMA_BUFFER_SYNC", "data_direction"])
def memory_of_the_caller(rig: Rig) -> None:
    """Unaligned and read-only memory travels through memory of the link's, both ways (driver.md 8.1 rows 7, 8)."""
    link = _link(rig)
    room = bytearray(9000)
    sent = link.map_buffer(memoryview(room)[17:8209], TO)
    got = link.map_buffer(memoryview(bytearray(5000))[3:4099], FROM)
    fixed = link.map_buffer(memoryview(b"fixed" * 1000), TO)
    room[17:21] = b"ping"
    link.sync_buffer(sent, 0, 4096, to_device=True)
    buffers = sorted(rig.twin.dma._buffers.values(), key=lambda buffer: buffer.iova)
    expect("what the device reads", [bytes(buffer.view[:4]) for buffer in buffers], [b"ping", bytes(4), b"fixe"])
    buffers[1].view[:4] = b"pong"
    link.sync_buffer(sent, 100, 300, to_device=True)
    expect("range for the device", virtual(rig).driver.files[0].last_sync[1:], (1, 100, 300))
    link.sync_buffer(got, 0, 4096, to_device=False)
    expect("range for the host", virtual(rig).driver.files[0].last_sync[1:], (0, 0, 4096))
    expect("what the caller finds", bytes(got.view[:4]), b"pong")
    for buffer in (sent, got, fixed):
        buffer.close()
    expect("registered memory", len(rig.twin.dma), 0)


@check("kernel_link", needs=_NEEDS, about=["page_size", "desc_max_page_size"])
def machines_with_16_kib_pages(rig: Rig) -> None:
    """Pages of descriptors stay at 4096; buffers begin on pages of that kernel (driver.md 8.1 rows 7, 12)."""
    for machine in ({"page_size": 16384}, {"page_size": 65536}, {"segment_bytes": 4096}):
        with virtual(rig).on_machine(**machine) as other:
            link = _link(other)
            expect("largest page of a descriptor", link.info.desc_max_page_size, 4096)
            for size in (1, 5000, 70_000):
                buffer = link.alloc_buffer(size, TO)
                expect(f"place of {size} bytes", buffer.address % machine.get("page_size", 4096), 0)
            network = _network(other)
            _frames(network, range(20))
            network.stop()


@check("kernel_link", needs=_NEEDS, about=["VDMA_BUFFER_UNMAP", "DESC_LIST_RELEASE"])
def nothing_is_taken_away_in_flight(rig: Rig) -> None:
    """Closed buffers and lists stay until their channel is disabled (driver.md 8.1 row 10)."""
    network = _network(rig)
    before = len(rig.twin.dma)
    network.read()
    network.target.close()
    network.outputs.close()
    expect("registered memory", len(rig.twin.dma), before)
    network.send(frame(1))
    network.receive()
    network.stop()
    expect("registered memory afterwards", len(rig.twin.dma), before - 2)


# --- channels -------------------------------------------------------------------------------------------------------


@check("kernel_link", needs=_NEEDS, about=["entry_kind", "vdma_interrupts_channel_data", "VDMA_INTERRUPTS_WAIT"])
def completions_are_counted(rig: Rig) -> None:
    """Several at once, round the ring, with several launches in flight; statistics agree (driver.md 6.7)."""
    network = _network(rig)
    link = _link(rig)
    total = 0
    for burst in (1, 3, 7, 15, 15, 2):
        for _ in range(burst):
            network.read()
        for number in range(burst):
            network.send(frame(number))
        seen = 0
        while seen < burst:
            events = {event.channel: event for event in link.wait_channels(network.bitmap, 1.0)}
            expect_true("something completes", events)
            expect("errors", {event.error for event in events.values()}, {ChannelError.NONE})
            seen += events[OUT_CHANNEL].completed if OUT_CHANNEL in events else 0
        total += burst
        link.wait_channels(network.bitmap, 0.01)
        expect("in flight and completed", link.progress(), {1: (0, total), 16: (0, total)})
    held = link.statistics()
    expect("transfers", (held.transfers_to_device, held.transfers_from_device), (total, total))
    network.stop()


@check("kernel_link", needs=_NEEDS, about=["VDMA_INTERRUPTS_READ_TIMESTAMPS", "enable_timestamps_measure"])
def timestamps_of_interrupts(rig: Rig) -> None:
    """Times and counters where they are asked for, nothing elsewhere (driver.md 7.5)."""
    with rig.fresh(options={"measure_timestamps": True}) as other:
        network, link = _network(other), _link(other)
        _frames(network, range(5))
        stamps = link.read_timestamps(OUT_CHANNEL)
        expect("counters", [done for _, done in stamps], [1, 2, 3, 4, 5])
        times = [time for time, _ in stamps]
        expect("order", times, sorted(times))
        expect_true("nanoseconds of the clock", 0 < times[0] <= times[-1] <= other.now_s * 1e9)
        expect("after reading", link.read_timestamps(OUT_CHANNEL), [])
        expect_error("channel 32", InputError, partial(link.read_timestamps, 32))
        network.stop()
    network = _network(rig)
    _frames(network, range(2))
    expect("where nobody asked", _link(rig).read_timestamps(OUT_CHANNEL), [])
    network.stop()


@check("kernel_link", needs=_NEEDS, about=["disable_wipes_all", "VDMA_DISABLE_CHANNELS", "disable_ioctl"])
def channels_that_the_driver_forgets(rig: Rig) -> None:
    """Up to 4.18 disabling one ends the transfers of all, and they are told; later it does not (8.1 row 19)."""
    network, link = _network(rig), _link(rig)
    link.enable_channels(1 << 20)
    network.read()
    link.disable_channels(1 << 20)
    if FACTS[virtual(rig).release].wipes_all:
        expect("events", link.wait_channels(network.bitmap, 0.1), [ChannelEvent(16, 0, ChannelError.INACTIVE)])
        expect_error("a launch", StateError, network.read)
    else:
        network.send(frame(3))
        expect("frame", network.receive(), answer_to(frame(3)))
    network.stop()


@check("kernel_link", needs=_NEEDS, about=["launch_moves_on_error", "inactive_errno", "VDMA_LAUNCH_TRANSFER"])
def launches_that_the_driver_refuses(rig: Rig) -> None:
    """Since 4.18 the place in the ring is unknown then, so that nothing is launched until a new start (8.1 row 14)."""
    network, link = _network(rig), _link(rig)
    other = link.alloc_buffer(64, FROM)
    link._calls.call("VDMA_BUFFER_UNMAP", mapped_handle=network.target.handle)  # type: ignore[attr-defined]
    expect_error("a launch", DeviceError, network.read)
    again = partial(link.launch, OUT_CHANNEL, network.outputs, 0, [(other, 0, 16)])
    if FACTS[virtual(rig).release].checks_channel:
        error = expect_error("the next one", StateError, again)
        expect_true(f"a way out in {str(error)!r}", "activate the network again" in str(error))
    else:
        expect("descriptors of the next one", again(), 1)


@check("kernel_link", needs=_NEEDS, about=["VDMA_LAUNCH_TRANSFER", "is_debug", "debug_checks_activity"])
def first_launches_find_stopped_channels(rig: Rig) -> None:
    """Also in 4.17, which looks in debug launches only (driver.md 6.6)."""
    network = _network(rig)
    rig.client.reset_applications()
    expect_error("a launch", StateError, network.read)
    rig.client.enable_application(0)
    _frames(network, range(2))
    network.stop()


@check("kernel_link", needs=_NEEDS, about=["debug_checks_activity", "is_debug", "VDMA_LAUNCH_TRANSFER"])
def launched_descriptors(rig: Rig) -> None:
    """The host is interrupted; only 4.17 needs a first launch that is for debugging (driver.md 6.3, 6.6)."""
    network = _network(rig)
    network.read()
    network.read()
    table = rig.twin.dma.view(network.outputs.dma_address, 32, write=False)
    assert table is not None, "the list is registered"
    first = 0x2E if FACTS[virtual(rig).release].checks_channel else 0x2F
    expect("control of two launches", (table[0], table[16]), (first, 0x2E))
    network.stop()


@check("kernel_link", needs=_NEEDS, about=["entry_inactive", "is_active", "host_error", "vdma_interrupts_channel_data"])
def failed_channels_are_told(rig: Rig) -> None:
    """Error bytes up to 4.20.1; later the driver only says that the channel stopped (driver.md 6.7)."""
    network = _network(rig)
    rig.faults.descriptor_errors[1] = 0
    network.read()
    network.send(frame(1))
    reason = ChannelError.ENGINE if FACTS[virtual(rig).release].place == errno.EFAULT else ChannelError.INACTIVE
    expect("events", rig.link.wait_channels(1 << 1, 1.0), [ChannelEvent(1, 0, reason)])
    expect_error("another launch", StateError, partial(network.send, frame(2)))
    network.stop()


@check("kernel_link", needs=_NEEDS, about=["DESC_LIST_PROGRAM", "DESC_LIST_BIND_VDMA_BUFFER", "program_has_batch"])
def batches_are_programmed(rig: Rig) -> None:
    """One request or several: the same descriptors, the interrupt on the last of all (driver.md 6.5)."""
    link = _link(rig)
    memory = link.alloc_buffer(8192, TO)
    dlist = link.create_descriptor_list(16, 512, circular=True)
    used = link.program(dlist, memory, size_bytes=784, last_domain=2, channel=1, batch_size=3, starting_desc=12)
    expect("descriptors", used, 6)
    table = rig.twin.dma.view(dlist.dma_address, 256, write=False)
    assert table is not None, "the list is registered"
    words = [int.from_bytes(table[at : at + 4].tobytes(), "little") for at in range(0, 256, 16)]
    plain, short = 0x00020002, 0x00011002
    expect("controls", words[12:] + words[:2], [plain, short, plain, short, plain, short | 0x2C])
    link.program(dlist, memory, size_bytes=512, offset=1536, channel=1, starting_desc=12)
    place = int.from_bytes(table[196:200].tobytes(), "little") - int.from_bytes(table[212:216].tobytes(), "little")
    expect("an offset of two pages more than the next", place, 1024)
    link.program(dlist, memory, size_bytes=100, bind=False, last_domain=1, channel=1, starting_desc=4)
    changed = int.from_bytes(table[64:68].tobytes(), "little")
    expect("size and control alone", changed, 100 << 8 | 0x1E)


# --- life -----------------------------------------------------------------------------------------------------------


@check("kernel_link", needs=_NEEDS, about=["MARK_AS_IN_USE", "mark_as_in_use_params"])
def one_owner(rig: Rig) -> None:
    """Another link is told; one that does not want the board may look (driver.md 1.3, 8.1 row 33)."""
    driver, link = virtual(rig).driver, _link(rig)
    expect_error("a second link", DeviceBusy, partial(KernelLink, driver.open()))
    with KernelLink(driver.open(), options=KernelOptions(exclusive=False)) as looker:
        expect("firmware", looker.is_firmware_loaded(), True)
        expect_error("memory", DeviceBusy, partial(looker.alloc_buffer, 4096, TO))
    link.enable_channels(1)
    expect_error("a channel twice", DeviceBusy, partial(link.enable_channels, 1))
    rig.close_link()
    KernelLink(driver.open()).close()


@check("kernel_link", needs=_NEEDS, about=["is_fw_loaded", "boots_without_firmware"])
def boards_without_firmware(rig: Rig) -> None:
    """Up to 4.18 the link opens, and controls say what is missing (driver.md 8.1 row 32)."""
    if FACTS[virtual(rig).release].needs_firmware:
        return
    with virtual(rig).on_machine(firmware_files={}) as other:
        expect("firmware", _link(other).is_firmware_loaded(), False)
        error = expect_error("a control", BootFailed, other.client.identify)
        expect_true(f"what to do in {str(error)!r}", "kernel driver" in str(error))


@check("kernel_link", needs=_NEEDS, about=["soft_reset", "RESET"])
def firmware_is_restarted(rig: Rig) -> None:
    """By the firmware's own control; memory and lists stay, networks run again (control-protocol.md 7.6)."""
    network = _network(rig)
    _frames(network, range(3))
    _link(rig).soft_reset()
    rig.bind(reverse)
    again = DriverNetwork(rig, SILICON, count=8)
    again.start()
    _frames(again, range(3))
    again.stop()


@check("kernel_link", needs=_NEEDS, about=["DeviceLost"])
def boards_that_go_away(rig: Rig) -> None:
    """Removed, suspended, dead: the same error, with the reason (driver.md 1.3, 8.1 rows 36, 37)."""
    for what in ("removed", "suspended", "dead"):
        with virtual(rig).on_machine() as other:
            client = other.client
            client.identify()
            if what == "removed":
                other.driver.remove()
            elif what == "suspended":
                with contextlib.suppress(TimeoutError):  # up to 4.18 on a board in use (driver.md 1.3)
                    other.driver.suspend()
                other.driver.resume()
            else:
                other.faults.link_down = True
            expect_error(f"a control to a board that is {what}", DeviceLost, client.identify)


def _threads() -> list[str]:
    return [f"{thread.name} {thread.ident}" for thread in threading.enumerate() if thread.name.startswith("openhailo-")]


@check("kernel_link", needs=_NEEDS, about=["READ_NOTIFICATION", "DISABLE_NOTIFICATION", "d2h_notification"])
def notifications_until_the_end(rig: Rig) -> None:
    """The reader goes with the link; the next link has one of its own (driver.md 4.1)."""
    before = _threads()
    for bitmap in (0x0102, 0x0304):
        _ = rig.link
        rig.emit("HEALTH_MONITOR_CPU_ECC_ERROR", memory_bitmap=bitmap)
        data = _link(rig).read_notification(1.0) or b""
        expect("bytes and bitmap", (len(data), data[28:].hex()), (32, bitmap.to_bytes(4, "little").hex()))
        expect("another one", _link(rig).read_notification(0.01), None)
        reader = _link(rig)._resources.reader
        rig.close_link()
        expect("why the reader ended", reader.failure, None)
        expect("threads that are left", [name for name in _threads() if name not in before], [])


@check("kernel_link", needs=_NEEDS, about=["close", "VDMA_BUFFER_UNMAP", "DESC_LIST_RELEASE", "driver_shutdown"])
def closing_gives_everything_back(rig: Rig) -> None:
    """Channels, lists, buffers, the open; the firmware is told (driver.md 1.3)."""
    network = _network(rig)
    network.read()
    driver = virtual(rig).driver
    rig.close_link()
    expect("registered memory", len(rig.twin.dma), 0)
    expect("opens and enabled channels", (driver.files, driver.channels.enabled), ([], 0))
    expect("open channels", [channel for channel in range(32) if rig.twin.chip.vdma.is_open(channel)], [])
