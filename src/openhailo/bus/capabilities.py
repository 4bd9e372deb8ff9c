"""Capabilities in configuration space, as far as the bus itself needs them (PCI Express base specification)."""

from __future__ import annotations

from typing import Final

from .protocols import ConfigSpace

PCI_EXPRESS: Final = 0x10
MSI: Final = 0x05
_STATUS, _STATUS_HAS_CAPABILITIES, _FIRST = 0x06, 0x10, 0x34
#: As many as fit: a broken list must not run in circles.
_MAX_CAPABILITIES: Final = 48
_DEVICE_CONTROL, _ENABLE_NO_SNOOP = 0x08, 0x0800


def find_capability(config: ConfigSpace, wanted: int) -> int:
    """Return the offset of a capability, 0 when there is none (or nothing answers)."""
    status = config.read(_STATUS, 2)
    if status == 0xFFFF or not status & _STATUS_HAS_CAPABILITIES:
        return 0
    at = config.read(_FIRST, 1) & 0xFC
    for _ in range(_MAX_CAPABILITIES):
        if not at:
            return 0
        if config.read(at, 1) == wanted:
            return at
        at = config.read(at + 1, 1) & 0xFC
    return 0


def forbid_no_snoop(config: ConfigSpace) -> None:
    """Keep the function from making requests that pass the processor's caches by."""
    express = find_capability(config, PCI_EXPRESS)
    if express:
        control = config.read(express + _DEVICE_CONTROL, 2)
        if control & _ENABLE_NO_SNOOP:
            config.write(express + _DEVICE_CONTROL, 2, control & ~_ENABLE_NO_SNOOP)
