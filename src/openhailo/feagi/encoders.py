"""Frames and numbers to potentials, and what fired back to maps, numbers and objects. NumPy only.

::

    retina = Retina(240, 320, levels=3)          # 320x240 pixels and two coarser copies: 100,800 neurons
    result = engine.step(retina.encode(frame))
    activity = Activity(network.ids("edges"), (240, 320))
    for found in find_objects(activity.update(result.fired)):
        print(found.box, found.size)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from openhailo.errors import InputError

Channel = Literal["brightness", "on", "off"]
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
Inputs = tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]
Grey = npt.NDArray[np.float32]
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
MAX_NEURONS: Final = 50_000_000


def to_grey(frame: npt.ArrayLike) -> Grey:
    """Brightness 0..1 (f32, rows x columns) of a frame: grey or RGB, uint8 0..255 or floats 0..1.

    Raises:
        InputError: another shape or type, or NaN.
    """
    array = np.asarray(frame)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not array.size:
        raise InputError(what="frame", detail=f"shape {array.shape}; (rows, columns) or (rows, columns, 3) is needed")
    if array.dtype == np.uint8:
        scaled = array.astype(np.float32) * np.float32(1 / 255)
    elif array.dtype.kind == "f":
        scaled = np.clip(array, 0.0, 1.0).astype(np.float32)
    else:
        raise InputError(what="frame", detail=f"{array.dtype}; uint8 0..255 or floats 0..1 are needed")
    grey: Grey = scaled if array.ndim == 2 else np.asarray(scaled @ _LUMA, np.float32)
    if not np.isfinite(grey).all():
        raise InputError(what="frame", detail="has NaN; give finite numbers")
    return grey


def shrink(grey: Grey, rows: int, columns: int) -> Grey:
    """Means over equal shares of the picture; a picture that is too small is repeated."""
    return _shrink_rows(_shrink_rows(grey, rows).T, columns).T


def _shrink_rows(grey: Grey, size: int) -> Grey:
    have = grey.shape[0]
    whole, rest = divmod(have, size)
    if rest == 0:
        total = grey[::whole].copy() if whole > 1 else grey
        for row in range(1, whole):
            total += grey[row::whole]
        mean: Grey = total * np.float32(1 / whole) if whole > 1 else total
        return mean
    edges = np.arange(size + 1) * have // size
    if have < size:
        return np.asarray(grey[edges[:-1]])
    widths = np.diff(edges).astype(np.float32)[:, None]
    means: Grey = np.add.reduceat(grey, edges[:-1], axis=0) / widths
    return means


class Retina:
    """Turns frames into potentials for neurons that lie like the picture.

    Neurons are numbered level by level (finest first), in a level channel by channel, then row by row. Channels:
    ``brightness`` gives light as it is, ``on`` and ``off`` give what became lighter and darker since the frame before
    (nothing on the first). What stays below ``floor`` gives nothing at all, so that its neurons are no candidates.

    Args:
        rows: of the finest level; frames of any size are averaged down to it.
        columns: of the finest level.
        channels: one or several of "brightness", "on", "off".
        levels: copies of the picture, each with half the rows and columns of the one before.
        gain: potential of full brightness or of the largest change.
        floor: brightness or change from which there is a potential, 0..1.
        first_id: number of the first neuron.

    Raises:
        InputError: an unknown channel, a size that is none, or levels that shrink to nothing.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        channels: Sequence[Channel] = ("brightness",),
        levels: int = 1,
        gain: float = 50.0,
        floor: float = 0.05,
        first_id: int = 0,
    ) -> None:
        if not channels or not set(channels) <= set(CHANNELS) or len(set(channels)) < len(channels):
            raise InputError(what="channels", detail=f"{tuple(channels)}: each of {', '.join(CHANNELS)} at most once")
        if levels < 1 or min(rows, columns) < 1 << max(levels - 1, 0) or rows * columns > MAX_NEURONS:
            raise InputError(what="retina", detail=f"{levels} levels of {rows} x {columns} neurons make no sense")
        if not (math.isfinite(gain) and 0 <= floor <= 1 and first_id >= 0):
            raise InputError(what="retina", detail="gain must be finite, floor 0..1, first_id not negative")
        self.channels, self.gain, self.floor, self.first_id = tuple(channels), gain, floor, first_id
        self.sizes = tuple((rows >> level, columns >> level) for level in range(levels))
        self._before: list[Grey] | None = None

    @property
    def count(self) -> int:
        """Number of neurons."""
        return sum(rows * columns for rows, columns in self.sizes) * len(self.channels)

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Shape of each level's area: channels, rows, columns."""
        return tuple((len(self.channels), *size) for size in self.sizes)

    def encode(self, frame: npt.ArrayLike) -> Inputs:
        """Ids (u32) and potentials (f32) for a burst. Raises `InputError` for what is no frame."""
        strength = self._strength(frame)
        ids = np.flatnonzero(strength)
        return (ids + self.first_id).astype(np.uint32), strength[ids] * np.float32(self.gain)

    def encode_levels(self, frame: npt.ArrayLike, step: float = 1.0) -> npt.NDArray[np.uint8]:
        """The same for an exported burst: (1, count) uint8 in multiples of ``step`` (`StepModel.input_step`)."""
        levels = np.rint(self._strength(frame) * np.float32(self.gain / step))
        held: npt.NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8).reshape(1, -1)
        return held

    def reset(self) -> None:
        """Forget the frame before."""
        self._before = None

    def _strength(self, frame: npt.ArrayLike) -> Grey:
        """0..1 of every neuron, 0 where it gets nothing."""
        greys = [to_grey(frame)]
        for rows, columns in self.sizes:
            greys.append(shrink(greys[-1], rows, columns))
        now = greys[1:]
        parts = [
            self._channel(channel, level, now[level]).reshape(-1)
            for level in range(len(now))
            for channel in self.channels
        ]
        self._before = now
        strength: Grey = np.concatenate(parts)
        strength[strength < max(self.floor, 1e-6)] = 0.0
        return strength

    def _channel(self, channel: str, level: int, now: Grey) -> Grey:
        if channel == "brightness":
            return now
        if self._before is None:
            return np.zeros_like(now)
        change = now - self._before[level]
        return change if channel == "on" else -change


