"""``run``, ``run2`` and ``benchmark`` (runtime-behaviour.md 24, 25)."""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort import pyhailort as api
from openhailo.errors import DoesNotFit, StateError

from ._measure import Model, Result, Sampler, input_files
from ._output import say, warn

_DEFAULT_S = 5.0
_RUN_COLUMNS = [
    "net_name",
    "status",
    "status_description",
    "fps",
    "num_of_frames",
    "send_rate",
    "recv_rate",
    "hw_latency",
    "overall_latency",
    "min_power",
    "average_power",
    "max_power",
    "min_current",
    "average_current",
    "max_current",
    "min_temp",
    "average_temp",
    "max_temp",
]
_BENCHMARK_COLUMNS = [
    "net_name",
    "fps",
    "hw_only_fps",
    "num_of_frames",
    "num_of_frames_hw_only",
    "hw_latency",
    "overall_latency",
    "min_power",
    "average_power",
    "max_power",
]


def open_vdevice(args: argparse.Namespace, *, scheduler: bool) -> api.VDevice:
    """Open the devices that the options name."""
    params = api.VDevice.create_params()
    algorithms = api.HailoSchedulingAlgorithm
    params.scheduling_algorithm = algorithms.ROUND_ROBIN if scheduler else algorithms.NONE
    if args.device_id:
        params.device_ids = args.device_id
    elif args.device_count:
        params.device_count = args.device_count
    if args.group_id:
        params.group_id = args.group_id
    params.multi_process_service = bool(args.multi_process_service)
    return api.VDevice(params)


def format_type(name: str) -> Any:
    """Return a format type by the name that options have for it."""
    return bound.FormatType.__members__[name.upper()]


# --- run --------------------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> int:
    """Run every network group of a file, or of the files of a folder."""
    path = Path(args.hef)
    files = sorted(path.glob("*.hef")) if path.is_dir() else [path]
    rows = [
        _run_group(str(file), group, args) for file in files for group in api.HEF(str(file)).get_network_group_names()
    ]
    if args.csv:
        _write_csv(args.csv, _RUN_COLUMNS, rows)
    return 0


def _run_group(path: str, group: str, args: argparse.Namespace) -> dict[str, Any]:
    hw_only = args.mode == "hw_only"
    say(f"Running {args.mode} inference ({path}):")
    say(f"  Transform data: {str(not hw_only).lower()}")
    if not hw_only:
        say(f"    Type:      {args.user_format_type}")
        say(f"    Quantized: {args.quantized}")
    seconds = None if args.frames_count else float(args.time_to_run or _DEFAULT_S)
    with open_vdevice(args, scheduler=args.multi_process_service) as vdevice:
        samplers = [
            Sampler(each, power=args.measure_power, current=args.measure_current, temperature=args.measure_temp)
            for each in vdevice.get_physical_devices_ids()
        ]
        result = _measured(vdevice, path, group, args, samplers, seconds)
    _print_result(result, args)
    for sampler in samplers:
        _print_samples(sampler, args)
    return _run_row(result, samplers, args)


def _measured(
    vdevice: api.VDevice,
    path: str,
    group: str,
    args: argparse.Namespace,
    samplers: Sequence[Sampler],
    seconds: float | None,
) -> Result:
    kind = None if args.mode == "hw_only" else format_type(args.user_format_type)
    ultra = args.power_mode == "ultra_performance"
    latency = args.measure_latency
    model = Model(vdevice, path, group=group, batch_size=args.batch_size, ultra=ultra, latency=latency)
    model.open({"": kind} if kind is not None else {}, input_files(args.input_files), only_inputs=False)
    with ExitStack() as stack:
        stack.callback(model.close)
        scheduled = bool(args.multi_process_service)
        if not scheduled:
            model.configured.activate()
            stack.callback(model.configured.deactivate)
        for sampler in samplers:
            stack.enter_context(sampler)
        if args.measure_latency:
            return model.latency_ms(seconds, args.frames_count)
        return model.run(seconds, args.frames_count)


def _print_result(result: Result, args: argparse.Namespace) -> None:
    say("> Inference result:")
    say(f" Network group: {result.name}")
    if args.measure_latency:
        say(f"    HW Latency: {result.hw_latency_ms or 0:.2f} ms")
        if args.measure_overall_latency:
            say(f"    Overall Latency: {result.overall_latency_ms:.2f} ms")
        return
    if args.frames_count:
        say(f"    Duration: {time.strftime('%H:%M:%S', time.gmtime(result.seconds))}")
    else:
        say(f"    Frames count: {result.frames}")
    say(f"    FPS: {result.fps:.2f}")
    say(f"    Send Rate: {result.send_mbit:.2f} Mbit/s")
    say(f"    Recv Rate: {result.recv_mbit:.2f} Mbit/s")


