"""Entry point of ``hailortcli``: arguments, exit codes, errors (runtime-behaviour.md 24)."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from hailo_platform import __version__
from hailo_platform.pyhailort import _pyhailort as bound

from . import _devices, _hef, _monitor, _run
from ._measure import input_files
from ._output import fail

#: What the original's argument parser returns.
_NO_COMMAND, _BAD_ARGUMENTS = 106, 105
#: What the original has and this has not, and what does it instead.
_ACTIONS = "`openhailo actions MODEL --json` shows the firmware's actions with their times"
_INSTEAD = {
    "measure-fw-actions": _ACTIONS,
    "collect-runtime-data": _ACTIONS,
    "action-list": _ACTIONS,
    "measure-stats": "`openhailo benchmark MODEL --mode streams --json` has figures of streams and queues",
    "measure-nnc-performance": "`openhailo benchmark MODEL --hw-only` has the chip measure its own speed",
    "store_isp_config": "a Hailo-8 on PCIe has no image signal processor",
    "--net-batch-size": "`--batch-size N` counts for all networks",
}
_RATE_LIMITER = "rates are for Ethernet boards; a Hailo-8 on PCIe has none"


class _Parser(argparse.ArgumentParser):
    """A parser with the original's exit code for arguments that make no sense."""

    def error(self, message: str) -> NoReturn:
        hint = next((f"; {text}" for name, text in _INSTEAD.items() if re.search(rf"[' ]{name}\b", message)), "")
        sys.stderr.write(f"{self.format_usage()}{self.prog}: {message}{hint}\n")
        self.exit(_BAD_ARGUMENTS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the number of the status that it ended with."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        sys.stderr.write("A subcommand is required\nRun with --help for more information.\n")
        return _NO_COMMAND
    args = _parse_run2(words[1:]) if words[0] == "run2" else _parser().parse_args(words)
    try:
        return int(args.func(args))
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        return fail(error)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hailortcli", description="HailoRT CLI, on openhailo")
    parser.add_argument("-v", "--version", action="version", version=f"HailoRT-CLI version {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    _add_scan(commands)
    _add_firmware(commands)
    _add_power(commands)
    _add_sensors(commands)
    _add_networks(commands)
    monitor = commands.add_parser("monitor", help="networks that run now, of programs with HAILO_MONITOR=1")
    monitor.add_argument("--once", action="store_true", help="print one screen and end (an addition)")
    monitor.set_defaults(func=_monitor.monitor)
    limiter = commands.add_parser("udp-rate-limiter", help="Ethernet boards only")
    limiter.add_argument("rest", nargs=argparse.REMAINDER)
    limiter.set_defaults(func=_refuse_rates)
    return parser


def _refuse_rates(args: argparse.Namespace) -> int:
    raise bound.status_error("NOT_SUPPORTED", _RATE_LIMITER)


def _device_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--device-id", nargs="+", help="ids of devices; * for all")
    parser.add_argument("--bdf", nargs="+", help="the same")


def _vdevice_options(parser: argparse.ArgumentParser) -> None:
    _device_options(parser)
    parser.add_argument("--device-count", type=int, default=0)
    parser.add_argument("--group-id", default="")
    parser.add_argument("--multi-process-service", action="store_true")


def _add_scan(commands: Any) -> None:
    scan = commands.add_parser("scan", help="list devices")
    scan.add_argument("--interface")
    scan.add_argument("--interface-ip")
    scan.set_defaults(func=_devices.scan)


def _on_devices(parser: argparse.ArgumentParser, action: Callable[..., None]) -> None:
    _device_options(parser)
    parser.set_defaults(func=_devices.on_devices(action))


def _add_firmware(commands: Any) -> None:
    control = commands.add_parser("fw-control", help="firmware").add_subparsers(required=True, parser_class=_Parser)
    identify = control.add_parser("identify")
    identify.add_argument("--extended", action="store_true")
    _on_devices(identify, _devices.identify)
    reset = control.add_parser("reset")
    reset.add_argument("--reset-type", required=True, choices=["chip", "nn_core", "soft", "forced_soft"])
    _on_devices(reset, _devices.reset)
    _on_devices(control.add_parser("test-memories"), _devices.test_memories)
    logger = commands.add_parser("fw-logger", help="firmware logs")
    logger.add_argument("output_file")
    logger.add_argument("--overwrite", action="store_true")
    _on_devices(logger, _devices.fw_logger)
    config = commands.add_parser("fw-config", help="user configuration")
    config = config.add_subparsers(required=True, parser_class=_Parser)
    read = config.add_parser("read")
    read.add_argument("--output-file")
    _on_devices(read, _devices.fw_config_read)
    write = config.add_parser("write")
    write.add_argument("input_file")
    _on_devices(write, _devices.fw_config_write)
    serialize = config.add_parser("serialize", help="JSON in, binary out; needs no device")
    serialize.add_argument("input_file")
    serialize.add_argument("output_file")
    serialize.set_defaults(func=_devices.fw_config_serialize)
    board = commands.add_parser("board-config").add_subparsers(required=True, parser_class=_Parser)
    for name, action in (("read", _devices.board_config_read), ("write", _devices.board_config_write)):
        sub = board.add_parser(name)
        sub.add_argument("file")
        _on_devices(sub, action)
    update = commands.add_parser("fw-update", help="write firmware to flash")
    update.add_argument("file")
    update.add_argument("--skip-reset", action="store_true")
    _on_devices(update, _devices.fw_update)
    second = commands.add_parser("ssb-update", help="write a boot image to flash")
    second.add_argument("file")
    _on_devices(second, _devices.ssb_update)


def _sampling_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sampling-period", type=int, default=1100, choices=bound.PERIODS_US)
    parser.add_argument("--averaging-factor", type=int, default=256, choices=bound.AVERAGES)


def _add_power(commands: Any) -> None:
    power = commands.add_parser("measure-power", help="power of a board")
    power.add_argument("--duration", type=int)
    power.add_argument("--dvm", default="AUTO", choices=list(bound.DvmTypes.__members__))
    power.add_argument("--type", default="AUTO", choices=list(bound.PowerMeasurementTypes.__members__))
    _sampling_options(power)
    _on_devices(power, _devices.measure_power)


def _add_sensors(commands: Any) -> None:
    sensors = commands.add_parser("sensor-config", help="camera sensors").add_subparsers(
        required=True, parser_class=_Parser
    )
    _on_devices(sensors.add_parser("get-sections-info"), _devices.sections)
    for name, action in (("load-config", _devices.load_config), ("reset-sensor", _devices.reset_sensor)):
        sub = sensors.add_parser(name)
        sub.add_argument("section_index", type=int)
        _on_devices(sub, action)
    read = sensors.add_parser("get-config")
    read.add_argument("section_index", type=int, choices=range(8))
    read.add_argument("output_file")
    _on_devices(read, _devices.get_config)
    store = sensors.add_parser("store-sensor-config")
    store.add_argument("section_index", type=int)
    store.add_argument("config_file")
    store.add_argument("sensor_type", choices=list(bound.SensorConfigTypes.__members__))
    for name in ("--reset-config-size", "--config-height", "--config-width", "--config-fps"):
        store.add_argument(name, type=int, default=0)
    store.add_argument("--config-name", default="UNINITIALIZED")
    _on_devices(store, _devices.store_sensor_config)
    slave = sensors.add_parser("set_generic_slave")
    for name in ("slave_address", "register_address_size", "bus_index"):
        slave.add_argument(name, type=lambda text: int(text, 0))
    slave.add_argument("--should-hold-bus", action="store_true")
    slave.add_argument("--slave-endianness", default="LITTLE_ENDIAN", choices=list(bound.Endianness.__members__))
    _on_devices(slave, _devices.set_generic_slave)


def _add_networks(commands: Any) -> None:
    parse = commands.add_parser("parse-hef", help="what is in a file")
    parse.add_argument("hef")
    parse.add_argument("--parse-streams", action="store_true")
    parse.add_argument("--parse-vstreams", action="store_true", default=True)
    parse.set_defaults(func=_hef.parse_hef)
    run = commands.add_parser("run", help="run a network")
    run.add_argument("hef")
    count = run.add_mutually_exclusive_group()
    count.add_argument("-c", "--frames-count", type=int)
    count.add_argument("-t", "--time-to-run", type=float)
    run.add_argument("--batch-size", type=int, default=0)
    run.add_argument("--power-mode", choices=["performance", "ultra_performance"], default="performance")
    run.add_argument("-m", "--mode", choices=["streaming", "hw_only"], default="streaming")
    run.add_argument("--csv")
    run.add_argument("--input-files")
    run.add_argument("--user-format-type", choices=["auto", "uint8", "uint16", "float32"], default="auto")
    run.add_argument("--quantized", choices=["true", "false"], default="true")
    for name in ("latency", "overall-latency", "power", "current", "temp"):
        run.add_argument(f"--measure-{name}", action="store_true")
    for name in ("--show-progress", "--dont-show-progress"):
        run.add_argument(name, action="store_true", help="there is no progress bar")
    _sampling_options(run)
    _vdevice_options(run)
    run.set_defaults(func=_run.run)
    benchmark = commands.add_parser("benchmark", help="speed, latency and power of a network")
    benchmark.add_argument("hef")
    benchmark.add_argument("-t", "--time-to-run", type=float, default=15)
    benchmark.add_argument("--batch-size", type=int, default=1)
    benchmark.add_argument("--power-mode", choices=["performance", "ultra_performance"], default="performance")
    benchmark.add_argument("--input-files")
    benchmark.add_argument("--csv")
    _sampling_options(benchmark)
    _vdevice_options(benchmark)
    benchmark.set_defaults(func=_run.benchmark)


# --- run2: options, then ``set-net`` several times --------------------------------------------------------------------


def _parse_run2(words: Sequence[str]) -> argparse.Namespace:
    starts = [index for index, word in enumerate(words) if word == "set-net"]
    parser = _Parser(prog="hailortcli run2", epilog="then: set-net HEF [options] [set-vstream NAME [options]] ...")
    parser.add_argument("-t", "--time-to-run", type=float, default=5)
    modes = ["full_sync", "full_async", "raw_sync", "raw_async", "full", "raw"]
    parser.add_argument("-m", "--mode", choices=modes, default="full_sync")
    parser.add_argument("-j", "--json")
    parser.add_argument("--scheduling-algorithm", choices=["round_robin", "none"], default="round_robin")
    for name in ("power", "current", "latency", "overall-latency", "temp"):
        parser.add_argument(f"--measure-{name}", action="store_true")
    _vdevice_options(parser)
    args = parser.parse_args(words[: starts[0]] if starts else words)
    if not starts:
        parser.error("a network is needed: set-net HEF")
    args.nets = [_parse_net(words[start + 1 : end]) for start, end in pairwise([*starts, len(words)])]
    args.func = _run.run2
    return args


def _parse_net(words: Sequence[str]) -> argparse.Namespace:
    starts = [index for index, word in enumerate(words) if word in ("set-vstream", "set-stream")]
    parser = _Parser(prog="hailortcli run2 set-net")
    parser.add_argument("hef")
    parser.add_argument("--name", default="")
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--scheduler-threshold", type=int, default=0)
    parser.add_argument("--scheduler-timeout", type=int, default=0)
    parser.add_argument("--scheduler-priority", type=int, default=16)
    parser.add_argument("--framerate", type=float, default=0)
    net = parser.parse_args(words[: starts[0]] if starts else words)
    net.types, net.files = {}, []
    for start, end in pairwise([*starts, len(words)] if starts else []):
        stream = _parse_stream(words[start + 1 : end])
        if stream.type != "auto":
            net.types[stream.name] = _run.format_type(stream.type)
        net.files += input_files(stream.input_file)
    return net


def _parse_stream(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="hailortcli run2 set-vstream")
    parser.add_argument("name")
    parser.add_argument("--input-file")
    parser.add_argument("--type", choices=["auto", "uint8", "uint16", "float32"], default="auto")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
