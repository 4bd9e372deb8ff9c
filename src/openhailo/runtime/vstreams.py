"""Virtual streams: inputs and outputs that are written and read one by one, by threads that need not know each other.

The older of the two interfaces (runtime-behaviour.md 8): a network group is configured, its vstreams are opened, frames
are sent to every input and received from every output. It is the same core as `openhailo.runtime.infer_model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import numpy as np

from openhailo.errors import DeviceTimeout, InputError, StateError
from openhailo.runtime.bindings import find
from openhailo.runtime.formats import Array, FormatOrder, FormatType, UserFormat
from openhailo.runtime.frame_plan import Edge, FramePlan
from openhailo.runtime.host_ops.settings import NmsSettings
from openhailo.runtime.infer_model import frames_of_edge, read_result
from openhailo.runtime.job import DEFAULT_TIMEOUT_S
from openhailo.runtime.network_group import NetworkGroup
from openhailo.runtime.request import FrameRequest
from openhailo.runtime.vstream_hub import VStreamHub, hub_of

DEFAULT_QUEUE_SIZE = 2  # runtime-behaviour.md 2


@dataclass
class VStreamParams:
    """How a virtual stream is opened.

    Args:
        type, order: format of the user's frames; AUTO: the usual one (boxes and probabilities: FLOAT32).
        timeout_s: longest wait of a `send` for room, or of a `recv` for a frame.
        queue_size: frames that wait beside those that devices have, 1 or more.
    """

    type: FormatType = FormatType.AUTO
    order: FormatOrder = FormatOrder.AUTO
    timeout_s: float = DEFAULT_TIMEOUT_S
    queue_size: int = DEFAULT_QUEUE_SIZE

    @property
    def form(self) -> UserFormat:
        """The format."""
        return UserFormat(FormatType(self.type), FormatOrder(self.order))

    def check(self, name: str) -> None:
        """Raise `InputError` for values that cannot be."""
        if self.queue_size < 1:
            raise InputError(what=f"queue of {name}", detail=f"{self.queue_size} frames; it needs one or more")
        if not self.timeout_s >= 0:
            raise InputError(what=f"timeout of {name}", detail=f"{self.timeout_s} is not a time in seconds")


Params = Mapping[str, VStreamParams]


def input_params(group: NetworkGroup, **values: Any) -> dict[str, VStreamParams]:
    """Return parameters for every input of ``group``; ``values`` are fields of `VStreamParams`."""
    return {info.name: VStreamParams(**values) for info in group.inputs}


def output_params(group: NetworkGroup, **values: Any) -> dict[str, VStreamParams]:
    """Return parameters for every output of ``group``; ``values`` are fields of `VStreamParams`."""
    return {info.name: VStreamParams(**values) for info in group.outputs}


class _VStream:
    """One opened input or output."""

    def __init__(self, hub: VStreamHub, edge: Edge, params: VStreamParams) -> None:
        self._hub, self.edge, self.params = hub, edge, params

    @property
    def name(self) -> str:
        """Its name."""
        return self.edge.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame."""
        return self.edge.now.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of frames."""
        return self.edge.dtype

    @property
    def pending(self) -> int:
        """Frames that wait in its queue."""
        return self._hub.pending(self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.shape} {self.dtype}, {self.edge.order.name}>"


class InputVStream(_VStream):
    """An input to send frames to. For several threads."""

    def send(self, frames: Any) -> None:
        """Queue one frame, or each of a batch with a leading axis; the array may be changed afterwards.

        Raises `DeviceTimeout` when there is no room in time, `ShapeMismatch`, `InputError`, `StateError` (not active,
        closed).
        """
        for frame in frames_of_edge(self.edge, frames)[0]:
            if not self._hub.send(self.name, frame, self.params.timeout_s):
                hint = "receive from every output, or raise the timeout"
                budget = self.params.timeout_s
                raise DeviceTimeout(what=f"sending to {self.name}", budget_s=budget, elapsed_s=budget, hint=hint)

    def flush(self) -> None:
        """Wait until every frame that was sent is done. Raises `DeviceTimeout`."""
        if not self._hub.flush(self.params.timeout_s):
            budget = self.params.timeout_s
            hint = "send to every input, receive from every output"
            raise DeviceTimeout(what=f"flushing {self.name}", budget_s=budget, elapsed_s=budget, hint=hint)


class OutputVStream(_VStream):
    """An output to receive frames from. For several threads."""

    @property
    def nms(self) -> NmsSettings | None:
        """Thresholds and limits of boxes that the host suppresses; they may be changed while frames run."""
        return self.edge.info.nms

    def recv(self) -> Any:
        """Return the next frame: an array of `shape`, or boxes as `openhailo.runtime.network.Network` gives them.

        Raises `DeviceTimeout` when none comes in time, what the frame failed with, `StateError` (not active, closed).
        """
        found = self._hub.recv(self.name, self.params.timeout_s)
        if found is None:
            budget, hint = self.params.timeout_s, "send to every input first"
            raise DeviceTimeout(what=f"receiving from {self.name}", budget_s=budget, elapsed_s=budget, hint=hint)
        if isinstance(found, BaseException):
            raise found
        return read_result(self.edge, found)[0]


S = TypeVar("S", bound=_VStream)


class _VStreams(Generic[S]):
    """The opened inputs, or outputs, of a network group. A context manager: leaving it closes them."""

    _is_output: bool
    _kind: Any

    def __init__(self, group: NetworkGroup, params: Params | None = None) -> None:
        """Take ``params`` by name; without them every one, in its usual format. Nothing is opened yet."""
        usual = output_params(group) if self._is_output else input_params(group)
        self._group, self._params = group, dict(usual if params is None else params)
        self._streams: dict[str, S] = {}
        unknown = self._params.keys() - usual.keys()
        if unknown:
            raise InputError(what=group.name, detail=f"has no {sorted(unknown)}; it has {sorted(usual)}")
        for name, each in self._params.items():
            each.check(name)

    def open(self) -> Self:
        """Open them. Raises `InputError` (a format), `StateError` when one is open already."""
        hub = hub_of(self._group)
        forms = {name: params.form for name, params in self._params.items()}
        sizes = {name: params.queue_size for name, params in self._params.items()}
        edges = hub.open(forms, sizes, is_output=self._is_output)
        self._streams = {edge.name: self._kind(hub, edge, self._params[edge.name]) for edge in edges}
        return self

    def close(self) -> None:
        """Close them; waiting calls end with `StateError`, frames that nobody took are dropped. Idempotent."""
        if self._streams:
            hub_of(self._group).close(self._streams)
            self._streams = {}

    def clear(self) -> None:
        """Wait for frames in flight and drop everything that waits in the queues of the group."""
        hub_of(self._group).clear(DEFAULT_TIMEOUT_S)

    def get(self, name: str = "") -> S:
        """Return one; the name may be left out when there is one. Raises `InputError`."""
        return find(self._streams, name, "virtual stream")

    def __iter__(self) -> Iterator[S]:
        return iter(self._streams.values())

    def __len__(self) -> int:
        return len(self._streams)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class InputVStreams(_VStreams[InputVStream]):
    """Inputs of a network group: ``with InputVStreams(group) as inputs: inputs.get().send(frame)``."""

    _is_output, _kind = False, InputVStream


class OutputVStreams(_VStreams[OutputVStream]):
    """Outputs of a network group: ``with OutputVStreams(group) as outputs: outputs.get().recv()``."""

    _is_output, _kind = True, OutputVStream


class InferVStreams:
    """Inputs and outputs together, for whole batches: arrays by name in, arrays by name out. A context manager."""

    def __init__(self, group: NetworkGroup, inputs: Params | None = None, outputs: Params | None = None) -> None:
        """Take parameters by name; without them every input and output, in its usual format."""
        self._group = group
        self._inputs = dict(input_params(group) if inputs is None else inputs)
        self._outputs = dict(output_params(group) if outputs is None else outputs)
        self._plans: list[FramePlan] = []

    @property
    def inputs(self) -> tuple[Edge, ...]:
        """The inputs as arrays have to be."""
        return self._require_open()[0].inputs

    @property
    def outputs(self) -> tuple[Edge, ...]:
        """The outputs that `infer` gives."""
        return tuple(edge for edge in self._require_open()[0].outputs if edge.name in self._outputs)

    def open(self) -> Self:
        """Plan the formats. Raises `InputError`."""
        chosen = {**self._inputs, **self._outputs}
        for name, params in chosen.items():
            params.check(name)
        self._plans = self._group.plans({name: params.form for name, params in chosen.items()})
        return self

    def close(self) -> None:
        """Close it. Idempotent."""
        self._plans = []

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run a batch, with a leading axis in every array, and wait; results have it too.

        Raises `ShapeMismatch`, `InputError`, `StateError` (not active, closed), `DeviceTimeout` when frames take longer
        than the sum of their timeouts, and what a frame failed with.
        """
        plans = self._require_open()
        self._group.dispatcher.require_patience()
        arrays = [self._batch(edge, inputs) for edge in plans[0].inputs]
        count = len(arrays[0])
        if any(len(array) != count for array in arrays):
            raise InputError(what=self._group.name, detail="inputs differ in their number of frames")
        results = [edge.empty(count) for edge in plans[0].outputs]
        request = FrameRequest(plans, arrays, results, is_awaited=True)
        self._group.submit([request], room=0)
        self._await(request, max(params.timeout_s for params in self._outputs.values()) * max(count, 1))
        made = zip(plans[0].outputs, results, strict=True)
        return {edge.name: read_result(edge, out) for edge, out in made if edge.name in self._outputs}

    def _await(self, request: FrameRequest, budget_s: float) -> None:
        if not self._group.dispatcher.wait(request, budget_s):
            what = f"{self._group.name}: infer"
            raise DeviceTimeout(what=what, budget_s=budget_s, elapsed_s=budget_s, hint="the frames go on; wait longer")
        if request.error is not None:
            raise request.error

    def _batch(self, edge: Edge, inputs: Mapping[str, Any]) -> Array:
        if edge.name not in inputs:
            raise InputError(what=self._group.name, detail=f"no frames for its input {edge.name!r}")
        frames, batched = frames_of_edge(edge, inputs[edge.name])
        if not batched:
            raise InputError(what=edge.name, detail="needs a leading axis of frames; use `frame[None]` for one")
        return frames

    def _require_open(self) -> list[FramePlan]:
        if not self._plans:
            raise StateError(what="infer", state="not open", hint="use it as a context manager")
        return self._plans

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
