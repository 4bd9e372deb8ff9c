"""A host that knows only numbers (driver.md): registers by address, messages and descriptors by byte."""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from openhailo.bus.protocols import DmaBuffer, PciFunction
from openhailo.testing.check import Mismatch, expect, expect_true

#: BAR0 (driver.md 2.1, 5.1).
ID, MASK, STATUS, SOURCE, DESTINATION, ATR = 0x98, 0x188, 0x18C, 0x400, 0x500, 0x700
#: BAR4 (driver.md 3, 4).
REQUEST, RESPONSE, NOTIFICATION, DOORBELL, APP_LOG, CORE_LOG = 0x000, 0x640, 0xC80, 0x1684, 0x2000, 0x3000
#: Status bits (driver.md 5.1).
RESET_DONE, NOTIFIED, ANSWERED, SHUT_DOWN = 0x01000000, 0x02000000, 0x04000000, 0x08000000
#: Doorbell bits (driver.md 3).
RING_APP, RING_CORE, RING_SHUTDOWN, RING_RESET = 1, 2, 4, 8
MAILBOX_ADDRESS = 0x60000000


class Room(Protocol):
    """Memory that both sides reach."""

    @property
    def iova(self) -> int:
        """Where the device sees it."""
        ...

    @property
    def view(self) -> memoryview:
        """The bytes."""
        ...


#: How many times in a row nothing comes before a device is taken to have stopped: it may be busy loading a program.
PATIENCE = 20


class MessageHost(ABC):
    """What hosts that know only bytes have in common: messages, memory, rings."""

    @abstractmethod
    def ask(self, cpu: int, request: bytes, timeout_s: float = 1.0, *, digest: bytes | None = None) -> bytes | None:
        """Exchange one control; None when nothing comes. ``digest`` replaces the right one."""

    @abstractmethod
    def notification(self, timeout_s: float = 1.0) -> bytes | None:
        """Wait for a notification and take it."""

    @abstractmethod
    def settle(self, seconds: float = 0.3, until: Callable[[], bool] | None = None) -> None:
        """Let the device work until nothing comes for ``seconds``; with ``until``, until that holds.

        What never holds is given up after nothing came for so long `PATIENCE` times in a row.
        """

    @abstractmethod
    def rest(self, seconds: float) -> None:
        """Let the device work for ``seconds``."""

    @abstractmethod
    def interrupted(self) -> int:
        """Return and forget the channels that interrupted the host, as a bitmap."""

    @abstractmethod
    def alloc(self, size_bytes: int, alignment: int = 4096) -> Room:
        """Allocate zeroed memory that the device reaches."""

    @abstractmethod
    def advance(self, channel: int, descriptors: int, count: int) -> None:
        """Move num available of ``channel`` on by ``descriptors`` in a ring of ``count`` (driver.md 6.6)."""

    @abstractmethod
    def registers(self, channel: int, *, device_half: bool = False) -> tuple[int, int, int, int]:
        """Return the four dwords of a channel half."""

    @abstractmethod
    def forget_rings(self) -> None:
        """Start every ring at 0 again, as after an activation."""

    def ring(self, descriptors: int) -> Room:
        """Allocate a descriptor list."""
        return self.alloc(max(descriptors * 16, 0x1000), 0x10000)

    @staticmethod
    def half(channel: int) -> int:
        """Return the offset of a channel's host half (driver.md 6.1)."""
        return channel * 0x20 + (0x10 if channel >= 16 else 0)

    def demand(self, cpu: int, request: bytes) -> bytes:
        """Exchange one control that must succeed; return the parameters as they are."""
        answer = self.ask(cpu, request)
        if answer is None:
            raise Mismatch(f"no answer to {request.hex()}")
        expect(f"status of {request[:20].hex()}", answer[16:24].hex(), "0000000000000000")
        return answer[28:]

    def control(self, cpu: int, opcode: int, *parameters: bytes) -> bytes:
        """Build and exchange a control that must succeed."""
        return self.demand(cpu, message(opcode, *parameters))


def settle(wait: Callable[[], bool], until: Callable[[], bool] | None) -> None:
    """Call ``wait``, which tells whether something came, until nothing does, or until ``until`` holds."""
    idle = 0
    while idle < (PATIENCE if until else 1) and not (until and until()):
        idle = 0 if wait() else idle + 1


