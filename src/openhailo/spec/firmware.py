"""Layout of the firmware file (facts: driver.md 2.3; control-protocol.md 3.2, 10).

File = app header, app code, certificate header, key blob, content blob, core header, core code; nothing may follow.
"""

from __future__ import annotations

from dataclasses import dataclass

from .layout import Struct, sequential
from .messages import FIRMWARE_REVISION, FIRMWARE_VERSION

__all__ = ["CERTIFICATE_HEADER", "FIRMWARE_REVISION", "FIRMWARE_VERSION", "IMAGE_HEADER", "FirmwareRules"]

IMAGE_HEADER: Struct = sequential(
    "firmware_header",
    "driver.md 2.3",
    ("magic", "le32"),
    ("header_version", "le32"),
    ("firmware_major", "le32"),
    ("firmware_minor", "le32"),
    ("firmware_revision", "le32"),
    ("code_size", "le32"),
)
CERTIFICATE_HEADER: Struct = sequential(
    "secure_boot_certificate", "driver.md 2.3", ("key_size", "le32"), ("content_size", "le32")
)


@dataclass(frozen=True)
class FirmwareRules:
    """Limits that the official driver checks before it loads a file (driver.md 2.2, 2.3)."""

    magic: int = 0x1DD89DE0
    header_version: int = 0
    min_code_bytes: int = 80
    max_app_code_bytes: int = 0x40000
    max_core_code_bytes: int = 0x20000
    max_key_bytes: int = 0x1000
    max_content_bytes: int = 0x1000
    max_file_bytes: int = 0x50000
