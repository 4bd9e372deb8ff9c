"""Frames through driver and twin against ONNX Runtime alone on the same quantized graph."""

from __future__ import annotations

import numpy as np
import onnxruntime
from tools.report import Row

import openhailo
from benchmarks.models import detector, tiny
from benchmarks.pairs import Pair, measure_pair
from openhailo.compiler import CompiledModel
from openhailo.twin.core import make_session_options

DETECTOR_BATCH, TINY_BATCH = 4, 16


def rows() -> list[Row]:
    """Measure both networks."""
    return [
        *_rate_rows("twin_detector_fps", detector(), DETECTOR_BATCH, ">= 0.9"),
        *_rate_rows("twin_tiny_fps", tiny(), TINY_BATCH, ">= 0.5"),
        _latency_row(tiny()),
    ]


def _rate_rows(name: str, model: CompiledModel, batch: int, aim: str) -> list[Row]:
    """Compare with ONNX Runtime frame by frame, and with it fed in batches of the same size."""
    alone = _compare(model, ours_batch=batch, peer_batch=1)
    batched = _compare(model, ours_batch=batch, peer_batch=batch)
    return [
        Row(name, 1 / alone.ours_s, "frames/s", "ONNX Runtime alone, frame by frame", alone.speed_ratio, aim),
        Row(
            f"{name}_same_batch", 1 / batched.ours_s, "frames/s", f"the same in batches of {batch}", batched.speed_ratio
        ),
    ]


def _latency_row(model: CompiledModel) -> Row:
    pair = _compare(model, ours_batch=1, peer_batch=1)
    added = (pair.ours_s - pair.peer_s) * 1e6
    return Row("added_latency_us", added, "us", "ONNX Runtime alone, one frame at a time", pair.speed_ratio)


def _compare(model: CompiledModel, *, ours_batch: int, peer_batch: int) -> Pair:
    session = onnxruntime.InferenceSession(model.quantized_model.SerializeToString(), make_session_options())
    entry = session.get_inputs()[0]
    frames = np.random.default_rng(0).integers(0, 256, (max(ours_batch, peer_batch), *entry.shape[1:])).astype(np.uint8)
    ours, peer = frames[:ours_batch], {entry.name: frames[:peer_batch]}
    with openhailo.open("twin:") as device:
        network = device.load(model.hef_bytes)
        ours = ours.reshape(ours_batch, *network.inputs[0].shape)
        _require_equal(network(ours, raw=True), session, {entry.name: frames[:ours_batch]})
        return measure_pair(
            lambda: network(ours, raw=True),
            lambda: session.run(None, peer),
            ours_units=ours_batch,
            peer_units=peer_batch,
        )


def _require_equal(
    outputs: dict[str, np.ndarray], session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]
) -> None:
    """Refuse to time something that computes another result."""
    expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
    for name, array in outputs.items():
        np.testing.assert_array_equal(array.reshape(expected[name].shape), expected[name])
