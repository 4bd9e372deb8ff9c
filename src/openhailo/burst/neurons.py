"""Neurons as a structure of arrays: one array per property, one element per neuron; a neuron's id is its position."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openhailo.burst._columns import column, finite
from openhailo.burst.codes import precision_of
from openhailo.errors import InputError

NO_LIMIT = 65535
"""A consecutive-fire limit that means none, as 0 does (feagi.md 5 step 2d)."""
POWER_AREA, FATIGUE_AREA = 1, 2
"""Core areas (feagi.md 5 step 1)."""
FIRST_MEMORY_ID = 50_000_000
"""Ids from here up are memory neurons (feagi.md 5 step 2)."""

_DTYPES = {
    "leak": np.float32,
    "refractory_period": np.uint16,
    "refractory_countdown": np.uint16,
    "excitability": np.float32,
    "valid": np.bool_,
    "consecutive_limit": np.uint16,
    "consecutive_count": np.uint16,
    "snooze": np.uint16,
    "charge_accumulation": np.bool_,
    "area": np.uint16,
}


@dataclass(eq=False)
class Neurons:
    """All neurons of a network. ``potential``, ``threshold`` and ``threshold_limit`` are stored values.

    Stored values are i8 codes ("int8") or f32 ("fp32"); :meth:`create` takes plain values instead. Every array has
    ``count`` elements. A threshold limit of the highest stored value is none; a consecutive limit of 0 or 65535, too.
    """

    precision: str
    potential: npt.NDArray[Any]
    threshold: npt.NDArray[Any]
    threshold_limit: npt.NDArray[Any]
    leak: npt.NDArray[np.float32]
    refractory_period: npt.NDArray[np.uint16]
    refractory_countdown: npt.NDArray[np.uint16]
    excitability: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    consecutive_limit: npt.NDArray[np.uint16]
    consecutive_count: npt.NDArray[np.uint16]
    snooze: npt.NDArray[np.uint16]
    charge_accumulation: npt.NDArray[np.bool_]
    area: npt.NDArray[np.uint16]

    def __post_init__(self) -> None:
        stored = precision_of(self.precision).dtype
        count = int(np.asarray(self.potential).size)
        if np.asarray(self.potential).ndim != 1 or count >= FIRST_MEMORY_ID:
            raise InputError(what="potential", detail=f"needs one dimension and under {FIRST_MEMORY_ID} neurons")
        for name in ("potential", "threshold", "threshold_limit"):
            setattr(self, name, column(name, getattr(self, name), stored, count))
        for name, dtype in _DTYPES.items():
            setattr(self, name, column(name, getattr(self, name), dtype, count))
        finite("leak", self.leak)
        for name in ("excitability", "threshold", "threshold_limit"):
            if np.isnan(getattr(self, name)).any():
                raise InputError(what=name, detail="NaN; give numbers")

    @classmethod
    def create(
        cls,
        count: int,
        precision: str = "int8",
        *,
        threshold: npt.ArrayLike = 1.0,
        threshold_limit: npt.ArrayLike = 0.0,
        potential: npt.ArrayLike | None = None,
        leak: npt.ArrayLike = 0.1,
        refractory_period: npt.ArrayLike = 0,
        excitability: npt.ArrayLike = 1.0,
        valid: npt.ArrayLike = True,
        consecutive_limit: npt.ArrayLike = 0,
        snooze: npt.ArrayLike = 0,
        charge_accumulation: npt.ArrayLike = True,
        area: npt.ArrayLike = 3,
    ) -> Self:
        """``count`` neurons from plain values; a single value stands for all.

        Defaults are those of a fresh array (feagi.md 8). ``threshold_limit`` 0 means none; ``potential`` None is the
        resting code 0 (-25.0), or 0.0 with fp32.

        Raises:
            InputError: an array that does not fit.
        """
        kind = precision_of(precision)
        if not 0 <= count < FIRST_MEMORY_ID:
            raise InputError(what="count", detail=f"{count} neurons; 0..{FIRST_MEMORY_ID - 1} are possible")
        limit = column("threshold_limit", threshold_limit, np.float32, count)
        start = kind.zero if potential is None else kind.encode(column("potential", potential, np.float32, count))
        return cls(
            precision=precision,
            potential=np.array(np.broadcast_to(start, (count,)), kind.dtype),
            threshold=kind.encode(column("threshold", threshold, np.float32, count)),
            threshold_limit=np.where(limit == 0, kind.highest, kind.encode(limit)).astype(kind.dtype),
            leak=column("leak", leak, np.float32, count),
            refractory_period=column("refractory_period", refractory_period, np.uint16, count),
            refractory_countdown=np.zeros(count, np.uint16),
            excitability=column("excitability", excitability, np.float32, count),
            valid=column("valid", valid, np.bool_, count),
            consecutive_limit=column("consecutive_limit", consecutive_limit, np.uint16, count),
            consecutive_count=np.zeros(count, np.uint16),
            snooze=column("snooze", snooze, np.uint16, count),
            charge_accumulation=column("charge_accumulation", charge_accumulation, np.bool_, count),
            area=column("area", area, np.uint16, count),
        )

    def __len__(self) -> int:
        return int(self.potential.shape[0])

    @property
    def potential_value(self) -> npt.NDArray[np.float32]:
        """Membrane potentials as values (f32)."""
        return precision_of(self.precision).decode(self.potential)

    def copy(self) -> Self:
        """The same neurons in arrays of their own."""
        arrays = {item.name: getattr(self, item.name).copy() for item in fields(self) if item.name != "precision"}
        return replace(self, **arrays)

    def select(self, ids: npt.ArrayLike) -> Self:
        """The neurons ``ids`` (positions or a mask), in that order, renumbered from 0."""
        index = np.asarray(ids)
        arrays = {item.name: getattr(self, item.name)[index] for item in fields(self) if item.name != "precision"}
        return replace(self, **arrays)
