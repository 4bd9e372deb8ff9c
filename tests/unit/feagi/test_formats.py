"""Records of neurons and blocks of synapses: bytes by hand, round trips, and what is refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.burst import Neurons, Synapses
from openhailo.errors import InputError, InvalidParameter
from openhailo.feagi.formats import build_neurons, build_synapses, parse_neurons, parse_synapses

from .networks import random_network


def test_a_neuron_by_hand() -> None:
    neurons = Neurons.create(2, threshold=1.0, leak=[0.5, 0.1], refractory_period=[0x0102, 3], valid=[True, False])
    data = build_neurons(neurons)
    assert data[:15] == bytes.fromhex("00 2c 0000003f 0201 0000 0000803f 01")
    assert data[15:] == b"\x00\x2c" + struct.pack("<fHHfB", 0.1, 3, 0, 1.0, 0)


def test_synapses_by_hand() -> None:
    synapses = Synapses.from_edges(3, [0, 2, 2], [1, 0, 70000], [4, 5, 6], [7, 8, 9], [0, 1, 0], [True, True, False])
    assert build_synapses(synapses) == (
        b"OHSYNAPS" + struct.pack("<HHIQ", 1, 0, 3, 3) + struct.pack("<3I", 1, 0, 2)
        + bytes.fromhex("01000000 040700  00000000 050801  70110100 060980")
    )  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_round_trips(seed: int, count: int) -> None:
    network = random_network(np.random.default_rng(seed), count)
    neurons = parse_neurons(build_neurons(network.neurons))
    for name in ("potential", "threshold", "leak", "refractory_period", "excitability", "valid"):
        assert np.array_equal(getattr(neurons, name), getattr(network.neurons, name))
    synapses = parse_synapses(build_synapses(network.synapses))
    for name in ("row_start", "target", "weight", "psp", "kind"):
        assert np.array_equal(getattr(synapses, name), getattr(network.synapses, name))
    valid = network.synapses.valid
    assert synapses.valid is None if valid is None or valid.all() else np.array_equal(synapses.valid, valid)


def block(magic: bytes = b"OHSYNAPS", version: int = 1, zero: int = 0, rows: int = 1, count: int = 1) -> bytes:
    return struct.pack("<8sHHIQ", magic, version, zero, rows, count) + struct.pack("<I", 1) + bytes(7)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        block()[:-1],
        block() + b"\0",
        block(magic=b"OHSYNAPX"),
        block(version=2),
        block(zero=1),
        block(rows=2),
        block(count=2**63),
        block(rows=2**32 - 1),
        block()[:24] + bytes(4) + block()[28:],
    ],
)
def test_blocks_that_do_not_add_up(data: bytes) -> None:
    parse_synapses(block())
    with pytest.raises((InvalidParameter, InputError)):
        parse_synapses(data)


@pytest.mark.parametrize("changes", [{"leak": "nan"}, {"excitability": "inf"}, {"valid": 2}])
def test_records_that_make_no_sense(changes: dict[str, Any]) -> None:
    fields = {"leak": 0.1, "excitability": 1.0, "valid": 1, **changes}
    data = struct.pack("<bbfHHfB", 0, 0, float(fields["leak"]), 0, 0, float(fields["excitability"]), fields["valid"])
    with pytest.raises(InvalidParameter):
        parse_neurons(data)


def test_kinds_that_cannot_be_written() -> None:
    with pytest.raises(InvalidParameter, match="kind 128"):
        build_synapses(Synapses.from_edges(1, [0], [0], kind=128))
