"""Camera sensors and devices on the board's own buses (control-protocol.md 10, 11)."""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._enums import Endianness
from ._errors import fail

#: operation, length, page, address, bitmask, value.
_OPERATION = struct.Struct("<BBBIII")
#: type, size, size after a reset, free, no offset at reset, height, width, frames per second, version, name.
_SECTION = struct.Struct("<IIHBBHHHH100s")
SECTION_BYTES, OPERATION_BYTES = _SECTION.size, _OPERATION.size


@dataclass(eq=False)
class I2CSlaveConfig:
    """A device on a bus of the board."""

    endianness: Endianness = field(default_factory=lambda: Endianness(0))
    slave_address: int = 0
    register_address_size: int = 0
    bus_index: int = 0
    should_hold_bus: bool = False


def slave_fields(slave: I2CSlaveConfig) -> dict[str, int]:
    """Return the members of a control that addresses ``slave``."""
    return {
        "slave_address": slave.slave_address,
        "register_address_size": slave.register_address_size,
        "bus_index": slave.bus_index,
        "should_hold_bus": int(slave.should_hold_bus),
        "endianness": int(slave.endianness),
    }


def read_operations(path: str) -> bytes:
    """Return the records of a file with one operation per line.

    Six numbers, decimal or 0x...: operation, length, page, address, bitmask, value (GUESS: the columns follow the
    record). Lines that begin with a letter or ``#`` are headings.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].strip()[:1].isalpha() and row[0][0] != "#"]
    except OSError as error:
        rows = fail("OPEN_FILE_FAILURE", f"{path}: {error.strerror or error}")
    try:
        return b"".join(_OPERATION.pack(*(int(cell, 0) for cell in row)) for row in rows)
    except (ValueError, struct.error) as error:
        message = f"{path}: a line is not six numbers ({error})"
    return fail("INVALID_ARGUMENT", message)


def write_operations(path: str, operations: bytes) -> None:
    """Write 15-byte records into a file that `read_operations` takes. Addresses, masks and values are hexadecimal."""
    whole = len(operations) - len(operations) % OPERATION_BYTES
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        for operation, length, page, *words in _OPERATION.iter_unpack(operations[:whole]):
            file.write(f"{operation},{length},0x{page:02X},{','.join(f'0x{word:X}' for word in words)}\n")


def pack_sections(sections: Iterable[Any]) -> bytes:
    """Return sections of openhailo as the 120-byte records that the firmware sends."""
    return b"".join(
        _SECTION.pack(
            section.sensor_type,
            section.config_size,
            section.reset_config_size,
            int(section.is_free),
            int(section.no_reset_offset),
            section.height,
            section.width,
            section.fps,
            section.version,
            section.name.encode()[:100],
        )
        for section in sections
    )


@dataclass(frozen=True)
class Section:
    """One section of sensor settings."""

    sensor_type: int
    config_size: int
    reset_config_size: int
    is_free: int
    no_reset_offset: int
    height: int
    width: int
    fps: int
    version: int
    name: str


def unpack_sections(raw: bytes) -> list[Section]:
    """Return the records that `pack_sections` made."""
    records: list[list[Any]] = [list(record) for record in _SECTION.iter_unpack(raw)]
    for record in records:
        record[-1] = record[-1].split(b"\0", 1)[0].decode("utf-8", "replace")
    return [Section(*record) for record in records]
