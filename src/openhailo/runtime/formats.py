"""Pixel orders, element types, frame layouts and quantisation parameters (hef.md sections 7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhailo._units import align_up
from openhailo.errors import InvalidHef
from openhailo.spec.program import FormatOrder

__all__ = ["DTYPES", "Array", "FormatOrder", "FormatType", "FrameLayout", "Quantization", "UserFormat", "user_shape"]


class FormatType(IntEnum):
    """Element types (runtime-behaviour.md 28)."""

    AUTO = 0
    UINT8 = 1
    UINT16 = 2
    FLOAT32 = 3


#: Element type -> NumPy type; every multi-byte element is little-endian on the wire (hef.md 7).
DTYPES: dict[FormatType, np.dtype[Any]] = {
    FormatType.UINT8: np.dtype("u1"),
    FormatType.UINT16: np.dtype("<u2"),
    FormatType.FLOAT32: np.dtype("<f4"),
}

#: Orders whose frames are planes of luma and chroma; `height` times `features` counts their rows (hef.md 7).
PLANAR_YUV = frozenset(
    {
        FormatOrder.NV12,
        FormatOrder.NV21,
        FormatOrder.I420,
        FormatOrder.HAILO_YYUV,
        FormatOrder.HAILO_YYVU,
        FormatOrder.HAILO_YYYYUV,
    }
)


@dataclass(frozen=True)
class UserFormat:
    """Element type and order of a user's array; AUTO stands for the usual ones (runtime-behaviour.md 14)."""

    type: FormatType = FormatType.AUTO
    order: FormatOrder = FormatOrder.AUTO


@dataclass(frozen=True)
class FrameLayout:
    """One frame as it lies in a transfer: real shape, padded shape, order and element size.

    ``transposed`` says that rows and columns of the user's frame are exchanged on the device.
    """

    order: FormatOrder
    height: int
    width: int
    features: int
    padded_height: int
    padded_width: int
    padded_features: int
    data_bytes: int = 1
    transposed: bool = False

    def __post_init__(self) -> None:
        sizes = (self.height, self.width, self.features, self.padded_height, self.padded_width, self.padded_features)
        if min(sizes) < 1 or self.data_bytes not in (1, 2):
            raise InvalidHef(rule="shape", where="edge layer", detail=f"sizes {sizes}, {self.data_bytes} data bytes")
        if any(real > padded for real, padded in zip(sizes[:3], sizes[3:], strict=True)):
            raise InvalidHef(
                rule="shape", where="edge layer", detail=f"real shape {sizes[:3]} above padded {sizes[3:]}"
            )

    @property
    def type(self) -> FormatType:
        """The device's element type."""
        return FormatType.UINT8 if self.data_bytes == 1 else FormatType.UINT16

    @cached_property
    def frame_bytes(self) -> int:
        """Bytes of one frame on the wire, before rounding (hef.md 7)."""
        features = 4 if self.order is FormatOrder.RGB888 else self.padded_features
        return self.padded_height * self.padded_width * features * self.data_bytes

    @cached_property
    def transfer_bytes(self) -> int:
        """Bytes of one transfer: the frame rounded up to 8 (hef.md 7)."""
        return align_up(self.frame_bytes, 8)

    def unpadded(self) -> FrameLayout:
        """The same frame without padding (hef.md 10, last row)."""
        return replace(self, padded_height=self.height, padded_width=self.width, padded_features=self.features)


@dataclass(frozen=True)
class Quantization:
    """How numbers become integers: ``real = (integer - zero_point) * scale`` (hef.md 8).

    ``zero_points`` and ``scales`` have one element, or one per feature. ``limits`` clip real input values.
    """

    zero_points: tuple[float, ...] = (0.0,)
    scales: tuple[float, ...] = (1.0,)
    limits: tuple[float, float] = (0.0, 255.0)

    @property
    def per_feature(self) -> bool:
        """Whether features really differ; equal vectors count as one pair."""
        return len(set(zip(self.zero_points, self.scales, strict=True))) > 1

    @property
    def zero_point(self) -> float:
        """The zero point of the first feature."""
        return self.zero_points[0]

    @property
    def scale(self) -> float:
        """The scale of the first feature."""
        return self.scales[0]

    @property
    def identity(self) -> bool:
        """Zero point 0 and scale 1 everywhere: numbers are taken as they are, without clipping (hef.md 8)."""
        return not self.per_feature and self.zero_point == 0 and self.scale == 1

    @property
    def valid(self) -> bool:
        """All-zero parameters mean "none given" (hef.md 8)."""
        return any(self.scales) or any(self.zero_points) or any(self.limits)


def user_shape(order: FormatOrder, layout: FrameLayout) -> tuple[int, ...]:
    """The shape of the user's array for one frame (pyhailort-api.md 8: NC (C,), NHW (H, W), others (H, W, C))."""
    height, width = (layout.width, layout.height) if layout.transposed else (layout.height, layout.width)
    features = layout.features
    shapes: dict[FormatOrder, tuple[int, ...]] = {
        FormatOrder.NC: (features,),
        FormatOrder.NHW: (height, width),
        FormatOrder.NCHW: (features, height, width),
        FormatOrder.NHCW: (height, features, width),
        FormatOrder.RGB4: (height, align_up(width * features, 4)),
        **dict.fromkeys(PLANAR_YUV, (height * features, width)),
    }
    return shapes.get(order, (height, width, features))


#: An array of any element type.
Array = NDArray[Any]
