"""A host that knows only bytes: it drives the firmware of a real twin with literals from the facts pages."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import xxhash
from onnx import TensorProto, helper, numpy_helper

from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.firmware import FirmwareConfig

APP, CORE = 0, 1
CORE_OPCODES = {32, 33, 36, 37, 41, 42, 45, 52, 53, 54, 59, 68, 69, 70, 71, 72, 74, 75, 76, 77, 78, 79}


class Host:
    """Talks to one twin: controls as bytes, descriptor lists in memory, channel registers through BAR 2."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.function = twin.function()
        self.function.config.write(4, 2, 0x6)  # memory decoding and bus mastering
        self.notes: list[bytes] = []
        twin.chip.notify = self.notes.append  # type: ignore[method-assign]
        twin.firmware.parts.notifier._send = self.notes.append  # type: ignore[attr-defined]
        self.bar2 = self.function.window(2)
        self.heads: dict[int, int] = {}
        self.sizes: dict[int, int] = {}

    @staticmethod
    def program_image(records: list[bytes], payload: bytes, kind: int = 1) -> bytes:
        return program_image(records, payload, kind)

    @staticmethod
    def io_record(
        direction: int, stream: int, shape: tuple[int, int, int], transfer: int, name: str, order: int
    ) -> bytes:
        return io_record(direction, stream, shape, transfer, name, order)

    # --- controls ---

    def raw(self, request: bytes, cpu: int = APP, digest_ok: bool = True) -> bytes | None:
        with self.twin.chip.loop.lock:
            return self.twin.firmware.control(cpu, request, digest_ok)

    def ask(self, opcode: int, *params: bytes, sequence: int = 0, cpu: int | None = None) -> bytes | None:
        body = b"".join(struct.pack(">I", len(p)) + p for p in params)
        message = struct.pack(">5I", 2, 0, sequence, opcode, len(params)) + body
        return self.raw(message, (CORE if opcode in CORE_OPCODES else APP) if cpu is None else cpu)

    def status(self, opcode: int, *params: bytes) -> int:
        answer = self.ask(opcode, *params)
        assert answer is not None
        return int(struct.unpack(">I", answer[16:20])[0])

    def ok(self, opcode: int, *params: bytes) -> list[bytes]:
        answer = self.ask(opcode, *params)
        assert answer is not None
        assert answer[16:24] == bytes(8), answer[16:24].hex()
        return parameters(answer)

    def enable(self, app: int = 0, batch: int = 0) -> int:
        return self.status(37, b"\x01", bytes([app]), struct.pack("<H", batch), b"\0\0")

    def reset(self) -> None:
        self.ok(37, b"\0", b"\xff", b"\0\0", b"\0\0")

    def configure(self, contexts: list[tuple[int, bytes]], header: str = "") -> None:
        dynamic = sum(kind == 1 for kind, _ in contexts)
        default = struct.pack("<H", dynamic).hex() + "000001000100020100" + "00" * 16 + "0100000000"
        self.ok(32, bytes.fromhex(header or default))
        for kind, data in contexts:
            self.chunks(kind, data)

    def chunks(self, kind: int, data: bytes, size: int = 1461) -> None:
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        for n, piece in enumerate(pieces):
            self.ok(33, bytes([n == 0]), bytes([n == len(pieces) - 1]), bytes([kind]), piece)

    # --- memory and channels ---

    def list(self, count: int, page: int, data: Any = b"", sizes: list[int] | None = None) -> int:
        """A descriptor list over one buffer, a page per descriptor; ``data`` fills them; returns the list's address."""
        buffer = self.function.dma.alloc(count * page)
        ring = self.function.dma.alloc(count * 16, alignment=0x10000)
        at = 0
        for n, size in enumerate(sizes or [page] * count):
            self.describe(ring, n, size, buffer.iova + n * page)
            piece = data[at : at + size]
            buffer.view[n * page : n * page + len(piece)] = piece
            at += size
        self.last = ring, buffer
        return int(ring.iova)

    @staticmethod
    def describe(ring: Any, n: int, size: int, address: int, control: int = 0x2E) -> None:
        struct.pack_into("<4I", ring.view, n * 16, size << 8 | control, address & 0xFFFFFFFF, address >> 32, 0)

    def available(self, channel: int, count: int, size: int) -> None:
        """Move num available on by ``count`` in a ring of ``size``."""
        at = channel * 0x20 + (0x10 if channel >= 16 else 0)
        head = self.heads[channel] = (self.heads.get(channel, 0) + count) % size
        self.bar2.write32(at, self.bar2.read32(at) & 0xFFFF | head << 16)

    def control_of(self, channel: int) -> int:
        at = channel * 0x20 + (0x10 if channel >= 16 else 0)
        return int(self.bar2.read32(at))

    def processed(self, channel: int) -> int:
        at = channel * 0x20 + (0x10 if channel >= 16 else 0)
        return int(self.bar2.read32(at + 4)) & 0xFFFF

    def run(self) -> None:
        self.twin.run_until_idle()


def parameters(answer: bytes) -> list[bytes]:
    """Split a response into its parameter values; the walk must end at the end."""
    (count,) = struct.unpack(">I", answer[24:28])
    at, values = 28, []
    for _ in range(count):
        (length,) = struct.unpack(">I", answer[at : at + 4])
        values.append(answer[at + 4 : at + 4 + length])
        at += 4 + length
    assert at == len(answer)
    return values


@pytest.fixture
def make_host() -> Iterator[Callable[..., Host]]:
    twins: list[Twin] = []

    def make(config: FirmwareConfig | None = None, **kwargs: Any) -> Host:
        options = {"firmware": config} if config is not None else {}
        twins.append(Twin(clock=SteppedClock(), booted=True, options=options, **kwargs))
        return Host(twins[-1])

    yield make
    for twin in twins:
        twin.close()


@pytest.fixture
def host(make_host: Callable[..., Host]) -> Host:
    return make_host()


def io_record(direction: int, stream: int, shape: tuple[int, int, int], transfer: int, name: str, order: int) -> bytes:
    head = struct.pack("<4B7I", direction, stream, order, 1, *shape, *shape, transfer)
    return head + name.encode().ljust(128, b"\0") + bytes(32)


def program_image(records: list[bytes], payload: bytes, kind: int = 1) -> bytes:
    header = b"OHPROG\0\1" + struct.pack("<IIQQ", kind, len(records), len(payload), xxhash.xxh3_64_intdigest(payload))
    image = header + bytes(32) + b"".join(records) + payload
    return image + bytes(-len(image) % 8)


def reverse_model(batch: Any = "N", outputs: int = 16) -> bytes:
    """(N, 8, 8, 3) uint8 -> (N, 16) uint8: the first 16 bytes of the frame, reversed."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("Gather", ["f", "index"], ["y"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([-1, 192] if batch == "N" else [1, 192], np.int64), "flat"),
        numpy_helper.from_array(np.arange(outputs - 1, -1, -1, dtype=np.int64), "index"),
    ]
    graph = helper.make_graph(
        nodes,
        "reverse",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [batch, 8, 8, 3])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [batch, outputs])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def reverse_program() -> bytes:
    """The model above as a program image: input stream 0 (192 bytes), output stream 1 (16 bytes)."""
    return program_image(
        [io_record(0, 0, (8, 8, 3), 192, "x", 1), io_record(1, 1, (1, 1, 16), 16, "y", 6)], reverse_model()
    )