class PopulationCode:
    """One number as the activity of several neurons, each of which likes a value of its own, and back.

    Args:
        count: number of neurons, at least 2.
        low: value that the first neuron likes best.
        high: value that the last one likes best.
        width: standard deviation of the liking, in neurons.
        gain: potential at the best value.
        first_id: number of the first neuron.

    Raises:
        InputError: fewer than 2 neurons, no range, or a width that is none.
    """

    def __init__(
        self, count: int, low: float, high: float, *, width: float = 1.0, gain: float = 50.0, first_id: int = 0
    ) -> None:
        if count < 2 or not (math.isfinite(low) and math.isfinite(high) and low < high and width > 0):
            raise InputError(what="population", detail=f"{count} neurons for {low}..{high} with width {width}")
        self.gain, self.first_id, self._width = gain, first_id, width
        self._centres = np.linspace(low, high, count)

    def encode(self, value: float) -> Inputs:
        """Ids and potentials; values outside the range count as its ends. Raises `InputError` for NaN."""
        if math.isnan(value):
            raise InputError(what="value", detail="NaN cannot be encoded")
        low, high = self._centres[0], self._centres[-1]
        distance = (self._centres - min(max(value, low), high)) / (high - low) * (len(self._centres) - 1)
        strength = np.exp(-0.5 * (distance / self._width) ** 2)
        ids = np.flatnonzero(strength > 0.01)
        return (ids + self.first_id).astype(np.uint32), (strength[ids] * self.gain).astype(np.float32)

    def decode(self, activity: npt.ArrayLike) -> float | None:
        """The mean of the liked values, weighted by ``activity`` (one number per neuron); None when all is silent.

        Raises:
            InputError: another number of neurons, or negative or no numbers.
        """
        weights = np.asarray(activity, np.float64)
        if weights.shape != self._centres.shape or not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise InputError(what="activity", detail=f"{len(self._centres)} numbers of 0 and more are needed")
        total = weights.sum()
        return float(weights @ self._centres / total) if total > 0 else None


