"""What the firmware answers, as frozen values (control-protocol.md 5, 11)."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openhailo.spec.chip import ChipSpec


@dataclass(frozen=True)
class FirmwareVersion:
    """Version of one processor's firmware (control-protocol.md 3.2)."""

    major: int
    minor: int
    revision: int
    is_core: bool = False
    is_development: bool = False
    is_second_stage: bool = False
    extended_context_switch: bool = False

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}"


@dataclass(frozen=True)
class Identity:
    """Answer to IDENTIFY. ``architecture`` numbers `openhailo.spec.enums.DeviceArchitecture` (1: Hailo-8, 2: 8L)."""

    protocol_version: int
    version: FirmwareVersion
    logger_version: int
    board_name: str
    architecture: int
    serial_number: str
    part_number: str
    product_name: str


@dataclass(frozen=True)
class DeviceInformation:
    """Answer to GET_DEVICE_INFORMATION. The clock is in Hz; ``features`` names the feature bits that are set."""

    clock_hz: int
    features: frozenset[str]
    boot_source: int
    lcs: int
    soc_id: bytes
    mac_address: bytes
    lot_id: bytes
    die_wafer_info: int
    pd_info: bytes
    partial_clusters_layout_bitmap: int


@dataclass(frozen=True)
class HwConsts:
    """Answer to GET_HW_CONSTS: constants that the buffer formulas need (context-switch.md 14)."""

    fifo_word_granularity_bytes: int
    max_periph_buffers_per_frame: int
    max_periph_bytes_per_buffer: int
    max_acceptable_bytes_per_buffer: int
    outbound_data_stream_size: int
    should_optimize_credits: int
    default_initial_credit_size: int


@dataclass(frozen=True)
class ChipTemperature:
    """Two sensors in degrees Celsius, and how many samples were averaged."""

    ts0_c: float
    ts1_c: float
    sample_count: int


@dataclass(frozen=True)
class PowerSample:
    """One measurement: W, mA or mV as ``measurement_type`` says; what AUTO was resolved to."""

    value: float
    dvm: int
    measurement_type: int


@dataclass(frozen=True)
class PowerStatistics:
    """A periodic measurement so far; ``average_time_ms`` is the time of one sample in milliseconds."""

    samples: int
    minimum: float
    maximum: float
    average: float
    average_time_ms: float


@dataclass(frozen=True)
class ThrottlingLevel:
    """A temperature in degrees Celsius at which the clock (Hz) is lowered, and the one at which it is raised again."""

    threshold_c: float
    hysteresis_c: float
    clock_hz: int


@dataclass(frozen=True)
class Health:
    """Answer to GET_HEALTH_INFORMATION: amperes, degrees Celsius, Hz; zones 0 green, 1 orange, 2 red."""

    overcurrent_protection_active: bool
    overcurrent_zone: int
    red_overcurrent_threshold: float
    overcurrent_throttling_active: bool
    temperature_throttling_active: bool
    temperature_zone: int
    temperature_throttling_level: int
    throttling_levels: tuple[ThrottlingLevel, ...]
    orange_threshold_c: int
    orange_hysteresis_c: int
    red_threshold_c: int
    red_hysteresis_c: int
    requested_overcurrent_clock_hz: int
    requested_temperature_clock_hz: int


@dataclass(frozen=True)
class UserConfigInfo:
    """Answer to EXAMINE_USER_CONFIG; ``total_size`` in bytes."""

    version: int
    entry_count: int
    total_size: int


@dataclass(frozen=True)
class ActionListDownload:
    """An action list as the firmware executed it (control-protocol.md 5.36)."""

    base_address: int
    batch_counter: int
    idle_time: int
    data: bytes


@dataclass(frozen=True)
class HwInferResult:
    """Answer to CHANGE_HW_INFER_STATUS."""

    done: bool
    cycles: int


