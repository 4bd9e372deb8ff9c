"""Softmax and argmax over the features of a layer (hef.md 13)."""

from __future__ import annotations

import numpy as np

from openhailo.runtime.formats import Array

#: Rows are compared this many bytes at a time, so that the best so far stays in the processor's cache.
_BLOCK_BYTES = 1 << 16


def softmax(values: Array) -> None:
    """Turn float32 ``values`` (..., features) into exp(x) / sum of exp(x), in place.

    The largest value is taken off first: the same quotient, which the original loses where exponentials overflow.
    """
    with np.errstate(all="ignore"):
        values -= values.max(axis=-1, keepdims=True)
        np.exp(values, out=values)
        values /= values.sum(axis=-1, keepdims=True)


def argmax(frames: Array, out: Array) -> None:
    """Write the index of the first largest feature of integers (n, rows, columns, features) into (n, rows, columns)."""
    if frames.strides[2] >= frames.strides[3]:
        np.copyto(out, frames.argmax(axis=3), casting="unsafe")
        return
    rows = max(1, _BLOCK_BYTES // (frames.shape[2] * frames.itemsize))
    for frame, target in zip(frames, out, strict=True):
        for start in range(0, len(frame), rows):
            _running(frame[start : start + rows].transpose(2, 0, 1), target[start : start + rows])


def _running(planes: Array, out: Array) -> None:
    """Argmax over planes (features, rows, columns) that lie row by row in memory.

    Number and index are one integer, so that the largest of those has the answer in its lower half: the index counts
    backwards, so that of equal numbers the first one is the largest.
    """
    bits = 8 if planes.dtype == np.uint8 and len(planes) <= 1 << 8 else 16
    kind = np.uint16 if bits == 8 else np.uint32
    last = kind((1 << bits) - 1)
    most, key = np.zeros(planes.shape[1:], kind), np.empty(planes.shape[1:], kind)
    for number, plane in enumerate(planes):
        np.copyto(key, plane)
        np.left_shift(key, kind(bits), out=key)
        np.bitwise_or(key, last - kind(number), out=key)
        np.maximum(most, key, out=most)
    np.copyto(out, last - (most & last), casting="unsafe")
