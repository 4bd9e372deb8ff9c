"""The driver against a chip in another process: registers by socket, memory by memfd, the message by eventfd."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import openhailo
from openhailo.bus.vfio_user import VfioUserFunction
from openhailo.errors import DeviceLost, DeviceNotFound
from openhailo.testing.conformance import load
from openhailo.testing.rig import FunctionRig
from openhailo.twin.firmware.image import build_placeholder_image

CAPABILITIES = frozenset({"link", "pcie", "function", "programs"})
CHECKS = [one for one in load() if not one.missing(CAPABILITIES)]


@pytest.fixture(scope="module")
def served_for_all(tmp_path_factory):
    """A socket that serves many tests: each connection finds the card as after power-on."""
    yield from serve(tmp_path_factory.mktemp("socket"))


@pytest.fixture
def served(tmp_path):
    """A socket, and the process behind it."""
    yield from serve(tmp_path)


def serve(tmp_path):
    """The socket of a twin that `openhailo twin serve` runs, and the process."""
    path = tmp_path / "chip.sock"
    command = [sys.executable, "-m", "openhailo.cli.main", "twin", "serve", "--socket", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("serving hailo8")
        yield path, process
        process.terminate()
        _, complaints = process.communicate(timeout=20)
    assert process.returncode in (0, -9)
    assert "Traceback" not in complaints
    assert not path.exists() or process.returncode


def open_served(path):
    return openhailo.open(f"vfio-user:{path}", firmware=build_placeholder_image())


def run(device, nets, inputs, outputs, count):
    net = nets.single(inputs, outputs)
    rng = np.random.default_rng(count)
    arrays = {name: rng.integers(0, 256, (count, *shape)).astype(np.uint8) for name, shape in inputs.items()}
    want = nets.expected(net.model, arrays)
    with device.load(net.hef) as network:
        got = network({f"{net.name}/{name}": array for name, array in arrays.items()}, raw=True)
    for name in outputs:
        seen = got[f"{net.name}/{name}"]
        np.testing.assert_array_equal(seen, want[name].reshape(seen.shape))


@pytest.mark.parametrize("one", CHECKS, ids=[one.name for one in CHECKS])
def test_conformance(served_for_all, one):
    path, _ = served_for_all
    with FunctionRig(VfioUserFunction(str(path)), firmware=build_placeholder_image()) as rig:
        rig.capabilities = CAPABILITIES
        one.run(rig)


def test_boot_identify_and_frames(served, nets):
    path, _ = served
    with open_served(path) as device:
        assert device.identify().architecture == 1
        run(device, nets, {"x": (28, 28, 1)}, {"y": (1, 1, 10)}, 100)
        run(device, nets, {"a": (4, 4, 2), "b": (1, 1, 9)}, {"y": (2, 2, 3)}, 7)
        run(device, nets, {"x": (416, 416, 3)}, {"y": (13, 13, 255)}, 2)


def test_unplugged_and_plugged_again(served, nets):
    path, _ = served
    for count in (1, 20):
        with open_served(path) as device:
            run(device, nets, {"x": (7, 13, 3)}, {"y": (1, 1, 10)}, count)


def test_a_server_that_dies_is_a_lost_device(served):
    path, process = served
    device = open_served(path)
    process.kill()
    process.wait()
    with pytest.raises(DeviceLost):
        device.identify()
    device.close()


def test_no_server(tmp_path):
    with pytest.raises(DeviceNotFound, match="nobody serves"):
        openhailo.open(f"vfio-user:{tmp_path}/none")
    with pytest.raises(DeviceNotFound, match="a path of a socket"):
        openhailo.open("vfio-user:")
