"""Processes around a guest: started one by one, always ended, each by its own id."""

from __future__ import annotations

import json
import os
import signal
import socket as socketlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

_START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0


class NotStarted(Exception):
    """A process of the rig ended, or did not become ready; the text says what it printed."""


class Process:
    """A child whose output goes to ``log``."""

    def __init__(self, command: Sequence[str], log: Path, *, environment: dict[str, str] | None = None) -> None:
        self.log = log
        self._file = log.open("wb")
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._child.poll()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def output(self) -> str:
        """Return what it printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for_files(self, *paths: Path) -> None:
        """Wait until ``paths`` exist. Raises `NotStarted`."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not all(path.exists() for path in paths):
            if self.exit_code is not None or time.monotonic() > deadline:
                raise NotStarted(self.output().strip() or f"exit code {self.exit_code}, no output")
            time.sleep(0.01)

    def hang_up(self) -> None:
        """Send SIGHUP."""
        self._child.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._child.kill()
        self._child.wait(_END_TIMEOUT_S)

    def close(self) -> None:
        """Ask it to end, then make it. Idempotent."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class ServedTwin(Process):
    """`openhailo twin serve` at ``socket``."""

    def __init__(self, socket: Path, log: Path, *options: str, uid: int | None = None) -> None:
        self.socket = socket
        module = ["-m", "openhailo.cli.main"] if uid is None else ["-m", "tests.vm.serve_as", str(uid)]
        command = [sys.executable, *module, "twin", "serve", "--socket", str(socket), *options]
        super().__init__(command, log)

    def wait_ready(self) -> Self:
        """Wait until QEMU may connect. Raises `NotStarted`."""
        self.wait_for_files(self.socket)
        return self


class OpenServer(Process):
    """A served twin at ``socket`` whose inside can be asked and changed at ``control``; see `tests.vm.open_server`."""

    def __init__(self, socket: Path, control: Path, log: Path) -> None:
        self.socket, self.control = socket, control
        super().__init__([sys.executable, "-m", "tests.vm.open_server", str(socket), str(control)], log)


class Control:
    """A client of an `OpenServer`'s control socket."""

    def __init__(self, path: Path) -> None:
        self._sock = socketlib.socket(socketlib.AF_UNIX)
        self._sock.settimeout(_START_TIMEOUT_S)
        self._sock.connect(str(path))
        self._lines = self._sock.makefile("rw")

    def ask(self, _guest: object, **question: Any) -> dict[str, Any]:
        """Hand a question of the guest on, and return the answer."""
        self._lines.write(json.dumps(question) + "\n")
        self._lines.flush()
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._lines.close()
        self._sock.close()
