"""Transformations between a user's arrays and the bytes of a transfer, decided once when a network is configured.

A plan is bound to each slot of a stream's ring once; the closure that comes back does one frame with a few NumPy calls,
without allocating. Rules and order of steps: hef.md 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from openhailo.errors import InputError
from openhailo.runtime.formats import DTYPES, Array, FormatOrder, FormatType, FrameLayout, Quantization, user_shape
from openhailo.runtime.transforms.orders import check_order, device_views, is_plain, user_views
from openhailo.runtime.transforms.quantize import Dequantizer, Quantizer

#: One frame in (host to device) or out (device to host).
FrameCopy = Callable[[Array], None]

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

    def bind(self, slot: memoryview) -> FrameCopy:
        """Zero ``slot`` (``transfer_bytes`` of device memory) and return the function that writes a frame into it."""
        slot[:] = bytes(len(slot))
        flat = np.frombuffer(slot, DTYPES[self.layout.type])
        if self.plain and self._quantizer is None:
            target = flat[: int(np.prod(self.shape))].reshape(self.shape)
            return lambda frame: np.copyto(target, frame)
        targets = device_views(flat, self.layout)
        if self._quantizer is not None:
            return self._quantizing(targets, self._quantizer)
        return self._reordering(targets)

    def _quantizing(self, targets: list[Array], quantizer: Quantizer) -> FrameCopy:
        order, layout = self.order, self.layout

        def write(frame: Array) -> None:
            for target, source in zip(targets, user_views(quantizer(frame), order, layout), strict=True):
                np.copyto(target, source, casting="unsafe")

        return write

    def _reordering(self, targets: list[Array]) -> FrameCopy:
        order, layout = self.order, self.layout

        def write(frame: Array) -> None:
            for target, source in zip(targets, user_views(frame, order, layout), strict=True):
                np.copyto(target, source)

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

    def bind(self, slot: memoryview) -> FrameCopy:
        """Return the function that reads the frame in ``slot`` into an array of ``shape`` and ``dtype``."""
        flat = np.frombuffer(slot, DTYPES[self.layout.type])
        if self.plain:
            source = flat[: int(np.prod(self.shape))].reshape(self.shape)
            return self._plain_reader(source)
        return self._reordering(device_views(flat, self.layout))

    def _plain_reader(self, source: Array) -> FrameCopy:
        dequantizer = self._dequantizer
        if dequantizer is None:
            return lambda out: np.copyto(out, source)
        return lambda out: dequantizer(source, out)

    def _reordering(self, sources: list[Array]) -> FrameCopy:
        order, layout = self.order, self.layout
        steps = self._steps(sources)

        def read(out: Array) -> None:
            for source, step, target in zip(sources, steps, user_views(out, order, layout), strict=True):
                step(source, target)

        return read

    def _steps(self, sources: list[Array]) -> list[Callable[[Array, Array], None]]:
        if self._dequantizer is None:
            return [_copy_into] * len(sources)
        if self.layout.order is not FormatOrder.F8CR:
            return [self._dequantizer] * len(sources)
        full = self.layout.features // 8 * 8
        groups = [(0, full, True), (full, self.layout.features, False)]
        return [self._dequantizer.group(*group) for group in groups if group[1] > group[0]]


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
