"""The range of every tensor over the calibration frames: minimum and maximum, percentile, or least information lost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from openhailo.errors import CalibrationError, InputError, ModelInvalid

from .passes.graph import copy_model, float_tensors

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: Final[tuple[str, ...]] = get_args(Method)
Range = tuple[float, float]
Array = npt.NDArray[Any]
Frame = Mapping[str, Array]

HISTOGRAM_BINS: Final = 2048
#: Tensors of one frame that are looked at together; ONNX Runtime and NumPy hold a copy each.
PART_BYTES: Final = 64 << 20
LEVELS: Final = 256
#: Shares of the full range that the searches try.
CANDIDATES: Final = tuple(1.0 - step / 64 for step in range(49))


def observe(model: onnx.ModelProto, names: Sequence[str], frames: Iterable[Frame]) -> Iterator[dict[str, Any]]:
    """Run ``model`` frame by frame and yield the values of tensors ``names``; nothing is kept between frames."""
    session = open_session(with_outputs(model, names)) if names else None
    for frame in frames:
        if session is None:
            yield {}
            continue
        yield dict(zip(names, run_session(session, names, frame), strict=True))


def observe_in_parts(model: onnx.ModelProto, names: Sequence[str], frames: Sequence[Frame]) -> Iterator[dict[str, Any]]:
    """As `observe`, but a few of ``names`` at a time: all frames for the first few, then for the next.

    Every tensor of a network at once can be a gigabyte; running the network again costs little beside looking at them.
    """
    for part in parts(model, names):
        yield from observe(model, part, frames)


def parts(model: onnx.ModelProto, names: Iterable[str]) -> list[list[str]]:
    """Divide ``names``, tensors of a static model with inferred shapes, into lists of at most `PART_BYTES` together."""
    sizes = {value.name: _float_bytes(value) for value in (*model.graph.value_info, *model.graph.output)}
    divided: list[list[str]] = []
    room = 0
    for name in names:
        size_bytes = sizes.get(name, PART_BYTES)
        if not divided or size_bytes > room:
            divided.append([])
            room = PART_BYTES
        divided[-1].append(name)
        room -= size_bytes
    return divided


def _float_bytes(value: onnx.ValueInfoProto) -> int:
    return 4 * math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def run_session(session: Any, names: Sequence[str], frame: Frame) -> list[Array]:
    """Run one frame; ModelInvalid when ONNX Runtime finds out only now that the graph does not add up."""
    try:
        return list(session.run(list(names), dict(frame)))
    except Exception as error:
        raise ModelInvalid(detail=f"ONNX Runtime cannot run it: {' '.join(str(error).split())[:400]}") from error


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of ``model`` whose outputs are exactly ``names``."""
    probed = copy_model(model)
    probed.graph.ClearField("output")
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return probed


def open_session(model: onnx.ModelProto, threads: int = 0) -> Any:
    """Open ``model`` in ONNX Runtime on the processor; ModelInvalid where it refuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    # The arena grows to twice what is needed and keeps it.
    options.enable_cpu_mem_arena = False
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:
        raise ModelInvalid(detail=f"ONNX Runtime refuses it: {' '.join(str(error).split())[:400]}") from error


def collect_ranges(
    model: onnx.ModelProto, frames: Sequence[Frame], *, method: Method = "minmax", percentile: float = 99.99
) -> dict[str, Range]:
    """Return (low, high) of every float tensor, inputs included.

    Args:
        model: static float model with inferred shapes.
        frames: inputs by name.
        method: "minmax" keeps everything; "percentile" drops outliers; "entropy" picks the clipping whose 8-bit
            histogram is closest to the real one (Kullback-Leibler divergence); "mse" the one with the least squared
            error of rounding and clipping together.
        percentile: share of values that "percentile" keeps, in percent.

    Raises:
        InputError: an unknown method or a percentile outside 50..100.
        CalibrationError: a tensor is not finite for some frame.
    """
    if method not in METHODS:
        raise InputError(what="method", detail=f"{method!r} is none of {', '.join(METHODS)}")
    if not 50 < percentile <= 100:
        raise InputError(what="percentile", detail=f"{percentile} is not above 50 and at most 100")
    names = float_tensors(model)
    full = _full_ranges(model, names, frames)
    if method == "minmax":
        return full
    histograms = _histograms(model, names, frames, full)
    chosen = dict(full)
    # What leaves the network keeps its extremes: the largest scores are the ones that matter.
    for name in histograms.keys() - {value.name for value in model.graph.output}:
        chosen[name] = _SEARCHES[method](histograms[name], full[name], percentile)
    return chosen


def channel_loudness(
    model: onnx.ModelProto, names: Sequence[str], frames: Sequence[Frame]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the largest absolute value of every channel (axis 1) of tensors ``names`` over the frames."""
    loudness: dict[str, npt.NDArray[np.float64]] = {}
    for values in observe_in_parts(model, names, frames):
        for name, value in values.items():
            peak = np.abs(value).max(axis=(0, *range(2, value.ndim))).astype(np.float64)
            loudness[name] = np.maximum(loudness.get(name, peak), peak)
    return loudness


