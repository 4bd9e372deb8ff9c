"""Which device is opened, and what the package shows of itself."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

import openhailo
from openhailo.bus import registry, sysfs
from openhailo.bus.registry import Endpoint
from openhailo.errors import BootFailed, DeviceNotFound, InputError
from openhailo.runtime import open as opening


@pytest.fixture
def no_hardware(monkeypatch):
    monkeypatch.setattr(sysfs, "list_functions", list)
    monkeypatch.setattr(opening, "list_nodes", list)
    monkeypatch.delenv(opening.DEVICE_VARIABLE, raising=False)


def test_without_hardware_the_twin_is_opened(no_hardware):
    assert opening.default_name() == "twin:"
    with openhailo.open() as device:
        assert device.name == "twin:"
        assert device.identify().product_name


def test_a_real_device_comes_first_where_a_backend_can_open_it(no_hardware, monkeypatch):
    found = [sysfs.PciFunctionInfo("0001:01:00.0", 0x1E60, 0x2864, driver="hailo")]
    monkeypatch.setattr(sysfs, "list_functions", lambda: found)
    monkeypatch.setattr(registry, "schemes", lambda: ["twin"])
    assert opening.default_name() == "twin:"
    monkeypatch.setattr(registry, "schemes", lambda: ["pci", "twin"])
    assert opening.default_name() == "pci:0001:01:00.0"
    assert opening.list_devices()[0].note == "bound to the kernel driver hailo"


def test_a_node_of_the_kernel_driver_comes_before_the_function_under_it(no_hardware, monkeypatch):
    monkeypatch.setattr(opening, "list_nodes", lambda: ["/dev/hailo0", "/dev/hailo1"])
    assert opening.default_name() == "kernel:/dev/hailo0"
    assert [candidate.name for candidate in opening.list_devices()][-1] == "twin:"


def test_the_environment_overrides(no_hardware, monkeypatch):
    monkeypatch.setenv(opening.DEVICE_VARIABLE, "twin:hailo8l")
    with openhailo.open() as device:
        assert device.name == "twin:hailo8l"
        assert device.identify().architecture == 2


@pytest.mark.parametrize("names", ["twin:,twin:hailo8l", "twin:hailo8, twin:"])
def test_several_names_are_for_a_virtual_device(no_hardware, monkeypatch, names):
    monkeypatch.setenv(opening.DEVICE_VARIABLE, names)
    with pytest.raises(InputError, match=r"2 devices and only one .*openhailo\.open_virtual_device\(\['twin:"):
        openhailo.open()
    with pytest.raises(InputError, match="open_virtual_device"):
        openhailo.open(names)


def test_unknown_names_say_what_there_is(no_hardware, monkeypatch):
    with pytest.raises(DeviceNotFound, match="twin:"):
        openhailo.open("warp:1")
    with pytest.raises(DeviceNotFound, match="hailo8l"):
        openhailo.open("twin:hailo99")
    with pytest.raises(InputError, match="speed"):
        openhailo.open("twin:", speed=9)
    monkeypatch.setattr(registry, "schemes", list)
    with pytest.raises(DeviceNotFound, match="no twin"):
        opening.default_name()


def test_a_backend_that_brings_its_own_link_is_used_as_it_is(monkeypatch):
    from openhailo.driver.pcie_link import PcieLink
    from openhailo.twin import Twin

    link = PcieLink(Twin(booted=True).function())
    monkeypatch.setattr(registry, "open_endpoint", lambda name: Endpoint(link=link))
    with openhailo.open("any:") as device:
        assert device.link is link


def test_a_chip_that_does_not_boot_is_an_error_and_is_released(no_hardware):
    from openhailo.twin import Twin
    from openhailo.twin.clock import SteppedClock

    twin = Twin(clock=SteppedClock())
    twin.faults.boot_hangs = True
    with pytest.raises(BootFailed):
        openhailo.open("twin:", twin=twin)
    twin.function().close()


def test_a_trace_holds_every_layer(no_hardware):
    stream = io.StringIO()
    with openhailo.open("twin:", trace=stream) as device:
        device.identify()
        device.read_notification()
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [record["n"] for record in records] == list(range(len(records)))
    assert {"r", "w", "cr", "cw", "irq", "control", "close"} <= {record["k"] for record in records}
    control = next(record for record in records if record["k"] == "control")
    assert (control["name"], control["opcode"], control["status"]) == ("IDENTIFY", 0, "ok")
    assert control["request"] == "00000002" + "0" * 32


def test_every_public_name_is_there_and_nothing_heavy_is_loaded_before_it_is_used():
    code = (
        "import sys, openhailo\n"
        "heavy = {'numpy', 'onnxruntime', 'onnx', 'cv2', 'google.protobuf'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "mine = [name for name in sys.modules if name.startswith('openhailo.')]\n"
        "assert not mine, mine\n"
        "from openhailo import *\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    for name in openhailo.__all__:
        assert getattr(openhailo, name) is not None
        assert name in dir(openhailo)
    with pytest.raises(AttributeError, match="nonsense"):
        openhailo.nonsense  # noqa: B018
