"""Firmware log lines (control-protocol.md 10): the host appends them to a file without reading them."""

from __future__ import annotations

from collections.abc import Callable

TRACE, DEBUG, INFO, WARN, ERROR, FATAL = range(6)
APP_CPU, CORE_CPU = 0, 1
#: Bits of the interface mask of opcode 55.
PCIE, UART = 1, 2

_NAMES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


class FirmwareLog:
    """Log lines of both processors, with the level and interface of opcode 55.

    The content format of the real logs is not public; these are text lines, so that a person can read the file.
    """

    def __init__(self, write: Callable[[int, bytes], None], now_ns: Callable[[], int]) -> None:
        self._write, self._now_ns = write, now_ns
        self.level = INFO
        self.interfaces = PCIE

    def line(self, cpu: int, level: int, text: str) -> None:
        """Log ``text`` on ``cpu`` if ``level`` is not below the level set and PCIe is among the interfaces."""
        if level < self.level or not self.interfaces & PCIE:
            return
        name = "app" if cpu == APP_CPU else "core"
        stamp = self._now_ns() // 1000
        self._write(cpu, f"[{stamp // 1_000_000}.{stamp % 1_000_000:06d}] {name} {_NAMES[level]}: {text}\n".encode())
