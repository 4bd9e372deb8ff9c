"""The bytes of a written HEF, taken apart by hand: no generated code, no schema, numbers from the facts' tables."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openhailo.hef import StreamSpec, compose, read, write
from openhailo.hef.model import HwArch
from openhailo.spec.program import FormatOrder

Fields = dict[int, list[Any]]


def walk(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, content) of one message: ints for varints, bytes for the rest."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    while place < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            yield tag >> 3, varint()
            continue
        size = {1: 8, 2: -1, 5: 4}[kind]
        size = varint() if size < 0 else size
        yield tag >> 3, data[place : place + size]
        place += size


def parse(data: bytes) -> Fields:
    """All fields of one message by number."""
    found: Fields = {}
    for number, content in walk(data):
        found.setdefault(number, []).append(content)
    return found


def at(data: bytes, *path: int) -> Any:
    """The content at a path of field numbers, the first of each."""
    content: Any = data
    for number in path:
        content = parse(content)[number][0]
    return content


def single(data: bytes) -> float:
    value: float = struct.unpack("<f", data)[0]
    return value


def written(version: int = 2, arch: HwArch = HwArch.HAILO8P) -> bytes:
    return write(
        compose(
            "net",
            [StreamSpec("net/in", (8, 8, 3))],
            [StreamSpec("net/out", (1, 1, 16), FormatOrder.NC)],
            [bytes(range(256))],
            hw_arch=arch,
            sdk_version="3.0",
            timestamp=7,
        ),
        version,
    )


def protobuf(data: bytes) -> bytes:
    magic, version, size = struct.unpack_from(">III", data)
    assert magic == 0x01484546
    header = {0: 32, 1: 28, 2: 44, 3: 56}[version]
    return data[header : header + size]


def test_header_and_extensions() -> None:
    """hef.md 5, Hef and Header; hef.md 3: the minimal set."""
    root = parse(protobuf(written()))
    assert parse(root[1][0]) == {1: [1], 2: [7], 3: [b"3.0"], 4: [1]}
    assert [parse(extension)[1] for extension in root[5]] == [[13], [26]]
    assert set(root) == {1, 2, 5}


def test_group_and_core_op() -> None:
    """hef.md 15, row by row."""
    group = parse(parse(protobuf(written()))[2][0])
    assert at(group[1][0], 1) == b"net"
    assert group[4] == [b"net/out"]
    assert group[6] == [b"net"]
    (op,) = group[8]
    core_op = at(op, 4)
    assert at(core_op, 1, 1) == b"net"
    assert at(core_op, 1, 5) == 1
    pointer = parse(at(core_op, 2, 1, 2, 16))
    assert pointer == {2: [256]}  # offset and channel are 0, so absent
    assert at(core_op, 2, 1, 1, 3) == b""  # trigger_none, present and empty
    context = at(core_op, 3)
    assert at(context, 2, 1, 3) == b""
    assert at(context, 2, 2, 10) == b""  # allow_input_dataflow of stream 0, a boundary


def test_edge_layers() -> None:
    """hef.md 15: the two edge layers, field by field."""
    metadata = parse(at(protobuf(written()), 2, 8, 4, 3, 3))
    layer_in, layer_out = (parse(layer) for layer in metadata[2])
    assert 1 not in layer_in
    assert layer_out[1] == [1]
    assert (layer_in[7], layer_out[7]) == ([0], [1])
    info = parse(layer_in[3][0])
    assert (info[1], info[5]) == ([b"net/in"], [b"in"])
    base = parse(info[2][0])
    assert [base[n] for n in (1, 2, 3, 4, 5, 6)] == [[8], [8], [8], [8], [3], [3]]
    assert (base[9], base[10], base[12], base[13]) == ([24], [8], [1], [b""])
    assert 7 not in base
    assert 8 not in base
    numeric = parse(info[3][0])
    assert set(numeric) == {2, 4}
    assert (single(numeric[2][0]), single(numeric[4][0])) == (1.0, 255.0)
    base = parse(at(layer_out[3][0], 2))
    assert [base[n] for n in (1, 2, 3, 4, 5, 6, 7, 8)] == [[1], [1], [1], [1], [16], [16], [2], [1]]
    assert (base[9], base[10]) == ([16], [1])


def test_version_0_keeps_configuration_bytes_in_the_action() -> None:
    """hef.md 14."""
    action = parse(at(protobuf(written(0)), 2, 8, 4, 2, 1, 2, 3))
    assert action == {1: [bytes(range(256))]}


def test_hailo8l_repeats_the_content_per_layout() -> None:
    """hef.md 17: the accepted content."""
    data = protobuf(written(arch=HwArch.HAILO8L))
    assert at(data, 1, 1) == 3
    group = parse(parse(data)[2][0])
    partial = parse(at(group[8][0], 4, 7))
    assert at(partial[2][0], 1) == 0xFF
    assert at(partial[1][0], 1, 1) == b"net"
    assert at(partial[1][0], 3, 3, 2) is not None
    outer = parse(group[7][0])
    assert at(outer[2][0], 1) == 0xFF
    assert at(outer[1][0], 1, 1) == b"net"
    assert at(outer[1][0], 4) == b"net/out"
    assert at(outer[1][0], 6) == b"net"
    assert at(outer[1][0], 8, 4, 1, 1) == b"net"


@pytest.mark.facts
@pytest.mark.parametrize(
    ("stem", "group", "stream_in", "sizes"),
    [
        ("mnist_cnn_28x28_h8_dfc3.27_v0", b"MNIST_CNN", b"MNIST_CNN/input_layer1", (28, 28, 1, 32, 28)),
        (
            "arcface_mobilefacenet_h8_v2",
            b"arcface_mobilefacenet",
            b"arcface_mobilefacenet/input_layer1",
            (112, 112, 3, 336, 112),
        ),
    ],
)
def test_the_walker_finds_in_real_files_what_the_reader_finds(
    stem: str, group: bytes, stream_in: bytes, sizes: tuple[int, ...], shared_dir: Path
) -> None:
    path = shared_dir / "hefs" / f"{stem}.hef"
    data = protobuf(path.read_bytes())
    assert at(data, 2, 1, 1) == group
    info = at(data, 2, 3, 3, 2, 3)
    assert at(info, 1) == stream_in
    base = parse(at(info, 2))
    assert tuple(base[n][0] for n in (1, 3, 5, 9, 10)) == sizes
    layer = read(path).network_group().core_op_for().contexts[0].edge_layers[0]
    assert (*layer.shape, layer.core_bytes_per_buffer, layer.core_buffers_per_frame) == sizes
