"""Action lists by byte (context-switch.md 2, 4-9), and networks made of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from openhailo.testing.check import Mismatch, expect

from .host import MessageHost, Room, describe, message
from .programs import REVERSE

#: Context types of opcode 33 (context-switch.md 3).
PRELIMINARY, DYNAMIC, BATCH_SWITCHING, ACTIVATION = 0, 1, 2, 3
#: Opcodes (control-protocol.md 4).
SET_HEADER, SET_CONTEXT, CHANGE_STATUS, CLEAR_APPLICATIONS = 32, 33, 37, 71
CORE_CPU = 1
CHUNK = 1461
HOST_INTERRUPT = 0x2E

Context = tuple[int, bytes]


def action(number: int, *parts: bytes) -> bytes:
    """Return one action as the host sends it."""
    return bytes([number]) + b"\xff\xff\xff\xff" + b"".join(parts)


def buffer(address: int, page: int, count: int, pattern: int, kind: int = 0) -> bytes:
    """Return a host_buffer_info (context-switch.md 6)."""
    return struct.pack("<BQHII", kind, address, page, count, pattern)


def registers(frame_bytes: int, buffers: int = 1) -> bytes:
    """Return stream registers (context-switch.md 7) for frames of ``frame_bytes``."""
    row = row_of(frame_bytes) if buffers == 1 else frame_bytes // buffers
    buffers = frame_bytes // row
    return struct.pack("<HHHHHIHB", row, buffers, row, buffers, 0, 0, 0, 0)


def row_of(frame_bytes: int) -> int:
    """Return the bytes of a row: the frame, cut until it fits 16 bits."""
    row = frame_bytes
    while row > 16384:
        row //= 2
    return row


def header(
    *, dynamic: int = 1, networks: int = 1, batch: int = 1, config_channels: int = 1, fast: int = 1, external: int = 0
) -> bytes:
    """Return an application header (context-switch.md 2)."""
    head = struct.pack("<H5BHHI", dynamic, 0, 0, fast, 0, networks, 512, batch, external)
    return head + bytes(12) + bytes([config_channels, 0, 2, 0, 0])


def configure(host: MessageHost, contexts: Sequence[Context], head: bytes | None = None, chunk: int = CHUNK) -> None:
    """Store an application: header, then every context in chunks."""
    dynamic = sum(kind == DYNAMIC for kind, _ in contexts)
    host.control(CORE_CPU, SET_HEADER, head if head is not None else header(dynamic=dynamic))
    for kind, data in contexts:
        for at in range(0, len(data), chunk):
            first, last = int(at == 0), int(at + chunk >= len(data))
            host.control(CORE_CPU, SET_CONTEXT, bytes([first]), bytes([last]), bytes([kind]), data[at : at + chunk])


def status_of_enable(host: MessageHost, application: int = 0, batch: int = 0) -> int:
    """Command ENABLED and return the major status."""
    parameters = (b"\x01", bytes([application]), batch.to_bytes(2, "little"), b"\0\0")
    answer = host.ask(CORE_CPU, message(CHANGE_STATUS, *parameters))
    if answer is None:
        raise Mismatch("ENABLED was not answered")
    return int.from_bytes(answer[16:20], "big")


def enable(host: MessageHost, application: int = 0, batch: int = 0) -> None:
    """Command ENABLED, which must succeed; rings start at 0."""
    expect("status of ENABLED", status_of_enable(host, application, batch), 0)
    host.forget_rings()


def reset(host: MessageHost) -> None:
    """Command RESET."""
    host.control(CORE_CPU, CHANGE_STATUS, b"\0", b"\xff", b"\0\0", b"\0\0")


class Ring:
    """A boundary channel: a descriptor ring over a buffer of one slot a descriptor."""

    def __init__(
        self, host: MessageHost, channel: int, count: int, page: int, frame_bytes: int, slots: int | None = None
    ) -> None:
        """Describe ``count`` slots; ``slots`` less give memory to the first of them only, used round and round."""
        self.host, self.channel, self.count, self.page, self.frame_bytes = host, channel, count, page, frame_bytes
        self.list = host.ring(count)
        self.memory = host.alloc(max((slots or count) * page, frame_bytes, 4096))
        self.next = 0
        for index in range(count):
            at = self.memory.iova + index % (slots or count) * page
            describe(self.list, index, at, min(frame_bytes, page), HOST_INTERRUPT)

    @property
    def info(self) -> bytes:
        """The channel's host_buffer_info."""
        return buffer(self.list.iova, self.page, self.count, self.frame_bytes)

    def send(self, frame: bytes) -> None:
        """Put a frame of one descriptor into the next slot and hand it over."""
        at = self.next * self.page
        self.memory.view[at : at + len(frame)] = frame
        self.hand_over(1)

    def hand_over(self, descriptors: int) -> None:
        """Move num available."""
        self.next = (self.next + descriptors) % self.count
        self.host.advance(self.channel, descriptors, self.count)

    def take(self, slot: int, size_bytes: int | None = None) -> bytes:
        """Return what lies in a slot."""
        at = slot % self.count * self.page
        return bytes(self.memory.view[at : at + (size_bytes or self.frame_bytes)])

    def reach(self, descriptors: int) -> None:
        """Let the device work until it has processed so many descriptors since the activation, or comes to rest."""
        self.host.settle(until=lambda: not (self.processed - descriptors) % self.count)

    @property
    def processed(self) -> int:
        """Num processed as the register shows it."""
        return self.host.registers(self.channel)[1] & 0xFFFF


