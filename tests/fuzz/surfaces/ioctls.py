"""Requests of a hostile program to the virtual kernel driver of every release: an errno, or what was asked for."""

from __future__ import annotations

import hashlib
import mmap
import struct
from functools import cache
from random import Random
from typing import Any

import numpy as np

from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import RELEASES, VirtualKernelDriver
from openhailo.twin.ports.kernel.abi import Abi, build_abi
from openhailo.twin.ports.kernel.releases import parse_release
from openhailo.twin.violation import TwinViolation
from tests.fuzz.mutate import edge, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

_PER_CASE = 24
_BUFFER_BYTES = 1 << 16
#: Requests that wait for something to happen, for ever if need be.
_BLOCKING = frozenset({"VDMA_INTERRUPTS_WAIT", "READ_NOTIFICATION"})
#: In a field: take the own buffer's address, or a handle that a request returned.
_ADDRESS, _HANDLE = 0xB0FF_E200_0000_0000, 0xCAFE_0000_0000_0000
_SIZES = (1, 16, 64, 512, 4096, 8192, _BUFFER_BYTES)
_IDENTIFY = struct.pack(">5I", 2, 0, 0, 0, 0)
_MOST_STEPS = 2000


@cache
def _abi(release: str) -> Abi:
    return build_abi(parse_release(release).version)


def make_case(rng: Random) -> bytes:
    """Return a release and requests for it; a request is its number and its structure."""
    release = rng.choice(RELEASES)
    calls = [(number, call) for number, call in _abi(release).calls.items() if call.name not in _BLOCKING]
    parts = [release.encode()]
    for _ in range(_PER_CASE):
        number, call = rng.choice(calls)
        if rng.random() < 0.03:
            number = rng.choice((number ^ 1 << rng.randrange(32), edge(rng, 32)))
        data = _structure(rng, call.name, call.layout) if call.layout else b""
        if rng.random() < 0.03:
            data = data[: rng.randrange(len(data) + 1)]
        parts.append(struct.pack("<I", number) + data)
    return pack_parts(parts)


def _structure(rng: Random, name: str, layout: Any) -> bytes:
    """Return plausible values with some absurd ones among them."""
    data = bytearray(layout.size)
    if name == "FW_CONTROL" and rng.random() < 0.6:
        layout.store(data, expected_md5=hashlib.md5(_IDENTIFY).digest(), buffer_len=20, timeout_ms=1000)
        layout.store(data, buffer=_IDENTIFY.ljust(1500, b"\0"))
        return bytes(data)
    for member in layout.names:
        before = layout.read(data)[member]
        if isinstance(before, bytes):
            value: Any = rng.randbytes(len(before)) if rng.random() < 0.5 else before
        elif isinstance(before, bool):
            value = rng.random() < 0.5
        else:
            value = _number(rng, member)
        try:
            layout.store(data, **{member: value})
        except struct.error:
            layout.store(data, **{member: 1})
    return bytes(data)


def _number(rng: Random, member: str) -> int:
    if rng.random() < 0.12:
        return edge(rng)
    if "handle" in member or member == "addr_or_fd":
        return _HANDLE + rng.randrange(6) if rng.random() < 0.9 else rng.randrange(8)
    if member == "user_address":
        return _ADDRESS + rng.choice((0, 0, 0, 64, 4096, _BUFFER_BYTES - 64))
    if "size" in member or member in ("count", "desc_page_size"):
        return rng.choice(_SIZES)
    if member == "desc_count":
        return rng.choice((1, 2, 8, 16, 64, 100, 65536))
    if "channel" in member or member.startswith("engine"):
        return rng.choice((0, 1, 2, 16, 17, 31, 32, 0x10001))
    return rng.choice((0, 0, 1, 2, 3, 8))


def run(case: bytes) -> int:
    """Make them on one open; afterwards everything is given back."""
    release, *requests = unpack_parts(case)
    memory = mmap.mmap(-1, _BUFFER_BYTES)
    address = int(np.frombuffer(memory, np.uint8).ctypes.data)
    with Twin(clock=SteppedClock()) as twin:
        driver = VirtualKernelDriver(twin, release.decode(), contiguous_limit_bytes=1 << 20)
        end = driver.user.own(memory)
        file, handles = driver.open(), list[int]()
        for raw in requests:
            _call(file, struct.unpack_from("<I", raw)[0], bytearray(raw[4:]), handles, address)
            _settle(twin)
        file.close()
        require(not driver.files and driver.owner is None, "the open is not given back")
        driver.close()
        end()
        require(len(twin.dma) == 0, f"{len(twin.dma)} ranges stay mapped")
    return 1


def _call(file: Any, number: int, argument: bytearray, handles: list[int], address: int) -> None:
    call = file.driver.abi.calls.get(number)
    if call is not None and call.name in _BLOCKING:
        return
    layout = call.layout if call else None
    if layout is not None and len(argument) >= layout.size:
        for member, value in layout.read(argument).items():
            if isinstance(value, int) and value >> 40 == _ADDRESS >> 40:
                layout.store(argument, **{member: address + (value & 0xFFFFFFFF)})
            elif isinstance(value, int) and value >> 40 == _HANDLE >> 40:
                known = handles[-(value & 0xFF) - 1 :][:1]
                layout.store(argument, **{member: known[0] if known else 0})
    try:
        result = file.ioctl(number, argument)
    except OSError as error:
        require(error.errno, "an error without a number")
        return
    except TwinViolation as violation:  # raw memory accesses go wherever they are told to
        require(str(violation), "a violation without words")
        return
    require(result >= 0, f"{call.name if call else number} returns {result}")
    if layout is not None:
        values = layout.read(argument)
        handles += [values[m] for m in ("mapped_handle", "desc_handle", "buffer_handle") if m in values]


def _settle(twin: Twin) -> None:
    steps = 0
    while twin.step():
        steps += 1
        require(steps < _MOST_STEPS, "the twin does not come to rest")


SURFACE = Surface("ioctls", make_case, run, ())
