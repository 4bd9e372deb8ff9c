"""What it costs to run a network in several contexts instead of one, per frame and per switch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from tools.report import Row

import openhailo
from benchmarks.models import detector, tiny
from benchmarks.pairs import Pair
from openhailo import Device, hef
from openhailo.compiler import CompiledModel
from openhailo.compiler.contexts.plan import plan_contexts
from openhailo.compiler.emit import build_hef

CONTEXTS = 2
ROUNDS, SECONDS = 6, 0.25


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
    """Time calls of each in turn, the quick half of them; which network runs is changed before the clock starts."""
    times: dict[openhailo.Network, list[float]] = {ours: [], peer: []}
    for _ in range(ROUNDS):
        for network, spent in times.items():
            device.activate(network, frames=len(frames))
            spent.extend(_durations([lambda network=network: network(frames, raw=True)]))
    ours_s, peer_s = (_quick(spent) for spent in times.values())
    return Pair(ours_s, peer_s, peer_s / ours_s)


def _batch_change(device: Device, model: CompiledModel) -> Row:
    """Calls of 1 and 16 frames in turn against calls of one size: what a change of the batch adds."""
    frames = _frames(model, 1), _frames(model, 16)
    with device.load(_split(model), batch_size=16) as network:
        calls = [lambda each=each: network(each, raw=True) for each in frames]
        in_turn = [_quick(_durations(calls, number)) for number in range(len(calls))]
        alone = [_quick(_durations([call])) for call in calls]
    added = sum(in_turn) - sum(alone)
    return Row("batch_change", added / len(calls) * 1e6, "us/change", "calls of one size", sum(alone) / sum(in_turn))


def _durations(calls: Sequence[Callable[[], object]], timed: int = 0) -> list[float]:
    """Make ``calls`` in turn for a while; return the seconds of those with number ``timed``."""
    spent: list[float] = []
    for call in calls:
        call()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or not spent:
        for number, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            if number == timed:
                spent.append(time.perf_counter() - begin)
    return spent


def _quick(durations: Sequence[float]) -> float:
    """Return the time that a quarter of the calls stay below: others at work on the machine make the rest slow."""
    return float(np.percentile(durations, 25))


def _frames(model: CompiledModel, count: int) -> np.ndarray:
    (stream,) = [stream for stream in model.streams if stream.is_input]
    return np.random.default_rng(0).integers(0, 256, (count, *stream.shape)).astype(np.uint8)


def _split(model: CompiledModel) -> bytes:
    planned = plan_contexts(model.name, model.quantized_model, model.streams, contexts=CONTEXTS)
    assert planned is not None
    return hef.write(build_hef(model.name, b"", model.streams, contexts=planned.plans))
