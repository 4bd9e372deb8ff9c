"""The asynchronous interface of the compiled part (pyhailort-api.md 13, runtime-behaviour.md 9)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import InputError, OpenHailoError, StateError
from openhailo.runtime import infer_model as oh
from openhailo.runtime.bindings import Bindings, find
from openhailo.runtime.formats import FormatOrder as OhOrder
from openhailo.runtime.formats import FormatType as OhType
from openhailo.runtime.frame_plan import Edge
from openhailo.runtime.job import CompletionInfo, InferJob

from ._enums import FormatFlags, FormatOrder, FormatType, PowerMode
from ._errors import Translating, fail, status_of
from ._hef import Hef, quant_infos
from ._structs import HailoFormat, QuantInfo
from ._vstreams import edge_shape, running, seconds

Array = NDArray[Any]
Callback = Callable[[int, BaseException | None], object]


class InferModelInferStream(Translating):
    """An input or output of a model; what is chosen here is checked by `InferModel.configure`."""

    def __init__(self, model: InferModel, name: str, *, is_output: bool) -> None:
        """Use `InferModel.input` and `output`."""
        self._model, self._name, self._is_output = model, name, is_output

    @property
    def _stream(self) -> oh.InferStream:
        model = self._model.model
        return model.output(self._name) if self._is_output else model.input(self._name)

    def name(self) -> str:
        """Its name."""
        return self._name

    def shape(self) -> list[int]:
        """The shape of a frame's buffer."""
        stream = self._stream
        return [stream.frame_bytes] if _counts_bytes(stream.order) else list(stream.shape)

    def format(self) -> HailoFormat:
        """The format of a frame's buffer."""
        stream = self._stream
        return HailoFormat(FormatType(int(stream.type)), FormatOrder(int(stream.order)), FormatFlags(0))

    def get_quant_infos(self) -> list[QuantInfo]:
        """How numbers become integers: one set, or one per feature."""
        return self._model.quant_infos(self._name)

    def is_nms(self) -> bool:
        """Whether frames are boxes."""
        return self._stream.is_boxes

    def set_format_type(self, format_type: FormatType) -> None:
        """Choose the element type."""
        stream = self._stream
        self._model.attempt(self._name, "type", lambda: stream.set_format_type(OhType(int(format_type))))

    def set_format_order(self, format_order: FormatOrder) -> None:
        """Choose the order of elements."""
        stream = self._stream
        self._model.attempt(self._name, "order", lambda: stream.set_format_order(OhOrder(int(format_order))))

    def set_nms_score_threshold(self, threshold: float) -> None:
        """Drop boxes with a lower score."""
        self._boxes("score_threshold", threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        """Drop boxes that a better one overlaps by this much."""
        self._boxes("iou_threshold", threshold)

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        """Keep at most so many boxes of a class."""
        self._boxes("max_proposals_per_class", max_proposals_per_class)

    def set_nms_max_proposals_total(self, max_proposals_total: int) -> None:
        """Keep at most so many boxes of a frame."""
        self._boxes("max_proposals_total", max_proposals_total)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        """Give the masks of a frame so many bytes."""
        self._boxes("max_accumulated_mask_size", max_accumulated_mask_size)

    def _boxes(self, name: str, value: float) -> None:
        settings = self._stream.nms if self._is_output else None
        what = f"{name} of {self._name}"
        if settings is None:
            error: OpenHailoError = InputError(what=what, detail="the host suppresses no boxes of it")
            if not self._is_output:
                error = StateError(what=what, state="it is an input", hint="set it on an output of boxes")
            self._model.refuse(self._name, name, error)
            return
        self._model.attempt(self._name, name, lambda: setattr(settings, name, value))


def _counts_bytes(order: OhOrder) -> bool:
    return order in (OhOrder.HAILO_NMS_BY_SCORE, OhOrder.HAILO_NMS_WITH_BYTE_MASK)


class InferModel(Translating):
    """A network with formats and batch to choose."""

    def __init__(self, owner: Any, model: oh.InferModel, hef: Hef, name: str) -> None:
        """Use ``VDevice.create_infer_model_from_file``."""
        self._owner, self.model, self._hef, self._name = owner, model, hef, name
        #: What could not be chosen, by (edge, choice); `configure` tells.
        self._refused: dict[tuple[str, str], OpenHailoError] = {}

    @property
    def hef(self) -> Hef:
        """The file."""
        return self._hef

    def attempt(self, edge: str, choice: str, action: Callable[[], object]) -> None:
        """Choose something; a choice that cannot be is told by `configure`."""
        self._refused.pop((edge, choice), None)
        try:
            action()
        except InputError as error:
            self._refused[edge, choice] = error

    def refuse(self, edge: str, choice: str, error: OpenHailoError) -> None:
        """Remember a choice that cannot be."""
        self._refused[edge, choice] = error

    def quant_infos(self, edge: str) -> list[QuantInfo]:
        """Return the parameters of an edge."""
        group = self._hef.group(self._name)
        vstream = next(vstream for vstream in group.vstreams if vstream.name == edge)
        return quant_infos(group, vstream.quant)

    def get_input_names(self) -> list[str]:
        """The names of the inputs."""
        return [stream.name for stream in self.model.inputs]

    def get_output_names(self) -> list[str]:
        """The names of the outputs."""
        return [stream.name for stream in self.model.outputs]

    def inputs(self) -> list[InferModelInferStream]:
        """The inputs."""
        return [InferModelInferStream(self, name, is_output=False) for name in self.get_input_names()]

    def outputs(self) -> list[InferModelInferStream]:
        """The outputs."""
        return [InferModelInferStream(self, name, is_output=True) for name in self.get_output_names()]

    def input(self, name: str = "") -> InferModelInferStream:
        """Return an input; the only one without a name."""
        return InferModelInferStream(self, pick(self.get_input_names(), name, "input"), is_output=False)

    def output(self, name: str = "") -> InferModelInferStream:
        """Return an output; the only one without a name."""
        return InferModelInferStream(self, pick(self.get_output_names(), name, "output"), is_output=True)

    def set_batch_size(self, batch_size: int) -> None:
        """Choose how many frames a device gets in a turn."""
        self.model.batch_size = batch_size

    def set_power_mode(self, power_mode: PowerMode) -> None:
        """Choose how buffers are sized."""
        self.model.performance = int(power_mode) == 0

    def configure(self) -> ConfiguredInferModel:
        """Configure it; statuses of choices that cannot be come now."""
        if len(self._hef.file.network_groups) > 1 and not self._name:
            names = ", ".join(self._hef.get_network_group_names())
            fail("INVALID_ARGUMENT", f"this file has several network groups, choose one of {names}")
        for error in self._refused.values():
            raise error
        configured = self.model.configure()
        if self.model.batch_size > configured.async_queue_size:
            configured.close()
            detail = f"{self.model.batch_size} frames are more than the queue of {configured.async_queue_size}"
            fail("INVALID_OPERATION", f"batch size: {detail}")
        return ConfiguredInferModel(self._owner, configured)


def pick(names: Sequence[str], name: str, what: str) -> str:
    """Return the full name of an edge: status 6 without a name when there are several, 61 for an unknown one."""
    if not name and len(names) != 1:
        fail("INVALID_OPERATION", f"there are {len(names)} {what}s, name one of {', '.join(names)}")
    try:
        return find({each: each for each in names}, name, what)
    except InputError as error:
        message = str(error)
    return fail("NOT_FOUND", message)


class ConfiguredInferModelInferStream(Translating):
    """The buffer of one edge; its size is checked when it is used."""

    def __init__(self, edge: Edge) -> None:
        """Use `ConfiguredInferModelBindings`."""
        self.edge = edge
        self.name = edge.name
        self.buffer: Array | None = None
        self.is_checked = False

    def set_buffer(self, buffer: Array) -> None:
        """Use an array, by reference."""
        self.buffer, self.is_checked = buffer, False


class ConfiguredInferModelBindings(Translating):
    """Buffers of one frame."""

    def __init__(self, bindings: Bindings) -> None:
        """Use `ConfiguredInferModel.create_bindings`."""
        self.bindings = bindings
        self._inputs = {name: ConfiguredInferModelInferStream(each.edge) for name, each in bindings.inputs.items()}
        self._outputs = {name: ConfiguredInferModelInferStream(each.edge) for name, each in bindings.outputs.items()}

    def input(self, name: str = "") -> ConfiguredInferModelInferStream:
        """Return an input's buffer."""
        return self._inputs[pick(list(self._inputs), name, "input")]

    def output(self, name: str = "") -> ConfiguredInferModelInferStream:
        """Return an output's buffer."""
        return self._outputs[pick(list(self._outputs), name, "output")]

    def ready(self) -> Bindings:
        """Return the bindings, checked: a missing buffer or a wrong size is status 6."""
        for streams, table in ((self._inputs, self.bindings.inputs), (self._outputs, self.bindings.outputs)):
            for name, stream in streams.items():
                buffer, edge = stream.buffer, stream.edge
                if stream.is_checked:
                    continue
                if buffer is None:
                    fail("INVALID_OPERATION", f"{name} has no buffer: call set_buffer first")
                if buffer.nbytes != edge.frame_bytes:
                    detail = f"{edge.frame_bytes} bytes ({edge_shape(edge)}) are needed, the buffer has {buffer.nbytes}"
                    fail("INVALID_OPERATION", f"{name}: {detail} {list(buffer.shape)} {buffer.dtype}")
                table[name].set_buffer(buffer.reshape(-1).view(np.uint8))
                stream.is_checked = True
        return self.bindings


class ConfiguredInferModel(Translating):
    """A model that runs.

    Unlike the original's it survives a call of `run_async` that fails.
    """

    def __init__(self, owner: Any, model: oh.ConfiguredInferModel) -> None:
        """Use `InferModel.configure`."""
        self._owner, self._model = owner, model
        self._lock = threading.Lock()
        owner.adopt(self)

    @property
    def name(self) -> str:
        """The name of the network group."""
        return self._model.name

    def create_bindings(self) -> ConfiguredInferModelBindings:
        """Return bindings without buffers."""
        return ConfiguredInferModelBindings(self._model.create_bindings())

    def wait_for_async_ready(self, timeout: timedelta, frames_count: int) -> None:
        """Wait for room."""
        self._model.wait_for_async_ready(timeout.total_seconds(), frames_count)

    def run(self, bindings: Sequence[ConfiguredInferModelBindings], timeout: timedelta) -> None:
        """Run frames and wait; a frame that failed is told."""
        with running(self._model.group):
            self._model.run([each.ready() for each in bindings], timeout.total_seconds())

    def run_async(
        self, bindings: Sequence[ConfiguredInferModelBindings], callback: Callback | None = None
    ) -> AsyncInferJob:
        """Hand frames in; ``callback(status, reason)`` is called when all are done."""

        def told(info: CompletionInfo) -> None:
            error = info.exception
            if callback is not None:
                callback(status_of(error) if error is not None else 0, error)

        with running(self._model.group):
            return AsyncInferJob(self._model.run_async([each.ready() for each in bindings], told))

    def activate(self) -> None:
        """Give it the device; status 6 under a scheduler."""
        self._model.activate()

    def deactivate(self) -> None:
        """Take the device back; status 6 under a scheduler."""
        if not self._model.group.vdevice.is_manual:
            fail("INVALID_OPERATION", "under a scheduler models take turns: there is nothing to deactivate")
        self._model.deactivate()

    def set_scheduler_timeout(self, timeout: timedelta) -> None:
        """Compete with fewer frames after so long without a turn."""
        self._model.set_scheduler_timeout(seconds(timeout.total_seconds() * 1000))

    def set_scheduler_threshold(self, threshold: int) -> None:
        """Compete for a device only when so many frames wait."""
        self._model.set_scheduler_threshold(threshold)

    def set_scheduler_priority(self, priority: int) -> None:
        """Among models that compete the highest priority wins."""
        self._model.set_scheduler_priority(priority)

    def get_async_queue_size(self) -> int:
        """Return how many frames may be under way."""
        return self._model.async_queue_size

    def hw_latency_ms(self) -> float | None:
        """Return the mean latency of the hardware since it was last asked, if it is measured."""
        found = self._model.latency(clear=True)
        return None if found is None else found.mean_s * 1e3

    def shutdown(self) -> None:
        """Take no more frames. Idempotent."""
        self._model.shutdown()

    def release(self) -> None:
        """Shut down and unload. Idempotent."""
        self._model.close()

    def __del__(self) -> None:
        self._owner.retire(self._model)


class AsyncInferJob(Translating):
    """Frames under way."""

    def __init__(self, job: InferJob) -> None:
        """Use `ConfiguredInferModel.run_async`."""
        self._job = job

    def wait(self, timeout: timedelta) -> None:
        """Wait until they are done, well or not."""
        if not self._job.wait_done(timeout.total_seconds()):
            fail("TIMEOUT", "the frames are still on their way")
