"""The firmware image: literal bytes, and each rule of driver.md 2.3."""

from __future__ import annotations

import struct

import pytest

from openhailo.errors import BadImage
from openhailo.twin.firmware import build_placeholder_image, parse_image


def test_smallest_image_is_216_bytes() -> None:
    image = build_placeholder_image((4, 20, 1), app_code_bytes=80, core_code_bytes=80, key_bytes=0, content_bytes=0)
    assert len(image) == 216  # driver.md 2.3
    assert image[:24].hex() == "e09dd81d0000000004000000140000000100000050000000"
    assert image[104:112] == bytes(8)
    assert image[112:136].hex() == "e09dd81d0000000004000000140000000100000850000000"


def test_round_trip() -> None:
    info = parse_image(build_placeholder_image())
    assert info.version == (4, 23, 0)
    assert info.core_version == (4, 23, 0x08000000)
    assert (len(info.app_code), len(info.core_code), len(info.key), len(info.content)) == (256, 256, 16, 16)


@pytest.mark.parametrize(
    ("at", "word", "detail"),
    [
        (0, 0x1DD89DE1, "app header has magic 0x1DD89DE1"),
        (4, 1, "header version 1"),
        (20, 79, "79 bytes"),
        (20, 0x40001, "app code of"),
        (20, 1000, "app code needs"),
        (104, 0x1001, "key blob of"),
        (108, 0x1001, "content blob of"),
        (104, 8, "magic"),
        (112, 0, "core header has magic"),
        (132, 0x20001, "core code of"),
        (132, 81, "core code needs"),
    ],
)
def test_every_rule(at: int, word: int, detail: str) -> None:
    image = bytearray(build_placeholder_image(app_code_bytes=80, core_code_bytes=80, key_bytes=0, content_bytes=0))
    struct.pack_into("<I", image, at, word)
    with pytest.raises(BadImage, match=detail):
        parse_image(bytes(image))


def test_nothing_may_follow_and_size_is_bounded() -> None:
    image = build_placeholder_image()
    with pytest.raises(BadImage, match="1 bytes follow"):
        parse_image(image + b"\0")
    with pytest.raises(BadImage, match="at most 327680"):
        parse_image(bytes(0x50001))
    with pytest.raises(BadImage, match="79 bytes"):
        build_placeholder_image(app_code_bytes=79)
    for cut in range(len(image)):
        with pytest.raises(BadImage):
            parse_image(image[:cut])
