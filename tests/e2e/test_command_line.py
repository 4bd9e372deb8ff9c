"""The command line as users and scripts meet it: output, exit codes, no tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

FAILED, USAGE, NO_DEVICE = 1, 2, 3


def run(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OPENHAILO")}
    return subprocess.run(
        [sys.executable, "-m", "openhailo.cli.main", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean | environment,
        check=False,
    )


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float ONNX model: 8x8x3 picture, one convolution, 4 channels."""
    rng = np.random.default_rng(1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["out"]),
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")],
    )
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def small_hef(small_model: Path) -> Path:
    target = small_model.with_suffix(".hef")
    done = run("compile", small_model, "-o", target, "--calibration", "random:8")
    assert done.returncode == 0, done.stderr
    return target


def test_help_lists_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in (
        "devices",
        "setup",
        "identify",
        "inspect",
        "compile",
        "run",
        "benchmark",
        "sensors",
        "demo",
        "twin",
        "trace",
    ):
        assert command in done.stdout


def test_version() -> None:
    import openhailo

    assert run("--version").stdout == f"openhailo {openhailo.__version__}\n"


def test_identify_a_virtual_hailo8l_as_json() -> None:
    facts = json.loads(run("identify", "--device", "twin:hailo8l", "--json").stdout)
    assert (facts["architecture"], facts["firmware"]) == ("HAILO8L", "4.23.0")


def test_the_environment_names_the_device() -> None:
    facts = json.loads(run("identify", "--json", OPENHAILO_DEVICE="twin:hailo8l").stdout)
    assert facts["device"] == "twin:hailo8l"


def test_devices_and_sensors_as_json() -> None:
    assert any(row["name"] == "twin:" for row in json.loads(run("devices", "--json").stdout))
    sensors = json.loads(run("sensors", "--json").stdout)["sensors"]
    assert -40 < sensors["temperature_c"] < 125


def test_devices_name_the_command_that_comes_next() -> None:
    rows = {row["name"]: row for row in json.loads(run("devices", "--json").stdout)}
    assert rows["twin:"]["usable"]
    words = rows["twin:hailo8l"]["command"].split()
    assert words[0] == "openhailo"
    assert run(*words[1:]).returncode == 0


@pytest.mark.parametrize("way", ["kernel", "vfio"])
def test_setup_on_this_machine_shows_a_plan_or_says_why_not(way: str) -> None:
    done = run("setup", way, "--dry-run")
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert (done.returncode, "openhailo: " in done.stderr) == (FAILED, True)
        return
    assert done.stdout.startswith(f"openhailo setup {way}: a dry run, nothing is changed")
    for name in ("firmware", "group", "udev", "load"):
        assert f"] {name}: " in done.stdout


def test_setup_in_another_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=debian\nVERSION_ID=13\nPRETTY_NAME=Thirteen\n")
    image = tmp_path / "fw.bin"
    run("twin", "firmware", "-o", image)
    words = ("setup", "--root", tmp_path, "--kernel", "6.12.41+deb13-amd64", "--json")
    plan = json.loads(run(*words).stdout)
    assert plan["machine"]["distribution"]["name"] == "Thirteen"
    assert {step["name"]: step["state"] for step in plan["steps"]} == {
        "packages": "to do",
        "driver": "blocked",
        "firmware": "blocked",
        "group": "to do",
        "udev": "to do",
        "options": "skipped",
        "pcie-gen3": "skipped",
        "load": "skipped",
    }
    refused = run(*words, "--firmware", image)
    assert (refused.returncode, "placeholder for the twin" in refused.stderr) == (FAILED, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "fw.bin"]


def test_compile_writes_a_hef_that_inspect_finds_sound(small_hef: Path) -> None:
    done = run("inspect", small_hef, "--check", "--json")
    assert done.returncode == 0, done.stdout
    facts = json.loads(done.stdout)
    assert facts["file"]["chip"] == "HAILO8P"
    assert {row["shape"] for row in facts["streams"]} == {"8x8x3", "8x8x4"}
    assert not [f for f in facts.get("findings", []) if f["severity"] == "error"]


