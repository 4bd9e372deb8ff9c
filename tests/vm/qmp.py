"""A client of QEMU's control socket: commands and events, one JSON object per line."""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any, Self


class QmpError(Exception):
    """QEMU refused a command, or is gone."""


class Qmp:
    """A connection to the control socket at ``path``. Raises `QmpError`."""

    def __init__(self, path: Path, timeout_s: float = 20.0) -> None:
        self._timeout_s = timeout_s
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout_s)
        self._pending = b""
        self.events: deque[dict[str, Any]] = deque()
        try:
            self._sock.connect(str(path))
            if "QMP" not in self._receive(time.monotonic() + timeout_s):
                raise QmpError("the socket does not greet as QEMU does")
            self.execute("qmp_capabilities")
        except OSError as error:
            self.close()
            raise QmpError(f"no control socket at {path}: {error}") from error
        except BaseException:
            self.close()
            raise

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run ``command`` and return its result; events that come meanwhile are kept. Raises `QmpError`."""
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        try:
            self._sock.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"{command}: {error}") from error
        deadline = time.monotonic() + self._timeout_s
        while True:
            message = self._receive(deadline)
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise QmpError(f"{command}: {message['error'].get('desc', message['error'])}")
            elif "return" in message:
                return message["return"]

    def wait_event(self, name: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Return the data of the next event ``name``; others before it are dropped. Raises `QmpError`."""
        deadline = time.monotonic() + timeout_s
        while True:
            message = self.events.popleft() if self.events else self._receive(deadline)
            if message.get("event") == name:
                data: dict[str, Any] = message.get("data", {})
                return data

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0:
                raise QmpError("QEMU does not answer")
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(65536)
            except TimeoutError as error:
                raise QmpError("QEMU does not answer") from error
            except OSError as error:
                raise QmpError(f"the control socket broke: {error}") from error
            if not data:
                raise QmpError("QEMU closed the control socket")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise QmpError(f"not JSON: {line[:80]!r}") from error
        if not isinstance(message, dict):
            raise QmpError(f"not a message: {line[:80]!r}")
        return message

    def close(self) -> None:
        """Disconnect. Idempotent."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
