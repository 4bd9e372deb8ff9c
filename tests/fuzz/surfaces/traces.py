"""Recorded traces: read, printed in words, played back."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from openhailo.bus.trace import ReplayWindow, load_trace
from openhailo.cli.trace import describe
from openhailo.errors import InputError, ProtocolError
from tests.fuzz.materials import scratch
from tests.fuzz.mutate import edge, mutate_bytes
from tests.fuzz.surface import Surface, require

_RECORDS: tuple[dict[str, Any], ...] = (
    {"n": 0, "us": 1, "k": "r", "bar": 0, "at": 0x98, "v": 0x28641E60},
    {"n": 1, "us": 2, "k": "w", "bar": 2, "at": 0x20, "v": 1},
    {"n": 2, "us": 3, "k": "w", "bar": 4, "at": 0x1684, "v": 1},
    {"n": 3, "us": 4, "k": "irq", "op": "wait", "timeout_s": 1.0, "v": True},
    {"n": 4, "us": 5, "k": "control", "name": "IDENTIFY", "opcode": 0, "cpu": 0, "request": "00", "response": "",
     "status": "ok"},
    {"n": 5, "us": 6, "k": "dma", "op": "alloc", "iova": 4096, "size": 4096},
)  # fmt: skip
_VALUES: tuple[Any, ...] = (None, True, -1, 0, 1.5, "x", "", [], {}, 1 << 70, "r", "w", "control", "\ud800")


def make_case(rng: Random) -> bytes:
    """Damage fields of records, or bytes of the file."""
    lines = []
    for _ in range(rng.randrange(1, 6)):
        record = dict(rng.choice(_RECORDS))
        for _ in range(rng.choice((0, 0, 1, 2))):
            key = rng.choice([*record, "k", "v", "at"])
            if rng.random() < 0.2:
                record.pop(key, None)
            else:
                record[key] = rng.choice(_VALUES) if rng.random() < 0.7 else edge(rng)
        lines.append(json.dumps(record))
    text = "\n".join(lines).encode()
    return mutate_bytes(rng, text) if rng.random() < 0.4 else text


def run(case: bytes) -> int:
    """Read the file and use it both ways."""
    path = scratch() / "trace.jsonl"
    path.write_bytes(case)
    records = load_trace(path)
    for record in records:
        require(describe(record), "a record without words")
    window = ReplayWindow(0, 0x4000, records)
    try:
        for _ in range(len(records) + 1):
            window.read32(0x98)
    except ProtocolError as error:
        require(str(error), "an error without words")
    return 1


SURFACE = Surface("traces", make_case, run, (InputError,), gain_bytes=1 << 28)
