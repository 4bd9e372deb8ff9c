"""One network, one context: the golden lists of context-switch.md 17.1 run, and frames flow."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from openhailo.twin.core import PatternReference

TS = "ffffffff"


def golden_lists(out_list: int, in_list: int, cfg_list: int, cfg_count: int) -> list[tuple[int, bytes]]:
    """17.1 with the time stamps put back and the list addresses and config count of this host."""
    out_a, in_a, cfg_a = (struct.pack("<Q", a).hex() for a in (out_list, in_list, cfg_list))
    count = struct.pack("<H", cfg_count - 1).hex()
    total = struct.pack("<I", cfg_count).hex()
    pattern = struct.pack("<I", 512 * (cfg_count - 1)).hex()
    activation = (
        f"1e{TS} 21{TS}10 00{out_a}400080000000 10000000 20{TS}01 00{in_a}000180000000c0000000 0000c000c0000000"
    )
    batch = f"1f{TS} 25{TS}01 1d{TS}"
    preliminary = f"16{TS}0000 00{cfg_a}0002{total}{pattern} 00{TS}{count}00 17{TS}0000"
    dynamic = (
        f"07{TS}100100 1000010010000100000000000000000000 00{out_a}40008000000010000000"
        f"06{TS}0100 18000800c0000100000000000000000000 00{in_a}000180000000c0000000 00080000"
        f"27{TS}0101 02{TS}010000c00000000100 1d{TS} 15{TS}"
    )
    return [(kind, bytes.fromhex(text)) for kind, text in ((3, activation), (2, batch), (0, preliminary), (1, dynamic))]


class Rig:
    """The application of 17.1 on a host: rings of 128 for input (256-byte pages) and output (64-byte pages)."""

    def __init__(self, host: Any, config: bytes) -> None:
        self.host = host
        dma = host.function.dma
        self.input, self.output = (dma.alloc(128 * 16, alignment=0x10000) for _ in range(2))
        self.frames, self.results = dma.alloc(128 * 192), dma.alloc(128 * 64)
        for n in range(128):
            host.describe(self.input, n, 192, self.frames.iova + n * 192)
            host.describe(self.output, n, 16, self.results.iova + n * 64)
        pages = -(-len(config) // 512)
        sizes = [512] * (pages - 1) + [len(config) - 512 * (pages - 1)] + [512]
        cfg = host.list(pages + 1, 512, config, sizes)
        self.lists = golden_lists(self.output.iova, self.input.iova, cfg, pages + 1)
        self.sent = 0
        self.read = 0

    def send(self, frame: np.ndarray) -> None:
        at = self.sent % 128 * 192
        self.frames.view[at : at + 192] = frame.tobytes()
        self.sent += 1
        self.host.available(1, 1, 128)

    def offer(self, count: int) -> None:
        self.host.available(16, count, 128)

    def take(self) -> bytes:
        at = self.read % 128 * 64
        self.read += 1
        return bytes(self.results.view[at : at + 16])


@pytest.fixture
def rig(host: Any, reverse_program: bytes) -> Rig:
    made = Rig(host, reverse_program)
    host.configure(made.lists)
    return made


def frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, 192, dtype=np.uint8)


def test_golden_lengths(host: Any) -> None:
    lists = golden_lists(0x100100000, 0x100000000, 0x100200000, 2)
    assert [len(data) for _, data in lists] == [63, 16, 41, 122]


def test_enabled_answers_with_channels_started(rig: Rig) -> None:
    assert rig.host.enable() == 0
    assert rig.host.control_of(16) == 0x3801  # depth 7, running, nothing available
    assert rig.host.control_of(1) == 0x3801
    assert rig.host.processed(16) == 0


def test_frames_go_through(rig: Rig) -> None:
    rig.host.enable()
    rig.offer(32)
    sent = [frame(n) for n in range(20)]
    for data in sent:
        rig.send(data)
    rig.host.run()
    assert [rig.take() for _ in sent] == [data[15::-1].tobytes() for data in sent]
    assert rig.host.processed(1) == 20
    assert rig.host.processed(16) == 20
    assert rig.host.notes == []


def test_rings_wrap(rig: Rig) -> None:
    rig.host.enable()
    rig.offer(127)
    for n in range(300):
        rig.send(frame(n))
        rig.host.run()
        assert rig.take() == frame(n)[15::-1].tobytes()
        rig.offer(1)
    assert rig.host.notes == []


def test_output_without_room_is_kept(rig: Rig) -> None:
    rig.host.enable()
    for n in range(3):
        rig.send(frame(n))
    rig.host.run()
    assert rig.host.processed(16) == 0
    rig.offer(2)
    rig.host.run()
    assert rig.host.processed(16) == 2
    rig.offer(1)
    rig.host.run()
    assert [rig.take() for _ in range(3)] == [frame(n)[15::-1].tobytes() for n in range(3)]


def test_frame_of_several_buffers(rig: Rig) -> None:
    """Trap 17: a short descriptor in the middle of a frame; bytes count, not descriptors."""
    rig.host.enable()
    rig.offer(1)
    data = frame(9)
    rig.host.describe(rig.input, 0, 64, rig.frames.iova)
    rig.host.describe(rig.input, 1, 128, rig.frames.iova + 4096)
    rig.frames.view[:64] = data[:64].tobytes()
    rig.frames.view[4096 : 4096 + 128] = data[64:].tobytes()
    rig.host.available(1, 2, 128)
    rig.host.run()
    assert rig.take() == data[15::-1].tobytes()


def test_reset_and_enable_again_restarts_the_rings(rig: Rig) -> None:
    rig.host.enable()
    rig.offer(4)
    rig.send(frame(0))
    rig.host.run()
    rig.host.reset()
    rig.host.reset()
    assert rig.host.control_of(1) & 3 == 0
    assert rig.host.control_of(16) & 3 == 0
    rig.host.heads.clear()
    rig.sent = rig.read = 0
    assert rig.host.enable() == 0
    assert rig.host.processed(1) == 0
    rig.offer(4)
    rig.send(frame(1))
    rig.host.run()
    assert rig.take() == frame(1)[15::-1].tobytes()


def test_frames_written_before_the_preliminary_list_ran(rig: Rig) -> None:
    rig.host.enable()
    rig.send(frame(3))
    rig.offer(1)
    rig.host.run()
    assert rig.take() == frame(3)[15::-1].tobytes()


def test_list_in_small_chunks(host: Any, reverse_program: bytes) -> None:
    rig = Rig(host, reverse_program)
    host.ok(32, bytes.fromhex("01000000010001000201000000000000000000000000000000000001" + "00000000"))
    for kind, data in rig.lists:
        host.chunks(kind, data, 17)
    assert host.enable() == 0
    rig.offer(1)
    rig.send(frame(1))
    host.run()
    assert rig.take() == frame(1)[15::-1].tobytes()


def test_silicon_network_without_reference_reports_and_consumes_nothing(host: Any) -> None:
    rig = Rig(host, bytes(256))
    host.configure(rig.lists)
    assert host.enable() == 0
    host.run()
    assert host.notes == []
    rig.offer(1)
    rig.send(frame(0))
    host.run()
    assert host.processed(1) == 0
    assert len(host.notes) == 1
    event, count, length, status, app = struct.unpack_from("<4xIII", host.notes[0], 12) + struct.unpack_from(
        "<IB", host.notes[0], 28
    )
    assert (event, count, length, status, app) == (12, 5, 11, 0x4013007B, 0)
    assert host.control_of(1) & 3 == 0
    assert host.control_of(16) & 3 == 0
    assert host.bar2.read32(1 * 0x20 + 8) & 0xFF  # channel error byte, so that the host need not wait for a timeout
    assert host.bar2.read32(16 * 0x20 + 0x18) & 0xFF
    assert host.function.window(0).read32(0x400) == 1 << 1
    assert host.function.window(0).read32(0x500) == 1 << 16


def test_silicon_network_with_the_recorded_pattern(host: Any) -> None:
    """traces/README.md 1: byte i of frame f on channel c is (7 i + f + 31 (c - 16)) mod 256."""
    rig = Rig(host, bytes(256))
    host.configure(rig.lists)
    host.twin.firmware.core.bind_reference(PatternReference())
    host.enable()
    rig.offer(3)
    for n in range(3):
        rig.send(frame(n))
    host.run()
    assert [rig.take() for _ in range(3)] == [bytes((7 * i + f) % 256 for i in range(16)) for f in range(3)]


def test_reference_sees_the_frame(host: Any) -> None:
    rig = Rig(host, bytes(256))
    host.configure(rig.lists)
    host.twin.firmware.core.bind_reference(lambda inputs, info: {1: bytes(inputs[0][:16])})
    host.enable()
    rig.offer(1)
    rig.send(frame(5))
    host.run()
    assert rig.take() == frame(5)[:16].tobytes()


def test_reference_of_the_wrong_size_is_a_run_time_error(host: Any) -> None:
    rig = Rig(host, bytes(256))
    host.configure(rig.lists)
    host.twin.firmware.core.bind_reference(lambda inputs, info: {1: bytes(15)})
    host.enable()
    rig.offer(1)
    rig.send(frame(5))
    host.run()
    assert struct.unpack_from("<I", host.notes[0], 16) == (12,)


@pytest.mark.parametrize(
    ("at", "value", "status"),
    [(8, 7, 0x4013007D), (24, 1, 0x4013007D), (12, 99, 0x4013007D)],
    ids=["kind", "hash", "io_count"],
)
def test_damaged_program_is_a_run_time_error(
    host: Any, reverse_program: bytes, at: int, value: int, status: int
) -> None:
    damaged = bytearray(reverse_program)
    damaged[at] ^= value
    rig = Rig(host, bytes(damaged))
    host.configure(rig.lists)
    assert host.enable() == 0
    host.run()
    assert struct.unpack_from("<I", host.notes[0], 28) == (status,)
    assert host.ok(46)  # the firmware itself goes on


def test_snn_program_is_refused(host: Any, reverse_program: bytes) -> None:
    rig = Rig(host, reverse_program[:8] + b"\x02" + reverse_program[9:])
    host.configure(rig.lists)
    host.enable()
    host.run()
    assert struct.unpack_from("<I", host.notes[0], 28) == (0x4013007D,)


def test_two_applications_switch(host: Any, reverse_program: bytes) -> None:
    first, second = Rig(host, reverse_program), Rig(host, bytes(256))
    host.configure(first.lists)
    host.configure(second.lists)
    host.twin.firmware.core.bind_reference(PatternReference(), application=1)
    host.enable(0)
    first.offer(2)
    first.send(frame(1))
    host.run()
    assert first.take() == frame(1)[15::-1].tobytes()
    host.heads.clear()
    assert host.enable(1, 1) == 0
    second.offer(1)
    second.send(frame(2))
    host.run()
    assert second.take() == bytes(7 * i % 256 for i in range(16))
    host.heads.clear()
    host.enable(0, 1)
    first.sent = first.read = 0
    first.offer(1)
    first.send(frame(4))
    host.run()
    assert first.take() == frame(4)[15::-1].tobytes()


def test_latency_of_the_last_frame(rig: Rig) -> None:
    assert rig.host.status(25) == 0x4003004D
    rig.host.ok(24, b"\x01", bytes(4), bytes(4), bytes(4), bytes(4))
    rig.host.enable()
    rig.offer(1)
    rig.send(frame(0))
    rig.host.run()
    (latency,) = rig.host.ok(25)
    assert len(latency) == 4


def test_driver_shutdown_stops_everything(rig: Rig, make_host: Callable[..., Any]) -> None:
    rig.host.enable()
    rig.offer(1)
    rig.send(frame(0))
    rig.host.twin.firmware.driver_shutdown()
    rig.host.run()
    assert rig.host.processed(16) == 0
    rig.host.heads.clear()
    rig.sent = 0
    assert rig.host.enable() == 0
    rig.offer(1)
    rig.send(frame(1))
    rig.host.run()
    assert rig.take() == frame(1)[15::-1].tobytes()


#: (list, offset in it, new bytes, status): golden lists of 17.1 with one field changed. Offsets count from the payloads
#: of context-switch.md 9 plus five header bytes.
CHANGED = [
    (0, 5 + 1, "01", 0x40130069),  # a config stream that the header does not have
    (0, 5 + 11, "0001", 0x402B000A),  # config page 256, csm_buffer_size 512
    (0, 5 + 17, "00000000", 0x40130035),  # nothing programmed, yet descriptors are fetched
    (0, 26 + 5, "0100", 0x40130035),  # fewer descriptors fetched than programmed
    (1, 5 + 3, "0000", 0x40130026),  # output: no core bytes
    (1, 5 + 7, "0800", 0x40130026),  # output: 8 bytes a buffer, pattern 16
    (1, 5 + 35, "08000000", 0x40130026),
    (1, 5 + 2, "01", 0x4013005B),  # a network the header does not have
    (1, 5 + 1, "20", 0x40130025),
    (1, 44 + 5 + 2, "0c00", 0x40130030),  # input: the core takes less than the frame
    (1, 44 + 5 + 16, "0300", 0x40130026),  # padding without payload
    (1, 44 + 5 + 20, "0000010001000000", 0x400300BE),  # another list than the one opened
    (1, 44 + 5 + 38, "00000000", 0x402D0019),
    (1, 44 + 5 + 1, "03", 0x4013000B),  # a stream other than the one opened
    (1, 91 + 5 + 1, "02", 0x40130039),
    (1, 98 + 5 + 0, "02", 0x40330006),
    (1, 98 + 5 + 1, "01", 0x40330006),
    (1, 98 + 5 + 2, "01", 0x4013005B),
    (1, 98 + 5 + 3, "c1000000", 0x40130027),
    (1, 98 + 5 + 7, "02", 0x4013003A),
    (1, 98 + 5 + 8, "01", 0x40130066),
]


@pytest.mark.parametrize(("which", "at", "data", "status"), CHANGED)
def test_contradicting_fields(host: Any, reverse_program: bytes, which: int, at: int, data: str, status: int) -> None:
    rig = Rig(host, reverse_program)
    lists = [(kind, bytearray(text)) for kind, text in rig.lists]
    changed = dict(lists)[which]
    changed[at : at + len(data) // 2] = bytes.fromhex(data)
    host.configure([(kind, bytes(text)) for kind, text in lists])
    assert host.enable() == 0
    host.run()
    assert [f"{struct.unpack_from('<I', note, 28)[0]:08X}" for note in host.notes] == [f"{status:08X}"]


def test_opened_and_activated_inputs_agree(host: Any, reverse_program: bytes) -> None:
    for at, data in ((30 + 5 + 22, "6000"), (30 + 5 + 24, "c8000000")):
        rig = Rig(host, reverse_program)
        lists = [(kind, bytearray(text)) for kind, text in rig.lists]
        dict(lists)[3][at : at + len(data) // 2] = bytes.fromhex(data)
        host.configure([(kind, bytes(text)) for kind, text in lists])
        assert host.enable(len(host.twin.firmware.machine.store.applications) - 1) == 0
        host.run()
        assert struct.unpack_from("<I", host.notes[-1], 28) == (0x40130026,)
