"""Firmware files: the driver's reader and the twin's take the same ones, and the boot code refuses the others."""

from __future__ import annotations

import struct
from functools import cache
from random import Random

from openhailo.driver import boot as driver_boot
from openhailo.errors import BadImage
from openhailo.spec.chip import CHIP
from openhailo.twin import boot as twin_boot
from openhailo.twin.firmware.image import build_placeholder_image, parse_image
from openhailo.twin.memory import DeviceMemory
from tests.fuzz.mutate import edge, mutate_bytes
from tests.fuzz.surface import Surface, require

_HEADER_WORDS = 6


@cache
def _seeds() -> tuple[bytes, ...]:
    sizes = ((256, 256, 16, 16), (260, 300, 0, 0), (1024, 256, 5, 7))
    return tuple(
        build_placeholder_image(app_code_bytes=a, core_code_bytes=c, key_bytes=k, content_bytes=b)
        for a, c, k, b in sizes
    )


def make_case(rng: Random) -> bytes:
    """Damage an image: a header word mostly."""
    image = rng.choice(_seeds())
    if rng.random() < 0.3:
        return mutate_bytes(rng, image, other=rng.choice(_seeds()))
    out = bytearray(image)
    app = struct.unpack_from("<I", out, 20)[0]
    key, content = struct.unpack_from("<II", out, 24 + app)
    starts = (0, 24 + app, 32 + app + key + content)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.choice(starts) + 4 * rng.randrange(_HEADER_WORDS)
        if at + 4 <= len(out):
            (word,) = struct.unpack_from("<I", out, at)
            step = rng.choice((1, -1, 4, -4))
            struct.pack_into("<I", out, at, edge(rng, 32) if rng.random() < 0.5 else (word + step) & 0xFFFFFFFF)
    if rng.random() < 0.3:
        out += rng.randbytes(rng.randrange(1, 8))
    return bytes(out)


def run(case: bytes) -> int:
    """Both readers agree, on the parts as well; the boot code agrees where the headers are where they belong."""
    verdicts: list[object] = []
    for parse in (lambda: driver_boot.parse_image(case, CHIP), lambda: parse_image(case)):
        try:
            verdicts.append(parse())
        except BadImage as refusal:
            require(str(refusal), "a refusal without words")
            verdicts.append(None)
    ours, twins = verdicts
    require((ours is None) == (twins is None), f"driver and twin disagree: {verdicts}")
    if isinstance(ours, driver_boot.FirmwareImage):
        require(
            (ours.app_code, ours.core_code, ours.key, ours.content)
            == (twins.app_code, twins.core_code, twins.key, twins.content),  # type: ignore[attr-defined]
            "driver and twin cut the image differently",
        )
        _boot(ours)
    else:
        _boot_headers(case)
    return 1


def _boot(image: driver_boot.FirmwareImage) -> None:
    memory = DeviceMemory(twin_boot.map_memory(CHIP))
    memory.write(CHIP.boot.app_header, image.app_header)
    memory.write(CHIP.boot.core_header, image.core_header)
    require(twin_boot.read_image(CHIP, memory).version == image.version, "the boot code reads another version")


def _boot_headers(case: bytes) -> None:
    memory = DeviceMemory(twin_boot.map_memory(CHIP))
    memory.write(CHIP.boot.app_header, case[:24].ljust(24, b"\0"))
    memory.write(CHIP.boot.core_header, case[-280:-256].ljust(24, b"\0"))
    try:
        twin_boot.read_image(CHIP, memory)
    except twin_boot.ImageRefused as refusal:
        require(str(refusal), "a refusal without words")


SURFACE = Surface("firmware_images", make_case, run, (), gain_bytes=1 << 28)
