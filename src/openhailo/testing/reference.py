"""The twin that conformance runs on: every value it answers is chosen, and no two look alike.

The raw tables hold the same values as bytes, so a layout that moves anything shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from openhailo.twin.firmware import FirmwareConfig
from openhailo.twin.firmware.config import ThrottlingLevel

ARCHITECTURES: Mapping[str, int] = MappingProxyType({"hailo8": 1, "hailo8l": 2})
#: Every release of firmware whose protocol is known.
VERSIONS = ((4, 17, 0), (4, 17, 1), (4, 18, 0), (4, 19, 0), (4, 20, 0), (4, 20, 1), (4, 21, 0), (4, 22, 0), (4, 23, 0))
#: Releases of the kernel driver; they are numbered like the firmware.
RELEASES = tuple(".".join(map(str, version)) for version in VERSIONS)
VERSION = (4, 23, 0)

HW_CONSTS: Mapping[str, int] = MappingProxyType(
    {
        "fifo_word_granularity_bytes": 8,
        "max_periph_buffers_per_frame": 16383,
        "max_periph_bytes_per_buffer": 16384,
        "max_acceptable_bytes_per_buffer": 16376,
        "outbound_data_stream_size": 16640,
        "should_optimize_credits": 1,
        "default_initial_credit_size": 2048,
    }
)
POWER_W = 2.5
TEMPERATURE_C = (42.5, 43.25)

FIRMWARE = FirmwareConfig(
    version=VERSION,
    board_name="Hailo-8 of the conformance suite",
    serial_number="OH8-0123456789AB",
    part_number="PART-CDEFGHIJKLM",
    product_name="OPENHAILO VIRTUAL HAILO-8 WITH KNOWN BYTES",
    logger_version=0x01020304,
    boot_source=1,
    life_cycle_state=3,
    soc_id=bytes(range(0x20, 0x40)),
    eth_mac_address=bytes.fromhex("021122334455"),
    lot_id=b"LOT12345",
    die_wafer_info=0x0D0C0B0A,
    pd_info=bytes(range(0x40, 0x58)),
    partial_clusters_layout_bitmap=0x11223344,
    supported_features=0x0000000C,
    hw_consts=HW_CONSTS,
    throttling_levels=(
        ThrottlingLevel(104.0, 99.0, 350_000_000),
        ThrottlingLevel(108.0, 103.0, 300_000_000),
        ThrottlingLevel(112.0, 107.0, 250_000_000),
        ThrottlingLevel(116.0, 111.0, 200_000_000),
    ),
)
