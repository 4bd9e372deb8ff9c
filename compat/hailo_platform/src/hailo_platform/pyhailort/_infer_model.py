"""`InferModel`, `ConfiguredInferModel` and their parts (pyhailort-api.md 13, 14)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from . import _pyhailort
from ._exceptions import ExceptionWrapper, HailoRTException, HailoRTTimeout
from ._hef import HEF
from ._hints import INFER_MODEL, EdgeMethod, guided
from ._pyhailort import FormatOrder, FormatType, HailoFormat, PowerMode, QuantInfo
from ._transform_utils import HailoRTTransformUtils

Array = NDArray[Any]
Callback = Callable[..., object]


class AsyncInferCompletionInfo:
    """What a callback is told: ``exception`` is None when the frames are there."""

    def __init__(self, exception: Exception | None) -> None:
        """Hold an exception, or None."""
        self._exception = exception

    @property
    def exception(self) -> Exception | None:
        """Why the frames are not there; None when they are."""
        return self._exception


class InferModel:
    """A network with formats and batch to choose; ``VDevice.create_infer_model`` makes it."""

    class InferStream:
        """An input or output."""

        def __init__(self, infer_stream: _pyhailort.InferModelInferStream) -> None:
            """Use ``InferModel.input`` and ``output``."""
            self._infer_stream = infer_stream

        @property
        def name(self) -> str:
            """Its name."""
            with ExceptionWrapper():
                return self._infer_stream.name()

        @property
        def shape(self) -> list[int]:
            """The shape of a frame's buffer; boxes: elements, or bytes by score and with masks."""
            with ExceptionWrapper():
                return self._infer_stream.shape()

        @property
        def format(self) -> HailoFormat:
            """The format that its buffers have."""
            with ExceptionWrapper():
                return self._infer_stream.format()

        def set_format_type(self, type: FormatType) -> None:
            """Choose the element type."""
            with ExceptionWrapper():
                self._infer_stream.set_format_type(type)

        def set_format_order(self, order: FormatOrder) -> None:
            """Choose the order of elements."""
            with ExceptionWrapper():
                self._infer_stream.set_format_order(order)

        @property
        def quant_infos(self) -> list[QuantInfo]:
            """How numbers become integers: one set of parameters, or one per feature."""
            with ExceptionWrapper():
                return self._infer_stream.get_quant_infos()

        @property
        def is_nms(self) -> bool:
            """Whether frames are boxes."""
            with ExceptionWrapper():
                return self._infer_stream.is_nms()

        def set_nms_score_threshold(self, threshold: float) -> None:
            """Drop boxes with a lower score."""
            with ExceptionWrapper():
                self._infer_stream.set_nms_score_threshold(threshold)

        def set_nms_iou_threshold(self, threshold: float) -> None:
            """Drop boxes that a better one overlaps by this much."""
            with ExceptionWrapper():
                self._infer_stream.set_nms_iou_threshold(threshold)

        def set_nms_max_proposals_per_class(self, max_proposals: int) -> None:
            """Keep at most so many boxes of a class."""
            with ExceptionWrapper():
                self._infer_stream.set_nms_max_proposals_per_class(max_proposals)

        def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
            """Give the masks of a frame so many bytes."""
            with ExceptionWrapper():
                self._infer_stream.set_nms_max_accumulated_mask_size(max_accumulated_mask_size)

    def __init__(self, infer_model: _pyhailort.InferModel, hef_path: Any) -> None:
        """Use ``VDevice.create_infer_model``."""
        self._infer_model = infer_model
        self._hef: HEF | None = None
        self._hef_path = hef_path

    @property
    def hef(self) -> HEF:
        """The file, read when first asked for."""
        if self._hef is None:
            self._hef = HEF(self._hef_path)
        return self._hef

    def set_batch_size(self, batch_size: int) -> None:
        """Choose how many frames a device gets in a turn."""
        with ExceptionWrapper():
            self._infer_model.set_batch_size(batch_size)

    def set_power_mode(self, power_mode: PowerMode) -> None:
        """Choose how buffers are sized."""
        with ExceptionWrapper():
            self._infer_model.set_power_mode(power_mode)

    def configure(self) -> ConfiguredInferModel:
        """Configure the network on the device; use the result in a with block."""
        with ExceptionWrapper():
            return ConfiguredInferModel(self._infer_model.configure(), self)

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs."""
        with ExceptionWrapper():
            return self._infer_model.get_input_names()

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs."""
        with ExceptionWrapper():
            return self._infer_model.get_output_names()

    @property
    def inputs(self) -> list[InferModel.InferStream]:
        """The inputs."""
        with ExceptionWrapper():
            return [self.InferStream(stream) for stream in self._infer_model.inputs()]

    @property
    def outputs(self) -> list[InferModel.InferStream]:
        """The outputs."""
        with ExceptionWrapper():
            return [self.InferStream(stream) for stream in self._infer_model.outputs()]

    def input(self, name: str = "") -> InferModel.InferStream:
        """Return an input; the only one without a name."""
        with ExceptionWrapper():
            return self.InferStream(self._infer_model.input(name))

    def output(self, name: str = "") -> InferModel.InferStream:
        """Return an output; the only one without a name."""
        with ExceptionWrapper():
            return self.InferStream(self._infer_model.output(name))

    __getattr__ = guided(INFER_MODEL)


