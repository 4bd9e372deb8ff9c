"""Calls that people and code generators invent get an error that names the right one."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import hailo_platform
from hailo_platform import HEF, ConfigureParams, Device, InputVStreamParams, VDevice


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("VStreamInterface", r"HailoStreamInterface\.PCIe"),
        ("Hef", r"HEF\(path\)"),
        ("HailoPlatform", r"VDevice\(\) and HEF\(path\)"),
        ("InferModel", "create_infer_model"),
        ("genai", "Hailo-10H"),
        ("Anything", "no attribute 'Anything'$"),
    ],
)
def test_names_of_the_package(name, hint):
    with pytest.raises(AttributeError, match=hint):
        getattr(hailo_platform, name)
    assert not hasattr(hailo_platform, name)


def test_genai_belongs_to_another_chip():
    with pytest.raises(ImportError, match="a Hailo-8 cannot run it"):
        importlib.import_module("hailo_platform.genai")


def test_invented_makers():
    with pytest.raises(AttributeError, match=r"use Device\.scan\(\)"):
        Device.scan_pcie()
    with pytest.raises(AttributeError, match=r"use VDevice\(\)"):
        VDevice.create()
    with pytest.raises(AttributeError, match=r"no attribute 'whatever'$"):
        _ = VDevice.whatever


def test_methods_on_the_wrong_object(models):
    with Device() as device:
        with pytest.raises(AttributeError, match=r"device\.control\.identify"):
            device.identify()
        with pytest.raises(AttributeError, match=r"VDevice\(\)\.configure"):
            device.configure(None)
    with VDevice() as vdevice:
        with pytest.raises(AttributeError, match="get_physical_devices"):
            _ = vdevice.control
        model = vdevice.create_infer_model(models.first)
        with pytest.raises(AttributeError, match=r"model\.configure\(\)"):
            model.infer({})


def test_create_from_hef_needs_the_interface(models):
    with pytest.raises(TypeError, match=r"interface=HailoStreamInterface\.PCIe"):
        ConfigureParams.create_from_hef(HEF(models.first))


def test_wrong_types_name_the_right_ones(models):
    with pytest.raises(ValueError, match=r"HEF\(str\(path\)\)"):
        HEF(Path(models.first))
    with pytest.raises(ValueError, match="path"):
        HEF(3)
    params = VDevice.create_params()
    with pytest.raises(TypeError, match=r"HailoSchedulingAlgorithm\.ROUND_ROBIN"):
        params.scheduling_algorithm = "round robin"
    with pytest.raises(AttributeError, match="it has device_count"):
        params.scheduler = 1
    with pytest.raises(TypeError, match="create_params"):
        VDevice(["0000:01:00.0"])
    with pytest.raises(TypeError, match="device_ids is a list"):
        VDevice(device_ids="0000:01:00.0")
    with VDevice() as vdevice:
        with pytest.raises(TypeError, match=r"create_infer_model\(hef\.path\)"):
            vdevice.create_infer_model(HEF(models.first))
        with pytest.raises(TypeError, match=r"HEF\(path\)"):
            vdevice.configure(models.first)
        networks = vdevice.configure(HEF(models.first))
        with pytest.raises(TypeError, match=r"element \[0\]"):
            InputVStreamParams.make(networks)


def test_bindings_are_no_mapping(models):
    with VDevice() as vdevice, vdevice.create_infer_model(models.first).configure() as configured:
        bindings = configured.create_bindings()
        with pytest.raises(AttributeError, match="input_names"):
            bindings.input.keys()
        with pytest.raises(TypeError, match="method"):
            bindings.output["first/edges"]
        with pytest.raises(TypeError, match="method"):
            list(bindings.output)
        with pytest.raises(TypeError, match="numpy array"):
            bindings.input().set_buffer([1, 2, 3])
        with pytest.raises(TypeError, match="a list is needed"):
            configured.run_async(bindings)
