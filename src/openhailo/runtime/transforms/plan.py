"""Transformations between a user's arrays and the bytes of a transfer, decided once when a network is configured.

A plan is bound to the slots of a stream's ring once; the function that comes back does a run of frames with a few NumPy
calls, without allocating. Rules and order of steps: hef.md 9.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from openhailo.errors import InputError
from openhailo.runtime.formats import DTYPES, Array, FormatOrder, FormatType, FrameLayout, Quantization, user_shape
from openhailo.runtime.transforms.orders import check_order, device_views, is_plain, user_views
from openhailo.runtime.transforms.quantize import Dequantizer, Quantizer

#: ``copy(frames, first, last)``: move frames (last - first, *shape) into or out of the slots [first, last).
FramesCopy = Callable[[Array, int, int], None]

U8, U16, F32 = FormatType.UINT8, FormatType.UINT16, FormatType.FLOAT32


class InputTransform:
    """User frames -> transfers of one input layer.

    ``shape`` and ``dtype`` are those of the user's array for one frame; ``transfer_bytes`` is the size of a slot.
    """

    def __init__(
        self, layout: FrameLayout, order: FormatOrder, user_type: FormatType, quantization: Quantization
    ) -> None:
        check_order(order, layout, to_device=True)
        _check_types(user_type, layout.type, to_device=True)
        self.layout, self.order, self.type = layout, order, user_type
        self.shape = user_shape(order, layout)
        self.dtype: np.dtype[Any] = DTYPES[user_type]
        self.transfer_bytes = layout.transfer_bytes
        self.plain = is_plain(order, layout)
        self._quantizer = Quantizer(self.shape, quantization) if user_type is F32 else None

    def bind(self, slots: memoryview, stride: int) -> FramesCopy:
        """Return the function that writes C-contiguous arrays of ``dtype`` into slots, ``stride`` bytes apart.

        Padding is never written: the slots' memory has to be zero when it is new.
        """
        table = _slot_table(slots, stride, self.layout)
        quantizer = self._quantizer
        if self.plain and quantizer is None:
            target = table[:, : math.prod(self.shape)].reshape(-1, *self.shape)
            return lambda frames, first, last: np.copyto(target[first:last], frames)
        targets = device_views(table, self.layout)
        return self._reordering(targets) if quantizer is None else self._quantizing(targets, quantizer)

    def _quantizing(self, targets: list[Array], quantizer: Quantizer) -> FramesCopy:
        order, layout, step = self.order, self.layout, quantizer.frames

        def write(frames: Array, first: int, last: int) -> None:
            for start in range(first, last, step):
                stop = min(start + step, last)
                sources = user_views(quantizer(frames[start - first : stop - first]), order, layout)
                for target, source in zip(targets, sources, strict=True):
                    np.copyto(target[start:stop], source, casting="unsafe")

        return write

    def _reordering(self, targets: list[Array]) -> FramesCopy:
        order, layout = self.order, self.layout

        def write(frames: Array, first: int, last: int) -> None:
            for target, source in zip(targets, user_views(frames, order, layout), strict=True):
                np.copyto(target[first:last], source)

        return write


class OutputTransform:
    """Transfers of one output layer -> user frames; ``shape`` and ``dtype`` are those of one frame."""

    def __init__(
        self, layout: FrameLayout, order: FormatOrder, user_type: FormatType, quantization: Quantization
    ) -> None:
        check_order(order, layout, to_device=False)
        _check_types(user_type, layout.type, to_device=False)
        self.layout, self.order, self.type = layout, order, user_type
        self.shape = user_shape(order, layout)
        self.dtype: np.dtype[Any] = DTYPES[user_type]
        self.transfer_bytes = layout.transfer_bytes
        self.plain = is_plain(order, layout)
        self._dequantizer = Dequantizer(quantization, layout.features, order) if user_type is F32 else None

    def bind(self, slots: memoryview, stride: int) -> FramesCopy:
        """Return the function that reads slots, ``stride`` bytes apart, into C-contiguous arrays of ``dtype``."""
        table = _slot_table(slots, stride, self.layout)
        if self.plain:
            return self._plain_reader(table[:, : math.prod(self.shape)].reshape(-1, *self.shape))
        return self._reordering(device_views(table, self.layout))

    def _plain_reader(self, source: Array) -> FramesCopy:
        dequantizer = self._dequantizer
        if dequantizer is None:
            return lambda out, first, last: np.copyto(out, source[first:last])
        return lambda out, first, last: dequantizer(source[first:last], out)

    def _reordering(self, sources: list[Array]) -> FramesCopy:
        order, layout = self.order, self.layout
        steps = self._steps(sources)

        def read(out: Array, first: int, last: int) -> None:
            for source, step, target in zip(sources, steps, user_views(out, order, layout), strict=True):
                step(source[first:last], target)

        return read

    def _steps(self, sources: list[Array]) -> list[Callable[[Array, Array], None]]:
        if self._dequantizer is None:
            return [_copy_into] * len(sources)
        if self.layout.order is not FormatOrder.F8CR:
            return [self._dequantizer] * len(sources)
        full = self.layout.features // 8 * 8
        groups = [(0, full, True), (full, self.layout.features, False)]
        return [self._dequantizer.group(*group) for group in groups if group[1] > group[0]]


def _slot_table(slots: memoryview, stride: int, layout: FrameLayout) -> Array:
    """View device memory as (slots, elements of one slot)."""
    return np.frombuffer(slots, DTYPES[layout.type]).reshape(-1, stride // layout.data_bytes)


def _copy_into(source: Array, target: Array) -> None:
    np.copyto(target, source)


def _check_types(user: FormatType, device: FormatType, *, to_device: bool) -> None:
    if user is F32 or user is device or (user is U16 and device is U8 and not to_device):
        return
    if user is U8 and device is U16 and to_device:
        return
    raise InputError(
        what=f"element type {user.name} for a device layer of {device.name}", detail="they cannot be converted"
    )


def plan_input(
    layout: FrameLayout,
    quantization: Quantization,
    *,
    order: FormatOrder,
    user_type: FormatType = FormatType.AUTO,
) -> InputTransform:
    """Plan the way of user frames into transfers. AUTO type: the device's. Raises `InputError`, `UnsupportedHef`."""
    chosen = layout.type if user_type is FormatType.AUTO else user_type
    return InputTransform(layout, order, chosen, quantization)


def plan_output(
    layout: FrameLayout,
    quantization: Quantization,
    *,
    order: FormatOrder,
    user_type: FormatType = FormatType.AUTO,
) -> OutputTransform:
    """Plan the way of transfers into user frames. AUTO type: the device's. Raises `InputError`, `UnsupportedHef`."""
    chosen = layout.type if user_type is FormatType.AUTO else user_type
    return OutputTransform(layout, order, chosen, quantization)