def test_compile_for_hailo8l_and_run_there(small_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "small8l.hef"
    assert run("compile", small_model, "-o", target, "--calibration", "random:8", "--arch", "hailo8l").returncode == 0
    np.save(tmp_path / "x.npy", np.zeros((8, 8, 3), np.uint8))
    done = run("run", target, tmp_path / "x.npy", "--device", "twin:hailo8l")
    assert done.returncode == 0, done.stderr


def test_run_writes_one_json_line_per_array_and_saves_outputs(small_hef: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.full((8, 8, 3), 7, np.uint8))
    done = run("run", small_hef, tmp_path / "a.npy", tmp_path / "b.npy", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(record["input"]).stem for record in records] == ["a", "b"]
    (output,) = records[0]["outputs"].values()
    assert output["shape"] == [8, 8, 4]
    assert np.load(output["file"]).dtype == np.float32


def test_run_raw_gives_integers(small_hef: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((8, 8, 3), 7, np.uint8))
    (record,) = map(json.loads, run("run", small_hef, tmp_path / "a.npy", "--raw").stdout.splitlines())
    assert {output["type"] for output in record["outputs"].values()} == {"uint8"}


def test_benchmark_as_json(small_hef: Path) -> None:
    facts = json.loads(run("benchmark", small_hef, "--seconds", "0.2", "--json").stdout)
    assert facts["fps"] > 0
    assert facts["latency_ms"]["p50"] <= facts["latency_ms"]["p99"]
    stages = {"input transformation", "launch", "device", "output transformation", "rest"}
    assert facts["single_us"].keys() == facts["batch_us"].keys() == stages
    assert all(value > 0 for value in (*facts["single_us"].values(), *facts["batch_us"].values()))
    assert 0 < facts["interrupts_per_frame"] <= 2


def test_trace_records_and_prints(small_hef: Path, tmp_path: Path) -> None:
    recording = tmp_path / "t.jsonl"
    assert run("trace", small_hef, "-o", recording).returncode == 0
    text = run("trace", recording).stdout
    assert "IDENTIFY" in text
    assert "ISTATUS_HOST" in text
    only = run("trace", recording, "--kind", "control").stdout
    assert only
    assert all("control" in line for line in only.splitlines())


def test_twin_firmware_writes_an_image_that_inspect_reads(tmp_path: Path) -> None:
    image = tmp_path / "hailo8_fw.bin"
    assert run("twin", "firmware", "-o", image, "--version", "4.20.1").returncode == 0
    assert json.loads(run("inspect", image, "--json").stdout)["file"]["version"].startswith("4.20.1")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("inspect", "missing.hef"), FAILED, "no such file"),
        (("run", "missing.hef", "x.png"), FAILED, "no demo model"),
        (("compile", "missing.onnx"), FAILED, "no such file"),
        (("identify", "--device", "pci:0000:ff:1f.7"), NO_DEVICE, "openhailo:"),
        (("identify", "--device", "nonsense"), NO_DEVICE, "scheme:target"),
        (("twin", "firmware", "-o", "x.bin", "--version", "latest"), FAILED, "4.23.0"),
        (("frobnicate",), USAGE, ""),
        (("run",), USAGE, ""),
    ],
)
def test_errors_are_one_line_and_an_exit_code(words: tuple[str, ...], code: int, says: str, tmp_path: Path) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_damaged_hef_is_named_as_such(small_hef: Path, tmp_path: Path) -> None:
    data = bytearray(small_hef.read_bytes())
    data[-1] ^= 1
    broken = tmp_path / "broken.hef"
    broken.write_bytes(data)
    done = run("inspect", broken)
    assert done.returncode == FAILED
    assert "damaged file" in done.stderr


def test_a_frame_of_the_wrong_shape_says_which_is_needed(small_hef: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.zeros((5, 5, 3), np.uint8))
    done = run("run", small_hef, tmp_path / "bad.npy")
    assert done.returncode == FAILED
    assert "(8, 8, 3)" in done.stderr


def test_a_missing_optional_package_is_named_with_its_extra(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx.py").write_text("raise ModuleNotFoundError('No module named onnx', name='onnx')\n")
    done = run("compile", small_model, "--calibration", "random:8", PYTHONPATH=str(tmp_path))
    assert done.returncode == FAILED
    assert "openhailo[compiler]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recording_as_json_lines(small_hef: Path, tmp_path: Path) -> None:
    recording = tmp_path / "t.jsonl"
    run("trace", small_hef, "-o", recording)
    records = [json.loads(line) for line in run("trace", recording, "--json", "--kind", "launch").stdout.splitlines()]
    assert {record["k"] for record in records} == {"launch"}
