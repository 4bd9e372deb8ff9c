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
from openhailo.errors import Cancelled, DeviceError, DeviceTimeout
from openhailo.runtime.formats import Array
from openhailo.runtime.stages import Stage, StageTimes
from openhailo.runtime.streams import InputStream, OutputStream
from openhailo.runtime.transforms import FramesCopy

#: A wait may end early because somebody else was woken; so often in a row means that the link's clock is not ours.
_EARLY_RETURNS = 8


class Job:
    """``count`` frames: arrays (count, ...) per input and per output, in stream order.

    ``fed`` frames were launched, ``taken`` were delivered. ``future`` gets ``result()`` if it is set.
    """

    __slots__ = ("count", "error", "fed", "finish", "future", "inputs", "outputs", "readers", "taken", "writers")

    def __init__(
        self,
        count: int,
        inputs: Sequence[Array],
        writers: Sequence[FramesCopy],
        outputs: Sequence[Array],
        readers: Sequence[FramesCopy],
        finish: Callable[[], Any] | None = None,
    ) -> None:
        self.count, self.inputs, self.writers, self.outputs, self.readers = count, inputs, writers, outputs, readers
        self.fed = self.taken = 0
        self.error: BaseException | None = None
        self.finish = finish
        self.future: Future[Any] | None = None

    def measure(self, times: StageTimes) -> None:
        """Add the time of the transformations to ``times``."""
        self.writers = [times.timed(Stage.INPUT, write) for write in self.writers]
        self.readers = [times.timed(Stage.OUTPUT, read) for read in self.readers]

    @property
    def done(self) -> bool:
        """Whether every frame was delivered, or the job failed."""
        return self.taken == self.count or self.error is not None


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
    ) -> None:
        self._link, self._name, self._timeout_s = link, name, timeout_s
        self._times: StageTimes | None = None
        self._describe_failure = describe_failure
        self._inputs, self._outputs = list(inputs), list(outputs)
        self._paired = [output for output in outputs if output.is_paired]
        self._streams: dict[int, InputStream | OutputStream] = {s.channel: s for s in inputs}
        self._streams.update({s.channel: s for s in outputs})
        self.bitmap = sum(1 << channel for channel in self._streams)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[Job] = deque()
        self._running: deque[Job] = deque()
        self._pumping = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._settled: list[Job] = []
        #: Why frames in flight were lost; None while everything is in order.
        self.broken: BaseException | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Give every output slot to the device; channels were just enabled and stand at descriptor 0."""
        with self._lock:
            self.broken = None
            for stream in self._streams.values():
                stream.rewind()
            for output in self._outputs:
                output.start()

    def stop(self, error: BaseException | None = None) -> None:
        """Give up every job; channels were just disabled. `submit` and `run` fail until the next `start`."""
        with self._lock:
            self._fail(error or Cancelled(what=self._name, reason="the network was deactivated"))
            self._changed.notify_all()
        self._settle()

    def close(self) -> None:
        """Stop the waiter thread. Idempotent."""
        with self._lock:
            self._stopping = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        self._link.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._timeout_s)

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

    def enqueue(self, job: Job) -> None:
        """Queue ``job`` and launch what there is room for; `wait` has to follow, in any thread."""
        with self._lock:
            self._enqueue(job)

    def wait(self, job: Job) -> None:
        """Work for the device in this thread until ``job`` is done. Raises what went wrong."""
        with self._lock:
            while not job.done:
                self._pump()
        if self._settled:
            self._settle()
        if job.error is not None:
            raise job.error

    def drain(self) -> None:
        """Work for the device in this thread until no job is left, failed ones included."""
        with self._lock:
            while self._running:
                self._pump()
        self._settle()

    def submit(self, job: Job) -> Future[Any]:
        """Queue ``job`` and return the future of ``job.finish()``; a thread of the pipeline waits for the device."""
        job.future = Future()
        job.future.set_running_or_notify_cancel()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=f"openhailo {self._name}", daemon=True)
                self._thread.start()
            self._enqueue(job)
            self._changed.notify_all()
        return job.future

    @property
    def pending(self) -> int:
        """Frames that were handed in and are not delivered yet."""
        with self._lock:
            return sum(job.count - job.taken for job in {*self._waiting, *self._running})

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not self._running and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                try:
                    self._pump()
                except BaseException as error:
                    self._fail(error)
            self._settle()

    def _enqueue(self, job: Job) -> None:
        if job.count == 0:
            return
        if self._times is not None:
            job.measure(self._times)
        self._waiting.append(job)
        self._running.append(job)
        try:
            self._feed()
        except BaseException as error:
            self._fail(error)

    # --- with the lock held -----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Wait for the device once and account for what it did, or wait until another thread has done so."""
        if self._pumping:
            self._changed.wait(self._timeout_s)
            return
        self._pumping = True
        try:
            events = self._wait_unlocked()
            if self._running:
                self._account(events)
                self._deliver()
                self._feed()
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._pumping = False
            self._changed.notify_all()

    def _wait_unlocked(self) -> list[ChannelEvent]:
        """Wait for events with the lock released. Raises `DeviceTimeout` when frames are in flight and none come."""
        self._lock.release()
        try:
            begin = time.monotonic()
            times, wait = self._times, self._link.wait_channels
            if times is not None:
                wait = times.timed(Stage.DEVICE, wait)
            for _ in range(_EARLY_RETURNS):
                left = self._timeout_s - (time.monotonic() - begin)
                events = wait(self.bitmap, max(left, 0.0))
                if events or not self._running or self._stopping:
                    return events
                if left <= 0:
                    break
            elapsed = time.monotonic() - begin
            raise DeviceTimeout(what=f"{self._name}: waiting for a frame", budget_s=self._timeout_s, elapsed_s=elapsed)
        finally:
            self._lock.acquire()

    def _account(self, events: list[ChannelEvent]) -> None:
        for channel, completed, error in events:
            stream = self._streams[channel]
            stream.complete(completed)
            if error:
                raise self._channel_failed(stream, error)

    def _channel_failed(self, stream: InputStream | OutputStream, error: ChannelError) -> DeviceError:
        reason = "the engine reports an error" if error is ChannelError.ENGINE else "it is not running any more"
        words = self._describe_failure()
        detail = f" ({words})" if words else ""
        return DeviceError(f"channel {stream.channel} ({stream.name}) failed: {reason}{detail}; activate it again")

    def _feed(self) -> None:
        while self._waiting:
            job = self._waiting[0]
            count = min(job.count - job.fed, *(stream.room for stream in self._inputs))
            for output in self._paired:
                count = min(count, output.room)
            if count <= 0:
                return
            for stream, write, frames in zip(self._inputs, job.writers, job.inputs, strict=True):
                stream.push(write, frames, job.fed, count)
            for output in self._paired:
                output.launch(count)
            job.fed += count
            if job.fed == job.count:
                self._waiting.popleft()

    def _deliver(self) -> None:
        ready = min(stream.ready for stream in self._outputs)
        while ready:
            job = self._running[0]
            count = min(ready, job.count - job.taken)
            for stream, read, out in zip(self._outputs, job.readers, job.outputs, strict=True):
                stream.pull(read, out, job.taken, count)
            job.taken += count
            ready -= count
            if job.taken == job.count:
                self._running.popleft()
                if job.future is not None:
                    self._settled.append(job)

    def _fail(self, error: BaseException) -> None:
        self.broken = error
        for job in self._running:
            job.error = error
            if job.future is not None:
                self._settled.append(job)
        self._running.clear()
        self._waiting.clear()

    # --- with the lock released -------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Tell the futures, outside the lock: a callback may submit again."""
        with self._lock:
            settled, self._settled = self._settled, []
        for job in settled:
            assert job.future is not None, "only jobs with a future are settled"
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.finish() if job.finish else None)
