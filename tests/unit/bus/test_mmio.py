"""The only load and store."""

from __future__ import annotations

import ast
import mmap
from pathlib import Path

import pytest

from openhailo.bus import mmio
from openhailo.bus.mmio import MappedWindow, map_window
from openhailo.bus.protocols import Window
from openhailo.errors import InputError

SOURCE = Path(__file__).resolve().parents[3] / "src" / "openhailo"


@pytest.fixture
def memory() -> bytearray:
    return bytearray(range(16))


def test_dwords_are_little_endian_and_in_place(memory: bytearray) -> None:
    window = MappedWindow(memory)
    assert isinstance(window, Window) and window.size_bytes == 16
    assert window.read32(4) == 0x07060504
    window.write32(8, 0xAABBCCDD)
    assert memory[8:12] == bytes.fromhex("ddccbbaa")
    assert window.read_block(4, 8) == bytes.fromhex("04050607ddccbbaa")
    window.write_block(0, memoryview(b"abcdefgh"))
    assert memory[:8] == b"abcdefgh"
    assert window.read_block(4, 0) == b""


@pytest.mark.parametrize("offset", [-4, 1, 2, 16, 1 << 40])
def test_accesses_outside_or_unaligned_are_refused(memory: bytearray, offset: int) -> None:
    window = MappedWindow(memory)
    before = bytes(memory)
    for access in (
        lambda: window.read32(offset),
        lambda: window.write32(offset, 0),
        lambda: window.read_block(offset, 4),
        lambda: window.write_block(offset, b"abcd"),
    ):
        with pytest.raises(InputError):
            access()
    assert memory == before


@pytest.mark.parametrize(("offset", "size"), [(0, 3), (12, 8), (0, -4)])
def test_blocks_outside_or_unaligned_are_refused(memory: bytearray, offset: int, size: int) -> None:
    with pytest.raises(InputError):
        MappedWindow(memory).read_block(offset, size)


@pytest.mark.parametrize("memory", [bytearray(6), memoryview(bytes(8))])
def test_memory_must_be_writable_dwords(memory: bytearray | memoryview) -> None:
    with pytest.raises(InputError):
        MappedWindow(memory)


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_values_are_32_bits(memory: bytearray, value: int) -> None:
    with pytest.raises(ValueError):
        MappedWindow(memory).write32(0, value)


def test_a_mapping_can_be_closed_afterwards() -> None:
    with mmap.mmap(-1, 4096) as mapping:
        window = MappedWindow(mapping)
        window.write32(0, 1)
        window.close()
        window.close()
        with pytest.raises(ValueError):
            window.read32(0)


def test_accesses_are_ordered_where_the_processor_does_not(memory: bytearray, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(mmio, "host_barrier", lambda: lambda: seen.append(bytes(memory[:4])))
    window = map_window(memory)
    before = bytes(memory[:4])
    window.write32(0, 0x55667788)
    assert seen == [before]  # the barrier came before the store
    memory[:4] = b"abcd"
    window.read32(0)
    assert seen[1:] == [b"abcd"]
    window.write_block(0, b"efghijkl")
    assert seen[2:] == [b"abcd"]  # once for a block
    assert window.read_block(0, 8) == b"efghijkl" and len(seen) == 4


def test_nothing_is_in_the_way_where_the_processor_keeps_the_order(
    memory: bytearray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmio, "host_barrier", lambda: None)
    assert type(map_window(memory)) is MappedWindow


# --- nobody else touches registers ---------------------------------------------------------------------------------

#: Where a dword view of raw memory is made: the one load/store, and descriptors, which are host memory.
DWORD_VIEWS = {"bus/mmio.py", "driver/descriptors.py", "driver/kernel/lists.py"}
#: Arguments of requests to the kernel driver are ordinary host memory, and no module here has a register at hand.
REQUEST_ARGUMENTS = {"bus/chardev.py", "driver/kernel/channels.py"}


def modules() -> list[Path]:
    return [path for folder in ("bus", "driver") for path in sorted((SOURCE / folder).rglob("*.py"))]


def offences(path: Path) -> list[str]:
    """Find raw memory stores: pack_into, ctypes memory, dword casts outside `DWORD_VIEWS`."""
    found = []
    name = path.relative_to(SOURCE).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in {"pack_into", "from_buffer", "memmove", "memset"}:
            if name in REQUEST_ARGUMENTS and node.attr in {"pack_into", "from_buffer"}:
                continue
            found.append(f"{name}:{node.lineno} {node.attr}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cast":
            wide = [a for a in node.args if isinstance(a, ast.Constant) and a.value not in ("B", "b")]
            if wide and name not in DWORD_VIEWS:
                found.append(f"{name}:{node.lineno} cast to {wide[0].value!r}")
        if isinstance(node, ast.Import) and any(alias.name == "ctypes" for alias in node.names) and "driver/" in name:
            found.append(f"{name}:{node.lineno} ctypes")
    return found


def test_only_mmio_makes_loads_and_stores() -> None:
    assert len(modules()) > 15
    assert [offence for path in modules() for offence in offences(path)] == []


def test_the_guard_sees_what_it_guards_against(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "driver" / "bad.py"
    path.parent.mkdir()
    path.write_text("import ctypes, struct\nstruct.pack_into('<I', bar, 0, 1)\nbar.cast('I')[0] = 1\n", "utf-8")
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    assert len(offences(path)) == 3