def _print_samples(sampler: Sampler, args: argparse.Namespace) -> None:
    if not (args.measure_power or args.measure_current or args.measure_temp):
        return
    say(f"  Device: {sampler.device_id}")
    words = ("Minimum", "Average", "Maximum")
    if args.measure_power:
        for word, value in zip(words, sampler.power.summary(), strict=True):
            say(f"    {word} power consumption: {value:g} W")
    if args.measure_current:
        for word, value in zip(words, sampler.current.summary(), strict=True):
            say(f"    {word} current consumption: {value:g} mA")
    if args.measure_temp:
        for word, value in zip(words, sampler.temperature.summary(), strict=True):
            say(f"    {word} chip temperature: {value:g}C")


def _run_row(result: Result, samplers: Sequence[Sampler], args: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"net_name": result.name, "status": 0, "status_description": "HAILO_SUCCESS"}
    if args.measure_latency:
        row |= {"hw_latency": result.hw_latency_ms, "overall_latency": result.overall_latency_ms}
    else:
        row |= {"fps": result.fps, "num_of_frames": result.frames}
        row |= {"send_rate": result.send_mbit * 1e6, "recv_rate": result.recv_mbit * 1e6}
    if len(samplers) == 1:
        for name, samples in (("power", "power"), ("current", "current"), ("temp", "temperature")):
            if getattr(args, f"measure_{name}"):
                least, mean, most = getattr(samplers[0], samples).summary()
                row |= {f"min_{name}": least, f"average_{name}": mean, f"max_{name}": most}
    return row


