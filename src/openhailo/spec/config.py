"""Configuration blobs of the board that controls read and write (facts: control-protocol.md 10).

Board config (opcodes 47, 48) is opaque, 500 bytes. User config (opcodes 18-21) is a header and entries, native order.
"""

from __future__ import annotations

from dataclasses import dataclass

from .layout import Struct, sequential

USER_CONFIG_HEADER: Struct = sequential(
    "user_config_header", "control-protocol.md 10", ("magic", "le32"), ("version", "le32"), ("entry_count", "le32")
)
#: ``entry_size`` bytes of value follow each one.
USER_CONFIG_ENTRY: Struct = sequential(
    "user_config_entry", "control-protocol.md 10", ("category", "le16"), ("entry_id", "le16"), ("entry_size", "le32")
)


@dataclass(frozen=True)
class UserConfigEntry:
    """One setting: ``size`` bytes times ``count``; ``kind`` says how people read it."""

    category: int
    entry_id: int
    name: str
    size: int
    count: int = 1
    kind: str = "int"


CATEGORIES: tuple[str, ...] = ("network", "system", "control", "d2h_event", "logger")

USER_CONFIG_ENTRIES: tuple[UserConfigEntry, ...] = (
    UserConfigEntry(0, 0, "should_use_dhcp", 1, kind="bool"),
    UserConfigEntry(0, 1, "mac_address", 1, 6, "mac"),
    UserConfigEntry(0, 2, "static_ip_address", 4, kind="ipv4"),
    UserConfigEntry(0, 3, "static_gw_address", 4, kind="ipv4"),
    UserConfigEntry(0, 4, "static_netmask", 4, kind="ipv4"),
    UserConfigEntry(0, 5, "rx_pause_frames_enable", 1, kind="bool"),
    UserConfigEntry(1, 0, "name", 1, 32, "str"),
    UserConfigEntry(1, 1, "app_watchdog_enable", 1, kind="bool"),
    UserConfigEntry(1, 2, "app_watchdog_cycles", 4),
    UserConfigEntry(1, 3, "core_watchdog_enable", 1, kind="bool"),
    UserConfigEntry(1, 4, "core_watchdog_cycles", 4),
    UserConfigEntry(1, 5, "watchdog_mode", 1, kind="WatchdogMode"),
    UserConfigEntry(1, 6, "max_neural_network_core_clock_rate", 4, kind="NnClock"),
    UserConfigEntry(1, 7, "supported_aspm_states", 1, kind="AspmStates"),
    UserConfigEntry(1, 8, "bus_0_i2c_speed", 1, kind="i2c_speed"),
    UserConfigEntry(1, 9, "bus_1_i2c_speed", 1, kind="i2c_speed"),
    UserConfigEntry(1, 10, "bus_2_i2c_speed", 1, kind="i2c_speed"),
    UserConfigEntry(1, 11, "bus_3_i2c_speed", 1, kind="i2c_speed"),
    UserConfigEntry(1, 12, "supported_aspm_l1_substates", 1, kind="AspmL1Substates"),
    UserConfigEntry(1, 13, "overcurrent_parameters_source", 1, kind="OvercurrentSource"),
    UserConfigEntry(1, 14, "overcurrent_monitoring_red_threshold", 4),
    UserConfigEntry(1, 15, "overcurrent_conversion_time_microseconds", 4, kind="OvercurrentConversionTime"),
    UserConfigEntry(1, 16, "temperature_parameters_source", 1, kind="TemperatureSource"),
    UserConfigEntry(1, 17, "temperature_red_threshold", 1, kind="celsius"),
    UserConfigEntry(1, 18, "temperature_red_hysteresis_threshold", 1, kind="celsius"),
    UserConfigEntry(1, 19, "temperature_orange_threshold", 1, kind="celsius"),
    UserConfigEntry(1, 20, "temperature_orange_hysteresis_threshold", 1, kind="celsius"),
    UserConfigEntry(1, 21, "temperature_throttling_enable", 1, kind="bool"),
    UserConfigEntry(1, 22, "overcurrent_monitoring_orange_enable_deprecated", 1, kind="bool"),
    UserConfigEntry(1, 23, "overcurrent_throttling_enable", 1, kind="bool"),
    UserConfigEntry(2, 0, "udp_port", 2),
    UserConfigEntry(3, 0, "host_udp_port", 2),
    UserConfigEntry(3, 1, "src_udp_port", 2),
    UserConfigEntry(3, 2, "host_ip_address", 4, kind="ipv4"),
    UserConfigEntry(3, 3, "connection_type", 1, kind="bool"),
    UserConfigEntry(4, 0, "send_via_pci", 1, kind="bool"),
    UserConfigEntry(4, 1, "send_via_uart", 1, kind="bool"),
    UserConfigEntry(4, 2, "logger_level", 4, kind="LogLevel"),
)


@dataclass(frozen=True)
class UserConfigRules:
    """Constants and known entries of the user configuration (control-protocol.md 10)."""

    magic: int = 0x1FF6A40B
    version: int = 0
    entries: tuple[UserConfigEntry, ...] = USER_CONFIG_ENTRIES
