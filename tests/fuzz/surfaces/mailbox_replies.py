"""Reply area, notification buffer and logs as a hostile device fills them, through the whole link."""

from __future__ import annotations

import hashlib
import struct
from random import Random
from typing import Any

from openhailo.driver.events import parse_notification
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.errors import DeviceTimeout, OpenHailoError, ProtocolError
from openhailo.spec.chip import CHIP
from tests.fuzz.materials import load_test_module
from tests.fuzz.mutate import edge, mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

_IDENTIFY = struct.pack(">5I", 2, 0, 0, 0, 0)
_GOOD = struct.pack(">7I", 2, 1, 0, 0, 0, 0, 0)
_REPLY, _BOX = 0x60000640, 0x60000C80
_LOGS = (0x2000, 0x3000)
_EVENT = struct.pack("<7I", 1, 5, 1, 3, 2, 4, 16) + bytes(16)


def make_case(rng: Random) -> bytes:
    """Return digest, length and body of a reply; a notification; both log headers."""
    body = mutate_bytes(rng, _GOOD) if rng.random() < 0.6 else rng.randbytes(rng.randrange(1600))
    length = len(body) if rng.random() < 0.7 else edge(rng, 32)
    digest = hashlib.md5(body).digest() if rng.random() < 0.7 else rng.randbytes(16)
    message = mutate_bytes(rng, _EVENT) if rng.random() < 0.7 else rng.randbytes(rng.randrange(900))
    box = struct.pack("<HH", rng.choice((0, 1, 1, 1, 0xFFFF)), len(message) if rng.random() < 0.7 else edge(rng, 16))
    logs = [struct.pack("<II", *(rng.randrange(4088) if rng.random() < 0.7 else edge(rng, 32) for _ in "ab"))
            for _ in _LOGS]  # fmt: skip
    return pack_parts([digest + struct.pack("<I", length), body, box + message, *logs])


def run(case: bytes) -> int:
    """One control, one notification, two logs."""
    header, body, box, *logs = unpack_parts(case)
    chip = load_test_module("driver/fakes.py").FakeChip()
    options = LinkOptions(clock=chip.clock, pause=chip.clock.sleep)
    with PcieLink(chip, options=options) as link:
        _try_control(chip, link, header + body)
        chip.write_memory(_BOX, box)
        chip.raise_status(25)
        payload = link.read_notification(0.1)
        require(payload is None or len(payload) <= 892, "a notification of impossible length")
        _try(parse_notification, CHIP, payload or b"")
        for cpu, (base, offsets) in enumerate(zip(_LOGS, logs, strict=True)):
            chip.bar4[base], chip.bar4[base + 4] = struct.unpack("<II", offsets)
            _try(link.read_log, cpu)
    require(chip.closed and not chip.dma.buffers, "the link leaves something behind")
    return 1


def _try_control(chip: Any, link: PcieLink, area: bytes) -> None:
    def answer(_cpu: int, _request: bytes) -> None:
        chip.write_memory(_REPLY, area)
        chip.raise_status(26)

    chip.on_control = answer
    try:
        require(len(link.control(_IDENTIFY, 0)) <= 1500, "an answer of impossible length")
    except (ProtocolError, DeviceTimeout) as error:
        require(str(error), "an error without words")


def _try(what: Any, *arguments: Any) -> None:
    try:
        what(*arguments)
    except OpenHailoError as error:
        require(str(error), "an error without words")


SURFACE = Surface("mailbox_replies", make_case, run, (), gain_bytes=1 << 28)
