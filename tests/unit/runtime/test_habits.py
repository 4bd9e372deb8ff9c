"""The vendor's habits as options: what they change, and that ours are the default."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import openhailo
from openhailo.driver.link import DOMAIN_HOST, LinkInfo
from openhailo.errors import InputError
from openhailo.runtime.configure.requirements import Ring
from openhailo.runtime.device import Device
from openhailo.runtime.frame_job import Job
from openhailo.runtime.habits import HABITS, network_options
from openhailo.runtime.network import Network
from openhailo.runtime.options import NetworkOptions
from openhailo.runtime.pipeline import Pipeline
from openhailo.runtime.streams import InputStream, OutputRefill, OutputStream

FRAME = 24


class CountingLink:
    """Notes launches; nothing ever completes by itself."""

    def __init__(self):
        self.launches = []
        self.events = []

    def alloc_buffer(self, size_bytes, direction):
        return SimpleNamespace(view=memoryview(bytearray(size_bytes)), close=lambda: None)

    def launch_many(self, channel, dlist, starting_desc, transfers, **more):
        self.launches.append((channel, len(transfers), more))
        return len(transfers)

    def wait_channels(self, bitmap, timeout_s):
        return [self.events.pop(0)] if self.events else []

    def wake(self):
        pass


def stream(kind, link, channel):
    ring = SimpleNamespace(count=16, page_size=64, close=lambda: None)
    return kind(link, str(channel), channel, ring, Ring(FRAME, 64, 16, 8))


def frames(count):
    return np.zeros((count, FRAME), np.uint8)


def copy(*_):
    pass


def job(count):
    return Job(count, [frames(count)], [copy], [frames(count)], [copy])


def pipeline_with(refill):
    link = CountingLink()
    source, sink = stream(InputStream, link, 1), stream(OutputStream, link, 16)
    sink.refill = refill
    pipeline = Pipeline(link, [source], [sink], name="net", timeout_s=1.0)
    pipeline.start()
    return link, pipeline, source, sink


@pytest.mark.parametrize(
    ("refill", "start", "after_one"),
    [
        (OutputRefill.HALF, [(16, 8)], [(1, 1)]),
        (OutputRefill.EACH, [(16, 8)], [(1, 1), (16, 1)]),
        (OutputRefill.PAIRED, [], [(1, 1), (16, 1)]),
    ],
)
def test_when_output_slots_are_handed_out(refill, start, after_one):
    link, pipeline, source, sink = pipeline_with(refill)
    assert [launch[:2] for launch in link.launches] == start
    link.launches.clear()
    one = job(1)
    pipeline.enqueue(one)
    link.events = [(1, 1, 0), (16, 1, 0)]
    pipeline.wait(one)
    assert [launch[:2] for launch in link.launches] == after_one
    assert (source.in_flight, sink.ready) == (0, 0)


def test_half_refill_hands_out_many_at_once():
    link, pipeline, _, sink = pipeline_with(OutputRefill.HALF)
    link.launches.clear()
    for _ in range(4):
        one = job(1)
        pipeline.enqueue(one)
        link.events = [(1, 1, 0), (16, 1, 0)]
        pipeline.wait(one)
    assert [launch[:2] for launch in link.launches if launch[0] == 16] == [(16, 4)]
    assert sink.in_flight == 8


def test_paired_outputs_never_get_more_slots_than_there_are():
    link, pipeline, _, sink = pipeline_with(OutputRefill.PAIRED)
    many = job(11)
    pipeline.enqueue(many)
    assert (many.fed, sink.in_flight, sink.room) == (8, 8, 0)
    link.events = [(1, 8, 0), (16, 5, 0), (1, 3, 0), (16, 6, 0)]
    pipeline.wait(many)
    assert sum(count for channel, count, _ in link.launches if channel == 16) == 11
    assert sink.room == 8


def test_an_interrupt_at_the_start_of_a_frame_is_asked_for_at_launch():
    link = CountingLink()
    source = stream(InputStream, link, 1)
    source.launch(1)
    source.interrupt_at_start()
    source.launch(1)
    assert [more for _, _, more in link.launches] == [{}, {"first_domain": DOMAIN_HOST}]


def test_names_of_habits():
    assert network_options("") == {}
    for name in HABITS:
        NetworkOptions(**network_options(name))
    with pytest.raises(InputError, match="vendor-async"):
        openhailo.open("twin:", habits="mine")
    assert NetworkOptions(output_refill="paired").output_refill is OutputRefill.PAIRED
    with pytest.raises(InputError, match="half, each, paired"):
        NetworkOptions(output_refill="never")
    with pytest.raises(InputError, match="dynamic_batch_size"):
        NetworkOptions(dynamic_batch_size=64)


class SilentFirmware:
    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **more: self.calls.append(name)


class FakeNetwork:
    """What a device asks of a network that changes places."""

    def __init__(self, device, name):
        self.device, self.name, self.broken = device, name, False

    def _note(self, what):
        self.device.firmware.calls.append(f"{self.name} {what}")

    def drain(self):
        self._note("drain")

    def leave(self):
        self._note("leave")

    def enter(self):
        self._note("enter")

    def plan_batch(self, frames):
        return max(frames, 1)

    def take_batch(self, frames):
        pass


@pytest.fixture
def device():
    link = SimpleNamespace(info=LinkInfo("pcie", "x"), close=lambda: None)
    made = Device(link)
    made.firmware = SilentFirmware()
    return made


def test_switching_needs_no_reset(device):
    a, b = FakeNetwork(device, "a"), FakeNetwork(device, "b")
    device.activate(a)
    device.activate(b)
    device.activate(b)
    assert device.firmware.calls == ["a enter", "a drain", "a leave", "b enter"]
    device.deactivate()
    assert device.firmware.calls[-2:] == ["b leave", "reset_applications"]


@pytest.mark.parametrize("same", [True, False])
def test_after_a_failure_there_is_a_reset(device, same):
    a = FakeNetwork(device, "a")
    device.activate(a)
    a.broken = True
    device.activate(a if same else FakeNetwork(device, "b"))
    assert device.firmware.calls[:4] == ["a enter", "a drain", "a leave", "reset_applications"]


def test_habits_of_a_device_are_defaults_for_its_networks(monkeypatch):
    seen = []

    def plan(device, content, group, options):
        seen.append(options)
        raise InputError(what="test", detail="enough seen")

    monkeypatch.setattr(Network, "plan", plan)
    link = SimpleNamespace(info=LinkInfo("pcie", "x"), close=lambda: None)
    for habits in ("", "vendor-async"):
        with pytest.raises(InputError, match="enough"):
            Device(link, habits=habits).load(b"hef", batch_size=2)
    ours, theirs = seen
    assert (ours.output_refill, ours.dynamic_batch_size, ours.repeat_queries) == (OutputRefill.HALF, 0, False)
    assert (theirs.output_refill, theirs.dynamic_batch_size, theirs.repeat_queries) == (OutputRefill.PAIRED, 1, True)
    assert ours.batch_size == theirs.batch_size == 2
