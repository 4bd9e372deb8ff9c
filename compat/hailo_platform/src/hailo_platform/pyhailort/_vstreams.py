"""Virtual streams: `InputVStreams`, `OutputVStreams` and their parameters (pyhailort-api.md 11, 14)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hailo_platform.common.logger.logger import default_logger

from . import _pyhailort
from ._exceptions import ExceptionWrapper, HailoRTException
from ._hef import _get_name_as_str
from ._names import BBOX_PARAMS, DEFAULT_VSTREAM_QUEUE_SIZE, DEFAULT_VSTREAM_TIMEOUT_MS
from ._network import ConfiguredNetwork, group_of
from ._pyhailort import FormatOrder, FormatType, VStreamInfo, VStreamParams
from ._transform_utils import HailoRTTransformUtils

Array = NDArray[Any]
Params = dict[str, VStreamParams]

#: Orders of boxes that the host puts together.
NMS_ORDERS = (FormatOrder.HAILO_NMS_BY_CLASS, FormatOrder.HAILO_NMS_BY_SCORE, FormatOrder.HAILO_NMS_WITH_BYTE_MASK)


class InputVStreamParams:
    """Makers of parameters for inputs."""

    @staticmethod
    def make(
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: FormatType | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
        network_name: str | None = None,
    ) -> Params:
        """Return parameters by input name; ``quantized`` means nothing any more."""
        with ExceptionWrapper():
            return group_of(configured_network).make_input_vstream_params(
                _get_name_as_str(network_name),
                FormatType.AUTO if format_type is None else format_type,
                DEFAULT_VSTREAM_TIMEOUT_MS if timeout_ms is None else timeout_ms,
                DEFAULT_VSTREAM_QUEUE_SIZE if queue_size is None else queue_size,
            )

    @staticmethod
    def make_from_network_group(
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: FormatType | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
        network_name: str | None = None,
    ) -> Params:
        """Do what `make` does."""
        return InputVStreamParams.make(configured_network, quantized, format_type, timeout_ms, queue_size, network_name)


class OutputVStreamParams:
    """Makers of parameters for outputs."""

    @staticmethod
    def make(
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: FormatType | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
        network_name: str | None = None,
    ) -> Params:
        """Return parameters by output name; ``quantized`` means nothing any more."""
        with ExceptionWrapper():
            return group_of(configured_network).make_output_vstream_params(
                _get_name_as_str(network_name),
                FormatType.AUTO if format_type is None else format_type,
                DEFAULT_VSTREAM_TIMEOUT_MS if timeout_ms is None else timeout_ms,
                DEFAULT_VSTREAM_QUEUE_SIZE if queue_size is None else queue_size,
            )

    @staticmethod
    def make_from_network_group(
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: FormatType | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
        network_name: str | None = None,
    ) -> Params:
        """Do what `make` does."""
        return OutputVStreamParams.make(
            configured_network, quantized, format_type, timeout_ms, queue_size, network_name
        )

    @staticmethod
    def make_groups(
        configured_network: ConfiguredNetwork,
        quantized: bool | None = None,
        format_type: FormatType | None = None,
        timeout_ms: int | None = None,
        queue_size: int | None = None,
    ) -> list[Params]:
        """Return parameters in groups: outputs of one stream have to be read together."""
        every = OutputVStreamParams.make(configured_network, quantized, format_type, timeout_ms, queue_size)
        groups: list[tuple[set[str], Params]] = []
        for name, params in every.items():
            streams = set(configured_network.get_stream_names_from_vstream_name(name))
            related = [group for group in groups if group[0] & streams]
            merged: tuple[set[str], Params] = (streams, {})
            for group in related:
                merged[0].update(group[0])
                merged[1].update(group[1])
                groups.remove(group)
            merged[1][name] = params
            groups.append(merged)
        return [params for _, params in groups]


def make_contiguous(name: str, array: Array) -> Array:
    """Return ``array`` without gaps, with a warning when it had some."""
    if array.flags.c_contiguous:
        return array
    default_logger().warning(f"Converting {name} numpy array to be C_CONTIGUOUS")
    return np.ascontiguousarray(array)


# --- inputs -----------------------------------------------------------------------------------------------------------


class InputVStream:
    """One input; frames are sent one after the other."""

    def __init__(self, send_object: _pyhailort.InputVStream) -> None:
        """Use `InputVStreams`."""
        self._send_object = send_object

    @property
    def shape(self) -> list[int]:
        """The shape of a frame."""
        return self._send_object.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a frame's elements."""
        return self._send_object.dtype

    @property
    def name(self) -> str:
        """The name of the input."""
        return self._send_object.info.name

    @property
    def network_name(self) -> str:
        """The full name of the network."""
        return self._send_object.info.network_name

    def send(self, input_data: Array) -> None:
        """Send frames: the first axis counts them, also for one.

        Raises `HailoRTTimeout`, `HailoRTStreamAborted`, `HailoRTNetworkGroupNotActivatedException`.
        """
        if input_data.dtype != self.dtype:
            input_data = input_data.astype(self.dtype)
        input_data = make_contiguous(self.name, input_data)
        if list(input_data.shape) == self.shape:
            hint = "send() takes frames with a leading axis: use numpy.expand_dims(frame, axis=0)"
            default_logger().warning(f"{self.name}: {hint}")
        with ExceptionWrapper():
            for frame in input_data:
                self._send_object.send(frame)

    def flush(self) -> None:
        """Wait until every frame was taken."""
        with ExceptionWrapper():
            self._send_object.flush()

    @property
    def info(self) -> VStreamInfo:
        """What the input is."""
        return self._send_object.info


