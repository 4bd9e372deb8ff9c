"""The PCI function and BAR0: identity, interrupts, address translation (facts: driver.md sections 1, 2.1, 5, 10)."""

from __future__ import annotations

from dataclasses import dataclass

from .layout import Access, Field, Reg, RegBlock


@dataclass(frozen=True)
class BarSpec:
    """A base address register: index, size, and the attribute bits a real card shows (driver.md 1.1, 10.1)."""

    index: int
    size_bytes: int
    is_64bit: bool = True
    prefetchable: bool = True


@dataclass(frozen=True)
class PciIdentity:
    """What configuration space says about the function (driver.md 1.1, 10.1)."""

    vendor_id: int = 0x1E60
    device_id: int = 0x2864
    class_code: int = 0x0B4000
    revision_id: int = 0x01  # GUESS: not used by any driver (driver.md 12 row 8)
    bars: tuple[BarSpec, ...] = (
        BarSpec(0, 16 * 1024),
        BarSpec(2, 4 * 1024),
        BarSpec(4, 16 * 1024),
    )
    config_bar: int = 0
    vdma_bar: int = 2
    fw_access_bar: int = 4
    msi_vectors: int = 1
    min_max_read_request_bytes: int = 512  # below it the largest descriptor page shrinks (driver.md 6.4, 10.1)


_WINDOW_FIELDS = (Field("enable", 0), Field("log2_size_minus_1", 1, 6), Field("source_page", 12, 20))
_NO_FIELDS: tuple[Field, ...] = ()

CONFIG = RegBlock(
    "config",
    (
        Reg(
            "DEVICE_ID",
            0x098,
            Access.R,
            reset=0x28641E60,
            fields=(Field("vendor", 0, 16),),
            source="driver.md 1.1, 10.2",
        ),
        Reg("IMASK_HOST", 0x188, Access.RW, source="driver.md 5.1"),
        Reg(
            "ISTATUS_HOST",
            0x18C,
            Access.RW1C,
            fields=(
                Field("vdma_source", 0, 8),
                Field("vdma_destination", 8, 8),
                Field("soft_reset_done", 24),
                Field("boot_done_or_notification", 25),
                Field("control_response", 26),
                Field("driver_shutdown_ack", 27),
            ),
            source="driver.md 5.1",
        ),
        Reg("SOURCE_INTERRUPT_PER_CHANNEL", 0x400, Access.RW1C, source="driver.md 5.1"),
        Reg("DESTINATION_INTERRUPT_PER_CHANNEL", 0x500, Access.RW1C, source="driver.md 5.1"),
        *(
            Reg(f"ATR{n}_{name}", 0x700 + n * 0x20 + at, Access.RW, reset=reset, fields=fields, source="driver.md 2.1")
            for n in range(4)
            for name, at, reset, fields in (
                ("PARAM", 0x00, 0, _WINDOW_FIELDS),
                ("SOURCE_HIGH", 0x04, 0, _NO_FIELDS),
                ("TRANSLATION_LOW", 0x08, 0, _NO_FIELDS),
                ("TRANSLATION_HIGH", 0x0C, 0, _NO_FIELDS),
                ("TRANSLATION_PARAM", 0x10, 0, _NO_FIELDS),
            )
        ),
    ),
    source="driver.md 2.1, 5.1",
)


@dataclass(frozen=True)
class InterruptRules:
    """Bits and grouping of the host interrupt registers (driver.md 5)."""

    enable_mask: int = 0xFF00FFFF
    clear_all: int = 0xFFFFFFFF
    channels_per_status_bit: int = 4
    source_channels: int = 16


@dataclass(frozen=True)
class AtrRules:
    """How a window of BAR4 is pointed at device memory (driver.md 2.1)."""

    tables: int = 4
    window_size_bytes: int = 0x1000
    enabled_param: int = 0x17
    source_page_shift: int = 12
    translation_param: int = 6
    mailbox_base: int = 0x60000000
    pcie_config_base: int = 0x00200000
