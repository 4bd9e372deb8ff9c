"""Figures of models and devices while they run."""

from __future__ import annotations

import numpy as np
import pytest
from tests.frames.devices import open_several

import openhailo
from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.kernel.resources import KernelOptions
from openhailo.errors import InputError, StateError
from openhailo.runtime.device import Device
from openhailo.runtime.vdevice import VirtualDevice
from openhailo.runtime.vstreams import InputVStreams, OutputVStreams
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver


def frames_of(shape, count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def test_frames_queues_and_turns_are_counted(nets):
    net = nets.single({"x": (8, 8, 2)}, {"y": (1, 1, 10)})
    frames = frames_of((8, 8, 2), 40)
    with open_several(2) as vdevice:
        model = vdevice.create_infer_model(net.hef).configure()
        idle = model.statistics()
        assert (idle.frames, idle.fps, idle.seconds, idle.streams[0].mean) == (0, 0.0, 0.0, None)
        with vdevice.dispatcher.quiet(60.0):
            futures = [model.submit(frame) for frame in frames]
            waiting = model.statistics()
            assert (waiting.streams[0].pending, waiting.in_flight) == (40, 0)
        for future in futures:
            future.result(60)
        done = model.statistics()
        assert (done.frames, done.failed, done.in_flight) == (40, 0, 0)
        assert done.fps == pytest.approx(40 / done.seconds)
        assert done.switches == 2 and done.turns >= 2
        assert 0 <= done.mean_wait_s <= done.longest_wait_s
        source, sink = done.streams
        assert (source.name, source.is_output, source.capacity) == ("net/x", False, model.async_queue_size)
        assert (source.least, source.most, source.mean) == (0, 39, 19.5)
        assert (sink.name, sink.is_output, sink.frames, sink.pending) == ("net/y", True, 40, 0)
        whole = vdevice.statistics()
        assert (whole.switches, len(whole.models)) == (2, 1)
        assert whole.switch_s > 0
        assert [device.model for device in whole.devices] == ["net", "net"]
        assert all(device.busy_s > 0 and not device.in_flight and not device.is_lost for device in whole.devices)
        assert model.statistics(reset=True).frames == 40
        assert model.statistics().frames == 0
        model.submit(frames[:3]).result(60)
        assert model.statistics().frames == 3


def test_outputs_that_wait_to_be_received_are_counted(nets):
    net = nets.single({"x": (8, 8, 2)}, {"y": (1, 1, 10)})
    with open_several() as vdevice:
        group = vdevice.configure(net.hef)
        with InputVStreams(group) as inputs, OutputVStreams(group) as outputs:
            inputs.get().send(frames_of((8, 8, 2), 5))
            inputs.get().flush()
            assert group.statistics().streams[1].pending == 5
            for _ in range(5):
                outputs.get().recv()
            assert group.statistics().streams[1].pending == 0


@pytest.mark.parametrize("devices", [1, 2])
def test_the_hardware_s_latency(nets, devices):
    net = nets.single({"x": (8, 8, 2)}, {"y": (1, 1, 10), "z": (2, 2, 8)})
    frames = frames_of((8, 8, 2), 50)
    with open_several(devices) as vdevice:
        model = vdevice.create_infer_model(net.hef, measure_latency=True).configure()
        assert model.latency() is None
        model.submit(frames).result(60)
        for frame in frames[:10]:
            model.submit(frame).result(60)
        measured = model.latency(clear=True)
        assert measured.frames == 60
        assert 0 <= measured.least_s <= measured.mean_s <= measured.most_s
        assert measured.most_s > 0
        assert model.latency() is None


def test_latency_that_cannot_be_measured(nets):
    two = nets.single({"a": (4, 4, 2), "b": (1, 1, 9)}, {"y": (1, 1, 8)})
    one = nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)})
    with openhailo.open() as device:
        with pytest.raises(InputError, match="needs one input"):
            device.load(two.hef, measure_latency=True)
        assert device.networks == ()
        network = device.load(one.hef)
        with pytest.raises(StateError, match="not measured"):
            network.latency()
    with open_several() as vdevice:
        assert vdevice.create_infer_model(one.hef).configure().latency() is None


@pytest.mark.parametrize("release", RELEASES)
def test_the_kernel_driver_notes_when_interrupts_come(nets, release):
    """Frames of several descriptors; rings go round."""
    net = nets.single({"x": (20, 20, 3)}, {"y": (1, 1, 10)})
    driver = VirtualKernelDriver(Twin(), release=release)
    link = KernelLink(driver.open(), options=KernelOptions(measure_timestamps=True))
    with VirtualDevice([Device(link, name="board")]) as vdevice:
        model = vdevice.create_infer_model(net.hef, measure_latency=True).configure()
        for frame in frames_of((20, 20, 3), 100):
            model.submit(frame).result(60)
        model.submit(frames_of((20, 20, 3), 50)).result(60)
        measured = model.latency()
        assert 100 <= measured.frames <= 150
        assert 0 <= measured.least_s <= measured.mean_s <= measured.most_s
