"""One board and the controls of its firmware (pyhailort-api.md 15 to 17, control-protocol.md)."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, NoReturn

from . import _boards, _sensors
from ._device_info import BoardInformation, CoreInformation, ExtendedDeviceInformation
from ._enums import (
    AveragingFactor,
    CpuId,
    DvmTypes,
    FwLoggerLevel,
    MeasurementBufferIndex,
    NotificationId,
    PowerMeasurementTypes,
    ResetDeviceMode,
    SamplingPeriod,
    SleepState,
    WatchdogMode,
)
from ._errors import HailoRTException, Translating, fail
from ._notifications import NotificationCallback, Notifier
from ._structs import (
    FirmwareUserConfigInformation,
    HealthInformation,
    PowerMeasurementData,
    TemperatureInfo,
    ThrottlingLevel,
)

NO_ETHERNET = "a Hailo-8 on PCIe has no Ethernet interface"
#: Clusters of the core, each with memory tests of its own (control-protocol.md 7).
CLUSTERS = 8
#: Microseconds of the sampling periods, and samples of the averaging factors (runtime-behaviour.md 18).
PERIODS_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)
AVERAGES = (1, 4, 16, 64, 128, 256, 512, 1024)


class Device(Translating):
    """A board. Several of these may be of the same one."""

    def __init__(self, board: _boards.Board) -> None:
        """Use `create`."""
        self._board: _boards.Board | None = board
        self._notifier = Notifier(board, id(self))

    # --- life -------------------------------------------------------------------------------------------------------

    @staticmethod
    def scan() -> list[str]:
        """Return the ids of the boards there are."""
        return _boards.scan()

    @staticmethod
    def create(device_id: str) -> Device:
        """Open a board."""
        return Device(_boards.take(device_id))

    @staticmethod
    def create_pcie(device_info: Any = None) -> Device:
        """Open the board at a PCI address; without one the first."""
        wanted = str(device_info) if device_info is not None else next(iter(_boards.scan()), "")
        return Device.create(wanted)

    @staticmethod
    def create_eth(*_address: Any) -> NoReturn:
        """Refuse: there is no Ethernet."""
        fail("NOT_SUPPORTED", NO_ETHERNET)

    def is_valid(self) -> bool:
        """Whether it was not released."""
        return self._board is not None

    def release(self) -> None:
        """Let go of the board. Idempotent."""
        board, self._board = self._board, None
        if board is not None:
            self._notifier.close()
            _boards.give_back(board)

    def __del__(self) -> None:
        with suppress(Exception):
            self.release()

    @property
    def board(self) -> _boards.Board:
        """The board, as long as it was not released."""
        if self._board is None:
            fail("INVALID_OPERATION", "the device was released; open it again with Device(device_id)")
        return self._board

    @property
    def device_id(self) -> str:
        """The PCI address."""
        return self.board.id

    @property
    def _firmware(self) -> Any:
        return self.board.device.firmware

    # --- identity ---------------------------------------------------------------------------------------------------

    def identify(self) -> BoardInformation:
        """Who the chip is and what runs on it."""
        return BoardInformation.of(self.board.device.identify())

    def core_identify(self) -> CoreInformation:
        """What runs on the core processor."""
        return CoreInformation.of(self._firmware.core_identify())

    def get_extended_device_information(self) -> ExtendedDeviceInformation:
        """Clock, features, ids and fuses."""
        return ExtendedDeviceInformation.of(self.board.device.information())

    def get_chip_temperature(self) -> TemperatureInfo:
        """Read both sensors."""
        reading = self._firmware.chip_temperature()
        return TemperatureInfo(reading.ts0_c, reading.ts1_c, reading.sample_count)

    def previous_system_state(self, cpu_id: CpuId) -> int:
        """What a processor did before its reset."""
        return int(self._firmware.previous_system_state(int(cpu_id)))

    def _get_health_information(self) -> HealthInformation:
        state = self._firmware.health()
        levels = [ThrottlingLevel(lv.threshold_c, lv.hysteresis_c, lv.clock_hz) for lv in state.throttling_levels]
        return HealthInformation(
            state.overcurrent_protection_active,
            state.overcurrent_zone,
            state.red_overcurrent_threshold,
            state.overcurrent_throttling_active,
            state.temperature_throttling_active,
            state.temperature_zone,
            state.temperature_throttling_level,
            levels,
            state.orange_threshold_c,
            state.orange_hysteresis_c,
            state.red_threshold_c,
            state.red_hysteresis_c,
            state.requested_overcurrent_clock_hz,
            state.requested_temperature_clock_hz,
        )

    # --- power ------------------------------------------------------------------------------------------------------

    def power_measurement(self, dvm: DvmTypes, measurement_type: PowerMeasurementTypes) -> float:
        """Measure once: W, mA or mV."""
        return float(self._firmware.power_measurement(int(dvm), int(measurement_type)).value)

    def start_power_measurement(self, averaging_factor: AveragingFactor, sampling_period: SamplingPeriod) -> None:
        """Begin to measure; a value takes period x average x 2 (bus and shunt), told in whole ms, at least 1."""
        period, average = PERIODS_US[int(sampling_period)], AVERAGES[int(averaging_factor)]
        delay_ms = max(1, period * average * 2 // 1000)
        self._firmware.start_power_measurement(int(averaging_factor), int(sampling_period), delay_ms)

    def set_power_measurement(
        self, buffer_index: MeasurementBufferIndex, dvm: DvmTypes, measurement_type: PowerMeasurementTypes
    ) -> None:
        """Choose what a slot measures."""
        self._firmware.set_power_measurement(int(buffer_index), int(dvm), int(measurement_type))

    def get_power_measurement(self, buffer_index: MeasurementBufferIndex, should_clear: bool) -> PowerMeasurementData:
        """Read a slot."""
        read = self._firmware.get_power_measurement(int(buffer_index), clear=bool(should_clear))
        return PowerMeasurementData(read.average, read.average_time_ms, read.minimum, read.maximum, read.samples)

    def stop_power_measurement(self) -> None:
        """End all measurements."""
        self._firmware.stop_power_measurement()

    # --- protection -------------------------------------------------------------------------------------------------

    def set_throttling_state(self, should_activate: bool) -> None:
        """Switch temperature throttling."""
        self._firmware.set_throttling(active=bool(should_activate))

    def get_throttling_state(self) -> bool:
        """Whether temperature throttling is on."""
        return bool(self._firmware.throttling())

    def _set_overcurrent_state(self, should_activate: bool) -> None:
        self._firmware.set_overcurrent_protection(active=bool(should_activate))

    def _get_overcurrent_state(self) -> bool:
        return bool(self._firmware.overcurrent_protection())

    def set_sleep_state(self, sleep_state: SleepState) -> None:
        """Send the core to sleep, or wake it."""
        self._firmware.set_sleep_state(int(sleep_state))

    # --- watchdogs, resets, tests -----------------------------------------------------------------------------------

    def wd_enable(self, cpu_id: CpuId) -> None:
        """Switch a processor's watchdog on."""
        self._firmware.enable_watchdog(int(cpu_id), enable=True)

    def wd_disable(self, cpu_id: CpuId) -> None:
        """Switch a processor's watchdog off."""
        self._firmware.enable_watchdog(int(cpu_id), enable=False)

    def wd_config(self, cpu_id: CpuId, wd_cycles: int, wd_mode: WatchdogMode) -> None:
        """Set a watchdog's period and mode."""
        self._firmware.config_watchdog(int(cpu_id), wd_cycles, int(wd_mode))

    def reset(self, mode: ResetDeviceMode) -> None:
        """Reset the core, or the whole chip; networks have to be configured again after the latter."""
        device = self.board.device
        if mode == ResetDeviceMode.NN_CORE:
            device.reset_core()
        elif mode in (ResetDeviceMode.SOFT, ResetDeviceMode.FORCED_SOFT):
            device.reset()
        else:
            device.firmware.reset(int(mode))

    def test_chip_memories(self) -> None:
        """Run the built-in memory tests of the top level and of every cluster."""
        for is_top, cluster in [(1, 0), *((0, index) for index in range(CLUSTERS))]:
            self._firmware.run_memory_test(
                is_top_test=is_top,
                top_bypass_bitmap=0,
                cluster_index=cluster,
                cluster_bypass_bitmap_0=0,
                cluster_bypass_bitmap_1=0,
            )

    def set_fw_logger(self, level: FwLoggerLevel, interface_mask: int) -> None:
        """Choose what the firmware logs, and where."""
        self._firmware.set_logger(int(level), int(interface_mask))

    def read_log(self, count: int, cpu_id: CpuId) -> bytes:
        """Return and consume up to ``count`` bytes of a processor's log."""
        return bytes(self.board.device.link.read_log(int(cpu_id), count))

    def set_pause_frames(self, rx_pause_frames_enable: bool) -> None:
        """Switch Ethernet pause frames."""
        self._firmware.set_pause_frames(enable=bool(rx_pause_frames_enable))

    # --- memory and flash -------------------------------------------------------------------------------------------

    def read_memory(self, address: int, length: int) -> bytes:
        """Read memory of the device through its firmware."""
        return bytes(self._firmware.read_memory(address, length))

    def write_memory(self, address: int, data: bytes, length: int | None = None) -> None:
        """Write memory of the device through its firmware."""
        self._firmware.write_memory(address, bytes(data)[:length])

    direct_read_memory = read_memory

    def direct_write_memory(self, address: int, data: bytes) -> None:
        """Write memory of the device; this way goes through the firmware as well."""
        self._firmware.write_memory(address, bytes(data))

    def firmware_update(self, firmware_binary: bytes, length: int, should_reset: bool) -> None:
        """Write a firmware image to the board's flash."""
        self._firmware.update_firmware(bytes(firmware_binary)[:length])
        if should_reset:
            self.board.device.reset()

    def second_stage_update(self, second_stage_binary: bytes, length: int) -> None:
        """Write a boot image to the board's flash."""
        self._firmware.update_second_stage(bytes(second_stage_binary)[:length])

    def examine_user_config(self) -> FirmwareUserConfigInformation:
        """Tell what lies in the user configuration."""
        info = self._firmware.examine_user_config()
        return FirmwareUserConfigInformation(info.version, info.entry_count, info.total_size)

    def read_user_config(self) -> bytes:
        """Read the user configuration."""
        return bytes(self._firmware.read_user_config())

    def write_user_config(self, configuration: bytes) -> None:
        """Write the user configuration."""
        self._firmware.write_user_config(bytes(configuration))

    def erase_user_config(self) -> None:
        """Erase the user configuration."""
        self._firmware.erase_user_config()

    def read_board_config(self) -> bytes:
        """Read the board configuration."""
        return bytes(self._firmware.read_board_config())

    def write_board_config(self, configuration: bytes) -> None:
        """Write the board configuration."""
        self._firmware.write_board_config(bytes(configuration))

    # --- board buses and sensors ------------------------------------------------------------------------------------

    def i2c_read(self, slave: Any, register_address: int, length: int) -> bytes:
        """Read a register of a device on the board."""
        return bytes(self._firmware.i2c_read(register_address, length, **_sensors.slave_fields(slave)))

    def i2c_write(self, slave: Any, register_address: int, data: bytes, length: int) -> None:
        """Write a register of a device on the board."""
        self._firmware.i2c_write(register_address, bytes(data)[:length], **_sensors.slave_fields(slave))

    def sensor_store_config(
        self,
        section_index: int,
        reset_data_size: int,
        sensor_type: int,
        config_file_path: str,
        config_height: int,
        config_width: int,
        config_fps: int,
        config_name: str,
    ) -> None:
        """Store a camera sensor's settings."""
        self._firmware.store_sensor_config(
            section_index,
            _sensors.read_operations(config_file_path),
            name=config_name,
            sensor_type=int(sensor_type),
            reset_data_size=reset_data_size,
            shape=(config_height, config_width, config_fps),
        )

    def store_isp_config(self, *_settings: Any) -> NoReturn:
        """Refuse: there is no image signal processor."""
        fail("NOT_SUPPORTED", "a Hailo-8 on PCIe has no image signal processor")

    def sensor_get_sections_info(self) -> bytes:
        """Describe the eight sections of sensor settings, as the firmware sends them."""
        return _sensors.pack_sections(self._firmware.sensor_sections())

    def sensor_get_config(self, section_index: int, size_bytes: int) -> bytes:
        """Read a section's settings: records of 15 bytes (an addition, for ``hailortcli``)."""
        return bytes(self._firmware.read_sensor_config(section_index, size_bytes))

    def sensor_set_generic_i2c_slave(
        self,
        slave_address: int,
        register_address_size: int,
        bus_index: int,
        should_hold_bus: int,
        endianness: int,
    ) -> None:
        """Tell the bus address of a sensor."""
        self._firmware.set_generic_i2c_slave(
            slave_address=slave_address,
            register_address_size=register_address_size,
            bus_index=bus_index,
            should_hold_bus=int(should_hold_bus),
            endianness=int(endianness),
        )

    def sensor_set_i2c_bus_index(self, sensor_type: int, i2c_bus_index: int) -> None:
        """Choose the bus of a kind of sensor."""
        self._firmware.set_sensor_i2c_bus(int(sensor_type), i2c_bus_index)

    def sensor_load_and_start_config(self, section_index: int) -> None:
        """Program a sensor."""
        self._firmware.load_and_start_sensor(section_index)

    def sensor_reset(self, section_index: int) -> None:
        """Reset a sensor."""
        self._firmware.reset_sensor(section_index)

    # --- notifications ----------------------------------------------------------------------------------------------

    def set_notification_callback(
        self, callback: NotificationCallback, notification_id: NotificationId, opaque: object
    ) -> None:
        """Call ``callback(number, notification, opaque)`` from a thread of its own; a later one replaces it."""
        self._notifier.subscribe(int(notification_id), callback, opaque)

    def remove_notification_callback(self, notification_id: NotificationId) -> None:
        """Call nobody any more."""
        self._notifier.unsubscribe(int(notification_id))