class RawHost(MessageHost):
    """Drives one bare PCI function."""

    def __init__(self, function: PciFunction) -> None:
        """Switch on memory decoding, bus mastering, the message and all interrupts (driver.md 5.2, 8.2)."""
        self.function = function
        function.config.write(0x04, 2, 0x0006)
        self.bar0, self.bar2, self.bar4 = (function.window(bar) for bar in (0, 2, 4))
        function.irq.enable()
        self.bar0.write32(MASK, 0xFF00FFFF)
        for register in (STATUS, DESTINATION, SOURCE):
            self.bar0.write32(register, 0xFFFFFFFF)
        self._heads: dict[int, int] = {}

    # --- interrupts -----------------------------------------------------------------------------------------------

    def wait(self, bits: int, timeout_s: float = 1.0) -> bool:
        """Wait for a message that brings any of ``bits``, and clear those; other bits are left alone."""
        while True:
            seen = self.bar0.read32(STATUS) & bits
            if seen:
                self.bar0.write32(STATUS, seen)
                return True
            if not self.function.irq.wait(timeout_s):
                return False

    def settle(self, seconds: float = 0.3, until: Callable[[], bool] | None = None) -> None:
        """Let the device work; messages are swallowed, status bits stay."""
        settle(lambda: self.function.irq.wait(seconds), until)

    def rest(self, seconds: float) -> None:
        """Let the device work until a message comes, at most ``seconds``."""
        self.function.irq.wait(seconds)

    # --- device memory --------------------------------------------------------------------------------------------

    def point(self, address: int) -> None:
        """Point the first window at ``address`` (driver.md 2.1)."""
        for at, value in ((0x00, 0x17), (0x04, 0), (0x08, address & 0xFFFFFFFF), (0x0C, address >> 32), (0x10, 6)):
            self.bar0.write32(ATR + at, value)

    def put(self, address: int, data: bytes) -> None:
        """Write device memory through the first window and put it back (driver.md 2.1)."""
        saved = self.bar0.read32(ATR + 0x08)
        page = -1
        for at in range(0, len(data), 4):
            if (address + at) & ~0xFFF != page:
                page = (address + at) & ~0xFFF
                self.point(page)
            word = int.from_bytes(data[at : at + 4].ljust(4, b"\0"), "little")
            self.bar4.write32((address + at) & 0xFFF, word)
        self.point(saved)

    def get(self, address: int, size_bytes: int) -> bytes:
        """Read device memory inside one 4 KiB page."""
        saved = self.bar0.read32(ATR + 0x08)
        self.point(address & ~0xFFF)
        data = self.bar4.read_block(address & 0xFFF, size_bytes)
        self.point(saved)
        return data

    # --- messages -------------------------------------------------------------------------------------------------

    def send(self, request: bytes, doorbell: int, *, digest: bytes | None = None, length: int | None = None) -> None:
        """Write a request and ring."""
        digest = hashlib.md5(request, usedforsecurity=False).digest() if digest is None else digest
        data = digest + struct.pack("<I", len(request) if length is None else length) + request
        self.bar4.write_block(REQUEST, data.ljust(-(-len(data) // 4) * 4, b"\0"))
        self.bar4.write32(DOORBELL, doorbell)

    def response(self) -> bytes:
        """Read the response area; its digest must be right."""
        header = self.bar4.read_block(RESPONSE, 20)
        length = int.from_bytes(header[16:20], "little")
        expect_true(f"a response length of {length}", 24 <= length <= 1500)
        data = self.bar4.read_block(RESPONSE + 20, -(-length // 4) * 4)[:length]
        expect("digest of the response", header[:16], hashlib.md5(data, usedforsecurity=False).digest())
        return data

    def ask(self, cpu: int, request: bytes, timeout_s: float = 1.0, *, digest: bytes | None = None) -> bytes | None:
        """Exchange one control; None when nothing comes."""
        self.send(request, RING_CORE if cpu else RING_APP, digest=digest)
        return self.response() if self.wait(ANSWERED, timeout_s) else None

    def notification(self, timeout_s: float = 1.0) -> bytes | None:
        """Wait for a notification, take it, and hand the buffer back (driver.md 4.1)."""
        if not self.wait(NOTIFIED, timeout_s):
            return None
        word = self.bar4.read32(NOTIFICATION)
        expect("in-use flag of the notification", word & 0xFFFF, 1)
        length = word >> 16
        data = self.bar4.read_block(NOTIFICATION + 4, -(-length // 4) * 4)[:length]
        self.bar4.write32(NOTIFICATION, word & 0xFFFF0000)
        return data

    # --- channels -------------------------------------------------------------------------------------------------

    def alloc(self, size_bytes: int, alignment: int = 4096) -> DmaBuffer:
        """Allocate memory that the device reaches."""
        return self.function.dma.alloc(size_bytes, alignment=alignment)

    def interrupted(self) -> int:
        """Return and clear the channels of both per-channel registers; the status must have the same in groups."""
        source, destination = self.bar0.read32(SOURCE), self.bar0.read32(DESTINATION)
        groups = 0
        for channel in range(32):
            groups |= (source >> channel & 1) << channel // 4 | (destination >> channel & 1) << 8 + channel // 4
        expect("groups of channels in the status", self.bar0.read32(STATUS) & 0xFFFF, groups)
        for register in (STATUS, SOURCE, DESTINATION):
            self.bar0.write32(register, 0xFFFFFFFF)
        return source | destination

    def advance(self, channel: int, descriptors: int, count: int) -> None:
        """Move num available of ``channel`` on by ``descriptors`` in a ring of ``count`` (driver.md 6.6)."""
        at = self.half(channel)
        head = self._heads[channel] = (self._heads.get(channel, 0) + descriptors) % count
        self.bar2.write32(at, self.bar2.read32(at) & 0xFFFF | head << 16)

    def registers(self, channel: int, *, device_half: bool = False) -> tuple[int, int, int, int]:
        """Return the four dwords of a channel half."""
        at = self.half(channel) ^ (0x10 if device_half else 0)
        first, second, third, fourth = (self.bar2.read32(at + word) for word in (0, 4, 8, 12))
        return first, second, third, fourth

    def forget_rings(self) -> None:
        """Start every ring at 0 again, as after an activation."""
        self._heads.clear()


def message(opcode: int, *parameters: bytes) -> bytes:
    """Return a request (control-protocol.md 2.1)."""
    body = b"".join(struct.pack(">I", len(value)) + value for value in parameters)
    return struct.pack(">5I", 2, 0, 0, opcode, len(parameters)) + body


def describe(ring: Room, index: int, address: int, size_bytes: int, control: int = 0x02) -> None:
    """Write one descriptor (driver.md 6.3)."""
    word = size_bytes << 8 | control
    struct.pack_into("<4I", ring.view, index * 16, word, address & 0xFFFFFFFF, address >> 32, 0)


def status_of(ring: Room, index: int) -> int:
    """Return what the device wrote into a descriptor's last dword."""
    return int.from_bytes(ring.view[index * 16 + 12 : index * 16 + 16], "little")
