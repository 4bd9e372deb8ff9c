"""Descriptor lists and channel registers of a hostile host, into the twin's DMA engine."""

from __future__ import annotations

import struct
from random import Random

import numpy as np

from openhailo.twin.board import ChannelFault
from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.violation import TwinViolation
from tests.fuzz.mutate import edge, mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

_BUFFER_BYTES, _COUNT = 1 << 14, 64
#: Where a fresh twin puts the first allocation, and the list behind it (64 KiB aligned).
_BUFFER, _LIST = 0x12_0000_0000, 0x12_0001_0000
_INPUT, _OUTPUT, _CONFIG = 3, 18, 0
_MOST_STEPS = 2000
_OPERATIONS = struct.Struct("<BBHI")
_PER_CASE = 12


class _Firmware:
    """Does nothing: the surface plays firmware itself."""

    def __init__(self, *_args: object) -> None:
        return

    def boot(self, _image: object) -> None:
        return

    def halt(self) -> None:
        return

    def driver_shutdown(self) -> None:
        return

    def control(self, *_args: object) -> None:
        return


def make_case(rng: Random) -> bytes:
    """Return a damaged list, how channels are opened, and what host and firmware then do."""
    page = rng.choice((64, 64, 128, 256, 512))
    rows = [_descriptor(rng, n, page) for n in range(_COUNT)]
    table = b"".join(rows)
    if rng.random() < 0.3:
        table = mutate_bytes(rng, table)[: _COUNT * 16]
    address = _LIST if rng.random() < 0.9 else rng.choice((_BUFFER, _LIST + 64, 0, edge(rng), _LIST + 0x10000))
    opening = struct.pack("<QIH", address & (1 << 64) - 1, rng.choice((2, 16, 32, 64, 64, 64, 65, 65536)), page)
    operations = b"".join(_operation(rng, page) for _ in range(_PER_CASE))
    return pack_parts([table, opening, operations])


def _descriptor(rng: Random, n: int, page: int) -> bytes:
    size, control, address, high = page, 0x02, _BUFFER + n * page & 0xFFFFFFFF, _BUFFER >> 32
    if rng.random() < 0.1:
        size = rng.choice((1, page - 8, page // 2))
    if rng.random() < 0.2:
        control = rng.choice((0x2E, 0x12, 0x3C, 0x02, rng.randrange(256)))
    if rng.random() < 0.02:
        size = edge(rng, 24)
    if rng.random() < 0.03:
        address = edge(rng, 32)
    if rng.random() < 0.01:
        high = edge(rng, 32)
    return struct.pack("<4I", size << 8 & 0xFFFFFF00 | control, address & ~0x3F | 0x02 * (rng.random() < 0.02), high, 0)


def _operation(rng: Random, page: int) -> bytes:
    channel = rng.choice((_INPUT, _OUTPUT, _CONFIG, _INPUT, _OUTPUT))
    kind = rng.randrange(10)
    value = rng.choice((1, 2, page, 2 * page, 3 * page - 8, 8 * page, 64 * page, edge(rng, 17)))
    if kind >= 7:
        return _OPERATIONS.pack(kind, rng.randrange(32), rng.randrange(0x500), edge(rng, 32))
    return _OPERATIONS.pack(kind, channel, rng.choice((1, 2, 8, 63, 64, rng.randrange(65536))), value & 0xFFFFFFFF)


def run(case: bytes) -> int:
    """Whatever host and firmware do, a channel works, waits or stops with an error."""
    table, opening, operations = unpack_parts(case)
    with Twin(clock=SteppedClock(), firmware=_Firmware, booted=True) as twin:  # type: ignore[arg-type]
        function = twin.function()
        function.config.write(4, 2, 6)
        buffer = function.dma.alloc(_BUFFER_BYTES)
        ring = function.dma.alloc(_COUNT * 16, alignment=0x10000)
        require((buffer.iova, ring.iova) == (_BUFFER, _LIST), "memory lies elsewhere")
        ring.view[: len(table)] = table
        machine = _Machine(twin, struct.unpack("<QIH", opening))
        for at in range(0, len(operations), _OPERATIONS.size):
            machine.apply(*_OPERATIONS.unpack_from(operations, at))
        machine.settle()
    return 1


class _Machine:
    """Host and firmware in one."""

    def __init__(self, twin: Twin, opening: tuple[int, int, int]) -> None:
        self._twin, self._vdma, (self._address, self._count, self._page) = twin, twin.chip.vdma, opening
        self._frame = 64
        self._vdma.on_work(self._work)
        for channel in (_INPUT, _OUTPUT, _CONFIG):
            self._try(self._open, channel)

    def _open(self, channel: int) -> None:
        self._vdma.open_channel(
            channel,
            list_address=self._address,
            desc_count=self._count,
            page_size=self._page,
            device_managed=channel == _CONFIG,
        )

    def apply(self, kind: int, channel: int, small: int, value: int) -> None:
        """Do one thing; the host may use registers wrongly (`TwinViolation`), the engine may refuse the list."""
        twin, vdma = self._twin, self._vdma
        at = channel * 0x20 + (0x10 if channel >= 16 else 0)
        match kind:
            case 0 | 1 | 2:
                self._frame = max(1, value & 0xFFFFF)
                word = twin.chip.bar_read(2, at)
                self._access(at, 4, word & 0xFFFF | (small & 0xFFFF) << 16)
                self._settle()
            case 3:
                self._try(self._move, channel)
            case 4:
                if vdma.is_open(_CONFIG):
                    self._try(vdma.fetch, _CONFIG, small)
            case 5:
                self._try(self._open, channel)
            case 6:
                change = (vdma.pause_channel, vdma.resume_channel, vdma.close_channel)[small % 3]
                self._try(change, channel)
            case 7:
                self._access(small & ~3, 4, value)
            case 8:
                self._access(small, (1, 2, 4)[value % 3], value >> 8)
            case _:
                self._access(channel * 0x20 + small % 0x20, 4, value)
        self._settle()

    def _access(self, offset: int, width: int, value: int) -> None:
        try:
            self._twin.chip.bar_write(2, offset, width, value)
            self._twin.chip.bar_read(2, offset, width)
        except TwinViolation:
            return

    def _move(self, channel: int) -> None:
        if channel < 16:
            self._vdma.pull(channel, self._frame)
        else:
            self._vdma.push(channel, np.zeros(self._frame, np.uint8))

    def _work(self, channel: int) -> None:
        """Firmware takes what there is; faults may escape into the chip, as its contract says."""
        for _ in range(100):
            if channel < 16:
                if self._vdma.pull(channel, self._frame) is None:
                    return
            elif not self._vdma.push(channel, np.zeros(self._frame, np.uint8)):
                return

    @staticmethod
    def _try(what: object, *arguments: object) -> None:
        try:
            what(*arguments)  # type: ignore[operator]
        except ChannelFault as fault:
            require(fault.reason, "a fault without a reason")

    def _settle(self) -> None:
        steps = 0
        while self._twin.step():
            steps += 1
            require(steps < _MOST_STEPS, "the twin does not come to rest")

    def settle(self) -> None:
        """Come to rest, and check the counters that the host sees."""
        self._settle()
        for channel in range(32):
            half = channel * 0x20 + (0x10 if channel >= 16 else 0)
            word = self._twin.chip.bar_read(2, half + 4)
            require(word & 0xFFFF == word >> 16, f"channel {channel}: processed and ongoing differ at rest")


SURFACE = Surface("descriptors", make_case, run, (), gain_bytes=1 << 28)
