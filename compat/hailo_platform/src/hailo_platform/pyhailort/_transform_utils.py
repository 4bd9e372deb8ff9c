"""`HailoRTTransformUtils` and detections (pyhailort-api.md 14, 18)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _pyhailort
from ._exceptions import ExceptionWrapper, HailoRTException
from ._names import BBOX_PARAMS, BBOX_WITH_MASK_PARAMS
from ._pyhailort import FormatType, QuantInfo

Array = NDArray[Any]


class Detection:
    """A box of an output by score."""

    def __init__(self, detection: _pyhailort.Detection) -> None:
        """Take over a box of the compiled part."""
        self._detection = detection

    @property
    def y_min(self) -> float:
        """Upper edge, as a fraction of the image."""
        return self._detection.y_min

    @property
    def x_min(self) -> float:
        """Left edge, as a fraction of the image."""
        return self._detection.x_min

    @property
    def y_max(self) -> float:
        """Lower edge, as a fraction of the image."""
        return self._detection.y_max

    @property
    def x_max(self) -> float:
        """Right edge, as a fraction of the image."""
        return self._detection.x_max

    @property
    def score(self) -> float:
        """How sure the network is."""
        return self._detection.score

    @property
    def class_id(self) -> int:
        """The class, from 0."""
        return self._detection.class_id


class DetectionWithByteMask:
    """A box with the pixels of its object."""

    def __init__(self, detection: _pyhailort.DetectionWithByteMask) -> None:
        """Take over a box of the compiled part."""
        self._y_min, self._x_min = detection.box.y_min, detection.box.x_min
        self._y_max, self._x_max = detection.box.y_max, detection.box.x_max
        self._score, self._class_id, self._mask = detection.score, detection.class_id, detection.mask()

    @property
    def y_min(self) -> float:
        """Upper edge, as a fraction of the image."""
        return self._y_min

    @property
    def x_min(self) -> float:
        """Left edge, as a fraction of the image."""
        return self._x_min

    @property
    def y_max(self) -> float:
        """Lower edge, as a fraction of the image."""
        return self._y_max

    @property
    def x_max(self) -> float:
        """Right edge, as a fraction of the image."""
        return self._x_max

    @property
    def score(self) -> float:
        """How sure the network is."""
        return self._score

    @property
    def class_id(self) -> int:
        """The class, from 0."""
        return self._class_id

    @property
    def mask(self) -> Array:
        """Bytes 0 or 1 of the box's pixels, row by row: ceil(height) x ceil(width) of the box in image pixels."""
        return self._mask


