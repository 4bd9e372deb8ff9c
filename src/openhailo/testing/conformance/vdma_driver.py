"""Channels, descriptors and rings through the driver's side of a link (driver.md 6, 8.1)."""

from __future__ import annotations

from functools import partial

from openhailo.bus.protocols import DmaDirection
from openhailo.driver.link import ChannelError, ChannelEvent
from openhailo.errors import InputError, QueueFull, StateError
from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig

from .pieces import DriverNetwork
from .raw.host import DESTINATION, SOURCE, STATUS
from .raw.lists import answer_to, frame
from .vdma import SILICON, reverse


@check("vdma", needs=("link",), about=("vdma", "max_descriptors", "min_page_size", "max_page_size"))
def driver_list_limits(rig: Rig) -> None:
    """2 to 65536 descriptors, a power of two in rings; pages of 64 to 4096 bytes, a power of two (driver.md 6.4)."""
    link = rig.link
    expect("largest page", link.info.desc_max_page_size, 4096)
    for count, page, circular, fits in (
        (65536, 64, True, True),
        (65537, 64, False, False),
        (131072, 64, True, False),
        (6, 64, True, False),
        (6, 64, False, True),
        (4, 4096, True, True),
        (4, 8192, True, False),
        (4, 32, True, False),
        (4, 96, True, False),
    ):
        if not fits:
            create = partial(link.create_descriptor_list, count, page, circular=circular)
            expect_error(f"{count} descriptors of {page}", InputError, create)
            continue
        dlist = link.create_descriptor_list(count, page, circular=circular)
        expect("alignment of the list", dlist.dma_address % 0x10000, 0)
        dlist.close()


@check("vdma", needs=("state",), about=("descriptor", "descriptor_control", "vdma"))
def driver_writes_descriptors(rig: Rig) -> None:
    """The dwords of a 784-byte frame in pages of 512, for each domain (driver.md 6.3)."""
    link = rig.link
    memory = link.alloc_buffer(4096, DmaDirection.TO_DEVICE)
    dlist = link.create_descriptor_list(4, 512, circular=True)
    table = rig.twin.dma.view(dlist.dma_address, 64, write=False)
    assert table is not None, "the list is registered"
    for domain, control in enumerate((0x02, 0x1E, 0x2E, 0x3E)):
        used = link.program(dlist, memory, size_bytes=784, last_domain=domain, channel=1)
        words = [int.from_bytes(table[at : at + 4].tobytes(), "little") for at in range(0, 32, 4)]
        expect("descriptors used", used, 2)
        expect("first descriptor", (words[0], words[3]), (0x00020002, 0))
        expect(f"last descriptor for domain {domain}", (words[4], words[7]), (0x00011000 | control, 0))
        expect("pages follow each other", _address(words[4:]) - _address(words), 512)
        expect("data reads back", bytes(rig.twin.dma.view(_address(words), 512, write=False)[:4]), bytes(4))  # type: ignore[index]


def _address(words: list[int]) -> int:
    return words[2] << 32 | words[1]


def most_buffers(rig: Rig) -> int:
    """Return how many buffers a launch takes: 2 behind kernel drivers up to 4.20.1, else 8 (driver.md 6.4)."""
    release = rig.link.info.driver_version
    old = ("4.17.0", "4.17.1", "4.18.0", "4.19.0", "4.20.0", "4.20.1")
    return 2 if rig.link.info.kind == "kernel" and release in old else 8


@check("vdma", needs=("state", "clock"), about=("channel", "vdma", "max_transfers_in_flight", "max_buffers_per_launch"))
def driver_launches_and_completes(rig: Rig) -> None:
    """Frames through the driver's rings, several buffers a frame, and the limits of a launch (driver.md 6.6)."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=256)
    link = rig.link
    expect_error("a channel that is not enabled", StateError, partial(network.send, frame(0)))
    network.start()
    for number in range(3):
        network.read()
        network.send(frame(number))
        expect(f"frame {number}", network.receive(), answer_to(frame(number)))
    events = link.wait_channels(network.bitmap, 0.01)
    expect("nothing more happened", events, [])
    pieces = most_buffers(rig)
    network.launch_pieces(frame(9), pieces)
    network.read()
    expect(f"a frame of {pieces} buffers", network.receive(), answer_to(frame(9)))
    one_more = [(network.source, 256 * n, 24) for n in range(pieces + 1)]
    expect_error("one buffer more", InputError, partial(link.launch, 1, network.inputs, 3 + pieces, one_more))
    network.stop()


@check("vdma", needs=("state", "clock"), about=("max_transfers_in_flight",))
def driver_keeps_127_transfers(rig: Rig) -> None:
    """The 128th is refused (driver.md 6.4)."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=256)
    network.start()
    for _ in range(127):
        network.read()
    expect_error("transfer 128", QueueFull, network.read)
    network.stop()


