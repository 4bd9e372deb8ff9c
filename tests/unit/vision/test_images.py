"""Picture files: good ones, and those that try to do harm."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.errors import InputError
from openhailo.vision import images
from openhailo.vision.images import decode_image, image_size, load_image, save_image

cv2 = pytest.importorskip("cv2")

RED_LEFT = np.zeros((6, 10, 3), np.uint8)
RED_LEFT[:, :5, 0] = 255
RED_LEFT[:, 5:, 2] = 255


def encoded(suffix):
    return cv2.imencode(suffix, RED_LEFT[..., ::-1])[1].tobytes()


def png(width, height, pixels=b""):
    """A PNG by hand, so that its header can lie."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
def test_a_saved_picture_comes_back_as_rgb(tmp_path, suffix):
    path = tmp_path / "deep" / f"picture{suffix}"
    save_image(path, RED_LEFT)
    loaded = load_image(path)
    assert (loaded.shape, loaded.dtype, loaded.flags.c_contiguous) == ((6, 10, 3), np.uint8, True)
    if suffix in {".png", ".bmp"}:
        assert (loaded == RED_LEFT).all()
    assert loaded[3, 1, 0] > 200 > 100 > loaded[3, 1, 2]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg", ".ppm"])
def test_the_size_is_read_from_the_header_alone(suffix):
    data = encoded(suffix)
    assert image_size(data) == (6, 10)
    assert decode_image(data).shape == (6, 10, 3)


def test_grey_and_alpha_become_rgb():
    grey = cv2.imencode(".png", np.full((4, 4), 77, np.uint8))[1].tobytes()
    assert (decode_image(grey) == 77).all()
    alpha = cv2.imencode(".png", np.full((4, 4, 4), 33, np.uint8))[1].tobytes()
    assert decode_image(alpha).shape == (4, 4, 3)
    assert decode_image(b"P5 # note\n2 2\n255\n" + bytes(4)).shape == (2, 2, 3)


@pytest.mark.parametrize(
    "data",
    [
        png(50_000, 50_000),
        png(2**31 - 1, 2**31 - 1),
        b"BM" + bytes(12) + struct.pack("<Iii", 40, 100_000, -100_000) + bytes(40),
        b"P6 999999999 999999999 255\n",
        b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + b"\xff" * 6,
    ],
)
def test_a_small_file_that_claims_a_huge_picture_is_refused_before_decoding(data, monkeypatch):
    monkeypatch.setattr(images, "require_opencv", lambda what: pytest.fail("decoded"))
    with pytest.raises(InputError, match="pixels allowed"):
        decode_image(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(50),
        b"\x89PNG\r\n\x1a\n",
        png(0, 5),
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x00" * 5,
        b"BM",
        b"P6 x",
        b"RIFF1234WAVEfmt ",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(InputError, match="not a PNG"):
        decode_image(data)


@pytest.mark.parametrize("claim", [200, 1 << 24, 2**32 - 1])
def test_a_png_chunk_that_leaves_the_file_is_refused_before_decoding(claim, monkeypatch):
    monkeypatch.setattr(images, "require_opencv", lambda what: pytest.fail("decoded"))
    data = bytearray(png(4, 4, bytes(52)))
    data[33:37] = struct.pack(">I", claim)
    with pytest.raises(InputError, match="header is damaged"):
        decode_image(bytes(data))


def test_a_png_of_empty_chunks_is_not_walked_for_ever(monkeypatch):
    monkeypatch.setattr(images, "_MAX_PNG_CHUNKS", 10)
    assert images.image_size(png(4, 4, bytes(52))) == (4, 4)
    assert images.image_size(png(4, 4)[:33] + (bytes(4) + b"tEXt" + bytes(4)) * 10 + png(4, 4)[33:]) is None


def test_blanks_in_a_pnm_header_cost_no_time():
    """Sharing out a run of blanks in every possible way would take longer than anybody waits."""
    assert images.image_size(b"P6" + b" " * 4000 + b"x") is None
    assert images.image_size(b"P6" + b" #a\n\n " * 30 + b"3 # b\n 2\n255\n") == (2, 3)


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from([".png", ".jpg", ".bmp", ".webp", ".ppm"]),
    where=st.integers(0, 10**6),
    byte=st.integers(0, 255),
)
def test_damaged_files_give_a_picture_or_a_typed_error(suffix, where, byte):
    data = bytearray(encoded(suffix))
    data[where % len(data)] = byte
    for candidate in (bytes(data), bytes(data[: where % len(data)])):
        try:
            decoded = decode_image(candidate, max_pixels=10_000)
        except InputError:
            continue
        assert decoded.size <= 30_000


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="not a file"):
        load_image(tmp_path)
    path = tmp_path / "large.png"
    path.write_bytes(encoded(".png"))
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 10)
    with pytest.raises(InputError, match="larger than"):
        load_image(path)


def test_files_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"cannot write \.gif"):
        save_image(tmp_path / "a.gif", RED_LEFT)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_image(tmp_path / "file" / "a.png", RED_LEFT)
    with pytest.raises(InputError, match="uint8"):
        save_image(tmp_path / "a.png", RED_LEFT.astype(np.float32))