class ConfiguredInferModel:
    """A model that runs; a context manager."""

    @dataclass
    class NmsTransformationInfo:
        """What is needed to convert boxes."""

        format_order: FormatOrder
        input_height: int
        input_width: int
        number_of_classes: int
        max_bboxes_per_class: int
        quant_info: QuantInfo
        output_dtype: np.dtype[Any] = np.dtype("float32")  # noqa: RUF009 - immutable

    @dataclass
    class NmsHailoTransformationInfo(NmsTransformationInfo):
        """Boxes as lists."""

        use_tf_nms_format: bool = False

    @dataclass
    class NmsTfTransformationInfo(NmsTransformationInfo):
        """Boxes as one array."""

        use_tf_nms_format: bool = True

    class Bindings:
        """Buffers of one frame."""

        class InferStream:
            """The buffer of an input or output."""

            def __init__(
                self,
                infer_stream: _pyhailort.ConfiguredInferModelInferStream,
                nms_info: ConfiguredInferModel.NmsTransformationInfo | None = None,
            ) -> None:
                """Use ``Bindings.input`` and ``output``."""
                self._infer_stream = infer_stream
                self._nms_info = nms_info
                self._buffer: Array | None = None

            @staticmethod
            def _validate_c_contiguous(buffer: Array) -> None:
                if not buffer.flags.c_contiguous:
                    raise HailoRTException("Buffer must be C_CONTIGUOUS: use numpy.ascontiguousarray(buffer)")

            def set_buffer(self, buffer: Array) -> None:
                """Use an array, by reference; any shape with the bytes of a frame will do."""
                if not isinstance(buffer, np.ndarray):
                    raise TypeError(f"set_buffer takes a numpy array, not {type(buffer).__name__}")
                self._validate_c_contiguous(buffer)
                if self._nms_info is not None and buffer.dtype != np.uint8:
                    order = self._nms_info.format_order
                    if order in (FormatOrder.HAILO_NMS_BY_SCORE, FormatOrder.HAILO_NMS_WITH_BYTE_MASK):
                        raise HailoRTException(f"{order.name} needs a uint8 buffer, not {buffer.dtype}")
                with ExceptionWrapper():
                    self._buffer = buffer
                    self._infer_stream.set_buffer(buffer)

            def get_buffer(self, tf_format: bool | None = False) -> Any:
                """Return the array; boxes converted to lists, or to one array with ``tf_format``; None: as it is."""
                if self._nms_info is None or tf_format is None or self._buffer is None:
                    return self._buffer
                return _boxes_of(self._buffer, self._nms_info, tf_format)

        def __init__(
            self,
            bindings: _pyhailort.ConfiguredInferModelBindings,
            input_names: Sequence[str],
            output_names: Sequence[str],
            nms_infos: Mapping[str, ConfiguredInferModel.NmsTransformationInfo],
        ) -> None:
            """Use ``ConfiguredInferModel.create_bindings``."""
            self._bindings = bindings
            self._input_names = input_names
            self._output_names = output_names
            self._inputs: dict[str, ConfiguredInferModel.Bindings.InferStream] = {}
            self._outputs: dict[str, ConfiguredInferModel.Bindings.InferStream] = {}
            self._nms_infos = nms_infos

        @EdgeMethod
        def input(self, name: str = "") -> ConfiguredInferModel.Bindings.InferStream:
            """Return an input's binding; the only one without a name."""
            with ExceptionWrapper():
                stream = self._bindings.input(name)
                if stream.name not in self._inputs:
                    self._inputs[stream.name] = self.InferStream(stream)
                return self._inputs[stream.name]

        @EdgeMethod
        def output(self, name: str = "") -> ConfiguredInferModel.Bindings.InferStream:
            """Return an output's binding; the only one without a name."""
            with ExceptionWrapper():
                stream = self._bindings.output(name)
                if stream.name not in self._outputs:
                    info = self._nms_infos.get(stream.name)
                    self._outputs[stream.name] = self.InferStream(stream, nms_info=info)
                return self._outputs[stream.name]

        def get(self) -> _pyhailort.ConfiguredInferModelBindings:
            """Return the compiled part's bindings."""
            return self._bindings

    def __init__(self, configured_infer_model: _pyhailort.ConfiguredInferModel, infer_model: InferModel) -> None:
        """Use ``InferModel.configure``."""
        self._configured_infer_model: _pyhailort.ConfiguredInferModel | None = configured_infer_model
        self._infer_model = infer_model
        self._input_names = infer_model.input_names
        self._output_names = infer_model.output_names
        self._nms_infos = self._get_nms_infos()

    @property
    def _model(self) -> _pyhailort.ConfiguredInferModel:
        if self._configured_infer_model is None:
            raise HailoRTException("the configured model was left: use it within its with block")
        return self._configured_infer_model

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, exc_value: object, traceback: object) -> None:
        model, self._configured_infer_model = self._configured_infer_model, None
        if model is not None:
            model.release()

    def activate(self) -> None:
        """Give the model the device, where there is no scheduler."""
        with ExceptionWrapper():
            self._model.activate()

    def deactivate(self) -> None:
        """Take the device back."""
        with ExceptionWrapper():
            self._model.deactivate()

    def create_bindings(
        self, input_buffers: Mapping[str, Array] | None = None, output_buffers: Mapping[str, Array] | None = None
    ) -> ConfiguredInferModel.Bindings:
        """Return bindings for a frame, with the buffers that are given by name."""
        with ExceptionWrapper():
            made = self._model.create_bindings()
        bindings = self.Bindings(made, self._input_names, self._output_names, self._nms_infos)
        for name, buffer in (input_buffers or {}).items():
            bindings.input(name).set_buffer(buffer)
        for name, buffer in (output_buffers or {}).items():
            bindings.output(name).set_buffer(buffer)
        return bindings

    def wait_for_async_ready(self, timeout_ms: int = 1000, frames_count: int = 1) -> None:
        """Wait for room. Raises `HailoRTTimeout`."""
        with ExceptionWrapper():
            self._model.wait_for_async_ready(timedelta(milliseconds=timeout_ms), frames_count)

    def run(self, bindings: Sequence[ConfiguredInferModel.Bindings], timeout: int | timedelta) -> None:
        """Run frames and wait; ``timeout`` in milliseconds.

        Raises `HailoRTTimeout`, and the exception of a frame that failed, which the original does not tell.
        """
        self._require_list(bindings)
        limit = timeout if isinstance(timeout, timedelta) else timedelta(milliseconds=timeout)
        with ExceptionWrapper():
            self._model.run([each.get() for each in bindings], limit)

    def run_async(
        self, bindings: Sequence[ConfiguredInferModel.Bindings], callback: Callback | None = None
    ) -> AsyncInferJob:
        """Hand frames in; ``callback(completion_info=...)`` is called once, when all are done."""
        self._require_list(bindings)
        called = threading.Event()

        def call(error_code: int, error: BaseException | None = None) -> None:
            try:
                if callback is not None:
                    callback(completion_info=AsyncInferCompletionInfo(_exception_of(error_code, error)))
            finally:
                called.set()

        with ExceptionWrapper():
            job = self._model.run_async([each.get() for each in bindings], call)
        return AsyncInferJob(_Job(job, called))

    @classmethod
    def _require_list(cls, bindings: object) -> None:
        if isinstance(bindings, cls.Bindings):
            raise TypeError("a list is needed: run([bindings], timeout_ms), run_async([bindings], callback)")

    def set_scheduler_timeout(self, timeout_ms: int) -> None:
        """Compete with fewer frames after so long without a turn."""
        with ExceptionWrapper():
            self._model.set_scheduler_timeout(timedelta(milliseconds=timeout_ms))

    def set_scheduler_threshold(self, threshold: int) -> None:
        """Compete for a device only when so many frames wait."""
        with ExceptionWrapper():
            self._model.set_scheduler_threshold(threshold)

    def set_scheduler_priority(self, priority: int) -> None:
        """Among models that compete the highest priority (0..31, normal 16) wins."""
        with ExceptionWrapper():
            self._model.set_scheduler_priority(priority)

    def get_async_queue_size(self) -> int:
        """Return how many frames may be under way."""
        with ExceptionWrapper():
            return self._model.get_async_queue_size()

    def shutdown(self) -> None:
        """End the model; frames that wait are cancelled."""
        with ExceptionWrapper():
            self._model.shutdown()

    def _get_nms_infos(self) -> dict[str, ConfiguredInferModel.NmsTransformationInfo]:
        vstreams = {info.name: info for info in self._infer_model.hef.get_output_vstream_infos(_group(self._model))}
        height, width = self._infer_model.hef.get_input_vstream_infos(_group(self._model))[0].shape[:2]
        found = {}
        for stream in self._infer_model.outputs:
            if stream.is_nms:
                info = vstreams[stream.name]
                found[stream.name] = self.NmsTransformationInfo(
                    stream.format.order,
                    height,
                    width,
                    info.nms_shape.number_of_classes,
                    info.nms_shape.max_bboxes_per_class,
                    stream.quant_infos[0],
                )
        return found


