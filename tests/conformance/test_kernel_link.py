"""The link over the kernel driver, on the virtual driver of every release: the same results as without a driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.kernel.resources import KernelOptions
from openhailo.driver.link import DmaDirection
from openhailo.errors import DeviceBusy
from openhailo.runtime.device import Device
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

pytestmark = pytest.mark.parametrize("release", RELEASES)


@contextmanager
def opened(release: str, **options: object) -> Iterator[Device]:
    """A device behind the virtual driver of ``release``."""
    driver = VirtualKernelDriver(Twin(), release=release)
    link = KernelLink(driver.open(), options=KernelOptions(**options))  # type: ignore[arg-type]
    with Device(link, name=f"kernel driver {release}") as device:
        yield device


def run(device, net, nets, count):
    shape = net.inputs["x"]
    frames = np.random.default_rng(count).integers(0, 256, (count, *shape)).astype(np.uint8)
    want = nets.expected(net.model, {"x": frames})
    with device.load(net.hef) as network:
        got = network({f"{net.name}/x": frames}, raw=True)
        for name in net.outputs:
            seen = got[f"{net.name}/{name}"]
            np.testing.assert_array_equal(seen, want[name].reshape(seen.shape))


def test_the_driver_and_firmware_say_who_they_are(release):
    with opened(release) as device:
        assert device.link.info.driver_version == release
        assert device.link.info.kind == "kernel"
        assert device.link.info.desc_max_page_size == 4096
        assert device.identify().board_name.strip()


@pytest.mark.parametrize("count", [1, 3, 300])
def test_frames_are_exact(release, nets, count):
    """300 frames take every ring round several times."""
    net = nets.single({"x": (7, 13, 3)}, {"y": (1, 1, 10)})
    with opened(release) as device:
        run(device, net, nets, count)
        done = device.link.statistics()
    assert done.transfers_to_device == done.transfers_from_device == count


def test_several_streams_and_a_frame_of_many_pages(release, nets):
    net = nets.single({"x": (104, 104, 3)}, {"y": (13, 13, 8), "z": (1, 1, 11)})
    with opened(release) as device:
        run(device, net, nets, 5)


def test_networks_follow_each_other(release, nets):
    """The driver forgets its channels in between; positions begin at 0 again."""
    first = nets.single({"x": (8, 8, 3)}, {"y": (1, 1, 9)}, name="first")
    second = nets.single({"x": (5, 4, 2)}, {"y": (3, 2, 2)}, name="second", seed=7)
    with opened(release) as device:
        for net in (first, second, first):
            run(device, net, nets, 40)


def test_two_contexts(release, nets):
    net = nets.two((6, 6, 2), (4, 4, 4), (1, 1, 5))
    frames = np.random.default_rng(5).integers(0, 256, (4, 6, 6, 2)).astype(np.uint8)
    middle = nets.expected(net.models[0], {"x": frames})["t"]
    want = nets.expected(net.models[1], {"t": middle})["y"]
    with opened(release) as device, device.load(net.hef) as network:
        got = network({f"{net.name}/x": frames}, raw=True)[f"{net.name}/y"]
    np.testing.assert_array_equal(got, want.reshape(got.shape))


def test_memory_from_the_driver(release, nets):
    """Hosts whose DMA does not reach all of memory."""
    net = nets.single({"x": (28, 28, 1)}, {"y": (1, 1, 10)})
    driver = VirtualKernelDriver(Twin(), release=release, allocation_mode=1)
    with Device(KernelLink(driver.open()), name="low memory") as device:
        run(device, net, nets, 9)


@pytest.mark.parametrize("machine", [{"page_size": 16384}, {"segment_bytes": 4096}, {"force_desc_page_size": 128}])
def test_other_machines(release, machine, nets):
    """A Raspberry Pi 5 with 16 KiB pages; memory in single pages; a bus with short read requests."""
    net = nets.single({"x": (104, 104, 3)}, {"y": (1, 1, 40)})
    driver = VirtualKernelDriver(Twin(), release=release, **machine)
    with Device(KernelLink(driver.open()), name="other machine") as device:
        assert device.link.info.desc_max_page_size == machine.get("force_desc_page_size", 4096)
        run(device, net, nets, 40)


def test_firmware_can_be_restarted(release, nets):
    net = nets.single({"x": (8, 8, 3)}, {"y": (1, 1, 9)})
    with opened(release) as device:
        run(device, net, nets, 3)
        device.reset()
        run(device, net, nets, 3)


def test_the_board_has_one_owner(release):
    driver = VirtualKernelDriver(Twin(), release=release)
    with KernelLink(driver.open()) as first:
        with pytest.raises(DeviceBusy):
            KernelLink(driver.open())
        with KernelLink(driver.open(), options=KernelOptions(exclusive=False)) as looker:
            assert looker.is_firmware_loaded()
            with pytest.raises(DeviceBusy):
                looker.alloc_buffer(4096, DmaDirection.BOTH)
        assert first.is_firmware_loaded()
    KernelLink(driver.open()).close()
