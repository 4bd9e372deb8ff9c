"""`InferVStreams`: a batch in, a batch out (pyhailort-api.md 11)."""

from __future__ import annotations

import time
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hailo_platform.common.logger.logger import default_logger

from . import _pyhailort
from ._exceptions import ExceptionWrapper, HailoRTException
from ._network import ConfiguredNetwork, group_of
from ._pyhailort import FormatOrder
from ._transform_utils import HailoRTTransformUtils
from ._vstreams import OutputLayerUtils, Params, make_contiguous

Array = NDArray[Any]


class InferVStreams:
    """All inputs and outputs of a network, run by batches; a context manager."""

    def __init__(
        self,
        configured_net_group: ConfiguredNetwork,
        input_vstreams_params: Params,
        output_vstreams_params: Params,
        tf_nms_format: bool = False,
    ) -> None:
        """Take a network and parameters by name; everything is made on entry."""
        self._configured_net_group = configured_net_group
        self._net_group_name = configured_net_group.name
        self._input_vstreams_params = input_vstreams_params
        self._output_vstreams_params = output_vstreams_params
        self._tf_nms_format = tf_nms_format
        self._total_time: float | None = None
        self._hw_time: float | None = None
        self._network_name_to_outputs = self._get_network_to_outputs_mapping(configured_net_group)
        self._input_name_to_network_name = self._get_input_name_to_network_mapping(configured_net_group)
        self._infer_pipeline: _pyhailort.InferVStreams | None = None

    @staticmethod
    def _get_input_name_to_network_mapping(configured_net_group: ConfiguredNetwork) -> dict[str, str]:
        return {info.name: info.network_name for info in configured_net_group.get_input_vstream_infos()}

    @staticmethod
    def _get_network_to_outputs_mapping(configured_net_group: ConfiguredNetwork) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for info in configured_net_group.get_output_vstream_infos():
            found.setdefault(info.network_name, set()).add(info.name)
        return found

    def __enter__(self) -> Self:
        self._infer_pipeline = _pyhailort.InferVStreams(
            group_of(self._configured_net_group), self._input_vstreams_params, self._output_vstreams_params
        )
        return self

    @property
    def _pipeline(self) -> _pyhailort.InferVStreams:
        if self._infer_pipeline is None:
            raise HailoRTException(
                "InferVStreams is used outside of its context: write `with InferVStreams(...) as p:`"
            )
        return self._infer_pipeline

    def _make_output_buffers_and_infos(
        self, input_data: dict[str, Array], batch_size: int
    ) -> tuple[dict[str, Array], dict[str, OutputLayerUtils]]:
        networks = {self._input_name_to_network_name[name] for name in input_data}
        wanted = [name for network in networks for name in self._network_name_to_outputs.get(network, ())]
        infos = self._configured_net_group.get_output_vstream_infos()
        buffers, utils = {}, {}
        for name in (info.name for info in infos if info.name in wanted):
            utils[name] = OutputLayerUtils(infos, name, self._pipeline, self._net_group_name)
            shape, dtype = utils[name].output_tensor_info
            buffers[name] = np.empty([batch_size, *shape], dtype=dtype)
        return buffers, utils

    def infer(self, input_data: Any) -> dict[str, Any]:
        """Run a batch: {input: array (frames, ...)}, or an array with a single input; returns {output: frames}.

        A wrong element type is cast, with a warning, in the caller's dict. Boxes are converted (pyhailort-api.md 14).
        """
        begin = time.perf_counter()
        if not isinstance(input_data, dict):
            names = list(self._input_name_to_network_name)
            if len(names) != 1:
                raise Exception(f"when there is more than one input, the input data must be a dictionary of {names}")
            input_data = {names[0]: input_data}
        for name in list(input_data):
            self._require_input(name)
            input_data[name] = np.asarray(input_data[name])
            self._cast_input_data_if_needed(name, input_data)
            self._validate_input_data_format_type(name, input_data)
            self._make_c_contiguous_if_needed(name, input_data)
        batch_size = self._get_number_of_frames(input_data)
        buffers, utils = self._make_output_buffers_and_infos(input_data, batch_size)
        with ExceptionWrapper():
            started = time.perf_counter()
            self._pipeline.infer(input_data, buffers, batch_size)
            self._hw_time = time.perf_counter() - started
        results = {name: self._converted(raw, utils[name], batch_size) for name, raw in buffers.items()}
        self._total_time = time.perf_counter() - begin
        return results

    def _require_input(self, name: str) -> None:
        if name not in self._input_name_to_network_name:
            raise KeyError(f"{name!r} is no input; the inputs are {list(self._input_name_to_network_name)}")

    def _converted(self, raw: Array, utils: OutputLayerUtils, batch_size: int) -> Any:
        if not utils.is_nms:
            return raw
        convert, nms = HailoRTTransformUtils, utils.vstream_info.nms_shape
        if utils.output_order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
            height, width = self._configured_net_group.get_input_vstream_infos()[0].shape[:2]
            return convert._output_raw_buffer_to_nms_with_byte_mask_format(
                raw,
                nms.number_of_classes,
                batch_size,
                height,
                width,
                nms.max_bboxes_per_class,
                np.dtype("float32"),
                self._tf_nms_format,
            )
        if utils.output_order == FormatOrder.HAILO_NMS_BY_SCORE:
            return [convert._output_raw_buffer_to_nms_by_score_format_single_frame(frame) for frame in raw]
        if self._tf_nms_format:
            shape = [batch_size, *utils.tf_nms_fomrat_shape]
            return convert.output_raw_buffer_to_nms_tf_format(
                raw, shape, utils.output_dtype, utils.quantized_empty_bbox
            )
        return convert.output_raw_buffer_to_nms_format(raw, nms.number_of_classes)

    def get_hw_time(self) -> float | None:
        """Return the seconds that the pipeline took for the last batch."""
        return self._hw_time

    def get_total_time(self) -> float | None:
        """Return the seconds that the last call took."""
        return self._total_time

    def _cast_input_data_if_needed(self, input_layer_name: str, input_data: dict[str, Array]) -> None:
        seen = input_data[input_layer_name].dtype
        wanted = self._pipeline.get_host_dtype(input_layer_name)
        if seen != wanted:
            default_logger().warning(
                f"Given input data dtype ({seen}) is different than inferred dtype ({wanted}). "
                f"conversion for every frame will reduce performance"
            )
            input_data[input_layer_name] = input_data[input_layer_name].astype(wanted)

    def _validate_input_data_format_type(self, input_layer_name: str, input_data: dict[str, Array]) -> None:
        kind = self._pipeline.get_user_buffer_format(input_layer_name)
        expected = _pyhailort.get_format_data_bytes(kind)
        seen = input_data[input_layer_name].dtype.itemsize
        if seen != expected:
            raise HailoRTException(
                f"{input_layer_name} numpy array item size is {seen}, not {expected}; use elements of {kind.type}"
            )

    @staticmethod
    def _get_number_of_frames(input_data: dict[str, Array]) -> int:
        if not input_data or any(array.ndim == 0 for array in input_data.values()):
            raise ValueError("Input data cannot be empty; the first axis of every array counts frames")
        counts = {name: array.shape[0] for name, array in input_data.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"The number of frames on all inputs must be equal, got {counts}")
        return int(next(iter(counts.values())))

    def _make_c_contiguous_if_needed(self, input_layer_name: str, input_data: dict[str, Array]) -> None:
        input_data[input_layer_name] = make_contiguous(input_layer_name, input_data[input_layer_name])

    def set_nms_score_threshold(self, threshold: float) -> None:
        """Drop boxes with a lower score."""
        self._pipeline.set_nms_score_threshold(threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        """Drop boxes that a better one overlaps by this much."""
        self._pipeline.set_nms_iou_threshold(threshold)

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        """Keep at most so many boxes of a class."""
        self._pipeline.set_nms_max_proposals_per_class(max_proposals_per_class)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        """Give the masks of a frame so many bytes."""
        self._pipeline.set_nms_max_accumulated_mask_size(max_accumulated_mask_size)

    def __exit__(self, *args: object) -> None:
        pipeline, self._infer_pipeline = self._infer_pipeline, None
        if pipeline is not None:
            pipeline.release(*args)
