"""Spiking networks of FEAGI."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openhailo.errors import InputError

from ._output import DeviceOption, JsonOption, console, print_json, print_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from openhailo.burst import Network
    from openhailo.feagi.accelerator import Accelerator

    Fired = list[npt.NDArray[np.uint32]]

app = typer.Typer(
    help="Spiking networks of FEAGI: run, measure, look at, convert, export.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NetworkArgument = Annotated[
    str, typer.Argument(help="Connectome (.json, .connectome), archive (.npz), NIR graph (.nir), or random:10000:10.")
]
ModeOption = Annotated[str, typer.Option("--mode", help="npu (a FEAGI server) or embedded (small devices).")]
BurstsOption = Annotated[int, typer.Option("--bursts", "-n", min=1, max=10_000_000, help="How many bursts.")]
RateOption = Annotated[float, typer.Option("--rate", min=0.0, help="Bursts a second; 0: as fast as it goes.")]
EngineOption = Annotated[bool, typer.Option("--engine", help="On this computer alone, without a chip.")]
FireOption = Annotated[
    float, typer.Option("--fire", min=0.0, max=1.0, help="Part of the neurons that is made to fire at the start.")
]
EveryOption = Annotated[
    int, typer.Option("--every", min=0, help="Make them fire again after so many bursts; 0: never.")
]
DtOption = Annotated[float, typer.Option("--dt", help="Time of a burst, for NIR graphs.")]

#: Potential that makes a neuron fire.
STIMULUS = 50.0
CHUNK = 256


@app.callback()
def root() -> None:
    """Hold the sub-commands."""


def _load(name: str, dt_s: float = 1e-3) -> Network:
    from openhailo.feagi.files import load_network, make_network

    if Path(name).suffix == ".nir":
        from openhailo.feagi.nir import import_nir

        return import_nir(name, dt_s=dt_s).network
    return load_network(name) if Path(name).exists() or ":" not in name else make_network(name)


@contextmanager
def _accelerator(network: Network, device: str | None, mode: str, *, engine: bool) -> Iterator[Accelerator]:
    """Open the chip, or take this computer, and load the network."""
    from openhailo.feagi.accelerator import EngineAccelerator
    from openhailo.feagi.hailo8 import Hailo8Accelerator

    made: Accelerator
    if engine:
        made = EngineAccelerator(mode)
    else:
        chip = Hailo8Accelerator(device, mode)
        chip.init_device()
        made = chip
    try:
        made.upload_network(network)
        yield made
    finally:
        made.close()


def _stimulus(network: Network, part: float) -> Any:
    """Return inputs that make ``part`` of the neurons fire: the same ones each time."""
    import numpy as np

    count = len(network.neurons)
    ids = np.sort(np.random.default_rng(1).choice(count, round(count * part), replace=False)).astype(np.uint32)
    return ids, np.full(len(ids), STIMULUS, np.float32)


def _run_all(accelerator: Accelerator, stimulus: Any, bursts: int, every: int) -> Fired:
    """Run ``bursts`` as fast as it goes, with a bar; return what fired in each."""
    from rich.progress import Progress

    fired: Fired = []
    with Progress(console=console(), transient=True) as progress:
        task = progress.add_task("bursts", total=bursts)
        while len(fired) < bursts:
            count = min(CHUNK, bursts - len(fired))
            numbers = range(len(fired), len(fired) + count)
            accelerator.upload_input_batch([stimulus if _due(number, every) else None for number in numbers])
            accelerator.process_burst_batch(count)
            fired += [each.copy() for each in accelerator.download_fired_batch()]
            progress.update(task, completed=len(fired))
    return fired


def _due(number: int, every: int) -> bool:
    return number % every == 0 if every else number == 0


def _run_timed(accelerator: Accelerator, stimulus: Any, bursts: int, every: int, rate_hz: float) -> tuple[Fired, Any]:
    """Run ``bursts`` at a rate; return what fired in each, and the loop's statistics."""
    from openhailo.feagi.realtime import BurstLoop

    fired: Fired = []

    def burst(number: int) -> int:
        if _due(number, every):
            accelerator.upload_input_deltas(*stimulus)
        count = accelerator.process_burst()
        fired.append(accelerator.download_fired_neurons().copy())
        return count

    return fired, BurstLoop(burst, rate_hz).run(bursts / rate_hz)


