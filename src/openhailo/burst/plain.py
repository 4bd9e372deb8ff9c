"""The engine in whole-array NumPy: what runs where nothing was compiled, and the second opinion on what was."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from openhailo.burst.codes import leak_table, precision_of, random_unit
from openhailo.burst.core import BurstResult, Ids, RunResult, Settings, State
from openhailo.burst.network import Network, Wiring, wire
from openhailo.burst.neurons import NO_LIMIT

_TABLES_MAX = 1024
"""Distinct leaks up to which each gets a table of 256 codes."""

Mask = npt.NDArray[np.bool_]


class PlainCore:
    """A network executed by NumPy. ``owned`` (bool per neuron) leaves the other neurons to other cores."""

    def __init__(self, network: Network, settings: Settings, owned: Mask | None = None) -> None:
        neurons, count = network.neurons, len(network.neurons)
        self._settings, self._kind = settings, precision_of(neurons.precision)
        self._cells = neurons.copy()
        self._owned = np.ones(count, np.bool_) if owned is None else owned
        self._active = self._cells.valid & self._owned
        limit = self._cells.consecutive_limit
        self._limited = (limit != 0) & (limit != NO_LIMIT)
        self._wiring = wire(network, settings.mode, owned)
        powered = network.powered() if settings.mode == "npu" else np.zeros(0, np.uint32)
        self._powered = powered[self._owned[powered]]
        self._amount = np.float32(network.power_amount)
        self._forgetful = np.flatnonzero(~self._cells.charge_accumulation & self._owned)
        self._leak_row, self._leak_tables = _leak_tables(self._cells.leak, self._kind.name)
        self._sums = np.zeros(count, np.float32)
        self._touched = np.zeros(count, np.bool_)
        self._fired: Ids = np.zeros(0, np.uint32)
        self._potentials: npt.NDArray[Any] = np.zeros(0, self._kind.dtype)
        self._burst = self._synaptic = 0

    def propagate(self, ids: Ids, values: npt.NDArray[np.float32]) -> int:
        """Step 1 of feagi.md 5: inputs, lost charges, power, synapses, in this order."""
        self._burst += 1
        self._sums[:], self._touched[:] = 0, False
        keep = self._owned[ids]
        self._add(ids[keep], values[keep])
        if self._settings.mode == "npu":
            self._forget()
            self._add(self._powered, np.full(len(self._powered), self._amount))
        self._synaptic = self._scatter(self._wiring)
        return int(np.count_nonzero(self._touched))

    def update(self, candidates: int) -> BurstResult:
        """Step 2 of feagi.md 5, or section 6 or 8."""
        if self._settings.mode == "embedded":
            selected = np.flatnonzero(self._active)
            self._update_batch(selected, dense=True)
        else:
            selected = np.flatnonzero(self._touched & self._active)
            if candidates >= self._settings.batch_candidates:
                self._update_batch(selected, dense=False)
            else:
                self._update_single(selected)
        resting = int(np.count_nonzero(self._cells.refractory_countdown[selected]))
        counts = (candidates, len(self._powered), self._synaptic, resting)
        return BurstResult(self._fired, self._potentials, self._burst, *counts)

    def step(self, ids: Ids, values: npt.NDArray[np.float32]) -> BurstResult:
        """A whole burst."""
        return self.update(self.propagate(ids, values))

    def run(self, count: int, offsets: npt.NDArray[np.int64], ids: Ids, values: npt.NDArray[np.float32]) -> RunResult:
        """Bursts one after the other."""
        fired, candidates, first = [self._fired[:0]], np.zeros(count, np.int64), self._burst + 1
        for index in range(count):
            part = slice(offsets[index], offsets[index + 1])
            candidates[index] = self.propagate(ids[part], values[part])
            fired.append(self.update(int(candidates[index])).fired)
        lengths = np.cumsum([len(part) for part in fired], dtype=np.int64)
        return RunResult(lengths, np.concatenate(fired), candidates, first)

    def state(self) -> State:
        """A copy of the present state."""
        cells = self._cells
        return State(
            potential=cells.potential.copy(),
            refractory_countdown=cells.refractory_countdown.copy(),
            consecutive_count=cells.consecutive_count.copy(),
            fired=self._fired.copy(),
            potentials=self._potentials.copy(),
            burst=self._burst,
        )

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        self._cells.potential = state.potential.copy()
        self._cells.refractory_countdown = state.refractory_countdown.copy()
        self._cells.consecutive_count = state.consecutive_count.copy()
        self._fired, self._potentials, self._burst = state.fired.copy(), state.potentials.copy(), state.burst

    def set_fired(self, fired: Ids, potentials: npt.NDArray[Any]) -> None:
        """Take these as what fired in the burst before."""
        self._fired, self._potentials = fired.copy(), potentials.copy()

    def _add(self, ids: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(self._sums, ids, values)
        self._touched[ids] = True

    def _forget(self) -> None:
        if len(self._sums) < self._settings.lazy_reset_neurons:
            self._cells.potential[self._forgetful] = self._kind.zero
        else:
            lost = self._fired[~self._cells.charge_accumulation[self._fired] & self._owned[self._fired]]
            self._cells.potential[lost] = self._kind.zero

    def _scatter(self, wiring: Wiring) -> int:
        """Contributions of what fired in the previous burst, sources ascending, rows in order; return their number."""
        starts = wiring.row_start[self._fired].astype(np.int64)
        lengths = wiring.row_start[self._fired + np.uint32(1)].astype(np.int64) - starts
        total = int(lengths.sum())
        first = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]])[: len(starts)], lengths)
        edges = first + np.arange(total)
        values: npt.NDArray[Any] = wiring.weight[edges].astype(np.float32) * self._psp(wiring, edges, lengths)
        values = np.where(wiring.kind[edges] == 0, values, -values)
        if wiring.divisor is not None:
            values = values / np.repeat(wiring.divisor[self._fired], lengths).astype(np.float32)
        self._add(wiring.target[edges], values)
        return total

    def _psp(self, wiring: Wiring, edges: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[Any]:
        psp: npt.NDArray[Any] = wiring.psp[edges].astype(np.float32)
        if wiring.mp_driven is None:
            return psp
        value = np.clip(np.nan_to_num(self._kind.decode(self._potentials), nan=0.0), 0, 255).astype(np.float64)
        driven = np.repeat(np.floor(value + 0.5).astype(np.float32), lengths)
        chosen: npt.NDArray[np.float32] = np.where(np.repeat(wiring.mp_driven[self._fired], lengths), driven, psp)
        return chosen

    def _leaked(self, ids: npt.NDArray[Any], stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._leak_tables is None or self._leak_row is None:
            return np.asarray(self._kind.leak(stored, self._cells.leak[ids]))
        leaked: npt.NDArray[Any] = self._leak_tables[self._leak_row[ids], stored.astype(np.int16) + 128]
        return leaked

    def _rest(self, ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Count refractory neurons down (step 2a); return the others."""
        cells, resting = self._cells, self._cells.refractory_countdown[ids] > 0
        rested = ids[resting]
        cells.refractory_countdown[rested] -= 1
        if self._settings.mode == "npu":
            exhausted = self._limited[rested] & (cells.consecutive_count[rested] >= cells.consecutive_limit[rested])
            cells.consecutive_count[rested[exhausted & (cells.refractory_countdown[rested] == 0)]] = 0
        awake: npt.NDArray[Any] = ids[~resting]
        return awake

    def _received(self, ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Stored values to add; a neuron that received nothing adds the stored zero."""
        received: npt.NDArray[Any] = np.where(self._touched[ids], self._kind.encode(self._sums[ids]), self._kind.zero)
        return received

    def _excited(self, ids: npt.NDArray[Any]) -> Mask:
        excitability = self._cells.excitability[ids]
        draw = random_unit(ids.astype(np.uint32), self._burst)
        excited: Mask = (excitability >= np.float32(0.999)) | ((excitability > 0) & (draw < excitability))
        return excited

    def _exhausted(self, ids: npt.NDArray[Any]) -> Mask:
        cells = self._cells
        exhausted: Mask = self._limited[ids] & (cells.consecutive_count[ids] >= cells.consecutive_limit[ids])
        return exhausted

    def _count_fire(self, ids: npt.NDArray[Any]) -> None:
        counts = self._cells.consecutive_count
        counts[ids] = np.minimum(counts[ids].astype(np.uint32) + 1, 65535)

    def _update_single(self, ids: npt.NDArray[Any]) -> None:
        """Mode B: the window of thresholds, the fire limit, excitability, then fire or leak."""
        cells = self._cells
        ids = self._rest(ids)
        potential = self._kind.add(cells.potential[ids], self._received(ids))
        cells.potential[ids] = potential
        passed = (cells.threshold[ids] <= potential) & (potential <= cells.threshold_limit[ids])
        blocked = passed & self._exhausted(ids)
        fires = passed & ~blocked & self._excited(ids)
        stays = ~fires & ~blocked
        cells.consecutive_count[ids[blocked | (stays & self._limited[ids])]] = 0
        cells.potential[ids[stays]] = self._leaked(ids[stays], potential[stays])
        fired = ids[fires]
        cells.potential[fired] = self._kind.zero
        self._count_fire(fired)
        period = cells.refractory_period[fired].astype(np.uint32)
        period += np.where(self._exhausted(fired), cells.snooze[fired], 0).astype(np.uint32)
        cells.refractory_countdown[fired] = np.minimum(period, 65535)
        self._fired, self._potentials = fired.astype(np.uint32), potential[fires]

    def _update_batch(self, ids: npt.NDArray[Any], dense: bool) -> None:
        """Modes A (``dense``) and C: fire or leak by the threshold alone; C revokes afterwards."""
        cells = self._cells
        ids = self._rest(ids)
        potential = self._kind.add(cells.potential[ids], self._received(ids))
        reached = potential >= cells.threshold[ids]
        fires = reached
        if not dense:
            revoked = (self._kind.zero > cells.threshold_limit[ids]) | self._exhausted(ids) | ~self._excited(ids)
            fires = reached & ~revoked
            cells.consecutive_count[ids[~fires & self._limited[ids]]] = 0
        cells.potential[ids] = self._kind.zero
        cells.potential[ids[~reached]] = self._leaked(ids[~reached], potential[~reached])
        fired = ids[fires]
        if not dense:
            self._count_fire(fired)
        cells.refractory_countdown[fired] = cells.refractory_period[fired]
        self._fired, self._potentials = fired.astype(np.uint32), potential[fires]


def _leak_tables(leak: npt.NDArray[np.float32], precision: str) -> tuple[Any, Any]:
    """Row of each neuron and the rows of 256 codes; (None, None) where computing is better."""
    distinct, row = np.unique(leak, return_inverse=True)
    if precision != "int8" or not 0 < len(distinct) <= _TABLES_MAX:
        return None, None
    return row.astype(np.uint16), np.stack([leak_table(value) for value in distinct])
