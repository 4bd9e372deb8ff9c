"""Spiking networks by byte: a program whose every field matters, requests, answers, the core's memory."""

from __future__ import annotations

import struct

import xxhash

from openhailo.testing.check import check, expect, expect_true
from openhailo.testing.rig import Rig

from .contexts import error_of
from .raw.host import MessageHost
from .raw.lists import (
    ACTIVATION,
    BATCH_SWITCHING,
    DYNAMIC,
    PRELIMINARY,
    Config,
    Ring,
    action,
    configure,
    enable,
    registers,
)

_NEEDS = ("raw", "programs")
_ABOUT = ("snn", "snn_header", "snn_area", "snn_class", "snn_request", "snn_reply", "snn_burst")
REQUEST_BYTES, REPLY_BYTES = 192, 256
RUN, STAGE, READ, RESET, FIRED, PROPAGATE, UPDATE, POTENTIALS = range(1, 9)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 8)


def _image(payload: bytes) -> bytes:
    """Return the program: input stream 3, output stream 2."""
    records = b""
    for direction, stream, size, name in ((0, 3, REQUEST_BYTES, b"q"), (1, 2, REPLY_BYTES, b"a")):
        shape = (1, 1, size, 1, 1, size, size)
        records += struct.pack("<4B7I", direction, stream, 6, 1, *shape) + name.ljust(128, b"\0") + bytes(32)
    head = struct.pack("<IIQQ", 2, 2, len(payload), xxhash.xxh3_64_intdigest(payload))
    return _padded(b"OHPROG\0\1" + head + bytes(32) + records + payload)


def _class(
    threshold: int,
    limit: int,
    leak: float,
    excitability: float,
    period: int = 0,
    fires: int = 0,
    snooze: int = 0,
    area: int = 3,
    valid: int = 1,
    accumulates: int = 1,
) -> bytes:
    codes = struct.pack("<b3xb3x", threshold, limit)
    return codes + struct.pack("<ffHHHHBB6x", leak, excitability, period, fires, snooze, area, valid, accumulates)


#: Thresholds are codes: 46 is 2.0, 127 is 50 and more (feagi.md 3).
_CLASSES = (
    _class(46, 127, 0.5, 1.0),
    _class(46, 93, 0.5, 1.0),  # at most 30.0
    _class(46, 127, 0.5, 0.5),
    _class(46, 127, 0.5, 1.0, period=1, fires=2, snooze=3, area=4),
    _class(46, 127, 0.5, 1.0, valid=0),
    _class(127, 127, 0.5, 1.0, accumulates=0, area=5),
    _class(93, 127, 0.25, 1.0, area=2),
    _class(46, 127, 0.5, 1.0, area=1),
)
#: Neuron 4 is of class 4, and so on; 8 to 11 are like 2.
_OF_CLASS = (0, 1, 2, 3, 4, 5, 6, 7, 2, 2, 2, 2)
#: Area 3 is uniform, area 4 was once and is driven by potentials, area 5 was once driven.
_AREAS = struct.pack("<HBB", 3, 3, 0) + struct.pack("<HBB", 4, 1, 3) + struct.pack("<HBB", 5, 0, 1)
#: (source, target, weight, psp, kind): 1 inhibits, 128 is not there.
_SYNAPSES = (
    (0, 1, 5, 8, 0), (0, 2, 5, 8, 0), (0, 3, 5, 8, 0), (0, 5, 5, 8, 128), (3, 0, 2, 9, 0), (3, 6, 3, 9, 0),
    (3, 2, 1, 9, 1), (7, 0, 4, 6, 0), (7, 8, 4, 6, 0),
)  # fmt: skip


def _payload(*, is_part: int = 0, resident: int = 5) -> bytes:
    count = len(_OF_CLASS)
    starts = [sum(synapse[0] < row for synapse in _SYNAPSES) for row in range(count + 1)]
    columns = [bytes(_OF_CLASS), struct.pack(f"<{count}b", 0, 0, 0, 0, 0, 30, *[0] * 6)]
    columns += [bytes([*[0] * 9, 2, 0, 0]), bytes([0, 0, 0, 1, *[0] * 8])]
    columns += [b"\xcf\x0f"] if is_part else []
    columns += [struct.pack(f"<{count + 1}I", *starts), struct.pack("<9I", *(each[1] for each in _SYNAPSES))]
    columns += [bytes(each[item] for each in _SYNAPSES) for item in (2, 3, 4)]
    widths = (1, 1, 0, 1, 1, 1, 1)
    sizes = (count, len(_SYNAPSES), 3, len(_CLASSES), resident, 1)
    head = struct.pack("<H6B6IfI24x", *widths, *sizes, 40.0, is_part)
    return _padded(head + _AREAS + b"".join(_CLASSES)) + b"".join(map(_padded, columns))


