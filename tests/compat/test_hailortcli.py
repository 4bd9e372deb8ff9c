"""The lines that scripts parse, and the exit codes that they look at (runtime-behaviour.md 24, 25)."""

from __future__ import annotations

import csv
import json
import os
import re
import struct
import time

import numpy as np
import pytest

from hailo_platform import HEF, InferVStreams, InputVStreamParams, OutputVStreamParams, VDevice
from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort._pyhailort import _monitor as writer
from hailo_platform.tools.hailortcli import _monitor, _user_config
from hailo_platform.tools.hailortcli.main import main
from openhailo.errors import DoesNotFit
from openhailo.runtime.hw_only import CoreSpeed
from openhailo.runtime.network import Network

SCAN = ["ffff:01:00.0"]


@pytest.fixture
def cli(capsys):
    def run(*words, code=0):
        assert main(list(words)) == code
        return capsys.readouterr().out

    return run


def recorded_output(shared_dir, name):
    """Return what the original printed."""
    text = (shared_dir / f"traces/device/{name}.jsonl").read_text(encoding="utf-8")
    return json.loads(text.partition("\n")[0])["stdout"]


def test_scan(cli, monkeypatch):
    assert cli("scan") == "Hailo Devices:\n[-] Device: ffff:01:00.0\n"
    assert cli("scan", "--interface", "eth0", code=79) == ""
    monkeypatch.setattr("hailo_platform.pyhailort.pyhailort.Device.scan", classmethod(lambda cls: []))
    assert cli("scan") == "Hailo devices not found\n"


@pytest.mark.facts
def test_identify_as_recorded(cli, shared_dir):
    """The same lines as the original, but for the board's own texts and the log lines around them."""
    for name, words in (("identify", []), ("identify_extended", ["--extended"])):
        recorded = recorded_output(shared_dir, name)
        recorded = recorded.replace("\0", " ")  # the original pads with NUL bytes, which make `grep` give up
        said = cli("fw-control", "identify", *words)
        for text in ("0000:01:00.0", "ffff:01:00.0"):
            recorded, said = recorded.replace(text, "ID"), said.replace(text, "ID")
        own = r"(Serial Number|Part Number|Product Name): .*"
        assert re.sub(own, r"\1", said).rstrip() == re.sub(own, r"\1", recorded).rstrip()


def test_identify_for_scripts(cli, monkeypatch):
    (line,) = [line for line in cli("fw-control", "identify").splitlines() if "Device Architecture:" in line]
    assert line.split(":")[-1].strip() == "HAILO8"
    monkeypatch.setenv("OPENHAILO_DEVICE", "twin:hailo8l")
    assert "Device Architecture: HAILO8L\n" in cli("fw-control", "identify", "-s", "*")


