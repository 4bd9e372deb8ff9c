"""Frames in flight: many at a time, by one thread that waits for itself or by several with a waiter of their own.

Frames leave the device in the order in which they went in, on every channel (context-switch.md 19), so a queue of jobs
and two counters per job are all the bookkeeping there is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from openhailo.driver.link import ChannelError, ChannelEvent, ChipLink
from openhailo.errors import Cancelled, DeviceError, DeviceTimeout, StateError
from openhailo.runtime.frame_job import Direct, Job
from openhailo.runtime.latency import LatencyMeter
from openhailo.runtime.stages import Stage, StageTimes
from openhailo.runtime.streams import InputStream, OutputStream

#: A wait may end early because somebody else was woken; so often in a row means that the link's clock is not ours.
_EARLY_RETURNS = 64

#: Frames that are launched together have so many bytes at most: the device begins with the first of them meanwhile.
LAUNCH_BYTES = 64 * 1024


class Pipeline:
    """Feeds jobs to input streams and delivers what output streams bring.

    ``describe_failure`` is asked for the firmware's own words when a channel stops.
    """

    def __init__(
        self,
        link: ChipLink,
        inputs: Sequence[InputStream],
        outputs: Sequence[OutputStream],
        *,
        name: str,
        timeout_s: float,
        describe_failure: Callable[[], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._name, self._timeout_s, self._clock = link, name, timeout_s, clock
        self._times: StageTimes | None = None
        self._describe_failure = describe_failure
        self._inputs, self._outputs = list(inputs), list(outputs)
        self._paired = [output for output in outputs if output.is_paired]
        self._streams: dict[int, InputStream | OutputStream] = {s.channel: s for s in inputs}
        self._streams.update({s.channel: s for s in outputs})
        self.bitmap = sum(1 << channel for channel in self._streams)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._depth = min(stream.depth for stream in inputs)
        largest = max(stream.ring.transfer_bytes for stream in inputs)
        self._at_once = max(1, LAUNCH_BYTES // largest)
        self._waiting: deque[Job] = deque()
        self._frames_waiting = 0
        self._running: deque[Job] = deque()
        self._pumping = False
        self._stopping = False
        #: Whether the thread has nothing to do, and how many threads wait for another one's pumping.
        self._resting = False
        self._sleepers = 0
        self._thread: threading.Thread | None = None
        self._settled: list[Job] = []
        self._watched: list[Job] = []
        #: When the device last did something, or was given something to do after it had nothing.
        self._heard = 0.0
        self._early = 0
        #: Told of every event of a channel.
        self.meter: LatencyMeter | None = None
        #: Why frames in flight were lost; None while everything is in order.
        self.broken: BaseException | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Give every output slot to the device; channels were just enabled and stand at descriptor 0."""
        with self._lock:
            self.broken = None
            if self.meter is not None:
                self.meter.restart()
            for stream in self._streams.values():
                stream.rewind()
            for output in self._outputs:
                output.start()

    def stop(self, error: BaseException | None = None) -> None:
        """Give up every job; channels were just disabled. `submit` and `run` fail until the next `start`."""
        with self._lock:
            self._fail(error or Cancelled(what=self._name, reason="the network was deactivated"))
            self._changed.notify_all()
        self._settle_futures()

    def close(self) -> None:
        """Stop the waiter thread. Idempotent."""
        with self._lock:
            self._stopping = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        self._link.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._timeout_s)
        self._settle()

    @contextmanager
    def measure(self) -> Iterator[StageTimes]:
        """Add up what stages of calls take until the context ends; jobs that are under way already may be missed."""
        times = StageTimes()
        self._watch(times)
        try:
            yield times
        finally:
            self._watch(None)

    def _watch(self, times: StageTimes | None) -> None:
        with self._lock:
            self._times = times
            for stream in self._streams.values():
                stream.measure(times)

    # --- work -------------------------------------------------------------------------------------------------------

    def enqueue(self, *jobs: Job, attend: bool = False) -> None:
        """Queue ``jobs`` and launch what there is room for.

        A thread of the pipeline waits for the device with ``attend``; else `wait` or `help` has to follow, in any
        thread.
        """
        with self._lock:
            self._enqueue(*jobs)
            if attend:
                self._attend()

    def wait(self, job: Job) -> None:
        """Work for the device in this thread until ``job`` is done. Raises what went wrong."""
        with self._lock:
            while not job.done:
                self._pump(self._timeout_s)
        if self._settled or self._watched:
            self._settle()
        if job.error is not None:
            raise job.error

    def help(self, done: Callable[[], bool], deadline: float) -> None:
        """Work for the device in this thread until ``done()``, ``deadline`` on our clock, or nothing is left to do.

        ``done`` is asked without the lock. Whoever leaves frames behind has to `attend` to them.
        """
        while not done():
            left = deadline - self._clock()
            with self._lock:
                if left <= 0 or not (self._running or self._watched):
                    return
                if self._running:
                    self._pump(min(left, self._timeout_s))
            self._settle()

    def attend(self) -> None:
        """Have a thread of the pipeline wait for the device, now and for all jobs to come."""
        with self._lock:
            self._attend()

    def _attend(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=f"openhailo {self._name}", daemon=True)
            self._thread.start()
        elif self._resting:
            self._changed.notify_all()

    def drain(self) -> None:
        """Work for the device in this thread until no job is left, failed ones included.

        Watchers hear of it from another thread: the caller may hold a lock that they need.
        """
        with self._lock:
            while self._running:
                self._pump(self._timeout_s)
            if self._watched:
                self._attend()
        self._settle_futures()

    def submit(self, job: Job) -> Future[Any]:
        """Queue ``job`` and return the future of ``job.finish()``; a thread of the pipeline waits for the device."""
        job.future = Future()
        job.future.set_running_or_notify_cancel()
        with self._lock:
            self._enqueue(job)
            self._attend()
        return job.future

    @property
    def pending(self) -> int:
        """Frames that were handed in and are not delivered yet."""
        with self._lock:
            return sum(job.count - job.taken for job in {*self._waiting, *self._running})

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not (self._running or self._watched or self._stopping):
                    self._resting = True
                    self._changed.wait()
                self._resting = False
                if self._stopping:
                    return
                if self._running:
                    try:
                        self._pump(self._timeout_s)
                    except BaseException as error:
                        self._fail(error)
            self._settle()

    def _enqueue(self, *jobs: Job) -> None:
        if not self._running:
            self._heard = self._clock()
        for job in jobs:
            if self._times is not None:
                job.measure(self._times)
            if job.count:
                self._frames_waiting += job.count
                self._waiting.append(job)
                self._running.append(job)
            elif job.future is not None or job.watcher is not None:
                (self._settled if job.future is not None else self._watched).append(job)
        try:
            self._feed()
        except StateError as error:
            self._fail(self._reason(error))
        except BaseException as error:
            self._fail(error)

    def _reason(self, error: StateError) -> BaseException:
        """Return why a channel does not take frames (any more), when the device can tell."""
        for channel, _, failure in self._link.wait_channels(self.bitmap, 0.0):
            if failure:
                return self._channel_failed(self._streams[channel], failure)
        return error

    # --- with the lock held -----------------------------------------------------------------------------------------

    def _pump(self, limit_s: float) -> None:
        """Wait for the device once and account for what it did, or wait until another thread has done so.

        Returns after ``limit_s`` at the latest.
        """
        if self._pumping:
            self._sleepers += 1
            try:
                self._changed.wait(limit_s)
            finally:
                self._sleepers -= 1
            return
        self._pumping = True
        try:
            events = self._wait_unlocked(limit_s)
            if self._running and events:
                self._work(events)
        except Exception as error:
            self._fail(error)
        finally:
            self._pumping = False
            if self._sleepers:
                self._changed.notify_all()

    def _work(self, events: list[ChannelEvent]) -> None:
        try:
            self._account(events)
            self._deliver()
            self._feed()
        except Exception:
            raise
        except BaseException as error:  # somebody interrupts us half-way: what was counted is not to be trusted
            self._fail(error)
            raise

    def _wait_unlocked(self, limit_s: float) -> list[ChannelEvent]:
        """Wait for events with the lock released. Raises `DeviceTimeout` when frames are in flight and none come."""
        self._lock.release()
        try:
            begin, wait = self._clock(), self._link.wait_channels
            if self._times is not None:
                wait = self._times.timed(Stage.DEVICE, wait)
            due = self._heard + self._timeout_s
            events = wait(self.bitmap, max(min(due - begin, limit_s), 0.0))
            now = self._clock()
            if events or not self._running or self._stopping:
                self._heard, self._early = now, 0
                return events
            if now < begin + limit_s:
                self._early += 1
            if now >= due or self._early > _EARLY_RETURNS:
                what = f"{self._name}: waiting for a frame"
                raise DeviceTimeout(what=what, budget_s=self._timeout_s, elapsed_s=now - self._heard)
            return events
        finally:
            self._lock.acquire()

    def _account(self, events: list[ChannelEvent]) -> None:
        for channel, completed, error in events:
            stream = self._streams[channel]
            stream.complete(completed)
            if self.meter is not None:
                self.meter.on_event(channel, completed)
            if error:
                raise self._channel_failed(stream, error)

    def _channel_failed(self, stream: InputStream | OutputStream, error: ChannelError) -> DeviceError:
        reason = "the engine reports an error" if error is ChannelError.ENGINE else "it is not running any more"
        words = self._describe_failure()
        detail = f" ({words})" if words else ""
        return DeviceError(f"channel {stream.channel} ({stream.name}) failed: {reason}{detail}; activate it again")

    def _feed(self) -> None:
        """Launch frames that wait, several at once: a doorbell costs more than a small frame."""
        if not self._waiting or self._may_wait():
            return
        filled = 0
        while self._waiting:
            job = self._waiting[0]
            count = min(job.count - job.fed, *(stream.room for stream in self._inputs))
            for output in self._paired:
                count = min(count, output.room - filled)
            if count <= 0:
                break
            if job.direct is not None:
                self._push(filled)
                filled = 0
                self._launch_direct(job, job.direct, count)
            else:
                for stream, write, frames in zip(self._inputs, job.writers, job.inputs, strict=True):
                    stream.fill(write, frames, job.fed, count)
                filled += count
            job.fed += count
            self._frames_waiting -= count
            if filled >= self._at_once:
                self._push(filled)
                filled = 0
            if job.fed == job.count:
                self._waiting.popleft()
        self._push(filled)

    def _may_wait(self) -> bool:
        """Whether the device has enough to do, so that frames may be launched later, with more of them."""
        half = self._depth // 2
        return self._frames_waiting < half // 2 and all(stream.in_flight > half for stream in self._inputs)

    def _push(self, count: int) -> None:
        if count:
            for stream in self._inputs:
                stream.push()
            for output in self._paired:
                output.launch(count)

    def _launch_direct(self, job: Job, direct: Direct, count: int) -> None:
        """Launch frames of which some streams take the user's own memory."""
        first = job.fed
        each = zip(self._inputs, job.writers, job.inputs, direct.inputs, strict=True)
        for stream, write, frames, transfers in each:
            if transfers is None:
                stream.fill(write, frames, first, count)
                stream.push()
            else:
                stream.launch_ranges(transfers[first : first + count])
        for output, transfers in zip(self._outputs, direct.outputs, strict=True):
            if transfers is not None:
                output.launch_ranges(transfers[first : first + count])
            elif output.is_paired:
                output.launch(count)

    def _deliver(self) -> None:
        ready = min(stream.ready for stream in self._outputs)
        while ready:
            job = self._running[0]
            count = min(ready, job.count - job.taken)
            if job.direct is not None:
                self._take_direct(job, job.direct, count)
            else:
                for stream, read, out in zip(self._outputs, job.readers, job.outputs, strict=True):
                    stream.pull(read, out, job.taken, count)
            job.taken += count
            ready -= count
            if job.taken == job.count:
                self._running.popleft()
                self._retire(job)

    def _take_direct(self, job: Job, direct: Direct, count: int) -> None:
        each = zip(self._outputs, job.readers, job.outputs, direct.outputs, strict=True)
        for stream, read, out, transfers in each:
            if transfers is None:
                stream.pull(read, out, job.taken, count)
            else:
                stream.skip(count)

    def _retire(self, job: Job) -> None:
        """Note that ``job`` is over, for whoever has to be told."""
        if job.future is not None:
            self._settled.append(job)
        elif job.watcher is not None:
            self._watched.append(job)

    def _fail(self, error: BaseException) -> None:
        self.broken = error
        for job in self._running:
            job.error = error
            self._retire(job)
        self._running.clear()
        self._waiting.clear()
        self._frames_waiting = 0

    # --- with the lock released -------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Tell futures and watchers, outside the lock: a callback may submit again."""
        if self._settled:
            self._settle_futures()
        if self._watched:
            with self._lock:
                watched, self._watched = self._watched, []
            by_watcher: dict[Callable[[list[Job]], None], list[Job]] = {}
            for job in watched:
                assert job.watcher is not None, "only jobs with a watcher are noted"
                by_watcher.setdefault(job.watcher, []).append(job)
            for watcher, jobs in by_watcher.items():
                watcher(jobs)

    def _settle_futures(self) -> None:
        with self._lock:
            settled, self._settled = self._settled, []
        for job in settled:
            assert job.future is not None, "only jobs with a future are settled"
            if job.error is not None:
                job.future.set_exception(job.error)
                continue
            try:
                result = job.finish() if job.finish else None
            except Exception as error:  # what the host computes is not this thread's to fail with
                job.future.set_exception(error)
            else:
                job.future.set_result(result)
