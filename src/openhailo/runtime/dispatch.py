"""Carries out what the scheduler decides: frames to devices, switches of models, results in order.

Decisions are made by whoever brings news: a thread that hands in frames, or one that was told by a device. So a frame
for an idle device starts in the caller's own thread. Only timeouts need a thread of the dispatcher's.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

from openhailo.errors import Cancelled, DeviceLost, DeviceTimeout, QueueFull, StateError
from openhailo.runtime.device import Device
from openhailo.runtime.frame_job import Job
from openhailo.runtime.request import FrameRequest, ModelCounters, Piece, ScheduledModel
from openhailo.runtime.scheduler import Dispatch, Scheduler, SchedulerCounters

#: What a job carries so that its end can be booked: (device, model, request, first frame, frames).
_Tag = tuple[int, ScheduledModel, FrameRequest, int, int]
_Work = tuple[Dispatch, ScheduledModel, list[Piece]]
#: A callback of the user's that never returns must not keep a device from closing.
_JOIN_TIMEOUT_S = 10.0


class _Turn(threading.local):
    """What this thread is at.

    ``busy``: it carries out decisions; news that comes up meanwhile is for its next round. ``delivering``: it hands
    over results, and nobody else does meanwhile, so it cannot wait for any.
    """

    busy = False
    delivering = False


class Dispatcher:
    """The queues of all models on ``devices``. Methods may be called from several threads."""

    def __init__(
        self, devices: Sequence[Device], scheduler: Scheduler, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.devices, self.scheduler, self._clock = list(devices), scheduler, clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._models: dict[int, ScheduledModel] = {}
        self._turn = _Turn()
        self._timer: threading.Thread | None = None
        self._callbacks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._caller: threading.Thread | None = None
        self._closed = False
        self.busy_s = [0.0] * len(devices)
        self._busy_since: list[float | None] = [None] * len(devices)
        self.switch_s = 0.0

    # --- models -----------------------------------------------------------------------------------------------------

    def add(self, model: ScheduledModel, index: int) -> None:
        """Begin to schedule ``model``, which the scheduler knows as ``index``."""
        with self._lock:
            model.index = index
            self._models[index] = model

    def remove(self, model: ScheduledModel, timeout_s: float) -> None:
        """Cancel what is queued, wait for what devices work on, and forget ``model``. Idempotent.

        When a device does not finish in ``timeout_s`` its frames are cancelled too.
        """
        self.cancel(model, "it was shut down", close=True)
        self.settle(model, timeout_s)
        with self._lock:
            if self._models.pop(model.index, None) is not None:
                self.scheduler.remove(model.index)

    def cancel(self, model: ScheduledModel, reason: str, *, close: bool = False) -> None:
        """Fail every frame that is queued; frames that a device works on go on."""
        with self._lock:
            model.closed = model.closed or close
            for request in list(dict.fromkeys([*model.queue, *(piece[0] for piece in model.returned)])):
                self._fail_rest(model, request, Cancelled(what=model.name, reason=reason))
        self._deliver(model)

    def settle(self, model: ScheduledModel, timeout_s: float) -> None:
        """Wait until nothing of ``model`` is under way; after ``timeout_s`` the devices that run it are stopped."""
        if self._wait_until(lambda: model.pending == 0, timeout_s):
            return
        for device, network in zip(self.devices, model.networks, strict=True):
            with device.lock:
                if device.active is network:
                    device.deactivate()
        self._wait_until(lambda: model.pending == 0, timeout_s)

    # --- frames -----------------------------------------------------------------------------------------------------

    def submit(self, model: ScheduledModel, requests: Sequence[FrameRequest], *, room: int) -> None:
        """Queue ``requests`` and start what can start. All are taken, or none.

        Raises `QueueFull` when there is no room for ``room`` more frames in the model's queue, `StateError`,
        `DeviceLost`.
        """
        frames = sum(request.count for request in requests)
        with self._lock:
            self._require_room(model, room)
            now = self._clock()
            model.counters.sample(model.pending)
            if not model.counters.submitted:
                model.first_s = now
            model.counters.submitted += frames
            model.pending += frames
            model.order.extend(requests)
            model.queue.extend(request for request in requests if request.count)
            self.scheduler.enqueue(model.index, frames, now)
        self._advance()
        if not frames:
            self._deliver(model)

    def _require_room(self, model: ScheduledModel, room: int) -> None:
        if model.closed or self._closed:
            raise StateError(what=f"running {model.name}", state="shut down", hint="configure it again")
        if room and not model.has_room(room):
            raise QueueFull(name=model.name, depth=model.pending)
        if not self.scheduler.alive:
            raise DeviceLost(name=model.name, detail="every device of it is gone")

    def wait(self, request: FrameRequest, timeout_s: float) -> bool:
        """Wait until ``request`` is delivered, working for its device meanwhile; False after ``timeout_s``.

        Raises `StateError` in a callback of a future.
        """
        self.require_patience()
        deadline = self._clock() + timeout_s
        pipeline = request.pipeline
        try:
            if pipeline is not None:
                pipeline.help(lambda: request.delivered, deadline)
            if request.delivered:
                return True
        except BaseException:
            self._leave(request)
            raise
        self._leave(request)
        return self._wait_until(lambda: request.delivered, deadline - self._clock())

    def _leave(self, request: FrameRequest) -> None:
        """Nobody waits for ``request`` on its pipeline any more, so a thread of the pipeline's has to."""
        with self._lock:
            request.is_awaited = False
            pipeline = request.pipeline
        if pipeline is not None:
            pipeline.attend()

    def wait_for_room(self, model: ScheduledModel, frames: int, timeout_s: float) -> bool:
        """Wait until ``frames`` more frames may be handed in; False after ``timeout_s``, or when they never may."""
        if frames > model.queue_size:
            return False
        if not model.has_room(frames):
            self.require_patience()
        return self._wait_until(lambda: model.closed or model.has_room(frames), timeout_s)

    def room(self, model: ScheduledModel) -> Future[None]:
        """Return a future that is done when one more frame may be tried to hand in, or when it never may."""
        future: Future[None] = Future()
        with self._lock:
            if not (model.closed or model.has_room(1)):
                model.hopeful.append(future)
                return future
        future.set_result(None)
        return future

    def encourage(self, model: ScheduledModel) -> None:
        """Tell those who wait for `room`, as many as there is room for."""
        with self._lock:
            count = model.room_for_hopeful()
        while count > 0:
            with self._lock:
                future = model.hopeful.popleft() if model.hopeful else None
            if future is None:
                return
            if future.set_running_or_notify_cancel():
                future.set_result(None)
                count -= 1

    def _wait_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            self._waiting += 1
            try:
                # The deadline of a person, or of a test that gave up: real time, whatever the device's clock says.
                return self._changed.wait_for(done, max(timeout_s, 0.0))
            finally:
                self._waiting -= 1

    def post(self, callback: Callable[[], None]) -> None:
        """Have the callback thread call ``callback``, after those that were posted before."""
        with self._lock:
            if self._caller is None:
                self._caller = threading.Thread(target=self._call_back, name="openhailo callbacks", daemon=True)
                self._caller.start()
        self._callbacks.put(callback)

    def _call_back(self) -> None:
        while (callback := self._callbacks.get()) is not None:
            callback()

    @property
    def in_callback(self) -> bool:
        """Whether this thread runs a callback of a job, or of a future."""
        return self._turn.delivering or threading.current_thread() is self._caller

    def require_patience(self) -> None:
        """Raise `StateError` where waiting would last for ever."""
        if self._turn.delivering:
            raise StateError(
                what="waiting for frames",
                state="in a callback of a future",
                hint="use the callback of `run_async`, or hand the work to another thread",
            )

    # --- devices ----------------------------------------------------------------------------------------------------

    @contextmanager
    def quiet(self, timeout_s: float) -> Iterator[None]:
        """Let every device finish what it does and send nothing more until the context ends.

        Raises `DeviceTimeout` when frames are still in flight after ``timeout_s``.
        """
        indices = range(len(self.devices))
        with self._lock:
            for index in indices:
                self.scheduler.pause(index)
        try:
            if not self._wait_until(lambda: not any(map(self.scheduler.is_busy, indices)), timeout_s):
                raise DeviceTimeout(what="waiting for frames in flight", budget_s=timeout_s, elapsed_s=timeout_s)
            yield
        finally:
            with self._lock:
                for index in indices:
                    self.scheduler.resume(index, current=self._current(index))
            self._advance()

    def _current(self, index: int) -> int | None:
        """Return the model whose network a device runs."""
        active = self.devices[index].active
        return next((m.index for m in self._models.values() if m.networks[index] is active), None)

    def figures(self, model: ScheduledModel, *, reset: bool) -> tuple[ModelCounters, SchedulerCounters, int, float]:
        """Return copies of the counters of ``model``, the frames that wait, and the seconds from first to last."""
        with self._lock:
            known = model.index in self._models
            turns = self.scheduler.counters(model.index) if known else SchedulerCounters()
            found = replace(model.counters), replace(turns), self.scheduler.queued(model.index) if known else 0
            window_s = max(model.last_s - model.first_s, 0.0)
            if reset:
                model.counters = ModelCounters()
                if known:
                    self.scheduler.reset_counters(model.index)
            return (*found, window_s)

    def utilization(self) -> list[float]:
        """Return the seconds that each device had frames in flight so far."""
        with self._lock:
            now = self._clock()
            since = self._busy_since
            return [
                busy + (now - begin if begin is not None else 0.0)
                for busy, begin in zip(self.busy_s, since, strict=True)
            ]

    def close(self) -> None:
        """End the threads; every model was removed. Idempotent."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            caller, self._caller = self._caller, None
            timer, self._timer = self._timer, None
        self._callbacks.put(None)
        for thread in (caller, timer):
            if thread is not None and thread is not threading.current_thread():
                thread.join(_JOIN_TIMEOUT_S)

    # --- decisions --------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Decide and carry out until there is nothing to do. A thread that is at it already goes round once more."""
        turn = self._turn
        if turn.busy:
            return
        turn.busy = True
        try:
            while True:
                with self._lock:
                    work = self._decide()
                if not work:
                    return
                for item in work:
                    self._execute(*item)
        finally:
            turn.busy = False

    def _decide(self) -> list[_Work]:
        now = self._clock()
        work: list[_Work] = []
        for dispatch in self.scheduler.decide(now):
            model = self._models[dispatch.model]
            work.append((dispatch, model, model.take(dispatch.frames)))
            if self._busy_since[dispatch.device] is None:
                self._busy_since[dispatch.device] = now
        if self.scheduler.waits_for_time and self._timer is None and not self._closed:
            self._timer = threading.Thread(target=self._run_timer, name="openhailo scheduler", daemon=True)
            self._timer.start()
        elif self._timer is not None:
            self._changed.notify_all()
        return work

    def _run_timer(self) -> None:
        """Decide again when the timeout of a model elapses."""
        while not self._closed:
            self._advance()
            with self._lock:
                now = self._clock()
                due = self.scheduler.next_deadline(now)
                if not self._closed and (due is None or due > now):
                    self._changed.wait(None if due is None else due - now)

    def _execute(self, dispatch: Dispatch, model: ScheduledModel, pieces: list[Piece]) -> None:
        """Send ``pieces`` to a device, switching to the model first if it runs another one."""
        device, network = self.devices[dispatch.device], model.networks[dispatch.device]
        begin = self._clock()
        jobs: list[Job] = []
        error: BaseException | None = None
        try:
            jobs = [self._job(dispatch.device, model, piece) for piece in pieces]
            missing = network.missing_frames(dispatch.frames)
            if missing:
                jobs.append(pieces[0][0].plans[dispatch.device].filler(missing))
            with device.lock:
                device.activate(network, frames=dispatch.frames)
                pipeline = network.pipeline
                is_awaited = self._note_pipeline(pieces, pipeline)
                switch_s = self._clock() - begin
                pipeline.enqueue(*jobs, attend=not is_awaited)
        except BaseException as failure:
            error = failure
        if dispatch.is_switch:
            with self._lock:
                self.scheduler.switched(dispatch.device, ok=error is None)
                if error is None:
                    self.switch_s += switch_s
        if error is not None:
            self._not_started(dispatch.device, model, pieces, jobs, error)
            if not isinstance(error, Exception):
                raise error

    def _note_pipeline(self, pieces: list[Piece], pipeline: object) -> bool:
        """Tell a waiting thread where its frames are; False when a thread of the pipeline's has to see to them."""
        with self._lock:
            is_awaited = len(pieces) == 1 and pieces[0][0].is_awaited and pieces[0][2] == pieces[0][0].count
            for request, _, _ in pieces:
                request.pipeline = pipeline  # type: ignore[assignment]
            return is_awaited

    def _job(self, device: int, model: ScheduledModel, piece: Piece) -> Job:
        request, first, count = piece
        inputs, outputs = request.inputs, request.outputs
        if count != request.count:
            inputs = [array[first : first + count] for array in inputs]
            outputs = [array[first : first + count] for array in outputs]
        job = request.plans[device].job(inputs, outputs)
        job.tag = (device, model, *piece)
        job.watcher = self._on_jobs
        return job

    # --- results ----------------------------------------------------------------------------------------------------

    def _on_jobs(self, jobs: list[Job]) -> None:
        """A device is done with jobs, well or not."""
        errors = [_finished(job) for job in jobs]
        with self._lock:
            affected = {id(job.tag[1]): job.tag[1] for job in jobs}
            for job, error in zip(jobs, errors, strict=True):
                device, model, *piece = job.tag
                self._book(device, model, (piece[0], piece[1], piece[2]), error, started=job.fed > 0)
                if isinstance(error, DeviceLost):
                    affected = {id(each): each for each in self._models.values()}
        for each in affected.values():
            self._deliver(each)
        self._advance()

    def _not_started(
        self, device: int, model: ScheduledModel, pieces: list[Piece], jobs: list[Job], error: BaseException
    ) -> None:
        """A device could not be given its frames."""
        for job in jobs:
            if job.release is not None:
                job.release()
        with self._lock:
            for piece in pieces:
                self._book(device, model, piece, error, started=False)
            affected = list(self._models.values())
        for each in affected:
            self._deliver(each)

    def _book(
        self, device: int, model: ScheduledModel, piece: Piece, error: BaseException | None, *, started: bool
    ) -> None:
        request, _, count = piece
        self.scheduler.complete(device, count)
        now = self._clock()
        if not self.scheduler.in_flight(device):
            self._rested(device, now)
        if isinstance(error, DeviceLost):
            self._lose(device, error)
        if error is None:
            request.left -= count
            model.counters.completed += count
            model.last_s = now
        elif isinstance(error, DeviceLost) and not started and self.scheduler.alive and request.error is None:
            # The device vanished before it began with them, so another one may have them.
            model.returned.append(piece)
            self.scheduler.enqueue(model.index, count, now)
        else:
            request.left -= count
            model.counters.failed += count
            self._fail_rest(model, request, error)

    def _rested(self, device: int, now: float) -> None:
        since, self._busy_since[device] = self._busy_since[device], None
        self.busy_s[device] += now - since if since is not None else 0.0
        if self._waiting:
            self._changed.notify_all()

    def _lose(self, device: int, error: DeviceLost) -> None:
        """Send nothing to a device that is gone; without another one everything that is queued fails."""
        self.scheduler.lose(device)
        if self.scheduler.alive:
            return
        for model in self._models.values():
            for request in [*model.queue, *(piece[0] for piece in model.returned)]:
                self._fail_rest(model, request, error)

    def _fail_rest(self, model: ScheduledModel, request: FrameRequest, error: BaseException) -> None:
        request.error = request.error or error
        frames = model.withdraw(request)
        model.counters.failed += frames
        self.scheduler.withdraw(model.index, frames)

    def _deliver(self, model: ScheduledModel) -> None:
        """Hand over requests that are done, oldest first; one thread at a time does it for a model."""
        with self._lock:
            if model.is_delivering:
                return
            model.is_delivering = True
        order = model.order
        while True:
            with self._lock:
                if self._waiting:
                    self._changed.notify_all()
                done: list[FrameRequest] = []
                while order and not order[0].left:
                    done.append(order.popleft())
                    model.pending -= done[-1].count
                if not done:
                    model.is_delivering = False
            if model.hopeful:
                self.encourage(model)
            if not done:
                return
            self._turn.delivering = True
            try:
                for request in done:
                    if request.on_done is not None:
                        request.on_done(request)
                    request.delivered = True
            finally:
                self._turn.delivering = False


def _finished(job: Job) -> BaseException | None:
    """Do what is left to do for a job on the host; return what went wrong."""
    if job.release is not None:
        job.release()
    if job.error is None and job.finish is not None:
        try:
            job.finish()
        except Exception as error:
            return error
    return job.error