def test_failures_are_status_numbers(cli):
    said = cli("fw-control", "identify", "--device-id", "0000:05:00.0", code=2)
    assert said.splitlines()[-1] == "Failed to execute on device: 0000:05:00.0. status= HAILO_INVALID_ARGUMENT(2)"
    cli("run", "missing.hef", code=13)
    assert main([]) == 106
    for words in (["nothing"], ["run"], ["run2", "-t", "1"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 105
    cli("udp-rate-limiter", "reset", code=79)
    with pytest.raises(SystemExit):
        main(["--version"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("run2 -m raw_sync measure-fw-actions", "openhailo actions"),
        ("run some.hef collect-runtime-data", "openhailo actions"),
        ("fw-control action-list", "openhailo actions"),
        ("run some.hef measure-stats", "--mode streams"),
        ("run some.hef --net-batch-size a/b=1", "--batch-size N"),
        ("measure-nnc-performance some.hef", "--hw-only"),
        ("sensor-config store_isp_config a b", "no image signal processor"),
        ("run some.hef --nothing", "unrecognized arguments: --nothing"),
    ],
)
def test_what_is_not_there_names_what_to_use(capsys, words, hint):
    with pytest.raises(SystemExit) as caught:
        main(words.split())
    assert caught.value.code == 105
    assert hint in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("words", ["fw-config write", "fw-update", "board-config write"])
def test_files_that_are_missing(capsys, words):
    assert main([*words.split(), "missing.bin"]) == 13
    said = capsys.readouterr()
    assert said.out.endswith(f"Failed to execute on device: {SCAN[0]}. status= HAILO_OPEN_FILE_FAILURE(13)\n")
    assert "missing.bin" in said.err and "Traceback" not in said.err


def test_controls(cli, tmp_path):
    assert cli("fw-control", "reset", "--reset-type", "nn_core").endswith("Board has been reset successfully\n")
    assert cli("fw-control", "test-memories").endswith("Memory test has completed successfully\n")
    cli("fw-logger", str(tmp_path / "log.bin"), "--overwrite")
    assert (tmp_path / "log.bin").is_file()
    cli("board-config", "read", str(tmp_path / "board.bin"))
    assert len((tmp_path / "board.bin").read_bytes()) == 500
    cli("board-config", "write", str(tmp_path / "board.bin"))
    cli("fw-config", "read", code=18)
    cli("ssb-update", str(tmp_path / "board.bin"))


@pytest.mark.facts
def test_user_configuration_as_recorded(cli, tmp_path, shared_dir):
    recorded = recorded_output(shared_dir, "fw_config_read").replace("0000:01:00.0", SCAN[0])
    blob = bytes.fromhex("0ba4f61f000000000100000001000600040000000084d717")  # what was read there
    (tmp_path / "blob").write_bytes(blob)
    (tmp_path / "clock.json").write_text(recorded.partition("\n")[2])
    cli("fw-config", "serialize", str(tmp_path / "clock.json"), str(tmp_path / "made"))
    assert (tmp_path / "made").read_bytes() == blob
    for source in ("blob", "clock.json"):
        with VDevice():  # keeps the board, which forgets when nobody has it
            cli("fw-config", "write", str(tmp_path / source))
            assert cli("fw-config", "read").rstrip() == recorded.rstrip()
            cli("fw-config", "read", "--output-file", str(tmp_path / "read.json"))
        assert (tmp_path / "read.json").read_text() == (tmp_path / "clock.json").read_text() + "\n"


def test_user_configuration_of_every_kind(cli, tmp_path):
    settings = {
        "network": {"mac_address": {"value": "80:00:de:ad:be:ef"}, "static_ip_address": {"value": "10.0.0.1"}},
        "system": {
            "name": {"value": "board"},
            "app_watchdog_enable": {"value": True},
            "watchdog_mode": {"value": "HW_ONLY"},
            "temperature_red_threshold": {"value": 120},
        },
    }
    (tmp_path / "in.json").write_text(json.dumps(settings))
    with VDevice():
        cli("fw-config", "write", str(tmp_path / "in.json"))
        said = cli("fw-config", "read")
    assert json.loads(said.partition("\n")[2]) == settings


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        '{"system": {"none": {"value": 1}}}',
        '{"system": {"watchdog_mode": {"value": "OFTEN"}}}',
        '{"system": {"watchdog_mode": {"value": 256}}}',
        '{"system": {"watchdog_mode": {}}}',
        '{"network": {"mac_address": {"value": "00"}}}',
    ],
)
def test_user_configuration_that_is_wrong(cli, tmp_path, text):
    (tmp_path / "in.json").write_text(text)
    cli("fw-config", "serialize", str(tmp_path / "in.json"), str(tmp_path / "out"), code=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "blob", ["", "00" * 12, "0ba4f61f0000000001000000", "0ba4f61f000000000100000009000900010000007f"]
)
def test_user_configuration_that_is_not_known(blob):
    with pytest.raises(bound.HailoRTStatusException) as caught:
        _user_config.to_json(bytes.fromhex(blob))
    assert str(caught.value) == "2"