class HailoRTTransformUtils:
    """Numbers to integers and back, and packed boxes to arrays."""

    @staticmethod
    def get_dtype(data_bytes: int) -> np.dtype[Any]:
        """Return the NumPy type of an element of so many bytes."""
        types: dict[int, np.dtype[Any]] = {1: np.dtype("uint8"), 2: np.dtype("uint16"), 4: np.dtype("float32")}
        if data_bytes not in types:
            raise HailoRTException(f"unsupported data bytes value {data_bytes}")
        return types[data_bytes]

    @staticmethod
    def dequantize_output_buffer(
        src_buffer: Array, dst_buffer: Array, elements_count: int, quant_info: QuantInfo
    ) -> None:
        """Turn the integers of ``src_buffer`` into what ``dst_buffer`` holds."""
        kind = HailoRTTransformUtils._get_format_type
        with ExceptionWrapper():
            _pyhailort.dequantize_output_buffer(
                src_buffer, dst_buffer, kind(src_buffer.dtype), kind(dst_buffer.dtype), elements_count, quant_info
            )

    @staticmethod
    def dequantize_output_buffer_in_place(
        raw_buffer: Array, dst_dtype: Any, elements_count: int, quant_info: QuantInfo
    ) -> None:
        """Do the same where the integers lie."""
        kind = HailoRTTransformUtils._get_format_type
        with ExceptionWrapper():
            _pyhailort.dequantize_output_buffer_in_place(
                raw_buffer, kind(raw_buffer.dtype), kind(dst_dtype), elements_count, quant_info
            )

    @staticmethod
    def quantize_input_buffer(src_buffer: Array, dst_buffer: Array, elements_count: int, quant_info: QuantInfo) -> None:
        """Turn the numbers of ``src_buffer`` into the integers that ``dst_buffer`` holds."""
        kind = HailoRTTransformUtils._get_format_type
        with ExceptionWrapper():
            _pyhailort.quantize_input_buffer(
                src_buffer, dst_buffer, kind(src_buffer.dtype), kind(dst_buffer.dtype), elements_count, quant_info
            )

    # --- boxes by class ---------------------------------------------------------------------------------------------

    @staticmethod
    def output_raw_buffer_to_nms_tf_format(
        raw_output_buffer: Array, shape: Any, dtype: Any, quantized_empty_bbox: Array
    ) -> Array:
        """Return packed boxes of several frames as one array (frames, classes, 5, boxes)."""
        converted = np.empty(tuple(shape), dtype=dtype)
        for frame, out in zip(raw_output_buffer, converted, strict=True):
            HailoRTTransformUtils.output_raw_buffer_to_nms_tf_format_single_frame(
                frame, out, out.shape[0], out.shape[-1], quantized_empty_bbox
            )
        return converted

    @staticmethod
    def output_raw_buffer_to_nms_tf_format_single_frame(
        raw_output_buffer: Array,
        converted_output_frame: Array,
        number_of_classes: int,
        max_bboxes_per_class: int,
        quantized_empty_bbox: Array,
        offset: int = 0,
    ) -> None:
        """Write packed boxes of one frame into an array (classes, 5, boxes)."""
        for class_index in range(number_of_classes):
            count = int(raw_output_buffer[offset])
            if count:
                boxes = raw_output_buffer[offset + 1 : offset + 1 + count * BBOX_PARAMS].reshape(count, BBOX_PARAMS)
                converted_output_frame[class_index, :, :count] = boxes.T
            converted_output_frame[class_index, :, count:max_bboxes_per_class] = np.reshape(
                quantized_empty_bbox, (BBOX_PARAMS, 1)
            )
            offset += BBOX_PARAMS * count + 1

    @staticmethod
    def output_raw_buffer_to_nms_format(raw_output_buffer: Array, number_of_classes: int) -> list[list[Array]]:
        """Return packed boxes of several frames: per frame one array (n, 5) per class."""
        return [
            HailoRTTransformUtils.output_raw_buffer_to_nms_format_single_frame(frame, number_of_classes)
            for frame in raw_output_buffer
        ]

    @staticmethod
    def output_raw_buffer_to_nms_format_single_frame(
        raw_output_buffer: Array, number_of_classes: int, offset: int = 0
    ) -> list[Array]:
        """Return packed boxes of one frame: one array (n, 5) per class; (0, 5) float64 for none."""
        converted = []
        for _ in range(number_of_classes):
            count = int(raw_output_buffer[offset])
            boxes = raw_output_buffer[offset + 1 : offset + 1 + count * BBOX_PARAMS]
            converted.append(boxes.reshape(count, BBOX_PARAMS).copy() if count else np.empty((0, BBOX_PARAMS)))
            offset += BBOX_PARAMS * count + 1
        return converted

    # --- boxes by score, and with masks -----------------------------------------------------------------------------

    @staticmethod
    def _output_raw_buffer_to_nms_by_score_format_single_frame(raw_output_buffer: Array) -> list[Detection]:
        found = _pyhailort.convert_nms_by_score_buffer_to_detections(raw_output_buffer)
        return [Detection(detection) for detection in found]

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_format(
        raw_output_buffer: Array,
        number_of_classes: int,
        batch_size: int,
        image_height: int,
        image_width: int,
        max_bboxes_per_class: int,
        output_dtype: Any,
        is_tf_format: bool = False,
    ) -> Any:
        if is_tf_format:
            return HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_tf_format(
                raw_output_buffer,
                number_of_classes,
                batch_size,
                image_height,
                image_width,
                max_bboxes_per_class,
                output_dtype,
            )
        return HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_hailo_format(raw_output_buffer)

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_hailo_format(
        raw_output_buffer: Array,
    ) -> list[list[DetectionWithByteMask]]:
        convert = HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame
        return [convert(frame) for frame in raw_output_buffer]

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame(
        raw_output_buffer: Array,
    ) -> list[DetectionWithByteMask]:
        found = _pyhailort.convert_nms_with_byte_mask_buffer_to_detections(raw_output_buffer)
        return [DetectionWithByteMask(detection) for detection in found]

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_tf_format(
        raw_output_buffer: Array,
        number_of_classes: int,
        batch_size: int,
        image_height: int,
        image_width: int,
        max_bboxes_per_class: int,
        output_dtype: Any,
    ) -> Array:
        boxes = max_bboxes_per_class * number_of_classes
        rows = image_height * image_width + BBOX_WITH_MASK_PARAMS
        converted = np.zeros((batch_size, 1, rows, boxes), dtype=output_dtype)
        for frame, out in zip(raw_output_buffer, converted, strict=True):
            HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_tf_format_single_frame(
                frame, out, number_of_classes, boxes, image_height, image_width
            )
        return converted

    @staticmethod
    def _output_raw_buffer_to_nms_with_byte_mask_tf_format_single_frame(
        raw_output_buffer: Array,
        converted_output_frame: Array,
        number_of_classes: int,
        max_boxes: int,
        image_height: int,
        image_width: int,
    ) -> None:
        convert = HailoRTTransformUtils._output_raw_buffer_to_nms_with_byte_mask_hailo_format_single_frame
        for index, found in enumerate(convert(raw_output_buffer)[:max_boxes]):
            column = converted_output_frame[0, :, index]
            column[:BBOX_WITH_MASK_PARAMS] = (
                found.y_min,
                found.x_min,
                found.y_max,
                found.x_max,
                found.score,
                found.class_id,
            )
            picture = np.zeros((image_height, image_width), np.uint8)
            _paint(picture, found)
            column[BBOX_WITH_MASK_PARAMS:] = picture.reshape(-1)

    @staticmethod
    def _get_format_type(dtype: Any) -> FormatType:
        numbers = {np.dtype("uint8"): 1, np.dtype("uint16"): 2, np.dtype("float32"): 3}
        kind = np.dtype(dtype)
        if kind not in numbers:
            raise HailoRTException(f"unsupported data type {kind}")
        return FormatType(numbers[kind])


def _paint(picture: Array, found: DetectionWithByteMask) -> None:
    """Put a mask where its box is, cut off at the border of the picture."""
    height, width = picture.shape
    rows = math.ceil((found.y_max - found.y_min) * height)
    columns = math.ceil((found.x_max - found.x_min) * width)
    if found.mask.size != rows * columns or not found.mask.size:
        return
    top, left = max(math.ceil(found.y_min * height), 0), max(math.ceil(found.x_min * width), 0)
    area = picture[top : top + rows, left : left + columns]
    area[:] = found.mask.reshape(rows, columns)[: area.shape[0], : area.shape[1]]
