"""Channels, descriptors and rings (driver.md 6, 10.4), by byte."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig

from .raw.host import MessageHost, RawHost, describe, status_of
from .raw.lists import ACTIVATION, DYNAMIC, Network, action, answer_to, buffer, configure, frame, status_of_enable

_NEEDS = ("raw", "state")
#: Configuration bytes that are no program: the arithmetic is bound instead.
SILICON = bytes(range(256))
#: VDMA_SERVICE: engine index; context switch: channel index and direction (control-protocol.md 13).
_ENGINE, _WAY = 0x402D001B, 0x4013003C
Host = TypeVar("Host", bound=MessageHost)
_ABOUT = ("channel", "descriptor", "descriptor_control", "vdma", "packed_channel")


def reverse(inputs: Mapping[int, memoryview]) -> dict[int, bytes]:
    """Output stream 2 is the first 16 bytes of input stream 3, last first."""
    return {2: bytes(inputs[3][:16])[::-1]}


def _network(rig: Rig, *, count: int) -> tuple[MessageHost, Network]:
    return _network_of(rig, rig.raw_host(), count=count)


def _bare_network(rig: Rig, *, count: int) -> tuple[RawHost, Network]:
    return _network_of(rig, RawHost(rig.open_function()), count=count)


def _network_of(rig: Rig, host: Host, *, count: int) -> tuple[Host, Network]:
    rig.bind(reverse)
    network = Network(host, SILICON, count=count)
    network.start()
    return host, network


@check("vdma", needs=_NEEDS, about=_ABOUT)
def registers_after_activation(rig: Rig) -> None:
    """Both halves: start, depth, data id 0 and 4, list address, counters at zero (driver.md 6.1, 6.2)."""
    host, network = _network(rig, count=32)
    for ring in (network.input, network.output):
        address = ring.list.iova
        rest = (0, address & 0xFFFF0000, address >> 32)
        expect(f"host half of {ring.channel}", host.registers(ring.channel), (0x2801, *rest))
        expect(f"device half of {ring.channel}", host.registers(ring.channel, device_half=True), (0x2C01, *rest))
    for channel in (2, 15, 17, 31):
        expect(f"idle channel {channel}", host.registers(channel), (0, 0, 0, 0))


@check("vdma", needs=_NEEDS, about=_ABOUT)
def depth_field(rig: Rig) -> None:
    """log2 of the count in bits 11-14; 0 stands for 65536 (driver.md 6.1)."""
    for count, depth in ((2, 1), (256, 8), (32768, 15), (65536, 0)):
        with rig.fresh() as other:
            host = other.raw_host()
            ring = host.ring(count)
            info = buffer(ring.iova, 64, count, 16)
            configure(host, [(ACTIVATION, action(33, b"\x10", info)), (DYNAMIC, action(21))])
            expect(f"status with {count} descriptors", status_of_enable(host), 0)
            expect(f"depth of {count}", host.registers(16)[0], depth << 11 | 1)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def list_address_fields(rig: Rig) -> None:
    """Bits 16-31 and 32-63 of a list's address, all of them, in both halves."""
    for address in (0x0000_0000_FFFF_0000, 0xFEDC_BA98_7654_0000, 0x8000_0001_8001_0000):
        with rig.fresh() as other:
            host = other.raw_host()
            info = buffer(address, 64, 4, 16)
            configure(host, [(ACTIVATION, action(33, b"\x10", info)), (DYNAMIC, action(21))])
            expect("status", status_of_enable(host), 0)
            for device_half in (False, True):
                words = host.registers(16, device_half=device_half)
                expect(f"address 0x{address:X}", words[2:], (address & 0xFFFF0000, address >> 32))