def test_power(cli):
    assert re.search(r"^Current power consumption \(W\): \d\.\d+$", cli("measure-power"), re.MULTILINE)
    said = cli("measure-power", "--duration", "0", "--type", "CURRENT", "--dvm", "VDD_CORE").splitlines()
    labels = [line.partition(":")[0] for line in said[1:]]
    assert labels == [
        "Measuring power consumption over 0 seconds",
        "Total samples",
        "Max value (mA)",
        "Min value (mA)",
        "Average value (mA)",
        "Average time per sample (ms)",
    ]


@pytest.mark.facts
def test_sensors(cli, tmp_path, shared_dir):
    recorded = recorded_output(shared_dir, "sensor_sections_info").replace("0000:01:00.0", SCAN[0])
    assert cli("sensor-config", "get-sections-info").rstrip() == recorded.rstrip()
    lines = tmp_path / "sensor.csv"
    lines.write_text("0,2,0xFF,0x3000,0xFFFF,0x12\n")
    cli("sensor-config", "store-sensor-config", "1", str(lines), "SENSOR_GENERIC", "--config-name", "mine")
    cli("sensor-config", "set_generic_slave", "54", "2", "1")


@pytest.mark.facts
def test_sensor_settings_come_back(cli, tmp_path, shared_dir):
    read = tmp_path / "read.csv"
    said = cli("sensor-config", "get-config", "0", str(read), code=61).splitlines()
    recorded = [line for line in recorded_output(shared_dir, "sensor_get_config").splitlines() if "[error]" not in line]
    assert [line.replace(SCAN[0], "0000:01:00.0") for line in said] == recorded
    lines = "0,2,0xFF,0x3000,0xFFFF,0x12\n1,4,0x03,0x4,0xFFFFFFFF,0x0\n"
    (tmp_path / "sensor.csv").write_text(lines)
    with VDevice():  # keeps the board, which forgets when nobody has it
        cli("sensor-config", "store-sensor-config", "1", str(tmp_path / "sensor.csv"), "SENSOR_GENERIC")
        cli("sensor-config", "get-config", "1", str(read))
    assert read.read_text() == lines


@pytest.mark.facts
@pytest.mark.parametrize("name", ["arcface_mobilefacenet_h8_v2", "mnist_cnn_28x28_h8_dfc3.27_v0"])
def test_parse_hef_as_recorded(cli, shared_dir, name):
    recorded = json.loads((shared_dir / f"traces/{name}/parse_hef.json").read_text(encoding="utf-8"))
    path = str(shared_dir / f"hefs/{name}.hef")
    assert cli("parse-hef", path).rstrip() == recorded["parse_hef"]["stdout"].rstrip()
    said = cli("parse-hef", path, "--parse-streams", "--parse-vstreams")
    assert said.rstrip() == recorded["parse_hef_streams"]["stdout"].rstrip()


def test_parse_hef_of_boxes(cli, models):
    said = cli("parse-hef", models.boxes)
    assert (
        "HAILO NMS BY CLASS(number of classes: 3, maximum bounding boxes per class: 6, maximum frame size: 372)" in said
    )
    assert "Score threshold: 0.400" in said and "IoU threshold: 0.50" in said
    assert cli("parse-hef", str(models.folder)).count("*" * 80) == 5


