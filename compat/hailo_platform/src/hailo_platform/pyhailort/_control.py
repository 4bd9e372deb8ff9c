"""`Control`: the firmware's controls, one method each (pyhailort-api.md 15)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from . import _pyhailort
from ._exceptions import ExceptionWrapper, HailoRTInvalidOperationException
from ._information import BoardInformation, CoreInformation, ExtendedDeviceInformation, HealthInformation
from ._pyhailort import (
    AveragingFactor,
    CpuId,
    DvmTypes,
    FwLoggerLevel,
    MeasurementBufferIndex,
    NotificationId,
    PowerMeasurementData,
    PowerMeasurementTypes,
    ResetDeviceMode,
    SamplingPeriod,
    TemperatureInfo,
    WatchdogMode,
)

_BIG = "big"
_SENSOR_NAME = "UNINITIALIZED"


class HailoPowerMeasurementUtils:
    """Real values of the ordinals of a measurement."""

    @staticmethod
    def return_real_sampling_period(sampling_period: SamplingPeriod) -> int:
        """Return a period in microseconds."""
        return _pyhailort.PERIODS_US[int(sampling_period)]

    @staticmethod
    def return_real_averaging_factor(averaging_factor: AveragingFactor) -> int:
        """Return how many samples are averaged."""
        return _pyhailort.AVERAGES[int(averaging_factor)]


class Control:
    """Controls of one device. Raises `HailoRTInvalidOperationException` when the device was released."""

    WORD_SIZE = 4

    def __init__(self, device: _pyhailort.Device) -> None:
        """Use ``Device.control``. Blocks SIGWINCH for the calling thread, as the original does."""
        self.__device: _pyhailort.Device | None = device
        self._identify_info: BoardInformation | None = None
        self._core_info: CoreInformation | None = None
        with suppress(AttributeError, ValueError):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])

    @property
    def _device(self) -> _pyhailort.Device:
        if self.__device is None or not self.__device.is_valid():
            error = HailoRTInvalidOperationException("The device in use has been released.")
            error.add_note("keep the Device or VDevice in a variable as long as its control is used")
            raise error
        return self.__device

    @contextmanager
    def _on_device(self) -> Iterator[_pyhailort.Device]:
        """Give the device, with statuses translated."""
        with ExceptionWrapper():
            yield self._device

    @property
    def device_id(self) -> str:
        """The PCI address."""
        return self._device.device_id

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    # --- resets, memory ---------------------------------------------------------------------------------------------

    def chip_reset(self) -> None:
        """Reset the chip (not possible over PCIe)."""
        with self._on_device() as device:
            device.reset(ResetDeviceMode.CHIP)

    def nn_core_reset(self) -> None:
        """Reset the neural core."""
        with self._on_device() as device:
            device.reset(ResetDeviceMode.NN_CORE)

    def soft_reset(self) -> None:
        """Restart the firmware."""
        with self._on_device() as device:
            device.reset(ResetDeviceMode.SOFT)

    def forced_soft_reset(self) -> None:
        """Restart the firmware even when it does not agree."""
        with self._on_device() as device:
            device.reset(ResetDeviceMode.FORCED_SOFT)

    def read_memory(self, address: int, data_length: int) -> bytes:
        """Read memory of the device."""
        with self._on_device() as device:
            return device.read_memory(address, data_length)

    def write_memory(self, address: int, data_buffer: bytes) -> None:
        """Write memory of the device."""
        with self._on_device() as device:
            device.write_memory(address, data_buffer, len(data_buffer))

    def read_register(self, address: int) -> int:
        """Read four bytes as a big-endian number, as the original does."""
        return int.from_bytes(self.read_memory(address, self.WORD_SIZE), _BIG)  # type: ignore[arg-type]

    def set_bit(self, address: int, bit_index: int) -> None:
        """Set a bit of a register."""
        self._write_register(address, self.read_register(address) | 1 << bit_index)

    def reset_bit(self, address: int, bit_index: int) -> None:
        """Clear a bit of a register."""
        self._write_register(address, self.read_register(address) & ~(1 << bit_index))

    def _write_register(self, address: int, value: int) -> None:
        self.write_memory(address, value.to_bytes(self.WORD_SIZE, _BIG))  # type: ignore[arg-type]

    # --- power and protection ---------------------------------------------------------------------------------------

    def power_measurement(
        self, dvm: DvmTypes = DvmTypes.AUTO, measurement_type: PowerMeasurementTypes = PowerMeasurementTypes.AUTO
    ) -> float:
        """Measure once: W, mA or mV."""
        with self._on_device() as device:
            return device.power_measurement(dvm, measurement_type)

    def start_power_measurement(
        self,
        averaging_factor: AveragingFactor = AveragingFactor.AVERAGE_256,
        sampling_period: SamplingPeriod = SamplingPeriod.PERIOD_1100us,
    ) -> None:
        """Begin to measure."""
        with self._on_device() as device:
            device.start_power_measurement(averaging_factor, sampling_period)

    def stop_power_measurement(self) -> None:
        """End all measurements."""
        with self._on_device() as device:
            device.stop_power_measurement()

    def set_power_measurement(
        self,
        buffer_index: MeasurementBufferIndex = MeasurementBufferIndex.MEASUREMENT_BUFFER_INDEX_0,
        dvm: DvmTypes = DvmTypes.AUTO,
        measurement_type: PowerMeasurementTypes = PowerMeasurementTypes.AUTO,
    ) -> None:
        """Choose what a slot measures."""
        with self._on_device() as device:
            device.set_power_measurement(buffer_index, dvm, measurement_type)

    def get_power_measurement(
        self,
        buffer_index: MeasurementBufferIndex = MeasurementBufferIndex.MEASUREMENT_BUFFER_INDEX_0,
        should_clear: bool = True,
    ) -> PowerMeasurementData:
        """Read a slot."""
        with self._on_device() as device:
            return device.get_power_measurement(buffer_index, should_clear)

    def get_chip_temperature(self) -> TemperatureInfo:
        """Read both sensors, in degrees Celsius."""
        with self._on_device() as device:
            return device.get_chip_temperature()

    def set_throttling_state(self, should_activate: bool) -> None:
        """Switch temperature throttling."""
        with self._on_device() as device:
            device.set_throttling_state(should_activate)

    def get_throttling_state(self) -> bool:
        """Whether temperature throttling is on."""
        with self._on_device() as device:
            return device.get_throttling_state()

    def _set_overcurrent_state(self, should_activate: bool) -> None:
        with self._on_device() as device:
            device._set_overcurrent_state(should_activate)

    def _get_overcurrent_state(self) -> bool:
        with self._on_device() as device:
            return device._get_overcurrent_state()

    # --- identity ---------------------------------------------------------------------------------------------------

    def identify(self) -> BoardInformation:
        """Who the board is."""
        with self._on_device() as device:
            found = device.identify()
        version = found.fw_version
        self._identify_info = BoardInformation(
            found.protocol_version,
            version.major,
            version.minor,
            version.revision,
            found.logger_version,
            found.board_name,
            found.is_release,
            found.extended_context_switch_buffer,
            int(found.device_architecture),
            found.serial_number,
            found.part_number,
            found.product_name,
        )
        return self._identify_info

    def core_identify(self) -> CoreInformation:
        """What runs on the core processor."""
        with self._on_device() as device:
            found = device.core_identify()
        version = found.fw_version
        self._core_info = CoreInformation(
            version.major, version.minor, version.revision, found.is_release, found.extended_context_switch_buffer
        )
        return self._core_info

    def get_extended_device_information(self) -> ExtendedDeviceInformation:
        """Clock, features, ids and fuses."""
        with self._on_device() as device:
            found = device.get_extended_device_information()
        return ExtendedDeviceInformation(
            found.neural_network_core_clock_rate,
            found.supported_features,
            found.boot_source,
            found.lcs,
            found.soc_id,
            found.eth_mac_address,
            found.unit_level_tracking_id,
            found.soc_pm_values,
            found.gpio_mask,
        )

    def _get_health_information(self) -> HealthInformation:
        with self._on_device() as device:
            found = device._get_health_information()
        return HealthInformation(**vars(found))

    def previous_system_state(self, cpu_id: CpuId) -> int:
        """What a processor did before its reset."""
        with self._on_device() as device:
            return device.previous_system_state(cpu_id)

    # --- configuration in flash -------------------------------------------------------------------------------------

    def _examine_user_config(self) -> _pyhailort.FirmwareUserConfigInformation:
        with self._on_device() as device:
            return device.examine_user_config()

    def read_user_config(self) -> bytes:
        """Read the user configuration."""
        with self._on_device() as device:
            return device.read_user_config()

    def write_user_config(self, configuration: bytes) -> None:
        """Write the user configuration."""
        with self._on_device() as device:
            device.write_user_config(configuration)

    def _erase_user_config(self) -> None:
        with self._on_device() as device:
            device.erase_user_config()

    def read_board_config(self) -> bytes:
        """Read the board configuration."""
        with self._on_device() as device:
            return device.read_board_config()

    def write_board_config(self, configuration: bytes) -> None:
        """Write the board configuration."""
        with self._on_device() as device:
            device.write_board_config(configuration)

    def firmware_update(self, firmware_binary: bytes, should_reset: bool = True) -> None:
        """Write a firmware image to flash."""
        with self._on_device() as device:
            device.firmware_update(firmware_binary, len(firmware_binary), should_reset)

    def second_stage_update(self, second_stage_binary: bytes) -> None:
        """Write a boot image to flash."""
        with self._on_device() as device:
            device.second_stage_update(second_stage_binary, len(second_stage_binary))

    # --- board buses and sensors ------------------------------------------------------------------------------------

    @staticmethod
    def _create_c_i2c_slave(pythonic_slave: Any) -> _pyhailort.I2CSlaveConfig:
        return _pyhailort.I2CSlaveConfig(
            endianness=pythonic_slave.endianness,
            slave_address=pythonic_slave.slave_address,
            register_address_size=pythonic_slave.register_address_size,
            bus_index=pythonic_slave.bus_index,
            should_hold_bus=pythonic_slave.should_hold_bus,
        )

    def i2c_write(self, slave: Any, register_address: int, data: bytes) -> None:
        """Write a register of a device on the board."""
        with self._on_device() as device:
            device.i2c_write(self._create_c_i2c_slave(slave), register_address, data, len(data))

    def i2c_read(self, slave: Any, register_address: int, data_length: int) -> bytes:
        """Read a register of a device on the board."""
        with self._on_device() as device:
            return device.i2c_read(self._create_c_i2c_slave(slave), register_address, data_length)

    def store_sensor_config(
        self,
        section_index: int,
        reset_data_size: int,
        sensor_type: Any,
        config_file_path: str,
        config_height: int = 0,
        config_width: int = 0,
        config_fps: int = 0,
        config_name: str | None = None,
    ) -> None:
        """Store a camera sensor's settings."""
        with self._on_device() as device:
            device.sensor_store_config(
                section_index,
                reset_data_size,
                int(sensor_type),
                config_file_path,
                config_height,
                config_width,
                config_fps,
                config_name or _SENSOR_NAME,
            )

    def store_isp_config(
        self,
        reset_config_size: int,
        isp_static_config_file_path: str,
        isp_runtime_config_file_path: str,
        config_height: int = 0,
        config_width: int = 0,
        config_fps: int = 0,
        config_name: str | None = None,
    ) -> None:
        """Refuse: there is no image signal processor."""
        with self._on_device() as device:
            device.store_isp_config(isp_static_config_file_path, isp_runtime_config_file_path)

    def get_sensor_sections_info(self) -> bytes:
        """Describe the sections of sensor settings."""
        with self._on_device() as device:
            return device.sensor_get_sections_info()

    def sensor_set_generic_i2c_slave(
        self, slave_address: int, register_address_size: int, bus_index: int, should_hold_bus: bool, endianness: Any
    ) -> None:
        """Tell the bus address of a sensor."""
        with self._on_device() as device:
            device.sensor_set_generic_i2c_slave(
                slave_address, register_address_size, bus_index, int(should_hold_bus), int(endianness)
            )

    def set_sensor_i2c_bus_index(self, sensor_type: Any, i2c_bus_index: int) -> None:
        """Choose the bus of a kind of sensor."""
        with self._on_device() as device:
            device.sensor_set_i2c_bus_index(int(sensor_type), i2c_bus_index)

    def load_and_start_sensor(self, section_index: int) -> None:
        """Program a sensor."""
        with self._on_device() as device:
            device.sensor_load_and_start_config(section_index)

    def reset_sensor(self, section_index: int) -> None:
        """Reset a sensor."""
        with self._on_device() as device:
            device.sensor_reset(section_index)

    # --- watchdogs, tests, logs -------------------------------------------------------------------------------------

    def wd_enable(self, cpu_id: CpuId) -> None:
        """Switch a watchdog on."""
        with self._on_device() as device:
            device.wd_enable(cpu_id)

    def wd_disable(self, cpu_id: CpuId) -> None:
        """Switch a watchdog off."""
        with self._on_device() as device:
            device.wd_disable(cpu_id)

    def wd_config(self, cpu_id: CpuId, wd_cycles: int, wd_mode: WatchdogMode) -> None:
        """Set a watchdog's period and mode."""
        with self._on_device() as device:
            device.wd_config(cpu_id, wd_cycles, wd_mode)

    def set_pause_frames(self, rx_pause_frames_enable: bool) -> None:
        """Switch Ethernet pause frames."""
        with self._on_device() as device:
            device.set_pause_frames(rx_pause_frames_enable)

    def test_chip_memories(self) -> None:
        """Run the memory tests of the chip."""
        with self._on_device() as device:
            device.test_chip_memories()

    def set_fw_logger(self, level: FwLoggerLevel, interface_mask: int) -> None:
        """Choose what the firmware logs, and where."""
        with self._on_device() as device:
            device.set_fw_logger(level, interface_mask)

    # --- notifications ----------------------------------------------------------------------------------------------

    def set_notification_callback(
        self, callback_func: Callable[..., object], notification_id: NotificationId, opaque: object
    ) -> None:
        """Call ``callback_func(number, notification, opaque)`` from a thread of the library."""
        with self._on_device() as device:
            device.set_notification_callback(callback_func, notification_id, opaque)

    def remove_notification_callback(self, notification_id: NotificationId) -> None:
        """Call nobody any more."""
        with self._on_device() as device:
            device.remove_notification_callback(notification_id)

    def _get_device_handle(self) -> _pyhailort.Device:
        return self._device
