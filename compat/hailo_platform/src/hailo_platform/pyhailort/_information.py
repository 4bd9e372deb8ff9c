"""What boards and firmware say about themselves, as text and values (pyhailort-api.md 16)."""

from __future__ import annotations

import struct
from typing import Any

from ._exceptions import HailoRTException
from ._names import (
    BOARD_INFO_NOT_CONFIGURED_ATTR,
    MEGA_MULTIPLIER,
    DeviceArchitectureTypes,
    HailoFirmwareMode,
    HailoFirmwareType,
)


class HailoFirmwareVersion:
    """A version of firmware; comparable."""

    CORE_BIT = 0x08000000
    EXTENDED_CONTEXT_SWITCH_BUFFER_BIT = 0x40000000
    DEV_BIT = 0x80000000
    FW_VERSION_FORMAT = "<III"

    def __init__(
        self,
        firmware_version_buffer: bytes,
        is_release: bool,
        extended_context_switch_buffer: bool,
        fw_type: HailoFirmwareType,
    ) -> None:
        """Read three little-endian words; flags in the last one are taken out."""
        self.major, self.minor, self.revision = struct.unpack(self.FW_VERSION_FORMAT, firmware_version_buffer)
        flags = self.CORE_BIT | self.EXTENDED_CONTEXT_SWITCH_BUFFER_BIT | self.DEV_BIT
        self.revision &= 0xFFFFFFFF & ~flags
        self.mode = HailoFirmwareMode.RELEASE if is_release else HailoFirmwareMode.DEVELOP
        self.fw_type = fw_type
        self.extended_context_switch_buffer = extended_context_switch_buffer

    @classmethod
    def construct_from_params(
        cls,
        major: int,
        minor: int,
        revision: int,
        is_release: bool,
        extended_context_switch_buffer: bool,
        fw_type: HailoFirmwareType,
    ) -> HailoFirmwareVersion:
        """Make a version of its numbers."""
        words = struct.pack(cls.FW_VERSION_FORMAT, major, minor, revision)
        return cls(words, is_release, extended_context_switch_buffer, fw_type)

    @property
    def comparable_value(self) -> tuple[int, int, int]:
        """What versions are compared by."""
        return (self.major, self.minor, self.revision)

    def check_protocol_compatibility(self, other: HailoFirmwareVersion) -> bool:
        """Whether both speak the same protocol: same major and minor number."""
        return self.comparable_value[:2] == other.comparable_value[:2]

    def __str__(self) -> str:
        extended = ",extended context switch buffer" if self.extended_context_switch_buffer else ""
        numbers = ".".join(map(str, self.comparable_value))
        return f"{numbers} ({self.mode.value},{self.fw_type.value}{extended})"

    __repr__ = __str__

    def __hash__(self) -> int:
        return hash(self.comparable_value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HailoFirmwareVersion) and self.comparable_value == other.comparable_value

    def __lt__(self, other: HailoFirmwareVersion) -> bool:
        return self.comparable_value < other.comparable_value

    def __le__(self, other: HailoFirmwareVersion) -> bool:
        return self.comparable_value <= other.comparable_value

    def __gt__(self, other: HailoFirmwareVersion) -> bool:
        return self.comparable_value > other.comparable_value

    def __ge__(self, other: HailoFirmwareVersion) -> bool:
        return self.comparable_value >= other.comparable_value


