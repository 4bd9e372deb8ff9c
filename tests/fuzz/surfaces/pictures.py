"""Picture files, as a user or a client sends them."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from random import Random

import cv2
import numpy as np

from openhailo.errors import InputError
from openhailo.vision.images import decode_image, image_size
from tests.fuzz.mutate import edge, mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

_MOST_PIXELS = 4_000_000


@cache
def seeds() -> tuple[tuple[bytes, bytes], ...]:
    """Return (suffix, content) of a small picture in every format."""
    picture = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    picture[:12] = 100
    grey = picture[..., 0]
    suffixes = ("png", "jpg", "bmp", "webp", "ppm")
    made = [(suffix, cv2.imencode(f".{suffix}", picture)[1]) for suffix in suffixes]
    made += [("pgm", cv2.imencode(".pgm", grey)[1]), ("png", cv2.imencode(".png", grey)[1])]
    return tuple((suffix.encode(), content.tobytes()) for suffix, content in made)


def make_case(rng: Random) -> bytes:
    """Damage a file; in a PNG mostly a chunk, with its checksum made right again."""
    suffix, content = rng.choice(seeds())
    if suffix == b"png" and rng.random() < 0.6:
        content = _damage_png(rng, content)
    else:
        content = mutate_bytes(rng, content, other=rng.choice(seeds())[1])
    return pack_parts([suffix, content])


def _damage_png(rng: Random, content: bytes) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    place = rng.randrange(len(chunks))
    kind, data = chunks[place]
    if kind == b"IHDR" and rng.random() < 0.7:
        data = struct.pack(">II", edge(rng, 12) + 1, edge(rng, 12) + 1) + data[8:]
    else:
        data = mutate_bytes(rng, data)
    chunks[place] = (rng.choice((kind, kind, kind, b"PLTE", b"tRNS", b"iCCP", b"zTXt")), data)
    return content[:8] + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )


def run(case: bytes) -> int:
    """Decode it."""
    _, content = unpack_parts(case)
    size = image_size(content)
    picture = decode_image(content, max_pixels=_MOST_PIXELS)
    require(picture.dtype == np.uint8 and picture.shape[2:] == (3,), f"a picture {picture.shape} {picture.dtype}")
    require(size is not None and picture.size <= 3 * _MOST_PIXELS, "a picture larger than allowed")
    return 1


SURFACE = Surface("pictures", make_case, run, (InputError,), gain_bytes=1 << 29)
