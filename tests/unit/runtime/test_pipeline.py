"""Frames in flight, over a link that echoes inputs to outputs when asked to."""

from __future__ import annotations

import threading
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

from openhailo.driver.link import ChannelError, ChannelEvent
from openhailo.errors import Cancelled, DeviceError, DeviceTimeout
from openhailo.runtime.configure.requirements import Ring
from openhailo.runtime.frame_job import Direct, Job
from openhailo.runtime.pipeline import Pipeline
from openhailo.runtime.streams import InputStream, OutputRefill, OutputStream, slot_count

FRAME = 24


class EchoLink:
    """Computes out = in + 1, ``per_wait`` frames for each wait; a wait without work returns nothing at once."""

    def __init__(self, per_wait=3):
        self.per_wait = per_wait
        self.launched = {1: deque(), 16: deque()}
        self.fail_channel = None
        self.lock = threading.Lock()
        self.most_in_flight = 0

    def alloc_buffer(self, size_bytes, direction):
        return SimpleNamespace(view=memoryview(bytearray(size_bytes)), close=lambda: None)

    def launch(self, channel, dlist, starting_desc, ranges):
        assert starting_desc == dlist.position, "launches follow each other"
        ((buffer, offset, size),) = ranges
        used = -(-size // dlist.page_size)
        dlist.position = (starting_desc + used) % dlist.count
        with self.lock:
            self.launched[channel].append(buffer.view[offset : offset + size])
            self.most_in_flight = max(self.most_in_flight, len(self.launched[1]))
        return used

    def launch_many(self, channel, dlist, starting_desc, transfers):
        start = dlist.position
        for ranges in transfers:
            self.launch(channel, dlist, dlist.position if ranges is not transfers[0] else starting_desc, ranges)
        return (dlist.position - start) % dlist.count

    def wait_channels(self, bitmap, timeout_s):
        assert bitmap == 1 << 1 | 1 << 16
        if self.fail_channel is not None:
            return [ChannelEvent(self.fail_channel, 0, ChannelError.ENGINE)]
        with self.lock:
            count = min(self.per_wait, *map(len, self.launched.values()))
            for _ in range(count):
                source, target = self.launched[1].popleft(), self.launched[16].popleft()
                target[:] = (np.frombuffer(source, np.uint8) + 1).tobytes()
        return [ChannelEvent(1, count), ChannelEvent(16, count)] if count else []

    def wake(self):
        pass


def dlist(count, page_size):
    return SimpleNamespace(count=count, page_size=page_size, position=0, close=lambda: None)


def make(depth=8, per_wait=3, timeout_s=5.0):
    link = EchoLink(per_wait)
    ring = Ring(FRAME, 64, 16, depth)
    source = InputStream(link, "in", 1, dlist(16, 64), ring)
    sink = OutputStream(link, "out", 16, dlist(16, 64), ring)
    pipeline = Pipeline(link, [source], [sink], name="net", timeout_s=timeout_s, describe_failure=lambda: "because")
    pipeline.start()
    return link, pipeline, source, sink


def job_of(source, sink, frames, finish=None):
    into = np.frombuffer(source.slots.view, np.uint8).reshape(source.depth, -1)[:, :FRAME]
    outof = np.frombuffer(sink.slots.view, np.uint8).reshape(sink.depth, -1)[:, :FRAME]

    def write(values, first, last):
        into[first:last] = values

    def read(out, first, last):
        out[:] = outof[first:last]

    return Job(len(frames), [frames], [write], [np.empty_like(frames)], [read], finish)


def run(pipeline, job):
    pipeline.enqueue(job)
    pipeline.wait(job)


def frames_of(count, seed=1):
    return np.random.default_rng(seed).integers(0, 255, (count, FRAME)).astype(np.uint8)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize("per_wait", [1, 3, 50])
def test_batches_come_back_in_order(count, per_wait):
    link, pipeline, source, sink = make(per_wait=per_wait)
    for seed in (1, 2):
        frames = frames_of(count, seed)
        job = job_of(source, sink, frames)
        run(pipeline, job)
        np.testing.assert_array_equal(job.outputs[0], frames + 1)
    assert link.most_in_flight == min(count, source.depth)
    assert pipeline.pending == 0
    pipeline.close()


def test_futures_resolve_in_order_and_callbacks_may_submit():
    _, pipeline, source, sink = make()
    seen = []
    frames = frames_of(20)
    extra = threading.Event()

    def submit(index, then=None):
        job = job_of(source, sink, frames[index : index + 1])
        job.finish = lambda: (index, job.outputs[0][0])
        future = pipeline.submit(job)
        future.add_done_callback(lambda done: seen.append(done.result()[0]))
        if then:
            future.add_done_callback(then)
        return future

    futures = [submit(index) for index in range(19)]
    submit(0, then=lambda _: submit(19, then=lambda _: extra.set()))
    for index, future in enumerate(futures):
        got, frame = future.result(timeout=10)
        assert got == index
        np.testing.assert_array_equal(frame, frames[index] + 1)
    assert extra.wait(10)
    assert seen == [*range(19), 0, 19]
    pipeline.close()


def test_several_threads_share_one_device():
    _, pipeline, source, sink = make()
    results = {}

    def work(seed):
        frames = frames_of(50, seed)
        job = job_of(source, sink, frames)
        run(pipeline, job)
        results[seed] = np.array_equal(job.outputs[0], frames + 1)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == dict.fromkeys(range(6), True)
    pipeline.close()


def test_a_silent_device_is_a_timeout_and_marks_the_pipeline_broken():
    link, pipeline, source, sink = make(timeout_s=0.5)
    link.per_wait = 0
    with pytest.raises(DeviceTimeout, match="waiting for a frame"):
        run(pipeline, job_of(source, sink, frames_of(3)))
    assert isinstance(pipeline.broken, DeviceTimeout)


def test_a_channel_error_fails_every_job_with_the_firmwares_reason():
    link, pipeline, source, sink = make()
    link.fail_channel = 16
    with pytest.raises(DeviceError, match=r"channel 16 \(out\).*because"):
        run(pipeline, job_of(source, sink, frames_of(1)))


def test_stopping_cancels_what_is_pending():
    link, pipeline, source, sink = make()
    link.per_wait = 0
    job = job_of(source, sink, frames_of(1))
    job.future = None
    pipeline._thread = threading.current_thread()
    future = pipeline.submit(job)
    pipeline.stop()
    with pytest.raises(Cancelled, match="deactivated"):
        future.result(timeout=1)


def test_slots_are_a_power_of_two_and_bounded_in_bytes():
    assert slot_count(Ring(784, 512, 128, 32)) == 32
    assert slot_count(Ring(519168, 512, 65536, 32)) == 8
    assert slot_count(Ring(1 << 20, 4096, 65536, 31)) == 4
    assert slot_count(Ring(100 << 20, 4096, 65536, 2)) == 2
    assert slot_count(Ring(8, 64, 2, 1)) == 1


def watched(source, sink, frames, seen):
    job = job_of(source, sink, frames)
    job.watcher = seen.extend
    return job


def test_watchers_are_told_of_jobs_together_and_may_enqueue_more():
    _, pipeline, source, sink = make(per_wait=50)
    told, frames = [], frames_of(5)
    more = job_of(source, sink, frames)

    def watcher(jobs):
        told.append([job.tag for job in jobs])
        if len(told) == 1:
            more.watcher, more.tag = watcher, "more"
            pipeline.enqueue(more, attend=True)

    first = [job_of(source, sink, frames_of(2, seed)) for seed in (3, 4)]
    for tag, job in enumerate(first):
        job.watcher, job.tag = watcher, tag
    pipeline.enqueue(*first)
    pipeline.wait(first[1])
    pipeline.wait(more)
    pipeline.close()
    assert told == [[0, 1], ["more"]]
    np.testing.assert_array_equal(more.outputs[0], frames + 1)


def test_draining_and_stopping_leave_watchers_to_another_thread():
    """Whoever drains holds locks that a watcher may need."""
    _, pipeline, source, sink = make()
    heard = threading.Event()
    who = []

    def watcher(jobs):
        who.append(threading.current_thread())
        heard.set()

    for end in (pipeline.drain, pipeline.stop):
        job = job_of(source, sink, frames_of(3))
        job.watcher = watcher
        pipeline.enqueue(job)
        end()
        pipeline.attend()
        assert heard.wait(30)
        heard.clear()
    assert threading.current_thread() not in who
    pipeline.close()


def test_help_works_until_somebody_is_content_or_the_time_is_over():
    link, pipeline, source, sink = make(per_wait=0)
    now = [100.0]
    pipeline._clock = lambda: now[0]
    seen = []
    job = watched(source, sink, frames_of(2), seen)
    pipeline.enqueue(job)

    def wait(bitmap, timeout_s):
        now[0] += timeout_s
        return []

    link.wait_channels, forward = wait, link.wait_channels
    pipeline.help(lambda: bool(seen), deadline=103.0)
    assert (now[0], seen, pipeline.pending) == (103.0, [], 2)
    link.wait_channels, link.per_wait = forward, 1
    pipeline.help(lambda: bool(seen), deadline=200.0)
    assert seen == [job]
    pipeline.help(lambda: False, deadline=200.0)
    pipeline.close()


def test_timeouts_are_counted_on_the_clock_that_was_given():
    link, pipeline, source, sink = make(timeout_s=7.0)
    now = [0.0]
    pipeline._clock = lambda: now[0]
    budgets = []

    def wait(bitmap, timeout_s):
        budgets.append(timeout_s)
        now[0] += 2.0
        return []

    link.wait_channels = wait
    job = job_of(source, sink, frames_of(1))
    with pytest.raises(DeviceTimeout) as raised:
        run(pipeline, job)
    assert budgets == [7.0, 5.0, 3.0, 1.0]
    assert (raised.value.budget_s, raised.value.elapsed_s) == (7.0, 8.0)


def test_waiting_frames_are_launched_together_once_the_device_has_half_of_its_slots_filled():
    link, pipeline, source, sink = make(depth=16, per_wait=0)
    doorbells = []
    launch = source._launch_many
    source._launch_many = lambda channel, dlist, start, ranges: (
        doorbells.append(len(ranges)) or launch(channel, dlist, start, ranges)
    )
    jobs = [job_of(source, sink, frames_of(1, seed)) for seed in range(20)]
    for job in jobs:
        pipeline.enqueue(job)
    assert doorbells == [1] * 9 + [4, 3]
    link.per_wait = 50
    for job in jobs:
        pipeline.wait(job)
    for job in jobs:
        np.testing.assert_array_equal(job.outputs[0], job.inputs[0] + 1)
    assert doorbells[11:] == [4]
    pipeline.close()


def test_the_user_s_memory_in_place_of_slots():
    """Inputs are read and outputs written where they are; other jobs go through the slots between them."""
    link, pipeline, source, sink = make(per_wait=2)
    sink.refill = OutputRefill.PAIRED
    pipeline = Pipeline(link, [source], [sink], name="net", timeout_s=5.0)
    sink.rewind()
    sink.dlist.position = 0
    link.launched[16].clear()
    pipeline.start()
    jobs = []
    for seed in range(12):
        frames = frames_of(3, seed)
        job = job_of(source, sink, frames)
        if seed % 2:
            ins, outs = (SimpleNamespace(view=memoryview(a).cast("B")) for a in (frames, job.outputs[0]))
            ranges = [[((memory, FRAME * i, FRAME),) for i in range(3)] for memory in (ins, outs)]
            job.direct = Direct([tuple(ranges[0])], [tuple(ranges[1])])
            job.writers = job.readers = [pytest.fail]
        jobs.append(job)
    pipeline.enqueue(*jobs)
    for job in jobs:
        pipeline.wait(job)
        np.testing.assert_array_equal(job.outputs[0], job.inputs[0] + 1)
    pipeline.close()


def test_an_interrupt_while_waiting_loses_nothing():
    """Ctrl-C in one thread; frames go on when the next one works for the device."""
    link, pipeline, source, sink = make()
    frames = frames_of(4)
    job = job_of(source, sink, frames)
    wait = link.wait_channels

    def interrupted(bitmap, timeout_s):
        link.wait_channels = wait
        raise KeyboardInterrupt

    link.wait_channels = interrupted
    pipeline.enqueue(job)
    with pytest.raises(KeyboardInterrupt):
        pipeline.wait(job)
    assert pipeline.broken is None
    run(pipeline, job_of(source, sink, frames_of(2)))
    assert job.done and job.error is None
    np.testing.assert_array_equal(job.outputs[0], frames + 1)


def test_an_interrupt_in_the_middle_of_the_books_fails_what_is_in_flight():
    _, pipeline, source, sink = make()
    job = job_of(source, sink, frames_of(4))

    def interrupted(out, first, last):
        raise KeyboardInterrupt

    job.readers = [interrupted]
    pipeline.enqueue(job)
    with pytest.raises(KeyboardInterrupt):
        pipeline.wait(job)
    assert isinstance(pipeline.broken, KeyboardInterrupt)
    assert isinstance(job.error, KeyboardInterrupt)
