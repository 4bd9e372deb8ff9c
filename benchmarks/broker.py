"""What a broker adds to a frame: the same network in this process, and through a broker in another one."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from tools.report import Row

import openhailo
from benchmarks.models import detector, tiny
from benchmarks.pairs import measure_pair
from openhailo.compiler import CompiledModel
from openhailo.runtime.bindings import Bindings
from openhailo.runtime.broker.virtual import open_shared
from openhailo.runtime.infer_model import ConfiguredInferModel
from openhailo.runtime.vdevice import VirtualDeviceOptions

BLOCKS, RUNS, TINY_FRAMES, DETECTOR_FRAMES = 8, 400, 256, 4


def rows() -> list[Row]:
    """Measure the latency of one frame, and the rate of many."""
    return [_latency_row(tiny()), _rate_row("broker_tiny_fps", tiny(), TINY_FRAMES), _detector_row()]


def _detector_row() -> Row:
    return _rate_row("broker_detector_fps", detector(), DETECTOR_FRAMES)


@contextmanager
def _both(compiled: CompiledModel) -> Iterator[tuple[ConfiguredInferModel, ConfiguredInferModel]]:
    """Yield the model through a broker, and the model in this process."""
    with tempfile.TemporaryDirectory(prefix="ohb-") as folder:
        path, options = Path(folder) / "bench.sock", VirtualDeviceOptions()
        with (
            open_shared(path, ["twin:"], options, idle_timeout_s=0.0) as shared,
            openhailo.open_virtual_device(["twin:"]) as own,
            shared.create_infer_model(compiled.hef_bytes).configure() as through,
            own.create_infer_model(compiled.hef_bytes).configure() as here,
        ):
            yield through, here


def _bindings(model: ConfiguredInferModel) -> Bindings:
    bindings = model.allocate_bindings()
    for binding in bindings.inputs.values():
        frames = binding.frames
        frames[:] = np.random.default_rng(3).integers(0, 256, frames.shape).astype(frames.dtype)
    return bindings


def _require_equal(through: ConfiguredInferModel, here: ConfiguredInferModel) -> None:
    """Refuse to time something that computes another result."""
    results = []
    for model in (through, here):
        bindings = _bindings(model)
        model.run(bindings)
        results.append([binding.frames.copy() for binding in bindings.outputs.values()])
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


def _latency_row(compiled: CompiledModel) -> Row:
    with _both(compiled) as (through, here):
        _require_equal(through, here)
        ways = [(model, _bindings(model)) for model in (through, here)]
        times: list[list[float]] = [[], []]
        # In blocks: threads of ONNX Runtime spin for a while after a frame, in the process where it ran.
        for _ in range(BLOCKS):
            for (model, bindings), durations in zip(ways, times, strict=True):
                durations += [_timed(partial(model.run, bindings)) for _ in range(RUNS)]
        shared_s, own_s = map(statistics.median, times)
    return Row("broker_added_us", (shared_s - own_s) * 1e6, "us", "a frame in one process (p50)", own_s / shared_s)


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _rate_row(name: str, compiled: CompiledModel, frames: int) -> Row:
    with _both(compiled) as (through, here):
        _require_equal(through, here)
        shared, own = ([_bindings(model) for _ in range(4)] for model in (through, here))
        pair = measure_pair(
            lambda: _flood(through, shared, frames),
            lambda: _flood(here, own, frames),
            ours_units=frames,
            peer_units=frames,
        )
    return Row(name, 1 / pair.ours_s, "frames/s", "the same in one process", pair.speed_ratio)


def _flood(model: ConfiguredInferModel, ready: list[Bindings], frames: int) -> None:
    jobs = []
    for index in range(frames):
        model.wait_for_async_ready()
        jobs.append(model.run_async(ready[index % len(ready)]))
    jobs[-1].wait()
