"""A layer's numbers: which integers pass a threshold, what each stands for, and where in a frame they are.

An 8-bit layer has 256 different numbers, so every function of one of them is a table, and a threshold on the real
number is a threshold on the integer: exactly the same boxes pass as if all were dequantised first, because the table
holds what dequantising gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import DTYPES, Array, FormatOrder
from openhailo.runtime.transforms.orders import device_views

#: Orders in which a box op reads a layer; the vendor's runtime takes NHCW only (hef.md 13).
READABLE = frozenset({FormatOrder.NHCW, FormatOrder.NHWC, FormatOrder.FCR, FormatOrder.NC})

Predicate = Callable[[Array], Array]


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.float32(1) / (np.float32(1) + np.exp(-values))


class Numbers:
    """The real number of each integer of ``layer``: ``(q - zp) * scale``, then ``activation`` if there is one.

    ``values`` is the table, float32. Raises `InvalidHef` for parameters that are no numbers, `UnsupportedHef` for
    features that differ in theirs.
    """

    def __init__(self, layer: Layer, activation: Callable[[Array], Array] | None = None) -> None:
        quantization = layer.quantization
        if quantization.per_feature:
            raise UnsupportedHef(feature=f"host op on {layer.name!r}, whose features are quantised differently")
        check_quantization(layer)
        zero_point, scale = np.float32(quantization.zero_point), np.float32(quantization.scale)
        integers = np.arange(1 << (8 * layer.layout.data_bytes), dtype=np.float32)
        with np.errstate(all="ignore"):
            values = (integers - zero_point) * scale
            self.values: Array = values if activation is None else activation(values).astype(np.float32, copy=False)
        self._dtype = DTYPES[layer.layout.type].type
        self._last: tuple[float, Predicate] | None = None

    def __call__(self, integers: Array) -> Array:
        """Return the real numbers of ``integers``, same shape."""
        return self.values.take(integers)

    def at_least(self, threshold: float) -> Predicate:
        """Return the function that tells which integers stand for ``threshold`` or more; NaN never does."""
        last = self._last
        if last is None or last[0] != threshold:
            # GUESS: thresholds are float32, as the functions of the vendor's interface that set them take them.
            with np.errstate(over="ignore"):
                passing = self.values >= np.float32(threshold)
            last = self._last = (threshold, self._predicate(passing))
        return last[1]

    def _predicate(self, passing: Array) -> Predicate:
        count, dtype = int(np.count_nonzero(passing)), self._dtype
        if count == 0:
            return lambda integers: np.zeros(integers.shape, np.bool_)
        if passing[-count:].all():
            least = dtype(len(passing) - count)
            return lambda integers: np.greater_equal(integers, least)
        if passing[:count].all():
            most = dtype(count - 1)
            return lambda integers: np.less_equal(integers, most)
        return lambda integers: passing[integers]


class Places(NamedTuple):
    """Where in a map (rows, columns, channels) something was found, in that order."""

    rows: Array
    columns: Array
    channels: Array

    def only(self, wanted: Array) -> Places:
        """Return those that ``wanted`` (bool or indices) picks."""
        return Places(self.rows[wanted], self.columns[wanted], self.channels[wanted])


def places(mask: Array) -> Places:
    """Return where ``mask`` (rows, columns, channels) is true, sorted by row, column, channel.

    Fast where few are true and the mask lies in memory as a layer does.
    """
    _, columns, channels = mask.shape
    if mask.strides[1] < mask.strides[2]:
        flat = _true(mask.transpose(0, 2, 1).reshape(-1))
        row, rest = np.divmod(flat, channels * columns)
        channel, column = np.divmod(rest, columns)
        if channels > 1 and len(flat) > 1:
            order = np.argsort((row * columns + column) * channels + channel)
            row, column, channel = row[order], column[order], channel[order]
        return Places(row, column, channel)
    cell, channel = np.divmod(_true(mask.reshape(-1)), channels)
    row, column = np.divmod(cell, columns)
    return Places(row, column, channel)


def _true(flat: Array) -> Array:
    """Return the indices of true elements; eight at a time are passed over where all are false."""
    if len(flat) % 8:
        return np.flatnonzero(flat)
    words = np.flatnonzero(flat.view(np.uint64) != 0)
    if len(words) * 64 > len(flat):
        return np.flatnonzero(flat)
    word, byte = np.nonzero(flat.reshape(-1, 8)[words])
    found: Array = words[word] * 8 + byte
    return found


def frame_view(layer: Layer, slots: memoryview, stride: int) -> Array:
    """View device memory as (slots, rows, columns, channels) of ``layer``'s integers, padding left out."""
    table = np.frombuffer(slots, DTYPES[layer.layout.type]).reshape(-1, stride // layer.layout.data_bytes)
    return device_views(table, layer.layout)[0]


def check_quantization(layer: Layer) -> None:
    """Refuse parameters that are none, or no numbers. Raises `InvalidHef`."""
    quantization = layer.quantization
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.array([*quantization.zero_points, *quantization.scales], np.float32)).all()
    if not (quantization.valid and finite):
        detail = f"zero point {quantization.zero_point}, scale {quantization.scale}"
        raise InvalidHef(rule="quantisation", where=layer.name, detail=detail)


def check_readable(layer: Layer) -> None:
    """Refuse layers that a box op cannot read. Raises `UnsupportedHef`."""
    if layer.layout.order not in READABLE:
        raise UnsupportedHef(feature=f"host op on {layer.name!r} in order {layer.layout.order.name}")
    if layer.layout.transposed:
        raise UnsupportedHef(feature=f"host op on {layer.name!r}, which the device transposes")
