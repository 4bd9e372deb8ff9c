"""Cold start, firmware load, soft reset, shutdown, function reset, D3hot (driver.md 2, 3, 8.2, 10.3)."""

from __future__ import annotations

import struct
from functools import partial

from openhailo.driver.link import ChipLink
from openhailo.errors import BadImage, BootFailed, DeviceLost, DeviceTimeout
from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig

from .raw.host import (
    ATR,
    DOORBELL,
    ID,
    MAILBOX_ADDRESS,
    MASK,
    NOTIFIED,
    RESET_DONE,
    RING_RESET,
    RING_SHUTDOWN,
    SHUT_DOWN,
    STATUS,
    RawHost,
)
from .raw.lists import Network

_COLD = ("fresh", "function", "clock")
#: Where the parts of an image go (driver.md 2.2).
APP_HEADER, APP_CODE, KEY, CONTENT, CORE_CODE, CORE_HEADER = 0xE0030, 0x60000, 0xE0048, 0xE0390, 0xC0000, 0xA0000
BOARD_CONFIG, FIRMWARE_CONFIG, TRIGGER, BOOT_STATUS = 0x60001000, 0x60001500, 0xE0980, 0xE0000
#: A user configuration with one entry: the clock, 400 MHz (control-protocol.md 10).
USER_CONFIG = bytes.fromhex("0ba4f61f 00000000 01000000 0100 0600 04000000 0084d717")


def image_header(
    code_bytes: int, *, magic: int = 0x1DD89DE0, layout: int = 0, version: tuple[int, int, int] = (4, 21, 0)
) -> bytes:
    """Return one header of the image (driver.md 2.3)."""
    return struct.pack("<6I", magic, layout, *version, code_bytes)


def image_file(
    app: bytes = b"a" * 80, core: bytes = b"c" * 80, key: bytes = b"KEY!", content: bytes = b"LONGTEXT"
) -> bytes:
    """Return a firmware file (driver.md 2.3)."""
    return b"".join(
        (
            image_header(len(app)),
            app,
            struct.pack("<II", len(key), len(content)),
            key,
            content,
            image_header(len(core), version=(4, 21, 0x08000000)),
            core,
        )
    )


def load(host: RawHost, app_header: bytes, core_header: bytes, *, trigger: bytes = b"\1\0\0\0") -> bool:
    """Put an image into device memory, pull the trigger and wait for the boot interrupt."""
    for address, data in ((APP_CODE, b"a" * 80), (CORE_CODE, b"c" * 80), (KEY, b"KEY!"), (CONTENT, b"TEXT")):
        host.put(address, data)
    host.put(APP_HEADER, app_header)
    host.put(CORE_HEADER, core_header)
    host.put(BOARD_CONFIG, b"BOARD CONFIG" * 4)
    host.put(FIRMWARE_CONFIG, USER_CONFIG)
    host.put(TRIGGER, trigger)
    return host.wait(NOTIFIED, 5.0)


def _is_running(host: RawHost) -> bool:
    return host.bar0.read32(ATR + 0x08) == MAILBOX_ADDRESS


@check("boot", needs=_COLD, about=["boot", "mailbox_base"])
def cold_state(rig: Rig) -> None:
    """Before firmware: no mailbox window, boot code idle, no interrupts, windows 1-3 set up."""
    with rig.fresh(booted=False) as cold:
        host = RawHost(cold.open_function())
        expect("status", host.bar0.read32(STATUS), 0)
        expect_true("no firmware", not _is_running(host))
        expect("boot status", host.get(BOOT_STATUS, 4), b"\1\0\0\0")
        expect("param of window 1", host.bar0.read32(ATR + 0x20), 0x1017)
        expect("translation of window 1", host.bar0.read32(ATR + 0x28), 0x00200000)


@check("boot", needs=(*_COLD, "state"), about=["boot", "firmware", "image_header", "user_config", "IDENTIFY"])
def loads_an_image(rig: Rig) -> None:
    """Blocks by address, trigger, interrupt; then the image's version, and the configurations that came along."""
    with rig.fresh(booted=False, firmware={"follow_image_version": True}) as cold:
        host = RawHost(cold.open_function())
        version = (4, 21, 0x0102)
        booted = load(host, image_header(80, version=version), image_header(80, version=version))
        expect_true("boot interrupt", booted)
        expect("windows 0", [host.bar0.read32(ATR + at) for at in (0, 4, 8, 12, 16)], [0x17, 0, MAILBOX_ADDRESS, 0, 6])
        answer = host.control(0, 0)
        expect("version", answer[12:24].hex(), "040000001500000002010000")
        held = cold.state()["storage"]
        expect("board configuration", held["board_config"][:48], b"BOARD CONFIG" * 4)
        expect("user configuration", held["user_config"][:24], USER_CONFIG)


