"""`openhailo benchmark` on virtual devices: every mode, one device or several, for people and for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "compiler"))
from compiler_graphs import small_cnn

from openhailo.cli.main import app
from openhailo.compiler import compile_model


@pytest.fixture(scope="module")
def hef(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("hefs") / "cnn.hef"
    compile_model(small_cnn(), name="cnn", calibration="random:8").save(path)
    return str(path)


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["benchmark", *words, "--device", "twin:", "--seconds", "0.1"])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("mode", ["sync", "async", "streams"])
@pytest.mark.parametrize("devices", [1, 2])
def test_modes(hef: str, mode: str, devices: int) -> None:
    facts = json.loads(run(hef, "--mode", mode, "--devices", str(devices), "--batch", "4", "--json"))
    assert (facts["model"], facts["mode"], facts["batch"]) == ("cnn", mode, 4)
    assert facts["devices"] == ["twin:", "twin: #2"][:devices]
    assert facts["frames"] > 0
    assert np.isclose(facts["fps"], facts["frames"] / facts["seconds"])
    assert 0 < facts["latency_ms"]["p50"] <= facts["latency_ms"]["p99"]
    assert facts["hardware_latency_ms"] >= 0
    assert 0 <= facts["queue"]["mean"] <= facts["queue"]["most"]
    assert len(facts["device_busy_s"]) == devices


def test_several_devices_mean_frames_in_flight(hef: str) -> None:
    text = run(hef, "--devices", "2")
    assert "twin:, twin: #2" in text
    assert "async" in text
    assert "queue mean" in text