@dataclass(frozen=True)
class SensorSection:
    """One of the eight sensor configuration sections (control-protocol.md 11)."""

    sensor_type: int
    config_size: int
    reset_config_size: int
    is_free: bool
    no_reset_offset: bool
    height: int
    width: int
    fps: int
    version: int
    name: str


def text(raw: bytes) -> str:
    """Read a fixed-width string: up to the first NUL, without trailing blanks (control-protocol.md 3.3)."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").rstrip()


def firmware_version(spec: ChipSpec, words: Mapping[str, int]) -> FirmwareVersion:
    """Split the revision word of a version triple into its bit fields."""
    bits = spec.firmware_revision.unpack(words["revision"])
    return FirmwareVersion(
        words["major"],
        words["minor"],
        bits["number"],
        is_core=bool(bits["core_cpu"]),
        is_development=bool(bits["development"]),
        is_second_stage=bool(bits["second_stage"]),
        extended_context_switch=bool(bits["extended_context_switch"]),
    )


def identity(spec: ChipSpec, values: Mapping[str, Any]) -> Identity:
    """Make an `Identity` of the response's parameters."""
    return Identity(
        values["protocol_version"],
        firmware_version(spec, values["fw_version"]),
        values["logger_version"],
        text(values["board_name"]),
        values["device_architecture"],
        text(values["serial_number"]),
        text(values["part_number"]),
        text(values["product_name"]),
    )


def device_information(spec: ChipSpec, values: Mapping[str, Any]) -> DeviceInformation:
    """Make a `DeviceInformation` of the response's parameters."""
    flags = spec.feature_flags.unpack(values["supported_features"]["flags"])
    return DeviceInformation(
        values["neural_network_core_clock_rate"],
        frozenset(name for name, is_set in flags.items() if is_set),
        values["boot_source"],
        values["lcs"],
        values["soc_id"],
        values["eth_mac_address"],
        values["fuse_info"]["lot_id"],
        values["fuse_info"]["die_wafer_info"],
        values["pd_info"],
        values["partial_clusters_layout_bitmap"],
    )


def health(values: Mapping[str, Any]) -> Health:
    """Make a `Health` of the response's parameters."""
    levels = values["temperature_throttling_levels"]["levels"]
    return Health(
        bool(values["overcurrent_protection_active"]),
        values["current_overcurrent_zone"],
        swapped_by_value(values["red_overcurrent_threshold"]),
        bool(values["overcurrent_throttling_active"]),
        bool(values["temperature_throttling_active"]),
        values["current_temperature_zone"],
        values["current_temperature_throttling_level"],
        tuple(
            ThrottlingLevel(
                level["temperature_threshold"],
                level["hysteresis_temperature_threshold"],
                level["throttling_nn_clock_freq"],
            )
            for level in levels
        ),
        values["orange_temperature_threshold"],
        values["orange_hysteresis_temperature_threshold"],
        values["red_temperature_threshold"],
        values["red_hysteresis_temperature_threshold"],
        values["requested_overcurrent_clock_freq"],
        values["requested_temperature_clock_freq"],
    )


def swapped_by_value(wire: float) -> float:
    """Undo the firmware's odd encoding of the over-current threshold (control-protocol.md 3.1, opcode 62).

    The float is turned into an integer by value, its bytes are swapped, and that integer is the threshold. A value that
    is no 32-bit integer gives NaN.
    """
    if not math.isfinite(wire) or not 0 <= wire < 2**32:
        return math.nan
    return float(struct.unpack("<f", struct.pack("<f", int.from_bytes(int(wire).to_bytes(4, "little"), "big")))[0])


def sensor_section(values: Mapping[str, Any]) -> SensorSection:
    """Make a `SensorSection` of one record."""
    return SensorSection(
        values["sensor_type"],
        values["config_size"],
        values["reset_config_size"],
        bool(values["is_free"]),
        bool(values["no_reset_offset"]),
        values["config_height"],
        values["config_width"],
        values["config_fps"],
        values["section_version"],
        text(values["config_name"]),
    )
