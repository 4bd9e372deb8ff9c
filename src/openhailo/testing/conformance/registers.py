"""Configuration space and BAR0, by address and by bit (driver.md 2.1, 5, 10.1, 10.2)."""

from __future__ import annotations

from functools import partial

from openhailo.testing.check import check, expect, expect_error
from openhailo.testing.rig import Rig

from .raw.host import ATR, DESTINATION, ID, MASK, SOURCE, STATUS, RawHost
from .raw.lists import ACTIVATION, DYNAMIC, Ring, action, configure, enable

#: Window n at run time (driver.md 2.1): its param; translations 0 and 1 are known.
PARAMS = (0x17, 0x1017, 0x2017, 0x3017)
TRANSLATIONS = (0x60000000, 0x00200000)


@check("registers", needs=("function",), about=["vendor_id", "device_id", "class_code", "bars", "pci"])
def configuration_space_identity(rig: Rig) -> None:
    """Ids, class, and three 64-bit prefetchable BARs of 16, 4 and 16 KiB."""
    config = rig.open_function().config
    expect("vendor and device", config.read(0x00, 4), 0x28641E60)
    expect("class", config.read(0x08, 4) >> 8, 0x0B4000)
    for bar, size_bytes in ((0, 0x4000), (2, 0x1000), (4, 0x4000)):
        at = 0x10 + 4 * bar
        config.write(at, 4, 0xFFFFFFFF)
        config.write(at + 4, 4, 0xFFFFFFFF)
        expect(f"BAR{bar} answers its size", config.read(at, 4), (~(size_bytes - 1) & 0xFFFFFFF0) | 0xC)
        expect(f"BAR{bar} has an upper half", config.read(at + 4, 4), 0xFFFFFFFF)
        config.write(at, 4, 0)
        config.write(at + 4, 4, 0)


@check("registers", needs=("function", "state"), about=["revision_id"])
def twin_revision(rig: Rig) -> None:
    """The revision is a free choice; the twin says 1."""
    expect("revision", rig.open_function().config.read(0x08, 1), 1)


@check("registers", needs=("function",), about=["bars", "pci"])
def bar_sizes_and_roles(rig: Rig) -> None:
    """BAR0 has the id, BAR2 the channels, BAR4 the mailbox."""
    host = RawHost(rig.open_function())
    sizes = [host.function.window(bar).size_bytes for bar in (0, 2, 4)]
    expect("BAR sizes", sizes, [0x4000, 0x1000, 0x4000])
    expect("id register", host.bar0.read32(ID), 0x28641E60)
    expect("channel 0", host.bar2.read32(0) & 1, 0)
    host.bar4.write32(0x30, 0x12345678)
    expect("mailbox memory", host.bar4.read32(0x30), 0x12345678)


@check("registers", needs=("function",), about=["config", "ATR"])
def windows_as_firmware_leaves_them(rig: Rig) -> None:
    """Five dwords a table at 0x700 + 0x20 n."""
    host = RawHost(rig.open_function())
    for index, param in enumerate(PARAMS):
        words = [host.bar0.read32(ATR + index * 0x20 + at) for at in (0, 4, 8, 12, 16)]
        expect(f"param, source and target bus of window {index}", (words[0], words[1], words[4]), (param, 0, 6))
        if index < len(TRANSLATIONS):
            expect(f"translation of window {index}", words[2] | words[3] << 32, TRANSLATIONS[index])


@check("registers", needs=("function",), about=["config", "ATR"])
def windows_read_back(rig: Rig) -> None:
    """The tables are plain read/write registers, each its own."""
    host = RawHost(rig.open_function())
    places = [ATR + index * 0x20 + at for index in range(4) for at in (0, 4, 8, 12, 16)]
    saved = [host.bar0.read32(place) for place in places]
    for number, place in enumerate(places):
        host.bar0.write32(place, 0xA5000000 | number)
    expect("tables", [host.bar0.read32(place) for place in places], [0xA5000000 | n for n in range(len(places))])
    for place, value in zip(places, saved, strict=True):
        host.bar0.write32(place, value)


@check("registers", needs=("function",), about=["config", "ATR", "window_size_bytes", "source_page_shift"])
def windows_translate(rig: Rig) -> None:
    """Window n of BAR4 shows the 4 KiB it is pointed at, whichever window that is."""
    host = RawHost(rig.open_function())
    host.put(0x60000, bytes(range(64)) * 64)
    host.put(0x61000, bytes(range(64, 128)) * 64)
    for index, param in enumerate(PARAMS):
        saved = [host.bar0.read32(ATR + index * 0x20 + at) for at in (0, 4, 8, 12, 16)]
        for address, first in ((0x60000, 0x03020100), (0x61000, 0x43424140)):
            for at, value in ((0, param), (4, 0), (8, address), (12, 0), (16, 6)):
                host.bar0.write32(ATR + index * 0x20 + at, value)
            expect(f"first dword behind window {index}", host.bar4.read32(index * 0x1000), first)
            expect(f"last dword behind window {index}", host.bar4.read32(index * 0x1000 + 0xFFC), first + 0x3C3C3C3C)
        for at, value in zip((0, 4, 8, 12, 16), saved, strict=True):
            host.bar0.write32(ATR + index * 0x20 + at, value)


