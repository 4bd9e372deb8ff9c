"""Frames through the whole device: programs, contexts, batches, hardware-only runs (context-switch.md 17-20)."""

from __future__ import annotations

import struct
from functools import partial

from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig

from .contexts import error_of
from .pieces import DriverNetwork
from .raw import programs
from .raw.host import MessageHost, RawHost, describe, message
from .raw.lists import (
    ACTIVATION,
    BATCH_SWITCHING,
    CORE_CPU,
    DYNAMIC,
    PRELIMINARY,
    Config,
    Network,
    Ring,
    action,
    answer_to,
    buffer,
    configure,
    enable,
    frame,
    header,
    registers,
    status_of_enable,
)
from .vdma import SILICON, reverse

_NEEDS = ("raw", "programs")
_PROGRAM = ("program", "program_header", "io_record")


@check("inference", needs=_NEEDS, about=(*_PROGRAM, "ACTIVATE_BOUNDARY_INPUT", "ACTIVATE_BOUNDARY_OUTPUT"))
def frames_by_byte(rig: Rig) -> None:
    """The golden lists of context-switch.md 17.1 with a program: frames in, frames out."""
    host = rig.raw_host()
    network = Network(host)
    network.start()
    network.output.hand_over(8)
    for number in range(5):
        network.input.send(frame(number))
    network.output.reach(5)
    for number in range(5):
        expect(f"frame {number}", network.output.take(number), answer_to(frame(number)))


@check("inference", needs=("programs",), about=_PROGRAM)
def frames_through_the_driver(rig: Rig) -> None:
    """The same through the driver, more frames than descriptors."""
    network = DriverNetwork(rig, programs.REVERSE, count=16)
    network.start()
    for number in range(40):
        network.read()
        network.send(frame(number))
        expect(f"frame {number}", network.receive(), answer_to(frame(number)))
    network.stop()


@check("inference", needs=_NEEDS, about=_PROGRAM)
def several_streams(rig: Rig) -> None:
    """Two inputs and two outputs; a frame waits until all inputs are there (traps 16 and 17)."""
    host = rig.raw_host()
    inputs = [Ring(host, channel, 4, 64, 8) for channel in (1, 2)]
    outputs = [Ring(host, channel, 4, 64, 8) for channel in (16, 18)]
    config = Config(host, 0, 0, [programs.TWO_BY_TWO])
    opening, binding, credit = action(30), b"", b""
    for ring, stream in zip(outputs, (3, 4), strict=True):
        opening += action(33, bytes([ring.channel]), ring.info)
        binding += action(7, bytes([ring.channel, stream, 0]), registers(8), ring.info)
    for ring, stream in zip(inputs, (1, 2), strict=True):
        opening += action(32, bytes([ring.channel]), ring.info, bytes([stream, 0]), struct.pack("<HI", 8, 8))
        binding += action(6, bytes([ring.channel, stream]), registers(8), ring.info, struct.pack("<I", 2048))
        credit += action(2, bytes([ring.channel, stream, 0]), struct.pack("<I", 8), b"\x01\0")
    contexts = [(ACTIVATION, opening), (PRELIMINARY, config.load())]
    configure(host, [*contexts, (DYNAMIC, binding + credit + action(29) + action(21))])
    enable(host)
    first, second = bytes(range(1, 9)), bytes(range(11, 19))
    for ring in outputs:
        ring.hand_over(2)
    inputs[0].send(first)
    host.settle()
    expect("nothing yet", outputs[0].processed, 0)
    inputs[1].send(second)
    for ring in outputs:
        ring.reach(1)
    expect("output 3", outputs[0].take(0), second[:4] + first[:4])
    expect("output 4", outputs[1].take(0), first[:3:-1] + second[:3:-1])


