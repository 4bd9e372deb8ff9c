"""Firmware logs: two rings of 4088 bytes behind windows 2 and 3 (driver.md 4.2)."""

from __future__ import annotations

from functools import partial

from openhailo.driver.link import CPU_APP, CPU_CORE
from openhailo.errors import InputError, MalformedReply
from openhailo.testing.check import check, expect, expect_error
from openhailo.testing.rig import Rig

from .raw.host import APP_LOG, CORE_LOG, RawHost

_RING = 4088


def _take(host: RawHost, base: int) -> bytes:
    """Read a log as bytes and mark it as read."""
    tail, head = host.bar4.read32(base), host.bar4.read32(base + 4)
    ring = host.bar4.read_block(base + 8, _RING)
    host.bar4.write32(base, head)
    return ring[tail:head] if head >= tail else ring[tail:] + ring[:head]


@check("logs", needs=("function", "state"), about=["log_header", "app_log", "core_log", "log_size_bytes"])
def rings_by_byte(rig: Rig) -> None:
    """Host offset, chip offset, data from byte 8 on; the rings wrap at 4088 and are each their own."""
    host = RawHost(rig.open_function())
    for cpu, base in ((0, APP_LOG), (1, CORE_LOG)):
        _take(host, base)
        text = bytes(at % 251 for at in range(1000))
        for _ in range(9):
            rig.log(cpu, text)
            expect(f"log of CPU {cpu}", _take(host, base), text)
            expect("offsets agree", host.bar4.read32(base), host.bar4.read32(base + 4))
        rig.log(cpu, bytes(5000))
        expect("a full ring", len(_take(host, base)), _RING - 1)


@check("logs", needs=("state",), about=["log_header", "app_log", "core_log", "log_size_bytes"])
def driver_reads_logs(rig: Rig) -> None:
    """What the firmware wrote, once, in order, across the end of the ring."""
    for cpu in (CPU_APP, CPU_CORE):
        rig.link.read_log(cpu)
        for size_bytes in (1, 2, 3, 4, 1021, 4087, 1022, 3333):
            text = bytes((at * 7 + size_bytes) % 256 for at in range(size_bytes))
            rig.log(cpu, text)
            expect(f"{size_bytes} bytes of CPU {cpu}", rig.link.read_log(cpu), text)
            expect("afterwards", rig.link.read_log(cpu), b"")
    expect_error("a third processor", InputError, partial(rig.link.read_log, 2))


@check("logs", needs=("function", "fresh", "state"), about=["log_header", "log_size_bytes"])
def driver_distrusts_offsets(rig: Rig) -> None:
    """Offsets outside the ring are refused, 4088 the first of them."""
    with rig.fresh() as other:
        link = other.link
        window = other.twin.chip
        for at, value in ((0, 4088), (4, 4088), (4, 0xFFFFFFFF)):
            window.bar_write(4, APP_LOG, 4, 0)
            window.bar_write(4, APP_LOG + 4, 4, 0)
            expect("an empty log", link.read_log(CPU_APP), b"")
            window.bar_write(4, APP_LOG + at, 4, value)
            expect_error(f"offset {value}", MalformedReply, partial(link.read_log, CPU_APP))
