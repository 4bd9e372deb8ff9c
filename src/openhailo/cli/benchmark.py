"""Measure a model on a device: frames per second, latency, bandwidth, and where the time goes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._devices import UnknownDriverOption, open_device
from ._models import ModelArgument, ModelChoice, ReferenceOption, find_model, load
from ._output import DeviceOption, JsonOption, print_json, print_table
from ._virtual import Mode

if TYPE_CHECKING:
    from openhailo import Device, Network

NAME = "benchmark"

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Measurement:
    """Figures of one run. Latencies in ms, bandwidth in bytes of frames per second and direction.

    ``single_us`` and ``batch_us`` are microseconds per frame in each stage of a call, one frame or ``batch`` at a time;
    "rest" is what no stage explains. ``interrupts_per_frame`` belongs to the batches.
    """

    batch: int
    frames: int
    seconds: float
    fps: float
    latency_ms: dict[str, float]
    input_bytes_per_s: float
    output_bytes_per_s: float
    interrupts_per_frame: float
    single_us: dict[str, float]
    batch_us: dict[str, float]


def command(
    model: ModelArgument,
    seconds: Annotated[float, typer.Option("--seconds", "-t", min=0.1, help="How long each part runs.")] = 3.0,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, max=63, help="Frames per call.")] = 8,
    raw: Annotated[bool, typer.Option("--raw", help="Take the device's integers instead of real numbers.")] = False,
    mode: Annotated[
        Mode,
        typer.Option(
            "--mode", "-m", help="Calls of a network (with stages), sync or async frames, or virtual streams."
        ),
    ] = Mode.CALLS,
    devices: Annotated[int, typer.Option("--devices", min=1, help="How many devices share the frames.")] = 1,
    hw_only: Annotated[bool, typer.Option("--hw-only", help="The chip alone, without the host's transfers.")] = False,
    reference: ReferenceOption = None,
    device: DeviceOption = None,
    allow_unknown_driver: UnknownDriverOption = False,
    json: JsonOption = False,
) -> None:
    """Run `openhailo benchmark`."""
    choice = find_model(model)
    if hw_only:
        _measure_core(choice, device, reference, allow_unknown_driver, json)
        return
    if mode is not Mode.CALLS or devices > 1:
        _measure_virtual(
            choice, device, reference, Mode.ASYNC if mode is Mode.CALLS else mode, devices, seconds, batch, json
        )
        return
    with open_device(device, allow_unknown_driver=allow_unknown_driver) as chip:
        network = load(chip, choice, reference)
        measurement = measure(chip, network, seconds, batch, raw=raw)
        facts = {"model": choice.name, "device": chip.name, **vars(measurement)}
    if json:
        print_json(facts)
        return
    print_table("", ("figure", "value"), _rows(facts))


def _measure_core(
    choice: ModelChoice, device: str | None, reference: Path | None, allow_unknown_driver: bool, json: bool
) -> None:
    """Measure hardware-only inference (see `openhailo.runtime.hw_only`)."""
    with open_device(device, allow_unknown_driver=allow_unknown_driver) as chip:
        speed = load(chip, choice, reference).measure_core()
        facts = {"model": choice.name, "device": chip.name, **vars(speed), "seconds": speed.seconds, "fps": speed.fps}
    if json:
        print_json(facts)
        return
    print_table("hardware only", ("figure", "value"), list(facts.items()))


def _measure_virtual(
    choice: ModelChoice,
    device: str | None,
    reference: Path | None,
    mode: Mode,
    devices: int,
    seconds: float,
    batch: int,
    json: bool,
) -> None:
    """Measure on a virtual device (see `openhailo.cli._virtual`)."""
    import openhailo
    from openhailo.cli._virtual import measure as measure_virtual
    from openhailo.cli._virtual import rows

    names = [device] * devices if device else None
    with openhailo.open_virtual_device(names, count=devices) as vdevice:
        facts = {"model": choice.name, **measure_virtual(vdevice, choice, reference, mode, seconds, batch)}
    if json:
        print_json(facts)
        return
    print_table("", ("figure", "value"), rows(facts))


def measure(device: Device, network: Network, seconds: float, batch: int, *, raw: bool = False) -> Measurement:
    """Run random frames, one by one and in batches: for the figures, then again for the time of the stages."""
    frames = _frames(network, batch)
    single = {name: array[0] for name, array in frames.items()}
    network(single, raw=raw)
    latencies = _repeat(lambda: network(single, raw=raw), seconds)
    before = device.link.statistics().interrupts
    calls = _repeat(lambda: network(frames, raw=raw), seconds)
    interrupts = device.link.statistics().interrupts - before
    elapsed, count = sum(calls), len(calls) * batch
    return Measurement(
        batch=batch,
        frames=count,
        seconds=elapsed,
        fps=count / elapsed,
        latency_ms=_percentiles(latencies),
        input_bytes_per_s=_bytes(network.inputs) * count / elapsed,
        output_bytes_per_s=_bytes(network.outputs) * count / elapsed,
        interrupts_per_frame=interrupts / count,
        single_us=_stages(network, single, 1, seconds, raw),
        batch_us=_stages(network, frames, batch, seconds, raw),
    )


def _stages(network: Network, frames: dict[str, Any], count: int, seconds: float, raw: bool) -> dict[str, float]:
    """Return microseconds per frame by stage; measuring costs about a microsecond per stage of a call."""
    with network.measure() as times:
        calls = _repeat(lambda: network(frames, raw=raw), seconds)
    spent = {str(stage): value for stage, value in times.seconds.items()}
    spent["rest"] = sum(calls) - sum(spent.values())
    return {stage: value * 1e6 / (len(calls) * count) for stage, value in spent.items()}


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
    rows += [("interrupts per frame", round(facts["interrupts_per_frame"], 3))]
    for kind, name in (("single_us", "alone"), ("batch_us", f"in batches of {facts['batch']}")):
        total = sum(facts[kind].values())
        rows += [(f"{stage}, {name} (us/frame)", f"{t:.1f}  {t / total:.0%}") for stage, t in facts[kind].items()]
    return rows
