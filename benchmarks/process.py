"""Whole processes: start-up of the command line, reading a HEF, memory of the demo."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.report import Row

from openhailo import hef
from openhailo.compiler import compile_model
from openhailo.hef.model import Hef
from openhailo.pipeline.fetch import cache_dir
from openhailo.pipeline.models import demo_calibration, demo_model

RUNS = 7


def rows() -> list[Row]:
    """Measure start-up, inspection and memory."""
    return [_startup_row(), _inspect_row(), *_memory_rows()]


def _startup_row() -> Row:
    help_s = _median_process_s([sys.executable, "-m", "openhailo.cli.main", "--help"])
    python_s = _median_process_s([sys.executable, "-c", "import typer"])
    return Row("startup_ms", help_s * 1e3, "ms", "`import typer` alone", help_s / python_s, "< 300")


def _median_process_s(command: list[str]) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _inspect_row() -> Row:
    name = "efficientnet-lite0"
    compiled = compile_model(demo_model(name), name=name, calibration=demo_calibration(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.hef"
        path.write_bytes(compiled.hef_bytes)
        inspect_s = statistics.median(_timed_inspection(path) for _ in range(RUNS))
        read_s = statistics.median(_timed(path.read_bytes) for _ in range(RUNS))
    size = len(compiled.hef_bytes) / 1e6
    return Row("inspect_ms", inspect_s * 1e3, "ms", f"reading the {size:.1f} MB file", inspect_s / read_s, "< 50")


def _timed_inspection(path: Path) -> float:
    return _timed(lambda: _describe(hef.read(path)))


def _describe(parsed: Hef) -> int:
    return sum(len(group.vstreams) + len(group.core_op_for().contexts) for group in parsed.network_groups)


def _timed(work: object) -> float:
    assert callable(work)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _memory_rows() -> list[Row]:
    """Peak memory of the demo: the first time, when it compiles, and with compiled networks at hand."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": str(_cache_without_networks(Path(folder)))}
        command = [sys.executable, "-m", "openhailo.cli.main", "demo", "--output", f"{folder}/demo"]
        first, again = (_peak_mb(command, environment) for _ in range(2))
    baseline = _peak_mb([sys.executable, "-c", "import onnxruntime, cv2"], dict(os.environ))
    against = "importing ONNX Runtime and OpenCV alone"
    return [
        Row("demo_rss_mb", again, "MB", against, again / baseline),
        Row("demo_first_rss_mb", first, "MB", against, first / baseline),
    ]


def _cache_without_networks(folder: Path) -> Path:
    """Return a new cache that has what was downloaded and no compiled network."""
    demo_calibration("yolov3-tiny")
    (folder / "openhailo").mkdir()
    for entry in cache_dir().iterdir():
        if entry.name != "compiled":
            (folder / "openhailo" / entry.name).symlink_to(entry)
    return folder


def _peak_mb(command: list[str], environment: dict[str, str]) -> float:
    """Peak resident memory of ``command``: a fresh interpreter runs it as its only child and reports."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    watched = [sys.executable, "-c", code, *command]
    out = subprocess.run(watched, check=True, capture_output=True, text=True, env=environment).stdout
    return int(out) / 1024
