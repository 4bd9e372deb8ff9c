"""Devices of this process: found by id, opened once, shared by whoever asks (pyhailort-api.md 8, 15, 25 row 18).

The original opens a board twice where a `VDevice` and a `Device` are used side by side. A user-space driver cannot,
so both get the same `openhailo.Device`. Ids are PCI addresses; a virtual chip gets one in domain ffff, and the names
that `openhailo.open` takes work as ids as well.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from pathlib import Path

import openhailo
from openhailo.errors import DeviceBusy, OpenHailoError

from ._errors import fail

#: Environment variables: which devices there are (names separated by commas; default: the real ones, else a twin).
DEVICES_VARIABLE = "OPENHAILO_DEVICE"
_ADDRESS = re.compile(r"(?:([0-9a-fA-F]{4}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])$")
_VIRTUAL_DOMAIN = "ffff"


class Board:
    """An opened device and who uses it. ``exclusive`` says that a `VDevice` runs networks on it."""

    def __init__(self, board_id: str, device: openhailo.Device) -> None:
        self.id, self.device = board_id, device
        self.users = 0
        self.exclusive = self.is_lent = False
        self.lock = threading.RLock()
        self.pid = os.getpid()


_lock = threading.RLock()
_boards: dict[str, Board] = {}


def known_names() -> list[str]:
    """Return the openhailo names of the devices there are, in scan order."""
    wanted = [name.strip() for name in os.environ.get(DEVICES_VARIABLE, "").split(",") if name.strip()]
    if wanted:
        return wanted
    found = [candidate.name for candidate in openhailo.list_devices()]
    real = [name for name in found if not name.startswith("twin")]
    nodes = [name for name in real if name.startswith("kernel:")]
    return nodes or real or found


def scan() -> list[str]:
    """Return the ids of the devices there are."""
    return list(_by_id())


def name_of(device_id: str) -> str:
    """Return openhailo's name of a board."""
    return _by_id()[resolve(device_id)]


def _by_id() -> dict[str, str]:
    """Return id -> openhailo name."""
    return {_id_of(name, place): name for place, name in enumerate(known_names(), start=1)}


def _id_of(name: str, place: int) -> str:
    scheme, _, target = name.partition(":")
    if scheme == "pci":
        return normalise(target) or target
    if scheme == "kernel":
        return _address_of_node(target) or f"{_VIRTUAL_DOMAIN}:{place:02x}:00.0"
    return f"{_VIRTUAL_DOMAIN}:{place:02x}:00.0"


def _address_of_node(node: str) -> str:
    """Return the PCI address of ``/dev/hailoN``, from the driver's class folder (driver.md 1.3)."""
    with suppress(OSError):
        location = Path("/sys/class/hailo_chardev", Path(node).name, "board_location").read_text(encoding="ascii")
        return normalise(location.strip()) or ""
    return ""


def normalise(device_id: str) -> str:
    """Return ``dddd:bb:dd.f`` of a PCI address in long or short form; empty when it is none."""
    match = _ADDRESS.match(device_id.strip())
    if match is None:
        return ""
    domain, bus, device, function = match.groups()
    return f"{domain or '0000'}:{bus}:{device}.{function}".lower()


def resolve(device_id: str) -> str:
    """Return the scan's id that ``device_id`` means. An unknown one is status 2 (runtime-behaviour.md 3)."""
    known = _by_id()
    for scanned, name in known.items():
        if device_id in (scanned, name) or _same(device_id, scanned):
            return scanned
    return fail("INVALID_ARGUMENT", f"no device {device_id!r}; the scan finds {', '.join(known) or 'none'}")


def _same(left: str, right: str) -> bool:
    """Whether two PCI addresses mean the same function; a short one fits any domain."""
    first, second = normalise(left), normalise(right)
    short = left.count(":") == 1
    return bool(first) and (first == second or (short and first[5:] == second[5:]))


def take(device_id: str, *, exclusive: bool = False) -> Board:
    """Open a device, or share it if it is open. Raises statuses and errors of openhailo."""
    board_id = resolve(device_id)
    with _lock:
        board = _boards.get(board_id)
        if board is not None and board.pid != os.getpid():
            board = None
        if board is not None and exclusive and board.exclusive:
            raise DeviceBusy(name=board_id, detail="another VDevice of this process uses it")
        if board is None:
            board = _boards[board_id] = Board(board_id, openhailo.open(_by_id()[board_id]))
        board.users += 1
        board.exclusive |= exclusive
        return board


def lend(device_id: str, device: openhailo.Device) -> Board:
    """Let ``device``, which a broker has, stand for a board as long as nobody has it himself."""
    with _lock:
        board = Board(device_id, device)
        board.users, board.is_lent = 1, True
        _boards.setdefault(device_id, board)
        return board


def is_taken(device_id: str) -> bool:
    """Whether a `VDevice` of this process has the device."""
    board = _boards.get(device_id)
    return board is not None and board.exclusive and board.pid == os.getpid()


def give_back(board: Board, *, exclusive: bool = False) -> None:
    """Let go of a device; it is closed with its last user. Never fails because the chip is gone."""
    with _lock:
        board.users -= 1
        board.exclusive &= not exclusive
        if board.users or board.pid != os.getpid():
            return
        if _boards.get(board.id) is board:
            del _boards[board.id]
        if board.is_lent:
            return
        with suppress(OpenHailoError):
            board.device.close()


def close_all() -> None:
    """Close every device of this process, whoever uses it."""
    with _lock:
        boards = [board for board in _boards.values() if board.pid == os.getpid()]
        _boards.clear()
    for board in boards:
        with suppress(OpenHailoError):
            if not board.is_lent:
                board.device.close()