class SnnNetwork:
    """A spiking network on a bare device."""

    def __init__(self, host: MessageHost, payload: bytes) -> None:
        self.host = host
        self.input, self.output = Ring(host, 1, 16, 256, REQUEST_BYTES), Ring(host, 16, 16, 256, REPLY_BYTES)
        self._config = Config(host, 0, 0, [_image(payload)])
        self._taken = 0

    def start(self) -> None:
        """Store and activate it."""
        size, into, out = REQUEST_BYTES, b"\x01", b"\x10"
        opening = action(30) + action(33, out, self.output.info)
        opening += action(32, into, self.input.info, b"\x03\0", struct.pack("<HI", size, size))
        binding = action(7, out, b"\x02\0", registers(REPLY_BYTES), self.output.info)
        binding += action(6, into, b"\x03", registers(size), self.input.info, struct.pack("<I", 2048))
        binding += action(39, into, b"\x01") + action(2, into, b"\x03\0", struct.pack("<I", size), b"\x01\0")
        switching = action(31) + action(37, into) + action(29)
        lists = [(ACTIVATION, opening), (BATCH_SWITCHING, switching), (PRELIMINARY, self._config.load())]
        configure(self.host, [*lists, (DYNAMIC, binding + action(29) + action(21))])
        enable(self.host)
        self._taken = 0
        self.input.next = self.output.next = 0

    def ask(self, command: int, *words: int, data: bytes = b"") -> bytes:
        """Send a request (bursts, sets, count, offset, size; then data); return the answer."""
        self.output.hand_over(1)
        head = struct.pack("<8I", command, *words, *[0] * (7 - len(words)))
        self.input.send((head + data).ljust(REQUEST_BYTES, b"\0"))
        self.host.settle(until=lambda: self.output.processed == (self._taken + 1) % 16)
        answer = self.output.take(self._taken)
        self._taken += 1
        return answer

    def burst(self, *inputs: tuple[int, float]) -> tuple[int, ...]:
        """Run a burst; return its number, candidates, rows from host memory, resting, contributions, and who fired."""
        count = len(inputs)
        data = struct.pack("<I", count) + struct.pack(f"<{count}I", *(each[0] for each in inputs))
        return self._parse(self.ask(RUN, 1, 1, count, data=data + struct.pack(f"<{count}f", *(v for _, v in inputs))))

    @staticmethod
    def _parse(answer: bytes) -> tuple[int, ...]:
        status, _, number, bursts, size, fired, resident = struct.unpack_from("<IIQIIII", answer)
        expect("status, bursts, rows in the core", (status, bursts, resident), (0, 1, 5))
        burst, count, encoding, *counts = struct.unpack_from("<QIIIIII", answer, 32)
        expect("burst and neurons, twice", (burst, count), (number, fired))
        expect("size", size, 40 if encoding or count else 32)
        if encoding == 0:
            return (number, *counts, *struct.unpack_from(f"<{count}I", answer, 64))
        bits = int.from_bytes(answer[64:72], "little")
        return (number, *counts, *(neuron for neuron in range(64) if bits >> neuron & 1))


#: What happens: inputs of each burst, and what `SnnNetwork.burst` returns for it.
_STORY: tuple[tuple[tuple[tuple[int, float], ...], tuple[int, ...]], ...] = (
    (((0, 20.0), (9, 20.0), (4, 30.0)), (1, 5, 2, 1, 0, 0, 6, 7)),
    (((0, 9.0), (8, 9.0), (2, 9.0), (3, 3.0)), (2, 7, 3, 1, 5, 0, 3, 6, 7, 8)),
    (((9, 9.0), (10, 9.0), (3, 9.0), (5, 7.0)), (3, 10, 3, 1, 8, 0, 6, 7, 8)),
    (((3, 9.0), (11, 9.0), (10, 9.0)), (4, 9, 3, 1, 5, 0, 2, 6, 7, 11)),
    (((3, 9.0), (1, 28.0), (5, 60.0)), (5, 8, 4, 1, 5, 0, 2, 5, 6, 7, 8)),
    (((1, 60.0), (9, 9.0), (6, 2.0)), (6, 8, 2, 0, 5, 0, 6, 7)),
    (((3, 9.0), (5, 50.0), (0, 9.0)), (7, 8, 4, 1, 5, 0, 2, 3, 5, 6, 7, 8)),
    (((3, 9.0), (8, 9.0)), (8, 7, 3, 0, 8, 0, 6, 7, 8)),
    (((3, 30.0), (2, 9.0), (11, 9.0)), (9, 8, 4, 1, 5, 0, 2, 3, 6, 7, 8, 11)),
    (((3, 30.0),), (10, 7, 2, 1, 8, 0, 2, 6, 7)),
    ((), (11, 7, 3, 1, 5, 0, 6, 7, 8)),
    (((3, 30.0), (5, 3.0)), (12, 8, 2, 1, 5, 0, 6, 7)),
)
#: Potentials, countdowns and fire counts at its end.
_END = bytes.fromhex("00555500002d000035324b00") + struct.pack(
    "<24H", 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 5, 2, 0, 2, 12, 12, 7, 0, 0, 2
)


