"""Programs that others wrote for the original run unmodified. They come from the package index when they are needed.

picamera2 (BSD-2-Clause) and trustmark-hailo (MIT) are used by these tests only; nothing of them is in this repository.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from openhailo.cli.exec import environment_of

PACKAGES = {"picamera2": "0.3.38", "trustmark-hailo": "0.1.0"}
FETCH_TIMEOUT_S = 60


@pytest.fixture(scope="session")
def fetch(tmp_path_factory):
    """Return a function: name of a package -> folder of its unpacked source."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openhailo" / "third-party"

    def get(name):
        release = f"{name}-{PACKAGES[name]}"
        folder = kept / release
        if not folder.is_dir():
            _download(name, tmp_path_factory.mktemp("third"), folder)
        return folder

    return get


def _download(name, scratch, folder):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--timeout", "10", "--retries", "0", "--quiet"]
    source = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    command = [*pip, "download", *source, f"{name}=={PACKAGES[name]}"]
    try:
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the package index gave no {name} in {FETCH_TIMEOUT_S} s")
    archives = list(scratch.glob("*.tar.gz"))
    if not archives:
        pytest.skip(f"the package index gave no {name}: {done.stderr.strip()[-200:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(scratch, filter="data")
    folder.parent.mkdir(parents=True, exist_ok=True)
    (unpacked,) = (path for path in scratch.iterdir() if path.is_dir())
    unpacked.rename(folder)


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def picamera2_hailo(fetch):
    module = load(fetch("picamera2") / "picamera2/devices/hailo/hailo.py", "third_party_picamera2_hailo")
    yield module
    sys.modules.pop("third_party_picamera2_hailo")


def test_picamera2_finds_the_architecture(picamera2_hailo, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", environment_of(os.environ)["PATH"])
    assert picamera2_hailo.hailo_architecture() == "HAILO8"
    monkeypatch.setenv("OPENHAILO_DEVICE", "twin:hailo8l")
    assert picamera2_hailo.hailo_architecture() == "HAILO8L"


def test_picamera2_runs_a_network(picamera2_hailo, models):
    with picamera2_hailo.Hailo(models.first) as hailo, picamera2_hailo.Hailo(models.second) as other:
        height, width, channels = hailo.get_input_shape()
        inputs, outputs = hailo.describe()
        assert str(inputs[0][2]) == "FormatType.UINT8"
        assert [name for name, _, _ in outputs] == ["first/edges", "first/halves"]
        frame = np.full((height, width, channels), 7, np.uint8)
        first, second = hailo.run(frame), other.run(frame)
        assert first["first/edges"].shape == (8, 8, 2) and first["first/edges"].dtype == np.float32
        np.testing.assert_array_equal(first["first/halves"], hailo.run_async(frame).result(10)["first/halves"])
        assert second["second/halves"].shape == (1, 2, 1)
    assert picamera2_hailo.Hailo.TARGET is None


def test_picamera2_in_batches(picamera2_hailo, models):
    with picamera2_hailo.Hailo(models.first, batch_size=3) as hailo:
        found = hailo.run(np.zeros((3, 8, 8, 1), np.uint8))
        assert [frame.shape for frame in found["first/edges"]] == [(8, 8, 2)] * 3


def test_picamera2_gives_boxes(picamera2_hailo, models):
    with picamera2_hailo.Hailo(models.boxes) as hailo:
        found = hailo.run(models.pixels(1, seed=9)[0])
        assert len(found) == models.classes and all(boxes.shape[1] == 5 for boxes in found)
        assert sum(map(len, found)) > 0


def test_trustmark_runs_a_network(fetch, models):
    """Its wrapper of the older interface, alone: the rest of the package needs models of its own."""
    runtime = load(fetch("trustmark-hailo") / "trustmark_hailo/hailo_runtime.py", "third_party_trustmark")
    try:
        first, second = runtime.HailoModel(models.first), runtime.HailoModel(Path(models.second))
        frame = models.pictures(1)
        assert first.infer(frame).shape == (1, 8, 8, 2)
        found = second.infer_multi({second.input_names[0]: frame})
        assert list(found) == second.output_names == ["second/edges", "second/halves"]
        np.testing.assert_array_equal(first.infer(frame), first.infer(frame))
    finally:
        runtime.get_shared_vdevice().release()
        sys.modules.pop("third_party_trustmark")