def test_run(cli, models, tmp_path):
    table = tmp_path / "run.csv"
    said = cli("run", models.first, "-c", "20", "--measure-power", "--measure-temp", "--csv", str(table)).splitlines()
    assert said[:4] == [
        f"Running streaming inference ({models.first}):",
        "  Transform data: true",
        "    Type:      auto",
        "    Quantized: true",
    ]
    assert said[4:6] == ["> Inference result:", " Network group: first"]
    assert re.fullmatch(r"    FPS: \d+\.\d\d", said[7])
    assert re.fullmatch(r"    Send Rate: \d+\.\d\d Mbit/s", said[8])
    assert "  Device: ffff:01:00.0" in said
    assert any(re.fullmatch(r"    Average power consumption: [\d.]+ W", line) for line in said)
    assert any(re.fullmatch(r"    Maximum chip temperature: [\d.]+C", line) for line in said)
    (row,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    assert (row["net_name"], row["num_of_frames"], row["status"]) == ("first", "20", "0")
    assert float(row["average_power"]) > 0 and row["hw_latency"] == ""


def test_run_with_latency_and_files(cli, models, tmp_path):
    frames = tmp_path / "frames.bin"
    frames.write_bytes(bytes(range(256)))
    options = ["--measure-latency", "--measure-overall-latency", "--input-files", str(frames)]
    said = cli("run", models.first, "-c", "2", *options)
    found = re.search(r"^    HW Latency: (\d+\.\d\d) ms\n    Overall Latency: (\d+\.\d\d) ms$", said, re.MULTILINE)
    assert 0 <= float(found[1]) <= float(found[2])  # a virtual chip may need no time of the host's clock
    assert "Transform data: false" in cli("run", models.first, "-c", "2", "-m", "hw_only", "--batch-size", "2")


def test_run2(cli, models, tmp_path):
    report = tmp_path / "run2.json"
    nets = ["set-net", models.first, "--scheduler-priority", "20", "set-vstream", "first/picture", "--type", "float32"]
    said = cli("run2", "-t", "0.2", "-j", str(report), *nets, "set-net", models.second, "--framerate", "50")
    assert re.search(r"^first: fps: \d+\.\d\d$", said, re.MULTILINE)
    assert re.search(r"^second: fps: \d+\.\d\d$", said, re.MULTILINE)
    document = json.loads(report.read_text(encoding="utf-8"))
    assert [group["name"] for group in document["network_groups"]] == ["first", "second"]
    assert document["time_to_run"] == "0.20 seconds" and document["devices"] == [{"device_id": SCAN[0]}]
    said = cli("run2", "-t", "0.1", "--measure-overall-latency", "--measure-temp", "set-net", models.first)
    assert "first: overall latency:" in said and "temperature: min:" in said
    cli("run2", "--scheduling-algorithm", "none", "set-net", models.first, "set-net", models.second, code=6)


def test_benchmark(cli, models, tmp_path):
    table = tmp_path / "benchmark.csv"
    said = cli("benchmark", models.first, "-t", "0.1", "--csv", str(table))
    for line in (
        r"Starting Measurements\.\.\.",
        r"FPS     \(hw_only\)                 = [\d.]+",
        r"        \(streaming\)               = [\d.]+",
        r"Latency \(hw\)                      = [\d.]+ ms",
        r"  Power in streaming mode \(average\) = [\d.]+ W",
    ):
        assert re.search(f"^{line}$", said, re.MULTILINE), line
    (row,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    assert float(row["fps"]) > 0 and float(row["hw_only_fps"]) > 0


def test_benchmark_has_the_chip_measure_itself(cli, models, tmp_path, monkeypatch):
    monkeypatch.setattr(Network, "measure_core", lambda self: CoreSpeed(frames=50, batch_size=1, cycles=5_000_000))
    table = tmp_path / "benchmark.csv"
    said = cli("benchmark", models.first, "-t", "0", "--csv", str(table))
    assert "FPS     (hw_only)                 = 2000\n" in said  # 50 frames in 25 ms
    (row,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    assert (row["hw_only_fps"], row["num_of_frames_hw_only"]) == ("2000.0", "50")


def test_benchmark_sends_frames_where_the_chip_cannot(models, tmp_path, monkeypatch, capsys):
    def refuse(self):
        raise DoesNotFit(resource="frames in the rings", need=2, have=1)

    monkeypatch.setattr(Network, "measure_core", refuse)
    table = tmp_path / "benchmark.csv"
    assert main(["benchmark", models.first, "-t", "0.1", "--csv", str(table)]) == 0
    assert "the host sends frames: " in capsys.readouterr().err
    (row,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    assert int(row["num_of_frames_hw_only"]) > 0 and float(row["hw_only_fps"]) > 0


# --- monitor ----------------------------------------------------------------------------------------------------------


def field(number, value):
    if isinstance(value, float):
        return bytes([number << 3 | 1]) + struct.pack("<d", value)
    if isinstance(value, int):
        varint, value = b"", value & (1 << 64) - 1
        while value > 0x7F:
            varint, value = varint + bytes([value & 0x7F | 0x80]), value >> 7
        return bytes([number << 3]) + varint + bytes([value])
    return bytes([number << 3 | 2, len(value)]) + value


def message():
    network = field(1, b"yolov8") + field(2, 30.25) + field(3, 55.55)
    device = field(1, b"0000:01:00.0") + field(2, 60.0) + field(3, b"HAILO8")
    stream = field(1, b"yolov8/in") + field(2, 1) + field(3, 32) + field(5, -1) + field(6, 7) + field(7, -1.0)
    frames = field(1, b"yolov8") + field(2, stream)
    return field(1, b"4321") + field(2, network) + field(3, frames) + field(4, device)


def test_monitor(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(_monitor, "FOLDER", tmp_path)
    assert "HAILO_MONITOR" in cli("monitor", "--once")
    (tmp_path / "4321abcdef").write_bytes(message())
    (tmp_path / "4322abcdef").write_bytes(b"\xff\xff")
    (tmp_path / "4323abcdef.tmp").write_bytes(message())
    lines = cli("monitor", "--once").splitlines()
    assert lines[0].split() == ["Device", "ID", "Utilization", "(%)", "Architecture"] and lines[1] == "-" * 160
    assert lines[2].split() == ["0000:01:00.0", "60.0", "HAILO8"]
    assert lines[6].split() == ["yolov8", "55.5", "30.2", "4321"] or lines[6].split()[3] == "4321"
    assert lines[11].split() == ["yolov8", "yolov8/in", "D2H", "NaN", "7", "-1", "32"]
    monkeypatch.setattr(_monitor.time, "time", lambda: time.monotonic() + 1e12)
    assert "HAILO_MONITOR" in cli("monitor", "--once")


def test_programs_tell_the_monitor(cli, models, tmp_path, monkeypatch):
    monkeypatch.setattr(_monitor, "FOLDER", tmp_path / "hmon")
    monkeypatch.setattr(writer, "FOLDER", tmp_path / "hmon")
    monkeypatch.setattr(writer, "UTILIZATION_FOLDER", tmp_path / "nnc")
    monkeypatch.setenv("HAILO_MONITOR", "1")
    monkeypatch.setenv("HAILO_MONITOR_TIME_INTERVAL", "3600000")
    with VDevice() as vdevice:
        network = vdevice.configure(HEF(models.first))[0]
        ins, outs = InputVStreamParams.make(network), OutputVStreamParams.make(network)
        with network.activate(), InferVStreams(network, ins, outs) as pipeline:
            pipeline.infer(np.zeros((20, 8, 8, 1), np.uint8))
        (monitor,) = writer._monitored
        monitor.write()
        lines = cli("monitor", "--once").splitlines()
        assert lines[2].split()[::2] == [SCAN[0], "HAILO8"]
        name, _, fps, pid = lines[6].split()
        assert (name, pid) == ("first", str(os.getpid())) and float(fps) > 0
        assert [line.split()[1:3] for line in lines[11:14]] == [
            ["first/picture", "H2D"],
            ["first/edges", "D2H"],
            ["first/halves", "D2H"],
        ]
        (share,) = (tmp_path / "nnc").iterdir()
        assert 0 < float(share.read_text()) <= 100
    assert not writer._monitored and not list((tmp_path / "hmon").iterdir()) and not list((tmp_path / "nnc").iterdir())
