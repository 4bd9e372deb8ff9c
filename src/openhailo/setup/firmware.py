"""Checking the firmware file that the user has, and where the kernel looks for it (driver.md 1.2, 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from openhailo.driver.boot import parse_image
from openhailo.errors import BadImage, InputError
from openhailo.spec.chip import CHIP, ChipSpec

from .parameters import Version
from .source import read_limited

#: Where the driver asks for it; the vendor's file name carries a version and must be changed (driver.md 1.2).
TARGET = "/lib/firmware/hailo/hailo8_fw.bin"
#: Both are one PCI id and one code path in the driver (driver.md 1.1), so one file serves both.
CHIPS = "Hailo-8 and Hailo-8L: the file does not tell them apart, the chip does"
_PLACEHOLDER = b"openhailo placeholder"


@dataclass(frozen=True)
class FirmwareFile:
    """A firmware file whose headers add up: its content, version, and what is odd about it."""

    path: Path
    content: bytes
    version: Version
    warnings: tuple[str, ...] = ()


def load_firmware(path: Path, driver: Version | None = None, *, spec: ChipSpec = CHIP) -> FirmwareFile:
    """Read and check a firmware file.

    Checked: size, magic, header versions, code and certificate sizes, nothing behind the end (as the driver does), and
    that it is no placeholder of the twin. A version other than the driver's is a warning: the driver does not compare.
    Nobody but the card can check what the code does. Raises `BadImage`, `InputError`.
    """
    content = read_limited(path, spec.firmware.max_file_bytes)
    image = parse_image(content, spec)
    if _PLACEHOLDER in image.app_code:
        raise BadImage(detail=f"{path.name} is a placeholder for the twin, a card would not start with it")
    version = _numbers(image.version, spec)
    core = spec.image_header.unpack(image.core_header)
    names = ("firmware_major", "firmware_minor", "firmware_revision")
    core_version = _numbers((core[names[0]], core[names[1]], core[names[2]]), spec)
    warnings = _warnings(image.version[2], version, driver, spec)
    if core_version != version:
        warnings.append(f"the application is {_text(version)} and the core {_text(core_version)}: a mixed file")
    return FirmwareFile(path, content, version, tuple(warnings))


def _numbers(words: tuple[int, int, int], spec: ChipSpec) -> Version:
    """The upper bits of the revision are flags (control-protocol.md 3.2)."""
    return words[0], words[1], spec.firmware_revision["number"].get(words[2])


def _warnings(revision: int, version: Version, driver: Version | None, spec: ChipSpec) -> list[str]:
    found = []
    if spec.firmware_revision["core_cpu"].get(revision):
        found.append("the application's header says that it is for the core processor")
    if driver is not None and driver != version:
        found.append(
            f"firmware {_text(version)} with driver {_text(driver)}: the driver loads it without comparing, the "
            "vendor's library refuses to work with it; take the file of the driver's release"
        )
    return found


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def require_file(path: Path) -> Path:
    """Return the absolute path. Raises `InputError` when there is no such file, or its name cannot be shown."""
    if not str(path).isprintable():
        raise InputError(what=ascii(str(path)), detail="the path has characters that cannot be shown; rename it")
    if not path.is_file():
        raise InputError(what=str(path), detail="there is no such file")
    return path.resolve()
