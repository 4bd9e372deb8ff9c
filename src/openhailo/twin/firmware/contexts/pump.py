"""The dataflow pump: input channels -> kernel -> output channels, as many frames at a time as are ready.

This is the hot path of the twin: everything that can be prepared when a context opens is (frame views, lanes), so that
a frame costs a pull, a share of one `compute`, and a push.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from openhailo.errors import BadProgram
from openhailo.twin.board import Board, ChannelFault
from openhailo.twin.core import ChainKernel, Kernel
from openhailo.twin.firmware.refusal import Refused

#: Statuses of event 12 for what goes wrong while frames flow.
UNMAPPED = "CONTEXT_SWITCH_TASK_STATUS_UNDEFINED_MAPPING_FOR_SHIMFO"
WRONG_SIZE = "CONTEXT_SWITCH_STATUS_INVALID_BYTES_PER_BUFFER_VALUE"
# GUESS: which status silicon reports when a kernel never finishes or the core was configured with nonsense.
NEVER_DONE = "CONTEXT_SWITCH_STATUS_TIMEOUT_LCU"
BAD_CONFIG = "CONTEXT_SWITCH_STATUS_TIMEOUT_CONFIG_DONE"
BUFFER_TOO_SMALL = "DDR_BUFFER_STATUS_OVERFLOW_IN_DESCRIPTORS_PER_BATCH"
CHANNEL_FAILED = "VDMA_SERVICE_STATUS_DESCRIPTOR_COUNT_INDICATE_NOT_ALL_DATA_WAS_TRANSFERRED"


@dataclass(frozen=True, slots=True)
class Port:
    """A stream of the running context and the channel it is bound to; ``frame_bytes`` is one frame on the wire."""

    is_input: bool
    stream_index: int
    channel: int
    network: int
    frame_bytes: int
    page_size: int
    is_boundary: bool


@dataclass(frozen=True, slots=True)
class DdrPort:
    """One half of a buffer in host memory: the stream of the core, its channel, the other half's, and what fits."""

    stream_index: int
    channel: int
    peer: int
    room_bytes: int


class _Buffer:
    """A buffer between two stages of a kernel: rows of frames out of one, into a later one."""

    __slots__ = ("reader", "source", "stage", "target", "writer")

    def __init__(self, stage: int, writer: int, reader: int, source: memoryview, target: memoryview, size: int) -> None:
        self.stage, self.writer, self.reader = stage, writer, reader
        self.source = np.frombuffer(source, np.uint8).reshape(-1, size)
        self.target = np.frombuffer(target, np.uint8).reshape(-1, size)


class _Lane:
    """One port at work: the kernel's frames, and how far this batch has come.

    ``table`` is the memory of a kernel that keeps it, one row per frame; ``frames`` the outputs of one that does not.
    """

    __slots__ = ("channel", "delivered", "filled", "frames", "index", "next", "size", "spent", "table")

    def __init__(self, port: Port, index: int, view: memoryview) -> None:
        self.channel, self.size, self.index = port.channel, port.frame_bytes, index
        self.table = np.frombuffer(view, np.uint8).reshape(-1, port.frame_bytes)
        self.frames: list[memoryview] = []
        self.filled = self.spent = 0
        self.next = 0
        self.delivered = 0

    def reclaim(self) -> None:
        """Move frames that came in ahead of another input's to the front."""
        if self.spent:
            self.filled -= self.spent
            if self.filled:
                self.table[: self.filled] = self.table[self.spent : self.spent + self.filled]
            self.spent = 0


def slices(view: memoryview, size: int) -> list[memoryview]:
    """Cut ``view`` into pieces of ``size`` bytes."""
    return [view[at : at + size] for at in range(0, len(view), size)]


