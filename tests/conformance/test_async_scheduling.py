"""Models that take turns on devices: who runs when, and that nobody is forgotten. Also behind the kernel driver."""

from __future__ import annotations

import math
import threading
from itertools import groupby

import numpy as np
import pytest
from tests.frames.devices import open_several

import openhailo
from openhailo.driver.kernel.link import KernelLink
from openhailo.errors import Cancelled, DeviceTimeout, InputError, StateError
from openhailo.runtime.device import Device
from openhailo.runtime.memory import is_page_aligned
from openhailo.runtime.vdevice import VirtualDevice, VirtualDeviceOptions
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

WAIT_S = 60.0
SHAPE = (8, 8, 2)


def frames_of(shape, count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def configured(vdevice, nets, count, *, burst=0):
    made = []
    for number in range(count):
        model = vdevice.create_infer_model(nets.single({"x": SHAPE}, {"y": (1, 1, 10)}, name=f"m{number}").hef)
        model.batch_size = burst
        made.append(model.configure())
    return made


def completion_order(vdevice, models, frames_each):
    """Queue frames of every model while devices are held, let go, and return the models in the order of results."""
    order, lock = [], threading.Lock()

    def done(name):
        with lock:
            order.append(name)

    with vdevice.dispatcher.quiet(WAIT_S):
        jobs = []
        for model in models:
            for frame in frames_of(SHAPE, frames_each):
                bindings = model.create_bindings({"x": frame}, {"y": np.zeros(10, np.uint8)})
                jobs.append(model.run_async(bindings, lambda info, name=model.name: done(name)))
    for job in jobs:
        job.wait(WAIT_S)
    return order


def test_models_of_equal_rank_take_turns_of_a_burst(nets):
    with open_several() as vdevice:
        models = configured(vdevice, nets, 3, burst=4)
        order = completion_order(vdevice, models, 16)
        turns = [(name, len(list(group))) for name, group in groupby(order)]
        assert turns == [(f"m{index % 3}", 4) for index in range(12)]
        assert vdevice.statistics().switches == 12
        assert {model.statistics().turns for model in models} == {4}


def test_the_higher_priority_runs_first(nets):
    with open_several() as vdevice:
        models = configured(vdevice, nets, 3, burst=4)
        for model, priority in zip(models, (16, 31, 0), strict=True):
            model.set_scheduler_priority(priority)
        order = completion_order(vdevice, models, 8)
        assert [name for name, _ in groupby(order)] == ["m1", "m0", "m2"]
        with pytest.raises(InputError, match="priority"):
            models[0].set_scheduler_priority(32)


def test_each_of_two_devices_keeps_its_model(nets):
    with open_several(2) as vdevice:
        models = configured(vdevice, nets, 2)
        completion_order(vdevice, models, 30)
        assert vdevice.statistics().switches <= 4


def test_a_frame_below_the_threshold_runs_when_its_time_has_come(nets):
    with open_several(idle_optimization=False) as vdevice:
        (model,) = configured(vdevice, nets, 1)
        model.set_scheduler_threshold(3)
        model.set_scheduler_timeout(0.001)
        for count in (1, 2, 3, 4):
            assert len(completion_order(vdevice, [model], count)) == count


def test_a_frame_below_the_threshold_waits_for_others_without_a_timeout(nets):
    with open_several(idle_optimization=False) as vdevice:
        (model,) = configured(vdevice, nets, 1)
        model.set_scheduler_threshold(3)
        model.set_scheduler_timeout(math.inf)
        futures = [model.submit(frame) for frame in frames_of(SHAPE, 2)]
        assert model.statistics().streams[0].pending == 2
        futures.append(model.submit(frames_of(SHAPE, 1)[0]))
        for future in futures:
            future.result(WAIT_S)
        late = model.submit(frames_of(SHAPE, 1)[0])
        model.shutdown()
        with pytest.raises(Cancelled):
            late.result(WAIT_S)


def kernel_device(release, name, **machine):
    driver = VirtualKernelDriver(Twin(), release=release, **machine)
    return Device(KernelLink(driver.open()), name=name)


def check_boards(nets, devices):
    net = nets.single({"x": (64, 64, 3)}, {"y": (128, 128, 4)})
    frames = frames_of((64, 64, 3), 24)
    want = nets.expected(net.model, {"x": frames})["y"].reshape(24, 128, 128, 4)
    with VirtualDevice(devices) as vdevice:
        model = vdevice.create_infer_model(net.hef).configure()
        ready = [model.allocate_bindings() for _ in range(12)]
        assert all(is_page_aligned(each.output().frames) for each in ready)
        for half in (slice(0, 12), slice(12, 24)):
            for bindings, frame in zip(ready, frames[half], strict=True):
                bindings.input().frames[:] = frame
            model.run_async(ready).wait(WAIT_S)
            for bindings, row in zip(ready, want[half], strict=True):
                np.testing.assert_array_equal(bindings.output().frames[0], row)
        np.testing.assert_array_equal(model.submit(frames).result(WAIT_S)["net/y"], want)
        assert all(device.busy_s > 0 for device in vdevice.statistics().devices)


@pytest.mark.parametrize("release", RELEASES)
def test_two_boards_behind_the_kernel_driver(nets, release):
    """Copied and mapped buffers; outputs of more than a page are written where they are to be."""
    check_boards(nets, [kernel_device(release, f"board {index}") for index in range(2)])


@pytest.mark.parametrize("machine", [{"allocation_mode": 1}, {"page_size": 16384}, {"segment_bytes": 4096}])
def test_machines_that_cannot_map_a_user_s_memory_copy_it(nets, machine):
    """Memory from the driver, pages of 16 KiB, and memory in single pages."""
    check_boards(nets, [kernel_device(max(RELEASES), "board", **machine)])


def test_without_a_scheduler_devices_take_turns(nets):
    options = VirtualDeviceOptions(scheduler=False)
    with VirtualDevice([openhailo.open("twin:") for _ in range(2)], options) as vdevice:
        (model,) = configured(vdevice, nets, 1)
        model.activate()
        order = completion_order(vdevice, [model], 20)
        assert len(order) == 20
        assert all(device.busy_s > 0 for device in vdevice.statistics().devices)
        assert vdevice.statistics().switches == 0


def test_the_same_network_twice_needs_no_switch(nets):
    """Both have a queue, a turn and an end of their own."""
    net = nets.single({"x": SHAPE}, {"y": (1, 1, 10)})
    frames = frames_of(SHAPE, 20)
    want = nets.expected(net.model, {"x": frames})["y"]
    with open_several() as vdevice:
        first, second = (vdevice.create_infer_model(net.hef).configure() for _ in range(2))
        other = vdevice.create_infer_model(net.hef)
        other.batch_size = 2
        third = other.configure()
        assert len(vdevice.devices[0].networks) == 2
        order = completion_order(vdevice, [first, second], 16)
        assert order.count("net") == 32
        assert vdevice.statistics().switches == 1
        assert [model.statistics().frames for model in (first, second, third)] == [16, 16, 0]
        first.close()
        assert len(vdevice.devices[0].networks) == 2
        np.testing.assert_array_equal(second.submit(frames).result(WAIT_S)["net/y"], want)
        np.testing.assert_array_equal(third.submit(frames).result(WAIT_S)["net/y"], want)
        second.close()
        assert len(vdevice.devices[0].networks) == 1
        third.close()
        assert vdevice.devices[0].networks == ()


def test_equal_instances_share_the_device_fairly(nets):
    """Neither waits until the other has nothing left."""
    net = nets.single({"x": SHAPE}, {"y": (1, 1, 10)})
    with open_several() as vdevice:
        models = [vdevice.create_infer_model(net.hef).configure() for _ in range(2)]
        order, lock = [], threading.Lock()

        def done(number):
            with lock:
                order.append(number)

        with vdevice.dispatcher.quiet(WAIT_S):
            jobs = []
            for number, model in enumerate(models):
                for frame in frames_of(SHAPE, 32):
                    bindings = model.create_bindings({"x": frame}, {"y": np.zeros(10, np.uint8)})
                    jobs.append(model.run_async(bindings, lambda info, number=number: done(number)))
        for job in jobs:
            job.wait(WAIT_S)
        assert 8 <= sum(order[:32]) <= 24


def test_waiting_for_an_activation(nets):
    options = VirtualDeviceOptions(scheduler=False)
    with VirtualDevice([openhailo.open("twin:")], options) as vdevice:
        (model,) = configured(vdevice, nets, 1)
        with pytest.raises(DeviceTimeout, match="activation of m0"):
            model.group.wait_for_activation(0.0)
        waiting = threading.Thread(target=model.group.wait_for_activation, args=(WAIT_S,))
        waiting.start()
        model.activate()
        waiting.join(WAIT_S)
        assert not waiting.is_alive()
        model.group.wait_for_activation(0.0)
    with open_several() as vdevice:
        (model,) = configured(vdevice, nets, 1)
        with pytest.raises(StateError, match="there is a scheduler"):
            model.group.wait_for_activation(0.0)


def test_a_threshold_beyond_a_cycle_is_refused(nets):
    """A network of several contexts takes so many frames at a time; more never wait."""
    net = nets.two((8, 8, 8), (8, 16, 8), (1, 1, 16))
    with open_several() as vdevice:
        model = vdevice.create_infer_model(net.hef)
        model.batch_size = 4
        made = model.configure()
        made.set_scheduler_threshold(4)
        with pytest.raises(InputError, match="takes 4"):
            made.set_scheduler_threshold(5)
        (single,) = configured(vdevice, nets, 1, burst=2)
        single.set_scheduler_threshold(5)
