"""Numbers to integers and back, on whole buffers (pyhailort-api.md 18, hef.md 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._enums import FormatType
from ._errors import HailoRTStatusException, fail
from ._structs import HailoFormat, QuantInfo

Array = NDArray[Any]

DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("uint8"), 2: np.dtype("uint16"), 3: np.dtype("float32")}
_QUANTIZED_FROM = {("float32", "uint8"), ("float32", "uint16"), ("uint8", "uint8"), ("uint16", "uint16")}
_DEQUANTIZED_FROM = {
    ("uint8", "uint8"),
    ("uint8", "uint16"),
    ("uint8", "float32"),
    ("uint16", "uint16"),
    ("uint16", "float32"),
    ("float32", "float32"),
}


def get_dtype(format_type: FormatType) -> np.dtype[Any]:
    """Return the NumPy type of a format type; AUTO has none."""
    found = DTYPES.get(int(format_type))
    if found is None:
        raise HailoRTStatusException("Format type is AUTO, resolve it first: it has no NumPy type")
    return found


def get_format_data_bytes(format_: HailoFormat) -> int:
    """Return the bytes of an element: 1, 2 or 4."""
    return get_dtype(format_.type).itemsize


def is_qp_valid(quant_info: QuantInfo) -> bool:
    """Whether there is one set of parameters for all features."""
    values = (quant_info.qp_zp, quant_info.qp_scale, quant_info.limvals_min, quant_info.limvals_max)
    return any(values)


def _check(pair: tuple[str, str], allowed: set[tuple[str, str]], quant_info: QuantInfo) -> None:
    if not is_qp_valid(quant_info):
        fail("INVALID_OPERATION", "features have parameters of their own: use the quant_infos of the InferStream")
    if pair not in allowed:
        fail("INVALID_ARGUMENT", f"{pair[0]} cannot become {pair[1]}")


def quantize_input_buffer(
    src_buffer: Array,
    dst_buffer: Array,
    src_dtype: FormatType,
    dst_dtype: FormatType,
    elements_count: int,
    quant_info: QuantInfo,
) -> None:
    """Turn numbers into integers: clip to the limits, scale, round half to even."""
    pair = (get_dtype(src_dtype).name, get_dtype(dst_dtype).name)
    _check(pair, _QUANTIZED_FROM, quant_info)
    source = src_buffer.reshape(-1)[:elements_count]
    if pair[0] == "float32":
        if (quant_info.qp_zp, quant_info.qp_scale) != (0, 1):
            source = np.clip(source, np.float32(quant_info.limvals_min), np.float32(quant_info.limvals_max))
            source = source / np.float32(quant_info.qp_scale) + np.float32(quant_info.qp_zp)
        source = np.rint(source).astype(np.int64)
    flat = dst_buffer.reshape(-1)
    flat[:elements_count] = source.astype(dst_buffer.dtype)


def dequantize_output_buffer(
    src_buffer: Array,
    dst_buffer: Array,
    src_dtype: FormatType,
    dst_dtype: FormatType,
    elements_count: int,
    quant_info: QuantInfo,
) -> None:
    """Turn integers into numbers, or into wider integers."""
    _check((get_dtype(src_dtype).name, get_dtype(dst_dtype).name), _DEQUANTIZED_FROM, quant_info)
    source = src_buffer.reshape(-1)[:elements_count]
    dst_buffer.reshape(-1)[:elements_count] = _dequantized(source, get_dtype(dst_dtype), quant_info)


def dequantize_output_buffer_in_place(
    dst_buffer: Array, src_dtype: FormatType, dst_dtype: FormatType, elements_count: int, quant_info: QuantInfo
) -> None:
    """Do the same where the integers lie; the buffer must have room for the result."""
    source_type, result_type = get_dtype(src_dtype), get_dtype(dst_dtype)
    _check((source_type.name, result_type.name), _DEQUANTIZED_FROM, quant_info)
    raw = dst_buffer.reshape(-1).view(np.uint8)
    if raw.size < elements_count * result_type.itemsize:
        fail("INSUFFICIENT_BUFFER", f"{elements_count} elements of {result_type} need more than {raw.size} bytes")
    source = raw[: elements_count * source_type.itemsize].view(source_type).copy()
    raw[: elements_count * result_type.itemsize].view(result_type)[:] = _dequantized(source, result_type, quant_info)


def _dequantized(source: Array, result_type: np.dtype[Any], quant_info: QuantInfo) -> Array:
    if source.dtype == result_type or result_type != np.float32:
        return source.astype(result_type)
    numbers = source.astype(np.float32)
    return (numbers - np.float32(quant_info.qp_zp)) * np.float32(quant_info.qp_scale)
