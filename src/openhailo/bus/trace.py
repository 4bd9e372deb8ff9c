"""Record every access to a PCI function as JSON Lines, and play register accesses back.

A record is one object per line: ``n`` (order), ``us`` (microseconds since the start) and ``k``:

* ``"r"``/``"w"``: dword access; ``bar``, ``at`` (byte offset), ``v`` (value);
* ``"cr"``/``"cw"``: configuration space; ``at``, ``width``, ``v``;
* ``"irq"``: ``op`` ("enable", "disable", "wake", "wait") and for wait ``timeout_s`` and ``v`` (a message arrived);
* ``"dma"``: ``op`` ("alloc", "map", "close"), ``iova``, ``size``;
* ``"reset"``, ``"close"``.

Floors above add records of their own kinds with `TraceWriter.record`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from openhailo.bus.protocols import ConfigSpace, DmaBuffer, DmaDirection, DmaSpace, Interrupts, PciFunction, Window
from openhailo.errors import InputError, ProtocolError
from openhailo.spec.chip import CHIP, ChipSpec


class TraceWriter:
    """Writes records; safe for several threads. The stream stays the caller's."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._lock = stream, threading.Lock()
        self._count, self._started_ns = 0, time.monotonic_ns()

    def record(self, kind: str, **fields: Any) -> None:
        """Append one record of ``kind``."""
        with self._lock:
            micros = (time.monotonic_ns() - self._started_ns) // 1000
            line = json.dumps({"n": self._count, "us": micros, "k": kind, **fields}, separators=(",", ":"))
            self._stream.write(line + "\n")
            self._count += 1


class TracingWindow:
    """A `Window` that records each dword it passes on."""

    def __init__(self, inner: Window, bar: int, writer: TraceWriter) -> None:
        self._inner, self._bar, self._writer = inner, bar, writer
        self.size_bytes = inner.size_bytes

    def read32(self, offset: int) -> int:
        """Load the dword at ``offset``."""
        value = self._inner.read32(offset)
        self._writer.record("r", bar=self._bar, at=offset, v=value)
        return value

    def write32(self, offset: int, value: int) -> None:
        """Store ``value`` at ``offset``."""
        self._writer.record("w", bar=self._bar, at=offset, v=value)
        self._inner.write32(offset, value)

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        """Load ``size_bytes`` as consecutive dwords."""
        data = self._inner.read_block(offset, size_bytes)
        for at in range(0, len(data), 4):
            self._writer.record("r", bar=self._bar, at=offset + at, v=int.from_bytes(data[at : at + 4], "little"))
        return data

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        """Store ``data`` as consecutive dwords."""
        for at in range(0, len(data), 4):
            self._writer.record("w", bar=self._bar, at=offset + at, v=int.from_bytes(data[at : at + 4], "little"))
        self._inner.write_block(offset, data)


class _TracingConfig:
    def __init__(self, inner: ConfigSpace, writer: TraceWriter) -> None:
        self._inner, self._writer = inner, writer

    def read(self, offset: int, width: int) -> int:
        value = self._inner.read(offset, width)
        self._writer.record("cr", at=offset, width=width, v=value)
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        self._writer.record("cw", at=offset, width=width, v=value)
        self._inner.write(offset, width, value)


class _TracingInterrupts:
    def __init__(self, inner: Interrupts, writer: TraceWriter) -> None:
        self._inner, self._writer = inner, writer

    def enable(self) -> None:
        self._writer.record("irq", op="enable")
        self._inner.enable()

    def wait(self, timeout_s: float) -> bool:
        arrived = self._inner.wait(timeout_s)
        self._writer.record("irq", op="wait", timeout_s=timeout_s, v=arrived)
        return arrived

    def wake(self) -> None:
        self._writer.record("irq", op="wake")
        self._inner.wake()

    def disable(self) -> None:
        self._writer.record("irq", op="disable")
        self._inner.disable()


class _TracingDmaBuffer:
    def __init__(self, inner: DmaBuffer, writer: TraceWriter) -> None:
        self._inner, self._writer = inner, writer
        self.iova, self.size_bytes, self.view = inner.iova, inner.size_bytes, inner.view

    def close(self) -> None:
        self._writer.record("dma", op="close", iova=self.iova, size=self.size_bytes)
        self._inner.close()


class _TracingDma:
    def __init__(self, inner: DmaSpace, writer: TraceWriter) -> None:
        self._inner, self._writer = inner, writer

    def alloc(self, size_bytes: int, *, alignment: int = 4096) -> DmaBuffer:
        return self._note("alloc", self._inner.alloc(size_bytes, alignment=alignment))

    def map(self, buffer: memoryview, direction: DmaDirection) -> DmaBuffer:
        return self._note("map", self._inner.map(buffer, direction))

    def _note(self, op: str, buffer: DmaBuffer) -> DmaBuffer:
        self._writer.record("dma", op=op, iova=buffer.iova, size=buffer.size_bytes)
        return _TracingDmaBuffer(buffer, self._writer)


