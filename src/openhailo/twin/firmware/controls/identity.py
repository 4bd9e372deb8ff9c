"""Who the chip is: opcodes 0, 42, 51, 72 (control-protocol.md 5, 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openhailo.twin.firmware.config import ARCHITECTURES
from openhailo.twin.firmware.parts import Handler, Parts


class IdentityControls:
    """Answers that never change while the firmware runs."""

    def __init__(self, parts: Parts, version: tuple[int, int, int]) -> None:
        self._parts = parts
        self.version = version

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {
            "IDENTIFY": self.identify,
            "CORE_IDENTIFY": self.core_identify,
            "GET_DEVICE_INFORMATION": self.device_information,
            "GET_HW_CONSTS": self.hw_consts,
        }

    def _triple(self, core_cpu: int) -> dict[str, int]:
        major, minor, revision = self.version
        word = self._parts.spec.firmware_revision.pack(number=revision, core_cpu=core_cpu)
        return {"major": major, "minor": minor, "revision": word}

    def identify(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 0: versions, board, architecture, serial, part and product."""
        config = self._parts.config
        return {
            "protocol_version": self._parts.spec.control_rules.protocol_version,
            "fw_version": self._triple(0),
            "logger_version": config.logger_version,
            "board_name": config.board_name.encode(),
            "device_architecture": ARCHITECTURES[config.arch],
            "serial_number": config.serial_number.encode(),
            "part_number": config.part_number.encode(),
            "product_name": config.product_name.encode(),
        }

    def core_identify(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 42: the core CPU's version; bit 27 of the revision says so (3.2)."""
        return {"fw_version": self._triple(1)}

    def device_information(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 51."""
        config = self._parts.config
        return {
            "neural_network_core_clock_rate": self._parts.board.sensors.nn_core_clock_hz,
            "supported_features": {"flags": config.supported_features},
            "boot_source": config.boot_source,
            "lcs": config.life_cycle_state,
            "soc_id": config.soc_id,
            "eth_mac_address": config.eth_mac_address,
            "fuse_info": {"lot_id": config.lot_id, "die_wafer_info": config.die_wafer_info},
            "pd_info": config.pd_info,
            "partial_clusters_layout_bitmap": config.partial_clusters_layout_bitmap,
        }

    def hw_consts(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 72: what the host needs to compute credits."""
        return {"hw_consts": dict(self._parts.config.hw_consts)}
