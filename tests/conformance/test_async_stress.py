"""Frames in random sizes from several threads over several models and devices: none lost, doubled or swapped."""

from __future__ import annotations

import pytest
from tests.frames.devices import open_several
from tests.frames.hammer import Pool, hammer, settled
from tests.frames.nets import tagged

from openhailo.driver.kernel.link import KernelLink
from openhailo.runtime.device import Device
from openhailo.runtime.open import open_device
from openhailo.runtime.vdevice import VirtualDevice, VirtualDeviceOptions
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver


def pools_of(vdevice, count=2):
    made = []
    for number in range(count):
        hef, frames, want = tagged((8, 9, 3), f"model{number}", number + 1)
        model = vdevice.create_infer_model(hef)
        model.batch_size = number * 3
        made.append(Pool(model.configure(), frames, want))
    return made


def check(vdevice, pools, frames, threads=4, seed=1, streamed=None):
    score = hammer(pools, frames=frames, threads=threads, seed=seed, streamed=streamed)
    assert not score.wrong
    assert score.right >= frames
    assert settled(vdevice)


@pytest.mark.parametrize("devices", [1, 2])
def test_two_models_and_one_in_virtual_streams(devices):
    with open_several(devices) as vdevice:
        *pools, streamed = pools_of(vdevice, 3)
        check(vdevice, pools, 2000, streamed=streamed)


def test_models_of_different_priority_on_one_device():
    with open_several() as vdevice:
        pools = pools_of(vdevice, 3)
        for pool, (priority, threshold) in zip(pools, [(16, 0), (20, 4), (3, 2)], strict=True):
            pool.model.set_scheduler_priority(priority)
            pool.model.set_scheduler_threshold(threshold)
            pool.model.set_scheduler_timeout(0.001)
        check(vdevice, pools, 1500)


@pytest.mark.parametrize("release", [min(RELEASES), max(RELEASES)])
def test_behind_the_kernel_driver(release):
    links = [KernelLink(VirtualKernelDriver(Twin(), release=release).open()) for _ in range(2)]
    devices = [Device(link, name=f"kernel {index}") for index, link in enumerate(links)]
    with VirtualDevice(devices) as vdevice:
        check(vdevice, pools_of(vdevice), 1000)


def test_a_twin_on_a_stepped_clock():
    """Timeouts are counted in the chip's time."""
    from openhailo.twin.clock import SteppedClock

    clock = SteppedClock()
    device = open_device("twin:", twin=Twin(clock=clock), clock=lambda: clock.now_ns() / 1e9)
    with VirtualDevice([device], VirtualDeviceOptions(), clock=lambda: clock.now_ns() / 1e9) as vdevice:
        check(vdevice, pools_of(vdevice), 200, threads=1)
