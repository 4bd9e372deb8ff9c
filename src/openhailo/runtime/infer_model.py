"""Inference with buffers of the caller's: choose formats and batch, configure, run, run asynchronously, await."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from openhailo.errors import DeviceTimeout, InputError, QueueFull, ShapeMismatch, StateError
from openhailo.runtime.bindings import Bindings, find
from openhailo.runtime.formats import Array, FormatOrder, FormatType, Quantization, UserFormat
from openhailo.runtime.frame_plan import BOX_ORDERS, Edge, FramePlan
from openhailo.runtime.host_ops.layouts import unpack
from openhailo.runtime.host_ops.settings import NmsSettings
from openhailo.runtime.job import DEFAULT_TIMEOUT_S, Callback, InferJob
from openhailo.runtime.latency import Latency
from openhailo.runtime.memory import aligned_empty
from openhailo.runtime.network_group import NetworkGroup
from openhailo.runtime.outline import NetworkOutline
from openhailo.runtime.request import FrameRequest
from openhailo.runtime.statistics import ModelStatistics
from openhailo.runtime.streams import OutputRefill

if TYPE_CHECKING:
    from openhailo.hef.model import Hef
    from openhailo.runtime.vdevice import VirtualDevice

#: Outputs of this size and above are written to the user's memory by the device itself, where that is possible.
IN_PLACE_BYTES = 64 * 1024


class InferStream:
    """An input or output of an `InferModel`: what its buffers have to be like, and the choices there are."""

    def __init__(self, model: InferModel, name: str, *, is_output: bool) -> None:
        """Use `InferModel.inputs` and `InferModel.outputs`."""
        self._model, self._name, self._is_output = model, name, is_output

    @property
    def _edge(self) -> Edge:
        plan = self._model.plan
        return next(edge.now for edge in (plan.outputs if self._is_output else plan.inputs) if edge.name == self._name)

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame's buffer, in the order that was chosen."""
        return self._edge.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of its buffers as NumPy has it."""
        return self._edge.dtype

    @property
    def type(self) -> FormatType:
        """Element type of its buffers."""
        return self._edge.type

    @property
    def order(self) -> FormatOrder:
        """Order of its elements."""
        return self._edge.order

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self._edge.frame_bytes

    @property
    def quantization(self) -> Quantization:
        """How real numbers become the device's integers."""
        return self._edge.quantization

    @property
    def is_boxes(self) -> bool:
        """Whether a frame is packed boxes."""
        return self._edge.is_boxes

    @property
    def nms(self) -> NmsSettings | None:
        """Thresholds and limits of boxes that the host suppresses, else None; they count from `configure` on."""
        return self._edge.info.nms

    def set_format_type(self, kind: FormatType) -> None:
        """Choose the element type: FLOAT32 for real numbers, AUTO for the usual one. `InputError` if it cannot be."""
        self._model.choose(self._name, type=FormatType(kind))

    def set_format_order(self, order: FormatOrder) -> None:
        """Choose the order, AUTO for the usual one. Raises `InputError` where it cannot be."""
        self._model.choose(self._name, order=FormatOrder(order))

    def __repr__(self) -> str:
        return f"<InferStream {self._name}: {self.shape} {self.type.name}, {self.order.name}>"