class Activity:
    """How active the neurons of an area have been: a running mean of what fired, in the area's shape.

    Args:
        ids: neurons of the area, one after the other.
        shape: of the result, as many elements as neurons.
        decay: what is left of the past after a burst, 0 (only the last burst) to below 1.

    Raises:
        InputError: a shape that does not fit, or a decay that is none.
    """

    def __init__(self, ids: range, shape: Sequence[int], decay: float = 0.0) -> None:
        if math.prod(shape) != len(ids) or ids.step != 1 or not 0 <= decay < 1:
            raise InputError(what="area", detail=f"{len(ids)} neurons in shape {tuple(shape)} with decay {decay}")
        self._ids, self._decay = ids, np.float32(decay)
        self._mean = np.zeros(tuple(shape), np.float32)

    def update(self, fired: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Take in one burst's fired neurons; return a copy of the activity, 0..1."""
        ids = np.asarray(fired, np.int64)
        inside = ids[(ids >= self._ids.start) & (ids < self._ids.stop)] - self._ids.start
        self._mean *= self._decay
        self._mean.reshape(-1)[inside] += 1 - self._decay
        return self._mean.copy()


@dataclass(frozen=True)
class FoundObject:
    """A patch of active neurons: (left, top, right, bottom) with the last row and column outside, and its neurons.

    ``centre`` (x, y) and ``strength`` (sum) are weighted by activity.
    """

    box: tuple[int, int, int, int]
    size: int
    centre: tuple[float, float]
    strength: float


def find_objects(
    activity: npt.ArrayLike, *, threshold: float = 0.0, gap: int = 0, min_size: int = 1
) -> list[FoundObject]:
    """Connected patches of neurons above ``threshold``, strongest first; corners connect, and so do gaps up to ``gap``.

    ``activity`` has (rows, columns), or (channels, rows, columns), which is summed. Time grows with its size only.

    Raises:
        InputError: another shape, or no finite numbers.
    """
    field = np.asarray(activity, np.float64)
    field = field.sum(axis=0) if field.ndim == 3 else field
    if field.ndim != 2 or not np.isfinite(field).all() or gap < 0:
        raise InputError(what="activity", detail=f"shape {field.shape}; finite (rows, columns) and no negative gap")
    rows, columns = np.nonzero(field > threshold)
    if not len(rows):
        return []
    label = _label(_grown(field > threshold, gap))[rows, columns]
    weight = field[rows, columns]
    found = [_measure(rows[part], columns[part], weight[part]) for part in _groups(label)]
    return sorted((item for item in found if item.size >= min_size), key=lambda item: (-item.strength, item.box))


def _grown(mask: npt.NDArray[np.bool_], gap: int) -> npt.NDArray[np.bool_]:
    """Each active neuron spreads by half the gap, so that neighbours over a gap touch."""
    reach = (gap + 1) // 2
    for axis in (0, 1):
        spread = mask.copy()
        for step in range(1, min(reach, mask.shape[axis] - 1) + 1):
            near, far = [slice(None)] * 2, [slice(None)] * 2
            near[axis], far[axis] = slice(step, None), slice(None, -step)
            spread[tuple(near)] |= mask[tuple(far)]
            spread[tuple(far)] |= mask[tuple(near)]
        mask = spread
    return mask


def _label(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """A number per connected patch: runs of a row are joined with those of the row above that they touch."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    rows, starts = np.nonzero(change == 1)
    ends = np.nonzero(change == -1)[1]
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    for above, below in _touching(rows, starts, ends):
        first, second = sorted((root(above), root(below)))
        parent[second] = first
    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = np.repeat([root(run) for run in range(len(rows))], ends - starts)
    return labels


def _touching(rows: npt.NDArray[Any], starts: npt.NDArray[Any], ends: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Pairs of runs in neighbouring rows that share a column or meet at a corner."""
    pairs, above = [], 0
    for run in range(len(rows)):
        while above < run and (rows[above] < rows[run] - 1 or (rows[above] < rows[run] and ends[above] < starts[run])):
            above += 1
        other = above
        while other < run and rows[other] == rows[run] - 1 and starts[other] <= ends[run]:
            pairs.append((other, run))
            other += 1
    return pairs


def _groups(label: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _measure(rows: npt.NDArray[Any], columns: npt.NDArray[Any], weight: npt.NDArray[Any]) -> FoundObject:
    total = float(weight.sum())
    share = weight / total if total > 0 else np.full(len(weight), 1 / len(weight))
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return FoundObject(box, len(rows), (float(share @ columns), float(share @ rows)), total)
