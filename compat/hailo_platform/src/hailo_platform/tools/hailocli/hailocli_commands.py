"""The commands of ``hailo`` that ``hailortcli`` carries out, and the tutorial."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from typing import ClassVar

from .base_utils import HailortCliUtil


class BenchmarkCommandCLI(HailortCliUtil):
    """``hailo benchmark``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "benchmark")


class FWConfigCommandCLI(HailortCliUtil):
    """``hailo fw-config``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "fw-config")


class BoardConfigCommandCLI(HailortCliUtil):
    """``hailo board-config``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "board-config")


class ScanCommandCLI(HailortCliUtil):
    """``hailo scan``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "scan")


class ControlCommandCLI(HailortCliUtil):
    """``hailo fw-control``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "fw-control")


class LoggerCommandCLI(HailortCliUtil):
    """``hailo fw-logger``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "fw-logger")


class MeasurePowerCommandCLI(HailortCliUtil):
    """``hailo measure-power``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "measure-power")


class RunCommandCLI(HailortCliUtil):
    """``hailo run``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "run")


class SensorConfigCommandCLI(HailortCliUtil):
    """``hailo sensor-config``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "sensor-config")


class FWUpdaterCLI(HailortCliUtil):
    """``hailo fw-update``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "fw-update")


class SSBUpdaterCLI(HailortCliUtil):
    """``hailo ssb-update``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "ssb-update")


class UDPRateLimiterCLI(HailortCliUtil):
    """``hailo udp-rate-limiter``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "udp-rate-limiter")


class ParseHEFCommandCLI(HailortCliUtil):
    """``hailo parse-hef``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "parse-hef")


class MonitorCommandCLI(HailortCliUtil):
    """``hailo monitor``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        super().__init__(parser, "monitor")


class TutorialRequired(Exception):
    """Something that the tutorial needs is missing."""


class TutorialRunnerCLI:
    """``hailo tutorial``: the examples of this project, in a notebook server."""

    TUTORIALS_REQUIREMENTS: ClassVar[list[str]] = ["jupyter"]
    ERROR_MSG = """
    Jupyter or one of its dependencies are not installed in this Python environment. These packages
    are optional; install them with: pip install jupyter
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--ip", type=str, default=None, help="address that the server listens on")
        parser.add_argument("--port", type=str, default=None, help="port that the server listens on")
        parser.set_defaults(func=self.run)

    def _check_requirements(self) -> None:
        missing = [name for name in self.TUTORIALS_REQUIREMENTS if importlib.util.find_spec(name) is None]
        if missing:
            raise TutorialRequired(self.ERROR_MSG)

    def run(self, args: argparse.Namespace) -> int:
        """Start the server in the current directory."""
        self._check_requirements()
        options = [f"--{name}={value}" for name in ("ip", "port") if (value := getattr(args, name)) is not None]
        return subprocess.call([sys.executable, "-m", "jupyter", "notebook", *options])
