"""`openhailo feagi`: every command, on the twin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from openhailo.cli.main import app
from openhailo.errors import InputError


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["feagi", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("place", [["--device", "twin:"], ["--engine"]])
def test_run(place: list[str]) -> None:
    result = call("run", "steady:2000:5", "--bursts", "300", "--fire", "0.02", "--json", *place)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["accelerator"] == ("CPU" if place == ["--engine"] else "Hailo-8")
    assert (found["neurons"], found["synapses"], found["bursts"], found["fired_per_burst"]) == (2000, 10_000, 300, 40)


def test_run_at_a_rate() -> None:
    found = json.loads(call("run", "steady:100:2", "--rate", "2000", "-n", "20", "--engine", "--json").stdout)
    assert 0 < found["bursts"] <= 20
    assert found["missed_deadlines"] >= 0


def test_bench_and_inspect() -> None:
    found = json.loads(call("bench", "steady:1000:2", "-n", "5", "--device", "twin:", "--json").stdout)
    assert found["fired_last"] == 15
    assert found["ratio"] > 0
    found = json.loads(call("inspect", "steady:1000:2", "--json").stdout)
    assert (found["bytes_per_neuron"], found["synapse_bytes_in_host_memory"]) == (2, 0)
    assert "bytes fit beside" in call("inspect", "random:4000000:0", "--json").stdout


def test_convert(tmp_path: Path) -> None:
    archive, document, hef = (tmp_path / f"n.{suffix}" for suffix in ("npz", "json", "hef"))
    for source, target in (("random:60:3", archive), (str(archive), document), (str(document), hef)):
        assert call("convert", source, str(target)).exit_code == 0
    assert json.loads(document.read_bytes())["synapses"]["count"] == 180
    assert hef.stat().st_size > 1000
    with pytest.raises(InputError):
        call("convert", "random:60:3", str(tmp_path / "n.txt"))


def test_export(tmp_path: Path) -> None:
    areas = [{"name": "eye", "shape": [1, 4, 4], "takes_input": True}, {"name": "out", "shape": [1, 4, 4]}]
    way = {"source": "eye", "target": "out", "kernel": [[[[1, 2, 1]] * 3]]}
    (tmp_path / "areas.json").write_text(json.dumps({"areas": areas, "projections": [way]}))
    result = call("export", str(tmp_path / "areas.json"), str(tmp_path / "step.onnx"))
    assert "32 neurons, 16 inputs" in result.stdout
    assert (tmp_path / "step.onnx").stat().st_size > 100


def test_raster(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert call("raster", "steady:200:2", str(tmp_path / "r.png"), "--engine", "-n", "40").exit_code == 0
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="100000"):
        call("raster", "steady:200:2", str(tmp_path / "r.png"), "-n", "200000")


def test_files_that_are_not_there() -> None:
    with pytest.raises(InputError):
        call("run", "nothing.json")
    with pytest.raises(InputError, match="no recipe"):
        call("run", "what:5")
