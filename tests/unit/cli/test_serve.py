"""`openhailo twin serve`: its options, and a process of it driven by our own driver."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys

import pytest

import openhailo
from openhailo.bus.trace import load_trace
from openhailo.cli._serve import Plan, parse_timing, serve
from openhailo.errors import ControlFailed, InputError
from openhailo.twin.firmware.image import build_placeholder_image


@pytest.mark.parametrize(
    ("text", "frame_ns"),
    [
        ("host", 0),
        ("500fps", 2_000_000),
        ("2ms", 2_000_000),
        ("0.25ms", 250_000),
        ("17ns", 17),
        ("1.5s", 1_500_000_000),
    ],
)
def test_model_timing(text, frame_ns):
    assert parse_timing(text) == frame_ns


@pytest.mark.parametrize(
    "text", ["", "fast", "0fps", "0ms", "-1ms", "2", "1e9fps", "9999999s", "4000000000fps", "nans"]
)
def test_bad_model_timing(text):
    with pytest.raises(InputError, match="model timing"):
        parse_timing(text)


def test_hef_and_reference_belong_together(tmp_path):
    for one in ({"network": tmp_path / "a.hef"}, {"reference": tmp_path / "a.onnx"}):
        with pytest.raises(InputError, match="belong together"):
            serve(Plan("hailo8", [tmp_path / "s"], **one))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "text", ["[", "[1]", '{"nothing": 1}', '{"drop_answers": "x"}', '{"link_down": 1}', "[" * 20000]
)
def test_bad_faults(tmp_path, text):
    (tmp_path / "faults").write_text(text)
    with pytest.raises(InputError):
        serve(Plan("hailo8", [tmp_path / "s"], faults=tmp_path / "faults"))
    assert not (tmp_path / "s").exists()


def test_bad_descriptors(tmp_path):
    with (tmp_path / "file").open("w") as file, pytest.raises(InputError, match="is no socket"):
        serve(Plan("hailo8", fd=file.fileno()))
    with pytest.raises(InputError, match="not open"):
        serve(Plan("hailo8", fd=1_000_000))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "listening"))
        listening.listen()
        with pytest.raises(InputError, match="no connected"):
            serve(Plan("hailo8", fd=listening.fileno()))


class Process:
    """A process of `openhailo twin serve`."""

    def __init__(self, *options, **more):
        command = [sys.executable, "-m", "openhailo.cli.main", "twin", "serve", *map(str, options)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)

    def line(self):
        return self.child.stdout.readline()

    def end(self):
        self.child.terminate()
        text, _ = self.child.communicate(timeout=20)
        return self.child.returncode, text


@pytest.fixture
def run():
    made = []

    def start(*options, **more):
        made.append(Process(*options, **more))
        return made[-1]

    yield start
    for process in made:
        if process.child.poll() is None:
            process.child.kill()
        process.child.communicate()


def test_two_sockets_log_and_end(run, tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    log = tmp_path / "log.jsonl"
    process = run("--socket", paths[0], "--socket", paths[1], "--arch", "hailo8l", "--firmware", "4.20.0", "--log", log)
    for path in paths:
        assert str(path) in process.line()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in paths:
        with openhailo.open(f"vfio-user:{path}", firmware=build_placeholder_image()) as device:
            identity = device.identify()
            assert identity.architecture == 2
            assert (identity.version.minor, identity.version.revision) == (20, 0)
    code, _ = process.end()
    assert code == 0
    assert not any(path.exists() for path in paths)
    records = load_trace(log)
    assert {record["device"] for record in records} == {"a", "b"}
    summary = next(record for record in records if record["k"] == "summary")
    assert summary["counts"]["control"] == sum(r["k"] == "control" and r["device"] == "a" for r in records) > 0
    assert [record["name"] for record in records if record["k"] == "control"].count("IDENTIFY") >= 2


def test_faults_are_read_again(run, tmp_path):
    faults = tmp_path / "faults.json"
    faults.write_text("{}")
    process = run("--socket", tmp_path / "a", "--faults", faults)
    process.line()
    with openhailo.open(f"vfio-user:{tmp_path / 'a'}", firmware=build_placeholder_image()) as device:
        device.identify()
        faults.write_text('{"control_status": {"0": [33, 0]}}')
        process.child.send_signal(signal.SIGHUP)
        assert process.line().startswith("faults read")
        with pytest.raises(ControlFailed):
            device.firmware.identify()
        faults.write_text("nonsense")
        process.child.send_signal(signal.SIGHUP)
        assert process.line().startswith("faults unchanged")
        faults.write_text("")
        process.child.send_signal(signal.SIGHUP)
        assert process.line().startswith("faults read")
        device.firmware.identify()
    assert process.end()[0] == 0


def test_an_inherited_socket(run):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = run("--fd", theirs.fileno(), pass_fds=[theirs.fileno()])
        theirs.close()
        ours.sendall(bytes(16))
        ours.settimeout(20)
        assert ours.recv(100) == b""
        assert process.child.wait(20) == 0


def test_nowhere_to_serve(run):
    process = run()
    text, _ = process.child.communicate(timeout=20)
    assert process.child.returncode != 0
    assert "--socket or --fd" in text
    assert "Traceback" not in text