class InputVStreams:
    """Inputs of a network; a context manager, and iterable within."""

    def __init__(self, configured_network: ConfiguredNetwork, input_vstreams_params: Params) -> None:
        """Take a network and parameters by name; the inputs are made on entry."""
        self._configured_network = configured_network
        self._input_vstreams_params = input_vstreams_params
        self._vstreams: dict[str, InputVStream] = {}
        self._holder: _pyhailort.InputVStreams | None = None

    def __enter__(self) -> Self:
        self._holder = self._configured_network._create_input_vstreams(self._input_vstreams_params)
        self._vstreams = {name: InputVStream(found) for name, found in self._holder.get_all_inputs().items()}
        return self

    def get(self, name: str | None = None) -> InputVStream:
        """Return an input; the only one without a name."""
        found: InputVStream = _only(self._vstreams, name, "input")
        return found

    def clear(self) -> None:
        """Forget frames on their way."""
        with ExceptionWrapper():
            if self._holder is not None:
                self._holder.clear()

    def __exit__(self, *args: object) -> None:
        holder, self._holder = self._holder, None
        self._vstreams = {}
        if holder is not None:
            self._configured_network._input_vstreams_holders.remove(holder)
            holder.__exit__(*args)

    def __iter__(self) -> Iterator[InputVStream]:
        return iter(self._vstreams.values())


def _only(vstreams: dict[str, Any], name: str | None, what: str) -> Any:
    if name is not None:
        return vstreams[name]
    if len(vstreams) != 1:
        raise HailoRTException(f"There is more than one {what} vstream. Give one of the names {list(vstreams)}")
    return next(iter(vstreams.values()))


# --- outputs ----------------------------------------------------------------------------------------------------------


