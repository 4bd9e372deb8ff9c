"""Device memory for debug tools: opcodes 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openhailo.twin.board import MemoryFault
from openhailo.twin.firmware.parts import Handler, Parts
from openhailo.twin.firmware.refusal import Refused


class MemoryControls:
    """Reads and writes what the boot code and the logs also live in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {"WRITE_MEMORY": self.write, "READ_MEMORY": self.read}

    def write(self, args: Mapping[str, Any]) -> None:
        """Opcode 1."""
        try:
            self._parts.board.memory_write(args["address"], args["data"])
        except MemoryFault as fault:
            raise Refused("CONTROL_PROTOCOL_STATUS_ACCESS_RESTRICTED_MEMORY_AREA") from fault

    def read(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 2: exactly ``data_count`` bytes (control-protocol.md 5.2)."""
        if args["data_count"] > self._parts.spec.control_rules.max_data_bytes:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_DATA_LENGTH")
        try:
            return {"data": self._parts.board.memory_read(args["address"], args["data_count"])}
        except MemoryFault as fault:
            raise Refused("CONTROL_PROTOCOL_STATUS_ACCESS_RESTRICTED_MEMORY_AREA") from fault
