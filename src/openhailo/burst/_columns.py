"""Checks of arrays that come from outside: kind, shape and range, before anything is converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from openhailo.errors import InputError


def column(what: str, values: npt.ArrayLike, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
    """``values`` as a contiguous array of ``count`` elements of ``dtype``; one value stands for all.

    Whole numbers must fit ``dtype`` exactly. An array that already has the right form is not copied.

    Raises:
        InputError: wrong length, kind or range.
    """
    array = _as_array(what, values)
    if array.ndim == 0:
        array = np.broadcast_to(array, (count,))
    if array.shape != (count,):
        raise InputError(what=what, detail=f"shape {array.shape}, needed ({count},)")
    wanted = np.dtype(dtype)
    if array.dtype != wanted:
        _check_convertible(what, array, wanted)
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(wanted)
    return np.ascontiguousarray(array)


def finite(what: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``values`` unchanged.

    Raises:
        InputError: one of them is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise InputError(what=what, detail="NaN or infinity; give finite numbers")
    return values


def length_of(what: str, values: npt.ArrayLike) -> int:
    """Number of elements of a one-dimensional array.

    Raises:
        InputError: not one-dimensional.
    """
    array = _as_array(what, values)
    if array.ndim != 1:
        raise InputError(what=what, detail=f"{array.ndim} dimensions, needed one")
    return int(array.shape[0])


def _as_array(what: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(what=what, detail=f"not an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        if array.size == 0:
            return array.astype(np.uint8)
        raise InputError(what=what, detail=f"elements of type {array.dtype}, needed numbers")
    return array


def _check_convertible(what: str, array: npt.NDArray[Any], wanted: np.dtype[Any]) -> None:
    if wanted.kind == "f" or array.size == 0:
        return
    if array.dtype.kind == "f" and not bool(np.equal(array, np.trunc(array)).all()):
        raise InputError(what=what, detail=f"fractions where {wanted} is needed")
    low, high = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    if array.min() < low or array.max() > high:
        raise InputError(what=what, detail=f"{array.min()}..{array.max()} does not fit {wanted} ({low}..{high})")