@check("registers", needs=("function", "state"), about=["config", "ATR", "enable", "log2_size_minus_1", "source_page"])
def half_programmed_windows(rig: Rig) -> None:
    """A window is used only when it is on, 4 KiB large, and begins where the access is (driver.md 2.1)."""
    from openhailo.twin import TwinViolation

    host = RawHost(rig.open_function())
    for index, good in enumerate(PARAMS):
        place = ATR + index * 0x20
        saved = [host.bar0.read32(place + at) for at in (0, 4, 8, 12, 16)]
        for at, value in ((8, 0x60000), (12, 0), (16, 6)):
            host.bar0.write32(place + at, value)
        for param in (good & ~1, good ^ 0x02, good ^ 0x40, good ^ 0x80000000, good ^ 0x4000):
            host.bar0.write32(place, param)
            expect_error(f"param 0x{param:X}", TwinViolation, partial(host.bar4.read32, index * 0x1000))
        for at, value in zip((0, 4, 8, 12, 16), saved, strict=True):
            host.bar0.write32(place + at, value)


@check("registers", needs=("function",), about=["msi_vectors", "pci"])
def one_message(rig: Rig) -> None:
    """The MSI capability offers one vector with a 64-bit address (driver.md 10.1)."""
    config = rig.open_function().config
    at = config.read(0x34, 1)
    while at and config.read(at, 1) != 0x05:
        at = config.read(at + 1, 1)
    expect("message control", config.read(at + 2, 2) & 0xFF8E, 0x0080)


@check("registers", needs=("function",), about=["IMASK_HOST", "ISTATUS_HOST", "config"])
def mask_is_plain(rig: Rig) -> None:
    """What is written to the mask reads back; zero included."""
    host = RawHost(rig.open_function())
    for value in (0x12345678, 0, 0xFFFFFFFF, 0xFF00FFFF):
        host.bar0.write32(MASK, value)
        expect("mask", host.bar0.read32(MASK), value)


@check("registers", needs=("function", "state"), about=["config", "DEVICE_ID"])
def id_cannot_be_written(rig: Rig) -> None:
    """No fact allows a write to the id register: the twin stops a host that does."""
    from openhailo.twin import TwinViolation

    host = RawHost(rig.open_function())
    expect_error("a write to the id register", TwinViolation, lambda: host.bar0.write32(ID, 0))
    for place in (0x94, 0x9C, 0x184, 0x190, 0x404, 0x504, 0x714, 0x780):
        expect_error(f"a read at 0x{place:X}", TwinViolation, partial(host.bar0.read32, place))


@check(
    "registers",
    needs=("function", "state"),
    about=["vdma_source", "vdma_destination", "ISTATUS_HOST", "channels_per_status_bit", "source_channels", "config"],
)
def channel_interrupts(rig: Rig) -> None:
    """Channel c sets bit c of its side's register and bit c/4 of that side's byte in the status (driver.md 5.1)."""
    host = RawHost(rig.open_function())
    for channel in (0, 3, 4, 15, 16, 19, 20, 31):
        ring = Ring(host, channel, 4, 64, 16)
        number = 32 if channel < 16 else 33
        tail = b"\0\0\x10\0\x10\0\0\0" if channel < 16 else b""
        host.control(1, 37, b"\0", b"\xff", b"\0\0", b"\0\0")
        host.control(1, 71)
        # A sequencer that was never triggered does not finish: the firmware stops the channel with an error (9.4).
        configure(host, [(ACTIVATION, action(number, bytes([channel]), ring.info, tail)), (DYNAMIC, action(17, b"\0"))])
        enable(host)
        host.settle()
        side, other = (SOURCE, DESTINATION) if channel < 16 else (DESTINATION, SOURCE)
        expect(f"per-channel bit of {channel}", host.bar0.read32(side), 1 << channel)
        expect(f"other side for {channel}", host.bar0.read32(other), 0)
        group = 1 << (channel // 4) << (0 if channel < 16 else 8)
        expect(f"group bit of {channel}", host.bar0.read32(STATUS) & 0xFFFF, group)
        host.bar0.write32(side, 0xFFFFFFFF)
        host.bar0.write32(STATUS, 0xFFFFFFFF)
