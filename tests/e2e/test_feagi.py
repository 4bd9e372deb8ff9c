"""Spiking networks through the whole house: file, HEF, driver, chip, and on other links."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import openhailo
from openhailo import hef
from openhailo.burst import Engine
from openhailo.driver.kernel.link import KernelLink
from openhailo.feagi.builders import build_steady, steady_start
from openhailo.feagi.files import load_network, save_network
from openhailo.feagi.hailo8 import Hailo8Accelerator
from openhailo.feagi.program import build_snn_hef
from openhailo.feagi.realtime import BurstLoop
from openhailo.runtime.device import Device
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver


@contextmanager
def opened(name: str) -> Iterator[Device]:
    """A device by name, or behind the virtual kernel driver of a release."""
    if not name[0].isdigit():
        with openhailo.open(name) as device:
            yield device
        return
    link = KernelLink(VirtualKernelDriver(Twin(), release=name).open())
    with Device(link, name=name) as device:
        yield device


@pytest.mark.parametrize("name", ["twin:", "twin:hailo8l", *list(RELEASES)[:1], *list(RELEASES)[-1:]])
def test_every_link_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    save_network(build_steady(3000, 8), tmp_path / "n.npz")
    network = load_network(tmp_path / "n.npz")
    engine, inputs = Engine(network), steady_start(3000)
    with opened(name) as device, Hailo8Accelerator(device) as chip:
        chip.upload_network(network)
        chip.upload_input_deltas(*inputs)
        for number in range(50):
            expected = engine.step(inputs if number == 0 else None).fired
            assert chip.process_burst() == len(expected) == 45
            assert np.array_equal(chip.download_fired_neurons(), expected)


def test_a_file_keeps_the_rules_of_its_format() -> None:
    content = hef.write(build_snn_hef(build_steady(500, 3)))
    assert not list(hef.check(hef.read(content)))
    with openhailo.open("twin:") as device:
        assert device.load(content).inputs[0].dtype == np.uint8


def test_a_million_neurons() -> None:
    count = 1_000_000
    network = build_steady(count, 10)
    with Hailo8Accelerator("twin:") as chip:
        chip.upload_network(network)
        footprint = chip.footprint()
        assert footprint.state_bytes + footprint.resident_bytes <= 8 << 20
        engine = Engine(network)
        inputs = steady_start(count)
        chip.upload_input_deltas(*inputs)
        for number in range(5):
            expected = engine.step(inputs if number == 0 else None).fired
            assert chip.process_burst() == len(expected) == 15_000
            assert np.array_equal(chip.download_fired_neurons(), expected)
        assert 0 < chip.streamed_rows < 15_000
        statistics = BurstLoop(lambda _: chip.process_burst(), 1000).run(0.2)
        assert statistics.fired == 15_000
