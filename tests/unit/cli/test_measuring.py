"""`openhailo actions` and `openhailo benchmark --hw-only`, on the twin."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "compiler"))
from compiler_graphs import small_cnn, two_heads

from openhailo.cli.main import app
from openhailo.compiler import compile_model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    folder = tmp_path_factory.mktemp("hefs")
    made = {}
    for contexts in (1, 3):
        compiled = compile_model(small_cnn(), name="cnn", calibration="random:8", contexts=contexts)
        compiled.save(folder / f"{contexts}.hef")
        made[contexts] = str(folder / f"{contexts}.hef")
    return made


def run(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--device", "twin:"])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("contexts", [1, 3])
def test_actions(files: dict[int, str], contexts: int) -> None:
    lists = json.loads(run("actions", files[contexts], "--json", "--batch", "2"))
    names = [entry["context"] for entry in lists]
    assert [name for name in names if name.startswith("dynamic")] == [f"dynamic_{i}" for i in range(contexts)]
    for entry in lists:
        assert entry["bytes"] > 0
        times = [action["time"] for action in entry["actions"]]
        if entry["context"].startswith("dynamic") and contexts > 1:
            assert None not in times
            assert times == sorted(times)
    untimed = json.loads(run("actions", files[contexts], "--json", "--untimed"))
    assert {action["time"] for entry in untimed for action in entry["actions"]} == {None}
    text = run("actions", files[contexts])
    assert "ACTIVATE_BOUNDARY_INPUT" in text
    assert "batch_switching" in text


@pytest.mark.parametrize("contexts", [1, 3])
def test_hardware_only(files: dict[int, str], contexts: int) -> None:
    facts = json.loads(run("benchmark", files[contexts], "--hw-only", "--json"))
    assert facts["frames"] > 0
    assert np.isclose(facts["fps"], facts["frames"] / facts["seconds"])
    assert "hardware only" in run("benchmark", files[contexts], "--hw-only")


def test_contexts_on_the_command_line(tmp_path: Path) -> None:
    import onnx

    onnx.save(two_heads(), tmp_path / "cnn.onnx")
    words = ["--calibration", "random:4", "--contexts", "2", "--ddr-above", "200", "--json"]
    result = CliRunner().invoke(app, ["compile", str(tmp_path / "cnn.onnx"), *words])
    assert result.exit_code == 0, result.output
    contexts = json.loads(result.stdout)["report"]["contexts"]
    assert len(contexts) == 2
    assert any(context["buffers"] for context in contexts)
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "cnn.hef"), "--check", "--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)["contexts"]
    assert [row["context"] for row in rows] == [0, 1]
    assert rows[0]["to contexts"] == rows[1]["from contexts"] != "0 B"
    assert any(row["buffered"] != "0 B" for row in rows)
