"""Spiking networks for the twin's core: damaged payloads, and hostile requests to sound ones."""

from __future__ import annotations

import struct
from functools import cache
from random import Random

import numpy as np
import xxhash

from openhailo.burst import Areas, Network
from openhailo.errors import BadProgram
from openhailo.feagi.builders import build_random
from openhailo.feagi.packing import build_payload
from openhailo.spec.chip import CHIP
from openhailo.twin.core import NeuralCore
from tests.fuzz.mutate import edge, mutate_bytes
from tests.fuzz.surface import Surface, require

_FRAME = 512
_HEADER = 64


@cache
def _payloads() -> tuple[bytes, ...]:
    plain = build_random(20, 3, weight=5, psp=5, threshold=9.0)
    rich = build_random(30, 4, weight=5, psp=5, precision="fp32", excitability=0.5, consecutive_limit=2, snooze=3)
    rich = Network(rich.neurons, rich.synapses, Areas({3: False}, {3: True}), 2.0, True)
    return (
        build_payload(plain),
        build_payload(plain, "embedded"),
        build_payload(rich),
        build_payload(rich, owned=np.arange(30) < 12),
    )


def make_case(rng: Random) -> bytes:
    """A payload, its header's words or any byte of it changed, and requests behind it."""
    payload = bytearray(rng.choice(_payloads()))
    kind = rng.random()
    if kind < 0.35:
        struct.pack_into("<I", payload, 4 * rng.randrange(_HEADER // 4), edge(rng, 32))
    elif kind < 0.6:
        payload = bytearray(mutate_bytes(rng, bytes(payload)))
    requests = b"".join(_request(rng) for _ in range(rng.randrange(1, 8)))
    return struct.pack("<I", len(payload)) + bytes(payload) + requests


def _request(rng: Random) -> bytes:
    words = [rng.choice((1, 1, 1, 2, 3, 4, 5, 6, 7, 8, edge(rng, 32)))]
    words += [rng.choice((0, 1, 2, 3, edge(rng, 32))) for _ in range(3)]
    words += [rng.choice((0, 0, 4, edge(rng, 32))), rng.choice((0, 8, 60, edge(rng, 32))), 0, rng.choice((0, 0, 0, 1))]
    data = [rng.choice((0, 1, 2, 5, 29, 30, 0x41A00000, 0x7FC00000, edge(rng, 32))) for _ in range(12)]
    return struct.pack("<20I", *words, *data)


def run(case: bytes) -> int:
    """Load the program; every answer has a known status, and says what it brings."""
    (size,) = struct.unpack_from("<I", case)
    kernel = NeuralCore(CHIP).load(_image(case[4 : 4 + size]))
    requests = case[4 + size :]
    for at in range(0, len(requests) - 79, 80):
        kernel.input_view(0, 1)[:] = requests[at : at + 80].ljust(_FRAME, b"\0")
        kernel.compute(1)
        status, _, _, bursts, brought, _, _ = struct.unpack_from("<IIQIIII", bytes(kernel.output_view(0, 1)))
        require(status <= 5, f"status {status}")
        require(brought <= _FRAME - 32, f"{brought} bytes in an answer of {_FRAME}")
        require(status == 0 or (bursts, brought) == (0, 0), "a refused request brought something")
    return len(requests) // 80


def _image(payload: bytes) -> bytes:
    records = b""
    for direction in (0, 1):
        shape = (1, 1, _FRAME, 1, 1, _FRAME, _FRAME)
        records += struct.pack("<4B7I", direction, direction, 6, 1, *shape) + b"qa"[direction:][:1].ljust(160, b"\0")
    head = b"OHPROG\0\1" + struct.pack("<IIQQ", 2, 2, len(payload), xxhash.xxh3_64_intdigest(payload)) + bytes(32)
    image = head + records + payload
    return image + bytes(-len(image) % 8)


SURFACE = Surface("snn_programs", make_case, run, (BadProgram,))