class BoardInformation:
    """Who a board is; `str` is what ``fw-control identify`` prints."""

    def __init__(
        self,
        protocol_version: int,
        fw_version_major: int,
        fw_version_minor: int,
        fw_version_revision: int,
        logger_version: int,
        board_name: str,
        is_release: bool,
        extended_context_switch_buffer: bool,
        device_architecture: Any,
        serial_number: str,
        part_number: str,
        product_name: str,
    ) -> None:
        """Take what the chip answered."""
        self.protocol_version = protocol_version
        self.firmware_version = HailoFirmwareVersion.construct_from_params(
            fw_version_major,
            fw_version_minor,
            fw_version_revision,
            is_release,
            extended_context_switch_buffer,
            HailoFirmwareType.APP,
        )
        self.logger_version = logger_version
        self.board_name = board_name
        self.is_release = is_release
        self.device_architecture = DeviceArchitectureTypes(int(device_architecture))
        self.serial_number = serial_number
        self.part_number = part_number
        self.product_name = product_name

    def _string_field_str(self, string_field: str) -> str:
        return string_field.rstrip("\x00") or BOARD_INFO_NOT_CONFIGURED_ATTR

    def __str__(self) -> str:
        return (
            f"Control Protocol Version: {self.protocol_version}\n"
            f"Firmware Version: {self.firmware_version}\n"
            f"Logger Version: {self.logger_version}\n"
            f"Board Name: {self._string_field_str(self.board_name)}\n"
            f"Device Architecture: {self.device_architecture}\n"
            f"Serial Number: {self._string_field_str(self.serial_number)}\n"
            f"Part Number: {self._string_field_str(self.part_number)}\n"
            f"Product Name: {self._string_field_str(self.product_name)}\n"
        )

    __repr__ = __str__

    @staticmethod
    def get_hw_arch_str(device_arch: DeviceArchitectureTypes) -> str:
        """Return the family of a chip: hailo8, hailo15 or hailo10."""
        kinds = DeviceArchitectureTypes
        families = {kinds.HAILO8: "hailo8", kinds.HAILO8L: "hailo8", kinds.HAILO15H: "hailo15"}
        families |= {kinds.HAILO15M: "hailo15", kinds.HAILO10H: "hailo10"}
        if device_arch not in families:
            raise HailoRTException("Unsupported device architecture.")
        return families[device_arch]


class CoreInformation:
    """Firmware of the core processor."""

    def __init__(
        self,
        fw_version_major: int,
        fw_version_minor: int,
        fw_version_revision: int,
        is_release: bool,
        extended_context_switch_buffer: bool,
    ) -> None:
        """Take what the chip answered."""
        self.firmware_version = HailoFirmwareVersion.construct_from_params(
            fw_version_major,
            fw_version_minor,
            fw_version_revision,
            is_release,
            extended_context_switch_buffer,
            HailoFirmwareType.CORE,
        )
        self.is_release = is_release

    def __str__(self) -> str:
        return f"Core Firmware Version: {self.firmware_version}"

    __repr__ = __str__


class TemperatureThrottlingLevel:
    """A temperature from which the clock is lowered."""

    def __init__(
        self,
        level_number: int,
        temperature_threshold: float,
        hysteresis_temperature_threshold: float,
        throttling_nn_clock_freq: int,
    ) -> None:
        """Take degrees Celsius and Hz."""
        self.level_number = level_number
        self.temperature_threshold = temperature_threshold
        self.hysteresis_temperature_threshold = hysteresis_temperature_threshold
        self.throttling_nn_clock_freq = throttling_nn_clock_freq

    def __str__(self) -> str:
        return (
            f"Temperature Throttling Level {self.level_number}: \n"
            f"Temperature Threshold: {self.temperature_threshold}\n"
            f"Hysteresis Temperature Threshold: {self.hysteresis_temperature_threshold}\n"
            f"Throttling NN Clock Frequency: {self.throttling_nn_clock_freq}\n"
        )

    __repr__ = __str__


class HealthInformation:
    """State of the protections."""

    def __init__(
        self,
        overcurrent_protection_active: bool,
        current_overcurrent_zone: Any,
        red_overcurrent_threshold: float,
        overcurrent_throttling_active: bool,
        temperature_throttling_active: bool,
        current_temperature_zone: Any,
        current_temperature_throttling_level: int,
        temperature_throttling_levels: Any,
        orange_temperature_threshold: int,
        orange_hysteresis_temperature_threshold: int,
        red_temperature_threshold: int,
        red_hysteresis_temperature_threshold: int,
        requested_overcurrent_clock_freq: int,
        requested_temperature_clock_freq: int,
    ) -> None:
        """Take what the chip answered; of levels with the same clock only the first counts."""
        self.overcurrent_protection_active = overcurrent_protection_active
        self.current_overcurrent_zone = current_overcurrent_zone
        self.red_overcurrent_threshold = red_overcurrent_threshold
        self.overcurrent_throttling_active = overcurrent_throttling_active
        self.temperature_throttling_active = temperature_throttling_active
        self.current_temperature_zone = current_temperature_zone
        self.current_temperature_throttling_level = current_temperature_throttling_level
        self.orange_temperature_threshold = orange_temperature_threshold
        self.orange_hysteresis_temperature_threshold = orange_hysteresis_temperature_threshold
        self.red_temperature_threshold = red_temperature_threshold
        self.red_hysteresis_temperature_threshold = red_hysteresis_temperature_threshold
        self.requested_overcurrent_clock_freq = requested_overcurrent_clock_freq
        self.requested_temperature_clock_freq = requested_temperature_clock_freq
        self.temperature_throttling_levels = (
            _distinct_levels(temperature_throttling_levels) if temperature_throttling_active else []
        )

    def __str__(self) -> str:
        lines = [f"{name.replace('_', ' ').title()}: {value}" for name, value in vars(self).items()]
        return "\n".join(lines) + "\n"

    __repr__ = __str__


