"""A device whose registers lie: attach, boot, controls, channels, recovery and close must end, with our errors only."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from openhailo.bus.protocols import DmaDirection
from openhailo.driver.control import FirmwareClient
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.errors import OpenHailoError
from tests.fuzz.materials import load_test_module
from tests.fuzz.mutate import edge, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

#: (BAR, offset or -1 for any, skip this many, then lie this often, value).
_LIE = struct.Struct("<BiIHI")
_PLACES = (
    *((0, at) for at in (0x98, 0x188, 0x18C, 0x18C, 0x400, 0x500, 0x700, 0x708, 0x70C)),
    *((2, at) for at in (0x20, 0x24, 0x28, 0x2C, 0x210, 0x214, 0x218, 0x21C)),
    *((4, at) for at in (0x640, 0x650, 0x654, 0x660, 0xC80, 0x2000, 0x2004, 0x3000, 0x980)),
    *((0, -1), (2, -1), (4, -1)),
)
#: What a load costs on the device's clock: long, so that a deadline comes after thousands of them, not millions.
_ACCESS_S = 1e-4


def make_case(rng: Random) -> bytes:
    """Return which reads lie, the configuration space, and whether firmware runs already."""
    lies = b"".join(_make_lie(rng) for _ in range(rng.choice((1, 1, 2, 3, 5))))
    config = bytearray(load_test_module("driver/fakes.py").FakeConfigSpace().data)
    for _ in range(rng.choice((0, 0, 1, 2, 8))):
        config[rng.choice((6, 0x34, 0x40, 0x41, 0x44, 0x50, 0x51, 0x70, 0x71, 0x78, 0x80, rng.randrange(256)))] = (
            rng.choice((0, 0xFF, 0x40, 0x41, 0x50, 0x70, rng.randrange(256)))
        )
    return pack_parts([lies, bytes(config), bytes([rng.random() < 0.6, rng.random() < 0.4])])


def _make_lie(rng: Random) -> bytes:
    bar, at = rng.choice(_PLACES)
    value = rng.choice((0, 1, 0xFFFFFFFF, 1 << 24, 1 << 25, 1 << 26, 1 << 27, 0xF, edge(rng, 32), rng.getrandbits(32)))
    often = rng.choice((1, 1, 2, 5, 0xFFFF))
    return _LIE.pack(bar, at, rng.choice((0, 0, 1, 2, 5, 20, 100)), often, value)


@cache
def _hostile() -> type[Any]:
    """Return the scripted chip of the driver's tests, with reads that lie and time that passes."""
    fakes = load_test_module("driver/fakes.py")

    class Hostile(fakes.FakeChip):  # type: ignore[misc, name-defined]
        def __init__(self, lies: list[list[int]], *, running: bool) -> None:
            super().__init__(running=running)
            self.lies = lies

        def load(self, bar: int, offset: int) -> int:
            self.clock.now += _ACCESS_S
            del self.log[:-8]
            value: int = super().load(bar, offset)
            for lie in self.lies:
                if lie[0] == bar and lie[1] in (offset, -1):
                    if lie[2]:
                        lie[2] -= 1
                    elif lie[3]:
                        lie[3] -= lie[3] != 0xFFFF
                        value = lie[4]
            return value

    return Hostile


def run(case: bytes) -> int:
    """Use the device as long as it lets us; afterwards nothing is left."""
    lies, config, (running, boots) = unpack_parts(case)
    chip = _hostile()([list(lie) for lie in _LIE.iter_unpack(lies)], running=bool(running))
    chip.config.data[:] = config
    chip.on_control = lambda _cpu, request: load_test_module("driver/fakes.py").answer(request)
    options = LinkOptions(clock=chip.clock, pause=chip.clock.sleep)
    firmware = load_test_module("driver/fakes.py").firmware_image() if boots else None
    link = None
    try:
        link = PcieLink(chip, firmware=firmware, options=options)
        _use(chip, link)
    except OpenHailoError as error:
        require(str(error), "an error without words")
    finally:
        if link is not None:
            link.close()
    require(chip.closed and not chip.dma.buffers, "the link leaves something behind")
    return 1


def _use(chip: Any, link: PcieLink) -> None:
    client = FirmwareClient(link)
    steps: tuple[Callable[[], Any], ...] = (
        client.clear_configured_apps,
        client.identify,
        lambda: link.read_log(0),
        lambda: link.read_log(1),
        lambda: link.read_notification(0.1),
        lambda: _transfer(chip, link),
        link.recover,
        client.identify,
        link.soft_reset,
    )
    for step in steps:
        try:
            step()
        except OpenHailoError as error:
            require(str(error), "an error without words")


def _transfer(chip: Any, link: PcieLink) -> None:
    """One frame each way, on channels that the device runs or says it runs."""
    for channel, direction in ((1, DmaDirection.TO_DEVICE), (16, DmaDirection.FROM_DEVICE)):
        dlist = link.create_descriptor_list(8, 64, circular=True)
        buffer = link.alloc_buffer(128, direction)
        link.enable_channels(1 << channel)
        chip.start_channel(channel, 8, dlist.dma_address)
        link.launch(channel, dlist, 0, [(buffer, 0, 128)])
        chip.run_channel(channel)
        for event in link.wait_channels(1 << channel, 0.2):
            require(event.completed in (0, 1), f"{event.completed} transfers completed of 1")
        link.disable_channels(1 << channel)


SURFACE = Surface("hostile_device", make_case, run, (), gain_bytes=1 << 28)
