"""Accesses of a hostile host to PCI configuration space, with register accesses in between."""

from __future__ import annotations

import struct
from random import Random

from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.violation import TwinViolation
from tests.fuzz.mutate import edge
from tests.fuzz.surface import Surface, require

_PER_CASE = 48
_ACCESS = struct.Struct("<BBHI")
_WRITE, _BAR = 0x80, 0x40
#: Command, BARs, capabilities: PCI Express, MSI, power management.
_KNOWN = (0, 4, 6, 0xC, 0x10, 0x14, 0x18, 0x20, 0x24, 0x30, 0x34, 0x3C, 0x80, 0x88, 0x8A, 0x90, 0xA8, 0xE0, 0xE2, 0xE4)
_MORE = (0xE8, 0xEC, 0xF8, 0xFC, 0x100, 0xFFC, 0xFFF)


def make_case(rng: Random) -> bytes:
    """Return accesses, most of them at registers."""
    return b"".join(_make_access(rng) for _ in range(_PER_CASE))


def _make_access(rng: Random) -> bytes:
    if rng.random() < 0.15:
        return _ACCESS.pack(_BAR | rng.choice((0, 2, 4)), 4, rng.choice((0x98, 0x18C, 0, 4)), 0)
    offset = rng.choice((*_KNOWN, *_MORE)) if rng.random() < 0.7 else rng.randrange(0x1010)
    width = rng.choice((1, 2, 4, 2, 4)) if rng.random() < 0.95 else rng.choice((0, 3, 8))
    return _ACCESS.pack(_WRITE if rng.random() < 0.6 else 0, width, offset, edge(rng, 32))


def run(case: bytes) -> int:
    """Ids and layout never change, whatever is written."""
    with Twin(clock=SteppedClock(), booted=True) as twin:
        chip = twin.chip
        for at in range(0, len(case), _ACCESS.size):
            flags, width, offset, value = _ACCESS.unpack_from(case, at)
            try:
                if flags & _BAR:
                    chip.bar_read(flags & 0xF, offset, width)
                elif flags & _WRITE:
                    chip.config_write(offset, width, value)
                else:
                    seen = chip.config_read(offset, width)
                    require(0 <= seen < 1 << 8 * width, f"{8 * width}-bit read gives {seen}")
            except TwinViolation as violation:
                require(str(violation), "a violation without words")
        require(chip.config_read(0, 4) == 0x28641E60, "the ids changed")
        require(chip.config_read(0x34, 1) == 0x80, "the list of capabilities moved")
        require(chip.config_read(0x88, 2) & 0x8000 == 0, "the reset bit stays")
        twin.run_until_idle()
    return 1


SURFACE = Surface("config_space", make_case, run, (), gain_bytes=1 << 28)
