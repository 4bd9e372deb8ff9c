"""A scripted PCI function, written from driver.md with literal offsets.

It knows as little as possible: W1C registers, the address translation in front of BAR4, doorbells that call a script,
channel registers, and a DMA engine that runs when asked. Whatever is due happens inside ``irq.wait``, on a fake clock.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections import deque
from collections.abc import Callable

from openhailo.bus.protocols import DmaDirection
from openhailo.errors import DmaMapError

MAILBOX_BASE = 0x60000000


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeConfigSpace:
    """PM capability at 0x40, PCI Express at 0x70, MSI at 0x50."""

    def __init__(self) -> None:
        self.data = bytearray(256)
        self._put(0x00, 0x28641E60, 4)
        self._put(0x06, 0x10, 2)
        self._put(0x34, 0x40, 1)
        self._put(0x40, 0x01, 1), self._put(0x41, 0x50, 1)
        self._put(0x44, 0x0003, 2)  # D3hot
        self._put(0x50, 0x05, 1), self._put(0x51, 0x70, 1)
        self._put(0x70, 0x10, 1), self._put(0x71, 0x00, 1)
        self._put(0x78, 0x2810, 2)  # max read request 512
        self._put(0x80, 0x0003, 2)  # L0s and L1 on

    def _put(self, offset: int, value: int, width: int) -> None:
        self.data[offset : offset + width] = value.to_bytes(width, "little")

    def read(self, offset: int, width: int) -> int:
        return int.from_bytes(self.data[offset : offset + width], "little")

    def write(self, offset: int, width: int, value: int) -> None:
        self._put(offset, value, width)


class FakeDmaBuffer:
    def __init__(self, space: FakeDma, iova: int, view: memoryview) -> None:
        self._space, self.iova, self.view, self.size_bytes = space, iova, view, len(view)

    def close(self) -> None:
        self._space.buffers.pop(self.iova, None)


class FakeDma:
    """Memory by bus address; ``base`` lets addresses go above 4 GiB."""

    def __init__(self, base: int = 0x1_2340_0000) -> None:
        self.next_iova = base
        self.buffers: dict[int, FakeDmaBuffer] = {}
        self.refuse_mapping = False

    def alloc(self, size_bytes: int, *, alignment: int = 4096) -> FakeDmaBuffer:
        return self._place(memoryview(bytearray(size_bytes)), alignment)

    def map(self, buffer: memoryview, direction: DmaDirection) -> FakeDmaBuffer:
        if self.refuse_mapping:
            raise DmaMapError(detail="refused by the test", size_bytes=len(buffer))
        if ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % 4096:
            raise DmaMapError(detail="not page aligned", size_bytes=len(buffer))
        return self._place(buffer, 4096)

    def _place(self, view: memoryview, alignment: int) -> FakeDmaBuffer:
        iova = -(-self.next_iova // alignment) * alignment
        self.next_iova = iova + -(-len(view) // 4096) * 4096
        self.buffers[iova] = FakeDmaBuffer(self, iova, view)
        return self.buffers[iova]

    def memory(self, iova: int, size_bytes: int) -> memoryview:
        for buffer in self.buffers.values():
            if buffer.iova <= iova and iova + size_bytes <= buffer.iova + buffer.size_bytes:
                return buffer.view[iova - buffer.iova :][:size_bytes]
        raise AssertionError(f"the device reaches for 0x{iova:X}, which nobody mapped")


class FakeInterrupts:
    def __init__(self, chip: FakeChip) -> None:
        self._chip, self.enabled, self.woken = chip, False, 0

    def enable(self) -> None:
        self.enabled = True

    def wait(self, timeout_s: float) -> bool:
        while self._chip.due and not self._pending:
            self._chip.due.popleft()()
        if not self._pending and not self.woken:
            self._chip.clock.now += timeout_s
        self.woken = 0
        return self._pending

    @property
    def _pending(self) -> bool:
        return self.enabled and bool(self._chip.status & self._chip.mask)

    def wake(self) -> None:
        self.woken = 1

    def disable(self) -> None:
        self.enabled = False


class FakeWindow:
    def __init__(self, chip: FakeChip, bar: int, size_bytes: int) -> None:
        self._chip, self._bar, self.size_bytes = chip, bar, size_bytes

    def read32(self, offset: int) -> int:
        assert offset % 4 == 0 and 0 <= offset < self.size_bytes
        value = 0xFFFFFFFF if self._chip.dead else self._chip.load(self._bar, offset)
        self._chip.log.append(("R", self._bar, offset, value))
        return value

    def write32(self, offset: int, value: int) -> None:
        assert offset % 4 == 0 and 0 <= offset < self.size_bytes and 0 <= value <= 0xFFFFFFFF
        self._chip.log.append(("W", self._bar, offset, value))
        if not self._chip.dead:
            self._chip.store(self._bar, offset, value)

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        return b"".join(struct.pack("<I", self.read32(offset + at)) for at in range(0, size_bytes, 4))

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        for at in range(0, len(data), 4):
            self.write32(offset + at, struct.unpack_from("<I", data, at)[0])


class FakeChip:
    """The function. Scripts: ``on_control(cpu, request) -> response or None``, ``answers_soft_reset``, ..."""

    name = "fake"

    def __init__(self, *, running: bool = True) -> None:
        self.clock = FakeClock()
        self.config, self.dma, self.irq = FakeConfigSpace(), FakeDma(), FakeInterrupts(self)
        self.windows = {0: FakeWindow(self, 0, 0x4000), 2: FakeWindow(self, 2, 0x1000), 4: FakeWindow(self, 4, 0x4000)}
        self.log: list[tuple[str, int, int, int]] = []
        self.due: deque[Callable[[], None]] = deque()
        self.status = self.mask = self.source = self.destination = 0
        self.atr = {0x700: 0, 0x704: 0, 0x708: MAILBOX_BASE if running else 0, 0x70C: 0, 0x710: 0}
        self.memory: dict[int, int] = {0xE0000: 1}
        self.bar4: dict[int, int] = {}
        self.vdma: dict[int, int] = {}
        self.dead = self.closed = False
        self.boots = self.acknowledges_shutdown = self.answers_soft_reset = True
        self.on_control: Callable[[int, bytes], bytes | None] = lambda cpu, request: None
        self.requests: list[tuple[int, bytes]] = []
        self.doorbells: list[int] = []
        self.resets = 0

    # --- PciFunction

    def window(self, bar: int) -> FakeWindow:
        return self.windows[bar]

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed = True

    # --- registers

    def load(self, bar: int, offset: int) -> int:
        if bar == 0:
            fixed = {0x98: 0x28641E60, 0x188: self.mask, 0x18C: self.status}
            fixed |= {0x400: self.source, 0x500: self.destination}
            return fixed[offset] if offset in fixed else self.atr[offset]
        if bar == 2:
            return self.vdma.get(offset, 0)
        if offset < 0x1000:
            return self.memory.get(self.atr[0x708] + offset, 0)
        return self.bar4.get(offset, 0)

    def store(self, bar: int, offset: int, value: int) -> None:
        if bar == 0:
            if offset == 0x188:
                self.mask = value
            elif offset == 0x18C:
                self.status &= ~value
            elif offset == 0x400:
                self.source &= ~value
            elif offset == 0x500:
                self.destination &= ~value
            else:
                assert offset in self.atr, f"write to 0x{offset:X}"
                self.atr[offset] = value
        elif bar == 2:
            self.vdma[offset] = value
        elif offset == 0x1684:
            self.ring(value)
        elif offset < 0x1000:
            address = self.atr[0x708] + offset
            self.memory[address] = value
            if address == 0xE0980 and value == 1 and self.boots:
                self.due.append(self.finish_boot)
        else:
            self.bar4[offset] = value

    def finish_boot(self) -> None:
        self.atr[0x708] = MAILBOX_BASE
        self.status |= 1 << 25

    def ring(self, value: int) -> None:
        self.doorbells.append(value)
        if value & 8 and self.answers_soft_reset:
            self.due.append(self._finish_reset)
        if value & 4 and self.acknowledges_shutdown:
            self.due.append(lambda: self.raise_status(27))
        if value & 3:
            length = self.memory[MAILBOX_BASE + 0x10]
            raw = self.read_memory(MAILBOX_BASE, 20 + length)
            assert raw[:16] == hashlib.md5(raw[20:]).digest()
            self.requests.append((1 if value & 2 else 0, raw[20:]))
            self.due.append(lambda: self._answer(*self.requests[-1]))

    def _finish_reset(self) -> None:
        self.atr[0x708] = 0
        self.status |= 1 << 24

    def _answer(self, cpu: int, request: bytes) -> None:
        response = self.on_control(cpu, request)
        if response is not None:
            self.put_response(response)

    def put_response(self, response: bytes, *, digest: bytes | None = None, length: int | None = None) -> None:
        digest = hashlib.md5(response).digest() if digest is None else digest
        header = digest + struct.pack("<I", len(response) if length is None else length)
        self.write_memory(MAILBOX_BASE + 0x640, header + response)
        self.raise_status(26)

    def raise_status(self, bit: int) -> None:
        self.status |= 1 << bit

    def put_notification(self, payload: bytes, *, length: int | None = None, flag: int = 1) -> None:
        header = struct.pack("<HH", flag, len(payload) if length is None else length)
        self.write_memory(MAILBOX_BASE + 0xC80, header + payload)
        self.raise_status(25)

    def read_memory(self, address: int, size_bytes: int) -> bytes:
        words = (self.memory.get(address + at, 0) for at in range(0, size_bytes, 4))
        return b"".join(struct.pack("<I", word) for word in words)[:size_bytes]

    def write_memory(self, address: int, data: bytes) -> None:
        data = data.ljust(-(-len(data) // 4) * 4, b"\0")
        for at in range(0, len(data), 4):
            self.memory[address + at] = struct.unpack_from("<I", data, at)[0]

    # --- channels

    @staticmethod
    def half(channel: int) -> int:
        return channel * 0x20 + (0x10 if channel >= 16 else 0)

    def start_channel(self, channel: int, count: int, list_address: int) -> None:
        depth = count.bit_length() - 1
        self.vdma[self.half(channel)] = (0 if depth == 16 else depth) << 11 | 1
        self.vdma[self.half(channel) + 4] = 0
        self.vdma[self.half(channel) + 8] = list_address & 0xFFFF0000
        self.vdma[self.half(channel) + 0xC] = list_address >> 32

    def stop_channel(self, channel: int) -> None:
        self.vdma[self.half(channel)] &= ~0xFF

    def run_channel(self, channel: int, descriptors: int | None = None) -> list[tuple[int, int, int]]:
        """Process available descriptors; return (size, control, bus address) of each. Raises the interrupt bits."""
        at = self.half(channel)
        count = 1 << (self.vdma[at] >> 11 & 0xF or 16)
        available, done = self.vdma[at] >> 16, self.vdma[at + 4] & 0xFFFF
        base = self.vdma[at + 8] & 0xFFFF0000 | self.vdma[at + 0xC] << 32
        processed = []
        index = done % count
        while index != available % count and (descriptors is None or len(processed) < descriptors):
            raw = self.dma.memory(base + index * 16, 16)
            word, low, high, _ = struct.unpack("<4I", raw)
            processed.append((word >> 8, word & 0xFF, low & ~0x3F | high << 32))
            index = (index + 1) % count
            if word & 0x24 == 0x24:
                self.raise_channel(channel)
        # The register shows `count`, not 0, after the last index (driver.md 10.4).
        shown = index or (count if processed else 0)
        self.vdma[at + 4] = (shown & 0xFFFF) | (shown & 0xFFFF) << 16
        return processed

    def raise_channel(self, channel: int) -> None:
        if channel < 16:
            self.source |= 1 << channel
            self.status |= 1 << channel // 4
        else:
            self.destination |= 1 << channel
            self.status |= 1 << 8 + channel // 4


def answer(request: bytes, *parameters: bytes, status: tuple[int, int] = (0, 0), **changes: int) -> bytes:
    """Build a response to ``request`` (control-protocol.md 2.2), with header words replaced by ``changes``."""
    version, _, sequence, opcode, _ = struct.unpack(">5I", request[:20])
    words = {"version": version, "flags": 1, "sequence": sequence, "opcode": opcode} | changes
    header = struct.pack(">7I", words["version"], words["flags"], words["sequence"], words["opcode"], *status,
                         len(parameters))  # fmt: skip
    return header + b"".join(struct.pack(">I", len(p)) + p for p in parameters)


def firmware_image(app: bytes = bytes(range(256)), key: bytes = b"K" * 16, content: bytes = b"C" * 16,
                   core: bytes = b"\xc0" * 256) -> bytes:  # fmt: skip
    """The image that the recorded driver load used (traces README section 1)."""
    header = struct.pack("<5I", 0x1DD89DE0, 0, 4, 23, 0)
    certificate = struct.pack("<2I", len(key), len(content))
    return b"".join(
        [
            header,
            struct.pack("<I", len(app)),
            app,
            certificate,
            key,
            content,
            header,
            struct.pack("<I", len(core)),
            core,
        ]
    )
