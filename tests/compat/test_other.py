"""What cannot exist over PCIe, old import paths, the logger, the command `hailo` (pyhailort-api.md 1, 19 to 22)."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import hailo_platform
from hailo_platform import EthernetDevice, HailoRTException, HailoStreamInterface, UDPRateLimiter, VDevice
from hailo_platform.common.logger.logger import _create_logger, default_logger
from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort import control_object, ethernet_utils
from hailo_platform.pyhailort import pyhailort as api
from hailo_platform.tools import udp_rate_limiter
from hailo_platform.tools.hailocli import hailo_device_utils, hailocli_commands
from hailo_platform.tools.hailocli import main as hailo_main

NOT_SUPPORTED = r"79 \(HAILO_NOT_SUPPORTED\)"


def refused(call, reason):
    with pytest.raises(HailoRTException, match=NOT_SUPPORTED) as caught:
        call()
    assert reason in caught.value.__notes__[0]


def test_ethernet():
    refused(lambda: EthernetDevice("10.0.0.1"), "no Ethernet")
    refused(lambda: EthernetDevice.scan_devices("eth0"), "no Ethernet")
    refused(lambda: api.HailoUdpScan().scan_devices("eth0"), "no Ethernet")
    refused(lambda: api.InternalEthernetDevice("10.0.0.1", 1), "no Ethernet")
    refused(lambda: control_object.UdpHcpControl("10.0.0.1"), "no Ethernet")
    refused(lambda: UDPRateLimiter("10.0.0.1", 1), "no Ethernet")
    refused(lambda: api.NetworkRateLimiter("10.0.0.1", 1, 1), "no Ethernet")
    refused(lambda: api.NetworkRateLimiter.get_interface_name("10.0.0.1"), "no Ethernet")


def test_rates(models, raises_status):
    hef = hailo_platform.HEF(models.first)
    refused(lambda: hef.get_udp_rates_dict(30, 1000), "Ethernet")
    refused(lambda: UDPRateLimiter.calc_udp_rate(models.first, "first", 30), "Ethernet")
    with VDevice() as vdevice:
        network = vdevice.configure(hef)[0]
        refused(lambda: network.get_udp_rates_dict(30, 1000), "Ethernet")
        wrapper = udp_rate_limiter.RateLimiterWrapper(network)
        refused(wrapper.__enter__, "Ethernet")
        wrapper.__exit__()
    with raises_status(79):
        bound.UdpScan().scan_devices("eth0", 1)


def test_cameras(models):
    hef = hailo_platform.HEF(models.first)
    interface = HailoStreamInterface.PCIe
    refused(lambda: api.ConfigureParams.create_mipi_inputs_from_hef(hef, interface), "no camera interface")
    with api.Device() as device:
        refused(lambda: device.control.store_isp_config(0, "a", "b"), "image signal processor")
        with pytest.raises(HailoRTException):
            device.control.set_pause_frames(True)


def test_questions_about_the_host():
    assert ethernet_utils.is_ip_in_network("10.0.0.0", "255.0.0.0", "10.9.8.7")
    assert not ethernet_utils.is_ip_in_network("10.0.0.0", "255.255.0.0", "10.9.8.7")
    assert ethernet_utils.get_interface_address("lo") == "127.0.0.1"
    assert ethernet_utils.get_interface_from_ip("127.0.0.1") == "lo"
    with pytest.raises(ethernet_utils.NoInterfaceError):
        ethernet_utils.get_interface_address("nothing0")


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("drivers.control_object", "PcieHcpControl"),
        ("drivers.hw_object", "PcieDevice"),
        ("drivers.ethernet_utils", "NoInterfaceError"),
        ("drivers.i2c_slaves", "I2CSlave"),
        ("drivers.hailort.pyhailort", "HEF"),
        ("drivers.hailo_controller.hailo_control_protocol", "HailoFirmwareVersion"),
        ("drivers.hailo_controller.power_measurement", "DvmTypes"),
        ("drivers.hailo_controller.i2c_slaves", "I2CSlave"),
        ("pyhailort.hailo_control_protocol", "BoardInformation"),
        ("pyhailort.power_measurement", "SamplingPeriod"),
    ],
)
def test_old_paths_warn(old, name):
    sys.modules.pop(f"hailo_platform.{old}", None)
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        module = importlib.import_module(f"hailo_platform.{old}")
    assert hasattr(module, name)


def test_the_package():
    assert hailo_platform.__version__ == "4.23.0" == bound.__version__
    assert hailo_platform.join_drivers_path("a").endswith("hailo_platform/drivers/a")
    assert issubclass(hailo_platform.MissingPyHRTLib, Exception)
    assert hailo_platform._pyhailort is bound
    assert "pyhailort.log" not in {path.name for path in __import__("pathlib").Path().iterdir()}


def test_constants_of_the_binding():
    defaults, sockets = bound.HailoRTDefaults, bound.HailoSocketDefs
    assert (defaults.HAILO_INFINITE(), defaults.HAILO_UNIQUE_VDEVICE_GROUP_ID()) == (0xFFFFFFFF, "UNIQUE")
    assert (sockets.MAX_UDP_PAYLOAD_SIZE(), sockets.MAX_ALIGNED_UDP_PAYLOAD_SIZE_RTP()) == (1456, 1472)


def test_types_of_the_binding(raises_status):
    form = bound.HailoFormat(bound.FormatType.UINT16, bound.FormatOrder.NC, bound.FormatFlags.NONE)
    assert bound.get_format_data_bytes(form) == 2
    assert bound.get_dtype(bound.FormatType.FLOAT32).name == "float32"
    with pytest.raises(bound.HailoRTStatusException, match="AUTO"):
        bound.get_dtype(bound.FormatType.AUTO)
    assert bound.is_qp_valid(bound.QuantInfo(0, 1, 0, 0)) and not bound.is_qp_valid(bound.QuantInfo())
    with raises_status(2):
        bound.Device.create_pcie(bound.PcieDeviceInfo())


def test_the_logger(capsys, tmp_path):
    assert default_logger() is default_logger()
    default_logger().info("to people")
    assert capsys.readouterr().out == "to people\n"
    made = _create_logger("DEBUG", str(tmp_path / "mine.log"), console=False)
    made.debug("with time and place")
    handler = made.handlers.pop()
    handler.close()
    text = (tmp_path / "mine.log").read_text()
    assert text.endswith("with time and place\n") and "DEBUG - test_other.py:" in text


# --- the command ``hailo`` --------------------------------------------------------------------------------------------


def run_hailo(*arguments):
    command = [sys.executable, "-m", "hailo_platform.tools.hailocli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_hailo_starts_hailortcli():
    done = run_hailo("scan")
    assert (done.returncode, done.stdout) == (0, "Hailo Devices:\n[-] Device: ffff:01:00.0\n")
    assert run_hailo("fw-control", "identify", "-s", "0000:01:00.0").returncode == 2
    assert run_hailo("--version").stdout == "HailoRT v4.23.0\n"
    without = run_hailo()
    assert without.returncode == 1 and "parse-hef" in without.stdout


def test_commands_in_this_process(capsys, monkeypatch):
    commands = hailo_main.PlatformCommands()
    assert commands._run([]) == commands.INVALID_COMMAND_EXIT_CODE == 1
    assert commands._run(["help"]) == 0
    assert "fw-control" in capsys.readouterr().out
    assert commands._get_generic_description() == "HailoRT v4.23.0"
    monkeypatch.setattr(sys, "argv", ["hailo", "help"])
    assert commands.run() == 0 == hailo_main.main()
    monkeypatch.setattr(hailocli_commands.TutorialRunnerCLI, "TUTORIALS_REQUIREMENTS", ["no_such_module"])
    with pytest.raises(hailocli_commands.TutorialRequired, match="pip install jupyter"):
        commands._run(["tutorial"])
    assert commands._run(["scan"]) == 0


def test_options_that_name_a_device():
    import argparse

    parser = argparse.ArgumentParser()
    util = hailo_device_utils.HailoDeviceCmdUtil(parser)
    kinds = hailo_device_utils.HailoCLITargets
    assert util.get_target_type(parser.parse_args([])) is kinds.pcie
    with util.get_target(parser.parse_args(["-s", "ffff:01:00.0"])) as device:
        assert device.device_id == "ffff:01:00.0"
    args = parser.parse_args(["--ip", "10.0.0.1"])
    assert util.get_target_type(args) is kinds.udp
    refused(lambda: util.get_target(args), "no Ethernet")
    with pytest.raises(Exception, match="no PCI address"):
        util.validate_args(parser.parse_args(["--ip", "10.0.0.1", "-s", "01:00.0"]))
