"""What it costs to run a network in several contexts instead of one, per frame and per switch."""

from __future__ import annotations

import numpy as np
from tools.report import Row

import openhailo
from benchmarks.models import detector, tiny
from benchmarks.pairs import Pair, calls_for, measure_pair, timed
from openhailo import Device, hef
from openhailo.compiler import CompiledModel
from openhailo.compiler.contexts.plan import plan_contexts
from openhailo.compiler.emit import build_hef

CONTEXTS = 2


def rows() -> list[Row]:
    """Measure a network that is all switching, and one that is all computing."""
    with openhailo.open("twin:") as device:
        return [
            *(_row(device, "context_switch_tiny", tiny(), batch) for batch in (1, 16)),
            *(_row(device, "context_switch_detector", detector(), batch) for batch in (1, 4)),
            _batch_change(device, tiny()),
        ]


def _row(device: Device, name: str, model: CompiledModel, batch: int) -> Row:
    """Compare the same frames in one context and in two, ``batch`` frames a cycle."""
    frames = _frames(model, batch)
    with device.load(model.hef_bytes) as whole, device.load(_split(model), batch_size=batch) as parts:
        expected, seen = whole(frames, raw=True), parts(frames, raw=True)
        for output, array in expected.items():
            np.testing.assert_array_equal(seen[output], array)
        pair = _alternate(device, parts, whole, frames)
    added = (pair.ours_s - pair.peer_s) / batch * 1e6
    return Row(f"{name}_batch{batch}", added, "us/frame added", "the same network in one context", pair.speed_ratio)


def _alternate(device: Device, ours: openhailo.Network, peer: openhailo.Network, frames: np.ndarray) -> Pair:
    """Time calls of each in turn; which network runs is changed before the clock starts."""

    def calls(network: openhailo.Network) -> float:
        device.activate(network, frames=len(frames))
        return _best_of(network, frames)

    times = [(calls(ours), calls(peer)) for _ in range(7)]
    ratios = sorted(p / o for o, p in times)
    medians = [sorted(column)[len(times) // 2] for column in zip(*times, strict=True)]
    return Pair(medians[0], medians[1], ratios[len(ratios) // 2])


def _best_of(network: openhailo.Network, frames: np.ndarray) -> float:
    return timed(lambda: network(frames, raw=True), calls_for(lambda: network(frames, raw=True), 0.15))


def _batch_change(device: Device, model: CompiledModel) -> Row:
    """Calls of 1 and 16 frames in turn against the same calls one after the other: what a change of batch adds."""
    one, many = _frames(model, 1), _frames(model, 16)
    with device.load(_split(model), batch_size=16) as network:

        def in_turn() -> None:
            for _ in range(8):
                network(one, raw=True)
                network(many, raw=True)

        def sorted_calls() -> None:
            for frames in (one, many):
                for _ in range(8):
                    network(frames, raw=True)

        pair = measure_pair(in_turn, sorted_calls, ours_units=16, peer_units=16)
    added = (pair.ours_s - pair.peer_s) * 1e6
    return Row("batch_change", added, "us/change", "calls of one size after the other", pair.speed_ratio)


def _frames(model: CompiledModel, count: int) -> np.ndarray:
    (stream,) = [stream for stream in model.streams if stream.is_input]
    return np.random.default_rng(0).integers(0, 256, (count, *stream.shape)).astype(np.uint8)


def _split(model: CompiledModel) -> bytes:
    planned = plan_contexts(model.name, model.quantized_model, model.streams, contexts=CONTEXTS)
    assert planned is not None
    return hef.write(build_hef(model.name, b"", model.streams, contexts=planned.plans))
