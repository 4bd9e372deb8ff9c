"""Several networks in one HEF, chosen by name; files for other chips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import openhailo
from openhailo import hef
from openhailo.errors import InputError, UnsupportedHef
from openhailo.hef.enums import HwArch

SHAPES = {"x": (9, 9, 2)}, {"y": (1, 1, 5)}


def frames_of(count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPES[0]["x"])).astype(np.uint8)


@pytest.fixture
def made(nets):
    return [nets.single(*SHAPES, name=name, seed=seed) for seed, name in enumerate(("left", "middle", "right"))]


@pytest.fixture
def content(made):
    return hef.write(hef.join([net.hef for net in made]))


def test_networks_are_chosen_by_name(device, nets, made, content):
    networks = {}
    for net in made:
        networks[net.name] = device.load(content, network=net.name)
    assert device.load(content).name == "left"
    assert device.load(content, network="right/right").name == "right"
    assert device.load(content, group="middle").name == "middle"
    for turn in range(2):
        for net in made:
            frames = frames_of(5, turn)
            seen = networks[net.name](frames, raw=True)[f"{net.name}/y"]
            np.testing.assert_array_equal(seen, nets.expected(net.model, {"x": frames})["y"])


def test_a_name_that_is_not_there_is_answered_with_those_that_are(device, content):
    with pytest.raises(InputError, match="no 'rihgt' in this HEF; it has: left, middle, right"):
        device.load(content, network="rihgt")


def test_one_of_them_may_have_several_contexts(device, nets, made):
    two = nets.two((8, 8, 8), (8, 16, 8), (1, 1, 16))
    content = hef.write(hef.join([made[0].hef, two.hef]))
    network = device.load(content, network="two", batch_size=4)
    frames = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 8)).astype(np.uint8)
    want = nets.expected(two.models[1], nets.expected(two.models[0], {"x": frames}))["y"]
    np.testing.assert_array_equal(network(frames, raw=True)["two/y"], want)
    assert device.load(content)(frames_of(2), raw=True)["left/y"].shape == (2, 5)


@pytest.mark.parametrize("arch", [HwArch.HAILO15H, HwArch.HAILO15M, HwArch.HAILO15L, HwArch.HAILO10H, HwArch.PLUTO])
@pytest.mark.parametrize("chip", ["twin:", "twin:hailo8l"])
def test_files_for_newer_chips_are_refused_with_what_to_do(chip, arch, made):
    file = replace(made[0].hef, header=replace(made[0].hef.header, hw_arch=arch))
    with openhailo.open(chip) as device, pytest.raises(UnsupportedHef, match=rf"{arch.name}.* --arch hailo8` or"):
        device.load(hef.write(file, verify=False))


def test_a_hailo8_file_on_a_hailo8l(made):
    with openhailo.open("twin:hailo8l") as device, pytest.raises(UnsupportedHef, match="--arch hailo8l"):
        device.load(hef.write(made[0].hef))


def test_a_hailo8l_file_on_a_hailo8_runs_with_a_warning(made, caplog):
    file = replace(made[0].hef, header=replace(made[0].hef.header, hw_arch=HwArch.HAILO8L))
    with openhailo.open("twin:") as device:
        device.load(hef.write(file, verify=False))
    assert [record.message for record in caplog.records if "lower performance" in record.message] == [
        "left: compiled for Hailo-8L: it runs on this Hailo-8 with lower performance; recompile it for Hailo-8"
    ]