@check("boot", needs=(*_COLD, "state"), about=["boot", "firmware"])
def parts_of_the_image_arrive(rig: Rig) -> None:
    """Code and certificates are taken from their addresses."""
    with rig.fresh(booted=False) as cold:
        images = cold.watch_boots()
        host = RawHost(cold.open_function())
        load(host, image_header(80), image_header(80))
        (image,) = images
        expect("application code", image.app_code, b"a" * 80)
        expect("core code", image.core_code, b"c" * 80)
        expect("key", image.key, b"KEY!".ljust(0x348, b"\0"))
        expect("content", image.content, b"TEXT".ljust(0x5F0, b"\0"))
        expect("board config", len(image.board_config), 0x500)
        expect("firmware config", len(image.firmware_config), 0x500)
        expect("core version", image.core_version, (4, 21, 0))


@check("boot", needs=_COLD, about=["firmware", "image_header"])
def refuses_bad_headers(rig: Rig) -> None:
    """Magic, header version and the limits of both code sizes; the largest sizes boot."""
    good = image_header(80)
    bad = [
        (image_header(80, magic=0x1DD89DE1), good),
        (image_header(80, layout=1), good),
        (image_header(79), good),
        (image_header(0x40001), good),
        (good, image_header(80, magic=0x1DD89DE4)),
        (good, image_header(80, layout=1)),
        (good, image_header(79)),
        (good, image_header(0x20001)),
    ]
    for app, core in bad:
        with rig.fresh(booted=False) as cold:
            host = RawHost(cold.open_function())
            expect_true(f"no boot with {app.hex()} {core.hex()}", not load(host, app, core))
            expect_true("no firmware", not _is_running(host))
            expect_true("a good image boots afterwards", load(host, good, good))
    for app, core in ((image_header(0x40000), good), (good, image_header(0x20000))):
        with rig.fresh(booted=False) as cold:
            expect_true("the largest code boots", load(RawHost(cold.open_function()), app, core))


@check("boot", needs=_COLD, about=["trigger_value", "trigger", "boot"])
def only_the_trigger_value_boots(rig: Rig) -> None:
    """1 starts the boot code; other values do not."""
    for value in (b"\0\0\0\0", b"\2\0\0\0", b"\1\1\0\0"):
        with rig.fresh(booted=False) as cold:
            host = RawHost(cold.open_function())
            expect_true(f"no boot at {value.hex()}", not load(host, image_header(80), image_header(80), trigger=value))


@check("boot", needs=("function",), about=["soft_reset", "boot_status", "soft_reset_done", "doorbell"])
def soft_reset_by_doorbell(rig: Rig) -> None:
    """8 brings bit 24 a little later; then the boot code is idle and there is no firmware."""
    host = RawHost(rig.open_function())
    expect_true("firmware runs", _is_running(host))
    host.bar4.write32(DOORBELL, RING_RESET)
    expect("bit 24 at once", host.bar0.read32(STATUS) & RESET_DONE, 0)
    expect_true("a message", host.function.irq.wait(5.0))
    expect("status", host.bar0.read32(STATUS), RESET_DONE)
    expect_true("soft reset", host.wait(RESET_DONE, 5.0))
    expect_true("no firmware", not _is_running(host))
    expect("boot status", host.get(BOOT_STATUS, 4), b"\1\0\0\0")
    expect_true("boots again", load(host, image_header(80), image_header(80)))


@check("boot", needs=("function",), about=["driver_shutdown", "driver_shutdown_ack", "doorbell"])
def shutdown_by_doorbell(rig: Rig) -> None:
    """4 aborts the channels and brings bit 27 within 5 ms; firmware keeps running."""
    host = RawHost(rig.open_function())
    network = Network(host, b"not a program")
    network.start()
    expect("channel runs", host.registers(1)[0] & 3, 1)
    host.bar4.write32(DOORBELL, RING_SHUTDOWN)
    host.bar0.write32(STATUS, 0xFFFFFFFF)
    expect_true("a message", host.function.irq.wait(0.005))
    expect("status", host.bar0.read32(STATUS), SHUT_DOWN)
    expect_true("acknowledged", host.wait(SHUT_DOWN, 0.005))
    expect("channel is aborted", host.registers(1)[0] & 3, 0)
    expect_true("firmware runs", _is_running(host))


