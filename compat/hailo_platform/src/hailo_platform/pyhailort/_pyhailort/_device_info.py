"""Who a board is, in the compiled part's terms (pyhailort-api.md 16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._enums import BootSource, DeviceArchitecture
from ._structs import SupportedFeatures


@dataclass(frozen=True, eq=False)
class FirmwareVersion:
    """Three numbers."""

    major: int
    minor: int
    revision: int

    @classmethod
    def of(cls, version: Any) -> FirmwareVersion:
        """Take over a version of openhailo."""
        return cls(version.major, version.minor, version.revision)


@dataclass(frozen=True, eq=False)
class CoreInformation:
    """Firmware of the core processor."""

    is_release: bool
    extended_context_switch_buffer: bool
    fw_version: FirmwareVersion

    @classmethod
    def of(cls, version: Any) -> CoreInformation:
        """Take over a version of openhailo."""
        return cls(not version.is_development, version.extended_context_switch, FirmwareVersion.of(version))


@dataclass(frozen=True, eq=False)
class BoardInformation:
    """Answer to IDENTIFY; lengths are those of the texts."""

    protocol_version: int
    fw_version: FirmwareVersion
    logger_version: int
    board_name: str
    is_release: bool
    extended_context_switch_buffer: bool
    device_architecture: DeviceArchitecture
    serial_number: str
    part_number: str
    product_name: str

    @classmethod
    def of(cls, identity: Any) -> BoardInformation:
        """Take over an identity of openhailo."""
        return cls(
            identity.protocol_version,
            FirmwareVersion.of(identity.version),
            identity.logger_version,
            identity.board_name,
            not identity.version.is_development,
            identity.version.extended_context_switch,
            DeviceArchitecture(identity.architecture),
            identity.serial_number,
            identity.part_number,
            identity.product_name,
        )

    @property
    def board_name_length(self) -> int:
        """Characters of the board's name."""
        return len(self.board_name)

    @property
    def serial_number_length(self) -> int:
        """Characters of the serial number."""
        return len(self.serial_number)

    @property
    def part_number_length(self) -> int:
        """Characters of the part number."""
        return len(self.part_number)

    @property
    def product_name_length(self) -> int:
        """Characters of the product's name."""
        return len(self.product_name)


@dataclass(frozen=True, eq=False)
class ExtendedDeviceInformation:
    """Clock in Hz, features, ids and fuses as the chip has them."""

    neural_network_core_clock_rate: int
    supported_features: SupportedFeatures
    boot_source: BootSource
    lcs: int
    soc_id: bytes
    eth_mac_address: bytes
    unit_level_tracking_id: bytes
    soc_pm_values: bytes
    gpio_mask: int

    @classmethod
    def of(cls, info: Any) -> ExtendedDeviceInformation:
        """Take over what openhailo read.

        The tracking id is the lot id with die and wafer behind it; the mask of pins is not sent by a Hailo-8 (GUESS).
        """
        has = {feature: feature in info.features for feature in SupportedFeatures.__dataclass_fields__}
        tracking = bytes(info.lot_id) + int(info.die_wafer_info).to_bytes(4, "little")
        return cls(
            info.clock_hz,
            SupportedFeatures(**has),
            BootSource(info.boot_source),
            info.lcs,
            bytes(info.soc_id),
            bytes(info.mac_address),
            tracking,
            bytes(info.pd_info),
            0,
        )
