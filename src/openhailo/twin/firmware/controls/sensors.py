"""I2C and camera-sensor sections: opcodes 22, 23, 26-31, 65 (control-protocol.md 5, 10). None is needed to infer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openhailo.twin.firmware.parts import Handler, Parts
from openhailo.twin.firmware.refusal import Refused

from .storage import write_at

I2C_BUSES = 4
SECTION_BYTES = 0x4000  # GUESS: the size of a flash section is not public


@dataclass
class _Section:
    """One stored sensor configuration."""

    data: bytearray = field(default_factory=bytearray)
    info: dict[str, Any] = field(default_factory=lambda: {"is_free": 1, "no_reset_offset": 1})


class SensorControls:
    """Eight sections and I2C slaves that remember what was written to them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._slaves: dict[tuple[int, int], dict[int, int]] = {}
        self._sections = [_Section() for _ in range(parts.spec.control_rules.sensor_sections)]
        self._generic_slave: Mapping[str, Any] | None = None
        self._buses: dict[int, int] = {}

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {
            "I2C_WRITE": self.i2c_write,
            "I2C_READ": self.i2c_read,
            "SENSOR_STORE_CONFIG": self.store,
            "SENSOR_GET_CONFIG": self.get,
            "SENSOR_SET_GENERIC_I2C_SLAVE": self.set_generic_slave,
            "SENSOR_LOAD_AND_START": self.load,
            "SENSOR_RESET": self.reset,
            "SENSOR_GET_SECTIONS_INFO": self.sections_info,
            "SENSOR_SET_I2C_BUS_INDEX": self.set_bus,
        }

    def _slave(self, args: Mapping[str, Any], failed: str) -> dict[int, int]:
        self._check_slave(args, failed)
        return self._slaves.setdefault((args["bus_index"], args["slave_address"]), {})

    @staticmethod
    def _check_slave(args: Mapping[str, Any], failed: str) -> None:
        if args["endianness"] > 1:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_SLAVE_ENDIANNESS_VALUE")
        if args["bus_index"] >= I2C_BUSES:
            raise Refused(failed, "HAILO_I2C_STATUS_INVALID_BUS_INDEX")
        if not 1 <= args["register_address_size"] <= 4:
            raise Refused(failed, "HAILO_I2C_STATUS_MISMATCHING_REGS_SIZE")

    def i2c_write(self, args: Mapping[str, Any]) -> None:
        """Opcode 22."""
        slave = self._slave(args, "CONTROL_PROTOCOL_STATUS_I2C_WRITE_FAILED")
        slave.update({args["register_address"] + i: byte for i, byte in enumerate(args["data"])})

    def i2c_read(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 23: registers never written read as zero."""
        failed = "CONTROL_PROTOCOL_STATUS_I2C_READ_FAILED"
        if args["data_length"] > self._parts.spec.control_rules.max_data_bytes:
            raise Refused(failed, "HAILO_I2C_STATUS_INVALID_OPERATION_LENGTH")
        slave, start = self._slave(args, failed), args["register_address"]
        return {"data": bytes(slave.get(start + i, 0) for i in range(args["data_length"]))}

    def _section(self, index: int) -> _Section:
        if index >= len(self._sections):
            raise Refused("SENSOR_CONFIG_STATUS_INVALID_PARAMS")
        return self._sections[index]

    def store(self, args: Mapping[str, Any]) -> None:
        """Opcode 26: ``is_first`` erases the section, every piece goes to its offset."""
        section = self._section(args["section_index"])
        if args["is_first"]:
            section.data.clear()
        limit = min(args["total_data_size"], SECTION_BYTES)
        if not write_at(section.data, args["start_offset"], args["data"], limit):
            raise Refused("SENSOR_CONFIG_STATUS_STORE_CONFIG_FAIL", "SENSOR_CONFIG_STATUS_INVALID_PARAMS")
        section.info = {
            "sensor_type": args["sensor_type"],
            "config_size": args["total_data_size"],
            "reset_config_size": args["reset_data_size"] & 0xFFFF,
            "is_free": 0,
            "no_reset_offset": int(args["reset_data_size"] == 0),
            "config_height": args["config_height"],
            "config_width": args["config_width"],
            "config_fps": args["config_fps"],
            "config_name": args["config_name"],
        }

    def get(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 27."""
        section = self._used(args["section_index"])
        end = args["offset"] + args["data_size"]
        if args["data_size"] > self._parts.spec.control_rules.max_data_bytes or end > len(section.data):
            raise Refused("SENSOR_CONFIG_STATUS_GET_CONFIG_FAIL", "SENSOR_CONFIG_STATUS_INVALID_PARAMS")
        return {"data": bytes(section.data[args["offset"] : end])}

    def _used(self, index: int) -> _Section:
        section = self._section(index)
        if section.info["is_free"]:
            raise Refused("SENSOR_CONFIG_STATUS_SECTION_CONFIG_NOT_SET")
        return section

    def set_generic_slave(self, args: Mapping[str, Any]) -> None:
        """Opcode 28."""
        self._check_slave(args, "SENSOR_CONFIG_STATUS_SET_I2C_SLAVE_FAILED")
        self._generic_slave = dict(args)

    def load(self, args: Mapping[str, Any]) -> None:
        """Opcode 29: no camera is attached, so a stored configuration simply counts as loaded."""
        self._used(args["section_index"])

    def reset(self, args: Mapping[str, Any]) -> None:
        """Opcode 30."""
        self._used(args["section_index"])

    def sections_info(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 31: eight records."""
        return {"data": {"sections": tuple(section.info for section in self._sections)}}

    def set_bus(self, args: Mapping[str, Any]) -> None:
        """Opcode 65."""
        if args["i2c_bus_index"] >= I2C_BUSES:
            raise Refused("SENSOR_CONFIG_STATUS_SENSOR_SET_I2C_BUS_INDEX_FAIL", "HAILO_I2C_STATUS_INVALID_BUS_INDEX")
        self._buses[args["sensor_type"]] = args["i2c_bus_index"]

    def snapshot(self) -> dict[str, Any]:
        """Return the bytes written to I2C slaves, by (bus, address), and everything about sensors."""
        return {
            "i2c": {slave: dict(registers) for slave, registers in self._slaves.items()},
            "generic_slave": dict(self._generic_slave) if self._generic_slave is not None else None,
            "buses": dict(self._buses),
            "sections": [(bytes(section.data), dict(section.info)) for section in self._sections],
        }