@app.command(help="Run a network, on the chip or on this computer, and say how much fired.")
def run(
    network: NetworkArgument,
    bursts: BurstsOption = 1000,
    rate: RateOption = 0.0,
    fire: FireOption = 0.015,
    every: EveryOption = 0,
    mode: ModeOption = "npu",
    engine: EngineOption = False,
    raster: Annotated[Path | None, typer.Option("--raster", help="Write a picture of what fired.")] = None,
    dt: DtOption = 1e-3,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Run `openhailo feagi run`."""
    loaded = _load(network, dt)
    stimulus, statistics = _stimulus(loaded, fire), None
    with _accelerator(loaded, device, mode, engine=engine) as accelerator:
        started = time.perf_counter()
        if rate:
            fired, statistics = _run_timed(accelerator, stimulus, bursts, every, rate)
        else:
            fired = _run_all(accelerator, stimulus, bursts, every)
        elapsed = time.perf_counter() - started
        name = accelerator.name
    if raster is not None:
        _picture(fired, raster, loaded, rate, network)
    spikes = sum(map(len, fired))
    found: dict[str, Any] = {
        "accelerator": name,
        "neurons": len(loaded.neurons),
        "synapses": len(loaded.synapses),
        "bursts": len(fired),
        "fired_per_burst": spikes / max(1, len(fired)),
        "bursts_per_second": len(fired) / elapsed,
    }
    if statistics is not None:
        found |= {"missed_deadlines": statistics.missed, "burst_ms": statistics.burst_s * 1e3}
        found |= {"worst_ms": statistics.worst_s * 1e3, "jitter_ms": statistics.jitter_s * 1e3}
    _show("", found, json=json)


def _show(title: str, found: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(found)
    else:
        print_table(title, ("", "value"), ((name.replace("_", " "), value) for name, value in found.items()))


def _picture(fired: Fired, path: Path, network: Network, rate_hz: float, title: str) -> None:
    from openhailo.feagi.plots import save_raster

    save_raster(fired, path, neurons=len(network.neurons), rate_hz=rate_hz, title=title)


@app.command(help="Measure bursts through the chip and on this computer alone, in turn.")
def bench(
    network: NetworkArgument = "steady:100000:10",
    bursts: BurstsOption = 200,
    fire: FireOption = 0.015,
    mode: ModeOption = "npu",
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Run `openhailo feagi bench`."""
    import statistics

    loaded = _load(network)
    stimulus = _stimulus(loaded, fire)
    times: dict[str, list[float]] = {"chip": [], "engine": []}
    with (
        _accelerator(loaded, device, mode, engine=False) as chip,
        _accelerator(loaded, None, mode, engine=True) as alone,
    ):
        pair = {"chip": chip, "engine": alone}
        for accelerator in pair.values():
            accelerator.upload_input_deltas(*stimulus)
            accelerator.process_burst()
        for _ in range(bursts):
            for name, accelerator in pair.items():
                started = time.perf_counter()
                accelerator.process_burst()
                times[name].append(time.perf_counter() - started)
        fired = len(alone.download_fired_neurons())
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    found: dict[str, Any] = {"neurons": len(loaded.neurons), "synapses": len(loaded.synapses), "fired_last": fired}
    found |= {f"{name}_ms": value for name, value in medians.items()}
    found["ratio"] = medians["chip"] / medians["engine"]
    _show("", found, json=json)


@app.command(help="Show what a network consists of, and what of it fits on the chip.")
def inspect(network: NetworkArgument, dt: DtOption = 1e-3, json: JsonOption = False) -> None:
    """Run `openhailo feagi inspect`."""
    import numpy as np

    from openhailo.errors import BufferTooLarge
    from openhailo.feagi.packing import pack_state

    loaded = _load(network, dt)
    neurons, synapses = loaded.neurons, loaded.synapses
    found: dict[str, Any] = {
        "neurons": len(neurons),
        "synapses": len(synapses),
        "precision": neurons.precision,
        "areas": len(np.unique(neurons.area)),
        "inhibitory_synapses": int(np.count_nonzero(synapses.kind)),
        "most_synapses_of_a_neuron": int(np.diff(synapses.row_start).max(initial=0)),
    }
    try:
        footprint = pack_state(loaded).footprint
    except BufferTooLarge as error:
        found["fits_on_the_chip"] = str(error)
    else:
        found |= {"fits_on_the_chip": "yes", "parameter_sets": footprint.classes}
        found |= {"bytes_per_neuron": footprint.neuron_bytes, "state_bytes": footprint.state_bytes}
        found |= {"synapse_bytes_on_the_chip": footprint.resident_bytes}
        found |= {"synapse_bytes_in_host_memory": footprint.streamed_bytes}
    _show(network, found, json=json)


@app.command(help="Write a network in another format: .npz, .json (FEAGI), .hef (for the virtual chip).")
def convert(
    network: NetworkArgument,
    output: Annotated[Path, typer.Argument(help="File to write.")],
    mode: ModeOption = "npu",
    dt: DtOption = 1e-3,
) -> None:
    """Run `openhailo feagi convert`."""
    loaded = _load(network, dt)
    if output.suffix == ".hef":
        from openhailo import hef
        from openhailo.feagi.program import build_snn_hef

        output.write_bytes(hef.write(build_snn_hef(loaded, mode)))
    else:
        from openhailo.feagi.files import save_network

        save_network(loaded, output)
    typer.echo(f"{output}: {output.stat().st_size} bytes, {len(loaded.neurons)} neurons")


@app.command(help="Write one burst of a structured network as an INT8 ONNX graph, for silicon and other tools.")
def export(
    description: Annotated[Path, typer.Argument(help="JSON with areas and projections (docs/feagi-interfaces.md).")],
    output: Annotated[Path, typer.Argument(help="ONNX file to write.")],
    mode: ModeOption = "npu",
    step: Annotated[int, typer.Option("--step", min=1, help="Potential of one input level.")] = 1,
) -> None:
    """Run `openhailo feagi export`."""
    from openhailo.feagi.export import export_step
    from openhailo.feagi.files import load_structured

    structured = load_structured(description)
    export_step(structured, mode, input_step=step).save(output)
    typer.echo(f"{output}: {structured.count} neurons, {structured.input_count} inputs")


@app.command(help="Draw what fires: a dot a spike, and the rate below (needs matplotlib).")
def raster(
    network: NetworkArgument,
    output: Annotated[Path, typer.Argument(help="Picture to write (.png, .svg, .pdf).")],
    bursts: BurstsOption = 200,
    fire: FireOption = 0.015,
    every: EveryOption = 0,
    mode: ModeOption = "npu",
    engine: EngineOption = False,
    dt: DtOption = 1e-3,
    device: DeviceOption = None,
) -> None:
    """Run `openhailo feagi raster`."""
    if bursts > 100_000:
        raise InputError(what="--bursts", detail=f"{bursts}; a picture has room for 100000")
    loaded = _load(network, dt)
    with _accelerator(loaded, device, mode, engine=engine) as accelerator:
        fired = _run_all(accelerator, _stimulus(loaded, fire), bursts, every)
    _picture(fired, output, loaded, 0.0, network)
    typer.echo(f"{output}: {bursts} bursts, {sum(map(len, fired))} spikes")
