"""The boot code: memory map, and what makes a firmware image acceptable (driver.md 2.2-2.4, 10.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .board import LoadedImage
from .memory import PAGE, DeviceMemory, Region

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

#: Size of the SRAM that begins with the mailbox. GUESS: the facts name addresses up to 0x60001A00.
SRAM_BYTES = 0x40000
#: Where windows 2 and 3 lead: the log rings of the app CPU and the core CPU. GUESS (driver.md 12 row 2).
APP_LOG_OFFSET, CORE_LOG_OFFSET = 0x20000, 0x21000
#: Boot status while firmware runs, and after an image was refused. GUESS: the facts know only 1 (driver.md 12 row 2).
STATUS_RUNNING, STATUS_REFUSED = 0, 2

_HEADER_ROOM = PAGE


class ImageRefused(Exception):
    """The boot code does not start this image."""


def map_memory(spec: ChipSpec) -> tuple[Region, ...]:
    """Return the device memory that exists (driver.md 2.2)."""
    boot, rules = spec.boot, spec.firmware
    return (
        Region("app code", boot.app_code, rules.max_app_code_bytes),
        Region("core header", boot.core_header, _HEADER_ROOM),
        Region("core code", boot.core_code, rules.max_core_code_bytes),
        Region("boot", boot.boot_status, boot.trigger + 4 - boot.boot_status),
        Region("sram", spec.atr.mailbox_base, SRAM_BYTES),
        Region("configs", min(boot.board_config, boot.firmware_config), PAGE),
    )


def log_bases(spec: ChipSpec) -> tuple[int, int]:
    """Return the device addresses of the app and core log rings."""
    base, window = spec.atr.mailbox_base, spec.atr.window_size_bytes
    app, core = spec.mailbox.app_log % window, spec.mailbox.core_log % window
    return base + APP_LOG_OFFSET + app, base + CORE_LOG_OFFSET + core


def read_image(spec: ChipSpec, memory: DeviceMemory) -> LoadedImage:
    """Check the headers in device memory and return the image; `ImageRefused` says what is wrong."""
    boot, rules = spec.boot, spec.firmware
    app = _read_header(spec, memory, boot.app_header, "app", rules.max_app_code_bytes)
    core = _read_header(spec, memory, boot.core_header, "core", rules.max_core_code_bytes)
    return LoadedImage(
        version=_version(app),
        app_code=memory.read(boot.app_code, app["code_size"]),
        core_version=_version(core),
        core_code=memory.read(boot.core_code, core["code_size"]),
        key=memory.read(boot.key_certificate, boot.content_certificate - boot.key_certificate),
        content=memory.read(boot.content_certificate, boot.trigger - boot.content_certificate),
        board_config=memory.read(boot.board_config, boot.config_max_bytes),
        firmware_config=memory.read(boot.firmware_config, boot.config_max_bytes),
    )


def _version(header: dict[str, Any]) -> tuple[int, int, int]:
    return header["firmware_major"], header["firmware_minor"], header["firmware_revision"]


def _read_header(spec: ChipSpec, memory: DeviceMemory, address: int, name: str, max_code_bytes: int) -> dict[str, Any]:
    rules = spec.firmware
    header = spec.image_header.unpack(memory.read(address, spec.image_header.size))
    if header["magic"] != rules.magic:
        raise ImageRefused(f"{name} header: magic 0x{header['magic']:08X}")
    if header["header_version"] != rules.header_version:
        raise ImageRefused(f"{name} header: version {header['header_version']}")
    if not rules.min_code_bytes <= header["code_size"] <= max_code_bytes:
        raise ImageRefused(f"{name} header: code of {header['code_size']} bytes")
    return header
