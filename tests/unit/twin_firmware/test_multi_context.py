"""Two contexts with a tensor in host memory between them (context-switch.md 17.2), batches, DDR, caches."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

TS = "ffffffff"


def hexed(address: int) -> str:
    return struct.pack("<Q", address).hex()


def gather_model(source: tuple[int, ...], index: np.ndarray, target: tuple[int, ...]) -> bytes:
    """uint8 (N, *source) -> (N, *target): bytes picked by ``index``."""
    flat = int(np.prod(source))
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("Gather", ["f", "index"], ["g"], axis=1),
        helper.make_node("Reshape", ["g", "target"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([-1, flat], np.int64), "flat"),
        numpy_helper.from_array(index.astype(np.int64), "index"),
        numpy_helper.from_array(np.array([-1, *target], np.int64), "target"),
    ]
    graph = helper.make_graph(
        nodes,
        "pick",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", *source])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["N", *target])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


FIRST_INDEX = (np.arange(1024) * 7) % 512
SECOND_INDEX = np.arange(1023, 1007, -1)


class Rig:
    """Input 512 bytes (channel 1, stream 0) -> tensor 1024 bytes (channels 0x11 / 2, streams 2 / 3) -> 16 bytes."""

    def __init__(self, host: Any, batch: int = 4, *, fast: int = 1, programs: bool = True) -> None:
        self.host, self.batch = host, batch
        dma = host.function.dma
        self.input, self.output = (dma.alloc(128 * 16, alignment=0x10000) for _ in range(2))
        self.frames, self.results = dma.alloc(128 * 512), dma.alloc(128 * 64)
        for n in range(128):
            host.describe(self.input, n, 512, self.frames.iova + n * 512)
            host.describe(self.output, n, 16, self.results.iova + n * 64)
        self.inter = host.list(9, 512)
        self.tensor = host.last[1]
        self.sent = self.read = 0
        self._configure(fast, programs)

    def _configure(self, fast: int, programs: bool) -> None:
        first, second = self.programs() if programs else (b"\0" * 64, b"\0" * 64)
        cfg0, n0 = self.config(first)
        cfg1, n1 = self.config(second)
        out_a, in_a, mid_a = hexed(self.output.iova), hexed(self.input.iova), hexed(self.inter)
        regs = "8000080000040100" + "00" * 9
        mid = f"00{mid_a}00020900000000040000"
        out_buffer, in_buffer = f"00{out_a}40008000000010000000", f"00{in_a}00028000000000020000"
        activation = f"1e{TS} 21{TS}10{out_buffer} 20{TS}01{in_buffer} 0000 0002 00020000"
        batch = f"0c{TS}1102000000080000 1f{TS} 09{TS}110200{regs}{mid} 25{TS}01 1d{TS}"
        dynamic0 = (
            f"16{TS}0000{cfg0} 00{TS}{n0}00 18{TS}0200031300 1400 04{TS}25004d0009000000 01{TS}02{'00' * 43} 11{TS}02"
            f"09{TS}110200{regs}{mid} 06{TS}0100 4000080000020100{'00' * 9}{in_buffer}00080000"
            f"18{TS}02000d 010000 100001 27{TS}0101 02{TS}010000000200000100 1d{TS}"
            f"13{TS}1102000100 05{TS}13 17{TS}0000 0c{TS}1102010000080000 26{TS}0101"
        )
        dynamic1 = (
            f"16{TS}0000{cfg1} 00{TS}{n1}00 07{TS}100100 1000010010000100{'00' * 9}{out_buffer}"
            f"08{TS}020300{regs}{mid}00080000 18{TS}02000d 010101 100100 02{TS}020300020000000200"
            f"13{TS}1001000000 17{TS}0000 0c{TS}0201010000080000"
        )
        header = "0200" + "0000" + f"{fast:02x}" + "0001" + "0002" + struct.pack("<H", self.batch).hex()
        header += "00" * 16 + "0100000000"
        lists = [(3, activation), (2, batch), (1, dynamic0), (1, dynamic1)]
        self.host.configure([(kind, bytes.fromhex(text)) for kind, text in lists], header)

    def config(self, data: bytes) -> tuple[str, str]:
        pages = -(-len(data) // 512)
        sizes = [512] * (pages - 1) + [len(data) - 512 * (pages - 1)] + [512]
        address = self.host.list(pages + 1, 512, data, sizes)
        counts = struct.pack("<II", pages + 1, pages * 512).hex()
        return f"00{hexed(address)}0002{counts}", struct.pack("<H", pages).hex()

    def programs(self) -> tuple[bytes, bytes]:
        make, record = self.host.program_image, self.host.io_record
        first = gather_model((8, 64, 1), FIRST_INDEX, (1024,))
        second = gather_model((1024,), SECOND_INDEX, (16,))
        return (
            make([record(0, 0, (8, 64, 1), 512, "x", 1), record(1, 2, (1, 1, 1024), 1024, "y", 6)], first),
            make([record(0, 3, (1, 1, 1024), 1024, "x", 6), record(1, 1, (1, 1, 16), 16, "y", 6)], second),
        )

    def send(self, data: np.ndarray) -> None:
        at = self.sent % 128 * 512
        self.frames.view[at : at + 512] = data.tobytes()
        self.sent += 1
        self.host.available(1, 1, 128)

    def take(self) -> bytes:
        at = self.read % 128 * 64
        self.read += 1
        return bytes(self.results.view[at : at + 16])


def frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, 512, dtype=np.uint8)


def expected(data: np.ndarray) -> bytes:
    return bytes(data[FIRST_INDEX][SECOND_INDEX].tobytes())


def test_batches_go_through_both_contexts(host: Any) -> None:
    rig = Rig(host)
    assert host.enable() == 0
    host.available(16, 32, 128)
    for n in range(3):
        rig.send(frame(n))
    host.run()
    assert host.processed(16) == 0  # context 0 waits for its fourth frame (context-switch.md 19)
    for n in range(3, 12):
        rig.send(frame(n))
    host.run()
    assert host.notes == []
    assert [rig.take() for _ in range(12)] == [expected(frame(n)) for n in range(12)]
    assert host.processed(1) == 12


def test_the_tensor_lies_in_host_memory(host: Any) -> None:
    rig = Rig(host, 2)
    host.enable()
    host.available(16, 2, 128)
    for n in range(2):
        rig.send(frame(n))
    host.run()
    tensors = rig.tensor.view[:2048]
    assert bytes(tensors) == b"".join(frame(n)[FIRST_INDEX].tobytes() for n in range(2))
    assert rig.take() == expected(frame(0))


@pytest.mark.parametrize("first", [0, 2])
def test_dynamic_batch(host: Any, first: int) -> None:
    rig = Rig(host)
    assert host.enable(0, 5) == 0x4013003F
    assert host.enable(0, first) == 0
    count = first or 4
    host.available(16, 32, 128)
    for n in range(count):
        rig.send(frame(n))
    host.run()
    assert host.processed(16) == count


def test_fast_batch_switch_keeps_rings(host: Any) -> None:
    rig = Rig(host)
    host.enable(0, 4)
    host.available(16, 32, 128)
    total = 0
    for batch in (4, 1, 3, 2, 4):
        assert host.enable(0, batch) == 0
        host.run()
        for _ in range(batch):
            rig.send(frame(total))
            total += 1
        host.run()
        assert host.processed(16) == total
    assert [rig.take() for _ in range(total)] == [expected(frame(n)) for n in range(total)]
    assert host.notes == []


def test_slow_batch_switch_starts_the_rings_again(host: Any) -> None:
    rig = Rig(host, fast=0)
    host.enable(0, 4)
    host.available(16, 8, 128)
    for n in range(4):
        rig.send(frame(n))
    host.run()
    assert host.processed(16) == 4
    assert host.enable(0, 1) == 0
    assert host.processed(16) == 0
    host.heads.clear()
    rig.sent = rig.read = 0
    host.available(16, 8, 128)
    rig.send(frame(9))
    host.run()
    assert rig.take() == expected(frame(9))


def test_inputs_are_paused_between_contexts(host: Any) -> None:
    rig = Rig(host, 1)
    host.enable()
    host.available(1, 1, 128)
    host.run()
    assert host.processed(16) == 0
    assert host.control_of(1) & 3 == 3  # running and paused: context 1 waits until the output has room
    host.available(16, 1, 128)
    host.run()
    assert host.processed(16) == 1
    assert host.control_of(1) & 3 == 1
    assert rig.take() == bytes(16)


def test_a_reference_spans_the_contexts(host: Any) -> None:
    rig = Rig(host, 2, programs=False)
    host.twin.firmware.core.bind_reference(lambda inputs, info: {1: bytes(inputs[0][:15]) + bytes([info.index])})
    host.enable()
    host.available(16, 8, 128)
    for n in range(4):
        rig.send(frame(n))
    host.run()
    assert host.notes == []
    assert [rig.take() for _ in range(4)] == [frame(n)[:15].tobytes() + bytes([n]) for n in range(4)]


def test_breakpoint_in_a_later_batch(host: Any) -> None:
    rig = Rig(host, 1)
    host.ok(52, bytes(4), b"\0", struct.pack("<BBBHBHBH", 0, 0, 0, 1, 0, 4, 0, 0))
    host.enable()
    host.available(16, 8, 128)
    for n in range(2):
        rig.send(frame(n))
    host.run()
    assert host.processed(16) == 1
    assert struct.unpack_from("<BHHH", host.notes[0], 28) == (0, 1, 4, 0)
    host.ok(52, bytes(4), b"\1", bytes(11))
    host.run()
    assert host.processed(16) == 2


def test_hardware_only_inference(host: Any) -> None:
    rig = Rig(host)
    for n in range(8):
        rig.frames.view[n * 512 : n * 512 + 512] = frame(n).tobytes()
    channels = b"".join(struct.pack("<BBH", c, 0, 8) for c in (1, 16)).ljust(384, b"\0") + b"\2"
    request = (b"\0", struct.pack("<H", 4), struct.pack("<H", 2), channels, b"\0")
    assert host.ok(74, b"\0", *request) == [bytes(5)]
    assert host.status(74, b"\0", *request) == 0x40370002
    host.run()
    assert struct.unpack_from("<III", host.notes[0], 16) == (11, 1, 4)
    (cycles,) = struct.unpack_from("<I", host.notes[0], 28)
    (result,) = host.ok(74, b"\1", *request)
    assert struct.unpack("<BI", result) == (1, cycles)
    assert cycles > 0
    assert [rig.take() for _ in range(8)] == [expected(frame(n)) for n in range(8)]
    assert host.status(74, b"\1", *request) == 0x40370004
    assert host.status(74, b"\0", b"\7", *request[1:]) == 0x40370001
    assert host.status(74, b"\0", *request[:4], b"\1") == 0x40370005


def test_ddr_pair(host: Any) -> None:
    """17.3: the pair is opened, registered, started; opened again and closed by the batch-switching list."""
    ddr = hexed(host.list(16, 512))
    pair = f"00{ddr}00021000000000020000"
    regs = "0002100000021000" + "00" * 9
    opened = f"0b{TS}1102{regs}{pair}08000000 0a{TS}0203{regs}{pair}0008000011 0e{TS}0211001000000010 00 0f{TS}"
    batch = f"0c{TS}1102000000080000 0c{TS}0201000000080000 1f{TS} {opened} 1d{TS}"
    host.configure(
        [(3, bytes.fromhex("1e" + TS)), (2, bytes.fromhex(batch)), (1, bytes.fromhex(f"{opened} 15{TS}"))],
        "0100" + "0000" + "01" + "0001" + "0002" + "0100" + "00" * 16 + "0100000000",
    )
    host.enable()
    host.run()
    assert host.notes == []
    assert host.control_of(2) & 1
    assert host.control_of(0x11) & 1
    assert host.enable(0, 1) == 0
    host.run()
    assert host.notes == []
    assert host.control_of(2) & 1
    host.reset()
    assert host.control_of(2) & 1 == 0


def test_cache_update_waits_for_the_host(host: Any) -> None:
    cache = hexed(host.list(4, 512))
    regs = "0002100000021000" + "00" * 9
    text = f"29{TS}{regs}00{cache}0002040000000002000001001105 00 2a{TS} 11{TS}02"
    host.configure([(3, bytes.fromhex("1e" + TS)), (1, bytes.fromhex(text))])
    host.enable()
    host.run()
    assert [note.hex()[32:] for note in host.notes] == ["0d00000001000000080000002000000000000000"]
    host.ok(79)
    host.run()
    assert struct.unpack_from("<II", host.notes[1], 12)[1] == 12


def test_config_list_that_ends_early_is_a_run_time_error(host: Any) -> None:
    address = hexed(host.list(2, 512))
    text = f"16{TS}000000{address}00020200000000020000 00{TS}030000"
    host.configure([(3, bytes.fromhex("1e" + TS)), (1, bytes.fromhex(text))])
    host.enable()
    host.run()
    assert struct.unpack_from("<I", host.notes[0], 28) == (0x402D0007,)
    assert host.control_of(0) & 1 == 0
