"""The accelerator interface: this computer's engine and the chip behave alike; every misuse has its error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import openhailo
from openhailo.burst import Engine, Network, Neurons, Synapses
from openhailo.errors import (
    BufferTooLarge,
    DeviceNotFound,
    InferenceFailed,
    InvalidParameter,
    NotInitialized,
)
from openhailo.feagi.accelerator import EngineAccelerator, NeuralAccelerator
from openhailo.feagi.formats import build_neurons, build_synapses, parse_neurons
from openhailo.feagi.hailo8 import Hailo8Accelerator

from .networks import random_network


@pytest.fixture(params=["cpu", "chip"])
def accelerator(request: Any) -> Iterator[Any]:
    made: Any = EngineAccelerator() if request.param == "cpu" else Hailo8Accelerator("twin:")
    made.init_device(0)
    yield made
    made.close()


def chain(count: int = 5) -> Network:
    """Each neuron makes the next one fire."""
    neurons = Neurons.create(count, threshold=10.0, leak=0.0)
    return Network(neurons, Synapses.from_edges(count, range(count - 1), range(1, count), 5, 5))


def test_protocol(accelerator: Any) -> None:
    assert isinstance(accelerator, NeuralAccelerator)
    assert accelerator.is_available()
    assert accelerator.capabilities.supported_precisions == 0b101
    assert accelerator.capabilities.max_neurons >= 1_000_000
    assert accelerator.capabilities.max_synapses >= 10_000_000


def test_hailo_says_who_it_is() -> None:
    with Hailo8Accelerator("twin:") as chip:
        assert (chip.name, chip.performance_ops_per_sec) == ("Hailo-8", 26_000_000_000_000)
        assert 0 < chip.temperature_celsius() < 120
    with pytest.raises(NotInitialized):
        chip.temperature_celsius()


def test_records_go_up_and_come_down(accelerator: Any) -> None:
    network = chain()
    accelerator.upload_neurons_once(build_neurons(network.neurons))
    accelerator.upload_synapses(build_synapses(network.synapses))
    accelerator.upload_input_deltas([0], [20.0])
    assert [accelerator.process_burst() for _ in range(6)] == [1, 1, 1, 1, 1, 0]
    assert accelerator.download_fired_neurons().tolist() == []
    accelerator.upload_input_deltas([3, 3], [2.0, 2.0])
    assert accelerator.process_burst() == 0
    buffer = bytearray(5 * 15)
    assert accelerator.download_neurons(buffer) == 75
    # Twice 2.0 is encode(4.0), 49; a leak of nothing keeps it.
    assert parse_neurons(buffer).potential.tolist() == [0, 0, 0, 49, 0]
    with pytest.raises(BufferTooLarge, match="75 bytes"):
        accelerator.download_neurons(bytearray(74))
    accelerator.reset()
    assert accelerator.neurons.potential.tolist() == [0] * 5


def test_batches_and_futures(accelerator: Any) -> None:
    accelerator.upload_network(chain())
    accelerator.upload_input_batch([([0], [20.0]), None, ([0], [20.0])])
    assert accelerator.process_burst_batch(4).tolist() == [1, 1, 2, 2]
    assert [fired.tolist() for fired in accelerator.download_fired_batch()] == [[0], [1], [0, 2], [1, 3]]
    futures = [accelerator.process_burst_async() for _ in range(3)]
    assert [future.result() for future in futures] == [2, 1, 1]
    assert accelerator.download_fired_neurons().tolist() == [4]
    assert 0 < accelerator.utilization() <= 1


def test_random_networks(accelerator: Any) -> None:
    for seed, precision in ((1, "int8"), (2, "fp32")):
        rng = np.random.default_rng(seed)
        network = random_network(rng, 400, precision, degree=10)
        engine = Engine(network)
        accelerator.upload_network(network)
        for _ in range(12):
            ids, values = rng.choice(400, 60, replace=False), rng.random(60, np.float32) * 40
            accelerator.upload_input_deltas(ids, values)
            expected = engine.step((ids, values)).fired
            assert accelerator.process_burst() == len(expected)
            assert np.array_equal(accelerator.download_fired_neurons(), expected)
        state, seen = engine.state, accelerator.neurons
        assert np.array_equal(seen.potential, state.potential)
        assert np.array_equal(seen.refractory_countdown, state.refractory_countdown)


def test_more_inputs_than_a_request_has_room_for() -> None:
    rng = np.random.default_rng(3)
    network = random_network(rng, 20_000, degree=2)
    engine = Engine(network)
    with Hailo8Accelerator("twin:") as chip:
        chip.upload_network(network)
        for size in (4096, 4097, 8192, 8193, 20_000, 50_000):
            ids, values = rng.integers(0, 20_000, size), rng.choice(np.float32([3, 0.25, 9]), size)
            chip.upload_input_deltas(ids, values)
            chip.process_burst()
            assert np.array_equal(chip.download_fired_neurons(), engine.step((ids, values)).fired)
        many = (np.zeros(9000, np.uint32), np.ones(9000, np.float32))
        chip.upload_input_batch([None, many])
        with pytest.raises(InferenceFailed, match="9000 inputs"):
            chip.process_burst_batch(2)


def test_another_network_takes_the_chip() -> None:
    with openhailo.open("twin:") as device, Hailo8Accelerator(device) as first, Hailo8Accelerator(device) as second:
        for chip in (first, second):
            chip.upload_network(chain())
        first.upload_input_deltas([0], [20.0])
        assert first.process_burst() == 1
        assert second.process_burst() == 0
        with pytest.raises(InferenceFailed, match="state is gone"):
            first.process_burst()
        first.upload_input_deltas([1], [20.0])
        assert first.process_burst() == 1


def test_misuse(accelerator: Any) -> None:
    with pytest.raises(NotInitialized, match="upload_neurons"):
        accelerator.process_burst()
    with pytest.raises(InvalidParameter, match="records of 15"):
        accelerator.upload_neurons(bytes(16))
    with pytest.raises(InvalidParameter, match="block"):
        accelerator.upload_synapses(bytes(24))
    with pytest.raises(NotInitialized):
        accelerator.upload_input_deltas([0], [1.0])
    accelerator.upload_neurons(build_neurons(chain().neurons))
    for ids, values in (([5], [1.0]), ([-1], [1.0]), ([0], [1.0, 2.0]), ([0.5], [1.0]), ([0], [np.nan]), (["x"], [1])):
        with pytest.raises(InvalidParameter):
            accelerator.upload_input_deltas(ids, values)
    with pytest.raises(InvalidParameter, match="bursts"):
        accelerator.process_burst_batch(0)
    accelerator.upload_synapses(build_synapses(chain(4).synapses))
    with pytest.raises(InvalidParameter, match="rows of 4"):
        accelerator.process_burst()


def test_devices_are_counted() -> None:
    with pytest.raises(DeviceNotFound, match="number 99"):
        Hailo8Accelerator().init_device(99)
    with pytest.raises(DeviceNotFound, match="CPU 1"):
        EngineAccelerator().init_device(1)
    with pytest.raises(NotInitialized, match="init_device"):
        Hailo8Accelerator("twin:").upload_neurons(bytes(15))


def test_what_is_too_large() -> None:
    with Hailo8Accelerator("twin:") as chip:
        have = chip.capabilities.max_neurons
        with pytest.raises(BufferTooLarge, match=f"{have} neurons fit") as caught:
            chip.upload_neurons(bytes(15 * (have + 1)))
        assert (caught.value.need, caught.value.have) == (15 * (have + 1), 15 * have)
        with pytest.raises(BufferTooLarge, match="split the network"):
            chip.upload_network(Network(Neurons.create(2_000_000, "fp32"), Synapses.from_edges(2_000_000, [], [])))
