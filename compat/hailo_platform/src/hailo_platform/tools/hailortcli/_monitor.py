"""``monitor``: what programs with HAILO_MONITOR=1 say about their networks (runtime-behaviour.md 22)."""

from __future__ import annotations

import argparse
import math
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._output import say

FOLDER = Path("/tmp/hmon_files")
#: A file that was written longer ago is of a program that ended, or hangs.
_FRESH_S = 1.5
_REFRESH_S = 1.0
_NAME = 60
_HINT = (
    "\x1b[32mMonitor did not retrieve any files. This occurs when there is no application currently running.\n{}\x1b[0m"
)
_ADVICE = "If this is not the case, verify that environment variable 'HAILO_MONITOR' is set to 1."

Fields = dict[int, list[Any]]


def monitor(args: argparse.Namespace) -> int:
    """Print a screen every second, until interrupted."""
    while True:
        screen = render(list(read_files(FOLDER)))
        if args.once:
            say(screen)
            return 0
        sys.stdout.write(f"\x1b[2J\x1b[H{screen}\n")
        sys.stdout.flush()
        time.sleep(_REFRESH_S)


def read_files(folder: Path) -> Iterator[Fields]:
    """Yield the messages of files that were written just now."""
    for path in sorted(folder.glob("*")):
        try:
            fresh = time.time() - path.stat().st_mtime <= _FRESH_S
            if path.suffix != ".tmp" and fresh:
                yield fields_of(path.read_bytes())
        except (OSError, ValueError, IndexError, struct.error):
            continue


def fields_of(message: bytes) -> Fields:
    """Return the fields of a protobuf message: number -> values. Raises `ValueError`, `IndexError`."""
    found: Fields = {}
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value: Any
            value, place = _varint(message, place)
        elif kind == 1:
            value, place = struct.unpack_from("<d", message, place)[0], place + 8
        elif kind == 2:
            size, place = _varint(message, place)
            value, place = message[place : place + size], place + size
        else:
            raise ValueError(f"wire type {kind}")
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number that is too long")


def render(messages: list[Fields]) -> str:
    """Return the three tables of the screen."""
    if not messages:
        return _HINT.format(_ADVICE)
    lines = [f"{'Device ID':<60}{'Utilization (%)':<25}{'Architecture':<60}", "-" * 160]
    lines += [_device(fields_of(raw)) for message in messages for raw in message.get(4, [])]
    lines += ["", f"{'Model':<60}{'Utilization (%) ':<25}{'FPS':<15}{'PID':<15}", "-" * 160]
    for message in messages:
        lines += [_model(fields_of(raw), _text(message, 1)) for raw in message.get(2, [])]
    queue = f"{'Avg':<8}{'Max':<8}{'Min':<8}{'Capacity':<8}"
    lines += ["", f"{'Model':<60}{'Stream':<60}{'Direction':<15}Frames Queue", " " * 135 + queue, "-" * 175]
    for message in messages:
        for raw in message.get(3, []):
            lines += _streams(fields_of(raw))
    return "\n".join(lines)


def _device(device: Fields) -> str:
    return f"{_text(device, 1):<60}{_number(device, 2):<25.1f}{_text(device, 3):<60}"


def _model(network: Fields, pid: str) -> str:
    return f"{_text(network, 1):<60}{_number(network, 3):<25.1f}{_number(network, 2):<15.1f}{pid:<15}"


def _streams(frames: Fields) -> Iterator[str]:
    for stream in (fields_of(raw) for raw in frames.get(2, [])):
        mean = _number(stream, 7)
        average = "NaN" if mean == -1 else f"{mean:.2f}"
        direction = "D2H" if stream.get(2, [0])[0] else "H2D"
        queue = f"{average:<8}{_signed(stream, 6):<8}{_signed(stream, 5):<8}{_signed(stream, 3):<8}"
        yield f"{_text(frames, 1):<60}{_text(stream, 1):<60}{direction:<15}{queue}"


def _text(fields: Fields, number: int) -> str:
    text = fields.get(number, [b""])[0].decode("utf-8", "replace")
    return text if len(text) <= _NAME else f"{text[: _NAME - 3]}..."


def _number(fields: Fields, number: int) -> float:
    value = float(fields.get(number, [0.0])[0])
    return value if math.isfinite(value) else 0.0


def _signed(fields: Fields, number: int) -> int:
    value = int(fields.get(number, [0])[0])
    return value - (1 << 64) if value >> 63 else value