def _distinct_levels(levels: Any) -> list[TemperatureThrottlingLevel]:
    found: list[TemperatureThrottlingLevel] = []
    clocks: set[int] = set()
    for number, level in enumerate(levels):
        if level.throttling_nn_clock_freq in clocks:
            continue
        clocks.add(level.throttling_nn_clock_freq)
        found.append(
            TemperatureThrottlingLevel(
                number,
                level.temperature_threshold,
                level.hysteresis_temperature_threshold,
                level.throttling_nn_clock_freq,
            )
        )
    return found


class SupportedFeatures:
    """What the board has."""

    def __init__(self, supported_features: Any) -> None:
        """Take the flags of the compiled part."""
        self.ethernet = supported_features.ethernet
        self.mipi = supported_features.mipi
        self.pcie = supported_features.pcie
        self.current_monitoring = supported_features.current_monitoring
        self.mdio = supported_features.mdio

    def _is_feature_enabled(self, feature: bool) -> str:
        return "Enabled" if feature else "Disabled"

    def _feature_str(self, feature_name: str, is_feature_enabled: bool) -> str:
        return f"{feature_name}: {self._is_feature_enabled(is_feature_enabled)}\n"

    def __str__(self) -> str:
        return (
            self._feature_str("Ethernet", self.ethernet)
            + self._feature_str("MIPI", self.mipi)
            + self._feature_str("PCIE", self.pcie)
            + self._feature_str("Current Monitoring", self.current_monitoring)
            + self._feature_str("MDIO", self.mdio)
        )

    __repr__ = __str__


class ExtendedDeviceInformation:
    """Clock, features, ids and fuses; `str` leaves out what is all zero."""

    def __init__(
        self,
        neural_network_core_clock_rate: int,
        supported_features: Any,
        boot_source: Any,
        lcs: int,
        soc_id: bytes,
        eth_mac_address: bytes,
        unit_level_tracking_id: bytes,
        soc_pm_values: bytes,
        gpio_mask: int,
    ) -> None:
        """Take what the chip answered; the clock in Hz."""
        self.neural_network_core_clock_rate = neural_network_core_clock_rate
        self.supported_features = SupportedFeatures(supported_features)
        self.boot_source = boot_source
        self.lcs = lcs
        self.soc_id = soc_id
        self.eth_mac_address = eth_mac_address
        self.unit_level_tracking_id = unit_level_tracking_id
        self.soc_pm_values = soc_pm_values
        self.gpio_mask = gpio_mask

    def __str__(self) -> str:
        text = f"Neural Network Core Clock Rate: {self.neural_network_core_clock_rate / MEGA_MULTIPLIER}MHz\n"
        text += str(self.supported_features)
        text += f"Boot source: {self.boot_source.name}\n"
        text += f"LCS: {self.lcs or BOARD_INFO_NOT_CONFIGURED_ATTR}\n"
        for label, value in (
            ("SoC ID", self.soc_id),
            ("MAC Address", self.eth_mac_address),
            ("ULT ID", self.unit_level_tracking_id),
            ("PM Values", self.soc_pm_values),
        ):
            if any(value):
                separator = ":" if label == "MAC Address" else ""
                text += f"{label}: {separator.join(f'{byte:02X}' for byte in value)}\n"
        return text + (f"GPIO Mask: {self.gpio_mask:04x}\n" if self.gpio_mask else "")

    __repr__ = __str__
