"""Frames that a user handed in: what is queued, what devices work on, and who is told when they are done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from openhailo.runtime.formats import Array
from openhailo.runtime.frame_plan import FramePlan
from openhailo.runtime.network import Network
from openhailo.runtime.pipeline import Pipeline

#: (request, first frame, frames): a part of a request that goes to one device.
Piece = tuple["FrameRequest", int, int]


class FrameRequest:
    """``count`` frames of one model: an array (count, *shape) per input and per output, in edge order.

    ``plans`` make the jobs, one per device. ``on_done`` is called once, in the order in which requests of the model
    came, by a thread that holds no lock of ours; ``error`` is then what went wrong, or None. ``is_awaited`` says that a
    thread will wait for it and work for the device meanwhile; that is then done on ``pipeline``.
    """

    __slots__ = (
        "count", "delivered", "error", "fed", "inputs", "is_awaited", "left", "on_done", "outputs", "pipeline", "plans",
    )  # fmt: skip

    def __init__(
        self,
        plans: Sequence[FramePlan],
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        on_done: Callable[[FrameRequest], None] | None = None,
        *,
        is_awaited: bool = False,
    ) -> None:
        self.plans, self.inputs, self.outputs, self.on_done = plans, inputs, outputs, on_done
        self.count = self.left = len(inputs[0])
        self.fed = 0
        self.error: BaseException | None = None
        self.delivered = False
        self.is_awaited = is_awaited
        self.pipeline: Pipeline | None = None


@dataclass
class ModelCounters:
    """Frames of a model so far: handed in, done well, failed; and how often and how deep the queue was looked at."""

    submitted: int = 0
    completed: int = 0
    failed: int = 0
    depth_samples: int = 0
    depth_sum: int = 0
    depth_least: int = 0
    depth_most: int = 0

    def sample(self, depth: int) -> None:
        """Note the frames that wait when new ones come."""
        self.depth_least = min(self.depth_least, depth) if self.depth_samples else depth
        self.depth_most = max(self.depth_most, depth)
        self.depth_samples += 1
        self.depth_sum += depth


class ScheduledModel:
    """One model on all devices, its queue, and its requests in the order in which they came.

    ``queue_size`` frames may be under way at a time. Everything in here is under the dispatcher's lock.
    """

    def __init__(self, name: str, networks: Sequence[Network], queue_size: int) -> None:
        self.name, self.networks, self.queue_size = name, list(networks), queue_size
        self.index = -1
        self.queue: deque[FrameRequest] = deque()
        #: Pieces that came back from a device that was lost before it began with them.
        self.returned: deque[Piece] = deque()
        self.order: deque[FrameRequest] = deque()
        self.pending = 0
        self.is_delivering = False
        #: Those who want to hand in a frame when there is room, the first first.
        self.hopeful: deque[Future[None]] = deque()
        self.closed = False
        self.counters = ModelCounters()
        self.first_s = self.last_s = 0.0

    def has_room(self, frames: int) -> bool:
        """Whether ``frames`` more frames may be handed in."""
        return self.pending + frames <= self.queue_size

    def room_for_hopeful(self) -> int:
        """Return how many of those who want to hand in a frame may try now: all of them when it is over."""
        return len(self.hopeful) if self.closed else min(len(self.hopeful), self.queue_size - self.pending)

    def take(self, frames: int) -> list[Piece]:
        """Take the oldest ``frames`` frames out of the queue."""
        pieces: list[Piece] = []
        while frames and self.returned:
            request, first, count = self.returned.popleft()
            some = min(frames, count)
            if some < count:
                self.returned.appendleft((request, first + some, count - some))
            pieces.append((request, first, some))
            frames -= some
        while frames:
            request = self.queue[0]
            some = min(frames, request.count - request.fed)
            pieces.append((request, request.fed, some))
            request.fed += some
            frames -= some
            if request.fed == request.count:
                self.queue.popleft()
        return pieces

    def withdraw(self, request: FrameRequest) -> int:
        """Take what is left of ``request`` out of the queue; return its frames."""
        frames = request.count - request.fed
        if frames:
            self.queue.remove(request)
            request.fed = request.count
        kept = [piece for piece in self.returned if piece[0] is not request]
        frames += sum(count for other, _, count in self.returned if other is request)
        self.returned = deque(kept)
        request.left -= frames
        return frames