@check("snn", needs=_NEEDS, about=_ABOUT)
def bursts_by_byte(rig: Rig) -> None:
    """Every parameter of a neuron, a synapse and an area shows in what fires, or in the state."""
    network = SnnNetwork(rig.raw_host(), _payload())
    network.start()
    for inputs, wanted in _STORY:
        expect(f"burst {wanted[0]}", network.burst(*inputs), wanted)
    state = b"".join(network.ask(READ, 0, 0, 0, at, 20)[32:52] for at in range(0, 60, 20))
    expect("state", state, _END)
    expect("reset", network.ask(RESET)[:32], struct.pack("<IIQIIII", 0, RESET, 0, 0, 0, 0, 5))
    expect("first burst again", network.burst(*_STORY[0][0]), _STORY[0][1])


@check("snn", needs=_NEEDS, about=_ABOUT)
def several_bursts_in_a_request(rig: Rig) -> None:
    """Inputs are given per burst; what was staged counts for the first."""
    network = SnnNetwork(rig.raw_host(), _payload())
    network.start()
    stage = struct.pack("<3I2f", 2, 0, 9, 20.0, 20.0)
    expect("staged", network.ask(STAGE, 0, 1, 2, data=stage)[:8], struct.pack("<II", 0, STAGE))
    (_, first), (second_inputs, second) = (((), _STORY[0][1]), _STORY[1])
    data = struct.pack("<2I", 1, 4) + struct.pack("<5I", 4, *(neuron for neuron, _ in second_inputs))
    data += struct.pack("<5f", 30.0, *(value for _, value in second_inputs))
    answer = network.ask(RUN, 2, 2, 5, data=data)
    fired = len(first) + len(second) - 10
    expect("answer", answer[:32], struct.pack("<IIQIIII", 0, RUN, 2, 2, 80, fired, 5))
    expect("first burst", answer[32:72], struct.pack("<QIIIIIIQ", 1, 3, 1, 5, 2, 0, 0, 0b11000001))
    expect("second burst", answer[72:112], struct.pack("<QIIIIIIQ", 2, 5, 1, 7, 3, 0, 0, 0b111001001))


@check("snn", needs=_NEEDS, about=_ABOUT)
def a_part_by_byte(rig: Rig) -> None:
    """A part owns neurons 0 to 3 and 6 to 11; the others' spikes come from outside."""
    network = SnnNetwork(rig.raw_host(), _payload(is_part=1))
    network.start()
    expect("order", network.ask(UPDATE)[:4], struct.pack("<I", 5))
    fired = struct.pack("<2I2i", 0, 3, 40, 60)
    expect("fired", network.ask(FIRED, 0, 0, 2, data=fired)[:8], struct.pack("<II", 0, FIRED))
    more = struct.pack("<Ii", 7, 50)
    expect("more", network.ask(FIRED, 0, 0, 1, 2, data=more)[:8], struct.pack("<II", 0, FIRED))
    opened = network.ask(PROPAGATE, 0, 0, 1, data=struct.pack("<If", 1, 1.0))
    expect("candidates", opened[32:64], struct.pack("<QIIIIII", 1, 0, 0, 7, 0, 0, 0))
    answer = network.ask(UPDATE, 0, 0, 0, 10_000)
    expect("burst", answer[:32], struct.pack("<IIQIIII", 0, UPDATE, 1, 1, 40, 7, 5))
    expect("fired", answer[32:72], struct.pack("<QIIIIIIQ", 1, 7, 1, 10_000, 3, 1, 8, 0b111001111))
    potentials = network.ask(POTENTIALS, 0, 0, 0, 4, 20)
    expect("potentials", potentials[32:52], struct.pack("<5i", 112, 104, 110, 127, 110))


