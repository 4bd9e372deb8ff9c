"""Measuring a model on a virtual device: one frame after the other, many in flight, or virtual streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._models import ModelChoice

if TYPE_CHECKING:
    from openhailo import ConfiguredInferModel, VirtualDevice
    from openhailo.runtime.bindings import Bindings

PERCENTILES = (50, 95, 99)


class Mode(StrEnum):
    """How frames are run."""

    #: Calls of a network, one by one and in batches, with the time of each stage.
    CALLS = "calls"
    #: One frame after the other, in buffers of the caller's.
    SYNC = "sync"
    #: As many frames in flight as the queue takes.
    ASYNC = "async"
    #: Virtual streams, each with a thread of its own.
    STREAMS = "streams"


def measure(
    vdevice: VirtualDevice, choice: ModelChoice, reference: Path | None, mode: Mode, seconds: float, batch: int
) -> dict[str, Any]:
    """Run random frames for ``seconds`` and return the figures. Latencies are in ms."""
    with _configured(vdevice, choice, reference, batch) as configured:
        bindings = [_bindings(configured, seed) for seed in range(configured.async_queue_size)]
        configured.run(bindings[0])
        configured.statistics(reset=True)
        ways: dict[Mode, Callable[[], list[float]]] = {
            Mode.SYNC: lambda: _one_by_one(configured, bindings[0], seconds),
            Mode.ASYNC: lambda: _in_flight(configured, bindings, seconds),
            Mode.STREAMS: lambda: _through_streams(configured, bindings[0], seconds),
        }
        latencies = ways[mode]()
        return {"mode": str(mode), "batch": batch, **_facts(vdevice, configured, latencies)}


def _configured(
    vdevice: VirtualDevice, choice: ModelChoice, reference: Path | None, batch: int
) -> ConfiguredInferModel:
    """Configure, with the hardware's latency measured where that is possible."""
    from openhailo.errors import InputError

    options: dict[str, Any] = {"compile_options": choice.compile_options} if choice.path.suffix == ".onnx" else {}

    def configure(measure_latency: bool) -> ConfiguredInferModel:
        model = vdevice.create_infer_model(choice.path, reference=reference, measure_latency=measure_latency, **options)
        model.batch_size = batch
        return model.configure()

    try:
        return configure(True)
    except InputError:
        return configure(False)


def _bindings(model: ConfiguredInferModel, seed: int) -> Bindings:
    bindings = model.allocate_bindings()
    for binding in bindings.inputs.values():
        noise = np.random.default_rng(seed).integers(0, 256, binding.frames.shape)
        binding.frames[:] = noise.astype(binding.frames.dtype)
    return bindings


def _one_by_one(model: ConfiguredInferModel, bindings: Bindings, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end or not latencies:
        model.run(bindings)
        latencies.append(time.perf_counter() - begin)
    return latencies


def _in_flight(model: ConfiguredInferModel, ready: list[Bindings], seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    index, job = 0, None
    while (begin := time.perf_counter()) < end or not index:
        model.wait_for_async_ready()

        def done(info: Any, begin: float = begin) -> None:
            latencies.append(time.perf_counter() - begin)

        job = model.run_async(ready[index % len(ready)], done)
        index += 1
    assert job is not None, "there was at least one frame"
    job.wait()
    return latencies


def _through_streams(model: ConfiguredInferModel, bindings: Bindings, seconds: float) -> list[float]:
    """Send and receive in two threads; the latency counts from when a frame was sent."""
    from openhailo.runtime.vstreams import InputVStreams, OutputVStreams

    begun: list[float] = []
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    news = threading.Semaphore(0)
    with InputVStreams(model.group) as inputs, OutputVStreams(model.group) as outputs:

        def send() -> None:
            try:
                while time.perf_counter() < end or not begun:
                    for stream in inputs:
                        stream.send(bindings.input(stream.name).frames)
                    begun.append(time.perf_counter())
                    news.release()
            finally:
                news.release()

        sender = threading.Thread(target=send, name="sender")
        sender.start()
        while news.acquire() and len(latencies) < len(begun):
            for stream in outputs:
                stream.recv()
            latencies.append(time.perf_counter() - begun[len(latencies)])
        sender.join()
    return latencies


def _facts(vdevice: VirtualDevice, model: ConfiguredInferModel, latencies: list[float]) -> dict[str, Any]:
    figures = model.statistics()
    source = figures.streams[0]
    hardware = figures.latency
    return {
        "devices": vdevice.device_ids,
        "frames": figures.frames,
        "seconds": figures.seconds,
        "fps": figures.fps,
        "latency_ms": {f"p{p}": float(np.percentile(latencies, p)) * 1e3 for p in PERCENTILES},
        "hardware_latency_ms": hardware.mean_s * 1e3 if hardware is not None else None,
        "queue": {"capacity": source.capacity, "mean": source.mean, "most": source.most},
        "input_bytes_per_s": sum(edge.frame_bytes for edge in model.inputs) * figures.fps,
        "output_bytes_per_s": sum(edge.frame_bytes for edge in model.outputs) * figures.fps,
        "device_busy_s": [device.busy_s for device in vdevice.statistics().devices],
    }


def rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what a person reads."""
    shown: list[tuple[str, object]] = [("model", facts["model"]), ("devices", ", ".join(facts["devices"]))]
    shown += [("mode", facts["mode"]), ("frames", facts["frames"]), ("frames per second", round(facts["fps"], 1))]
    shown += [(f"latency {name} (ms)", round(value, 3)) for name, value in facts["latency_ms"].items()]
    if facts["hardware_latency_ms"] is not None:
        shown.append(("hardware latency (ms)", round(facts["hardware_latency_ms"], 3)))
    queue = facts["queue"]
    shown.append(
        ("queue mean / most / capacity", f"{queue['mean'] or 0:.1f} / {queue['most'] or 0} / {queue['capacity']}")
    )
    shown += [(f"{way} (MB/s)", round(facts[f"{way}_bytes_per_s"] / 1e6, 2)) for way in ("input", "output")]
    return shown
