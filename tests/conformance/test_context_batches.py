"""Networks of several contexts: batches of any size, changed between runs, on the chip and over every kernel driver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import openhailo
from openhailo.driver.kernel.link import KernelLink
from openhailo.errors import ControlFailed, DoesNotFit
from openhailo.hef import model as hm
from openhailo.hef.enums import WriteDataKind
from openhailo.hef.operations import WriteDataByType
from openhailo.runtime.device import Device
from openhailo.runtime.network import cycles
from openhailo.runtime.vdevice import VirtualDevice
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

SHAPES = (8, 8, 8), (8, 16, 8), (1, 1, 16)


def frames_of(count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPES[0])).astype(np.uint8)


def wanted(nets, net, frames):
    return nets.expected(net.models[1], nets.expected(net.models[0], {"x": frames}))["y"]


def slow_switching(net):
    """The same network, whose context 0 depends on the batch, so that firmware has to begin anew for another one."""
    (group,) = net.hef.network_groups
    core_op = group.core_op
    first, *others = core_op.contexts
    write = hm.Operation(actions=(WriteDataByType(address=0x40, data_type=WriteDataKind.BATCH_SIZE, mask=0xFF),))
    changed = replace(core_op, contexts=(replace(first, operations=(write, *first.operations)), *others))
    return replace(net.hef, network_groups=(replace(group, ops=(hm.Op(changed),)),))


def test_cycles_are_few_and_full():
    assert [cycles(n, 16) for n in (0, 1, 3, 16, 17, 33, 64)] == [
        (16, 0), (1, 1), (3, 3), (16, 16), (9, 18), (11, 33), (16, 64),
    ]  # fmt: skip
    assert cycles(7, 1) == (1, 7)


@pytest.mark.parametrize("make", [lambda net: net.hef, slow_switching], ids=["fast switch", "activation"])
def test_batches_change_between_runs(device, nets, make):
    net = nets.two(*SHAPES)
    with device.load(make(net), batch_size=16) as network:
        for turn, count in enumerate((*range(1, 17), 1, 40, 5, 0, 16, 2)):
            frames = frames_of(count, turn)
            seen = network(frames, raw=True)["two/y"]
            assert len(seen) == count
            if count:
                np.testing.assert_array_equal(seen, wanted(nets, net, frames))


@pytest.mark.parametrize("make", [lambda net: net.hef, slow_switching], ids=["fast switch", "activation"])
def test_bursts_of_any_length_keep_their_order(device, nets, make):
    """Futures of different sizes: each waits for the cycles before it."""
    net = nets.two(*SHAPES)
    counts = np.random.default_rng(4).integers(1, 20, 40).tolist()
    with device.load(make(net), batch_size=7) as network:
        batches = [frames_of(count, seed) for seed, count in enumerate(counts)]
        futures = [network.submit(frames, raw=True) for frames in batches]
        for frames, future in zip(batches, futures, strict=True):
            np.testing.assert_array_equal(future.result(30)["two/y"], wanted(nets, net, frames))


def test_networks_of_several_contexts_take_turns(device, nets):
    nets_made = [nets.two(*SHAPES, name=name) for name in ("one", "other")]
    networks = [device.load(net.hef, batch_size=4) for net in nets_made]
    for turn in range(6):
        frames = frames_of(1 + 3 * turn, turn)
        seen = networks[turn % 2](frames, raw=True)
        np.testing.assert_array_equal(*seen.values(), wanted(nets, nets_made[turn % 2], frames))


def test_the_firmware_is_told_the_batch_only_when_it_changes(device, nets):
    """A fast switch is one control, without channels being taken away (context-switch.md 15)."""
    net = nets.two(*SHAPES)
    with device.load(net.hef, batch_size=8) as network:
        network(frames_of(8))
        before = device.link.statistics()
        for _ in range(5):
            network(frames_of(8))
        assert device.link.statistics().controls == before.controls
        network(frames_of(3))
        assert device.link.statistics().controls == before.controls + 1


def test_a_batch_above_the_configured_one_is_refused(device, nets):
    net = nets.two(*SHAPES)
    network = device.load(net.hef, batch_size=4, dynamic_batch_size=5)
    with pytest.raises(ControlFailed, match="INVALID_BATCH_SIZE"):
        network(frames_of(4))


def test_buffers_between_contexts_grow_with_the_batch(device, nets):
    """63 frames of a tensor that takes more descriptors than a list may have."""
    net = nets.two((8, 8, 8), (1024, 1024, 1), (1, 1, 16))
    with pytest.raises(DoesNotFit, match="descriptors"):
        device.load(net.hef, batch_size=63)
    with device.load(net.hef, batch_size=1) as network:
        assert len(network(frames_of(2))["two/y"]) == 2


@pytest.mark.parametrize("release", RELEASES)
def test_over_the_kernel_driver(release, nets):
    net = nets.two(*SHAPES)
    driver = VirtualKernelDriver(Twin(), release=release)
    with Device(KernelLink(driver.open()), name=release) as device, device.load(net.hef, batch_size=6) as network:
        for count in (6, 1, 13, 4):
            frames = frames_of(count, count)
            np.testing.assert_array_equal(network(frames, raw=True)["two/y"], wanted(nets, net, frames))


def configured(vdevice, content, batch_size):
    """A model that sends ``batch_size`` frames in one turn."""
    model = vdevice.create_infer_model(content)
    model.batch_size = batch_size
    return model.configure()


@pytest.mark.parametrize("devices", [1, 2])
def test_under_the_scheduler_bursts_are_cycles(devices, nets):
    """Two models in contexts and one without, fed in pieces of any size; nothing lost, swapped or left inside."""
    made = [nets.two(*SHAPES, name="one"), nets.two(*SHAPES, name="other")]
    plain = nets.single({"x": SHAPES[0]}, {"y": SHAPES[2]}, name="plain")
    rng = np.random.default_rng(7)
    with VirtualDevice([openhailo.open() for _ in range(devices)]) as vdevice:
        batches = zip((*made, plain), (5, 16, 0), strict=True)
        models = [configured(vdevice, net.hef, batch) for net, batch in batches]
        waiting = []
        for turn in range(60):
            which = int(rng.integers(3))
            frames = frames_of(int(rng.integers(1, 12)), turn)
            want = wanted(nets, made[which], frames) if which < 2 else nets.expected(plain.model, {"x": frames})["y"]
            models[which].wait_for_async_ready(60)
            waiting.append((models[which].submit(frames), want))
        for future, want in waiting:
            (seen,) = future.result(60).values()
            np.testing.assert_array_equal(seen.reshape(want.shape), want)
