"""Controls of configuration, sensors, memory, updates and tests (control-protocol.md 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from openhailo.errors import InputError, MalformedReply
from openhailo.spec.layout import Struct

from .caller import ControlCaller
from .results import SensorSection, UserConfigInfo, sensor_section


class MaintenanceControls(ControlCaller):
    """Everything that people rarely need, and board makers do."""

    # --- memory -------------------------------------------------------------------------------------------------

    def read_memory(self, address: int, size_bytes: int) -> bytes:
        """Read device memory in pieces of 1024 bytes."""
        return self.read_chunks("READ_MEMORY", address, size_bytes)

    def write_memory(self, address: int, data: bytes) -> None:
        """Write device memory in pieces of 1024 bytes."""
        self.write_chunks("WRITE_MEMORY", address, data)

    # --- user and board configuration -----------------------------------------------------------------------------

    def examine_user_config(self) -> UserConfigInfo:
        """Tell version, number of entries and size of the user configuration."""
        return UserConfigInfo(**self.call("EXAMINE_USER_CONFIG"))

    def read_user_config(self, limit_bytes: int = 1 << 20) -> bytes:
        """Read the user configuration blob (control-protocol.md 10); a size above ``limit_bytes`` is refused."""
        size_bytes = self.examine_user_config().total_size
        if not 0 < size_bytes <= limit_bytes:
            raise MalformedReply(what="user configuration", detail=f"a size of {size_bytes} bytes")
        return self.read_chunks("READ_USER_CONFIG", 0, size_bytes)

    def write_user_config(self, data: bytes) -> None:
        """Write the user configuration blob."""
        self.write_chunks("WRITE_USER_CONFIG", 0, data)

    def erase_user_config(self) -> None:
        """Erase the user configuration."""
        self.call("ERASE_USER_CONFIG")

    def read_board_config(self) -> bytes:
        """Read the opaque board configuration (500 bytes)."""
        return self.read_chunks("READ_BOARD_CONFIG", 0, self._spec.control_rules.board_config_bytes)

    def write_board_config(self, data: bytes) -> None:
        """Write the board configuration."""
        self.write_chunks("WRITE_BOARD_CONFIG", 0, data)

    # --- sensors and i2c ------------------------------------------------------------------------------------------

    def sensor_sections(self) -> list[SensorSection]:
        """Describe the eight sensor sections."""
        return [sensor_section(record) for record in self.call("SENSOR_GET_SECTIONS_INFO")["data"]["sections"]]

    def read_sensor_config(self, section_index: int, size_bytes: int) -> bytes:
        """Read ``size_bytes`` of a section's operations (15-byte records, control-protocol.md 10)."""
        data = bytearray()
        for at, length in self._pieces(size_bytes):
            part = self.call("SENSOR_GET_CONFIG", section_index=section_index, offset=at, data_size=length)["data"]
            if len(part) != length:
                raise MalformedReply(what="sensor configuration", detail=f"{len(part)} bytes instead of {length}")
            data += part
        return bytes(data)

    def store_sensor_config(
        self,
        section_index: int,
        data: bytes,
        *,
        name: str,
        sensor_type: int = 0,
        reset_data_size: int = 0,
        shape: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """Write a section; ``shape`` is (height, width, frames per second)."""
        height, width, fps = shape
        for at, length in self._pieces(len(data)):
            self.call(
                "SENSOR_STORE_CONFIG",
                section_index=section_index,
                is_first=int(at == 0),
                start_offset=at,
                reset_data_size=reset_data_size,
                sensor_type=sensor_type,
                total_data_size=len(data),
                config_height=height,
                config_width=width,
                config_fps=fps,
                config_name=name.encode(),
                data=data[at : at + length],
            )

    def set_generic_i2c_slave(self, **slave: int) -> None:
        """Describe the sensor's bus address (slave_address, register_address_size, bus_index, ...)."""
        self.call("SENSOR_SET_GENERIC_I2C_SLAVE", **slave)

    def load_and_start_sensor(self, section_index: int) -> None:
        """Program the sensor from a section."""
        self.call("SENSOR_LOAD_AND_START", section_index=section_index)

    def reset_sensor(self, section_index: int) -> None:
        """Reset the sensor of a section."""
        self.call("SENSOR_RESET", section_index=section_index)

    def set_sensor_i2c_bus(self, sensor_type: int, bus_index: int) -> None:
        """Choose the bus of a kind of sensor."""
        self.call("SENSOR_SET_I2C_BUS_INDEX", sensor_type=sensor_type, i2c_bus_index=bus_index)

    def i2c_write(self, register_address: int, data: bytes, **slave: int) -> None:
        """Write a device register on an i2c bus of the board."""
        self.call("I2C_WRITE", register_address=register_address, data=data, **slave)

    def i2c_read(self, register_address: int, size_bytes: int, **slave: int) -> bytes:
        """Read a device register on an i2c bus of the board (at most 4 bytes)."""
        data = self.call("I2C_READ", register_address=register_address, data_length=size_bytes, **slave)["data"]
        if len(data) != size_bytes:
            raise MalformedReply(what="answer to I2C_READ", detail=f"{len(data)} bytes instead of {size_bytes}")
        return bytes(data)

    # --- updates --------------------------------------------------------------------------------------------------

    def update_firmware(self, image: bytes) -> None:
        """Write a firmware image to the board's flash; reset the chip afterwards (control-protocol.md 7.5)."""
        self.call("START_FIRMWARE_UPDATE")
        self.write_chunks("WRITE_FIRMWARE_UPDATE", 0, image, "offset")
        self.call("VALIDATE_FIRMWARE_UPDATE", expected_md5=_md5(image), firmware_size=len(image))
        self.call("FINISH_FIRMWARE_UPDATE")

    def update_second_stage(self, image: bytes) -> None:
        """Write a second-stage boot image to the board's flash."""
        self.write_chunks("WRITE_SECOND_STAGE_TO_INTERNAL_MEMORY", 0, image, "offset")
        self.call("COPY_SECOND_STAGE_TO_FLASH", expected_md5=_md5(image), second_stage_size=len(image))

    # --- streams of other buses, tests ------------------------------------------------------------------------------

    def config_stream(
        self,
        stream_index: int,
        *,
        is_input: bool,
        communication_type: int,
        parameters: Mapping[str, Any] | bytes,
        layout: str = "",
        nn_stream_config: Mapping[str, Any] | bytes = b"\0" * 17,
        skip_nn_stream_config: bool = False,
        power_mode: int = 0,
    ) -> int:
        """Configure a stream (Ethernet and MIPI; never used on PCIe); return its dataflow manager.

        ``parameters`` is the variant of ``communication_type`` as bytes, or as members of the structure ``layout`` in
        `ChipSpec.communication_params`.
        """
        answer = self.call(
            "CONFIG_STREAM",
            stream_index=stream_index,
            is_input=int(is_input),
            communication_type=communication_type,
            skip_nn_stream_config=int(skip_nn_stream_config),
            power_mode=power_mode,
            nn_stream_config=nn_stream_config,
            communication_params=self._communication(layout, parameters),
        )
        return int(answer["dataflow_manager_id"])

    def open_stream(self, dataflow_manager_id: int, *, is_input: bool) -> None:
        """Open a stream of `config_stream`."""
        self.call("OPEN_STREAM", dataflow_manager_id=dataflow_manager_id, is_input=int(is_input))

    def close_stream(self, dataflow_manager_id: int = 0xFF, *, is_input: bool) -> None:
        """Close a stream, or all with 0xFF."""
        self.call("CLOSE_STREAM", dataflow_manager_id=dataflow_manager_id, is_input=int(is_input))

    def reset_phy(self) -> None:
        """Reset the Ethernet transceiver."""
        self.call("PHY_OPERATION", operation_type=0)

    def config_core_top(self, config_type: int, parameter: int) -> None:
        """Set a top-level option of the core."""
        self.call("CONFIG_CORE_TOP", config_type=config_type, config_params=parameter)

    def set_pause_frames(self, *, enable: bool) -> None:
        """Switch Ethernet pause frames."""
        self.call("SET_PAUSE_FRAMES", rx_pause_frames_enable=int(enable))

    def set_notification_host(self, connection_type: int, host_ip_address: int, host_port: int) -> None:
        """Tell an Ethernet device where notifications go."""
        self.call(
            "D2H_EVENT_MANAGER_SET_HOST_INFO",
            connection_type=connection_type,
            host_ip_address=host_ip_address,
            host_port=host_port,
        )

    def send_host_info_notification(self, priority: int = 0) -> None:
        """Ask for notification 1."""
        self.call("D2H_EVENT_MANAGER_SEND_EVENT_HOST_INFO", priority=priority)

    def run_memory_test(self, **blocks: int) -> None:
        """Run one built-in memory test (is_top_test, top_bypass_bitmap, cluster_index, cluster_bypass_bitmap_0/1)."""
        self.call("RUN_BIST_TEST", **blocks)

    def _communication(self, layout: str, parameters: Mapping[str, Any] | bytes) -> bytes:
        if isinstance(parameters, bytes):
            return parameters
        structure: Struct | None = self._spec.communication_params.get(layout)
        if structure is None:
            known = ", ".join(sorted(self._spec.communication_params))
            raise InputError(what="stream parameters", detail=f"there is no layout {layout!r}, only {known}")
        try:
            return structure.pack(**parameters)
        except (ValueError, TypeError) as error:
            raise InputError(what="stream parameters", detail=str(error)) from error


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