class Config:
    """A configuration channel: a list over groups of bytes; each begins on a page, ends with a short descriptor."""

    def __init__(self, host: MessageHost, channel: int, stream: int, groups: Sequence[bytes]) -> None:
        self.channel, self.stream, self.groups = channel, stream, groups
        self.counts = [-(-len(group) // 512) for group in groups]
        self.descriptors = sum(self.counts) + 1
        self.memory = host.alloc(self.descriptors * 512)
        self.list: Room = host.ring(self.descriptors)
        at = 0
        for group in groups:
            self.memory.view[at * 512 : at * 512 + len(group)] = group
            for start in range(0, len(group), 512):
                size = min(512, len(group) - start)
                last = 0x1E if start + 512 >= len(group) else 0x02
                describe(self.list, at, self.memory.iova + at * 512, size, last)
                at += 1

    def activate(self) -> bytes:
        """Return action 22."""
        info = buffer(self.list.iova, 512, self.descriptors, (self.descriptors - 1) * 512)
        return action(22, bytes([self.channel, self.stream]), info)

    def fetch(self, group: int = 0) -> bytes:
        """Return action 0 for one group."""
        return action(0, self.counts[group].to_bytes(2, "little"), bytes([self.channel]))

    def deactivate(self) -> bytes:
        """Return action 23."""
        return action(23, bytes([self.channel, self.stream]))

    def load(self) -> bytes:
        """Return the actions that fetch everything."""
        groups = b"".join(self.fetch(group) for group in range(len(self.groups)))
        return self.activate() + groups + self.deactivate()


class Network:
    """One context, one input of 192 bytes, one output of 16: the lists of context-switch.md 17.1 on other streams."""

    def __init__(
        self,
        host: MessageHost,
        program: bytes = REVERSE,
        *,
        count: int = 128,
        pages: tuple[int, int] = (256, 64),
        channels: tuple[int, int] = (1, 16),
        frame_bytes: int = 192,
        slots: int | None = None,
        rings: tuple[Ring, Ring] | None = None,
    ) -> None:
        """Describe rings, or take the ``rings`` (input, output) of a caller who did."""
        self.host = host
        self.input, self.output = rings or (
            Ring(host, channels[0], count, pages[0], frame_bytes, slots),
            Ring(host, channels[1], min(count, 1024), pages[1], 16),
        )
        self.config = Config(host, 0, 0, [program])

    def activation(self) -> bytes:
        """Return the ACTIVATION list."""
        size = self.input.frame_bytes
        tail = bytes([3, 0]) + struct.pack("<HI", row_of(size), size)
        return (
            action(30)
            + action(33, bytes([self.output.channel]), self.output.info)
            + action(32, bytes([self.input.channel]), self.input.info, tail)
        )

    def batch_switching(self) -> bytes:
        """Return the BATCH_SWITCHING list."""
        return action(31) + action(37, bytes([self.input.channel])) + action(29)

    def dynamic(self, before: bytes = b"", after: bytes = b"") -> bytes:
        """Return the DYNAMIC list, with more actions before the streams are bound and after they run."""
        out, into, size = bytes([self.output.channel]), bytes([self.input.channel]), self.input.frame_bytes
        return (
            before
            + action(7, out, b"\x02\x00", registers(16), self.output.info)
            + action(6, into, b"\x03", registers(size), self.input.info, struct.pack("<I", 2048))
            + action(39, into, b"\x01")
            + action(2, into, b"\x03\x00", struct.pack("<I", size), b"\x01\x00")
            + action(29)
            + after
            + action(21)
        )

    def contexts(self, before: bytes = b"", after: bytes = b"") -> list[Context]:
        """Return all four lists."""
        return [
            (ACTIVATION, self.activation()),
            (BATCH_SWITCHING, self.batch_switching()),
            (PRELIMINARY, self.config.load()),
            (DYNAMIC, self.dynamic(before, after)),
        ]

    def start(self, before: bytes = b"", after: bytes = b"", head: bytes | None = None) -> None:
        """Store and activate it."""
        configure(self.host, self.contexts(before, after), head)
        enable(self.host)


def frame(seed: int, size_bytes: int = 192) -> bytes:
    """Return a frame whose bytes differ from those of other seeds."""
    return bytes((seed * 37 + 11 * at + at * at // 7) % 256 for at in range(size_bytes))


def answer_to(data: bytes) -> bytes:
    """Return what the network gives for a frame."""
    return data[15::-1]
