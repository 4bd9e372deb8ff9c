"""The guest's side of the channel to the machine outside: reports, and questions that are answered."""

from __future__ import annotations

import json
import os
import tty
from typing import Any

#: The second serial port; the first one is the console.
_PORT = "/dev/ttyS1"


class Outside:
    """The machine outside."""

    def __init__(self, port: str = _PORT) -> None:
        self._fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._fd)
        self._pending = b""

    def report(self, **fields: Any) -> None:
        """Report ``fields``."""
        self._send(fields)

    def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        """Have the machine outside do ``what``; returns its answer when that is done."""
        self._send({"ask": what, **fields})
        while b"\n" not in self._pending:
            self._pending += os.read(self._fd, 4096)
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _send(self, fields: dict[str, Any]) -> None:
        data = memoryview(json.dumps(fields, default=str).encode() + b"\n")
        while data:
            data = data[os.write(self._fd, data) :]
