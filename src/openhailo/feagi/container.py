"""FEAGI's byte container, version 4, and the XYZP structures in it: what agents send and get (feagi.md 11).

Container: u8 version, u16 counter, u8 number of structures, 8 bytes agent id, u32 length of each structure, then the
structures. A structure begins with u8 type, u8 version. Type 11 (XYZP): u16 number of areas, for each 8 bytes cortical
id, u32 start, u32 length in bytes; then for each area x[n], y[n], z[n] as u32 and p[n] as f32. Little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.errors import InputError

CONTAINER_VERSION: Final = 4
XYZP_TYPE: Final = 11
XYZP_VERSION: Final = 1
"""GUESS: the page gives the type of the structure, not its version; readers here take any."""
ID_BYTES: Final = 8
MAX_BYTES: Final = 256 << 20
MAX_STRUCTURES: Final = 255
NEURON_BYTES: Final = 16
_HEAD: Final = struct.Struct("<BHB8s")
_AREA: Final = struct.Struct("<8sII")
_XYZP: Final = struct.Struct("<BBH")


@dataclass(frozen=True)
class Container:
    """One message: structures as bytes, who sent it, and a counter."""

    structures: tuple[bytes, ...] = field(repr=False)
    agent_id: bytes = bytes(ID_BYTES)
    counter: int = 0


@dataclass(frozen=True, eq=False)
class AreaPoints:
    """Potentials at coordinates of one cortical area: ``x``, ``y``, ``z`` (u32) and ``p`` (f32), one element each."""

    cortical_id: bytes
    x: npt.NDArray[np.uint32]
    y: npt.NDArray[np.uint32]
    z: npt.NDArray[np.uint32]
    p: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if len(self.cortical_id) != ID_BYTES:
            raise InputError(what="cortical id", detail=f"{len(self.cortical_id)} bytes, needed {ID_BYTES}")
        for name, dtype in (("x", "<u4"), ("y", "<u4"), ("z", "<u4"), ("p", "<f4")):
            values = np.asarray(getattr(self, name))
            if values.ndim != 1 or len(values) != len(self.x):
                raise InputError(what=name, detail="x, y, z and p must be equally long, with one dimension")
            if name != "p" and values.size and not _are_coordinates(values):
                raise InputError(what=name, detail="coordinates are whole numbers of 0..2**32-1")
            with np.errstate(over="ignore", invalid="ignore"):
                object.__setattr__(self, name, values.astype(dtype, copy=False))

    def __len__(self) -> int:
        return len(self.x)


def _are_coordinates(values: npt.NDArray[Any]) -> bool:
    return values.dtype.kind in "iu" and bool(values.min() >= 0 and values.max() < 1 << 32)


def parse_container(data: bytes | memoryview) -> Container:
    """Read a container. Every byte must be accounted for.

    Raises:
        InputError: another version, lengths that do not add up, a structure without head, or more than 256 MiB.
    """
    view = memoryview(data).cast("B")
    if not _HEAD.size <= len(view) <= MAX_BYTES:
        raise InputError(what="container", detail=f"{len(view)} bytes; {_HEAD.size}..{MAX_BYTES} are possible")
    version, counter, count, agent_id = _HEAD.unpack_from(view)
    if version != CONTAINER_VERSION:
        raise InputError(what="container", detail=f"version {version}; only {CONTAINER_VERSION} is read")
    at = _HEAD.size + 4 * count
    if len(view) < at:
        raise InputError(what="container", detail=f"{len(view)} bytes for the lengths of {count} structures")
    lengths = struct.unpack_from(f"<{count}I", view, _HEAD.size)
    if at + sum(lengths) != len(view) or min(lengths, default=2) < 2:
        raise InputError(what="container", detail=f"{len(view)} bytes, its lengths add up to {at + sum(lengths)}")
    structures = []
    for length in lengths:
        structures.append(bytes(view[at : at + length]))
        at += length
    return Container(tuple(structures), agent_id, counter)


def build_container(container: Container) -> bytes:
    """Write a container. Raises `InputError` for what the format cannot say."""
    structures, agent_id = container.structures, container.agent_id
    if len(agent_id) != ID_BYTES or not 0 <= container.counter <= 0xFFFF:
        raise InputError(what="container", detail=f"an id of {ID_BYTES} bytes and a counter of 0..65535 are needed")
    if len(structures) > MAX_STRUCTURES or any(len(structure) < 2 for structure in structures):
        raise InputError(what="container", detail=f"at most {MAX_STRUCTURES} structures of at least 2 bytes")
    head = _HEAD.pack(CONTAINER_VERSION, container.counter, len(structures), agent_id)
    lengths = struct.pack(f"<{len(structures)}I", *(len(structure) for structure in structures))
    data = b"".join((head, lengths, *structures))
    if len(data) > MAX_BYTES:
        raise InputError(what="container", detail=f"{len(data)} bytes, at most {MAX_BYTES} are possible")
    return data


def parse_xyzp(structure: bytes | memoryview) -> tuple[AreaPoints, ...]:
    """Read an XYZP structure. Areas must follow each other without gaps and end with the structure.

    The page does not say where ``start`` counts from; the structure's first byte and the first byte of data are both
    understood, by where the first area lies.

    Raises:
        InputError: another type, or starts and lengths that do not add up.
    """
    view = memoryview(structure).cast("B")
    if len(view) < _XYZP.size or view[0] != XYZP_TYPE:
        raise InputError(what="structure", detail=f"is no XYZP structure (type {XYZP_TYPE})")
    count = _XYZP.unpack_from(view)[2]
    body = _XYZP.size + _AREA.size * count
    if len(view) < body:
        raise InputError(what="XYZP", detail=f"{len(view)} bytes for the heads of {count} areas")
    heads = [_AREA.unpack_from(view, _XYZP.size + _AREA.size * number) for number in range(count)]
    base = body if heads and heads[0][1] == 0 else 0
    return tuple(_areas(view, heads, base, body))


def _areas(view: memoryview, heads: Sequence[tuple[Any, ...]], base: int, at: int) -> Iterator[AreaPoints]:
    for cortical_id, start, length in heads:
        if base + start != at or length % NEURON_BYTES or at + length > len(view):
            detail = f"an area of {length} bytes at {base + start}, expected at {at} of {len(view)}"
            raise InputError(what="XYZP", detail=detail)
        columns = np.frombuffer(view[at : at + length], "<u4").reshape(4, -1)
        yield AreaPoints(cortical_id, columns[0], columns[1], columns[2], columns[3].view("<f4"))
        at += length
    if at != len(view):
        raise InputError(what="XYZP", detail=f"{len(view) - at} bytes behind the last area")


def build_xyzp(areas: Sequence[AreaPoints], *, from_data: bool = False) -> bytes:
    """Write an XYZP structure. ``from_data``: starts count from the first byte of data, not of the structure (a GUESS).

    Raises:
        InputError: more than 65,535 areas, or more bytes than a container holds.
    """
    at = _XYZP.size + _AREA.size * len(areas)
    size = at + NEURON_BYTES * sum(len(area) for area in areas)
    if len(areas) > 0xFFFF or size > MAX_BYTES:
        raise InputError(what="XYZP", detail=f"{len(areas)} areas in {size} bytes; 65535 and {MAX_BYTES} are possible")
    parts, start = [_XYZP.pack(XYZP_TYPE, XYZP_VERSION, len(areas))], 0 if from_data else at
    for area in areas:
        parts.append(_AREA.pack(area.cortical_id, start, NEURON_BYTES * len(area)))
        start += NEURON_BYTES * len(area)
    parts += [column.tobytes() for area in areas for column in (area.x, area.y, area.z, area.p)]
    return b"".join(parts)
