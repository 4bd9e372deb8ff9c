"""One open of the kernel driver's node as bytes: request numbers and structures of each release as literals.

The numbers are those of driver.md 7.2 (driver-abi.json), the offsets those of 7.4, LP64. Nothing in here reads
`openhailo.spec`, the link, or the virtual driver.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import struct
from collections.abc import Iterable
from typing import NamedTuple

from openhailo.bus.protocols import DeviceFile

#: Family of each release (driver.md 0).
FAMILIES = {
    "4.17.0": "A",
    "4.17.1": "A",
    "4.18.0": "B",
    "4.19.0": "B",
    "4.20.0": "B",
    "4.20.1": "B",
    "4.21.0": "C",
    "4.22.0": "C",
    "4.23.0": "D",
}
#: Numbers of all families, of those from B on, and of single ones.
_EVERY = {
    "ENABLE": 0x800D7600,
    "DISABLE": 0x800C7601,
    "TIMESTAMPS": 0xCA067603,
    "UNMAP": 0x80087605,
    "SYNC": 0x801C7606,
    "CREATE": 0xC01B7607,
    "RELEASE": 0x80087608,
    "LOW_ALLOC": 0xC010760A,
    "LOW_FREE": 0x8008760B,
    "MARK": 0x4001760C,
    "CONTINUOUS_ALLOC": 0xC018760D,
    "CONTINUOUS_FREE": 0x8008760E,
}
_SINCE_B = {
    "INFO": 0x400C6702,
    "PROPERTIES": 0x40176701,
    "CONTROL": 0xC5F86E00,
    "NOTIFICATION": 0x45E46E01,
    "NO_NOTIFICATION": 0x00006E02,
    "LOG": 0xC2146E03,
    "MAP": 0xC0287604,
}
_TRANSFER = {"MEMORY": 0xD0186700}
NUMBERS: dict[str, dict[str, int]] = {
    "A": _EVERY
    | _TRANSFER
    | {
        "INFO": 0x400C6705,
        "PROPERTIES": 0x40176704,
        "CONTROL": 0xC5F86701,
        "NOTIFICATION": 0x45E46702,
        "NO_NOTIFICATION": 0x00006703,
        "LOG": 0xC2146706,
        "MAP": 0xC0247604,
        "WAIT": 0xC30D7602,
        "PROGRAM": 0x80257609,
        "LAUNCH": 0xC03D760F,
    },
    "B": _EVERY | _SINCE_B | _TRANSFER | {"WAIT": 0xC2AD7602, "PROGRAM": 0x802B7609, "LAUNCH": 0xC041760F},
    "C": _EVERY | _SINCE_B | _TRANSFER | {"WAIT": 0xC12D7602, "PROGRAM": 0x80337609, "LAUNCH": 0x8099760F},
    "D": _EVERY | _SINCE_B | {"WAIT": 0xC12D7602, "PROGRAM": 0x80337609, "LAUNCH": 0x8099760F},
}
NO_HANDLE = 0xFFFFFFFFFFFFFFFF
BOTH, TO_DEVICE, FROM_DEVICE = 0, 1, 2
#: Bytes of an entry of the wait's table.
ENTRY_BYTES = {"A": 8, "B": 7, "C": 3, "D": 3}
#: Buffers of a launch.
MAX_BUFFERS = {"A": 2, "B": 2, "C": 8, "D": 8}

Piece = tuple["Memory", int, int]


class Entry(NamedTuple):
    """What a wait tells of a channel: ``amount`` is a descriptor index (A), a number of transfers, or a mark (C, D)."""

    channel: int
    amount: int
    active: bool = True
    errors: tuple[int, int] = (0, 0)
    valid: bool = True


class Memory:
    """Memory of this process that starts on a page of any kernel; ``handle`` once it is mapped."""

    def __init__(self, size_bytes: int) -> None:
        self._map = mmap.mmap(-1, -(-size_bytes // 65536) * 65536 + 65536)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        skip = -start % 65536
        self.address, self.size_bytes, self.handle = start + skip, size_bytes, 0
        self.view = memoryview(self._map)[skip : skip + size_bytes]


class Node:
    """Makes the requests of one release. Methods raise the driver's ``OSError``."""

    def __init__(self, file: DeviceFile, release: str) -> None:
        self.file, self.release, self.family = file, release, FAMILIES[release]
        self.numbers = NUMBERS[self.family]
        #: What was mapped lives as long as the open: a kernel pins its pages, the virtual driver reads it by address.
        self._mapped: list[Memory] = []

    def call(self, name: str, argument: bytes = b"") -> tuple[int, bytearray]:
        """Make a request; return its result and the structure afterwards. What is not given is zero."""
        number = self.numbers[name]
        data = bytearray(argument.ljust(number >> 16 & 0x3FFF, b"\0"))
        return self.file.ioctl(number, data), data

    def version(self) -> tuple[int, int, int]:
        """Return what the driver says it is."""
        first, second, third = struct.unpack("<3I", self.call("INFO")[1])
        return first, second, third

    def properties(self) -> tuple[int, ...]:
        """Return page size, board type, allocation mode, DMA type, engines, firmware loaded."""
        return struct.unpack("<HIIIQB", self.call("PROPERTIES")[1])

    def mark(self) -> int:
        """Ask for the board; 0: it is ours."""
        return self.call("MARK")[1][0]

    # --- messages -------------------------------------------------------------------------------------------------

    def control(self, request: bytes, cpu: int, timeout_ms: int = 1000, digest: bytes | None = None) -> bytes:
        """Exchange one control; return digest, length and what lies behind them."""
        digest = hashlib.md5(request, usedforsecurity=False).digest() if digest is None else digest
        head = digest + struct.pack("<I", len(request))
        data = head + request.ljust(1500, b"\0") + struct.pack("<II", timeout_ms, cpu)
        return bytes(self.call("CONTROL", data)[1][:1520])

    def notification(self) -> bytes:
        """Wait for a notification."""
        _, data = self.call("NOTIFICATION")
        return bytes(data[8 : 8 + int.from_bytes(data[:8], "little")])

    def log(self, cpu: int, size_bytes: int) -> bytes:
        """Take from a log."""
        _, data = self.call("LOG", struct.pack("<I512xQ", cpu, size_bytes))
        return bytes(data[4 : 4 + int.from_bytes(data[524:532], "little")])

    def transfer(self, kind: int, address: int, count: int, data: bytes | None = None) -> bytes:
        """Read or, with ``data``, write memory of the device (up to 4.22)."""
        head = struct.pack("<IIQQ", int(data is not None), kind, address, count)
        return bytes(self.call("MEMORY", head + (data or b""))[1][24 : 24 + count])

    # --- memory ---------------------------------------------------------------------------------------------------

    def map(
        self, address: int, size_bytes: int, direction: int = BOTH, *, handle: int = NO_HANDLE, kind: int = 0
    ) -> int:
        """Map memory; return its handle."""
        typed = b"" if self.family == "A" else struct.pack("<I", kind)
        _, data = self.call(
            "MAP", struct.pack("<QQI", address, size_bytes, direction) + typed + handle.to_bytes(8, "little")
        )
        return int.from_bytes(data[-8:], "little")

    def memory(self, size_bytes: int, direction: int = BOTH) -> Memory:
        """Return mapped memory."""
        memory = Memory(size_bytes)
        self._mapped.append(memory)
        memory.handle = self.map(memory.address, size_bytes, direction)
        return memory

    def unmap(self, handle: int) -> None:
        """Take a mapping away."""
        self.call("UNMAP", handle.to_bytes(8, "little"))

    def sync(self, handle: int, kind: int, offset: int, count: int) -> None:
        """Hand a range over: 0 to the host, 1 to the device."""
        self.call("SYNC", struct.pack("<QIQQ", handle, kind, offset, count))

    def continuous(self, size_bytes: int) -> tuple[int, int]:
        """Allocate contiguous memory; return handle and bus address."""
        _, data = self.call("CONTINUOUS_ALLOC", size_bytes.to_bytes(8, "little"))
        return struct.unpack("<QQ", data[8:24])

    def low_memory(self, size_bytes: int) -> int:
        """Allocate pages below 4 GiB; return their handle."""
        return int.from_bytes(self.call("LOW_ALLOC", size_bytes.to_bytes(8, "little"))[1][8:], "little")

    # --- lists and channels ---------------------------------------------------------------------------------------

    def create(self, count: int, page: int, *, circular: bool = True) -> tuple[int, int]:
        """Create a descriptor list; return handle and bus address."""
        _, data = self.call("CREATE", struct.pack("<QHB", count, page, circular))
        return struct.unpack("<QQ", data[11:27])

    def program(
        self,
        dlist: int,
        buffer: int,
        size_bytes: int,
        *,
        offset: int = 0,
        start: int = 0,
        channel: int = 0,
        bind: bool = True,
        last: int = 0,
        debug: bool = False,
        batch: int = 1,
        stride: int = 0,
    ) -> int:
        """Point descriptors at a buffer; return how many."""
        data = struct.pack("<QQQ", buffer, size_bytes, offset)
        if self.family in "CD":
            data += batch.to_bytes(4, "little")
        data += struct.pack("<QBI", dlist, channel, start)
        if self.family != "A":
            data += struct.pack("<BIB", bind, last, debug)
        if self.family in "CD":
            data += stride.to_bytes(4, "little")
        return self.call("PROGRAM", data)[0]

    def launch(
        self,
        channel: int,
        dlist: int,
        start: int,
        pieces: Iterable[Piece],
        *,
        bind: bool = True,
        first: int = 0,
        last: int = 2,
        debug: bool = False,
        engine: int = 0,
        buffers: int | None = None,
    ) -> int:
        """Launch a transfer of ``pieces`` (memory, offset, bytes); return its descriptors."""
        entries = [self._entry(*piece) for piece in pieces]
        room = MAX_BUFFERS[self.family] * 16
        data = struct.pack("<BBQIBB", engine, channel, dlist, start, bind, len(entries) if buffers is None else buffers)
        data += b"".join(entries).ljust(room, b"\0")[:room] + struct.pack("<IIB", first, last, debug)
        result, after = self.call("LAUNCH", data)
        if self.family in "CD":
            return result
        assert result == 0, "before 4.21 the count is in the structure"
        return int.from_bytes(after[57:61], "little")

    def _entry(self, memory: Memory, offset: int, size_bytes: int) -> bytes:
        if self.family in "CD":
            return struct.pack("<IQI", 0, memory.address + offset, size_bytes)
        return struct.pack("<QII", memory.handle, offset, size_bytes)

    def enable(self, bitmap: int, *, measure: bool = False) -> None:
        """Enable channels."""
        self.call("ENABLE", struct.pack("<3IB", bitmap, 0, 0, measure))

    def disable(self, bitmap: int) -> None:
        """Disable channels."""
        self.call("DISABLE", struct.pack("<3I", bitmap, 0, 0))

    def wait(self, bitmap: int) -> list[Entry]:
        """Wait for channels; return what the driver tells of them."""
        _, data = self.call("WAIT", bitmap.to_bytes(4, "little"))
        size = ENTRY_BYTES[self.family]
        return [self._parse(data[13 + n * size : 13 + (n + 1) * size]) for n in range(data[12])]

    def _parse(self, data: bytearray) -> Entry:
        if self.family in "CD":
            return Entry(data[1], data[2])
        amount = int.from_bytes(data[3:-3], "little")
        return Entry(data[1], amount, bool(data[2]), (data[-3], data[-2]), bool(data[-1]))

    def timestamps(self, channel: int, engine: int = 0) -> list[tuple[int, int]]:
        """Drain a channel's (nanoseconds, descriptors processed)."""
        _, data = self.call("TIMESTAMPS", bytes([engine, channel]))
        count = int.from_bytes(data[2:6], "little")
        return [struct.unpack_from("<QH", data, 6 + 10 * index) for index in range(count)]