class TwoContexts:
    """Context 0: 192 bytes in, 64 to host memory; context 1: 64 from there, 16 out (context-switch.md 17.2)."""

    def __init__(self, host: MessageHost, batch: int) -> None:
        self.host, self.batch = host, batch
        self.input, self.output = Ring(host, 1, 16, 256, 192), Ring(host, 16, 16, 64, 16)
        self.spill = host.ring(batch + 1)
        self.memory = host.alloc(4096)
        for index in range(batch + 1):
            describe(self.spill, index, self.memory.iova + 64 * index, 64, 0x1E)
        self.configs = [Config(host, 0, 0, [programs.FIRST_HALF]), Config(host, 0, 0, [programs.SECOND_HALF])]

    def _spill_info(self) -> bytes:
        return buffer(self.spill.iova, 512, self.batch + 1, 64)

    def _mapping(self, is_input: bool) -> bytes:
        dummies = b"\x01\x05\x01" if not is_input else b"\x01\x03\0"
        other = b"\x10\x06\x01" if is_input else b"\x10\x02\0"
        return action(24, b"\x02\0\x0d", dummies, other)

    def _writer(self) -> bytes:
        return action(9, b"\x11\x05\0", registers(64), self._spill_info())

    def contexts(self) -> list[tuple[int, bytes]]:
        """Return all lists."""
        close = struct.pack("<BBBBI", 0x11, 2, 0, 0, 2048)
        opening = action(30) + action(33, b"\x10", self.output.info)
        opening += action(32, b"\x01", self.input.info, b"\x03\0", struct.pack("<HI", 192, 192))
        first = self.configs[0].load() + self._writer()
        first += action(6, b"\x01\x03", registers(192), self.input.info, struct.pack("<I", 2048))
        first += self._mapping(True) + action(39, b"\x01\x01")
        first += action(2, b"\x01\x03\0", struct.pack("<I", 192), b"\x01\0") + action(29)
        first += action(19, b"\x11\x05\0\x01\0") + action(12, b"\x11\x02\x01\0", struct.pack("<I", 2048))
        first += action(38, b"\x01\x01")
        second = self.configs[1].load() + action(7, b"\x10\x02\0", registers(16), self.output.info)
        second += action(8, b"\x02\x06\0", registers(64), self._spill_info(), struct.pack("<I", 2048))
        second += self._mapping(False) + action(2, b"\x02\x06\0", struct.pack("<I", 1), b"\x02\0")
        second += action(19, b"\x10\x02\0\0\0") + action(12, b"\x02\x01\x01\0", struct.pack("<I", 2048))
        switching = action(12, close) + action(31) + self._writer() + action(37, b"\x01") + action(29)
        return [(ACTIVATION, opening), (BATCH_SWITCHING, switching), (DYNAMIC, first), (DYNAMIC, second)]

    def start(self) -> None:
        """Store and activate."""
        configure(self.host, self.contexts(), header(dynamic=2, batch=self.batch))
        enable(self.host)

    def run(self, numbers: range) -> None:
        """Send frames and compare what comes out."""
        start = self.output.next
        self.output.hand_over(len(numbers))
        for number in numbers:
            self.input.send(frame(number))
        self.output.reach(self.output.next)
        for place, number in enumerate(numbers):
            # First the 64 bytes are turned round, then the first 16 of them.
            expect(f"frame {number}", self.output.take(start + place), frame(number)[48:64])


@check(
    "inference",
    needs=_NEEDS,
    about=(
        "ACTIVATE_INTER_CONTEXT_INPUT",
        "ACTIVATE_INTER_CONTEXT_OUTPUT",
        "CHANGE_VDMA_TO_STREAM_MAPPING",
        "OUTPUT_CHANNEL_TRANSFER_DONE_INTERRUPT",
        "PAUSE_VDMA_CHANNEL",
        "RESUME_VDMA_CHANNEL",
        "DEACTIVATE_VDMA_CHANNEL",
    ),
)
def two_contexts(rig: Rig) -> None:
    """A batch goes through context 0, then through context 1; the tensor between lies in host memory."""
    host = rig.raw_host()
    network = TwoContexts(host, 3)
    network.start()
    network.run(range(3))
    expect("the tensor of the last frame", bytes(network.memory.view[128:192]), frame(2)[63::-1])
    network.run(range(3, 9))
    expect("no error", error_of(host), None)
    network.output.hand_over(1)
    network.input.send(frame(9))
    host.settle()
    expect("an incomplete batch waits", network.output.processed, 9)


@check("inference", needs=_NEEDS, about=("can_fast_batch_switch", "CHANGE_BOUNDARY_INPUT_BATCH"))
def fast_switch_of_two_contexts(rig: Rig) -> None:
    """Another batch without new rings (context-switch.md 15, trap 8)."""
    host = rig.raw_host()
    network = TwoContexts(host, 4)
    network.start()
    network.run(range(4))
    for batch in (2, 1, 4):
        expect("status of the switch", status_of_enable(host, 0, batch), 0)
        network.run(range(batch, 2 * batch))
    expect("no error", error_of(host), None)
    expect_true("batch 5 is refused", status_of_enable(host, 0, 5))


@check("inference", needs=("raw", "state"), about=("batch_counter", "DOWNLOAD_CONTEXT_ACTION_LIST"))
def batch_counter(rig: Rig) -> None:
    """The download tells how many cycles were run."""
    host = rig.raw_host()
    network = TwoContexts(host, 1)
    network.start()
    for number in range(3):
        network.run(range(number, number + 1))
    answer = host.control(CORE_CPU, 36, bytes(4), b"\x01", b"\0\0", b"\0\0")
    expect("base address, end, cycles, idle time", answer[:29].hex()[8:16], "20030000")
    expect("cycles", answer[17:21].hex(), "00000003")