def _group(model: _pyhailort.ConfiguredInferModel) -> str:
    return model.name


def _exception_of(error_code: int, error: BaseException | None) -> Exception | None:
    if not error_code:
        return None
    made = ExceptionWrapper.create_exception_from_status(error_code)
    if error is not None:
        made.add_note(str(error))
        made.__cause__ = error
    return made


def _boxes_of(buffer: Array, info: ConfiguredInferModel.NmsTransformationInfo, tf_format: bool) -> Any:
    convert, order = HailoRTTransformUtils, info.format_order
    if order == FormatOrder.HAILO_NMS_BY_SCORE:
        if tf_format:
            raise HailoRTException(f"{order.name} has no TF format")
        return convert._output_raw_buffer_to_nms_by_score_format_single_frame(buffer)
    if order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
        if not tf_format:
            return convert._output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame(buffer)
        return convert._output_raw_buffer_to_nms_with_byte_mask_tf_format(
            buffer.reshape(1, -1),
            info.number_of_classes,
            1,
            info.input_height,
            info.input_width,
            info.max_bboxes_per_class,
            info.output_dtype,
        )[0]
    flat = buffer.reshape(-1).view(np.float32)
    if not tf_format:
        return convert.output_raw_buffer_to_nms_format_single_frame(flat, info.number_of_classes)
    converted = np.empty((info.number_of_classes, 5, info.max_bboxes_per_class), dtype=info.output_dtype)
    convert.output_raw_buffer_to_nms_tf_format_single_frame(
        flat, converted, info.number_of_classes, info.max_bboxes_per_class, np.zeros(5, np.float32)
    )
    return converted


class _Job:
    """A job of the compiled part, and whether its callback was called."""

    def __init__(self, job: _pyhailort.AsyncInferJob, called: threading.Event) -> None:
        self.job, self.called = job, called


class AsyncInferJob:
    """Frames under way."""

    MILLISECOND: ClassVar[float] = 0.001

    def __init__(self, job: Any) -> None:
        """Use ``ConfiguredInferModel.run_async``."""
        self._job = job.job
        self._callback_called = job.called

    def wait(self, timeout_ms: float) -> None:
        """Wait until the frames are done and the callback has returned. Raises `HailoRTTimeout`.

        A frame that failed is no error here: the callback is told.
        """
        with ExceptionWrapper():
            self._job.wait(timedelta(milliseconds=timeout_ms))
        if not self._callback_called.wait(timeout_ms * self.MILLISECOND):
            raise HailoRTTimeout("libhailort failed with error: 4 (HAILO_TIMEOUT)")
