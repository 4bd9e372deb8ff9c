"""What the chip tells about itself: hardware-only inference, and action lists with times."""

from __future__ import annotations

import numpy as np
import pytest

from openhailo.driver.events import Notification
from openhailo.driver.kernel.link import KernelLink
from openhailo.errors import DeviceError, DeviceTimeout, DoesNotFit, MalformedReply, NoReference
from openhailo.runtime.action_lists import parse_action_list
from openhailo.runtime.configure.actions import CODEC
from openhailo.runtime.device import Device
from openhailo.runtime.hw_only import CoreSpeed, await_done
from openhailo.spec.actions import ActionType
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

#: One release of each family of the driver's interface.
FAMILIES = {release.family: name for name, release in RELEASES.items()}
SHAPES = (8, 8, 8), (8, 16, 8), (1, 1, 16)


def frames_of(shape, count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.fixture(params=["card", *FAMILIES.values()])
def any_device(request, device):
    if request.param == "card":
        yield device
        return
    driver = VirtualKernelDriver(Twin(), release=request.param)
    with Device(KernelLink(driver.open()), name="kernel driver") as opened:
        yield opened


def check_single(network, net, nets):
    frames = frames_of((7, 13, 3), 3)
    want = nets.expected(net.model, {"x": frames})["y"]
    np.testing.assert_array_equal(network(frames, raw=True)["net/y"], want)


def test_the_chip_alone(any_device, nets):
    """Rings are described anew for it, and frames flow as ever before and after."""
    net = nets.single({"x": (7, 13, 3)}, {"y": (1, 1, 10)})
    network = any_device.load(net.hef)
    check_single(network, net, nets)
    speed = network.measure_core()
    assert speed.frames > 30
    assert speed.batch_size == 1
    assert speed.fps == pytest.approx(speed.frames / (speed.cycles * 5e-9))
    assert any_device.active is None
    check_single(network, net, nets)
    assert network.measure_core().frames == speed.frames


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_the_chip_alone_with_several_contexts(any_device, nets, batch_size):
    net = nets.two(*SHAPES)
    network = any_device.load(net.hef, batch_size=batch_size)
    speed = network.measure_core()
    assert speed.frames % batch_size == 0
    assert speed.frames >= batch_size
    frames = frames_of(SHAPES[0], 5)
    want = nets.expected(net.models[1], nets.expected(net.models[0], {"x": frames}))["y"]
    np.testing.assert_array_equal(network(frames, raw=True)["two/y"], want)


def test_speed_of_nothing():
    assert CoreSpeed(0, 1, 0).fps == 0.0


def test_a_chip_that_never_ends_is_told_from_one_that_fails():
    seconds = iter(range(1000))
    with pytest.raises(DeviceTimeout, match="hardware-only"):
        await_done(lambda _timeout: None, lambda: float(next(seconds)), 120.0)
    failure = Notification(12, "CONTEXT_SWITCH_RUN_TIME_ERROR", 0, 0, {"exit_status": 5})
    with pytest.raises(DeviceError, match="RUN_TIME_ERROR"):
        await_done(lambda _timeout: failure, lambda: 0.0, 1.0)
    others = iter([Notification(1, "D2H_HOST_INFO", 0, 0, {}), None, Notification(11, "DONE", 0, 0, {})])
    await_done(lambda _timeout: next(others), lambda: 0.0, 1.0)


def test_what_cannot_be_measured(device, nets):
    net = nets.single({"x": (6, 5, 3)}, {"y": (1, 1, 10)}, image=bytes(range(256)))
    with device.load(net.hef) as network:
        if network.needs_reference:
            with pytest.raises(NoReference):
                network.measure_core()
    big = nets.two((512, 512, 3), (8, 8, 8), (1, 1, 16))
    network = device.load(big.hef, batch_size=30, queue_transfers=1)
    if (network.queue_depth - 1) < 30:
        with pytest.raises(DoesNotFit, match="rings"):
            network.measure_core()


# --- action lists -----------------------------------------------------------------------------------------------------


def test_lists_come_back_as_they_were_sent(any_device, nets):
    network = any_device.load(nets.two(*SHAPES).hef, batch_size=2)
    network(frames_of(SHAPES[0], 2))
    lists = {entry.name: entry for entry in network.action_lists()}
    assert list(lists) == ["activation", "dynamic_0", "dynamic_1", "batch_switching"]
    names = [action.name for action in lists["dynamic_0"].actions]
    assert names.count("CHANGE_VDMA_TO_STREAM_MAPPING") == 2
    assert names[0] == "ACTIVATE_CFG_CHANNEL"
    assert names[-1] == "PAUSE_VDMA_CHANNEL"
    assert "ACTIVATE_INTER_CONTEXT_INPUT" in [action.name for action in lists["dynamic_1"].actions]
    assert all(action.time is None for entry in lists.values() for action in entry.actions)


def test_a_preliminary_list_is_there_when_it_was_sent(any_device, nets):
    network = any_device.load(nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)}).hef)
    assert [entry.name for entry in network.action_lists()] == [
        "activation", "preliminary", "dynamic_0", "batch_switching",
    ]  # fmt: skip


def test_actions_of_a_batch_have_times(any_device, nets):
    network = any_device.load(nets.two(*SHAPES).hef, batch_size=2)
    network.stamp_actions(1)
    network(frames_of(SHAPES[0], 8))
    for entry in network.action_lists():
        if entry.name.startswith("dynamic"):
            times = [action.time for action in entry.actions]
            assert None not in times
            assert times == sorted(times)
    network.stamp_actions(None)
    network(frames_of(SHAPES[0], 2))
    lists = [entry for entry in network.action_lists() if entry.name.startswith("dynamic")]
    assert all(action.time is None for entry in lists for action in entry.actions)


def test_lists_that_make_no_sense():
    whole = CODEC.plain(CODEC.build(ActionType.SLEEP, sleep_time=7))
    (action,) = parse_action_list(whole)
    assert (action.name, action.fields, action.time) == ("SLEEP", {"sleep_time": 7}, None)
    assert parse_action_list(b"") == ()
    for bad in (
        whole[:-1],
        whole[:3],
        b"\xff" + whole[1:],
        b"\x18\xff\xff\xff\xff\x02\x00\x2b",
        b"\x18\xff\xff\xff\xff",
    ):
        with pytest.raises(MalformedReply, match="action list"):
            parse_action_list(bad)
