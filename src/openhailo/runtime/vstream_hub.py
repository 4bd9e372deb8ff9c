"""Where frames of a network group's virtual streams meet: whole frames are made of what the inputs were sent.

There are no threads in here: whoever sends or receives brings frames on their way, devices' threads bring results.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping

import numpy as np

from openhailo.errors import OpenHailoError, StateError
from openhailo.runtime.formats import Array, UserFormat
from openhailo.runtime.frame_plan import Edge, FramePlan
from openhailo.runtime.network_group import NetworkGroup
from openhailo.runtime.request import FrameRequest


class _Queue:
    """Frames of one opened stream; an output's may be errors."""

    __slots__ = ("form", "frames", "is_output", "size")

    def __init__(self, form: UserFormat, size: int, *, is_output: bool) -> None:
        self.form, self.size, self.is_output = form, size, is_output
        self.frames: deque[Array | BaseException] = deque()


class VStreamHub:
    """The queues of a group's opened virtual streams. For several threads.

    Frames are launched when every input has one and an output is open. Outputs that are not open lose their frames.
    """

    def __init__(self, group: NetworkGroup) -> None:
        """Use `hub_of`."""
        self._group = group
        self._changed = threading.Condition()
        self._queues: dict[str, _Queue] = {}
        self._input_names = [info.name for info in group.inputs]
        self._output_names = [info.name for info in group.outputs]
        self._plans: list[FramePlan] | None = None
        self._in_flight = 0
        self._is_launching = False
        group.on_state.append(self._wake)

    def open(self, forms: Mapping[str, UserFormat], sizes: Mapping[str, int], *, is_output: bool) -> list[Edge]:
        """Open streams and return their edges. Raises `InputError`, `StateError`."""
        with self._changed:
            taken = sorted(forms.keys() & self._queues.keys())
            if taken:
                what = f"opening {', '.join(taken)}"
                raise StateError(what=what, state="they are open already", hint="close the other streams first")
            known = {name: queue.form for name, queue in self._queues.items()}
            plan = self._group.plans({**known, **forms})[0]
            for name, form in forms.items():
                self._queues[name] = _Queue(form, sizes[name], is_output=is_output)
            self._plans = None
            edges = {edge.name: edge for edge in (plan.outputs if is_output else plan.inputs)}
        self._launch()
        return [edge for name, edge in edges.items() if name in forms]

    def close(self, names: Iterable[str]) -> None:
        """Close streams; their frames are dropped and calls that wait for them end."""
        with self._changed:
            for name in names:
                self._queues.pop(name, None)
            self._plans = None
            self._changed.notify_all()

    def pending(self, name: str) -> int:
        """Return the frames that wait in a queue."""
        with self._changed:
            queue = self._queues.get(name)
            return len(queue.frames) if queue is not None else 0

    def send(self, name: str, frame: Array, timeout_s: float) -> bool:
        """Queue a copy of ``frame``; False when there is no room in time. Raises `StateError`."""
        copied = frame.copy()
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(name), timeout_s):
                return False
            self._queues[name].frames.append(copied)
        self._launch()
        return True

    def recv(self, name: str, timeout_s: float) -> Array | BaseException | None:
        """Return the next frame (1, *shape) or its error; None when there is none in time. Raises `StateError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_frame(name), timeout_s):
                return None
            found = self._queues[name].frames.popleft()
        self._launch()
        return found

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything that was sent is done; False after ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._in_flight and not self._any_input(), timeout_s)

    def clear(self, timeout_s: float) -> None:
        """Drop what waits, wait for what is in flight, drop its results."""
        with self._changed:
            for queue in self._queues.values():
                queue.frames.clear()
            self._changed.wait_for(lambda: not self._in_flight, timeout_s)
            for queue in self._queues.values():
                queue.frames.clear()
            self._changed.notify_all()

    def _wake(self) -> None:
        """The group was activated, deactivated or shut down."""
        with self._changed:
            self._changed.notify_all()
        self._launch()

    # --- with the lock held -----------------------------------------------------------------------------------------

    def _has_room(self, name: str) -> bool:
        queue = self._require(name)
        self._require_active(name)
        return len(queue.frames) < queue.size

    def _has_frame(self, name: str) -> bool:
        queue = self._require(name)
        if not queue.frames:
            self._require_active(name)
        return bool(queue.frames)

    def _require(self, name: str) -> _Queue:
        queue = self._queues.get(name)
        if queue is None:
            raise StateError(what=f"using {name}", state="closed", hint="open the virtual streams again")
        return queue

    def _require_active(self, name: str) -> None:
        if not self._group.is_active:
            hint = "activate the network group, or open the virtual device with a scheduler"
            raise StateError(what=f"using {name}", state="its network group is not active", hint=hint)

    def _any_input(self) -> bool:
        return any(queue.frames for queue in self._queues.values() if not queue.is_output)

    def _next(self) -> FrameRequest | None:
        """Make a request of one frame from each input, if there are such frames and room for the results."""
        queues = self._queues
        ins = [queues.get(name) for name in self._input_names]
        outs = [queue for queue in queues.values() if queue.is_output]
        if not outs or any(queue is None or not queue.frames for queue in ins) or not self._group.is_active:
            return None
        waiting = max(len(queue.frames) for queue in outs)
        if self._in_flight + waiting >= self._group.queue_size + min(queue.size for queue in outs):
            return None
        plans = self._plans
        if plans is None:
            plans = self._plans = self._group.plans({name: queue.form for name, queue in queues.items()})
        arrays = [np.asarray(queue.frames.popleft())[None] for queue in ins if queue is not None]
        results = [edge.empty(1) for edge in plans[0].outputs]
        self._in_flight += 1
        self._changed.notify_all()
        return FrameRequest(plans, arrays, results, self._on_done)

    # --- with the lock released -------------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Launch what can be; one thread at a time, so that frames stay in order."""
        with self._changed:
            if self._is_launching:
                return
            self._is_launching = True
        while True:
            with self._changed:
                try:
                    request = self._next()
                except BaseException:
                    self._is_launching = False
                    raise
                if request is None:
                    self._is_launching = False
                    return
            try:
                self._group.submit([request], room=0)
            except OpenHailoError as error:
                request.error = error
                self._on_done(request)

    def _on_done(self, request: FrameRequest) -> None:
        with self._changed:
            self._in_flight -= 1
            for name, result in zip(self._output_names, request.outputs, strict=True):
                queue = self._queues.get(name)
                if queue is not None:
                    queue.frames.append(result if request.error is None else request.error)
            self._changed.notify_all()


_MAKING = threading.Lock()


def hub_of(group: NetworkGroup) -> VStreamHub:
    """Return where the virtual streams of ``group`` meet; the same one each time."""
    with _MAKING:
        if group.hub is None:
            group.hub = VStreamHub(group)
        return group.hub
