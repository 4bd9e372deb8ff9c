"""Standard PCI configuration space: what the driver switches on and off (PCI and PCI Express base specifications)."""

from __future__ import annotations

import time
from collections.abc import Callable

from openhailo.bus.protocols import ConfigSpace
from openhailo.errors import DeviceLost

_COMMAND, _STATUS, _CAPABILITIES = 0x04, 0x06, 0x34
_COMMAND_MEMORY, _COMMAND_MASTER = 0x2, 0x4
_STATUS_HAS_CAPABILITIES = 0x10
_CAP_POWER, _CAP_EXPRESS = 0x01, 0x10
_POWER_CONTROL, _POWER_STATE_MASK = 4, 0x3
_DEVICE_CONTROL, _LINK_CONTROL = 0x8, 0x10
_LINK_CONTROL_L0S = 0x1
_D3HOT = 3
#: A function needs 10 ms to leave D3hot.
_D3HOT_EXIT_S = 0.010
_MAX_CAPABILITIES = 48


def wake(config: ConfigSpace, pause: Callable[[float], None] = time.sleep) -> None:
    """Bring the function to D0, and switch memory decoding and bus mastering on (driver.md 8.2 row 6)."""
    power = find_capability(config, _CAP_POWER)
    if power:
        control = config.read(power + _POWER_CONTROL, 2)
        if control & _POWER_STATE_MASK:
            config.write(power + _POWER_CONTROL, 2, control & ~_POWER_STATE_MASK)
            if control & _POWER_STATE_MASK == _D3HOT:
                pause(_D3HOT_EXIT_S)
    command = config.read(_COMMAND, 2)
    config.write(_COMMAND, 2, command | _COMMAND_MEMORY | _COMMAND_MASTER)


def stop_mastering(config: ConfigSpace) -> None:
    """Take the right to DMA and to send messages away."""
    config.write(_COMMAND, 2, config.read(_COMMAND, 2) & ~_COMMAND_MASTER)


def disable_l0s(config: ConfigSpace) -> None:
    """Switch ASPM L0s off, an erratum of the card (driver.md 1.1, 8.2 row 12); ours is only the endpoint's half."""
    express = find_capability(config, _CAP_EXPRESS)
    if express:
        control = config.read(express + _LINK_CONTROL, 2)
        if control & _LINK_CONTROL_L0S:
            config.write(express + _LINK_CONTROL, 2, control & ~_LINK_CONTROL_L0S)


def max_read_request_bytes(config: ConfigSpace) -> int:
    """Return the maximum read request size in bytes; 128 without a PCI Express capability (driver.md 6.4, 10.1)."""
    express = find_capability(config, _CAP_EXPRESS)
    return 128 << (config.read(express + _DEVICE_CONTROL, 2) >> 12 & 7) if express else 128


def find_capability(config: ConfigSpace, wanted: int) -> int:
    """Return the offset of a capability, 0 when there is none. Raises `DeviceLost` when nothing answers."""
    status = config.read(_STATUS, 2)
    if status == 0xFFFF:
        raise DeviceLost(name="the PCI function", detail="its configuration space reads all ones")
    if not status & _STATUS_HAS_CAPABILITIES:
        return 0
    at = config.read(_CAPABILITIES, 1) & ~3
    for _ in range(_MAX_CAPABILITIES):
        if not at:
            return 0
        if config.read(at, 1) == wanted:
            return at
        at = config.read(at + 1, 1) & ~3
    return 0