@check("inference", needs=("function", "state", "clock"), about=("NN_CORE_LATENCY_MEASUREMENT_READ",))
def latency(rig: Rig) -> None:
    """From the frame's arrival to its result, in nanoseconds: one access of a host that polls."""
    rig.bind(reverse)
    host = RawHost(rig.open_function())
    network = Network(host, SILICON, count=4)
    network.start()
    host.control(0, 24, b"\1", *[bytes(4)] * 4)
    host.settle()
    network.output.hand_over(1)
    network.input.send(frame(0))
    host.settle()
    network.output.hand_over(1)
    network.input.send(frame(1))
    for _ in range(3):
        host.bar0.write32(0x188, 0xFF00FFFF)
    host.bar0.read32(0x188)
    host.settle()
    expect("frame", network.output.take(1), answer_to(frame(1)))
    seen = int.from_bytes(host.control(0, 25)[4:], "big")
    expect("latency in whole microseconds", (seen > 0, seen % 1000, seen < 10_000), (True, 0, True))


@check("inference", needs=("raw", "state"), about=("CHANGE_HW_INFER_STATUS", "HW_INFER_MANAGER_INFER_DONE"))
def hardware_only(rig: Rig) -> None:
    """The firmware plays the host on programmed rings; event 11 and STOP tell the cycles (context-switch.md 20)."""
    rig.bind(reverse)
    host = rig.raw_host()
    network = Network(host, SILICON, count=8)
    for number in range(8):
        network.input.memory.view[number * 256 : number * 256 + 192] = frame(number)
    configure(host, network.contexts(), header(batch=4))
    channels = struct.pack("<BBHBBH", 1, 0, 8, 16, 0, 8) + bytes(94 * 4) + b"\x02"
    start = (b"\0", b"\0", b"\x04\0", b"\x02\0", channels, b"\0")
    expect("results of START", host.control(CORE_CPU, 74, *start)[4:].hex(), "0000000000")
    event = host.notification() or b""
    expect("event", event[16:20].hex(), "0b000000")
    stop = (b"\x01", b"\0", b"\0\0", b"\0\0", bytes(385), b"\0")
    results = host.control(CORE_CPU, 74, *stop)[4:]
    expect("done and cycles", results, b"\x01" + event[28:32])
    for number in range(8):
        expect(f"frame {number}", network.output.take(number), answer_to(frame(number)))
    answer = host.ask(CORE_CPU, message(74, *stop)) or b""
    expect_true("a second STOP is refused", any(answer[16:20]))


@check("inference", needs=(*_NEEDS, "fresh"), about=_PROGRAM)
def damaged_programs(rig: Rig) -> None:
    """Every word of header and records matters: a program that says something else does not run."""
    image = programs.REVERSE
    places = [8, 12, 16, 24, 32, 63, *(64 + at for at in (0, 1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32))]
    for at in places:
        bad = image[:at] + bytes([image[at] + 1]) + image[at + 1 :]
        with rig.fresh() as other:
            host = other.raw_host()
            network = Network(host, bad)
            network.start()
            network.output.hand_over(1)
            network.input.send(frame(1))
            host.settle()
            expect_true(f"with byte {at} changed it is another program", network.output.take(0) != answer_to(frame(1)))


@check("inference", needs=("state", "programs"), about=_PROGRAM)
def most_streams(rig: Rig) -> None:
    """32 records are the most a program has; the tail is at most 7 zeros."""
    from openhailo.errors import BadProgram
    from openhailo.twin.core import parse_program

    spec = rig.twin.chip.spec
    head, record, payload = programs.REVERSE[:64], programs.REVERSE[64:256], programs.REVERSE[448:748]
    out = programs.REVERSE[256:448]
    for count, fits in ((32, True), (33, False), (2, True), (1, False)):
        records = b"".join(
            out[:1] + bytes([n - 1]) + out[2:64] + bytes([n]) + out[65:] if n else record for n in range(count)
        )
        image = head[:12] + struct.pack("<I", count) + head[16:] + records + payload
        image += bytes(-len(image) % 8)
        if fits:
            expect(f"{count} records", len(parse_program(spec, image).io), count)
        else:
            expect_error(f"{count} records", BadProgram, partial(parse_program, spec, image))
    for size, reason in (((1 << 30) + 1, "a payload of"), (1 << 30, "need")):
        image = head[:16] + struct.pack("<Q", size) + head[24:] + programs.REVERSE[64:]
        error = expect_error(f"a payload of {size} bytes", BadProgram, partial(parse_program, spec, image))
        expect_true(f"{reason!r} in {error}", reason in str(error))
    for more, fits in ((0, True), (4, False), (8, False)):
        parse = partial(parse_program, spec, programs.REVERSE + bytes(more))
        if fits:
            expect("frame bytes", [record.transfer_bytes for record in parse().io], [192, 16])
        else:
            expect_error(f"{more} bytes more", BadProgram, parse)


@check("inference", needs=("raw", "state"), about=("CONTEXT_SWITCH_RUN_TIME_ERROR",))
def silicon_networks_need_a_reference(rig: Rig) -> None:
    """Without one a frame is not consumed, and event 12 says so."""
    host = rig.raw_host()
    network = Network(host, SILICON)
    network.start()
    network.output.hand_over(1)
    network.input.send(frame(0))
    host.settle()
    expect_true("a run-time error", error_of(host))
    expect("output", network.output.take(0), bytes(16))
