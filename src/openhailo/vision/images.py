"""Read and write picture files: RGB, 8 bits.

A file is judged by its header before anything is decoded, so that a small file cannot claim the memory of a huge
picture.  Formats: PNG, JPEG, BMP, WebP and binary PNM.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import InputError
from openhailo.vision._opencv import require_opencv
from openhailo.vision.resize import Image, check_image

MAX_FILE_BYTES = 256 << 20
MAX_PIXELS = 100_000_000
"""Largest picture that is decoded: 300 MB as RGB."""

_MAX_PNG_CHUNKS = 100_000
"""Writers make chunks of 8 KiB and more; this keeps a file of empty ones from taking seconds."""

READABLE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm"})
WRITABLE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})

_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})


def load_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture file as (height, width, 3) uint8 RGB; grey is repeated, alpha dropped, EXIF rotation applied.

    Raises:
        InputError: not a readable file, not a picture of a known format, damaged, or too large.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(what=str(path), detail="is not a file" if path.exists() else "no such file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(what=str(path), detail=f"larger than {MAX_FILE_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(what=str(path), detail=f"cannot be read: {error.strerror}") from error
    return decode_image(data, name=str(path), max_pixels=max_pixels)


def decode_image(data: bytes, *, name: str = "picture", max_pixels: int = MAX_PIXELS) -> Image:
    """The same from the bytes of a file, e.g. of a request.

    Raises:
        InputError: as for ``load_image``.
    """
    size = image_size(data)
    if size is None:
        raise InputError(what=name, detail="not a PNG, JPEG, BMP, WebP or PNM picture, or its header is damaged")
    if size[0] * size[1] > max_pixels:
        raise InputError(what=name, detail=f"{size[1]}x{size[0]} is more than the {max_pixels} pixels allowed")
    opencv = require_opencv("reading pictures")
    try:
        decoded = opencv.imdecode(np.frombuffer(data, np.uint8), opencv.IMREAD_COLOR)
    except opencv.error as error:
        raise InputError(what=name, detail="damaged picture") from error
    if decoded is None or decoded.ndim != 3 or decoded.size > 3 * max_pixels:
        raise InputError(what=name, detail="damaged picture")
    return np.ascontiguousarray(decoded[..., ::-1])


def save_image(path: str | Path, image: Image) -> None:
    """Write a picture; the suffix chooses the format, and the file appears whole or not at all.

    Raises:
        InputError: unknown suffix, or the file cannot be written.
    """
    path = Path(path)
    check_image(image)
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise InputError(what=str(path), detail=f"cannot write {path.suffix or 'without suffix'}; use .png or .jpg")
    encoded = _encode(path.suffix.lower(), image)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".openhailo-") as directory:
            partial = Path(directory) / path.name
            partial.write_bytes(encoded)
            partial.replace(path)
    except OSError as error:
        raise InputError(what=str(path), detail=f"cannot be written: {error.strerror}") from error


def _encode(suffix: str, image: Image) -> bytes:
    opencv = require_opencv("writing pictures")
    done, encoded = opencv.imencode(suffix, np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise InputError(what=f"a {suffix} picture", detail="could not be encoded")
    buffer: NDArray[np.uint8] = encoded
    return buffer.tobytes()


def image_size(data: bytes) -> tuple[int, int] | None:
    """Height and width from a file's header alone; ``None`` if it is no known format or says nothing sensible."""
    for magic, reader in _READERS:
        if data.startswith(magic):
            try:
                size = reader(data)
            except (struct.error, IndexError):
                return None
            return size if size and min(size) > 0 else None
    return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", data, 16)
    return (height, width) if data[12:16] == b"IHDR" and _png_chunks_fit(data) else None


def _png_chunks_fit(data: bytes) -> bool:
    """Tell whether every chunk up to the last lies in the file; decoders allocate whatever a chunk claims."""
    at = 8
    for _ in range(_MAX_PNG_CHUNKS):
        (size,) = struct.unpack_from(">I", data, at)
        at += 12 + size
        if at > len(data):
            return False
        if data[at - size - 8 : at - size - 4] == b"IEND":
            return True
    return False


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk the segments up to the first frame header."""
    offset = 2
    while data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker in _JPEG_SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return height, width
        if marker == 0xFF:
            offset += 1
        elif marker in _JPEG_BARE_MARKERS:
            offset += 2
        else:
            offset += 2 + max(struct.unpack_from(">H", data, offset + 2)[0], 2)
    return None


def _bmp_size(data: bytes) -> tuple[int, int] | None:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), width


def _webp_size(data: bytes) -> tuple[int, int] | None:
    chunk = data[12:16]
    if data[8:12] != b"WEBP":
        return None
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if chunk == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        return int.from_bytes(data[27:30], "little") + 1, width
    return None


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    # One blank at a time: a nested repetition would try every way to share out a long run of them.
    match = re.match(rb"P[56](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s", data[:4096])
    return (int(match[2]), int(match[1])) if match else None


_READERS: tuple[tuple[bytes, Callable[[bytes], tuple[int, int] | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png_size),
    (b"\xff\xd8\xff", _jpeg_size),
    (b"BM", _bmp_size),
    (b"RIFF", _webp_size),
    (b"P5", _pnm_size),
    (b"P6", _pnm_size),
)
