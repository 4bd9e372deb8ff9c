"""HEF files bent by field and schema and sealed again: `tests.fuzz.hef_reader` under the limits of the others."""

from __future__ import annotations

from functools import cache
from random import Random

from openhailo.errors import HefError
from tests.fuzz import hef_reader
from tests.fuzz.surface import Surface


@cache
def _seeds() -> list[hef_reader.Seed]:
    return hef_reader.seeds()


def make_case(rng: Random) -> bytes:
    """Return one damaged file."""
    return hef_reader.mutated(_seeds(), rng)


def run(case: bytes) -> int:
    """Read, describe, check and write it; a refusal counts as one."""
    if not hef_reader.exercise(case):
        raise HefError("refused")
    return 1


SURFACE = Surface("hef_reader", make_case, run, (HefError,))
