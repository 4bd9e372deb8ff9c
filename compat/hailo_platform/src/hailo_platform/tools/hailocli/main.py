"""Entry point of the command ``hailo``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from hailo_platform import __version__

from .base_utils import HailortCliUtil, Helper
from .hailocli_commands import (
    BenchmarkCommandCLI,
    ControlCommandCLI,
    FWConfigCommandCLI,
    FWUpdaterCLI,
    LoggerCommandCLI,
    MeasurePowerCommandCLI,
    MonitorCommandCLI,
    ParseHEFCommandCLI,
    RunCommandCLI,
    ScanCommandCLI,
    SensorConfigCommandCLI,
    SSBUpdaterCLI,
    TutorialRunnerCLI,
    UDPRateLimiterCLI,
)


class PlatformCommands:
    """The commands."""

    INVALID_COMMAND_EXIT_CODE = 1
    PLATFORM_COMMANDS: ClassVar[dict[str, tuple[str, Any]]] = {
        "fw-update": ("Firmware update tool", FWUpdaterCLI),
        "ssb-update": ("Second stage boot update tool", SSBUpdaterCLI),
        "fw-config": ("Firmware configuration tool", FWConfigCommandCLI),
        "udp-rate-limiter": ("UDP rate control", UDPRateLimiterCLI),
        "fw-control": ("Useful firmware control operations", ControlCommandCLI),
        "fw-logger": ("Download fw logs to a file", LoggerCommandCLI),
        "scan": ("Scans for devices (Ethernet or PCIE)", ScanCommandCLI),
        "sensor-config": ("Sensor configuration tool", SensorConfigCommandCLI),
        "run": ("Run a compiled network", RunCommandCLI),
        "benchmark": ("Measure basic performance on compiled network", BenchmarkCommandCLI),
        "monitor": ("Monitor of networks", MonitorCommandCLI),
        "parse-hef": ("Parse HEF to get information about its components", ParseHEFCommandCLI),
        "measure-power": ("Measures power consumption", MeasurePowerCommandCLI),
        "tutorial": ("Runs the tutorials in jupyter notebook", TutorialRunnerCLI),
    }

    def __init__(self) -> None:
        """Make a parser per command."""
        self.parser = argparse.ArgumentParser(prog="hailo", description=self._get_description())
        self.parser.add_argument("--version", action="version", version=self._get_generic_description())
        self.subparsers = self.parser.add_subparsers(title="Hailo commands", dest="command")
        self.commands = {
            **self.PLATFORM_COMMANDS,
            "help": ("show the list of commands", Helper(self.PLATFORM_COMMANDS)),
        }
        self._made: dict[str, Any] = {}
        for name, (text, make) in self.commands.items():
            own_help = not (isinstance(make, type) and issubclass(make, HailortCliUtil))
            self._made[name] = make(self.subparsers.add_parser(name, help=text, add_help=own_help))

    @staticmethod
    def _get_description() -> str:
        return f"Hailo Command Line Utility ({PlatformCommands._get_generic_description()})"

    @staticmethod
    def _get_generic_description() -> str:
        return f"HailoRT v{__version__}"

    def run(self) -> int:
        """Run what the process's arguments say; return the exit code."""
        return self._run(sys.argv[1:])

    def _run(self, argv: Sequence[str]) -> int:
        if not argv:
            self.parser.print_help()
            return self.INVALID_COMMAND_EXIT_CODE
        chosen = self._made.get(argv[0])
        if isinstance(chosen, HailortCliUtil):
            return chosen.run(argv[1:])
        args = self.parser.parse_args(argv)
        return int(args.func(args) or 0)


def main() -> int:
    """Run the command ``hailo``."""
    return PlatformCommands().run()


if __name__ == "__main__":
    sys.exit(main())
