"""The slow engine: one neuron, one synapse, one f32 operation at a time, in the order of feagi.md 3-8.

It shares nothing with the package: what both compute must be equal to the bit. Sums are made in one order that the
source leaves open (feagi.md 5 step 1): inputs as given, power, fatigue, then sources by number, synapses in their row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

F = np.float32
F32_MAX = float(np.finfo(np.float32).max)
NONE = 65535
BATCH_CANDIDATES = 10_000
LAZY_RESET_NEURONS = 1_000_000
POWER_AREA, FATIGUE_AREA = 1, 2


class Int8:
    """Codes of [-100, 50] (feagi.md 3)."""

    zero, highest = 0, 127

    @staticmethod
    def encode(value) -> int:
        with np.errstate(over="ignore"):
            scaled = (F(value) + F(100)) / F(150) * F(254) - F(127)
            if scaled >= 0:
                return int(min(scaled + F(0.5), F(127)))
            return int(max(scaled - F(0.5), F(-127)))

    @staticmethod
    def decode(code: int) -> np.float32:
        return F(code + 127) / F(254) * F(150) - F(100)

    @staticmethod
    def add(left: int, right: int) -> int:
        return max(min(127, left + right), -127)

    @classmethod
    def leak(cls, code: int, leak) -> int:
        return cls.encode(cls.decode(code) * (F(1) - F(leak)))


class Fp32:
    """Plain f32 (feagi.md 3, last lines)."""

    zero, highest = F(0), F(F32_MAX)

    @staticmethod
    def encode(value) -> np.float32:
        return F(value)

    @staticmethod
    def decode(value) -> np.float32:
        return F(value)

    @staticmethod
    def add(left, right) -> np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            return F(left) + F(right)

    @staticmethod
    def leak(value, leak) -> np.float32:
        with np.errstate(over="ignore", invalid="ignore"):
            return F(value) * (F(1) - F(leak))


def random_unit(neuron: int, burst: int) -> np.float32:
    """The draw of a neuron in a burst, 0..1 inclusive (feagi.md 7)."""
    word = 0xFFFFFFFF
    seed = (neuron * 2654435761 + (burst & word) * 1597334677) & word
    state = (seed * 747796405 + 2891336453) & word
    mixed = (((state >> ((state >> 28) + 4)) ^ state) * 277803737) & word
    return F((mixed >> 22) ^ mixed) / F(4294967296)


@dataclass
class Cell:
    """A neuron. ``threshold`` and ``limit`` are stored values (codes or f32)."""

    potential: object
    threshold: object
    limit: object
    leak: float = 0.0
    period: int = 0
    countdown: int = 0
    excitability: float = 1.0
    valid: bool = True
    fire_limit: int = 0
    fire_count: int = 0
    snooze: int = 0
    accumulates: bool = True
    area: int = 3

    @property
    def limited(self) -> bool:
        return self.fire_limit not in (0, NONE)


@dataclass
class Wire:
    """A synapse."""

    source: int
    target: int
    weight: int
    psp: int
    kind: int = 0
    valid: bool = True


@dataclass
class Oracle:
    """A network and its present. ``uniform`` and ``mp_driven`` are the flags per area that were ever set."""

    cells: list[Cell]
    wires: list[Wire]
    precision: type = Int8
    mode: str = "npu"
    uniform: dict[int, bool] = field(default_factory=dict)
    mp_driven: dict[int, bool] = field(default_factory=dict)
    power: float = 1.0
    fatigue: bool = False
    burst: int = 0
    fired: dict[int, object] = field(default_factory=dict)
    candidates: int = 0

    def step(self, inputs=()) -> list[int]:
        """One burst; return the numbers of the neurons that fired, ascending."""
        self.burst += 1
        sums: dict[int, np.float32] = {}
        for neuron, value in inputs:
            if value != 0 and math.isfinite(value) and 0 <= neuron < len(self.cells):
                self._add(sums, neuron, F(value))
        if self.mode == "npu":
            self._forget()
            self._power(sums)
        self._propagate(sums)
        self.candidates = len(sums)
        if self.mode == "embedded":
            self.fired = self._dense(sums)
        elif len(sums) >= BATCH_CANDIDATES:
            self.fired = self._batch(sums)
        else:
            self.fired = self._single(sums)
        return sorted(self.fired)

    @staticmethod
    def _add(sums, neuron, value) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            sums[neuron] = sums.get(neuron, F(0)) + value

    def _forget(self) -> None:
        large = len(self.cells) >= LAZY_RESET_NEURONS
        for number, cell in enumerate(self.cells):
            if not cell.accumulates and (not large or number in self.fired):
                cell.potential = self.precision.zero

    def _power(self, sums) -> None:
        powered = [number for number, cell in enumerate(self.cells) if cell.area == POWER_AREA][:1]
        if self.fatigue:
            powered += [number for number, cell in enumerate(self.cells) if cell.area == FATIGUE_AREA]
        for number in powered:
            self._add(sums, number, F(self.power))

    def _propagate(self, sums) -> None:
        embedded = self.mode == "embedded"
        flags = bool(self.uniform or self.mp_driven)
        for source in sorted(self.fired):
            row = [wire for wire in self.wires if wire.source == source and (wire.valid or embedded)]
            area = self.cells[source].area
            for wire in row:
                psp = wire.psp
                if flags and not embedded and self.mp_driven.get(area, False):
                    psp = self._driven_psp(self.fired[source])
                value = F(wire.weight) * F(psp) * F(1 if wire.kind == 0 else -1)
                if flags and not embedded and not self.uniform.get(area, False) and len(row) > 1:
                    value = value / F(len(row))
                if 0 <= wire.target < len(self.cells):
                    self._add(sums, wire.target, value)

    def _driven_psp(self, potential) -> int:
        value = min(max(float(self.precision.decode(potential)), 0.0), 255.0)
        return math.floor(value + 0.5)

    def _dense(self, sums) -> dict[int, object]:
        """Mode A (feagi.md 8): every valid neuron, every burst."""
        kind, fired = self.precision, {}
        for number, cell in enumerate(self.cells):
            if not cell.valid:
                continue
            if cell.countdown > 0:
                cell.countdown -= 1
                continue
            value = kind.encode(sums[number]) if number in sums else kind.zero
            potential = kind.add(cell.potential, value)
            if potential >= cell.threshold:
                fired[number] = potential
                cell.potential, cell.countdown = kind.zero, cell.period
            else:
                cell.potential = kind.leak(potential, cell.leak)
        return fired

    def _rests(self, cell: Cell) -> bool:
        """Step 2a; True when the neuron takes no part in this burst."""
        if cell.countdown == 0:
            return False
        cell.countdown -= 1
        if cell.countdown == 0 and cell.limited and cell.fire_count >= cell.fire_limit:
            cell.fire_count = 0
        return True

    def _is_excited(self, number: int, cell: Cell) -> bool:
        excitability = F(cell.excitability)
        if excitability >= F(0.999):
            return True
        return bool(excitability > 0 and random_unit(number, self.burst) < excitability)

    def _single(self, sums) -> dict[int, object]:
        """Mode B (feagi.md 5 step 2)."""
        kind, fired = self.precision, {}
        for number, value in sums.items():
            cell = self.cells[number]
            if not cell.valid or self._rests(cell):
                continue
            cell.potential = kind.add(cell.potential, kind.encode(value))
            passed = cell.threshold <= cell.potential <= cell.limit
            if passed and cell.limited and cell.fire_count >= cell.fire_limit:
                cell.fire_count = 0
                continue
            if passed and self._is_excited(number, cell):
                fired[number] = cell.potential
                cell.potential = kind.zero
                cell.fire_count = min(cell.fire_count + 1, 65535)
                exhausted = cell.limited and cell.fire_count >= cell.fire_limit
                cell.countdown = min(cell.period + cell.snooze, 65535) if exhausted else cell.period
                continue
            if cell.limited:
                cell.fire_count = 0
            cell.potential = kind.leak(cell.potential, cell.leak)
        return fired

    def _batch(self, sums) -> dict[int, object]:
        """Mode C (feagi.md 6): fire first, revoke afterwards."""
        kind, fired = self.precision, {}
        for number, value in sums.items():
            cell = self.cells[number]
            if not cell.valid or self._rests(cell):
                continue
            potential = kind.add(cell.potential, kind.encode(value))
            if not potential >= cell.threshold:
                cell.potential = kind.leak(potential, cell.leak)
                if cell.limited:
                    cell.fire_count = 0
                continue
            cell.potential = kind.zero
            blocked = cell.limited and cell.fire_count >= cell.fire_limit
            if cell.potential > cell.limit or blocked or not self._is_excited(number, cell):
                if cell.limited:
                    cell.fire_count = 0
                continue
            fired[number] = potential
            cell.fire_count = min(cell.fire_count + 1, 65535)
            cell.countdown = cell.period
        return fired
