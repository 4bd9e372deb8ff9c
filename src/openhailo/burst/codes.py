"""FEAGI's numbers: one-byte potentials of [-100, +50], their quirks included, and the draw of a neuron (feagi.md 3, 7).

A potential is a signed code. Codes are added, not the values behind them, so that the zero of a sum is code 0, which
stands for -25.0. Nothing here repairs that: networks were tuned with it. ``FP32`` is the same interface over plain f32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openhailo.errors import InputError

Array = npt.NDArray[Any]

LOWEST, HIGHEST = -127, 127
"""Codes that arithmetic can reach; -128 is only ever read."""
_F = np.float32


def encode(values: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Codes of ``values`` (f32, any shape), rounded half away from zero, saturated; NaN gives 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (np.asarray(values, _F) + _F(100)) / _F(150) * _F(254) - _F(127)
        rounded = np.where(scaled >= 0, np.minimum(scaled + _F(0.5), _F(127)), np.maximum(scaled - _F(0.5), _F(-127)))
        codes: npt.NDArray[np.int8] = np.nan_to_num(rounded, nan=0.0).astype(np.int8)
    return codes


def decode(codes: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Values in -100..50 (f32) of ``codes``."""
    levels = np.asarray(codes, np.int8).astype(np.int16) + 127
    return levels.astype(_F) / _F(254) * _F(150) - _F(100)


def saturating_add(left: npt.ArrayLike, right: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Sum of the codes themselves, held within -127..127."""
    total = np.asarray(left, np.int8).astype(np.int16) + np.asarray(right, np.int8)
    return np.clip(total, LOWEST, HIGHEST).astype(np.int8)


def leak(codes: npt.ArrayLike, coefficient: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Codes after one leak: ``decode * (1 - coefficient)`` in f32, encoded again."""
    with np.errstate(over="ignore", invalid="ignore"):
        return encode(decode(codes) * (_F(1) - np.asarray(coefficient, _F)))


def leak_table(coefficient: float) -> npt.NDArray[np.int8]:
    """What each code becomes after one leak: 256 codes, at ``code + 128``."""
    return leak(np.arange(-128, 128).astype(np.int8), coefficient)


def random_unit(neurons: npt.ArrayLike, burst: int) -> npt.NDArray[np.float32]:
    """The draws of ``neurons`` (u32) in ``burst``: 0..1 inclusive, no seed, no state."""
    seed = np.asarray(neurons, np.uint32) * np.uint32(2654435761) + np.uint32((burst * 1597334677) & 0xFFFFFFFF)
    state = seed * np.uint32(747796405) + np.uint32(2891336453)
    mixed = ((state >> ((state >> np.uint32(28)) + np.uint32(4))) ^ state) * np.uint32(277803737)
    unit: npt.NDArray[np.float32] = ((mixed >> np.uint32(22)) ^ mixed).astype(_F) / _F(4294967296)
    return unit


@dataclass(frozen=True)
class Precision:
    """How potentials are stored: ``dtype``, the value of a neuron at rest, and the largest threshold limit."""

    name: str
    dtype: np.dtype[Any]
    zero: Any
    highest: Any

    def encode(self, values: npt.ArrayLike) -> Array:
        """Stored form of ``values`` (f32)."""
        return encode(values) if self.name == "int8" else np.asarray(values, _F)

    def decode(self, stored: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Values (f32) of the stored form."""
        return decode(stored) if self.name == "int8" else np.asarray(stored, _F)

    def add(self, left: Array, right: Array) -> Array:
        """Sum of two stored values."""
        if self.name == "int8":
            return saturating_add(left, right)
        with np.errstate(over="ignore", invalid="ignore"):
            return left + right

    def leak(self, stored: Array, coefficient: Array) -> Array:
        """Stored values after one leak."""
        if self.name == "int8":
            return leak(stored, coefficient)
        with np.errstate(over="ignore", invalid="ignore"):
            return stored * (_F(1) - coefficient)


INT8 = Precision("int8", np.dtype(np.int8), np.int8(0), np.int8(HIGHEST))
FP32 = Precision("fp32", np.dtype(np.float32), _F(0), np.finfo(np.float32).max)


def precision_of(name: str) -> Precision:
    """The precision called ``name``: "int8" or "fp32".

    Raises:
        InputError: another name.
    """
    for precision in (INT8, FP32):
        if name == precision.name:
            return precision
    raise InputError(what="precision", detail=f"{name!r} is unknown; use 'int8' or 'fp32'")
