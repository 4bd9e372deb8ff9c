"""The linear nodes of an NIR graph on arrays: a batch of inputs in, the same batch of currents out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.errors import InputError

Array = npt.NDArray[np.float64]
MAX_ELEMENTS: Final = 1 << 24
"""Most values that one node may make of one batch (128 MB)."""


def apply(name: str, node: Any, batch: Array, *, bias: bool) -> Array:
    """Return what ``node`` makes of ``batch`` (frames, *shape); ``bias`` says whether constants are added.

    Raises:
        InputError: shapes that do not meet, numbers that are none, or more than fits.
    """
    rule = _RULES[type(node).__name__]
    try:
        result = rule(node, batch, bias)
    except InputError as error:
        raise InputError(what=f"node {name!r}", detail=error.detail) from error
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(what=f"node {name!r}", detail=f"takes no input of shape {batch.shape[1:]}: {error}") from error
    if not np.isfinite(result).all():
        raise InputError(what=f"node {name!r}", detail="gives NaN or infinity; its parameters are damaged")
    return result


def is_linear(node: Any) -> bool:
    """Whether `apply` knows ``node``."""
    return type(node).__name__ in _RULES


def _check_size(*sizes: int) -> None:
    if math.prod(sizes) > MAX_ELEMENTS:
        raise InputError(what="node", detail=f"{math.prod(sizes)} values, at most {MAX_ELEMENTS} are taken")


def _same(_node: Any, batch: Array, _bias: bool) -> Array:
    return batch


def _dense(node: Any, batch: Array, bias: bool) -> Array:
    weight = np.asarray(node.weight, np.float64)
    if weight.ndim != 2 or batch.ndim != 2:
        raise InputError(
            what="node", detail=f"weight {weight.shape} on {batch.shape[1:]}; a matrix on a vector is taken"
        )
    _check_size(len(batch), len(weight))
    with np.errstate(all="ignore"):
        result = batch @ weight.T
        return result + np.asarray(node.bias, np.float64) if bias and hasattr(node, "bias") else result


def _scale(node: Any, batch: Array, _bias: bool) -> Array:
    with np.errstate(all="ignore"):
        result: Array = batch * np.asarray(node.scale, np.float64)
    if result.shape != batch.shape:
        raise InputError(what="node", detail=f"scale of shape {np.shape(node.scale)} on {batch.shape[1:]}")
    return result


def _flatten(node: Any, batch: Array, _bias: bool) -> Array:
    shape = batch.shape[1:]
    first, last = int(node.start_dim), int(node.end_dim)
    first, last = (axis + len(shape) if axis < 0 else axis for axis in (first, last))
    if not 0 <= first <= last < len(shape):
        raise InputError(what="node", detail=f"axes {node.start_dim} to {node.end_dim} of shape {shape}")
    return batch.reshape(len(batch), *shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])


def _numbers(value: Any, count: int, least: int) -> list[int]:
    given = np.asarray(value)
    if given.dtype.kind not in "iuf" or given.size not in (1, count):
        raise InputError(what="node", detail=f"{value!r} where {count} numbers are needed")
    numbers = [int(number) for number in np.broadcast_to(given.reshape(-1), (count,))]
    if min(numbers) < least or max(numbers) > 1 << 16:
        raise InputError(what="node", detail=f"{numbers} where {least}..65536 is possible")
    return numbers


def _pads(padding: Any, reach: list[int], strides: list[int]) -> list[tuple[int, int]]:
    """Rows of zeros before and after each axis; ``reach`` is a kernel's extent less one."""
    if not isinstance(padding, str):
        return [(size, size) for size in _numbers(padding, len(reach), 0)]
    if padding == "same" and max(strides) > 1:
        raise InputError(what="node", detail="padding 'same' goes with a stride of 1")
    if padding not in {"same", "valid"}:
        raise InputError(what="node", detail=f"padding {padding!r} is unknown")
    return [(size // 2, size - size // 2) if padding == "same" else (0, 0) for size in reach]


def _windows(batch: Array, size: list[int], strides: list[int], dilation: list[int], padding: Any) -> Array:
    """Views (frames, channels, *positions, *size) of what a kernel sees at each position."""
    axes = len(size)
    if batch.ndim != 2 + axes:
        raise InputError(what="node", detail=f"shape {batch.shape[1:]} where {1 + axes} axes are needed")
    reach = [(extent - 1) * step for extent, step in zip(size, dilation, strict=True)]
    pads = _pads(padding, reach, strides)
    _check_size(len(batch), batch.shape[1], *(n + a + b for n, (a, b) in zip(batch.shape[2:], pads, strict=True)))
    padded = np.pad(batch, [(0, 0), (0, 0), *pads])
    if any(have <= need for have, need in zip(padded.shape[2:], reach, strict=True)):
        raise InputError(what="node", detail=f"kernel {size} is larger than its input {batch.shape[2:]}")
    views = np.lib.stride_tricks.sliding_window_view(padded, [r + 1 for r in reach], axis=tuple(range(2, 2 + axes)))
    steps = (slice(None, None, step) for step in (*strides, *dilation))
    chosen: Array = views[(slice(None), slice(None), *steps)]
    return chosen


def _convolve(node: Any, batch: Array, bias: bool) -> Array:
    weight = np.asarray(node.weight, np.float64)
    axes = 2 if type(node).__name__ == "Conv2d" else 1
    groups = _numbers(node.groups, 1, 1)[0]
    if weight.ndim != axes + 2 or batch.shape[1] != weight.shape[1] * groups or len(weight) % groups:
        raise InputError(what="node", detail=f"weight {weight.shape} in {groups} groups on {batch.shape[1:]}")
    strides, dilation = _numbers(node.stride, axes, 1), _numbers(node.dilation, axes, 1)
    seen = _windows(batch, list(weight.shape[2:]), strides, dilation, node.padding)
    _check_size(len(batch), len(weight), *seen.shape[2 : 2 + axes])
    _check_size(len(batch) * weight.shape[1], math.prod(seen.shape[2:]))
    kernel_axes = tuple(range(2 + axes, 2 + 2 * axes))
    parts = []
    for kernel, field in zip(np.split(weight, groups), np.split(seen, groups, axis=1), strict=True):
        with np.errstate(all="ignore"):
            made = np.tensordot(field, kernel, axes=((1, *kernel_axes), (1, *range(2, 2 + axes))))
        parts.append(np.moveaxis(made, -1, 1))
    result: Array = np.concatenate(parts, axis=1)
    if not bias:
        return result
    return result + np.asarray(node.bias, np.float64).reshape(1, -1, *[1] * axes)


def _pool(node: Any, batch: Array, _bias: bool) -> Array:
    size = _numbers(node.kernel_size, 2, 1)
    seen = _windows(batch, size, _numbers(node.stride, 2, 1), [1, 1], node.padding)
    _check_size(len(batch) * batch.shape[1], math.prod(seen.shape[2:4]))
    total: Array = seen.sum(axis=(4, 5))
    return total / math.prod(size) if type(node).__name__ == "AvgPool2d" else total


_RULES: Final[Mapping[str, Callable[[Any, Array, bool], Array]]] = {
    "Input": _same,
    "Output": _same,
    "Affine": _dense,
    "Linear": _dense,
    "Scale": _scale,
    "Flatten": _flatten,
    "Conv1d": _convolve,
    "Conv2d": _convolve,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
}