class OutputLayerUtils:
    """How an output's frames look for the user."""

    def __init__(
        self, output_vstream_infos: Sequence[VStreamInfo], vstream_name: str, pipeline: Any, net_group_name: str = ""
    ) -> None:
        """Take the infos of all outputs, a name, and what knows the user's format."""
        self._output_vstream_infos = output_vstream_infos
        self._vstream_info = self._get_vstream_info(net_group_name, vstream_name)
        if isinstance(pipeline, _pyhailort.InferVStreams):
            self._user_buffer_format = pipeline.get_user_buffer_format(vstream_name)
            self._output_shape = pipeline.get_shape(vstream_name)
        else:
            self._user_buffer_format = pipeline.get_user_buffer_format()
            self._output_shape = pipeline.shape
        self._quantized_empty_bbox = self._empty_box()

    def _empty_box(self) -> Array:
        if not self.is_nms:
            return np.asarray([0])
        quant = self._vstream_info.quant_info
        zero = 0.0 if self.output_dtype == np.float32 else quant.qp_zp
        return np.asarray([zero] * BBOX_PARAMS, dtype=self.output_dtype)

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return _pyhailort.get_dtype(self._user_buffer_format.type)

    @property
    def output_order(self) -> FormatOrder:
        """The order of the elements."""
        return self._user_buffer_format.order

    @property
    def output_shape(self) -> list[int]:
        """The shape of a frame."""
        return self._output_shape

    @property
    def vstream_info(self) -> VStreamInfo:
        """What the output is."""
        return self._vstream_info

    @property
    def output_tensor_info(self) -> tuple[list[int], np.dtype[Any]]:
        """Shape and type."""
        return self.output_shape, self.output_dtype

    @property
    def is_nms(self) -> bool:
        """Whether a frame is boxes."""
        return self.output_order in NMS_ORDERS

    @property
    def quantized_empty_bbox(self) -> Array:
        """What stands where there is no box."""
        if not self.is_nms:
            raise HailoRTException("Requested NMS info for non-NMS layer")
        return self._quantized_empty_bbox

    def _get_vstream_info(self, net_group_name: str, vstream_name: str) -> VStreamInfo:
        for info in self._output_vstream_infos:
            if info.name == vstream_name:
                return info
        raise HailoRTException(f"No vstream matches the given name {vstream_name}")

    @property
    def tf_nms_fomrat_shape(self) -> list[int]:
        """(classes, 5, boxes); the name is the original's."""
        if not self.is_nms:
            raise HailoRTException("Requested NMS info for non-NMS layer")
        nms = self._vstream_info.nms_shape
        return [nms.number_of_classes, BBOX_PARAMS, nms.max_bboxes_per_class]


