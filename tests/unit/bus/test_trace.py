"""Recording and replay."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.bus.mmio import MappedWindow
from openhailo.bus.protocols import DmaDirection, PciFunction
from openhailo.bus.trace import ReplayWindow, TracingFunction, load_trace, read_trace
from openhailo.errors import InputError, ProtocolError


class Part:
    """A configuration space, DMA space and interrupts in one, as simple as can be."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.iova, self.size_bytes, self.view = 0x1000, 64, memoryview(bytearray(64))

    def read(self, offset: int, width: int) -> int:
        return offset + width

    def write(self, offset: int, width: int, value: int) -> None:
        self.calls.append(("config", offset, width, value))

    def alloc(self, size_bytes: int, *, alignment: int = 4096) -> Part:
        self.calls.append(("alloc", size_bytes, alignment))
        return self

    def map(self, buffer: memoryview, direction: DmaDirection) -> Part:
        self.calls.append(("map", len(buffer), direction))
        return self

    def enable(self) -> None:
        self.calls.append(("enable",))

    def wait(self, timeout_s: float) -> bool:
        return timeout_s > 1

    def wake(self) -> None:
        self.calls.append(("wake",))

    def disable(self) -> None:
        self.calls.append(("disable",))

    def close(self) -> None:
        self.calls.append(("close buffer",))


class Function:
    name = "made up"

    def __init__(self) -> None:
        self.part = Part()
        self.config = self.dma = self.irq = self.part
        self.memory = bytearray(64)
        self.bar = MappedWindow(self.memory)

    def window(self, bar: int) -> MappedWindow:
        return self.bar

    def reset(self) -> None:
        self.part.calls.append(("reset",))

    def close(self) -> None:
        self.part.calls.append(("close",))


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def traced(function: Function, stream: io.StringIO) -> PciFunction:
    return TracingFunction(function, stream)


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [record.pop("n") for record in found] == list(range(len(found)))
    times = [record.pop("us") for record in found]
    assert times == sorted(times)
    return found


def test_dwords(function: Function, traced: PciFunction, stream: io.StringIO) -> None:
    window = traced.window(4)
    assert traced.window(4) is window and window.size_bytes == 64
    window.write32(8, 0x01020304)
    assert window.read32(8) == 0x01020304
    window.write_block(0, b"abcdefgh")
    assert window.read_block(4, 8) == b"efgh\4\3\2\1"
    assert records(stream) == [
        {"k": "w", "bar": 4, "at": 8, "v": 0x01020304},
        {"k": "r", "bar": 4, "at": 8, "v": 0x01020304},
        {"k": "w", "bar": 4, "at": 0, "v": 0x64636261},
        {"k": "w", "bar": 4, "at": 4, "v": 0x68676665},
        {"k": "r", "bar": 4, "at": 4, "v": 0x68676665},
        {"k": "r", "bar": 4, "at": 8, "v": 0x01020304},
    ]
    assert function.memory[:12] == b"abcdefgh\4\3\2\1"


def test_everything_else(function: Function, traced: PciFunction, stream: io.StringIO) -> None:
    assert traced.name == "made up"
    assert traced.config.read(4, 2) == 6
    traced.config.write(4, 2, 7)
    traced.irq.enable()
    assert (traced.irq.wait(0.5), traced.irq.wait(2)) == (False, True)
    traced.irq.wake()
    traced.irq.disable()
    buffer = traced.dma.alloc(64, alignment=65536)
    assert (buffer.iova, buffer.size_bytes, buffer.view) == (0x1000, 64, function.part.view)
    buffer.close()
    traced.dma.map(memoryview(bytearray(8)), DmaDirection.TO_DEVICE)
    traced.reset()
    traced.close()
    assert function.part.calls == [
        ("config", 4, 2, 7), ("enable",), ("wake",), ("disable",), ("alloc", 64, 65536), ("close buffer",),
        ("map", 8, DmaDirection.TO_DEVICE), ("reset",), ("close",),
    ]  # fmt: skip
    assert [(r["k"], r.get("op")) for r in records(stream)] == [
        ("cr", None), ("cw", None), ("irq", "enable"), ("irq", "wait"), ("irq", "wait"), ("irq", "wake"),
        ("irq", "disable"), ("dma", "alloc"), ("dma", "close"), ("dma", "map"), ("reset", None), ("close", None),
    ]  # fmt: skip


def test_replay_answers_and_insists(traced: PciFunction, stream: io.StringIO, tmp_path: Path) -> None:
    traced.window(0).write32(0, 5)
    traced.window(0).read32(0)
    traced.window(4).write32(4, 9)
    path = tmp_path / "trace.jsonl"
    path.write_text(stream.getvalue(), encoding="utf-8")
    replay = ReplayWindow(0, 64, load_trace(path))
    with pytest.raises(ProtocolError, match="0x00000006"):
        replay.write32(0, 6)
    with pytest.raises(ProtocolError):
        replay.read32(0)
    replay.write_block(0, b"\5\0\0\0")
    with pytest.raises(ProtocolError):
        replay.read32(4)
    assert replay.read_block(0, 4) == b"\5\0\0\0"
    assert replay.remaining == 0
    with pytest.raises(ProtocolError, match="ends"):
        replay.read32(0)


BAD_LINES = ["", "{", "[]", "5", '{"n":1}', '{"k":"r","bar":0}', '{"k":"w","bar":0,"at":"x","v":1}', "[" * 100_000]


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_lines_are_named(line: str) -> None:
    with pytest.raises(InputError, match="line 2"):
        list(read_trace(['{"k":"reset"}', line]))


@given(st.lists(st.text(max_size=30), max_size=4))
def test_any_text_is_a_trace_or_a_typed_error(lines: list[str]) -> None:
    try:
        assert all("k" in record for record in read_trace(lines))
    except InputError as error:
        assert "trace line" in str(error)


def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_trace(tmp_path / "missing.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not JSON"):
        load_trace(tmp_path / "binary.jsonl")
