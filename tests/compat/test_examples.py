"""The example applications run as they are, without anything installed for them (`openhailo exec`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openhailo.errors import AssetUnavailable

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "hailo_platform"


@pytest.fixture(scope="module")
def hefs(tmp_path_factory):
    from openhailo.pipeline.models import demo_model, demo_photos

    try:
        demo_model("centerface")
        demo_photos()
    except AssetUnavailable as error:
        pytest.skip(f"demo files are neither cached nor reachable: {error}")
    folder = tmp_path_factory.mktemp("hefs")
    subprocess.run([sys.executable, EXAMPLES / "make_models.py", folder], check=True, capture_output=True)
    return folder


def start(script, *arguments, cwd, options=("-W", "error"), **environment):
    command = [sys.executable, "-m", "openhailo.cli.main", "exec", "--device", "twin:", "--", sys.executable]
    return subprocess.Popen(
        [*command, *options, str(EXAMPLES / script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "XDG_CACHE_HOME": str(cwd / "cache"), **environment},
    )


def finish(process):
    said, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert errors == ""
    return said


def run(script, *arguments, cwd):
    return finish(start(script, *arguments, cwd=cwd))


def test_sync_vstreams(hefs, tmp_path):
    said = run("sync_vstreams.py", hefs / "vertical.hef", cwd=tmp_path)
    assert "Stream output shape is (10, 32, 32, 1)" in said and "vertical/edges: uint8, values -" in said


def test_async_two_models(hefs, tmp_path):
    said = run("async_two_models.py", hefs / "vertical.hef", hefs / "horizontal.hef", cwd=tmp_path)
    for name in ("vertical", "horizontal"):
        assert f"{name}: 60 frames, in order: True" in said


def test_fork_streaming(hefs, tmp_path):
    said = run("fork_streaming.py", hefs / "vertical.hef", cwd=tmp_path)
    assert "received 50 frames of (32, 32, 1)" in said and "exit codes: [0, 0]" in said


def test_detection_nms(hefs, tmp_path):
    from openhailo.pipeline.models import demo_photos

    photo = demo_photos()["astronaut"]
    said = run("detection_nms.py", hefs / "faces.hef", photo, tmp_path / "found.png", "face", cwd=tmp_path)
    (line,) = said.splitlines()
    assert line.startswith("class 0 face 0.")
    x, y = (int(number) for number in line.partition("at (")[2].partition(")")[0].split(","))
    assert 150 < x < 210 and 30 < y < 90
    assert (tmp_path / "found.png").stat().st_size > 100_000


def test_shared_chip(hefs, tmp_path, broker):
    """Three processes, two models, one chip: everybody gets the results of his own frames."""
    work = [("vertical", 100), ("vertical", 200), ("horizontal", 250)]
    processes = [
        start("shared_chip.py", hefs / f"{name}.hef", 40, value, cwd=tmp_path, options=()) for name, value in work
    ]
    strengths = []
    for process, (name, value) in zip(processes, work, strict=True):
        said = finish(process)
        assert said.startswith(f"{name}: 40 frames of {value}, strongest edge ")
        strengths.append(float(said.split()[-1]))
    assert abs(strengths[1] / strengths[0] - 2) < 0.05
