"""vDMA channels, descriptors and their limits (facts: driver.md section 6)."""

from __future__ import annotations

from dataclasses import dataclass

from .layout import Access, Field, Reg, RegBlock

CHANNEL_HALF = RegBlock(
    "vdma_channel_half",
    (
        Reg(
            "CONTROL_AVAIL",
            0x0,
            Access.RW,
            fields=(
                Field("start", 0, source="1 start, 0 abort"),
                Field("pause", 1, source="1 pause, 0 resume"),
                Field("data_id", 8, 3),
                Field("depth", 11, 4, source="log2 of the descriptor count; 0 means 65536"),
                Field("num_available", 16, 16),
            ),
            source="driver.md 6.1",
        ),
        Reg(
            "PROCESSED_ONGOING",
            0x4,
            Access.R,
            fields=(Field("num_processed", 0, 16), Field("num_ongoing", 16, 16)),
            source="driver.md 6.1",
        ),
        Reg(
            "ERROR_ADDRESS_MID",
            0x8,
            Access.RW,
            fields=(Field("error", 0, 8), Field("address_31_16", 16, 16)),
            source="driver.md 6.1",
        ),
        Reg("ADDRESS_HIGH", 0xC, Access.RW, source="driver.md 6.1: list address bits 63:32"),
    ),
    source="driver.md 6.1",
)

DESCRIPTOR = RegBlock(
    "vdma_descriptor",
    (
        Reg("SIZE_CONTROL", 0x0, fields=(Field("control", 0, 8), Field("page_size", 8, 24)), source="driver.md 6.3"),
        Reg("ADDRESS_LOW", 0x4, fields=(Field("data_id", 0, 6), Field("address_31_6", 6, 26)), source="driver.md 6.3"),
        Reg("ADDRESS_HIGH", 0x8, source="driver.md 6.3"),
        Reg(
            "STATUS",
            0xC,
            fields=(Field("done", 0), Field("error", 1), Field("remaining", 8, 24)),
            source="driver.md 6.3",
        ),
    ),
    source="driver.md 6.3",
)

DESCRIPTOR_CONTROL = Reg(
    "DESCRIPTOR_CONTROL",
    0x0,
    width_bytes=1,
    fields=(
        Field("write_status_on_completion", 0),
        Field("write_status_on_error", 1),
        Field("request_irq", 2),
        Field("request_irq_on_error", 3),
        Field("device_domain", 4),
        Field("host_domain", 5),
    ),
    source="driver.md 6.3",
)


@dataclass(frozen=True)
class VdmaRules:
    """Geometry and limits of the engine (driver.md 6.1, 6.4, 9)."""

    channels: int = 32
    host_to_device_channels: int = 16
    channel_stride: int = 0x20
    destination_half_offset: int = 0x10
    host_memory_data_id: int = 0
    device_half_data_id: int = 4  # GUESS: seen once in a third-party trace (driver.md 12 row 10)
    list_alignment: int = 0x10000
    descriptor_size_bytes: int = 16
    address_alignment: int = 64
    max_descriptors: int = 65536
    min_page_size: int = 64
    max_page_size: int = 4096
    default_page_size: int = 512
    max_transfers_in_flight: int = 127
    max_buffers_per_launch: int = 8


#: Interrupt domain -> bits ORed into a descriptor's control byte (driver.md 6.3).
DOMAIN_NONE, DOMAIN_DEVICE, DOMAIN_HOST, DOMAIN_BOTH = range(4)
