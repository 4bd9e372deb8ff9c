"""Packed boxes as detections (pyhailort-api.md 14, runtime-behaviour.md 15).

Masks are taken from behind their records, not from the address in them, which may be another process's; a count that is
one too large is corrected (pyhailort-api.md 25 rows 12, 13).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import InputError
from openhailo.runtime.formats import FormatOrder
from openhailo.runtime.host_ops import unpack

from ._errors import translated
from ._structs import Detection, HailoRectangle

Array = NDArray[Any]
_COUNT_BYTES = 2


@dataclass(frozen=True, eq=False)
class DetectionWithByteMask:
    """A box with the pixels of its object (uint8, 0 or 1, row by row from the box's corner)."""

    box: HailoRectangle
    score: float
    class_id: int
    _mask: Array

    @property
    def mask_size(self) -> int:
        """Bytes of the mask."""
        return int(self._mask.size)

    def mask(self) -> Array:
        """Return the mask, one-dimensional."""
        return self._mask


def _bytes_of(buffer: Array) -> Array:
    return np.ascontiguousarray(buffer).reshape(-1).view(np.uint8)


@translated
def convert_nms_by_score_buffer_to_detections(buffer: Array) -> list[Detection]:
    """Return the boxes of a frame by score, best first."""
    raw = _bytes_of(buffer)
    try:
        records = unpack(raw, FormatOrder.HAILO_NMS_BY_SCORE)
    except InputError:
        records = unpack(_with_count_one_less(raw), FormatOrder.HAILO_NMS_BY_SCORE)
    names = ("y_min", "x_min", "y_max", "x_max", "score")
    return [Detection(**{name: float(r[name]) for name in names}, class_id=int(r["class_id"])) for r in records]


def _with_count_one_less(raw: Array) -> Array:
    """Return the frame with its count lowered: the original may count a box that it had no room for."""
    if raw.size < _COUNT_BYTES:
        raise InputError(what="boxes by score", detail=f"{raw.size} bytes")
    lowered = raw.copy()
    lowered[:_COUNT_BYTES].view("<u2")[0] -= 1
    return lowered


@translated
def convert_nms_with_byte_mask_buffer_to_detections(buffer: Array) -> list[DetectionWithByteMask]:
    """Return the boxes of a frame with masks, best first."""
    found = unpack(_bytes_of(buffer), FormatOrder.HAILO_NMS_WITH_BYTE_MASK)
    return [
        DetectionWithByteMask(
            HailoRectangle(*(float(r[name]) for name in ("y_min", "x_min", "y_max", "x_max"))),
            float(r["score"]),
            int(r["class_id"]),
            np.asarray(mask, np.uint8).reshape(-1),
        )
        for r, mask in zip(found.records, found.masks, strict=True)
    ]
