"""A network: neurons, synapses, the flags of its areas, and the wiring that an engine executes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from openhailo.burst.neurons import FATIGUE_AREA, POWER_AREA, Neurons
from openhailo.burst.synapses import Synapses
from openhailo.errors import InputError


@dataclass(frozen=True)
class Areas:
    """Flags per cortical area number, for those areas where one was ever set (feagi.md 4).

    As long as both maps are empty nothing is divided. Once a flag exists, the contributions of a source are divided by
    its number of outgoing synapses unless its area has ``psp_uniform``. ``mp_driven`` takes the potential at the moment
    of firing in place of the postsynaptic potential.
    """

    psp_uniform: Mapping[int, bool] = field(default_factory=dict)
    mp_driven: Mapping[int, bool] = field(default_factory=dict)

    @property
    def any_flag(self) -> bool:
        """Whether a flag was ever set."""
        return bool(self.psp_uniform) or bool(self.mp_driven)


@dataclass(eq=False)
class Network:
    """What an engine executes. ``power_amount`` goes to the power neuron every burst, and to fatigue's when active."""

    neurons: Neurons
    synapses: Synapses
    areas: Areas = field(default_factory=Areas)
    power_amount: float = 1.0
    fatigue: bool = False

    def __post_init__(self) -> None:
        if self.synapses.rows != len(self.neurons):
            detail = f"rows of {self.synapses.rows} sources for {len(self.neurons)} neurons"
            raise InputError(what="synapses", detail=detail)
        with np.errstate(over="ignore"):
            amount = float(np.float32(self.power_amount))
        if not math.isfinite(amount):
            raise InputError(what="power_amount", detail=f"{self.power_amount} is no finite f32")

    def powered(self) -> npt.NDArray[np.uint32]:
        """Neurons that receive ``power_amount``, in order: the first of area 1, then all of area 2 if fatigued."""
        power = np.flatnonzero(self.neurons.area == POWER_AREA)[:1]
        fatigue = np.flatnonzero(self.neurons.area == FATIGUE_AREA) if self.fatigue else power[:0]
        return np.concatenate([power, fatigue]).astype(np.uint32)


@dataclass(eq=False)
class Wiring:
    """Synapses as a mode sees them: only those that count, and what each row is divided by.

    ``divisor`` (u32 per source, 1 = undivided) and ``mp_driven`` (bool per source) are None where no row needs them.
    """

    row_start: npt.NDArray[Any]
    target: npt.NDArray[np.uint32]
    weight: npt.NDArray[np.uint8]
    psp: npt.NDArray[np.uint8]
    kind: npt.NDArray[np.uint8]
    divisor: npt.NDArray[np.uint32] | None
    mp_driven: npt.NDArray[np.bool_] | None


def wire(network: Network, mode: str, owned: npt.NDArray[np.bool_] | None = None) -> Wiring:
    """The wiring of ``network`` in ``mode``; with ``owned`` (bool per neuron) only synapses that reach those.

    Arrays of the network are shared, not copied, where nothing is left out.
    """
    synapses, count = network.synapses, len(network.neurons)
    exists = synapses.valid if mode == "npu" and synapses.valid is not None else None
    outgoing = _row_lengths(synapses.row_start, exists)
    keep = _kept(synapses.target, count, exists, owned)
    parts = (synapses.target, synapses.weight, synapses.psp, synapses.kind)
    starts = synapses.row_start
    if keep is not None:
        starts = np.zeros_like(synapses.row_start)
        starts[1:] = np.cumsum(_row_lengths(synapses.row_start, keep))
        parts = tuple(part[keep] for part in parts)  # type: ignore[assignment]
    return Wiring(starts, *parts, **_area_columns(network, mode, outgoing))


def _row_lengths(row_start: npt.NDArray[Any], keep: npt.NDArray[np.bool_] | None) -> npt.NDArray[Any]:
    if keep is None:
        return np.diff(row_start)
    running = np.concatenate([[0], np.cumsum(keep)])
    return np.diff(running[row_start])


def _kept(
    target: npt.NDArray[np.uint32],
    count: int,
    exists: npt.NDArray[np.bool_] | None,
    owned: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.bool_] | None:
    """Mask of the synapses that have an effect; None when all have."""
    if exists is None and owned is None and (target.size == 0 or int(target.max()) < count):
        return None
    keep = target < count
    if exists is not None:
        keep &= exists
    if owned is not None:
        keep &= np.append(owned, False)[np.minimum(target, count)]
    return keep


def _area_columns(network: Network, mode: str, outgoing: npt.NDArray[Any]) -> dict[str, Any]:
    none: dict[str, Any] = {"divisor": None, "mp_driven": None}
    if mode == "embedded" or not network.areas.any_flag:
        return none
    uniform = _flags_of(network.neurons.area, network.areas.psp_uniform)
    divisor = np.where(uniform, 1, np.maximum(outgoing, 1)).astype(np.uint32)
    driven = _flags_of(network.neurons.area, network.areas.mp_driven)
    return {"divisor": divisor if (divisor > 1).any() else None, "mp_driven": driven if driven.any() else None}


def _flags_of(area: npt.NDArray[np.uint16], flags: Mapping[int, bool]) -> npt.NDArray[np.bool_]:
    table = np.zeros(65536, np.bool_)
    for number, flag in flags.items():
        if 0 <= number < 65536:
            table[number] = flag
    return table[area]
