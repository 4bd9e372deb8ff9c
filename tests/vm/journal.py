"""What lies between two marks in a served twin's log: register accesses, DMA maps and messages, counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Channels from here on move device to host (driver.md 6.1).
FIRST_OUTPUT = 16


@dataclass(frozen=True)
class Span:
    """Records of ``frames`` inferences."""

    records: Sequence[dict[str, Any]]
    frames: int

    def counts(self) -> dict[str, float]:
        """Return what one frame takes: accesses by place and kind, and what the device did."""
        counts: Counter[str] = Counter()
        for record in self.records:
            counts[place_of(record)] += 1
        return {name: round(count / self.frames, 3) for name, count in sorted(counts.items())}


def reads_and_writes(counts: Mapping[str, float]) -> tuple[float, float]:
    """Return how many register reads and writes ``counts`` have."""
    reads, writes = (sum(n for what, n in counts.items() if what.startswith(verb)) for verb in ("read ", "write "))
    return reads, writes


def place_of(record: dict[str, Any]) -> str:
    """Return what a record counts as."""
    kind = record["k"]
    if kind not in ("r", "w"):
        return f"{kind} {record['op']}" if kind == "dma" else str(kind)
    verb = "read" if kind == "r" else "write"
    words = record["name"].split()
    if words[:1] == ["channel"]:
        return f"{verb} {'output' if int(words[1]) >= FIRST_OUTPUT else 'input'} channel"
    return f"{verb} {'interrupt register' if record['bar'] == 0 else 'mailbox'}"


class Marks:
    """Positions in a log that is being written, by name."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at: dict[str, int] = {}
        self._frames: dict[str, int] = {}

    def set(self, name: str, frames: int = 0) -> None:
        """Remember where the log ends now."""
        self._at[name] = self._log.stat().st_size
        self._frames[name] = frames

    def maps(self, name: str) -> dict[int, int]:
        """Return the DMA ranges that lived when ``name`` began: size in bytes by bus address."""
        with self._log.open("rb") as stream:
            lines = stream.read(self._at[f"{name} begins"]).splitlines()
        ranges: dict[int, int] = {}
        for record in map(json.loads, lines):
            if record["k"] == "dma" and record["op"] == "map":
                ranges[record["iova"]] = record["size"]
            elif record["k"] == "dma":
                ranges.pop(record["iova"], None)
        return ranges

    def span(self, name: str) -> Span:
        """Return what was logged between ``name begins`` and ``name ends``."""
        first, last = self._at[f"{name} begins"], self._at[f"{name} ends"]
        with self._log.open("rb") as stream:
            stream.seek(first)
            lines = stream.read(last - first).splitlines()
        return Span([json.loads(line) for line in lines], self._frames[f"{name} ends"])