class Flow:
    """Frames of one context: ports, the kernel once it is loaded, and counters since the context opened.

    ``load`` makes the kernel (slow, outside the lock); None: the network is opaque and has no reference. ``allowance``
    is how many frames the credits permit, None without end.
    """

    def __init__(
        self,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        load: Callable[[], Kernel] | None,
        image: bytes | None,
        ddr: Sequence[DdrPort] = (),
    ) -> None:
        self.inputs, self.outputs, self.load, self.image = tuple(inputs), tuple(outputs), load, image
        self.ddr = {port.stream_index: port for port in ddr}
        self.buffers: list[_Buffer] = []
        self.allowance: int | None = 0
        self.kernel: Kernel | None = None
        self.taken = 0
        self.computed = 0
        self.ready = 0
        self.lanes_in: list[_Lane] = []
        self.lanes_out: list[_Lane] = []
        self.input_channels = frozenset(port.channel for port in inputs)

    def bind(self, kernel: Kernel) -> None:
        """Connect the kernel's streams to the ports. Raises `Refused`: a stream without a port, or another size."""
        between = self.ddr if isinstance(kernel, ChainKernel) else {}
        self.lanes_in = [
            _Lane(_find(self.inputs, p.stream_index, p.frame_bytes), i, kernel.input_view(i, kernel.max_batch))
            for i, p in enumerate(kernel.inputs)
            if p.stream_index not in between
        ]
        self.lanes_out = [
            _Lane(_find(self.outputs, p.stream_index, p.frame_bytes), i, kernel.output_view(i, kernel.max_batch))
            for i, p in enumerate(kernel.outputs)
            if p.stream_index not in between
        ]
        if isinstance(kernel, ChainKernel):
            self.buffers = list(self._between(kernel))
        if len(self.lanes_in) != len(self.inputs) or len(self.lanes_out) != len(self.outputs):
            raise Refused(UNMAPPED)
        self.kernel = kernel

    def _between(self, kernel: ChainKernel) -> Iterator[_Buffer]:
        """Yield the buffers between stages. Raises `Refused`: a half without the other, or one that comes too late."""
        readers = {
            self.ddr[p.stream_index].channel: i for i, p in enumerate(kernel.inputs) if p.stream_index in self.ddr
        }
        for out, port in enumerate(kernel.outputs):
            writer = self.ddr.get(port.stream_index)
            if writer is None:
                continue
            entry = readers.pop(writer.peer, None)
            if entry is None or kernel.input_places[entry].stage <= kernel.output_places[out].stage:
                raise Refused(UNMAPPED)
            if kernel.inputs[entry].frame_bytes != port.frame_bytes:
                raise Refused(WRONG_SIZE)
            if port.frame_bytes > writer.room_bytes:
                # Silicon passes rows on as they come; here a stage ends before the next begins.
                raise Refused(BUFFER_TOO_SMALL)
            views = kernel.output_view(out, kernel.max_batch), kernel.input_view(entry, kernel.max_batch)
            yield _Buffer(kernel.output_places[out].stage, writer.channel, writer.peer, *views, port.frame_bytes)
        if readers:
            raise Refused(UNMAPPED)

    def delivered(self, channel: int) -> int:
        """Return how many frames went out on ``channel`` since the context opened."""
        return next((lane.delivered for lane in self.lanes_out if lane.channel == channel), 0)

    def all_delivered(self) -> int:
        """Return how many frames went out on every output."""
        return min((lane.delivered for lane in self.lanes_out), default=0)


def _find(ports: Sequence[Port], stream_index: int, frame_bytes: int) -> Port:
    for port in ports:
        if port.stream_index == stream_index:
            if frame_bytes not in (0, port.frame_bytes):
                raise Refused(WRONG_SIZE)
            return port
    raise Refused(UNMAPPED)


