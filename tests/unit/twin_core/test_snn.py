"""The ``snn`` kind: a network by hand, byte for byte; what does not add up is refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from openhailo.errors import BadProgram
from openhailo.spec.chip import CHIP
from openhailo.twin.core import NeuralCore

REQUEST, REPLY = 512, 512
CLASS = struct.pack("<bxxxbxxxffHHHHBB6x", 51, 127, 0.0, 1.0, 0, 0, 0, 3, 1, 1)


def header(**changes: Any) -> bytes:
    fields = {
        "version": 1, "mode": 1, "precision": 0, "class": 1, "potential": 1, "countdown": 0, "count": 0, "neurons": 3,
        "synapses": 2, "areas": 0, "classes": 1, "resident": 3, "fatigue": 0, "power": 1.0, "part": 0, **changes,
    }  # fmt: skip
    return struct.pack("<HBBBBBBIIIIIIfI24x", *fields.values())


def arrays(
    target: tuple[int, int] = (1, 2), kind: tuple[int, int] = (0, 0), rows: tuple[int, ...] = (0, 1, 2, 2)
) -> bytes:
    """Neurons 0 -> 1 -> 2, contribution 20 each; thresholds of code 51 (5.0)."""
    parts = [
        bytes(3),
        bytes(3),
        struct.pack("<4I", *rows),
        struct.pack("<2I", *target),
        b"\x04\x04",
        b"\x05\x05",
        bytes(kind),
    ]
    return b"".join(part + bytes(-len(part) % 8) for part in parts)


PAYLOAD = header() + CLASS + arrays()


def image(images: Any, payload: bytes, request: int = REQUEST, reply: int = REPLY) -> bytes:
    records = [images.record(0, 0, 6, (1, 1, request), request, "q"), images.record(1, 1, 6, (1, 1, reply), reply, "a")]
    return bytes(images.image(records, payload, kind=2))


class Chip:
    def __init__(self, images: Any, payload: bytes = PAYLOAD, **sizes: int) -> None:
        self.kernel = NeuralCore(CHIP).load(image(images, payload, **sizes))

    def ask(self, frame: bytes) -> bytes:
        view = self.kernel.input_view(0, 1)
        view[:] = frame.ljust(len(view), b"\0")
        self.kernel.compute(1)
        return bytes(self.kernel.output_view(0, 1))

    def run(self, *inputs: tuple[int, float], bursts: int = 1) -> bytes:
        ids = struct.pack(f"<{len(inputs)}I", *(i for i, _ in inputs))
        values = struct.pack(f"<{len(inputs)}f", *(v for _, v in inputs))
        head = struct.pack("<8I", 1, bursts, 1, len(inputs), 0, 0, 0, 0)
        return self.ask(head + struct.pack("<I", len(inputs)) + ids + values)


def test_a_spike_travels(images: Any) -> None:
    chip = Chip(images)
    answers = [chip.run((0, 20.0)), chip.run(), chip.run(), chip.run()]
    for number, (answer, fired) in enumerate(zip(answers, (0, 1, 2, None), strict=True), 1):
        count = 0 if fired is None else 1
        assert answer[:32] == struct.pack("<IIQIIII", 0, 1, number, 1, 32 + 8 * count, count, 3)
        assert answer[32:64] == struct.pack("<QIIIIII", number, count, 0, count, 0, 0, int(number in (2, 3)))
        if fired is not None:
            assert answer[64:68] == struct.pack("<I", fired)


def test_several_bursts_in_a_frame(images: Any) -> None:
    answer = Chip(images).run((0, 20.0), bursts=3)
    assert answer[:32] == struct.pack("<IIQIIII", 0, 1, 3, 3, 120, 3, 3)
    assert [answer[64 + 40 * n] for n in range(3)] == [0, 1, 2]


def test_staged_inputs_count_for_the_next_burst(images: Any) -> None:
    chip = Chip(images)
    stage = struct.pack("<8I", 2, 0, 1, 1, 0, 0, 0, 0) + struct.pack("<IIf", 1, 2, 20.0)
    assert chip.ask(stage)[:8] == struct.pack("<II", 0, 2)
    assert chip.run()[32:64] == struct.pack("<QIIIIII", 1, 1, 0, 1, 0, 0, 0)
    assert chip.run()[32:64] == struct.pack("<QIIIIII", 2, 0, 0, 0, 0, 0, 0)


def test_state_is_read_and_reset(images: Any) -> None:
    chip = Chip(images)
    chip.run((0, 1.0), (1, 20.0))
    read = struct.pack("<8I", 3, 0, 0, 0, 0, 15, 0, 0)
    answer = chip.ask(read)
    assert answer[:32] == struct.pack("<IIQIIII", 0, 3, 1, 0, 15, 0, 3)
    # encode(1.0) is 44, and a leak of 0.0 encodes what it decodes.
    assert answer[32:47] == bytes([44, 0, 0]) + bytes(6) + struct.pack("<3H", 0, 1, 0)
    assert chip.ask(struct.pack("<8I", 4, 0, 0, 0, 0, 0, 0, 0))[:16] == struct.pack("<IIQ", 0, 4, 0)
    assert chip.ask(read)[32:47] == bytes(15)


@pytest.mark.parametrize(
    ("words", "rest", "status"),
    [
        ((9, 1, 0, 0, 0, 0, 0, 0), b"", 1),
        ((1, 1, 0, 0, 0, 0, 1, 0), b"", 1),
        ((1, 0, 0, 0, 0, 0, 0, 0), b"", 2),
        ((1, 1, 2, 0, 0, 0, 0, 0), b"", 2),
        ((1, 13, 0, 0, 0, 0, 0, 0), b"", 2),
        ((1, 0xFFFFFFFF, 0, 0, 0, 0, 0, 0), b"", 2),
        ((1, 1, 1, 60, 0, 0, 0, 0), b"", 2),
        ((1, 1, 1, 1, 0, 0, 0, 0), struct.pack("<IIf", 2, 0, 1.0), 2),
        ((1, 1, 1, 1, 0, 0, 0, 0), struct.pack("<IIf", 1, 3, 1.0), 3),
        ((1, 1, 1, 1, 0, 0, 0, 0), struct.pack("<IIf", 1, 0, float("nan")), 4),
        ((2, 1, 1, 0, 0, 0, 0, 0), b"", 2),
        ((3, 0, 0, 0, 8, 8, 0, 0), b"", 2),
        ((3, 0, 0, 0, 0xFFFFFFFF, 1, 0, 0), b"", 2),
    ],
)
def test_requests_that_make_no_sense_change_nothing(images: Any, words: Any, rest: bytes, status: int) -> None:
    chip = Chip(images)
    assert chip.ask(struct.pack("<8I", *words) + rest)[:32] == struct.pack("<IIQIIII", status, words[0], 0, 0, 0, 0, 3)
    assert chip.run((0, 20.0))[8:16] == struct.pack("<Q", 1)


def test_loading_again_begins_anew(images: Any) -> None:
    core = NeuralCore(CHIP)
    program = image(images, PAYLOAD)
    assert core.load(program) is not core.load(program)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "header needs 64"),
        (header(version=2) + CLASS + arrays(), "version 2"),
        (header(mode=2) + CLASS + arrays(), "mode 2"),
        (header(precision=7) + CLASS + arrays(), "precision 7"),
        (header(**{"class": 3}) + CLASS + arrays(), "widths"),
        (header(potential=4) + CLASS + arrays(), "potentials of 4"),
        (header(neurons=0) + CLASS + arrays(), "0 neurons"),
        (header(neurons=49_000_000) + CLASS + arrays(), "class: 49000000 bytes"),
        (header(synapses=0xFFFFFFFF) + CLASS + arrays(), "target: 17179869180 bytes"),
        (header(resident=4) + CLASS + arrays(), "4 rows"),
        (header(fatigue=2) + CLASS + arrays(), "reserved"),
        (header(power=float("inf")) + CLASS + arrays(), "power_amount"),
        (header(classes=0) + arrays(), "empty"),
        (header(areas=70000) + CLASS + arrays(), "70000 areas"),
        (header(areas=1) + struct.pack("<HBB", 3, 4, 0) + CLASS + arrays(), "flags 4"),
        (header(areas=2) + struct.pack("<HBB", 3, 3, 0) * 2 + CLASS + arrays(), "twice"),
        (header() + CLASS[:-1] + b"\1" + arrays(), "reserved"),
        (header() + CLASS[:1] + b"\1" + CLASS[2:] + arrays(), "threshold has bytes"),
        (header() + CLASS[:24] + b"\2" + CLASS[25:] + arrays(), "flag"),
        (header() + CLASS[:8] + struct.pack("<f", float("nan")) + CLASS[12:] + arrays(), "leak"),
        (header() + CLASS + b"\1" + arrays()[1:], "class 1"),
        (header() + CLASS + arrays()[:3] + b"\1" + arrays()[4:], "filling"),
        (header() + CLASS + arrays(kind=(2, 0)), "unknown kind"),
        (header() + CLASS + arrays(rows=(0, 2, 1, 2)), "row_start"),
        (header() + CLASS + arrays()[:-8], "kind: 2 bytes"),
        (header() + CLASS + arrays() + bytes(8), "8 bytes follow"),
    ],
)
def test_payloads_that_do_not_add_up(images: Any, payload: bytes, reason: str) -> None:
    with pytest.raises(BadProgram, match=reason):
        NeuralCore(CHIP).load(image(images, payload))


def test_frames_that_are_none(images: Any) -> None:
    for sizes in ({"request": 24}, {"reply": 24}, {"request": 68}, {"reply": 32 << 20}):
        with pytest.raises(BadProgram, match="frames"):
            NeuralCore(CHIP).load(image(images, PAYLOAD, **sizes))
    extra = [images.record(0, i, 6, (1, 1, 64), 64, f"q{i}") for i in range(2)]
    program = images.image([*extra, images.record(1, 3, 6, (1, 1, 64), 64, "a")], PAYLOAD, kind=2)
    with pytest.raises(BadProgram, match="one input"):
        NeuralCore(CHIP).load(program)


def test_the_memory_of_the_core_has_an_end(images: Any) -> None:
    """One neuron of 2 bytes and a bit, a class of 32, a row of 4 and synapses of 7: 8 MiB to the byte."""
    count = 1_198_367
    parts = [
        bytes(1),
        bytes(1),
        struct.pack("<2I", 0, count),
        bytes(4 * count),
        bytes(count),
        bytes(count),
        bytes(count),
    ]
    body = CLASS + b"".join(part + bytes(-len(part) % 8) for part in parts)
    fields = {"neurons": 1, "synapses": count, "resident": 1}
    NeuralCore(CHIP).load(image(images, header(**fields) + body))
    area = struct.pack("<HBB", 3, 3, 0)
    with pytest.raises(BadProgram, match="8388612 bytes of the core's memory, it has 8388608"):
        NeuralCore(CHIP).load(image(images, header(**fields, areas=1) + area + CLASS + bytes(4) + body[len(CLASS) :]))
