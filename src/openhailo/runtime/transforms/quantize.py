"""Real numbers to integers and back (hef.md 8), whole arrays at a time, into buffers that exist already."""

from __future__ import annotations

import math

import numpy as np

from openhailo.errors import InputError, UnsupportedHef
from openhailo.runtime.formats import Array, FormatOrder, Quantization

#: Scratch memory holds this many elements, or one frame: small frames are converted many at a time.
_SCRATCH_ELEMENTS = 1 << 16


class Quantizer:
    """Turns float32 frames of one shape into integers, in scratch memory of its own (not for several threads).

    ``frames`` is how many it takes at a time.
    """

    def __init__(self, shape: tuple[int, ...], quantization: Quantization) -> None:
        """Allocate scratch memory. Features that differ are refused: the format allows them on outputs only."""
        check_valid(quantization)
        if quantization.per_feature:
            raise UnsupportedHef(feature="an input whose features have different quantisation parameters")
        self._identity = quantization.identity
        self._low, self._high = (np.float32(limit) for limit in quantization.limits)
        self._scale, self._zero_point = np.float32(quantization.scale), np.float32(quantization.zero_point)
        self.frames = max(1, _SCRATCH_ELEMENTS // math.prod(shape))
        self._real = np.empty((self.frames, *shape), np.float32)
        self._integer = np.empty((self.frames, *shape), np.int32)

    def __call__(self, frames: Array) -> Array:
        """Return the int32 values of up to ``self.frames`` frames; the array is reused by the next call.

        Values beyond the element type wrap when they are stored, as the vendor's integer conversion does.
        """
        real, integer = self._real[: len(frames)], self._integer[: len(frames)]
        if self._identity:
            np.rint(frames, out=real)
        else:
            np.clip(frames, self._low, self._high, out=real)
            np.divide(real, self._scale, out=real)
            np.add(real, self._zero_point, out=real)
            np.rint(real, out=real)
        with np.errstate(invalid="ignore"):
            np.copyto(integer, real, casting="unsafe")
        return integer


class Dequantizer:
    """Turns device integers into float32: ``(integer - zero_point) * scale``, per feature where features differ."""

    def __init__(self, quantization: Quantization, features: int, order: FormatOrder) -> None:
        """Prepare the parameters; ``order`` NHW carries class indices, which are only cast (hef.md 8)."""
        check_valid(quantization)
        self._cast_only = quantization.identity or order is FormatOrder.NHW
        self._zero_point: Array = np.asarray(quantization.zero_point, np.float32)
        self._scale: Array = np.asarray(quantization.scale, np.float32)
        if quantization.per_feature:
            if len(quantization.scales) != features:
                detail = f"{len(quantization.scales)} parameters for {features} features"
                raise InputError(what="quantisation", detail=detail)
            self._zero_point = np.asarray(quantization.zero_points, np.float32)
            self._scale = np.asarray(quantization.scales, np.float32)
        self._shift = bool(np.any(self._zero_point))

    def group(self, first: int, last: int, grouped: bool) -> Dequantizer:
        """Return the dequantizer of features ``first:last``, shaped (groups, 8) when ``grouped``."""
        part = object.__new__(Dequantizer)
        part.__dict__.update(self.__dict__)
        if self._scale.ndim:
            shape = (-1, 8) if grouped else (-1,)
            part._zero_point = self._zero_point[first:last].reshape(shape)
            part._scale = self._scale[first:last].reshape(shape)
        return part

    def __call__(self, source: Array, out: Array) -> None:
        """Write the real values of ``source`` (features last) into float32 ``out`` of the same shape."""
        if self._cast_only:
            np.copyto(out, source, casting="unsafe")
        elif self._shift:
            np.subtract(source, self._zero_point, out=out, dtype=np.float32)
            np.multiply(out, self._scale, out=out)
        else:
            np.multiply(source, self._scale, out=out, dtype=np.float32)


def check_valid(quantization: Quantization) -> None:
    """Refuse parameters that are all zero: the file holds none (hef.md 8). Raises `UnsupportedHef`."""
    if not quantization.valid:
        raise UnsupportedHef(feature="a layer without quantisation parameters", hint="use the device's raw integers")
