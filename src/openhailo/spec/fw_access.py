"""BAR4: mailbox, doorbell, notification buffer, logs; and the boot addresses behind it (driver.md 2-4)."""

from __future__ import annotations

from dataclasses import dataclass

from .layout import Struct, sequential

MAILBOX_HEADER: Struct = sequential("mailbox_header", "driver.md 3", ("digest", "bytes", 16), ("length", "le32"))
NOTIFICATION_HEADER: Struct = sequential("d2h_buffer_details", "driver.md 4.1", ("in_use", "le16"), ("length", "le16"))
LOG_HEADER: Struct = sequential(
    "fw_debug_buffer_header", "driver.md 4.2", ("host_offset", "le32"), ("chip_offset", "le32")
)


@dataclass(frozen=True)
class MailboxRules:
    """Offsets inside BAR4 and limits of one message (driver.md 3, 4)."""

    request: int = 0x000
    response: int = 0x640
    notification: int = 0xC80
    max_message_bytes: int = 1500
    max_notification_bytes: int = 892
    doorbell: int = 0x1684
    app_log: int = 0x2000
    core_log: int = 0x3000
    log_size_bytes: int = 0x1000


@dataclass(frozen=True)
class Doorbell:
    """Bits of the host-to-firmware doorbell (driver.md 3)."""

    app_cpu_control: int = 1
    core_cpu_control: int = 2
    driver_shutdown: int = 4
    soft_reset: int = 8


@dataclass(frozen=True)
class BootMap:
    """Device addresses used while firmware is loaded (driver.md 2.2)."""

    boot_status: int = 0xE0000
    boot_status_idle: int = 1
    app_header: int = 0xE0030
    key_certificate: int = 0xE0048
    content_certificate: int = 0xE0390
    trigger: int = 0xE0980
    trigger_value: int = 1
    app_code: int = 0x60000
    core_header: int = 0xA0000
    core_code: int = 0xC0000
    board_config: int = 0x60001000
    firmware_config: int = 0x60001500
    config_max_bytes: int = 0x500
