"""Loads and stores of a hostile host anywhere in the BARs; forbidden ones are `TwinViolation`s, and nothing else."""

from __future__ import annotations

import struct
from random import Random

from openhailo.spec.chip import CHIP
from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.violation import TwinViolation
from tests.fuzz.mutate import edge
from tests.fuzz.surface import Surface, require

_PER_CASE = 64
_ACCESS = struct.Struct("<BBHI")
_MOST_STEPS = 3000
_BARS = {0: 0x4000, 2: 0x1000, 4: 0x4000}
_WRITE, _NARROW8, _NARROW16, _STEP = 0x80, 0x10, 0x20, 0x40
#: Device addresses that windows may be pointed at: mailbox, code, boot registers, the page of the doorbell.
_ADDRESSES = (0x60000000, 0x20000, 0xA0000, 0xE0000, 0xE0980, 0x200000, 0x60020000, 0xFFFFF000, 0)
_VALUES = (0x17, 6, 1, 2, 4, 8, 3, 0xF, *_ADDRESSES)


def make_case(rng: Random) -> bytes:
    """Return accesses: half of them where something is, half anywhere."""
    cold = rng.random() < 0.3
    return bytes([cold]) + b"".join(_make_access(rng) for _ in range(_PER_CASE))


def _make_access(rng: Random) -> bytes:
    bar = rng.choice((0, 0, 2, 2, 4, 4, 4))
    offset = _known_offset(rng, bar) if rng.random() < 0.7 else rng.randrange(_BARS[bar] + 16)
    flags = bar | (_WRITE if rng.random() < 0.6 else 0) | (_STEP if rng.random() < 0.1 else 0)
    if rng.random() < 0.08:
        flags |= rng.choice((_NARROW8, _NARROW16))
    elif rng.random() < 0.9:
        offset &= ~3
    value = rng.choice(_VALUES) if rng.random() < 0.5 else edge(rng, 32)
    return _ACCESS.pack(flags, 0, offset, value)


def _known_offset(rng: Random, bar: int) -> int:
    if bar == CHIP.pci.config_bar:
        return rng.choice(CHIP.config.regs).offset
    if bar == CHIP.pci.vdma_bar:
        return rng.randrange(32) * 0x20 + rng.choice((0, 0x10)) + rng.choice((0, 4, 8, 12))
    box = CHIP.mailbox
    start = rng.choice((box.request, box.response, box.notification, box.doorbell, box.app_log, box.core_log, 0, 0x980))
    return start + 4 * rng.randrange(8) if start != box.doorbell else start


def run(case: bytes) -> int:
    """Make the accesses; afterwards the function still is what it was."""
    with Twin(clock=SteppedClock(), booted=not case[0]) as twin:
        function = twin.function()
        function.config.write(4, 2, 6)
        chip = twin.chip
        for at in range(1, len(case), _ACCESS.size):
            flags, _, offset, value = _ACCESS.unpack_from(case, at)
            width = 1 if flags & _NARROW8 else 2 if flags & _NARROW16 else 4
            try:
                if flags & _WRITE:
                    chip.bar_write(flags & 0xF, offset, width, value & (1 << 8 * width) - 1)
                else:
                    seen = chip.bar_read(flags & 0xF, offset, width)
                    require(0 <= seen < 1 << 8 * width, f"{8 * width}-bit load gives {seen}")
                if flags & _STEP:
                    twin.step()
            except TwinViolation as violation:
                require(str(violation), "a violation without words")
        _settle(twin)
        function.reset()
        require(chip.bar_read(0, 0x98) == 0x28641E60, "the id register reads wrong after a function reset")
        twin.state()
    return 1


def _settle(twin: Twin) -> None:
    steps = more = 0
    while True:
        try:
            more = twin.step()
        except TwinViolation:
            more = True
        if not more:
            return
        steps += 1
        require(steps < _MOST_STEPS, "the twin does not come to rest")


SURFACE = Surface("bar_accesses", make_case, run, (), gain_bytes=1 << 28)