class InferModel:
    """A network group with formats and batch to choose; `configure` makes it ready to run."""

    def __init__(self, vdevice: VirtualDevice, model: str | Path | bytes | Hef, name: str, options: Mapping[str, Any]):
        """Use `openhailo.runtime.vdevice.VirtualDevice.create_infer_model`."""
        self._vdevice, self._group, self._options = vdevice, name or None, dict(options)
        device = vdevice.devices[0]
        self._content = device.read_model(model, self._options.pop("compile_options", None))
        self._forms: dict[str, UserFormat] = {}
        self._reference = self._options.pop("reference", None)
        #: Frames that a device gets in one turn, and that a network of several contexts takes at a time; 0: its choice.
        self.batch_size = 0
        #: The ordinary power mode; False keeps small buffers (ultra performance).
        self.performance = True
        self.plan = self._outline()

    def _outline(self) -> FramePlan:
        orders = {name: form.order for name, form in self._forms.items() if form.order in BOX_ORDERS}
        options = {**self._options, "output_orders": {**self._options.get("output_orders", {}), **orders}}
        network = self._vdevice.devices[0].plan(self._content, self._group, options)
        plan = FramePlan(NetworkOutline(network), self._forms)
        self.name, self._load_options = network.name, options
        return plan

    @property
    def inputs(self) -> tuple[InferStream, ...]:
        """The inputs, in metadata order."""
        return tuple(InferStream(self, edge.name, is_output=False) for edge in self.plan.inputs)

    @property
    def outputs(self) -> tuple[InferStream, ...]:
        """The outputs, in the order of the results."""
        return tuple(InferStream(self, edge.name, is_output=True) for edge in self.plan.outputs)

    def input(self, name: str = "") -> InferStream:
        """Return an input; the name may be left out when there is one. Raises `InputError`."""
        return find({stream.name: stream for stream in self.inputs}, name, "input")

    def output(self, name: str = "") -> InferStream:
        """Return an output; the name may be left out when there is one. Raises `InputError`."""
        return find({stream.name: stream for stream in self.outputs}, name, "output")

    def choose(self, name: str, **choice: Any) -> None:
        """Change the format of an edge; nothing changes when it cannot be. Raises `InputError`."""
        before, settings = dict(self._forms), {edge.name: edge.info.nms for edge in self.plan.outputs}
        self._forms[name] = replace(self._forms.get(name, UserFormat()), **choice)
        try:
            self.plan = self._outline()
        except BaseException:
            self._forms = before
            raise
        for edge in self.plan.outputs:
            _copy_settings(settings.get(edge.name), edge.info.nms)

    def configure(self) -> ConfiguredInferModel:
        """Configure it on every device of the virtual device. Raises what `VirtualDevice.configure` raises."""
        refill = OutputRefill.PAIRED if any(self._in_place(edge) for edge in self.plan.outputs) else OutputRefill.HALF
        group = self._vdevice.configure(
            self._content,
            group=self._group,
            batch_size=self.batch_size,
            reference=self._reference,
            **{"performance": self.performance, "output_refill": refill, **self._load_options},
        )
        try:
            for edge in self.plan.outputs:
                _copy_settings(edge.info.nms, group.outputs[edge.name].nms)
            return ConfiguredInferModel(group, self._forms)
        except BaseException:
            group.close()
            raise

    def _in_place(self, edge: Edge) -> bool:
        """Whether buffers of an output are worth being written to by the device: large, and not converted."""
        return edge.frame_bytes >= IN_PLACE_BYTES and not edge.is_boxes and edge.type is not FormatType.FLOAT32

    def __repr__(self) -> str:
        return f"<InferModel {self.name}: {', '.join(map(repr, (*self.inputs, *self.outputs)))}>"