def _write_csv(path: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


# --- run2 -------------------------------------------------------------------------------------------------------------


def run2(args: argparse.Namespace) -> int:
    """Run several networks at the same time."""
    nets: list[argparse.Namespace] = args.nets
    if len(nets) == 1:
        warn(
            '"hailortcli run2" is not optimized for single model usage. It is recommended to use "hailortcli run" '
            "command for a single model"
        )
    latency = args.measure_latency or args.measure_overall_latency
    scheduler = args.scheduling_algorithm == "round_robin" and not latency
    if not scheduler and len(nets) > 1:
        raise bound.status_error("INVALID_OPERATION", "without a scheduler exactly one network can run")
    with open_vdevice(args, scheduler=scheduler) as vdevice, ExitStack() as stack:
        samplers = [
            stack.enter_context(
                Sampler(each, power=args.measure_power, current=args.measure_current, temperature=args.measure_temp)
            )
            for each in vdevice.get_physical_devices_ids()
        ]
        results = _run_nets(vdevice, nets, args, stack, scheduler=scheduler, latency=latency)
    _print_run2(results, samplers, args)
    if args.json:
        _write_json(args, nets, results, samplers)
    return 0


def _run_nets(
    vdevice: api.VDevice,
    nets: Sequence[argparse.Namespace],
    args: argparse.Namespace,
    stack: ExitStack,
    *,
    scheduler: bool,
    latency: bool,
) -> list[Result]:
    models = []
    for net in nets:
        model = Model(vdevice, net.hef, group=net.name, batch_size=net.batch_size, latency=latency)
        model.open(net.types, net.files, only_inputs=False)
        stack.callback(model.close)
        models.append(model)
        if scheduler:
            model.configured.set_scheduler_threshold(net.scheduler_threshold)
            model.configured.set_scheduler_timeout(net.scheduler_timeout)
            model.configured.set_scheduler_priority(net.scheduler_priority)
        else:
            model.configured.activate()
            stack.callback(model.configured.deactivate)
    seconds = float(args.time_to_run)
    if latency:
        return [models[0].latency_ms(seconds, None)]
    with ThreadPoolExecutor(len(models)) as pool:
        futures = [
            pool.submit(model.run, seconds, None, net.framerate) for model, net in zip(models, nets, strict=True)
        ]
        return [future.result() for future in futures]


def _print_run2(results: Sequence[Result], samplers: Sequence[Sampler], args: argparse.Namespace) -> None:
    say("[===================>] 100% 00:00:00")
    for result in results:
        if args.measure_latency:
            say(f"{result.name}: hw latency: {result.hw_latency_ms or 0:.2f} ms")
        if args.measure_overall_latency:
            say(f"{result.name}: overall latency: {result.overall_latency_ms:.2f} ms")
        if result.overall_latency_ms is None:
            say(f"{result.name}: fps: {result.fps:.2f}")
    if not (args.measure_power or args.measure_current or args.measure_temp):
        return
    for sampler in samplers:
        say(f"Measurements for device {sampler.device_id}")
        for wanted, label, samples, unit in _quantities(sampler, args):
            if wanted:
                least, mean, most = samples.summary()
                say(f"    {label}: min: {least:.2f} {unit}, average: {mean:.2f} {unit}, max: {most:.2f} {unit}")


def _quantities(sampler: Sampler, args: argparse.Namespace) -> list[tuple[bool, str, Any, str]]:
    return [
        (args.measure_power, "power", sampler.power, "W"),
        (args.measure_current, "current", sampler.current, "mA"),
        (args.measure_temp, "temperature", sampler.temperature, "C"),
    ]


def _write_json(
    args: argparse.Namespace,
    nets: Sequence[argparse.Namespace],
    results: Sequence[Result],
    samplers: Sequence[Sampler],
) -> None:
    groups = []
    for net, result in zip(nets, results, strict=True):
        group: dict[str, Any] = {"name": result.name, "full_hef_path": net.hef}
        if result.overall_latency_ms is None:
            group["fps"] = result.fps
        else:
            group |= {"hw_latency": result.hw_latency_ms, "overall_latency": result.overall_latency_ms}
        groups.append(group)
    devices = []
    for sampler in samplers:
        device: dict[str, Any] = {"device_id": sampler.device_id}
        for wanted, label, samples, unit in _quantities(sampler, args):
            if wanted:
                least, mean, most = samples.summary()
                words = {"min": least, "max": most, "average": mean}
                device[label] = {word: f"{value:.2f} {unit}" for word, value in words.items()}
        devices.append(device)
    document = {
        "time": time.strftime("%c"),
        "inference_mode": args.mode,
        "network_groups": groups,
        "time_to_run": f"{float(args.time_to_run):.2f} seconds",
        "devices": devices,
    }
    Path(args.json).write_text(json.dumps(document, indent=4) + "\n", encoding="utf-8")


# --- benchmark --------------------------------------------------------------------------------------------------------


def benchmark(args: argparse.Namespace) -> int:
    """Measure speed without and with transformations, latency and power."""
    seconds = float(args.time_to_run)
    say("Starting Measurements...")
    ultra = args.power_mode == "ultra_performance"
    with open_vdevice(args, scheduler=False) as vdevice, ExitStack() as stack:
        model = Model(vdevice, args.hef, batch_size=args.batch_size, ultra=ultra)
        model.open({}, input_files(args.input_files))
        stack.callback(model.close)
        say("Measuring FPS in HW-only mode")
        alone = _benchmark_alone(model, seconds)
        model.configured.activate()
        stack.callback(model.configured.deactivate)
        say("Measuring FPS (and Power on supported platforms) in streaming mode")
        device_id = vdevice.get_physical_devices_ids()[0]
        with Sampler(device_id, power=_has_meter(device_id), current=False, temperature=False) as sampler:
            streaming = model.run(seconds, None)
        say("Measuring HW Latency")
        latency = _benchmark_latency(vdevice, args, stack, model)
    _print_summary(alone, streaming, latency, sampler)
    if args.csv:
        least, mean, most = sampler.power.summary()
        row = {"net_name": streaming.name, "fps": streaming.fps, "hw_only_fps": alone.fps}
        row |= {"num_of_frames": streaming.frames, "num_of_frames_hw_only": alone.frames}
        row |= {"hw_latency": latency.hw_latency_ms, "overall_latency": latency.overall_latency_ms}
        row |= {"min_power": least, "average_power": mean, "max_power": most} if sampler.power.values else {}
        _write_csv(args.csv, _BENCHMARK_COLUMNS, [row])
    return 0


def _benchmark_alone(model: Model, seconds: float) -> Result:
    """Measure the chip alone; with frames of the host where that cannot be done."""
    try:
        return model.run_alone(seconds)
    except (StateError, DoesNotFit) as error:
        warn(f"hardware-only inference is not possible, so the host sends frames: {error}")
    model.configured.activate()
    try:
        return model.run(seconds, None)
    finally:
        model.configured.deactivate()


def _has_meter(device_id: str) -> bool:
    with api.Device(device_id) as device:
        return bool(device.control.get_extended_device_information().supported_features.current_monitoring)


def _benchmark_latency(vdevice: api.VDevice, args: argparse.Namespace, stack: ExitStack, model: Model) -> Result:
    """Measure with another configuration: following the interrupts costs speed."""
    model.configured.deactivate()
    measured = Model(vdevice, args.hef, latency=True)
    measured.open({}, input_files(args.input_files))
    stack.callback(measured.close)
    measured.configured.activate()
    stack.callback(measured.configured.deactivate)
    return measured.latency_ms(float(args.time_to_run), None)


def _print_summary(alone: Result, streaming: Result, latency: Result, sampler: Sampler) -> None:
    frame = "=" * 22
    say(f"{frame}\n{'Summary':>15}\n{frame}")
    say(f"FPS     (hw_only)                 = {alone.fps:g}")
    say(f"        (streaming)               = {streaming.fps:g}")
    say(f"Latency (hw)                      = {latency.hw_latency_ms or 0:g} ms")
    say(f"        (overall)                 = {latency.overall_latency_ms or 0:g} ms")
    if sampler.power.values:
        _, mean, most = sampler.power.summary()
        say(f"Device {sampler.device_id}:")
        say(f"  Power in streaming mode (average) = {mean:g} W")
        say(f"                          (max)     = {most:g} W")
