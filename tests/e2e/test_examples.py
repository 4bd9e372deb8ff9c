"""Every example runs as it stands, and says what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openhailo.errors import AssetUnavailable

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))
MAX_LINES = 60

#: What each one has to print.
SAYS = {
    "01_hello_twin": ["could be opened: twin:", "opened twin:", "firmware 4.23.0", "degrees Celsius"],
    "02_photo_detection": ["cat 0.", "detections.jpg shows them (twin:)"],
    "03_compile_and_run": ["edges/edges", "findings of the check: none", "away from float32"],
    "04_batches_and_futures": ["frames/s", "500 futures gave what the batch gave", "again: brightness"],
    "05_sensors_and_notifications": ["122.0 degrees Celsius", "HEALTH_MONITOR_TEMPERATURE_ALARM", "bytes from the app"],
    "06_trace_a_run": ["CONTEXT_SWITCH_SET_CONTEXT_INFO -> ok", "completed", "openhailo trace"],
    "07_silicon_hef_with_reference": ["without numerics", "edges/halves (1, 2, 1): uint8", "DMA engines"],
    "08_many_frames_in_flight": ["100 callbacks, all well: True", "the same results: True", "100 frames of 2 streams"],
    "09_host_operations": ["HAILO_NMS_BY_CLASS, 184 bytes", "boxes in four pictures", "best one: rows", "by score:"],
    "10_several_processes": ["program 1: 2 outputs of 200", "ended well: True", "BrokerLost", "the same results: True"],
    "11_edge_motion": ["in the engine as on twin:", "neurons moves to the right in", "edge_motion.png shows the frame"],
}


def test_every_example_is_checked_and_short() -> None:
    assert [script.stem for script in SCRIPTS] == list(SAYS)
    for script in EXAMPLES.glob("*.py"):
        assert len(script.read_text(encoding="utf-8").splitlines()) < MAX_LINES, script.name


def need_demo_files() -> None:
    from openhailo.pipeline.models import demo_model, demo_photos, demo_task

    try:
        demo_photos()
        demo_model("yolov3-tiny")
        demo_task("yolov3-tiny")
    except AssetUnavailable as error:
        pytest.skip(f"demo files are neither cached nor reachable: {error}")


def need_photos() -> None:
    from openhailo.pipeline.models import demo_photos

    try:
        demo_photos()
    except AssetUnavailable as error:
        pytest.skip(f"demo photos are neither cached nor reachable: {error}")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example(script: Path, tmp_path: Path) -> None:
    if script.stem == "02_photo_detection":
        need_demo_files()
    if script.stem == "11_edge_motion":
        need_photos()
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OPENHAILO_")}
    environment = clean | {"OPENHAILO_DEVICE": "twin:", "OPENHAILO_EXAMPLES": str(tmp_path / "made")}
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in SAYS[script.stem]:
        assert words in done.stdout
    assert done.stderr == ""


def test_the_python_of_the_quickstart_runs(tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs/quickstart.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    assert "device.load" in code
    prepare = (
        f"import sys; sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "from small_model import pictures, small_model\n"
        "from openhailo.compiler import compile_model\n"
        "compile_model(small_model(), calibration=pictures(8)).save('model.hef')\n"
    )
    check = "assert len(results) == 100 and batch['edges/halves'].shape == (16, 1, 2, 1)\n"
    environment = {**os.environ, "OPENHAILO_DEVICE": "twin:", "OPENHAILO_EXAMPLES": str(tmp_path / "made")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prepare + code + check],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "edges/picture (28, 28, 1) uint8 NHWC" in done.stdout