@check("vdma", needs=("state", "clock"), about=("ERROR_ADDRESS_MID", "STATUS", "channel", "descriptor"))
def driver_reports_errors(rig: Rig) -> None:
    """A channel that fails is told as an error, and not before (driver.md 6.7)."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=8)
    network.start()
    rig.faults.descriptor_errors[1] = 1
    network.read()
    network.send(frame(1))
    expect("the good frame", network.receive(), answer_to(frame(1)))
    network.send(frame(2))
    events = rig.link.wait_channels(1 << 1, 1.0)
    # From 4.21 on the kernel driver reads no error bytes: all it sees is that the channel stopped (driver.md 6.7).
    reasons = {ChannelError.ENGINE} if rig.link.info.kind == "pcie" else {ChannelError.ENGINE, ChannelError.INACTIVE}
    expect_true(f"the bad frame, told as {events}", events in [[ChannelEvent(1, 0, reason)] for reason in reasons])
    network.stop()


@check("vdma", needs=("pcie", "state", "clock"), about=("ERROR_ADDRESS_MID", "error", "channel"))
def driver_reads_the_error_byte(rig: Rig) -> None:
    """Any bit of the low byte is an error, none above it is (driver.md 6.1)."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=8)
    network.start()
    network.read()
    chip = rig.twin.chip
    place = 16 * 0x20 + 0x18
    word = chip.bar_read(2, place)
    for bit in range(10):
        chip.bar_write(2, place, 4, word & 0xFFFF0000 | 1 << bit)
        wanted = [ChannelEvent(16, 0, ChannelError.ENGINE)] if bit < 8 else []
        expect(f"events with bit {bit}", rig.link.wait_channels(1 << 16, 0.01), wanted)
    chip.bar_write(2, place, 4, word)
    network.stop()


@check("vdma", needs=("state", "clock"), about=("CONTROL_AVAIL", "channel"))
def driver_notices_stopped_channels(rig: Rig) -> None:
    """After RESET the channels do not run: a launch is refused."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=8)
    network.start()
    network.read()
    rig.client.reset_applications()
    expect_error("a launch", StateError, partial(network.send, frame(0)))
    network.stop()


@check("vdma", needs=("pcie", "state", "clock"), about=("CONTROL_AVAIL", "channel"))
def driver_finds_transfers_on_stopped_channels(rig: Rig) -> None:
    """After RESET a transfer in flight is told as inactive; the kernel driver only looks when it is interrupted."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=8)
    network.start()
    network.read()
    rig.client.reset_applications()
    events = rig.link.wait_channels(network.bitmap, 0.01)
    expect("the transfer in flight", events, [ChannelEvent(16, 0, ChannelError.INACTIVE)])
    network.stop()


@check(
    "vdma", needs=("pcie", "state", "clock", "fresh"), about=("IMASK_HOST", "enable_mask", "clear_all", "interrupts")
)
def driver_sets_the_mask(rig: Rig) -> None:
    """0xFF00FFFF while open, zero afterwards (driver.md 5.2)."""
    chip = rig.twin.chip
    with chip.loop.lock:
        chip.registers.values[SOURCE] = chip.registers.values[DESTINATION] = 0xFFFFFFFF
    _ = rig.link
    expect("mask while open", chip.registers.read(0x188), 0xFF00FFFF)
    expect("what was old is cleared", [chip.registers.read(at) for at in (STATUS, SOURCE, DESTINATION)], [0, 0, 0])
    rig.link.close()
    expect("mask afterwards", chip.registers.read(0x188), 0)
