"""A surface that breaks in every way there is: as its case says."""

from __future__ import annotations

import os
from random import Random

from tests.fuzz.surface import Surface, require

KINDS = ("fine", "refused", "raises", "violates", "gorges", "hangs", "dies")


class Refusal(Exception):
    """What it may raise."""


def make_case(rng: Random) -> bytes:
    """Return what is to happen."""
    return rng.choice(KINDS).encode()


def run(case: bytes) -> int:
    """Let it happen."""
    kind = case.decode()
    if kind == "refused":
        raise Refusal("no")
    if kind == "raises":
        raise KeyError("raised")
    require(kind != "violates", "violated")
    if kind == "gorges":
        return len(bytearray(1 << 30)) and 1
    while kind == "hangs":
        pass
    if kind == "dies":
        os.abort()
    return 1


SURFACE = Surface("tests.unit.fuzz.breaking_surface", make_case, run, (Refusal,), gain_bytes=1 << 28, budget_s=0.3)