@check("vdma", needs=("function", "state"), about=_ABOUT)
def registers_by_access(rig: Rig) -> None:
    """The counters are the device's, error and address registers are plain (driver.md 6.1)."""
    from openhailo.twin import TwinViolation

    host = RawHost(rig.open_function())
    for channel in (3, 20):
        at = host.half(channel)
        expect_error("a write to the counters", TwinViolation, partial(host.bar2.write32, at + 4, 1))
        expect_error("a write to the device's half", TwinViolation, partial(host.bar2.write32, at ^ 0x10, 1))
        for place in (at + 8, at + 12):
            for value in (0x12340055, 0xFFFF00FF, 0):
                host.bar2.write32(place, value)
                expect(f"register 0x{place:X}", host.bar2.read32(place), value)
        for value in (0x00050002, 0x00030800, 0):
            host.bar2.write32(at, value)
            expect(f"control of {channel}", host.bar2.read32(at), value)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def largest_ring(rig: Rig) -> None:
    """65536 descriptors: the counters use all 16 bits and come back to 0."""
    size = 40_000 * 64
    rig.bind(lambda inputs: {2: bytes(inputs[3][-16:])})
    host = rig.raw_host()
    network = Network(host, SILICON, count=65536, pages=(64, 64), frame_bytes=size, slots=40_000)
    network.start()
    network.output.hand_over(3)
    data = bytes(range(256)) * (size // 256)
    network.input.memory.view[:size] = data
    for processed in (40_000, 14_464):
        network.input.hand_over(40_000)
        host.settle()
        expect("counters", host.registers(1)[1], processed << 16 | processed)
    expect("last bytes", network.output.take(1), data[-16:])
    network.input.hand_over(25_536)
    network.input.hand_over(14_464)
    host.settle()
    expect("counters of the third", host.registers(1)[1] & 0xFFFF, 54_464)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def every_channel_has_its_registers(rig: Rig) -> None:
    """Channel c lies at c * 0x20; 0-15 move to the device, 16-31 from it; there is no channel 32."""
    for channel in (0, 1, 7, 15, 16, 17, 24, 31):
        with rig.fresh() as other:
            host = other.raw_host()
            ring = host.ring(4)
            tail = b"\0\0\x10\0\x10\0\0\0" if channel < 16 else b""
            number = 32 if channel < 16 else 33
            start = action(number, bytes([channel]), buffer(ring.iova, 64, 4, 16), tail)
            configure(host, [(ACTIVATION, start), (DYNAMIC, action(21))])
            expect(f"status with channel {channel}", status_of_enable(host), 0)
            running = [c for c in range(32) if host.registers(c)[0] & 1]
            expect("running channels", running, [channel])


@check("vdma", needs=_NEEDS, about=_ABOUT)
def impossible_channels(rig: Rig) -> None:
    """Other engines, the wrong direction, bad lists and pages are refused, and the limits themselves are not."""
    list_at = 0x12_0001_0000
    good = dict.fromkeys(("00", "0f"), 32) | dict.fromkeys(("10", "1f"), 33)
    for text, number in good.items():
        expect(f"action {number} on {text}", _opens(rig, number, bytes.fromhex(text), buffer(list_at, 64, 4, 16)), 0)
    for packed, number, status in ((0x20, 32, _ENGINE), (0x50, 33, _ENGINE), (0x10, 32, _WAY), (0x0F, 33, _WAY)):
        seen = _opens(rig, number, bytes([packed]), buffer(list_at, 64, 4, 16))
        expect(f"status of action {number} on 0x{packed:X}", seen, status)
    for page, fits in ((32, False), (64, True), (96, False), (4096, True), (8192, False)):
        seen = _opens(rig, 33, b"\x10", buffer(list_at, page, 4, 16))
        expect(f"page of {page}", seen == 0, fits)
    for count, fits in ((0, False), (1, False), (2, True), (3, False), (65536, True), (131072, False)):
        seen = _opens(rig, 33, b"\x10", buffer(list_at, 64, count, 16))
        expect(f"{count} descriptors", seen == 0, fits)
    for address, fits in ((list_at + 0x8000, False), (list_at + 64, False), (list_at + 0x10000, True)):
        expect(f"list at 0x{address:X}", _opens(rig, 33, b"\x10", buffer(address, 64, 4, 16)) == 0, fits)
    for kind in (1, 2):
        seen = _opens(rig, 33, b"\x10", buffer(list_at, 64, 4, 16, kind))
        expect_true(f"buffer type {kind} is refused", seen != 0)


def _opens(rig: Rig, number: int, channel: bytes, info: bytes) -> int:
    """Return the status of an activation that opens one channel."""
    with rig.fresh() as other:
        host = other.raw_host()
        tail = b"\0\0\x10\0\x10\0\0\0" if number == 32 else b""
        configure(host, [(ACTIVATION, action(number, channel, info, tail)), (DYNAMIC, action(21))])
        return status_of_enable(host)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def rings_wrap(rig: Rig) -> None:
    """Thirty frames through rings of eight; num processed shows 8, not 0, after the last index (driver.md 10.4)."""
    host, network = _network(rig, count=8)
    network.output.hand_over(7)
    for number in range(30):
        network.input.send(frame(number))
        host.settle()
        expect(f"frame {number}", network.output.take(number), answer_to(frame(number)))
        expect(f"num processed after {number}", network.input.processed, number % 8 + 1)
        expect(f"num ongoing after {number}", host.registers(1)[1] >> 16, number % 8 + 1)
        expect(f"num available after {number}", host.registers(1)[0] >> 16, (number + 1) % 8)
        network.output.hand_over(1)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def interrupts_follow_the_domain(rig: Rig) -> None:
    """Only a descriptor that asks for it, in the host's domain, interrupts the host (driver.md 6.3)."""
    host, network = _network(rig, count=16)
    network.output.hand_over(8)
    for number, (control, asks) in enumerate(
        ((0x02, 0), (0x1E, 0), (0x2E, 1), (0x3E, 1), (0x2A, 0), (0x06, 0), (0x26, 1))
    ):
        for ring, size in ((network.input, 192), (network.output, 16)):
            describe(ring.list, number, ring.memory.iova + number * ring.page, size, control)
        network.input.send(frame(number))
        host.settle()
        expect(f"frame with control 0x{control:02X}", network.output.take(number), answer_to(frame(number)))
        expect(f"interrupts with control 0x{control:02X}", host.interrupted(), asks * 0x10002)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def status_is_written_back(rig: Rig) -> None:
    """Control bit 0 makes the device write "done" and the bytes that are left (driver.md 6.3)."""
    host, network = _network(rig, count=8)
    describe(network.input.list, 0, network.input.memory.iova, 192, 0x03)
    describe(network.output.list, 0, network.output.memory.iova, 64, 0x03)
    network.output.hand_over(4)
    network.input.send(frame(0))
    network.input.send(frame(1))
    host.settle()
    expect("status of an input descriptor", status_of(network.input.list, 0), 1)
    expect("status of an output descriptor", status_of(network.output.list, 0), (64 - 16) << 8 | 1)
    expect("status that was not asked for", status_of(network.input.list, 1), 0)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def short_descriptors(rig: Rig) -> None:
    """Bytes count, not descriptors: a frame of several pieces, anywhere in memory (context-switch.md trap 17)."""
    host, network = _network(rig, count=8)
    memory, data = network.input.memory, frame(5)
    for index, (at, start, end) in enumerate(((0, 0, 64), (0x600, 64, 65), (0x140, 65, 192))):
        memory.view[at : at + end - start] = data[start:end]
        describe(network.input.list, index, memory.iova + at, end - start)
    network.output.hand_over(1)
    network.input.hand_over(2)
    host.settle()
    expect("an incomplete frame waits", network.input.processed, 0)
    network.input.hand_over(1)
    host.settle()
    expect("frame of three pieces", network.output.take(0), answer_to(data))
    expect("num processed", network.input.processed, 3)


@check("vdma", needs=("function", "state"), about=_ABOUT)
def high_addresses(rig: Rig) -> None:
    """Bits 6-31 and 32-63 of an address come from their own dwords; the twin's memory lies above 4 GiB."""
    host, network = _bare_network(rig, count=32)
    expect_true("memory above 4 GiB", network.input.memory.iova >> 32)
    network.output.hand_over(9)
    far = [host.alloc(8192, alignment=1 << 30) for _ in range(3)]
    expect_true("an address with bit 31", any(memory.iova & 0x80000000 for memory in far))
    at = number = 0
    for pieces in (1, 2, 8):
        size = 192 // pieces
        for memory in far:
            data = frame(number)
            for piece in range(pieces):
                place = 0x40 + piece * 0x240
                memory.view[place : place + size] = data[piece * size : (piece + 1) * size]
                describe(network.input.list, at % 32, memory.iova + place, size)
                at += 1
            network.input.hand_over(pieces)
            host.settle()
            expect(f"{pieces} pieces at 0x{memory.iova:X}", network.output.take(number), answer_to(data))
            number += 1


#: What is wrong with a descriptor: added to its address, and its size in bytes.
_FAULTS = (
    ("an address that is not registered", 0x99_0000_0000, 192),
    ("a data id", 0x01, 192),
    ("the highest data id", 0x20, 192),
    ("no bytes", 0, 0),
    ("4097 bytes", 0, 4097),
    ("more bytes than the frame", 0, 193),
    ("the highest bit of the size", 0, 0x800000 | 192),
)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def bad_descriptors(rig: Rig) -> None:
    """Error byte, error status in the descriptor, interrupt if asked for; the channel stops (driver.md 6.1, 6.3)."""
    for what, offset, size_bytes in _FAULTS:
        with rig.fresh() as other:
            host, network = _network(other, count=4)
            network.output.hand_over(1)
            describe(network.input.list, 0, network.input.memory.iova + offset, size_bytes, 0x2E)
            network.input.hand_over(1)
            host.settle()
            expect_true(f"error byte after {what}", host.registers(1)[2] & 0xFF)
            expect(f"status after {what}", status_of(network.input.list, 0), 2)
            expect(f"interrupt after {what}", host.interrupted() & 2, 2)
            expect("list address stays", host.registers(1)[2] & 0xFFFF0000, network.input.list.iova & 0xFFFF0000)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def errors_without_wishes(rig: Rig) -> None:
    """Without control bits 1 and 3 a failure leaves no status and raises no interrupt of its own."""
    for control, status, interrupt in ((0x00, 0, 0), (0x02, 2, 0), (0x28, 0, 2), (0x18, 0, 0), (0x24, 0, 0)):
        with rig.fresh() as other:
            host, network = _network(other, count=4)
            describe(network.input.list, 0, 0x99_0000_0000, 192, control)
            network.input.hand_over(1)
            host.settle()
            expect(f"status with control 0x{control:02X}", status_of(network.input.list, 0), status)
            expect(f"interrupt with control 0x{control:02X}", host.interrupted() & 2, interrupt)


@check("vdma", needs=_NEEDS, about=_ABOUT)
def largest_descriptor(rig: Rig) -> None:
    """A page of 4096 bytes is moved whole."""
    rig.bind(lambda inputs: {2: bytes(inputs[3][4080:])})
    host = rig.raw_host()
    network = Network(host, SILICON, count=4, pages=(4096, 64), frame_bytes=4096)
    network.start()
    network.output.hand_over(1)
    data = frame(3, 4096)
    network.input.send(data)
    host.settle()
    expect("last bytes of the page", network.output.take(0), data[4080:])


@check("vdma", needs=("function", "state"), about=_ABOUT)
def host_may_pause_and_abort(rig: Rig) -> None:
    """Control bits of dword 0: 11 paused, 01 running, 00 aborted (driver.md 6.1)."""
    host, network = _bare_network(rig, count=8)
    network.output.hand_over(4)
    host.bar2.write32(0x20, host.bar2.read32(0x20) | 2)
    network.input.send(frame(0))
    host.settle()
    expect("a paused channel moves nothing", network.input.processed, 0)
    host.bar2.write32(0x20, host.bar2.read32(0x20) & ~2)
    host.settle()
    expect("a resumed one does", network.input.processed, 1)
    host.bar2.write32(0x20, host.bar2.read32(0x20) & ~1)
    network.input.send(frame(1))
    host.settle()
    expect("an aborted one does not", network.input.processed, 1)


@check("vdma", needs=("function", "state"), about=_ABOUT)
def no_dma_without_mastering(rig: Rig) -> None:
    """While bus mastering is off nothing is read or written."""
    host, network = _bare_network(rig, count=4)
    network.output.hand_over(1)
    host.function.config.write(0x04, 2, 0x0002)
    network.input.send(frame(0))
    host.settle()
    expect("output memory", network.output.take(0), bytes(16))
    expect_true("error byte", host.registers(1)[2] & 0xFF)
