"""What commands of ``hailo`` have in common."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

#: How our own hailortcli is started when none is installed as a command.
OWN_HAILORTCLI = (sys.executable, "-m", "hailo_platform.tools.hailortcli.main")


class CmdUtilsBaseUtilError(Exception):
    """A command that cannot be."""


class HailortCliUtilError(CmdUtilsBaseUtilError):
    """``hailortcli`` cannot be started."""


class CmdUtilsBaseUtil:
    """A command."""

    def __init__(self, args_parser: argparse.ArgumentParser) -> None:
        """Take the parser of its arguments."""
        args_parser.set_defaults(func=self.run if hasattr(self, "run") else None)


class Helper(CmdUtilsBaseUtil):
    """The command ``help``: one line per command."""

    def __init__(self, commands: Mapping[str, Any]) -> None:
        """Take the commands."""
        self._commands = commands

    def __call__(self, parser: argparse.ArgumentParser) -> Helper:
        """Use ``parser``."""
        parser.set_defaults(func=self.run)
        return self

    def run(self, args: object) -> None:
        """Print the commands."""
        print("\nThe commands are:\n")
        for name, (text, _) in self._commands.items():
            print(f"    {name:<20}{text}")


class HailortCliUtil(CmdUtilsBaseUtil):
    """A command that ``hailortcli`` carries out."""

    MISSING: ClassVar[str] = "hailortcli is neither beside this Python nor in PATH"

    def __init__(self, args_parser: argparse.ArgumentParser, command: str) -> None:
        """Take the command's name."""
        self._command = command
        super().__init__(args_parser)

    @classmethod
    def _run_hailortcli(cls, binary_path: str | Sequence[str], command: str, command_args: Sequence[str]) -> int:
        start = [binary_path] if isinstance(binary_path, str) else list(binary_path)
        with subprocess.Popen([*start, command, *command_args]) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.terminate()
                return process.wait()

    def run(self, argv: Sequence[str]) -> int:
        """Run it with the same arguments, and return its exit code."""
        beside = Path(sys.executable).with_name("hailortcli")
        found = str(beside) if beside.is_file() else shutil.which("hailortcli")
        return self._run_hailortcli(found or OWN_HAILORTCLI, self._command, argv)


Command = Callable[[argparse.ArgumentParser], HailortCliUtil]
