"""A network as a program: what the chip's core computes is what the engine and the slow oracle compute."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import openhailo
from openhailo.burst import Engine, Network, Neurons, Synapses
from openhailo.errors import BufferTooLarge, InputError
from openhailo.feagi.packing import build_payload, pack_classes, pack_state
from openhailo.feagi.program import build_snn_hef, frame_sizes
from openhailo.spec.chip import CHIP
from openhailo.twin.core.snn_payload import parse_network

from .networks import as_pairs, cases, oracle_of, random_inputs, random_network


def plain(count: int, degree: int = 0, **parameters: Any) -> Network:
    source = np.repeat(np.arange(count), degree)
    return Network(Neurons.create(count, **parameters), Synapses.from_edges(count, source, source))


def equal(left: Any, right: Any) -> bool:
    names = [name for name in vars(left) if name != "precision"]
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in names)


@given(cases)
@settings(max_examples=120, deadline=None)
def test_what_is_packed_is_what_comes_out(case: Any) -> None:
    seed, count, precision, mode = case
    rng = np.random.default_rng(seed)
    network = random_network(rng, count, precision)
    loaded = parse_network(memoryview(build_payload(network, mode)), CHIP)
    assert (loaded.mode, loaded.owned) == (mode, None)
    found = loaded.network
    assert equal(found.neurons, network.neurons)
    assert found.areas == network.areas
    assert (found.power_amount, found.fatigue) == (network.power_amount, network.fatigue)
    ours, slow = Engine(found, mode), oracle_of(network, mode)
    for _ in range(6):
        inputs = random_inputs(rng, count)
        assert ours.step(inputs).fired.tolist() == slow.step(as_pairs(inputs))


def run_frame(network: Any, *inputs: tuple[int, float]) -> list[int]:
    frame = np.zeros(network.inputs[0].shape, np.uint8)
    ids, values = (np.array([pair[i] for pair in inputs]) for i in (0, 1))
    raw = struct.pack("<9I", 1, 1, 1, len(inputs), 0, 0, 0, 0, len(inputs))
    raw += ids.astype("<u4").tobytes() + values.astype("<f4").tobytes()
    frame.reshape(-1)[: len(raw)] = np.frombuffer(raw, np.uint8)
    answer = network(frame, raw=True)["snn/reply"].tobytes()
    status, fired, encoding = struct.unpack_from("<I", answer)[0], *struct.unpack_from("<II", answer, 40)
    assert status == 0
    if encoding == 0:
        return list(struct.unpack_from(f"<{fired}I", answer, 64))
    bits = np.unpackbits(np.frombuffer(answer, np.uint8)[64:], bitorder="little")
    return np.flatnonzero(bits).tolist()[:fired]


def test_a_network_through_the_driver() -> None:
    rng = np.random.default_rng(5)
    network = random_network(rng, 300, degree=8)
    engine, seen = Engine(network), 0
    with openhailo.open("twin:") as device:
        loaded = device.load(build_snn_hef(network))
        for _ in range(40):
            ids = rng.choice(300, 40, replace=False)
            fired = run_frame(loaded, *((int(i), 40.0) for i in ids))
            assert fired == engine.step((ids, np.full(40, 40.0))).fired.tolist()
            seen += len(fired)
    assert seen > 500


def test_a_million_neurons_fit() -> None:
    network = plain(1_000_000, 2, refractory_period=np.arange(1_000_000) % 3)
    footprint = pack_state(network).footprint
    assert footprint.neuron_bytes == 3
    assert footprint.state_bytes == 3_000_000 + 125_000 + 3 * 32
    assert 0 < footprint.resident_rows < 1_000_000
    assert (
        footprint.state_bytes + footprint.resident_bytes
        <= 8 << 20
        < footprint.state_bytes + footprint.resident_bytes + 18
    )
    assert footprint.resident_bytes + footprint.streamed_bytes == 1_000_000 * (4 + 14)


def test_what_does_not_fit_says_what_would() -> None:
    with pytest.raises(BufferTooLarge) as caught:
        pack_state(plain(2_000_000, precision="fp32"))
    assert caught.value.have == 8 << 20
    assert caught.value.need == 2_000_000 * 5 + 250_000 + 32
    fits = int(caught.value.hint.split()[0])
    assert pack_state(plain(fits, precision="fp32")).footprint.state_bytes <= 8 << 20
    with pytest.raises(BufferTooLarge):
        pack_state(plain(fits + 1, precision="fp32"))


def test_a_program_longer_than_the_channels_is_refused() -> None:
    count = 19_200_000
    synapses = Synapses(np.array([0, count]), *(np.zeros(count, kind) for kind in (np.uint32, *[np.uint8] * 3)))
    with pytest.raises(BufferTooLarge, match="synapses can be loaded beside 1 neurons"):
        build_payload(Network(Neurons.create(1), synapses))


def test_classes_are_shared() -> None:
    neurons = Neurons.create(6, threshold=[1, 5, 1, 5, 1, 5], leak=[0.1, 0.1, 0.1, 0.1, 0.5, 0.5])
    table, classes = pack_classes(neurons)
    assert classes[0] == classes[2]
    assert classes[1] == classes[3]
    assert len(set(classes.tolist())) == len(table["leak"]) == 4
    assert np.array_equal(table["leak"][classes], neurons.leak)


def test_frames() -> None:
    small, large = frame_sizes(1000), frame_sizes(1_000_000)
    assert (small.deltas, small.bursts) == (1000, 409)
    assert (large.deltas, large.bursts) == (4096, 1)
    assert large.reply_bytes >= 64 + 125_000


def test_modes_and_nothing() -> None:
    with pytest.raises(InputError, match="'fast' is unknown"):
        build_payload(plain(1), "fast")
    with pytest.raises(InputError, match="no neurons"):
        build_payload(plain(0))