class OutputVStream:
    """One output; `recv` gives one frame."""

    def __init__(
        self,
        configured_network: ConfiguredNetwork,
        recv_object: _pyhailort.OutputVStream,
        name: str,
        tf_nms_format: bool = False,
        net_group_name: str = "",
    ) -> None:
        """Use `OutputVStreams`."""
        self._recv_object = recv_object
        infos = configured_network.get_output_vstream_infos()
        self._output_layer_utils = OutputLayerUtils(infos, name, recv_object, net_group_name)
        self._output_dtype = self._output_layer_utils.output_dtype
        self._vstream_info = self._output_layer_utils.vstream_info
        self._is_nms = self._output_layer_utils.is_nms
        self._output_tensor_info = self._output_layer_utils.output_tensor_info
        self._tf_nms_format = tf_nms_format
        self._input_stream_infos = configured_network.get_input_vstream_infos() if self._is_nms else []

    @property
    def output_order(self) -> FormatOrder:
        """The order of the elements."""
        return self._output_layer_utils.output_order

    @property
    def shape(self) -> list[int]:
        """The shape of a frame: for boxes the elements, or bytes, of a full one."""
        return self._recv_object.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a frame's elements."""
        return self._recv_object.dtype

    @property
    def name(self) -> str:
        """The name of the output."""
        return self._vstream_info.name

    @property
    def network_name(self) -> str:
        """The full name of the network."""
        return self._vstream_info.network_name

    def recv(self) -> Any:
        """Return the next frame, without an axis for frames; boxes are converted.

        Raises `HailoRTTimeout`, `HailoRTStreamAborted`, `HailoRTNetworkGroupNotActivatedException`.
        """
        with ExceptionWrapper():
            raw = self._recv_object.recv()
        if not self._is_nms:
            return raw
        return self._boxes(raw)

    def _boxes(self, raw: Array) -> Any:
        utils, order = HailoRTTransformUtils, self.output_order
        if order == FormatOrder.HAILO_NMS_BY_SCORE:
            return utils._output_raw_buffer_to_nms_by_score_format_single_frame(raw)
        if order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
            return self._masks(raw)
        nms = self._vstream_info.nms_shape
        if not self._tf_nms_format:
            return utils.output_raw_buffer_to_nms_format_single_frame(raw, nms.number_of_classes)
        shape = self._output_layer_utils.tf_nms_fomrat_shape
        converted = np.empty(shape, dtype=self._output_dtype)
        utils.output_raw_buffer_to_nms_tf_format_single_frame(
            raw,
            converted,
            nms.number_of_classes,
            nms.max_bboxes_per_class,
            self._output_layer_utils.quantized_empty_bbox,
        )
        return converted

    def _masks(self, raw: Array) -> Any:
        utils = HailoRTTransformUtils
        if not self._tf_nms_format:
            return utils._output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame(raw)
        height, width = self._input_stream_infos[0].shape[:2]
        nms = self._vstream_info.nms_shape
        return utils._output_raw_buffer_to_nms_with_byte_mask_tf_format(
            raw[None], nms.number_of_classes, 1, height, width, nms.max_bboxes_per_class, np.dtype("float32")
        )[0]

    @property
    def info(self) -> VStreamInfo:
        """What the output is."""
        return self._vstream_info

    def set_nms_score_threshold(self, threshold: float) -> None:
        """Drop boxes with a lower score."""
        with ExceptionWrapper():
            self._recv_object.set_nms_score_threshold(threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        """Drop boxes that a better one overlaps by this much."""
        with ExceptionWrapper():
            self._recv_object.set_nms_iou_threshold(threshold)

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        """Keep at most so many boxes of a class."""
        with ExceptionWrapper():
            self._recv_object.set_nms_max_proposals_per_class(max_proposals_per_class)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        """Give the masks of a frame so many bytes."""
        with ExceptionWrapper():
            self._recv_object.set_nms_max_accumulated_mask_size(max_accumulated_mask_size)


class OutputVStreams:
    """Outputs of a network; a context manager, and iterable within."""

    def __init__(
        self, configured_network: ConfiguredNetwork, output_vstreams_params: Params, tf_nms_format: bool = False
    ) -> None:
        """Take a network and parameters by name; the outputs are made on entry."""
        self._configured_network = configured_network
        self._output_vstreams_params = output_vstreams_params
        self._tf_nms_format = tf_nms_format
        self._vstreams: dict[str, OutputVStream] = {}
        self._holder: _pyhailort.OutputVStreams | None = None

    def __enter__(self) -> Self:
        network = self._configured_network
        self._holder = network._create_output_vstreams(self._output_vstreams_params)
        self._vstreams = {
            name: OutputVStream(network, found, name, self._tf_nms_format, network.name)
            for name, found in self._holder.get_all_outputs().items()
        }
        return self

    def get(self, name: str | None = None) -> OutputVStream:
        """Return an output; the only one without a name."""
        found: OutputVStream = _only(self._vstreams, name, "output")
        return found

    def clear(self) -> None:
        """Forget frames on their way."""
        with ExceptionWrapper():
            if self._holder is not None:
                self._holder.clear()

    def __exit__(self, *args: object) -> None:
        holder, self._holder = self._holder, None
        self._vstreams = {}
        if holder is not None:
            self._configured_network._output_vstreams_holders.remove(holder)
            holder.__exit__(*args)

    def __iter__(self) -> Iterator[OutputVStream]:
        return iter(self._vstreams.values())
