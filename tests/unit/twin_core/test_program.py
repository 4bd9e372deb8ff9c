"""The program image: every field that can be wrong, and bytes from nowhere."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.errors import BadProgram
from openhailo.spec.chip import CHIP
from openhailo.twin.core import parse_program


@pytest.fixture
def image(images: Any) -> bytes:
    records = [images.record(0, 3, 1, (2, 3, 4), 24, "in"), images.record(1, 5, 6, (1, 1, 10), 16, "out")]
    return bytes(images.image(records, b"payload bytes"))


def test_literal_layout(image: bytes) -> None:
    assert len(image) % 8 == 0
    assert image[64:72] == bytes([0, 3, 1, 1, 2, 0, 0, 0])
    assert image[64 + 192 : 64 + 196] == bytes([1, 5, 6, 1])
    assert image[64 + 384 : 64 + 397] == b"payload bytes"


def test_fields(image: bytes) -> None:
    program = parse_program(CHIP, image)
    assert program.kind == "onnx"
    assert bytes(program.payload) == b"payload bytes"
    first, second = program.io
    assert (first.name, first.is_input, first.stream_index, first.order) == ("in", True, 3, "NHWC")
    assert (first.shape, first.padded_shape, first.transfer_bytes, first.frame_bytes) == ((2, 3, 4), (2, 3, 4), 24, 24)
    assert (second.name, second.is_input, second.order, second.frame_bytes) == ("out", False, "NC", 10)


@pytest.mark.parametrize(
    ("at", "data", "detail"),
    [
        (0, b"X", "magic"),
        (8, struct.pack("<I", 3), "kind 3"),
        (12, struct.pack("<I", 1), "1 streams"),
        (12, struct.pack("<I", 33), "33 streams"),
        (16, struct.pack("<Q", 2**63), "payload of"),
        (16, struct.pack("<Q", 2**29), "header and payload need"),
        (16, struct.pack("<Q", 5), "follow the payload"),
        (24, b"\0\0", "hash"),
        (40, b"\1", "reserved"),
        (64, b"\2", "direction 2"),
        (65, b"\x20", "stream 32"),
        (66, b"\x03", "format order 3"),
        (67, b"\x04", "4 bytes a value"),
        (68, bytes(4), "shape"),
        (80, struct.pack("<I", 1), "shape"),
        (92, struct.pack("<I", 23), "a frame of 24 bytes in 23"),
        (92, struct.pack("<I", 2**31), "a frame of"),
        (96, b"\xff", "UTF-8"),
        (64 + 192, b"\0", "needs an input and an output"),
    ],
)
def test_every_broken_field_is_named(image: bytes, at: int, data: bytes, detail: str) -> None:
    broken = image[:at] + data + image[at + len(data) :]
    with pytest.raises(BadProgram, match=detail):
        parse_program(CHIP, broken)


def test_lengths(image: bytes) -> None:
    with pytest.raises(BadProgram, match="header and payload need"):
        parse_program(CHIP, image[:-8])
    with pytest.raises(BadProgram, match="the header needs 64"):
        parse_program(CHIP, image[:40])
    with pytest.raises(BadProgram, match="follow the payload"):
        parse_program(CHIP, image + bytes(8))
    with pytest.raises(BadProgram, match="follow the payload"):
        parse_program(CHIP, image[:-1] + b"x")


def test_streams_must_differ(images: Any) -> None:
    one = images.record(0, 0, 1, (1, 1, 1), 8, "a")
    with pytest.raises(BadProgram, match="share an index or a name"):
        parse_program(CHIP, images.image([one, one, images.record(1, 0, 6, (1, 1, 1), 8, "b")], b""))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_flipped_bytes_give_typed_errors(data: st.DataObject) -> None:
    base = b"OHPROG\0\1" + struct.pack("<IIQQ", 1, 2, 0, 0x2D06800538D394C2) + bytes(32 + 384)
    mutated = bytearray(base)
    for _ in range(data.draw(st.integers(1, 12))):
        mutated[data.draw(st.integers(0, len(base) - 1))] = data.draw(st.integers(0, 255))
    with pytest.raises(BadProgram):
        parse_program(CHIP, bytes(mutated[: data.draw(st.integers(0, len(base)))]))