class ConfiguredInferModel:
    """A model that runs. A context manager; leaving it shuts it down.

    At most `async_queue_size` frames are under way at a time; results come in the order of the calls. A call that fails
    leaves the model as it was. Methods may be called from several threads, and from callbacks.
    """

    def __init__(self, group: NetworkGroup, forms: Mapping[str, UserFormat]) -> None:
        """Use `InferModel.configure`."""
        self.group, self._dispatcher = group, group.dispatcher
        self._plans = group.plans(forms)
        self._edges_in, self._edges_out = self._plans[0].inputs, self._plans[0].outputs

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the network group."""
        return self.group.name

    @property
    def inputs(self) -> tuple[Edge, ...]:
        """The inputs as buffers have to be."""
        return self._edges_in

    @property
    def outputs(self) -> tuple[Edge, ...]:
        """The outputs as buffers have to be."""
        return self._edges_out

    @property
    def async_queue_size(self) -> int:
        """Frames that may be under way at a time."""
        return self.group.queue_size

    def statistics(self, *, reset: bool = False) -> ModelStatistics:
        """Return frames, rates, queues and waits so far; ``reset`` begins anew."""
        return self.group.statistics(reset=reset)

    def latency(self, *, clear: bool = False) -> Latency | None:
        """Return the hardware's latency, for a model that was created with ``measure_latency=True``."""
        return self.group.latency(clear=clear)

    # --- buffers ----------------------------------------------------------------------------------------------------

    def create_bindings(
        self, inputs: Mapping[str, Array] | None = None, outputs: Mapping[str, Array] | None = None
    ) -> Bindings:
        """Return bindings for one frame, with the buffers that are given by name. Raises `InputError`."""
        bindings = Bindings(self._edges_in, self._edges_out)
        for name, array in (inputs or {}).items():
            bindings.input(name).set_buffer(array)
        for name, array in (outputs or {}).items():
            bindings.output(name).set_buffer(array)
        return bindings

    def allocate_bindings(self) -> Bindings:
        """Return bindings with buffers that the device reads and writes in place where no conversion is needed."""
        bindings = Bindings(self._edges_in, self._edges_out)
        for binding in (*bindings.inputs.values(), *bindings.outputs.values()):
            binding.set_buffer(aligned_empty(binding.edge.shape, binding.edge.dtype))
        return bindings

    # --- frames -----------------------------------------------------------------------------------------------------

    def wait_for_async_ready(self, timeout_s: float = DEFAULT_TIMEOUT_S, frames: int = 1) -> None:
        """Wait until ``frames`` more frames may be handed in. Raises `DeviceTimeout`, also for more than ever may."""
        if not self._dispatcher.wait_for_room(self.group.model, frames, timeout_s):
            hint = f"the queue takes {self.async_queue_size} frames; results have to come before there is room"
            what = f"{self.name}: room for {frames} frames"
            raise DeviceTimeout(what=what, budget_s=timeout_s, elapsed_s=timeout_s, hint=hint)

    def run(self, bindings: Bindings | Sequence[Bindings], timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Run one frame, or several, and wait until the results are there.

        Raises `DeviceTimeout`, what a frame failed with, and what `run_async` raises.
        """
        self._dispatcher.require_patience()
        deadline = time.monotonic() + timeout_s
        several = [bindings] if isinstance(bindings, Bindings) else list(bindings)
        requests = [self._request(each, is_awaited=len(several) == 1) for each in several]
        for request in requests:
            self._submit_when_ready(request, deadline)
        for request in requests:
            if not self._dispatcher.wait(request, deadline - time.monotonic()):
                hint = "the frame goes on; wait for room, or shut the model down"
                raise DeviceTimeout(what=f"{self.name}: run", budget_s=timeout_s, elapsed_s=timeout_s, hint=hint)
        for request in requests:
            if request.error is not None:
                raise request.error

    def run_async(self, bindings: Bindings | Sequence[Bindings], callback: Callback | None = None) -> InferJob:
        """Hand in one frame, or several, and return at once; ``callback`` is called once, when all are done.

        All are taken or none. Raises `QueueFull` (see `wait_for_async_ready`), `StateError` (a buffer is missing, or
        the model was shut down or is not active), `DeviceLost`.
        """
        several = [bindings] if isinstance(bindings, Bindings) else list(bindings)
        if not several:
            raise InputError(what="run_async", detail="needs one set of bindings or more")
        job = InferJob(self._dispatcher, self.name, len(several), callback)
        requests = [self._request(each, job.on_done) for each in several]
        self.group.submit(requests, room=len(requests))
        return job

    def submit(self, inputs: Any) -> Future[dict[str, Any]]:
        """Hand in one frame or a batch and return the future of its results by name, in arrays of their own.

        ``inputs`` is an array (with one input) or a dict of arrays by name; they must not be changed before the future
        is done. A batch has a leading axis in all of them, and so have the results; it may be larger than the queue,
        as long as there is room for one frame. Raises what `run_async` raises, and `ShapeMismatch`.
        """
        arrays, batched = self._gather(inputs)
        results = [edge.empty(len(arrays[0])) for edge in self._edges_out]
        future: Future[dict[str, Any]] = Future()
        future.set_running_or_notify_cancel()
        done = partial(self._resolve, future, results, batched)
        self.group.submit([FrameRequest(self._plans, arrays, results, done)], room=1)
        return future

    async def infer(self, inputs: Any, timeout_s: float = DEFAULT_TIMEOUT_S) -> dict[str, Any]:
        """Run one frame or a batch, as `submit` does, when there is room for it. Raises `DeviceTimeout`.

        Cancelling the coroutine does not stop the frames.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                future = await self._submit_in_turn(inputs)
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError as error:
            if isinstance(error, DeviceTimeout):
                raise
            what = f"{self.name}: infer"
            raise DeviceTimeout(what=what, budget_s=timeout_s, elapsed_s=timeout_s) from error

    async def _submit_in_turn(self, inputs: Any) -> Future[dict[str, Any]]:
        while True:
            try:
                return self.submit(inputs)
            except QueueFull:
                room = self._dispatcher.room(self.group.model)
            try:
                await asyncio.wrap_future(room)
            except asyncio.CancelledError:
                self._dispatcher.encourage(self.group.model)  # somebody else may have the room that was ours
                raise

    def _request(self, bindings: Bindings, on_done: Any = None, *, is_awaited: bool = False) -> FrameRequest:
        inputs = [binding.frames for binding in bindings.inputs.values()]
        outputs = [binding.frames for binding in bindings.outputs.values()]
        if len(inputs) != len(self._edges_in) or len(outputs) != len(self._edges_out):
            raise InputError(what=self.name, detail="these bindings are another model's")
        return FrameRequest(self._plans, inputs, outputs, on_done, is_awaited=is_awaited)

    def _submit_when_ready(self, request: FrameRequest, deadline: float) -> None:
        while True:
            try:
                self.group.submit([request], room=1)
                return
            except QueueFull:
                self.wait_for_async_ready(deadline - time.monotonic())

    def _gather(self, inputs: Any) -> tuple[list[Array], bool]:
        edges = self._edges_in
        if not isinstance(inputs, Mapping):
            if len(edges) != 1:
                raise InputError(what=self.name, detail=f"has several inputs: give a dict with {_names(edges)}")
            inputs = {edges[0].name: inputs}
        by_name = {find({edge.name: edge for edge in edges}, name, "input").name: inputs[name] for name in inputs}
        if by_name.keys() != {edge.name for edge in edges}:
            raise InputError(what=self.name, detail=f"its inputs are {_names(edges)}, got {sorted(map(str, inputs))}")
        found = [frames_of_edge(edge, by_name[edge.name]) for edge in edges]
        if len({(len(frames), batched) for frames, batched in found}) != 1:
            raise InputError(what=self.name, detail="inputs differ in their number of frames")
        return [frames for frames, _ in found], found[0][1]

    def _resolve(
        self, future: Future[dict[str, Any]], results: Sequence[Array], batched: bool, request: FrameRequest
    ) -> None:
        if request.error is not None:
            future.set_exception(request.error)
            return
        try:
            made = {edge.name: read_result(edge, out) for edge, out in zip(self._edges_out, results, strict=True)}
            future.set_result(made if batched else {name: value[0] for name, value in made.items()})
        except Exception as error:
            future.set_exception(error)

    # --- its turn, its end ------------------------------------------------------------------------------------------

    def activate(self) -> None:
        """Give it the devices, where there is no scheduler (see `NetworkGroup.activate`)."""
        self.group.activate()

    def deactivate(self) -> None:
        """Take the devices back; frames in flight are cancelled. Idempotent."""
        self.group.deactivate()

    def set_scheduler_threshold(self, frames: int) -> None:
        """Compete for a device only when so many frames wait."""
        self.group.set_scheduler_threshold(frames)

    def set_scheduler_timeout(self, timeout_s: float) -> None:
        """Compete with fewer frames after so long without a turn."""
        self.group.set_scheduler_timeout(timeout_s)

    def set_scheduler_priority(self, priority: int) -> None:
        """Among models that compete the highest priority, 0..31, wins."""
        self.group.set_scheduler_priority(priority)

    def shutdown(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Cancel what is queued, let devices finish what they began for at most ``timeout_s``, and end. Idempotent."""
        self.group.shutdown(timeout_s)

    def close(self) -> None:
        """Shut down and unload. Idempotent."""
        if self._dispatcher.in_callback:
            raise StateError(what="closing a model", state="in a callback", hint="close it in another thread")
        self.group.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ConfiguredInferModel {self.name}, {self.async_queue_size} frames>"


def read_result(edge: Edge, frames: Array) -> Any:
    """Return frames of a buffer (n, *shape) as results: boxes as a list with one result per frame."""
    if not edge.is_boxes:
        return frames
    classes = edge.info.nms.classes if edge.info.nms is not None else edge.info.shape[0]
    return [unpack(frame, edge.order, classes=classes) for frame in frames]


def frames_of_edge(edge: Edge, value: Any) -> tuple[Array, bool]:
    """Return ``value`` as frames (n, *shape), and whether it is a batch. Raises `ShapeMismatch`, `InputError`."""
    array = np.asarray(value)
    if array.dtype != edge.dtype:
        if edge.type is not FormatType.FLOAT32 or array.dtype.kind != "f":
            raise InputError(what=edge.name, detail=f"needs elements of {edge.dtype}, got {array.dtype}")
        array = array.astype(edge.dtype)
    if array.shape == edge.shape:
        return np.ascontiguousarray(array)[None], False
    if array.shape[1:] == edge.shape:
        return np.ascontiguousarray(array), True
    raise ShapeMismatch(name=edge.name, expected=edge.shape, seen=array.shape, detail="or a batch with a leading axis")


def _names(edges: Iterable[Edge]) -> str:
    return ", ".join(repr(edge.name) for edge in edges)


def _copy_settings(source: NmsSettings | None, target: NmsSettings | None) -> None:
    """Let ``target`` have the thresholds and limits of ``source``, as far as its order has them."""
    if source is None or target is None:
        return
    target.score_threshold, target.iou_threshold = source.score_threshold, source.iou_threshold
    if target.order is FormatOrder.HAILO_NMS_BY_CLASS:
        target.max_proposals_per_class = source.max_proposals_per_class
    else:
        target.max_proposals_total = source.max_proposals_total
    if target.order is source.order is FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
        target.max_accumulated_mask_size = source.max_accumulated_mask_size