def _full_ranges(model: onnx.ModelProto, names: Sequence[str], frames: Sequence[Frame]) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for values in itertools.chain(frames, observe_in_parts(model, names, frames)):
        for name, value in values.items():
            if not value.size:
                continue
            low, high = float(value.min()), float(value.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise CalibrationError(detail=f"tensor {name!r} is not finite for one of the frames")
            old = ranges.get(name, (low, high))
            ranges[name] = (min(low, old[0]), max(high, old[1]))
    return ranges


def _histograms(
    model: onnx.ModelProto, names: Sequence[str], frames: Sequence[Frame], full: Mapping[str, Range]
) -> dict[str, npt.NDArray[np.int64]]:
    """Count every tensor's values in equal bins over its full range; constant tensors are left out."""
    counts = {
        name: np.zeros(HISTOGRAM_BINS, np.int64) for name in names if name in full and full[name][0] < full[name][1]
    }
    for values in observe_in_parts(model, list(counts), frames):
        for name, value in values.items():
            low, high = full[name]
            position = (value.ravel() - np.float32(low)) * np.float32(HISTOGRAM_BINS / (high - low))
            bins = np.minimum(position.astype(np.int64), HISTOGRAM_BINS - 1)
            counts[name] += np.bincount(np.maximum(bins, 0), minlength=HISTOGRAM_BINS)
    return counts


def _percentile_range(histogram: npt.NDArray[np.int64], full: Range, percentile: float) -> Range:
    low, high = full
    share = np.cumsum(histogram) / histogram.sum()
    tail = (100.0 - percentile) / 200.0
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    first = int(np.searchsorted(share, tail, side="right"))
    last = int(np.searchsorted(share, 1.0 - tail, side="left"))
    # A range that begins or ends at zero (behind a ReLU) keeps that end: nothing was cut off there.
    return (low if low == 0 else float(edges[first])), (
        high if high == 0 else float(edges[min(last, len(edges) - 2) + 1])
    )


def _entropy_range(histogram: npt.NDArray[np.int64], full: Range, _percentile: float) -> Range:
    low, high = full
    centres = low + (np.arange(HISTOGRAM_BINS) + 0.5) * (high - low) / HISTOGRAM_BINS
    histogram = _without_zeros(histogram, full)
    losses = [_divergence(histogram, centres, low * share, high * share) for share in CANDIDATES]
    best = CANDIDATES[int(np.argmin(losses))]
    return low * best, high * best


def _mse_range(histogram: npt.NDArray[np.int64], full: Range, _percentile: float) -> Range:
    low, high = full
    centres = low + (np.arange(HISTOGRAM_BINS) + 0.5) * (high - low) / HISTOGRAM_BINS
    # Zero is a level of its own: the many zeros behind a ReLU cost nothing.
    centres[np.abs(centres) <= (high - low) / HISTOGRAM_BINS] = 0.0
    losses = []
    for share in CANDIDATES:
        step = (max(high, 0.0) - min(low, 0.0)) * share / (LEVELS - 1)
        rounded = np.rint(np.clip(centres, low * share, high * share) / step) * step
        losses.append(float(histogram @ np.square(centres - rounded)))
    best = CANDIDATES[int(np.argmin(losses))]
    return low * best, high * best


def _without_zeros(histogram: npt.NDArray[np.int64], full: Range) -> npt.NDArray[np.int64]:
    """Return the histogram with no more zeros than neighbours of zero: a ReLU's zeros would outweigh all else."""
    low, high = full
    if not low <= 0 <= high:
        return histogram
    zero = min(int((0 - low) / (high - low) * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)
    cleaned = histogram.copy()
    neighbours = [histogram[place] for place in (zero - 1, zero + 1) if 0 <= place < HISTOGRAM_BINS]
    cleaned[zero] = min(histogram[zero], *neighbours)
    return cleaned


def _divergence(histogram: npt.NDArray[np.int64], centres: npt.NDArray[np.float64], low: float, high: float) -> float:
    """KL divergence of the values clipped to low..high from their version in 256 levels.

    Clipped values are counted at the edges of the reference and left out of the quantized side, so clipping costs.
    """
    inside = (centres >= low) & (centres <= high)
    if not inside.any():
        return float("inf")
    kept = histogram[inside].astype(np.float64)
    reference = kept.copy()
    below, above = centres < low, centres > high
    reference[0] += histogram[below].sum()
    reference[-1] += histogram[above].sum()
    level = np.minimum(((centres[inside] - low) / max(high - low, 1e-30) * LEVELS).astype(int), LEVELS - 1)
    filled = kept > 0
    mass = np.bincount(level, kept, LEVELS)
    width = np.maximum(np.bincount(level, filled, LEVELS), 1)
    quantized = np.where(filled, (mass / width)[level], 0.0)
    p, q = reference / reference.sum(), quantized / max(quantized.sum(), 1e-30)
    smooth = 1e-9
    mask = p > 0
    return float(np.sum(p[mask] * np.log((p[mask]) / (q[mask] + smooth))))


_SEARCHES: Final = {"percentile": _percentile_range, "entropy": _entropy_range, "mse": _mse_range}