@check("boot", needs=("function", "state"), about=["doorbell"])
def unknown_doorbell_bits(rig: Rig) -> None:
    """No fact names other bits."""
    from openhailo.twin import TwinViolation

    host = RawHost(rig.open_function())
    for bits in (0x10, 0x20, 0x40):
        expect_error(f"doorbell {bits}", TwinViolation, partial(host.bar4.write32, DOORBELL, bits))
    for place in (DOORBELL - 4, DOORBELL + 4, 0x1000):
        expect_error(f"write at 0x{place:X}", TwinViolation, partial(host.bar4.write32, place, 1))


@check("boot", needs=("function",), about=["config", "pci"])
def function_reset_is_power_on(rig: Rig) -> None:
    """After FLR the mask is zero and firmware has to be loaded again."""
    function = rig.open_function()
    host = RawHost(function)
    function.reset()
    expect("mask", host.bar0.read32(MASK), 0)
    expect_true("no firmware", not _is_running(host))


@check("boot", needs=("function",), about=["pci"])
def sleep_keeps_state(rig: Rig) -> None:
    """Back in D0 from D3hot everything is as before (driver.md 10.1)."""
    function = rig.open_function()
    host = RawHost(function)
    power = _capability(host, 0x01) + 4
    host.bar4.write32(0x40, 0xCAFE1234)
    function.config.write(power, 2, 3)
    expect("power state", function.config.read(power, 2) & 3, 3)
    function.config.write(power, 2, 0)
    expect("mailbox memory", host.bar4.read32(0x40), 0xCAFE1234)
    expect("mask", host.bar0.read32(MASK), 0xFF00FFFF)


@check("boot", needs=("function", "state"), about=["pci"])
def sleeping_bars_do_not_answer(rig: Rig) -> None:
    """In D3hot the BARs read all ones. Asked of the twin alone: a kernel may end processes that touch them then."""
    host = RawHost(rig.open_function())
    power = _capability(host, 0x01) + 4
    host.function.config.write(power, 2, 3)
    expect("id register in D3hot", host.bar0.read32(ID), 0xFFFFFFFF)
    host.function.config.write(power, 2, 0)
    expect("id register in D0", host.bar0.read32(ID), 0x28641E60)


def _capability(host: RawHost, wanted: int) -> int:
    at = host.function.config.read(0x34, 1)
    while at and host.function.config.read(at, 1) != wanted:
        at = host.function.config.read(at + 1, 1)
    expect_true(f"capability {wanted}", at)
    return at


def _open(rig: Rig) -> ChipLink:
    return rig.link


# --- the driver's side --------------------------------------------------------------------------------------------


@check("boot", needs=("fresh",), about=["boot", "firmware", "image_header", "certificate_header"])
def driver_boots_a_cold_chip(rig: Rig) -> None:
    """A file goes to the chip and comes up as what it says it is; reset and shutdown work from the driver."""
    with rig.fresh(booted=False, image=image_file(), firmware={"follow_image_version": True}) as cold:
        expect("version", str(cold.client.identify().version), "4.21.0")
        expect("core version", str(cold.client.core_identify()), "4.21.0")
        cold.link.soft_reset()
        expect("version after a soft reset", str(cold.client.identify().version), "4.21.0")


@check("boot", needs=(*_COLD, "state"), about=["boot", "firmware", "config_max_bytes"])
def driver_writes_what_the_file_says(rig: Rig) -> None:
    """Every part lies at its address in device memory, configurations included."""
    options = {"board_config": b"B" * 0x500, "firmware_config": USER_CONFIG}
    with rig.fresh(booted=False, image=image_file(), options=options) as cold:
        images = cold.watch_boots()
        _open(cold)
        (image,) = images
        expect("application code", image.app_code, b"a" * 80)
        expect("core code", image.core_code, b"c" * 80)
        expect("key", image.key[:5], b"KEY!\0")
        expect("content", image.content[:9], b"LONGTEXT\0")
        expect("board configuration", image.board_config, b"B" * 0x500)
        expect("firmware configuration", image.firmware_config[:24], USER_CONFIG)
        for name in ("board_config", "firmware_config"):
            too_long = rig.fresh(booted=False, image=image_file(), options={name: b"x" * 0x501})
            expect_error(f"{name} of 0x501 bytes", BadImage, partial(_open, too_long))


def _bad_files() -> list[tuple[str, bytes]]:
    good = image_file()
    return [
        ("wrong magic", b"\xe1" + good[1:]),
        ("wrong header version", good[:4] + b"\1" + good[5:]),
        ("79 bytes of application code", image_file(app=b"a" * 79)),
        ("79 bytes of core code", image_file(core=b"c" * 79)),
        ("too much application code", image_file(app=bytes(0x40001))),
        ("too much core code", image_file(core=bytes(0x20001))),
        ("a key of 0x1001 bytes", image_file(key=bytes(0x1001))),
        ("content of 0x1001 bytes", image_file(content=bytes(0x1001))),
        ("a byte too many", good + b"\0"),
        ("a byte too few", good[:-1]),
        ("0x50001 bytes", image_file(app=bytes(0x40000), core=bytes(0x50001 - 0x40000 - 68))),
    ]


