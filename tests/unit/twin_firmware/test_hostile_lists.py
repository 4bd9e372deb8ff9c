"""Damaged action lists on a whole twin: a status, an event 12 or silence; never an exception or a hang."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

TS = "ffffffff"


def golden(host: Any) -> list[tuple[int, bytes]]:
    """A list with most kinds of actions on real memory."""
    ring_in, ring_out, inter, config = (
        struct.pack("<Q", host.list(16, 64)).hex(),
        struct.pack("<Q", host.list(16, 64)).hex(),
        struct.pack("<Q", host.list(8, 512)).hex(),
        struct.pack("<Q", host.list(2, 512)).hex(),
    )
    regs = "4000010040000100" + "00" * 9
    wide = "0002010000020100" + "00" * 9
    activation = (
        f"1e{TS} 21{TS}1000{ring_out}40001000000040000000 20{TS}0100{ring_in}40001000000040000000 0000 4000 40000000"
    )
    batch = f"0c{TS}1102000000080000 1f{TS} 09{TS}110200{wide}00{inter}00020800000000020000 25{TS}01 1d{TS}"
    dynamic0 = (
        f"16{TS}000000{config}00020200000000020000 00{TS}010000 18{TS}0200031300 1400 05{TS}13 01{TS}02{'00' * 43}"
        f"11{TS}02 14{TS}05 09{TS}110200{wide}00{inter}00020800000000020000"
        f"06{TS}0100{regs}00{ring_in}4000100000004000000000080000 18{TS}02000d010000100001 27{TS}0101"
        f"02{TS}010000400000000100 1d{TS} 10{TS}13 13{TS}1102000100 17{TS}0000 0c{TS}1102010000080000 26{TS}0101"
        f"2b{TS}01000000 23{TS}00100000000500000004ffffffff00"
    )
    dynamic1 = (
        f"07{TS}100100{regs}00{ring_out}40001000000040000000 08{TS}020300{wide}00{inter}0002080000000002000000080000"
        f"18{TS}02000d010101100100 02{TS}020300010000000200 13{TS}1001000000 0c{TS}0201010000080000"
    )
    return [(k, bytes.fromhex(t)) for k, t in ((3, activation), (2, batch), (1, dynamic0), (1, dynamic1))]


HEADER = "02000000010001000201" + "00" + "00" * 16 + "0100000000"


def echo(inputs: Any, frame: Any) -> dict[int, bytes]:
    return {o.stream_index: bytes(o.frame_bytes) for o in frame.outputs}


def exercise(host: Any, lists: list[tuple[int, bytes]]) -> None:
    machine = host.twin.firmware.machine
    machine.store.clear()
    host.ok(32, bytes.fromhex(HEADER))
    for kind, data in lists:
        if data:
            host.chunks(kind, data)
    host.heads.clear()
    host.enable(0)
    for _ in range(200):
        if not host.twin.step():
            break
    for channel in (1, 16):
        if host.control_of(channel) & 1 and channel in (machine.run.boundaries if machine.run else ()):
            host.available(channel, 2, 16)
    for _ in range(200):
        if not host.twin.step():
            break
    host.enable(0, 1)
    for _ in range(50):
        if not host.twin.step():
            break
    for note in host.notes:
        event, status = struct.unpack_from("<I8xI", note, 16)
        assert event in (12, 13)
        assert event != 12 or status in host.twin.chip.spec.status_names
    host.notes.clear()
    host.reset()
    assert machine.is_idle


def test_the_undamaged_list_runs(host: Any) -> None:
    host.twin.firmware.core.bind_reference(echo)
    lists = golden(host)
    host.ok(32, bytes.fromhex(HEADER))
    for kind, data in lists:
        host.chunks(kind, data)
    assert host.enable() == 0
    host.run()
    host.available(16, 2, 16)
    host.available(1, 2, 16)
    host.run()
    assert host.notes == []
    assert host.processed(16) == 2


@pytest.mark.parametrize("seed", range(8))
def test_damaged_lists(make_host: Any, seed: int) -> None:
    rng = random.Random(seed)
    host = make_host()
    host.twin.firmware.core.bind_reference(echo)
    lists = golden(host)
    for _ in range(60):
        damaged = []
        for kind, data in lists:
            changed = bytearray(data)
            for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
                what, at = rng.randrange(4), rng.randrange(len(changed))
                if what == 0:
                    changed[at] = rng.randrange(256)
                elif what == 1:
                    changed[at] ^= 1 << rng.randrange(8)
                elif what == 2:
                    del changed[at : at + rng.randrange(1, 8)]
                else:
                    changed[at:at] = rng.randbytes(rng.randrange(1, 8))
                if not changed:
                    break
            damaged.append((kind, bytes(changed)))
        exercise(host, damaged)


def test_lists_of_nothing_but_sleep_do_not_hang(host: Any) -> None:
    host.configure([(3, bytes.fromhex("1e" + TS)), (1, bytes.fromhex("2b" + TS + "00000000"))])
    assert host.enable() == 0
    assert host.twin.run_until_idle() < 20
