"""The firmware image file: make a placeholder, check any (driver.md 2.3).

A placeholder has valid headers and no code: the twin's firmware is this package, so nothing proprietary is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openhailo.errors import BadImage
from openhailo.spec.chip import CHIP, ChipSpec

_PLACEHOLDER = b"openhailo placeholder: the virtual chip's firmware is Python, this image only has valid headers. "


@dataclass(frozen=True)
class ImageInfo:
    """A checked image: both versions as (major, minor, revision word) and the four parts."""

    version: tuple[int, int, int]
    core_version: tuple[int, int, int]
    app_code: bytes
    core_code: bytes
    key: bytes
    content: bytes


def build_placeholder_image(
    version: tuple[int, int, int] = (4, 23, 0),
    *,
    app_code_bytes: int = 256,
    core_code_bytes: int = 256,
    key_bytes: int = 16,
    content_bytes: int = 16,
    spec: ChipSpec = CHIP,
) -> bytes:
    """Return a ``hailo8_fw.bin`` that loads everywhere and says it is ``version``; no code is in it.

    The core header carries the core-CPU bit in its revision (control-protocol.md 3.2). Raises `BadImage` when a size
    is outside the limits of driver.md 2.3.
    """
    core_bit = spec.firmware_revision["core_cpu"].put(1)
    image = b"".join(
        (
            _build_header(spec, version, 0, app_code_bytes),
            _filler(app_code_bytes),
            spec.certificate_header.pack(key_size=key_bytes, content_size=content_bytes),
            _filler(key_bytes),
            _filler(content_bytes),
            _build_header(spec, version, core_bit, core_code_bytes),
            _filler(core_code_bytes),
        )
    )
    parse_image(image, spec=spec)
    return image


def _build_header(spec: ChipSpec, version: tuple[int, int, int], revision_bits: int, code_bytes: int) -> bytes:
    return spec.image_header.pack(
        magic=spec.firmware.magic,
        header_version=spec.firmware.header_version,
        firmware_major=version[0],
        firmware_minor=version[1],
        firmware_revision=version[2] | revision_bits,
        code_size=code_bytes,
    )


def _filler(size: int) -> bytes:
    return (_PLACEHOLDER * (size // len(_PLACEHOLDER) + 1))[:size]


def parse_image(image: bytes, *, spec: ChipSpec = CHIP) -> ImageInfo:
    """Check an image as the official driver does (driver.md 2.3). Raises `BadImage` with the first rule broken."""
    if len(image) > spec.firmware.max_file_bytes:
        raise BadImage(detail=f"{len(image)} bytes, at most {spec.firmware.max_file_bytes} are allowed")
    app, at = _take_header(spec, image, 0, "app", spec.firmware.max_app_code_bytes)
    app_code, at = _take(image, at, app["code_size"], "app code")
    raw, at = _take(image, at, spec.certificate_header.size, "certificate header")
    certificate = spec.certificate_header.unpack(raw)
    _check_certificate(spec, certificate)
    key, at = _take(image, at, certificate["key_size"], "key blob")
    content, at = _take(image, at, certificate["content_size"], "content blob")
    core, at = _take_header(spec, image, at, "core", spec.firmware.max_core_code_bytes)
    core_code, at = _take(image, at, core["code_size"], "core code")
    if at != len(image):
        raise BadImage(detail=f"{len(image) - at} bytes follow the core code")
    return ImageInfo(_version(app), _version(core), app_code, core_code, key, content)


def _version(header: dict[str, Any]) -> tuple[int, int, int]:
    return header["firmware_major"], header["firmware_minor"], header["firmware_revision"]


def _take(image: bytes, at: int, size: int, what: str) -> tuple[bytes, int]:
    if at + size > len(image):
        raise BadImage(detail=f"{what} needs {size} bytes at {at}, the file has {len(image)}")
    return image[at : at + size], at + size


def _take_header(spec: ChipSpec, image: bytes, at: int, what: str, max_code: int) -> tuple[dict[str, Any], int]:
    raw, at = _take(image, at, spec.image_header.size, f"{what} header")
    header = spec.image_header.unpack(raw)
    if header["magic"] != spec.firmware.magic:
        raise BadImage(detail=f"{what} header has magic 0x{header['magic']:08X}, not 0x{spec.firmware.magic:08X}")
    if header["header_version"] != spec.firmware.header_version:
        raise BadImage(detail=f"{what} header version {header['header_version']}")
    if not spec.firmware.min_code_bytes <= header["code_size"] <= max_code:
        raise BadImage(
            detail=f"{what} code of {header['code_size']} bytes, {spec.firmware.min_code_bytes} to {max_code} allowed"
        )
    return header, at


def _check_certificate(spec: ChipSpec, certificate: dict[str, Any]) -> None:
    if certificate["key_size"] > spec.firmware.max_key_bytes:
        raise BadImage(detail=f"key blob of {certificate['key_size']} bytes")
    if certificate["content_size"] > spec.firmware.max_content_bytes:
        raise BadImage(detail=f"content blob of {certificate['content_size']} bytes")