# --- old ways to a board ----------------------------------------------------------------------------------------------


class PcieDeviceInfo:
    """A PCI address; ``domain`` 0xFFFFFFFF is any."""

    ANY_DOMAIN = 0xFFFFFFFF

    def __init__(self) -> None:
        """Begin with zeros, in any domain."""
        self.bus = self.device = self.func = 0
        self.domain = self.ANY_DOMAIN

    def __str__(self) -> str:
        prefix = "" if self.domain == self.ANY_DOMAIN else f"{self.domain:04x}:"
        return f"{prefix}{self.bus:02x}:{self.device:02x}.{self.func}"

    @staticmethod
    def _parse(text: str) -> PcieDeviceInfo:
        match = re.fullmatch(r"(?:([0-9a-fA-F]+):)?([0-9a-fA-F]+):([0-9a-fA-F]+)\.([0-9]+)", text.strip())
        if match is None:
            raise HailoRTException(f"{text!r} is no PCI address; write it as [domain:]bus:device.function")
        made = PcieDeviceInfo()
        domain, bus, device, function = match.groups()
        made.domain = int(domain, 16) if domain else made.ANY_DOMAIN
        made.bus, made.device, made.func = int(bus, 16), int(device, 16), int(function)
        return made


class PcieScan:
    """Lists boards."""

    def scan_devices(self) -> list[PcieDeviceInfo]:
        """Return the PCI addresses of the boards there are."""
        return [PcieDeviceInfo._parse(board) for board in _boards.scan()]


class UdpScan:
    """Would list Ethernet boards."""

    def scan_devices(self, interface_name: str, timeout_seconds: int) -> NoReturn:
        """Refuse: there is no Ethernet."""
        fail("NOT_SUPPORTED", NO_ETHERNET)


class NetworkRateLimiter:
    """Would limit the rate of Ethernet frames."""

    def __init__(self, ip: str, port: int) -> None:
        """Refuse: there is no Ethernet."""
        fail("NOT_SUPPORTED", NO_ETHERNET)

    @staticmethod
    def get_interface_name(ip: str) -> NoReturn:
        """Refuse: there is no Ethernet."""
        fail("NOT_SUPPORTED", NO_ETHERNET)

    def set_rate_limit(self, rate_bytes_per_sec: int, port: int = 0) -> NoReturn:
        """Refuse: there is no Ethernet."""
        fail("NOT_SUPPORTED", NO_ETHERNET)

    def reset_rate_limit(self, port: int = 0) -> NoReturn:
        """Refuse: there is no Ethernet."""
        fail("NOT_SUPPORTED", NO_ETHERNET)