@check("snn", needs=_NEEDS, about=_ABOUT)
def requests_that_make_no_sense(rig: Rig) -> None:
    """They are answered with the reason and change nothing."""
    network = SnnNetwork(rig.raw_host(), _payload())
    network.start()
    for words, data, status in (
        ((9,), b"", 1),
        ((RUN, 0), b"", 2),
        ((RUN, 1, 1, 20), b"", 2),
        ((RUN, 1, 1, 1), struct.pack("<IIf", 1, 12, 1.0), 3),
        ((RUN, 1, 1, 1), struct.pack("<IIf", 1, 1, float("inf")), 4),
        ((FIRED, 0, 0, 0), b"", 1),
    ):
        seen = network.ask(*words, data=data)[:32]
        expect(f"answer to {words}", seen, struct.pack("<IIQIIII", status, words[0], 0, 0, 0, 0, 5))
    expect("first burst", network.burst(*_STORY[0][0]), _STORY[0][1])


def _small(kind: int, areas: bytes) -> bytes:
    """Neuron 0 excites 1, and 2 twice, with 40; fp32 potentials, thresholds of 2; 1 fires up to 30 only, 2 rests."""
    count, highest = 3, struct.pack("<f", 3.4028234663852886e38)
    rows = [struct.pack("<f", 2.0) + limit + _CLASSES[0][8:] for limit in (highest, struct.pack("<f", 30.0))]
    head = struct.pack("<H6B6IfI24x", 1, 1, 1, 2, 4, 1, 0, count, 3, len(areas) // 4, 2, 3, 0, 1.0, 0)
    columns = [struct.pack("<3H", 0, 1, 0), bytes(12), b"\0\0\1", struct.pack("<4I", 0, 3, 3, 3)]
    columns += [struct.pack("<3I", 1, 2, 2), b"\x05" * 3, b"\x08" * 3, bytes([0, 0, kind])]
    return _padded(head + areas + b"".join(rows)) + b"".join(map(_padded, columns))


@check("snn", needs=(*_NEEDS, "fresh"), about=_ABOUT)
def a_flag_that_is_set_divides(rig: Rig) -> None:
    """Contributions are divided as soon as a flag was ever set, though to no; a kind of synapse must be known."""
    for areas, fired in ((b"", 0), (struct.pack("<HBB", 3, 1, 0), 0b010)):
        with rig.fresh() as other:
            network = SnnNetwork(other.raw_host(), _small(0, areas))
            network.start()
            network.ask(RUN, 1, 1, 1, data=struct.pack("<IIf", 1, 0, 20.0))
            answer = network.ask(RUN, 1)
            count = min(struct.unpack_from("<I", answer, 40)[0], 3)
            ids = struct.unpack_from(f"<{count}I", answer, 64)
            expect("fired", sum(1 << neuron for neuron in ids), fired)
    _expect_refusal(rig, _small(4, b""))


def _expect_refusal(rig: Rig, payload: bytes) -> None:
    """Have a fresh device load a program that it must not run."""
    with rig.fresh() as other:
        network = SnnNetwork(other.raw_host(), payload)
        network.start()
        network.output.hand_over(1)
        network.input.send(bytes(REQUEST_BYTES))
        network.host.settle()
        expect_true("the core says so", error_of(network.host) is not None)
        expect("nothing comes", network.output.processed, 0)


def _full(count_bytes: int) -> bytes:
    """One neuron of 2 bytes and a bit, a class of 32, a row of 4 and synapses of 7: 8 MiB; a fire count is more."""
    count = 1_198_367
    head = struct.pack("<H6B6IfI24x", 1, 1, 0, 1, 1, 0, count_bytes, 1, count, 0, 1, 1, 0, 1.0, 0)
    columns = [bytes(1), bytes(1), bytes(count_bytes), struct.pack("<2I", 0, count), bytes(4 * count)]
    columns += [bytes(count)] * 3
    return _padded(head + _CLASSES[0]) + b"".join(map(_padded, columns))


@check("snn", needs=("function", "programs", "fresh"), about=("snn",))
def the_memory_of_the_core_has_an_end(rig: Rig) -> None:
    """A network that fills it to the byte runs, one of a byte more does not.

    Kernel drivers have no 8 MiB of contiguous memory for hosts that bring their own descriptors.
    """
    network = SnnNetwork(rig.raw_host(), _full(0))
    network.start()
    answer = network.ask(RUN, 1, 1, 1, data=struct.pack("<IIf", 1, 0, 20.0))
    expect("it runs", answer[:32], struct.pack("<IIQIIII", 0, RUN, 1, 1, 40, 1, 1))
    _expect_refusal(rig, _full(1))