class Pump:
    """Moves frames through the open `Flow`; one compute at a time, in frame order.

    Args:
        progressed: called when frames were computed or delivered.
        failed: called with a status name and a text when the flow cannot go on.
    """

    def __init__(self, board: Board, progressed: Callable[[], None], failed: Callable[[str, str], None]) -> None:
        self._board, self._progressed, self._failed = board, progressed, failed
        self._vdma_pull, self._vdma_push = board.vdma.pull_frames, board.vdma.push
        self._vdma_push_frames = board.vdma.push_frames
        self.flow: Flow | None = None
        #: How long the core takes for a frame at least; 0: as long as this machine computes.
        self._frame_ns: int = board.config.options.get("frame_ns", 0)
        self._busy = False
        self._job: tuple[Flow, Kernel, int] | None = None
        self._stage = 0
        self._pulled_ns = 0
        self.latency_ns = 0
        self.frames_computed = 0

    def open(self, flow: Flow) -> None:
        """Let ``flow`` be what runs; a computation of the one before is dropped when it ends."""
        self.flow = flow

    def close(self) -> None:
        """Stop moving frames."""
        self.flow = None

    def on_work(self, channel: int) -> None:
        """A boundary channel has new descriptors."""
        flow = self.flow
        if flow is None:
            return
        if flow.load is None:
            if channel in flow.input_channels and flow.allowance != 0:
                self._failed(NEVER_DONE, "compiled for silicon and no reference is bound: the frame is not consumed")
            return
        self.advance()
        if flow.allowance is not None:
            self._progressed()

    def advance(self) -> None:
        """Deliver what is computed, then take and compute what is there."""
        flow = self.flow
        if flow is None or self._busy or flow.allowance == 0 or flow.load is None:
            return
        if flow.kernel is None:
            self._start(self._load, self._loaded)
            return
        try:
            if flow.ready and not self._deliver(flow):
                return
            frames = self._gather(flow, flow.kernel.max_batch)
        except ChannelFault as fault:
            self._failed(CHANNEL_FAILED, str(fault))
            return
        if frames:
            self._pulled_ns = self._board.clock.now_ns()
            self._job = (flow, flow.kernel, frames)
            self._start(self._compute, self._pace if self._frame_ns else self._computed)

    def _start(self, work: Callable[[], object], then: Callable[[object], None]) -> None:
        self._busy = True
        self._board.offload(work, then)

    def _load(self) -> object:
        """Without the lock: make the kernel; the result names its flow, which may be gone by then."""
        flow = self.flow
        if flow is None or flow.load is None:
            return None
        try:
            return flow, flow.load()
        except BadProgram as error:
            return flow, error

    def _loaded(self, result: object) -> None:
        self._busy = False
        if isinstance(result, tuple) and result[0] is self.flow:
            flow, kernel = result
            if isinstance(kernel, BadProgram):
                self._failed(BAD_CONFIG, str(kernel))
                return
            try:
                flow.bind(kernel)
            except Refused as refusal:
                self._failed(refusal.major, "the program's streams are not those of the context")
                return
        self.advance()

    def _gather(self, flow: Flow, limit: int) -> int:
        """Pull what is there, up to ``limit`` frames a lane; return how many frames every lane has."""
        if flow.allowance is not None:
            limit = min(limit, flow.allowance - flow.taken)
            if limit <= 0:
                return 0
        pull = self._vdma_pull
        frames = limit
        for lane in flow.lanes_in:
            lane.reclaim()
            if lane.filled < limit:
                lane.filled += pull(lane.channel, lane.table[lane.filled : limit])
            frames = min(frames, lane.filled)
        for lane in flow.lanes_in:
            lane.spent = frames
        flow.taken += frames
        return frames

    def _compute(self) -> object:
        """Without the lock: run the job; errors are results."""
        assert self._job is not None, "a computation has a job"
        _, kernel, frames = self._job
        try:
            if self._stage:
                assert isinstance(kernel, ChainKernel), "others have one stage"
                kernel.compute_stage(self._stage, frames)
            else:
                kernel.compute(frames)
        except BadProgram as error:
            return error
        return None

    def _buffer_rows(self, flow: Flow, frames: int) -> None:
        """Move what the stage that ran has for later ones: through host memory, a frame of each buffer at a time."""
        for buffer in flow.buffers:
            if buffer.stage == self._stage:
                for frame in range(frames):
                    row = slice(frame, frame + 1)
                    moved = self._vdma_push_frames(buffer.writer, buffer.source[row])
                    if not moved or not self._vdma_pull(buffer.reader, buffer.target[row]):
                        raise ChannelFault(channel=buffer.writer, code=0, reason="a buffer holds less than a frame")

    def _next_stage(self, flow: Flow, kernel: Kernel, frames: int) -> bool:
        """Begin the next stage of a chain; False when the frames are through."""
        if not isinstance(kernel, ChainKernel) or self._stage == len(kernel.stages) - 1:
            self._stage = 0
            return False
        try:
            self._buffer_rows(flow, frames)
        except ChannelFault as fault:
            self._stage = 0
            self._failed(CHANNEL_FAILED, str(fault))
            return True
        self._stage += 1
        self._start(self._compute, self._computed)
        return True

    def _pace(self, error: object) -> None:
        """Hold a result back until a core of the chosen speed would have it."""
        assert self._job is not None, "a computation has a job"
        due_ns = self._pulled_ns + self._job[2] * self._frame_ns
        self._board.schedule(max(0, due_ns - self._board.clock.now_ns()), partial(self._computed, error))

    def _computed(self, error: object) -> None:
        assert self._job is not None, "a computation has a job"
        flow, kernel, frames = self._job
        self._busy = False
        if flow is not self.flow:
            self._stage = 0
            self.advance()
            return
        if error is not None:
            self._stage = 0
            self._failed(NEVER_DONE, str(error))
            return
        if self._next_stage(flow, kernel, frames):
            return
        self.latency_ns = self._board.clock.now_ns() - self._pulled_ns
        flow.computed += frames
        self.frames_computed += frames
        flow.ready = frames
        for lane in flow.lanes_out:
            lane.next = 0
            if not kernel.is_stable:
                lane.frames = slices(kernel.output_view(lane.index, frames), lane.size)
        self.advance()
        self._progressed()

    def _deliver(self, flow: Flow) -> bool:
        """Push what is computed; True when all of it is out."""
        deliver = self._deliver_rows if flow.kernel is not None and flow.kernel.is_stable else self._deliver_pieces
        done = True
        for lane in flow.lanes_out:
            done &= deliver(lane, flow.ready)
        if done:
            flow.ready = 0
        return done

    def _deliver_rows(self, lane: _Lane, ready: int) -> bool:
        if lane.next < ready:
            moved = self._vdma_push_frames(lane.channel, lane.table[lane.next : ready])
            lane.next += moved
            lane.delivered += moved
        return lane.next == ready

    def _deliver_pieces(self, lane: _Lane, ready: int) -> bool:
        push, frames, total = self._vdma_push, lane.frames, len(lane.frames)
        start = at = lane.next
        while at < total and push(lane.channel, frames[at]):
            at += 1
        lane.next = at
        if at == total and at != start:
            lane.delivered += ready
        return at == total
