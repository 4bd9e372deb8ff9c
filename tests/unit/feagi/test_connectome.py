"""Connectomes of FEAGI: the samples, files by hand, and what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.burst import Engine
from openhailo.errors import InputError
from openhailo.feagi.connectome import (
    Connectome,
    build_json,
    load_connectome,
    parse_binary,
    parse_json,
    save_connectome,
)
from openhailo.feagi.lz4 import decode_block

from .networks import random_network


@pytest.mark.facts
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_samples_of_a_server(shared_dir: Path, precision: str, tmp_path: Path) -> None:
    path = shared_dir / "data" / f"feagi_connectome_{precision}.json"
    connectome = load_connectome(path)
    neurons = connectome.network.neurons
    assert (neurons.precision, len(neurons), len(connectome.network.synapses)) == (precision, 11, 6)
    assert connectome.area_names[1] == "X19fcG93ZXI="
    save_connectome(connectome, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_bytes()) == json.loads(path.read_bytes())
    # 6 * 2 = 12 is above the threshold of 4: what is stimulated makes its target fire one burst later.
    engine = Engine(connectome.network)
    fired = [engine.step(([3], [100.0])).fired.tolist(), engine.step().fired.tolist()]
    assert 3 in fired[0]
    assert 7 in fired[1]


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.sampled_from(["int8", "fp32"]))
def test_round_trip(seed: int, count: int, precision: str) -> None:
    network = random_network(np.random.default_rng(seed), count, precision)
    found = parse_json(build_json(Connectome(network, 7, {1: "a"})), precision)
    assert (found.burst_count, found.area_names) == (7, {1: "a"})
    for name in ("potential", "threshold", "leak", "refractory_period", "excitability", "valid", "area"):
        assert np.array_equal(getattr(found.network.neurons, name), getattr(network.neurons, name))
    for name in ("row_start", "target", "weight", "psp", "kind"):
        assert np.array_equal(getattr(found.network.synapses, name), getattr(network.synapses, name))


def small() -> dict[str, Any]:
    network = random_network(np.random.default_rng(1), 4)
    document: dict[str, Any] = json.loads(build_json(Connectome(network)))
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("neurons",), []),
        (("neurons", "count"), 5),
        (("neurons", "count"), -1),
        (("neurons", "count"), 1e30),
        (("neurons", "thresholds"), [1, 2, "x", 4]),
        (("neurons", "thresholds"), [[1], [2], [3], [4]]),
        (("neurons", "refractory_periods"), [0, 0, 0, 65536]),
        (("neurons", "refractory_periods"), [0, 0, 0, 10**40]),
        (("neurons", "leak_coefficients"), [0, 0, 0, 1e99]),
        (("neurons", "cortical_areas"), [0, 0, 0, 65536]),
        (("synapses", "source_neurons"), [99] * 16),
        (("synapses", "weights"), [256] * 16),
        (("synapses", "weights"), None),
        (("power_amount",), "1"),
        (("burst_count",), True),
        (("cortical_area_names",), {"x": "y"}),
    ],
)
def test_documents_that_do_not_add_up(path: tuple[str, ...], value: Any) -> None:
    document = small()
    parse_json(json.dumps(document))
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(InputError):
        parse_json(json.dumps(document))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b"[" * 100_000, b'{"version": 1}'])
def test_other_files(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_json(data)


def literal_block(data: bytes) -> bytes:
    """An LZ4 block of literals alone."""
    if len(data) < 15:
        return bytes([len(data) << 4]) + data
    full, rest = divmod(len(data) - 15, 255)
    return b"\xf0" + b"\xff" * full + bytes([rest]) + data


def binary(count: int = 2, body: bytes | None = None, **head: int) -> bytes:
    floats = [np.full(count, value, "<f4") for value in (-25.0, 0.984245300, 0.5, 0.0)]
    whole = [np.zeros(count, kind) for kind in ("<i4", "<u2", "<u2")]
    last = [np.ones(count, "<f4"), np.full(count, 3, "<u4"), np.zeros(3 * count, "<u4"), np.ones(count, "<u1")]
    columns = [*floats, *whole, *last]
    content = struct.pack("<IQQ", 1, count, count + 3)
    content += b"".join(struct.pack("<Q", len(column)) + column.tobytes() for column in columns) + b"more"
    content = content if body is None else body
    fields = {"version": 3, "compression": 1, "size": len(content), **head}
    header = b'{"schema": 1}'
    front = b"FEAGI" + struct.pack("<IBQI", fields["version"], fields["compression"], fields["size"], len(header))
    return front + header + bytes(8) + literal_block(content)


def test_binary_files_as_far_as_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "brain.connectome"
    path.write_bytes(binary())
    connectome = load_connectome(path)
    neurons = connectome.network.neurons
    assert (neurons.precision, len(neurons)) == ("int8", 2)
    assert neurons.threshold.tolist() == [44, 44]
    assert neurons.leak.tolist() == [0.5, 0.5]
    assert connectome.extra["header"] == {"schema": 1}
    assert connectome.extra["unread_bytes"] == 4


@pytest.mark.parametrize(
    "data",
    [
        b"FEAGI",
        binary(version=2),
        binary(compression=2),
        binary(size=10),
        binary(size=1 << 60),
        binary(body=b""),
        binary(body=struct.pack("<IQQ", 1, 1 << 60, 0)),
        binary(body=struct.pack("<IQQ", 2, 1, 1)),
        binary(body=struct.pack("<IQQQ", 1, 2, 2, 2) + bytes(4)),
        binary()[:-30],
    ],
)
def test_binary_files_that_do_not_add_up(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_binary(data)


def test_lz4_copies() -> None:
    # "ab", then 9 bytes from 2 back, then "!": abababababa!
    assert decode_block(b"\x25ab\x02\x00\x10!", 12) == b"ababababab" + b"a!"
    assert decode_block(b"", 0) == b""
    assert decode_block(literal_block(bytes(1000)), 1000) == bytes(1000)
    # A copy of 4 + 15 + 255 + 0 bytes of one character.
    assert decode_block(b"\x1fx\x01\x00\xff\x00\x00", 275) == b"x" * 275


@pytest.mark.parametrize(
    "data", [b"\x10", b"\xf0", b"\xf0\xff", b"\x10a\x02\x00", b"\x10a\x00\x00", b"\x10a\x01", b"\x1fa\x01\x00\xff\xff"]
)
def test_lz4_that_is_none(data: bytes) -> None:
    with pytest.raises(InputError, match="LZ4"):
        decode_block(data, 64)
