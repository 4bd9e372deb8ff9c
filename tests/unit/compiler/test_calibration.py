from __future__ import annotations

import zipfile

import cv2
import numpy as np
import pytest

from openhailo.compiler import calibration
from openhailo.compiler.calibration import load_calibration
from openhailo.compiler.tensors import TensorSpec
from openhailo.errors import CalibrationError

IMAGE = TensorSpec("image", (1, 3, 4, 6), "nchw")
GREY = TensorSpec("grey", (1, 1, 4, 6), "nchw")
LAST = TensorSpec("last", (1, 4, 6, 3), "nhwc")
VECTOR = TensorSpec("vector", (1, 5), "nc")
SEQUENCE = TensorSpec("sequence", (1, 7, 5), "flat")


def hwc(count=9):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 6, 3)).astype(np.uint8)


def test_both_layouts_mean_the_same():
    data = hwc()
    for array in (data, data.transpose(0, 3, 1, 2), data[:, None], list(data)):
        found = load_calibration(array, [IMAGE])
        assert len(found.frames) == 9
        assert found.pixels == {"image"}
        assert not found.warnings
        np.testing.assert_array_equal(found.frames[3]["image"], data[3:4].transpose(0, 3, 1, 2))


def test_channels_last_models():
    np.testing.assert_array_equal(load_calibration(hwc(), [LAST]).frames[2]["last"], hwc()[2:3])


def test_a_single_frame_is_enough_but_warned_about():
    found = load_calibration(hwc()[0], [IMAGE])
    assert len(found.frames) == 1
    assert "only 1" in found.warnings[0]


def test_several_inputs_and_ranks():
    data = {"vector": np.ones((8, 5)), "sequence": np.zeros((8, 7, 5)), "image": hwc(8)}
    found = load_calibration(data, [VECTOR, SEQUENCE, IMAGE])
    assert {name: array.shape for name, array in found.frames[0].items()} == {
        "vector": (1, 5), "sequence": (1, 7, 5), "image": (1, 3, 4, 6)
    }  # fmt: skip
    assert found.pixels == {"image"}


def test_frames_given_one_by_one():
    frames = [{"vector": np.full(5, i), "image": hwc(1)[0]} for i in range(3)]
    found = load_calibration(frames, [VECTOR, IMAGE])
    assert [frame["vector"][0, 0] for frame in found.frames] == [0, 1, 2]


def test_limit_spreads_over_the_data():
    data = np.arange(100, dtype=np.float32)[:, None].repeat(5, 1)
    found = load_calibration(data, [VECTOR], limit=4)
    assert [int(frame["vector"][0, 0]) for frame in found.frames] == [0, 33, 66, 99]


def test_npy_and_npz(tmp_path):
    np.save(tmp_path / "a.npy", hwc())
    np.savez(tmp_path / "named.npz", vector=np.ones((8, 5)), image=hwc(8), unrelated=np.zeros(3))
    np.savez(tmp_path / "unnamed.npz", hwc(8))
    assert len(load_calibration(tmp_path / "a.npy", [IMAGE]).frames) == 9
    assert len(load_calibration(tmp_path, [IMAGE]).frames) == 9
    assert len(load_calibration(tmp_path / "named.npz", [IMAGE, VECTOR]).frames) == 8
    assert len(load_calibration(str(tmp_path / "unnamed.npz"), [IMAGE]).frames) == 8


def test_pictures_are_rgb_and_fitted(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 2] = 200  # BGR on disk
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), red)
    boxed = load_calibration(tmp_path, [IMAGE]).frames[0]["image"][0]
    np.testing.assert_array_equal(boxed[:, 2, 3], [200, 0, 0])
    np.testing.assert_array_equal(boxed[:, 2, 0], [114, 114, 114])
    stretched = load_calibration(tmp_path, [IMAGE], fit="stretch").frames[0]["image"][0]
    np.testing.assert_array_equal(stretched[:, 2, 0], [200, 0, 0])
    grey = load_calibration(tmp_path / "0.png", [GREY]).frames[0]["grey"]
    assert grey.shape == (1, 1, 4, 6)
    assert abs(float(grey[0, 0, 2, 3]) - 200 * 0.299) < 2


