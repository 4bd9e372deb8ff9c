"""Measure a model on a device: frames per second, latency, bandwidth, and where the time goes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._models import ModelArgument, ReferenceOption, find_model, load
from ._output import DeviceOption, JsonOption, print_json, print_table

if TYPE_CHECKING:
    from openhailo import Network

NAME = "benchmark"

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Measurement:
    """Figures of one run. Latencies in ms, bandwidth in bytes per second and direction."""

    frames: int
    seconds: float
    fps: float
    latency_ms: dict[str, float]
    input_bytes_per_s: float
    output_bytes_per_s: float
    share: dict[str, float]


def command(
    model: ModelArgument,
    seconds: Annotated[float, typer.Option("--seconds", "-t", min=0.1, help="How long each part runs.")] = 3.0,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, max=63, help="Frames per call.")] = 8,
    reference: ReferenceOption = None,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Run `openhailo benchmark`."""
    import openhailo

    choice = find_model(model)
    with openhailo.open(device) as chip:
        network = load(chip, choice, reference)
        measurement = measure(network, seconds, batch)
        facts = {"model": choice.name, "device": chip.name, **vars(measurement)}
    if json:
        print_json(facts)
        return
    print_table("", ("figure", "value"), _rows(facts))


def measure(network: Network, seconds: float, batch: int) -> Measurement:
    """Run random frames: first one by one for the latency, then in batches for the rate."""
    frames = _frames(network, batch)
    single = {name: array[0] for name, array in frames.items()}
    network(single)
    latencies = _repeat(lambda: network(single), seconds)
    calls = _repeat(lambda: network(frames), seconds)
    elapsed, count = sum(calls), len(calls) * batch
    raw = _repeat(lambda: network(frames, raw=True), seconds)
    raw_per_frame, per_frame = sum(raw) / (len(raw) * batch), elapsed / count
    return Measurement(
        frames=count,
        seconds=elapsed,
        fps=count / elapsed,
        latency_ms=_percentiles(latencies),
        input_bytes_per_s=_bytes(network.inputs) * count / elapsed,
        output_bytes_per_s=_bytes(network.outputs) * count / elapsed,
        share={
            "device, link and quantization": raw_per_frame / per_frame,
            "dequantization": max(0.0, 1 - raw_per_frame / per_frame),
        },
    )


def _frames(network: Network, batch: int) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    return {tensor.name: rng.integers(0, 256, (batch, *tensor.shape)).astype(tensor.dtype) for tensor in network.inputs}


def _repeat(call: Any, seconds: float) -> list[float]:
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end or not durations:
        call()
        durations.append(time.perf_counter() - started)
    return durations


def _percentiles(latencies: list[float]) -> dict[str, float]:
    import numpy as np

    return {f"p{p}": float(np.percentile(latencies, p)) * 1e3 for p in PERCENTILES}


def _bytes(tensors: Any) -> int:
    import math

    return sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors)


def _rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("model", facts["model"]), ("device", facts["device"])]
    rows += [("frames", facts["frames"]), ("frames per second", round(facts["fps"], 1))]
    rows += [(f"latency {name} (ms)", round(value, 3)) for name, value in facts["latency_ms"].items()]
    rows += [(f"{way} (MB/s)", round(facts[f"{way}_bytes_per_s"] / 1e6, 2)) for way in ("input", "output")]
    rows += [(f"time in {name}", f"{value:.0%}") for name, value in facts["share"].items()]
    return rows