class TracingFunction:
    """A `PciFunction` that records everything it passes on to ``inner``, which it owns from now on.

    Give a `TraceWriter` instead of a stream where others record into the same file.
    """

    def __init__(self, inner: PciFunction, stream: IO[str] | TraceWriter) -> None:
        self._inner, self._writer = inner, stream if isinstance(stream, TraceWriter) else TraceWriter(stream)
        self._windows: dict[int, TracingWindow] = {}
        self.name = inner.name
        self.config: ConfigSpace = _TracingConfig(inner.config, self._writer)
        self.dma: DmaSpace = _TracingDma(inner.dma, self._writer)
        self.irq: Interrupts = _TracingInterrupts(inner.irq, self._writer)

    def window(self, bar: int) -> Window:
        """Return BAR ``bar``; the same object each time."""
        if bar not in self._windows:
            self._windows[bar] = TracingWindow(self._inner.window(bar), bar, self._writer)
        return self._windows[bar]

    def reset(self) -> None:
        """Function-level reset."""
        self._writer.record("reset")
        self._inner.reset()

    def close(self) -> None:
        """Release everything. Idempotent."""
        self._writer.record("close")
        self._inner.close()


class ReplayWindow:
    """A `Window` that answers from a trace and insists on the same accesses in the same order."""

    def __init__(self, bar: int, size_bytes: int, records: Iterable[dict[str, Any]]) -> None:
        """Keep the dword accesses to ``bar`` out of ``records`` (see `load_trace`)."""
        self.size_bytes = size_bytes
        self._bar = bar
        self._accesses = [(r["k"], r["at"], r["v"]) for r in records if r["k"] in {"r", "w"} and r["bar"] == bar]
        self._next = 0

    @property
    def remaining(self) -> int:
        """How many recorded accesses have not been made yet."""
        return len(self._accesses) - self._next

    def read32(self, offset: int) -> int:
        """Return the recorded value; any other access than the recorded one is a `ProtocolError`."""
        return self._take("r", offset, None)

    def write32(self, offset: int, value: int) -> None:
        """Check the write against the recording."""
        self._take("w", offset, value)

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        """Return recorded values."""
        return b"".join(self.read32(offset + at).to_bytes(4, "little") for at in range(0, size_bytes, 4))

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        """Check the writes against the recording."""
        for at in range(0, len(data), 4):
            self.write32(offset + at, int.from_bytes(data[at : at + 4], "little"))

    def _take(self, kind: str, offset: int, value: int | None) -> int:
        made = f"BAR{self._bar} {kind} 0x{offset:X}" + ("" if value is None else f" = 0x{value:08X}")
        if not self.remaining:
            raise ProtocolError(f"the trace ends before {made}; record it again")
        seen_kind, seen_offset, seen_value = self._accesses[self._next]
        if (seen_kind, seen_offset) != (kind, offset) or (value is not None and value != seen_value):
            want = f"{seen_kind} 0x{seen_offset:X} = 0x{seen_value:08X}"
            raise ProtocolError(f"access {self._next}: the trace has {want}, the driver made {made}; record it again")
        self._next += 1
        return int(seen_value)


def register_name(bar: int, offset: int, spec: ChipSpec = CHIP) -> str:
    """Return what is at ``offset`` of a BAR, in words; empty where nothing is known to be."""
    if bar == spec.pci.config_bar:
        register = spec.config.by_offset.get(offset)
        return register.name if register else ""
    if bar == spec.pci.vdma_bar:
        channel, rest = divmod(offset, spec.vdma.channel_stride)
        half = "destination" if rest >= spec.vdma.destination_half_offset else "source"
        register = spec.channel.by_offset.get(rest % spec.vdma.destination_half_offset)
        return f"channel {channel} {half} {register.name if register else ''}".rstrip()
    areas = ("request", "response", "notification", "doorbell", "app_log", "core_log")
    starts = sorted(((getattr(spec.mailbox, name), name) for name in areas), reverse=True)
    return next((f"{name} +0x{offset - start:X}" for start, name in starts if offset >= start), "")


def read_trace(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Parse JSON Lines into records. Raises `InputError` with the line number of a bad one."""
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            valid = isinstance(record, dict) and isinstance(record.get("k"), str)
            if valid and record["k"] in {"r", "w"}:
                valid = all(isinstance(record.get(key), int) for key in ("bar", "at", "v"))
        except (ValueError, RecursionError) as error:
            raise InputError(what=f"trace line {number}", detail=f"not JSON: {error}") from error
        if not valid:
            raise InputError(what=f"trace line {number}", detail="not a trace record")
        yield record


def load_trace(path: Path) -> list[dict[str, Any]]:
    """Read a trace file. Raises `InputError` for one that cannot be read, or holds anything but records."""
    try:
        # Bytes that are no UTF-8 make lines that are no JSON, or text that nobody has to print as it is.
        with path.open(encoding="utf-8", errors="replace") as stream:
            return list(read_trace(stream))
    except OSError as error:
        raise InputError(what=str(path), detail=f"cannot be read: {error.strerror}") from error