def test_random_frames_are_reproducible():
    first, second = (load_calibration("random:3", [IMAGE, VECTOR]) for _ in range(2))
    assert len(first.frames) == 3
    assert "noise" in first.warnings[0]
    for a, b in zip(first.frames, second.frames, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["vector"], b["vector"])


@pytest.mark.parametrize(
    "source",
    [
        None,
        [],
        {},
        np.zeros((0, 4, 6, 3), np.uint8),
        np.zeros((3, 5, 6, 3)),
        np.zeros(()),
        np.full((2, 4, 6, 3), np.nan),
        np.zeros((2, 4, 6, 3), complex),
        {"other": np.zeros((2, 4, 6, 3))},
        "random:0",
        "random:x",
        "/does/not/exist.npy",
    ],
    ids=str,
)
def test_bad_sources(source):
    with pytest.raises(CalibrationError):
        load_calibration(source, [IMAGE])


def test_bad_files(tmp_path):
    for name, content in (("a.png", b"no picture"), ("b.npy", b"no array"), ("c.npz", b"no archive")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CalibrationError, match=name):
            load_calibration(tmp_path / name, [IMAGE])
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CalibrationError):
        load_calibration(tmp_path / "d.npy", [IMAGE])
    np.save(tmp_path / "e.npy", hwc())
    sound = (tmp_path / "e.npy").read_bytes()
    for damaged in (sound.replace(b"(9, 4, 6, 3)", b"((((((((((("), sound.replace(b"9", b"'"), sound[:99]):
        (tmp_path / "e.npy").write_bytes(damaged)
        with pytest.raises(CalibrationError, match=r"e\.npy"):
            load_calibration(tmp_path / "e.npy", [IMAGE])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CalibrationError, match="no pictures"):
        load_calibration(tmp_path / "empty", [IMAGE])


def test_bad_archives(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, image=hwc(64))
    sound = path.read_bytes()
    damaged = bytearray(sound)
    damaged[100:140] = bytes(40)
    method = bytearray(sound)
    method[8] = method[sound.index(b"PK\x01\x02") + 10] = 99  # a compression that nobody knows
    for content in (bytes(damaged), bytes(method), sound[: len(sound) // 2]):
        path.write_bytes(content)
        with pytest.raises(CalibrationError, match=r"a\.npz"):
            load_calibration(path, [IMAGE])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image", b"no array")
    with pytest.raises(CalibrationError, match=r"a\.npz"):
        load_calibration(path, [IMAGE])
    np.savez_compressed(path, image=np.zeros((64, 4, 6, 3), np.uint8))
    assert len(load_calibration(path, [IMAGE]).frames) == 64
    monkeypatch.setattr(calibration, "MAX_FILE_BYTES", path.stat().st_size)
    with pytest.raises(CalibrationError, match="are read"):
        load_calibration(path, [IMAGE])


def test_inputs_need_names_and_equal_counts(tmp_path):
    with pytest.raises(CalibrationError, match="which input"):
        load_calibration(hwc(), [IMAGE, VECTOR])
    with pytest.raises(CalibrationError, match="equally many"):
        load_calibration({"image": hwc(3), "vector": np.zeros((2, 5))}, [IMAGE, VECTOR])
    with pytest.raises(CalibrationError, match="inputs are"):
        load_calibration({"image": hwc(3)}, [IMAGE, VECTOR])
    with pytest.raises(CalibrationError, match="limit"):
        load_calibration(hwc(), [IMAGE], limit=0)


def test_a_picture_for_a_vector(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), hwc(1)[0])
    with pytest.raises(CalibrationError, match="takes shape"):
        load_calibration(tmp_path / "x.png", [VECTOR])
