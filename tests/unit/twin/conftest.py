"""A fake firmware, and a host that speaks to the twin with literal register addresses (driver.md), not with `spec`."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from openhailo.twin.board import Board, LoadedImage, TwinConfig
from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin

MAILBOX = 0x60000000


class FakeFirmware:
    """Answers every control with the request reversed, and copies frames from channel 2 to channel 16."""

    def __init__(self, board: Board, config: TwinConfig) -> None:
        self.board, self.config = board, config
        self.calls: list[tuple[Any, ...]] = []
        self.answer: Callable[[int, bytes, bool], bytes | None] = lambda _cpu, request, _ok: request[::-1]

    def boot(self, image: LoadedImage) -> None:
        self.calls.append(("boot", image))

    def control(self, cpu: int, request: bytes, digest_ok: bool) -> bytes | None:
        self.calls.append(("control", cpu, request, digest_ok))
        return self.answer(cpu, request, digest_ok)

    def driver_shutdown(self) -> None:
        self.calls.append(("driver_shutdown",))

    def soft_reset(self) -> None:
        self.calls.append(("soft_reset",))

    def halt(self) -> None:
        self.calls.append(("halt",))

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


class Host:
    """Raw accesses to one twin; no knowledge from `openhailo.spec` or `openhailo.driver`."""

    def __init__(self, twin: Twin) -> None:
        self.twin, self.chip = twin, twin.chip
        self.function = twin.function()
        self.dma = self.function.dma
        self.bar0, self.bar2, self.bar4 = (self.function.window(n) for n in (0, 2, 4))

    def enable(self) -> None:
        self.function.config.write(0x04, 2, 0x0006)
        self.function.irq.enable()
        self.bar0.write32(0x188, 0xFF00FFFF)

    def status(self) -> int:
        return self.bar0.read32(0x18C)

    def point(self, address: int) -> None:
        for at, value in zip((0x700, 0x704, 0x708, 0x70C, 0x710), (0x17, 0, address, 0, 6), strict=True):
            self.bar0.write32(at, value)

    def put(self, address: int, data: bytes) -> None:
        saved = self.bar0.read32(0x708)
        data = data.ljust(-(-len(data) // 4) * 4, b"\0")
        for at in range(0, len(data), 4):
            self.point((address + at) & ~0xFFF)
            self.bar4.write32((address + at) & 0xFFF, int.from_bytes(data[at : at + 4], "little"))
        self.point(saved)

    def get32(self, address: int) -> int:
        saved = self.bar0.read32(0x708)
        self.point(address & ~0xFFF)
        value = self.bar4.read32(address & 0xFFF)
        self.point(saved)
        return value

    def load_image(
        self, *, magic: int = 0x1DD89DE0, version: int = 0, app_bytes: int = 80, core_bytes: int = 80
    ) -> None:
        def header(code_bytes: int) -> bytes:
            return struct.pack("<6I", magic, version, 4, 23, 0, code_bytes)

        self.put(0xE0030, header(app_bytes))
        self.put(0x60000, b"A" * 80)
        self.put(0xC0000, b"C" * 80)
        self.put(0xA0000, header(core_bytes))

    def boot(self) -> None:
        self.enable()
        self.load_image()
        self.put(0xE0980, b"\1\0\0\0")
        assert self.function.irq.wait(1.0)
        self.bar0.write32(0x18C, 0x02000000)

    def send(
        self, request: bytes, *, doorbell: int = 1, digest: bytes | None = None, length: int | None = None
    ) -> None:
        md5 = hashlib.md5(request).digest() if digest is None else digest
        data = md5 + struct.pack("<I", len(request) if length is None else length) + request
        self.bar4.write_block(0x000, data.ljust(-(-len(data) // 4) * 4, b"\0"))
        self.bar4.write32(0x1684, doorbell)

    def response(self) -> tuple[bytes, bytes]:
        header = self.bar4.read_block(0x640, 20)
        (length,) = struct.unpack_from("<I", header, 16)
        data = self.bar4.read_block(0x654, -(-length // 4) * 4)[:length]
        return header[:16], data


class Ring:
    """A descriptor list and a buffer in host memory, programmed as the official driver does (driver.md 6.3, 6.5)."""

    def __init__(self, host: Host, channel: int, count: int, page: int, *, buffer_bytes: int | None = None) -> None:
        self.host, self.channel, self.count, self.page = host, channel, count, page
        self.list = host.dma.alloc(count * 16, alignment=0x10000)
        self.buffer = host.dma.alloc(buffer_bytes or count * page)
        self.words = np.frombuffer(self.list.view, "<u4").reshape(count, 4)
        self.bytes = np.frombuffer(self.buffer.view, np.uint8)
        self.half = channel * 0x20 + (0 if channel < 16 else 0x10)
        self.next = 0

    def open(self, **options: Any) -> None:
        self.host.chip.vdma.open_channel(
            self.channel, list_address=self.list.iova, desc_count=self.count, page_size=self.page, **options
        )

    def describe(self, index: int, size: int, address: int, control: int = 0x02) -> None:
        self.words[index % self.count] = (size << 8 | control, address & 0xFFFFFFFF, address >> 32, 0)

    def program(self, sizes: list[int], *, offset: int = 0, last: int = 0x2E) -> None:
        """Describe a transfer from ``offset`` of the buffer, one descriptor per size."""
        at = self.buffer.iova + offset
        for i, size in enumerate(sizes):
            self.describe(self.next + i, size, at, last if i == len(sizes) - 1 else 0x02)
            at += size

    def launch(self, descriptors: int) -> None:
        """Move num available as the driver does: read the dword, change its upper half, write it back."""
        self.next = (self.next + descriptors) % self.count
        word = self.host.bar2.read32(self.half)
        self.host.bar2.write32(self.half, (word & 0xFFFF) | self.next << 16)

    @property
    def num_available(self) -> int:
        return self.host.bar2.read32(self.half) >> 16

    @property
    def num_processed(self) -> int:
        return self.host.bar2.read32(self.half + 4) & 0xFFFF

    @property
    def num_ongoing(self) -> int:
        return self.host.bar2.read32(self.half + 4) >> 16

    @property
    def control(self) -> int:
        return self.host.bar2.read32(self.half) & 0xFF

    @property
    def error(self) -> int:
        return self.host.bar2.read32(self.half + 8) & 0xFF


@pytest.fixture
def cold() -> Host:
    """A twin as after power-on."""
    return Host(Twin(clock=SteppedClock(), firmware=FakeFirmware))


@pytest.fixture
def host() -> Host:
    """A twin whose firmware runs, with memory decode, bus mastering, MSI and all interrupts on."""
    host = Host(Twin(clock=SteppedClock(), firmware=FakeFirmware, booted=True))
    host.enable()
    return host


@pytest.fixture
def firmware(host: Host) -> FakeFirmware:
    """The fake firmware of `host`."""
    assert isinstance(host.twin.firmware, FakeFirmware)
    return host.twin.firmware


@pytest.fixture
def make_ring(host: Host) -> Callable[..., Ring]:
    """Make a descriptor ring: ``make_ring(channel, count, page)``."""

    def make(channel: int, count: int, page: int, **options: Any) -> Ring:
        return Ring(host, channel, count, page, **options)

    return make


@pytest.fixture
def make_host() -> Callable[..., Host]:
    """Make a host on a new twin with the fake firmware; keywords go to `Twin`."""

    def make(**options: Any) -> Host:
        options.setdefault("clock", SteppedClock())
        return Host(Twin(firmware=FakeFirmware, **options))

    return make
