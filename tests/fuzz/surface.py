"""What a surface is, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from random import Random

#: Most seconds of processor time that one input may take.
BUDGET_S = 2.0
#: Most memory that a worker may gain over what it had before its first input.
MEMORY_BYTES = 1 << 30


class Broken(AssertionError):
    """A property of the surface does not hold."""


@dataclass(frozen=True)
class Surface:
    """One place where foreign bytes come in.

    ``make_case`` gives the same bytes for the same state of the generator. ``run`` feeds them to the product and
    returns how many inputs that were (a case may be a sequence of them); it raises one of ``refusals`` where the
    product refuses, which is fine, and anything else is a failure. ``gain_bytes`` bounds the memory.
    """

    name: str
    make_case: Callable[[Random], bytes]
    run: Callable[[bytes], int]
    refusals: tuple[type[BaseException], ...]
    gain_bytes: int = MEMORY_BYTES
    budget_s: float = BUDGET_S


#: Surface -> its share of the inputs where a number of them is asked for: what matters more, and what costs less.
SHARES: dict[str, float] = {
    "hef_files": 10,
    "hef_reader": 10,
    "control_responses": 15,
    "mailbox_replies": 5,
    "control_requests": 20,
    "action_lists": 4,
    "descriptors": 6,
    "bar_accesses": 5,
    "config_space": 4,
    "hostile_device": 2,
    "ioctls": 2,
    "vfio_user": 5,
    "firmware_images": 4,
    "programs": 3,
    "models": 1,
    "darknet": 2,
    "calibration": 1.5,
    "pictures": 3,
    "settings": 2,
    "host_ops": 3,
    "traces": 1.5,
    "checkpoints": 1,
    "nir_files": 1,
    "agent_messages": 5,
    "broker_messages": 2,
    "snn_programs": 3,
    "feagi_files": 3,
}


def load_surface(name: str) -> Surface:
    """Import the module of a surface (with dots: anywhere), and with it the part of the product that it needs."""
    surface: Surface = import_module(name if "." in name else f"tests.fuzz.surfaces.{name}").SURFACE
    assert surface.name == name
    return surface


def case_random(seed: int, name: str, number: int) -> Random:
    """Return the generator of one case, which depends on nothing else."""
    return Random(f"{seed}/{name}/{number}")


def require(holds: object, what: str) -> None:
    """Raise `Broken` unless ``holds``."""
    if not holds:
        raise Broken(what)