@check("boot", needs=("pcie", "fresh"), about=["firmware", "image_header", "certificate_header"])
def driver_refuses_bad_files(rig: Rig) -> None:
    """Each limit of driver.md 2.3, from both sides."""
    for what, data in _bad_files():
        with rig.fresh(booted=False, image=data) as cold:
            expect_error(what, BadImage, partial(_open, cold))
    edges = (
        image_file(app=bytes(0x40000)),
        image_file(core=bytes(0x10000 - 0x1000)),
        image_file(key=bytes(0x1000)),
        image_file(content=bytes(0x1000)),
        image_file(app=bytes(0x40000), core=bytes(0x50000 - 0x40000 - 68)),
    )
    for data in edges:
        _parse(rig, data)
    _parse(rig, image_file(core=bytes(0x20000)))


def _parse(rig: Rig, data: bytes) -> None:
    from openhailo.driver.boot import parse_image

    image = parse_image(data, rig.spec)
    parts = image.app_header + image.app_code + image.key + image.content + image.core_header + image.core_code
    expect("bytes of the parts", len(parts), len(data) - 8)


@check("boot", needs=("pcie", "fresh", "faults", "clock"), about=["limits", "boot_timeout_s", "soft_reset_timeout_s"])
def driver_gives_up_in_time(rig: Rig) -> None:
    """5 s for a boot and for a soft reset; 5 ms for a shutdown (driver.md 2.4, 3)."""
    with rig.fresh(booted=False, image=image_file()) as cold:
        cold.faults.boot_hangs = True
        started = cold.now_s
        expect_error("a boot that hangs", BootFailed, partial(_open, cold))
        expect("seconds waited for a boot", round(cold.now_s - started, 1), 5.0)
    with rig.fresh(image=image_file()) as running:
        running.faults.soft_reset_hangs = True
        started = running.now_s
        expect_error("a soft reset that hangs", DeviceTimeout, partial(_open, running))
        expect("seconds waited for a soft reset", round(running.now_s - started, 1), 5.0)
    with rig.fresh() as closing:
        _open(closing)
        closing.faults.shutdown_hangs = True
        started = closing.now_s
        closing.link.close()
        expect("milliseconds waited for a shutdown", round(1000 * (closing.now_s - started)), 5)


@check("boot", needs=("pcie", "fresh", "faults", "clock", "state"), about=["boot_status_polls", "boot_status_idle"])
def driver_polls_the_boot_status(rig: Rig) -> None:
    """Ten looks, one millisecond apart, for boot code that is idle (driver.md 2.4)."""
    with rig.fresh(image=image_file()) as running:
        _open(running)
        running.faults.boot_status_stays = 7
        started = running.now_s
        expect_error("boot code that is never idle", BootFailed, running.link.soft_reset)
        expect("milliseconds of reset and polling", int(1000 * (running.now_s - started)), 11)


@check("boot", needs=("pcie", "fresh"), about=["vendor_id", "DEVICE_ID"])
def driver_wants_the_right_card(rig: Rig) -> None:
    """A function without the id, or without firmware and image, is refused."""
    with rig.fresh(booted=False) as cold:
        expect_error("a cold chip without an image", BootFailed, partial(_open, cold))
    with rig.fresh() as other:
        chip = other.twin.chip
        chip.registers.values[0x98] = 0x28649E60
        expect_error("a card of another vendor", DeviceLost, partial(_open, other))
    with rig.fresh() as gone:
        gone.faults.link_down = True
        expect_error("a card that is not there", DeviceLost, partial(_open, gone))


@check("boot", needs=("function", "fresh", "state"), about=["min_max_read_request_bytes", "max_page_size", "pci"])
def page_follows_read_requests(rig: Rig) -> None:
    """Read requests below 512 bytes tie the largest descriptor page to them (driver.md 6.4)."""
    for code, page in ((0, 128), (1, 256), (2, 4096), (5, 4096)):
        with rig.fresh() as other:
            function = other.open_function()
            at = _capability(RawHost(function), 0x10) + 8
            function.config.write(at, 2, function.config.read(at, 2) & ~0x7000 | code << 12)
            expect(f"largest page with read requests of {128 << code}", other.link.info.desc_max_page_size, page)
