"""Ethernet and MIPI streams: opcodes 3-6, 8, 43, 58. A PCIe board has none of them (control-protocol.md 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openhailo.twin.firmware.parts import Handler, Parts
from openhailo.twin.firmware.refusal import Refused

UDP, VDMA = 0, 1


def _refuse(args: Mapping[str, Any]) -> None:
    raise Refused("CONTROL_PROTOCOL_STATUS_UNSUPPORTED_DEVICE")


class StreamControls:
    """Refusals, and the notification destination that event 1 reports."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._port = 0
        self._refused_stream: dict[str, Any] | None = None

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {
            "CONFIG_STREAM": self.config_stream,
            "OPEN_STREAM": _refuse,
            "CLOSE_STREAM": _refuse,
            "PHY_OPERATION": _refuse,
            "SET_PAUSE_FRAMES": _refuse,
            "CONFIG_CORE_TOP": self.config_core_top,
            "D2H_EVENT_MANAGER_SET_HOST_INFO": self.set_host_info,
            "D2H_EVENT_MANAGER_SEND_EVENT_HOST_INFO": self.send_host_info,
        }

    def config_stream(self, args: Mapping[str, Any]) -> None:
        """Opcode 3: the last parameter's length tells its variant; what was asked for is kept, then refused."""
        raw = args["communication_params"]
        variants = {layout.size: layout for layout in self._parts.spec.communication_params.values()}
        layout = variants.get(len(raw))
        self._refused_stream = layout.unpack(raw) if layout else None
        _refuse(args)

    def config_core_top(self, args: Mapping[str, Any]) -> None:
        """Opcode 8: the one type there is (AHB to AXI) changes nothing that a host sees."""
        if args["config_type"] != 0:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_CONFIG_CORE_TOP_TYPE")

    def set_host_info(self, args: Mapping[str, Any]) -> None:
        """Opcode 43: notifications over vDMA are the only kind here."""
        failed = "CONTROL_PROTOCOL_STATUS_D2H_EVENT_MANAGER_SET_NEW_HOST_INFO_FAIL"
        if args["connection_type"] > VDMA:
            raise Refused(failed, "HAILO_D2H_EVENT_MANAGER_STATUS_INVALID_COMMUNICATION_TYPE")
        if args["connection_type"] == UDP:
            raise Refused("CONTROL_PROTOCOL_STATUS_UNSUPPORTED_DEVICE")
        self._port = args["host_port"]

    def send_host_info(self, args: Mapping[str, Any]) -> None:
        """Opcode 44: emit event 1."""
        if args["priority"] > 1:
            raise Refused(
                "CONTROL_PROTOCOL_STATUS_D2H_EVENT_MANAGER_HOST_INFO_SEND_EVENT_FAIL",
                "HAILO_D2H_EVENT_MANAGER_STATUS_INVALID_PARAMETERS",
            )
        self._parts.notifier.emit(
            "D2H_HOST_INFO",
            priority=args["priority"],
            connection_status=1,
            connection_type=VDMA,
            vdma_is_active=1,
            host_port=self._port,
        )

    def snapshot(self) -> dict[str, Any]:
        """Return where notifications go, and the last stream that was refused."""
        return {"host_port": self._port, "refused_stream": self._refused_stream}
