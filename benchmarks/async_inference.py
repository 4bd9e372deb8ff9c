"""Asynchronous frames against ONNX Runtime alone; the latency of one frame; what it costs to switch models."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import onnxruntime
from tools.report import Row

import openhailo
from benchmarks.models import detector, tiny
from benchmarks.pairs import measure_pair
from openhailo.compiler import CompiledModel
from openhailo.runtime.bindings import Bindings
from openhailo.runtime.infer_model import ConfiguredInferModel
from openhailo.twin.core import make_session_options

DETECTOR_FRAMES, TINY_FRAMES = 16, 64
LATENCY_RUNS, SWITCHES, SHARED_FRAMES = 2000, 200, 6000


def rows() -> list[Row]:
    """Measure throughput, latency and switching."""
    return [
        _rate_row("async_detector_fps", detector(), DETECTOR_FRAMES, ">= 0.95"),
        _rate_row("async_tiny_fps", tiny(), TINY_FRAMES, ""),
        *_latency_rows(tiny()),
        _switch_row(tiny()),
        _share_row(tiny()),
    ]


def _session(model: CompiledModel) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.quantized_model.SerializeToString(), make_session_options())


def _bindings(model: ConfiguredInferModel, seed: int) -> Bindings:
    bindings = model.allocate_bindings()
    for binding in bindings.inputs.values():
        shape = binding.frames.shape
        binding.frames[:] = np.random.default_rng(seed).integers(0, 256, shape).astype(binding.frames.dtype)
    return bindings


def _require_equal(model: ConfiguredInferModel, bindings: Bindings, session: onnxruntime.InferenceSession) -> None:
    """Refuse to time something that computes another result."""
    model.run(bindings)
    entry = session.get_inputs()[0]
    frame = bindings.input().frames.reshape(1, *entry.shape[1:])
    results = session.run(None, {entry.name: frame})
    for output, want in zip(session.get_outputs(), results, strict=True):
        np.testing.assert_array_equal(bindings.output(output.name).frames.reshape(want.shape), want)


def _rate_row(name: str, compiled: CompiledModel, frames: int, aim: str) -> Row:
    """Keep the queue of one device filled with frames of buffers of their own; the peer runs one after the other."""
    session = _session(compiled)
    entry = session.get_inputs()[0]
    with _opened(compiled) as model:
        ready = [_bindings(model, seed) for seed in range(min(frames, model.async_queue_size))]
        _require_equal(model, ready[0], session)
        feed = {entry.name: ready[0].input().frames.reshape(1, *entry.shape[1:])}
        pair = measure_pair(
            lambda: _flood(model, ready, frames), lambda: session.run(None, feed), ours_units=frames, peer_units=1
        )
    return Row(name, 1 / pair.ours_s, "frames/s", "ONNX Runtime alone, frame by frame", pair.speed_ratio, aim)


@contextmanager
def _opened(compiled: CompiledModel) -> Iterator[ConfiguredInferModel]:
    with openhailo.open_virtual_device(["twin:"]) as vdevice:
        yield vdevice.create_infer_model(compiled.hef_bytes).configure()


def _flood(model: ConfiguredInferModel, ready: list[Bindings], frames: int) -> None:
    job = None
    for index in range(frames):
        model.wait_for_async_ready()
        job = model.run_async(ready[index % len(ready)])
    assert job is not None, "there is a frame"
    job.wait()


def _latency_rows(compiled: CompiledModel) -> list[Row]:
    session = _session(compiled)
    entry = session.get_inputs()[0]
    with _opened(compiled) as model:
        bindings = _bindings(model, 0)
        _require_equal(model, bindings, session)
        feed = {entry.name: bindings.input().frames.reshape(1, *entry.shape[1:])}
        ways: tuple[Callable[[], object], ...] = (
            lambda: session.run(None, feed),
            lambda: model.run(bindings),
            lambda: model.run_async(bindings).wait(),
            lambda: model.run_async(bindings, lambda info: None).wait(),
        )
        alone, sync, asynchronous, called = _medians_us(ways)
    peer = "ONNX Runtime alone, one frame at a time"
    return [
        Row("sync_p50_us", sync, "us", peer, alone / sync),
        Row("async_p50_us", asynchronous, "us", peer, alone / asynchronous),
        Row("async_callback_p50_us", called, "us", peer, alone / called),
    ]


def _medians_us(ways: tuple[Callable[[], object], ...]) -> list[float]:
    """Return the median time of each way, taking turns."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(LATENCY_RUNS):
        for way, durations in zip(ways, times, strict=True):
            begin = time.perf_counter()
            way()
            durations.append(time.perf_counter() - begin)
    return [statistics.median(durations) * 1e6 for durations in times]


@contextmanager
def _two_models(compiled: CompiledModel) -> Iterator[list[ConfiguredInferModel]]:
    """The same network twice would be on the chip once; another timeout makes it another one."""
    with openhailo.open_virtual_device(["twin:"]) as vdevice:
        hef, timeouts_s = compiled.hef_bytes, (10.0, 11.0)
        yield [vdevice.create_infer_model(hef, timeout_s=timeout_s).configure() for timeout_s in timeouts_s]


def _share_row(compiled: CompiledModel) -> Row:
    """Two models whose queues are kept full share one device: frames of the one that got less, and of the other."""
    with _two_models(compiled) as models:
        stop = threading.Event()

        def keep_full(model: ConfiguredInferModel) -> None:
            bindings = _bindings(model, 0)
            while not stop.is_set():
                model.wait_for_async_ready()
                job = model.run_async(bindings)
                if sum(each.statistics().frames for each in models) > SHARED_FRAMES:
                    stop.set()
            job.wait()

        threads = [threading.Thread(target=keep_full, args=(model,)) for model in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        less, more = sorted(model.statistics().frames for model in models)
    return Row("scheduler_share", less, "frames", "those of the other model of equal rank", less / more, ">= 0.8")


def _switch_row(compiled: CompiledModel) -> Row:
    """One frame of two models in turn, against one frame of one model: what it costs to change places."""
    with _two_models(compiled) as models:
        ready = [_bindings(model, 0) for model in models]

        def in_turn() -> None:
            for model, bindings in zip(models, ready, strict=True):
                model.run(bindings)

        def stay() -> None:
            models[1].run(ready[1])

        turn, alone = [], []
        for _ in range(SWITCHES):
            in_turn()
            turn.append(_timed(in_turn) / 2)
            alone.append(_timed(stay))
    stay_s, turn_s = statistics.median(alone), statistics.median(turn)
    return Row("scheduler_switch_us", (turn_s - stay_s) * 1e6, "us", "a frame without a switch", stay_s / turn_s)


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
