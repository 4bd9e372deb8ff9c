"""Faults that can be put into a twin, to see whether a driver survives them.

Plain attributes, read by the hardware (and firmware) at the moment they matter. Counters count down as the fault
strikes; `ALWAYS` never runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openhailo.errors import InputError

ALWAYS = -1


@dataclass
class Faults:
    """What is broken right now; everything off by default."""

    #: The card fell off the bus: every read is all ones, writes and messages are lost.
    link_down: bool = False
    #: The next N controls are executed, but never answered.
    drop_answers: int = 0
    #: The next N answers carry a wrong MD5.
    wrong_digests: int = 0
    #: The next N answers declare ``answer_length_bytes`` instead of their length.
    wrong_lengths: int = 0
    answer_length_bytes: int = 0xFFFFFFFF
    #: The next N answers come ``late_by_ns`` late.
    late_answers: int = 0
    late_by_ns: int = 2_000_000_000
    #: The next N interrupt messages are lost (the status registers still show them).
    drop_interrupts: int = 0
    #: Firmware never comes up after the trigger.
    boot_hangs: bool = False
    #: Soft reset is never answered.
    soft_reset_hangs: bool = False
    #: What boot code says about itself after a soft reset, instead of "idle".
    boot_status_stays: int | None = None
    #: Driver shutdown is never answered.
    shutdown_hangs: bool = False
    #: The next N dword reads of device memory have ``readback_xor`` flipped.
    corrupt_readbacks: int = 0
    readback_xor: int = 0x00000001
    #: Channel -> how many more transfers go well before its next descriptor fails.
    descriptor_errors: dict[int, int] = field(default_factory=dict)
    #: Channels that move nothing although descriptors are there.
    stalled_channels: set[int] = field(default_factory=set)
    #: Opcode -> (major, minor) status the firmware refuses it with.
    control_status: dict[int, tuple[int, int]] = field(default_factory=dict)

    def strikes(self, name: str) -> bool:
        """Tell whether counter ``name`` strikes now, and count it down."""
        left: int = getattr(self, name)
        if left == 0:
            return False
        if left > 0:
            setattr(self, name, left - 1)
        return True

    def descriptor_fails(self, channel: int) -> bool:
        """Tell whether this transfer of ``channel`` fails, and count it down."""
        left = self.descriptor_errors.get(channel)
        if left is None:
            return False
        if left > 0:
            self.descriptor_errors[channel] = left - 1
            return False
        del self.descriptor_errors[channel]
        return True

    def load(self, values: Mapping[str, Any]) -> None:
        """Break exactly what ``values`` say, by attribute; channels and opcodes may be texts. Raises `InputError`."""
        made = Faults()
        for name, value in values.items():
            if name not in _READERS:
                raise InputError(what="fault", detail=f"{name!r} is none of {', '.join(sorted(_READERS))}")
            try:
                setattr(made, name, _READERS[name](value))
            except (TypeError, ValueError, AttributeError) as error:
                raise InputError(what=f"fault {name}", detail=f"{value!r} does not fit: {error}") from error
        self.__dict__.update(made.__dict__)

    def clear(self) -> None:
        """Repair everything."""
        self.__dict__.update(Faults().__dict__)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number")
    return value


def _by_number(value: Any) -> dict[int, int]:
    return {int(key): _number(count) for key, count in value.items()}


def _statuses(value: Any) -> dict[int, tuple[int, int]]:
    return {int(key): (_number(major), _number(minor)) for key, (major, minor) in value.items()}


_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("link_down", "boot_hangs", "soft_reset_hangs", "shutdown_hangs"), _flag),
    **dict.fromkeys(
        (
            *("drop_answers", "wrong_digests", "wrong_lengths", "answer_length_bytes", "late_answers", "late_by_ns"),
            *("drop_interrupts", "corrupt_readbacks", "readback_xor"),
        ),
        _number,
    ),
    "boot_status_stays": lambda value: None if value is None else _number(value),
    "descriptor_errors": _by_number,
    "stalled_channels": lambda value: {_number(channel) for channel in value},
    "control_status": _statuses,
}
