"""Networks with a structure that a graph of tensors can express: areas of equal neurons, dense and topographic ways.

::

    retina = Sheet("retina", (1, 120, 160), threshold=20.0, takes_input=True)
    edges = Sheet("edges", (2, 120, 160), threshold=20.0)
    way = Projection("retina", "edges", kernel=weights, psp=4)   # weights (2, 1, 3, 3): a convolution
    network = Structured((retina, edges), (way,)).to_network()

Neuron ids follow the order of the areas; inside an area channels are outermost, then rows, then columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from openhailo.burst import EXCITATORY, INHIBITORY, NO_LIMIT, Network, Neurons, Synapses
from openhailo.errors import InputError

MAX_NEURONS: Final = 1_000_000
"""From so many on, charges that do not accumulate are taken away in another manner (feagi.md 5 step 1)."""
MAX_SYNAPSES: Final = 100_000_000
MAX_WEIGHT: Final = 127
"""Weights of a kernel are 8-bit integers; ``psp`` multiplies them."""
FIRST_AREA: Final = 3
"""Areas 0 to 2 are FEAGI's own (feagi.md 5 step 1)."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Sheet:
    """One area of equal neurons.

    Attributes:
        name: unique, letters, digits, '_' and '-'.
        shape: channels, rows, columns.
        takes_input: whether potentials come in from outside.
        threshold: potential from which a neuron fires.
        threshold_limit: potential above which it does not; 0 is none.
        leak: part of the potential that goes with every update, 0..1.
        refractory_period: bursts of rest after firing, 0..255.
        consecutive_limit: firings in a row after which it must pause; 0 is none, else 1..255.
        snooze: bursts of rest on top at that limit; together with the period at most 255.
        charge_accumulation: whether potential is kept from burst to burst (mode npu).
    """

    name: str
    shape: tuple[int, int, int]
    takes_input: bool = False
    threshold: float = 1.0
    threshold_limit: float = 0.0
    leak: float = 0.1
    refractory_period: int = 0
    consecutive_limit: int = 0
    snooze: int = 0
    charge_accumulation: bool = True

    def __post_init__(self) -> None:
        what = f"area {self.name!r}"
        if not self.name or not self.name.replace("_", "").replace("-", "").isalnum() or not self.name.isascii():
            raise InputError(what=what, detail="needs a name of letters, digits, '_' and '-'")
        if len(self.shape) != 3 or any(type(size) is not int or not 1 <= size <= MAX_NEURONS for size in self.shape):
            raise InputError(what=what, detail=f"shape {self.shape}: channels, rows and columns are needed")
        if not all(math.isfinite(value) for value in (self.threshold, self.threshold_limit, self.leak)):
            raise InputError(what=what, detail="threshold, limit and leak must be finite")
        rest = self.refractory_period + self.snooze
        if min(self.refractory_period, self.snooze) < 0 or rest > 255 or not 0 <= self.consecutive_limit <= 255:
            raise InputError(what=what, detail="period plus snooze, and the limit of firings, are 0..255")

    @property
    def count(self) -> int:
        """Number of neurons."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from one area to another.

    Attributes:
        source: name of an area.
        target: name of an area, the same one allowed.
        kernel: signed whole weights -127..127. (target channels, source channels, rows, columns) slides over the
            source like a convolution; (target neurons, source neurons) connects everything with everything.
        psp: what every weight is multiplied by, 0..255 (FEAGI's postsynaptic potential).
        stride: steps of the sliding kernel.
        padding: rows and columns of nothing around the source; None keeps the size at stride 1 and odd kernels.
        exists: which weights are synapses, in the kernel's shape; None: those that are not 0. A synapse of weight 0
            adds nothing but makes its target a candidate.
    """

    source: str
    target: str
    kernel: Array
    psp: int = 1
    stride: int = 1
    padding: int | None = None
    exists: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        kernel = np.asarray(self.kernel)
        what = f"projection {self.source!r} to {self.target!r}"
        if kernel.ndim not in (2, 4) or not kernel.size or kernel.dtype.kind not in "biuf":
            raise InputError(what=what, detail=f"kernel of shape {kernel.shape}; two or four axes are needed")
        if not (
            np.isfinite(kernel).all() and (kernel == np.trunc(kernel)).all() and np.abs(kernel).max() <= MAX_WEIGHT
        ):
            raise InputError(what=what, detail=f"weights must be whole numbers of -{MAX_WEIGHT}..{MAX_WEIGHT}")
        padding = -1 if self.padding is None else self.padding
        if not 0 <= self.psp <= 255 or self.stride < 1 or not -1 <= padding < 1 << 15:
            raise InputError(what=what, detail="psp is 0..255, stride at least 1, padding not negative")
        object.__setattr__(self, "kernel", kernel.astype(np.int8))
        if self.exists is not None and np.shape(self.exists) != kernel.shape:
            raise InputError(what=what, detail=f"exists has shape {np.shape(self.exists)}, the kernel {kernel.shape}")

    @property
    def is_dense(self) -> bool:
        """Whether everything is connected with everything."""
        return bool(self.kernel.ndim == 2)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Which weights are synapses."""
        return self.kernel != 0 if self.exists is None else np.asarray(self.exists, np.bool_)

    @property
    def pads(self) -> tuple[int, int]:
        """Rows and columns of padding on each side."""
        if self.padding is not None:
            return self.padding, self.padding
        return self.kernel.shape[2] // 2, self.kernel.shape[3] // 2

    def reach(self) -> int:
        """Most that one target neuron can receive from it in a burst, sign aside."""
        weights = np.abs(self.kernel.astype(np.int64)).reshape(len(self.kernel), -1) * self.mask.reshape(
            len(self.kernel), -1
        )
        return int(weights.sum(axis=1).max()) * self.psp


@dataclass(frozen=True)
class Structured:
    """Areas and the ways between them.

    Raises:
        InputError: a name twice or unknown, shapes that do not meet, or too many neurons.
    """

    areas: Sequence[Sheet]
    projections: Sequence[Projection] = ()
    _starts: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        start = 0
        for sheet in self.areas:
            if sheet.name in self._starts:
                raise InputError(what="areas", detail=f"{sheet.name!r} is there twice")
            self._starts[sheet.name] = start
            start += sheet.count
        if not 0 < start < MAX_NEURONS:
            raise InputError(what="areas", detail=f"{start} neurons; 1..{MAX_NEURONS - 1} are possible")
        for way in self.projections:
            self._check(way)

    @property
    def count(self) -> int:
        """Number of neurons."""
        return sum(sheet.count for sheet in self.areas)

    @property
    def input_count(self) -> int:
        """Number of neurons that take inputs."""
        return sum(sheet.count for sheet in self.areas if sheet.takes_input)

    def area(self, name: str) -> Sheet:
        """The area called ``name``. Raises `InputError`."""
        for sheet in self.areas:
            if sheet.name == name:
                return sheet
        raise InputError(what="area", detail=f"{name!r} is unknown; there is {', '.join(self._starts)}")

    def ids(self, name: str) -> range:
        """The neurons of an area. Raises `InputError`."""
        count = self.area(name).count
        return range(self._starts[name], self._starts[name] + count)

    def to_network(self, precision: str = "int8") -> Network:
        """The same as neurons and synapses, undivided: what an engine executes.

        Raises:
            InputError: more than 100 million synapses.
        """
        return Network(self._neurons(precision), self._synapses())

    def _check(self, way: Projection) -> None:
        what = f"projection {way.source!r} to {way.target!r}"
        source, target = self.area(way.source), self.area(way.target)
        if way.is_dense:
            expected: tuple[int, ...] = (target.count, source.count)
            if way.kernel.shape != expected:
                raise InputError(what=what, detail=f"kernel of shape {way.kernel.shape}, needed {expected}")
            return
        sizes = zip(source.shape[1:], way.pads, way.kernel.shape[2:], strict=True)
        rows, columns = ((size + 2 * pad - width) // way.stride + 1 for size, pad, width in sizes)
        given = (way.kernel.shape[0], rows, columns)
        if way.kernel.shape[1] != source.shape[0] or given != target.shape:
            detail = (
                f"a kernel of shape {way.kernel.shape} makes {given} of {source.shape}, the target is {target.shape}"
            )
            raise InputError(what=what, detail=detail)

    def _neurons(self, precision: str) -> Neurons:
        counts = [sheet.count for sheet in self.areas]

        def spread(name: str) -> Array:
            return np.repeat([getattr(sheet, name) for sheet in self.areas], counts)

        return Neurons.create(
            self.count,
            precision,
            threshold=spread("threshold"),
            threshold_limit=spread("threshold_limit"),
            leak=spread("leak"),
            refractory_period=spread("refractory_period"),
            consecutive_limit=np.where(spread("consecutive_limit") == 0, NO_LIMIT, spread("consecutive_limit")),
            snooze=spread("snooze"),
            charge_accumulation=spread("charge_accumulation"),
            area=np.repeat(np.arange(len(counts)) + FIRST_AREA, counts),
        )

    def _synapses(self) -> Synapses:
        total = sum(_synapse_bound(way, self.area(way.target)) for way in self.projections)
        if total > MAX_SYNAPSES:
            raise InputError(what="projections", detail=f"up to {total} synapses, at most {MAX_SYNAPSES} are possible")
        parts = [part for way in self.projections for part in self._edges(way)]
        source, target, weight, psp = (
            np.concatenate([np.zeros(0, np.int64), *(part[column] for part in parts)]) for column in range(4)
        )
        kind = np.where(weight < 0, INHIBITORY, EXCITATORY)
        return Synapses.from_edges(self.count, source, target, np.abs(weight), psp, kind)

    def _edges(self, way: Projection) -> Iterator[tuple[Array, Array, Array, Array]]:
        """Arrays of source, target, weight and psp: one piece per weight of a kernel, or one for all."""
        first_source, first_target = self._starts[way.source], self._starts[way.target]
        pieces = (
            _dense_edges(way) if way.is_dense else _sliding_edges(way, self.area(way.source), self.area(way.target))
        )
        for source, target, weight in pieces:
            yield source + first_source, target + first_target, weight, np.full(len(source), way.psp)


def _synapse_bound(way: Projection, target: Sheet) -> int:
    taps = int(np.count_nonzero(way.mask))
    return taps if way.is_dense else taps * target.shape[1] * target.shape[2]


def _dense_edges(way: Projection) -> Iterator[tuple[Array, Array, Array]]:
    target, source = np.nonzero(way.mask)
    yield source, target, way.kernel[target, source].astype(np.int64)


def _sliding_edges(way: Projection, source: Sheet, target: Sheet) -> Iterator[tuple[Array, Array, Array]]:
    (_, rows, columns), (_, target_rows, target_columns) = source.shape, target.shape
    at_rows, at_columns = np.arange(target_rows) * way.stride, np.arange(target_columns) * way.stride
    for out, into, y, x in np.argwhere(way.mask):
        row, column = at_rows + (y - way.pads[0]), at_columns + (x - way.pads[1])
        inside_rows = np.flatnonzero((row >= 0) & (row < rows))
        inside_columns = np.flatnonzero((column >= 0) & (column < columns))
        came = (into * rows + row[inside_rows])[:, None] * columns + column[inside_columns]
        went = (out * target_rows + inside_rows)[:, None] * target_columns + inside_columns
        weight = np.full(came.size, cast(int, way.kernel[out, into, y, x]), np.int64)
        yield came.reshape(-1), went.reshape(-1), weight
