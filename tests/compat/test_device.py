"""Boards and their controls (pyhailort-api.md 15 to 17, 19, 20)."""

from __future__ import annotations

import pickle
import threading

import pytest

import openhailo
from hailo_platform import (
    AveragingFactor,
    Device,
    DvmTypes,
    HailoCpuId,
    HailoRTException,
    MeasurementBufferIndex,
    PcieDevice,
    PowerMeasurementTypes,
    SamplingPeriod,
    VDevice,
)
from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort import control_object, hw_object, i2c_slaves
from hailo_platform.pyhailort import pyhailort as api
from openhailo.testing.conformance.controls_board import USER_CONFIG

#: Memory of the chip that nothing else uses.
PLACE = 0x61230


@pytest.fixture
def device():
    with Device() as opened:
        yield opened


@pytest.fixture
def control(device):
    return device.control


def test_scan_and_open():
    (found,) = Device.scan()
    assert found == "ffff:01:00.0"
    with Device(found) as device:
        assert (device.device_id, repr(device)) == (found, f"Device('{found}')")
        assert device.control.device_id == found
        assert device.loaded_network_groups == []
        with pytest.raises(HailoRTException, match="single loaded network group"):
            _ = device._loaded_network_group
    with Device("ff:01:00.0".replace("ff:", "", 1)) as same, Device("twin:") as again:
        assert same.device_id == again.device_id == found


def test_no_device(monkeypatch):
    monkeypatch.setattr(Device, "scan", classmethod(lambda cls: []))
    with pytest.raises(HailoRTException, match="HailoRT device not found in the system"):
        Device()


def test_several_boards(monkeypatch):
    monkeypatch.setenv("OPENHAILO_DEVICE", "twin:, twin:hailo8l")
    first, second = Device.scan()
    with Device(first) as one, Device(second) as other:
        kinds = [str(each.control.identify().device_architecture) for each in (one, other)]
    assert kinds == ["HAILO8", "HAILO8L"]


def test_released_devices_say_so():
    device = Device()
    control = device.control
    device.release()
    device.release()
    for call in (control.identify, control.get_chip_temperature, lambda: control.device_id):
        with pytest.raises(api.HailoRTInvalidOperationException, match="released"):
            call()


def test_a_temporary_keeps_its_board():
    # The original counts it as released; here whoever holds the controls holds the board.
    assert Device().control.get_chip_temperature().sample_count > 0
    with VDevice() as vdevice:
        assert vdevice.get_physical_devices()[0].control.identify().serial_number


def test_identity(control):
    found = control.identify()
    assert str(found.firmware_version) == "4.23.0 (release,app)"
    assert (found.protocol_version, str(found.device_architecture), found.is_release) == (2, "HAILO8", True)
    assert "Device Architecture: HAILO8\n" in str(found)
    assert api.BoardInformation.get_hw_arch_str(found.device_architecture) == "hailo8"
    assert api.BoardInformation.get_hw_arch_str(api.DeviceArchitectureTypes.HAILO15H) == "hailo15"
    with pytest.raises(HailoRTException):
        api.BoardInformation.get_hw_arch_str(api.DeviceArchitectureTypes.HAILO8_A0)
    assert str(control.core_identify()) == "Core Firmware Version: 4.23.0 (release,core)"
    empty = api.BoardInformation(2, 4, 23, 0, 0, "", True, True, 1, "", "", "")
    assert "Board Name: <N/A>" in str(empty)
    assert "extended context switch buffer" in str(empty.firmware_version)


def test_versions():
    make, kind = api.HailoFirmwareVersion.construct_from_params, api.HailoFirmwareType
    old, new = make(4, 22, 0, True, False, kind.APP), make(4, 23, 0x08000001, False, False, kind.CORE)
    assert old < new and old <= new and new > old and new >= old and old != new
    assert new.revision == 1 and len({old, new, old}) == 2
    assert str(new) == "4.23.1 (develop,core)"
    assert not old.check_protocol_compatibility(new)
    assert new.check_protocol_compatibility(make(4, 23, 7, True, False, kind.APP))


def test_extended_information(control):
    found = control.get_extended_device_information()
    assert found.neural_network_core_clock_rate == 400_000_000
    assert found.boot_source == bound.BootSource.PCIE
    assert found.supported_features.pcie and not found.supported_features.ethernet
    text = str(found)
    assert text.startswith("Neural Network Core Clock Rate: 400.0MHz\n")
    assert "Current Monitoring: Enabled\n" in text and "Boot source: PCIE\n" in text
    assert "SoC ID: 0001" in text and "MAC Address: 02:00:00" in text


def test_health(control):
    found = control._get_health_information()
    assert found.temperature_throttling_active
    assert [level.level_number for level in found.temperature_throttling_levels] == [0, 1, 2, 3]
    assert "Throttling NN Clock Frequency" in str(found.temperature_throttling_levels[0])
    assert "Red Temperature Threshold: 120" in str(found)
    control.set_throttling_state(False)
    assert control.get_throttling_state() is False
    assert control._get_health_information().temperature_throttling_levels == []
    control._set_overcurrent_state(False)
    assert control._get_overcurrent_state() is False


def test_temperature(control):
    found = control.get_chip_temperature()
    assert 0 < found.ts0_temperature < 100 and 0 < found.ts1_temperature < 100
    assert found.equals(pickle.loads(pickle.dumps(found)))


def test_power(control):
    assert control.power_measurement() > 0
    assert control.power_measurement(DvmTypes.AUTO, PowerMeasurementTypes.CURRENT) > 0
    control.stop_power_measurement()
    control.set_power_measurement(
        MeasurementBufferIndex.MEASUREMENT_BUFFER_INDEX_1, measurement_type=PowerMeasurementTypes.POWER
    )
    control.start_power_measurement(AveragingFactor.AVERAGE_1, SamplingPeriod.PERIOD_140us)
    found = control.get_power_measurement(MeasurementBufferIndex.MEASUREMENT_BUFFER_INDEX_1, should_clear=False)
    control.stop_power_measurement()
    assert found.min_value <= found.average_value <= found.max_value
    assert found.equals(found) and found.total_number_of_samples >= 0
    utils = api.HailoPowerMeasurementUtils
    assert utils.return_real_sampling_period(SamplingPeriod.PERIOD_1100us) == 1100
    assert utils.return_real_averaging_factor(AveragingFactor.AVERAGE_256) == 256


def test_resets(control):
    control.nn_core_reset()
    with pytest.raises(HailoRTException):
        control.chip_reset()
    control.soft_reset()
    control.forced_soft_reset()
    assert control.identify().protocol_version == 2


def test_memory(control):
    control.write_memory(PLACE, bytes(range(8)))
    assert control.read_memory(PLACE, 8) == bytes(range(8))
    assert control.read_register(PLACE) == 0x00010203  # big-endian, as in the original
    control.set_bit(PLACE, 31)
    assert control.read_memory(PLACE, 1) == b"\x80"
    control.reset_bit(PLACE, 31)
    assert control.read_memory(PLACE, 4) == bytes(range(4))


def test_configurations(control):
    board = control.read_board_config()
    control.write_board_config(bytes(reversed(board)))
    assert control.read_board_config() == bytes(reversed(board))
    control.write_user_config(USER_CONFIG)
    assert control.read_user_config() == USER_CONFIG
    assert control._examine_user_config().total_size == len(USER_CONFIG)
    control._erase_user_config()
    with pytest.raises(api.HailoRTFirmwareControlFailedException):
        control.read_user_config()


def test_watchdogs_logs_and_tests(device, control):
    mode = bound.WatchdogMode.WATCHDOG_MODE_HW_SW
    for cpu in (HailoCpuId.CPU0, HailoCpuId.CPU1):
        control.wd_config(cpu, 1000, mode)
        control.wd_enable(cpu)
        control.wd_disable(cpu)
        assert control.previous_system_state(cpu) >= 0
    control.set_fw_logger(bound.FwLoggerLevel.DEBUG, 1)
    control.test_chip_memories()
    whole = device.read_log(4, HailoCpuId.CPU0) + device.read_log(1 << 20, HailoCpuId.CPU0)
    assert len(whole) > 4 and device.read_log(64, HailoCpuId.CPU0) == b""  # what was read is gone
    control._get_device_handle().set_sleep_state(bound.SleepState.SLEEP_STATE_AWAKE)
    control.open()
    control.close()


def test_firmware_updates(control):
    control.second_stage_update(bytes(64))
    with pytest.raises(HailoRTException):
        control.firmware_update(b"no firmware", should_reset=False)


def test_board_buses(control):
    slave = i2c_slaves.I2C_SLAVE_EEPROM
    control.i2c_write(slave, 4, b"\x12\x34")
    assert control.i2c_read(slave, 4, 2) == b"\x12\x34"
    assert repr(slave).startswith("I2CSlave(name='EEPROM', bus=0, address=0x50")
    assert (slave.register_address_size, slave.endianness.name, slave.switch_number) == (2, "BIG_ENDIAN", 5)
    i2c_slaves.set_i2c_switch(control, slave)
    i2c_slaves.set_i2c_switch(control, i2c_slaves.I2C_SLAVE_RASPICAM)
    assert control.i2c_read(i2c_slaves.I2C_SLAVE_SWITCH, 0, 1) == b"\x02"


def test_a_switch_that_stays(control, monkeypatch):
    monkeypatch.setattr(type(control), "i2c_read", lambda *_: b"\x00")
    with pytest.raises(i2c_slaves.I2CSlavesException, match="0x00 instead of 0x02"):
        i2c_slaves.set_i2c_switch(control, i2c_slaves.I2C_SLAVE_RASPICAM)


def test_sensors(control, tmp_path):
    lines = tmp_path / "sensor.csv"
    lines.write_text("operation,length,page,address,bitmask,value\n0,2,0xFF,0x3000,0xFFFF,0x12\n1,2,255,16,0,1\n")
    kind = bound.SensorConfigTypes.SENSOR_GENERIC
    control.store_sensor_config(2, 0, kind, str(lines), 1080, 1920, 30, "mine")
    section = bound.unpack_sections(control.get_sensor_sections_info())[2]
    assert (section.name, section.config_size, section.height, section.width) == ("mine", 30, 1080, 1920)
    control.sensor_set_generic_i2c_slave(0x36, 2, 1, False, bound.Endianness.BIG_ENDIAN)
    control.set_sensor_i2c_bus_index(kind, 1)
    control.load_and_start_sensor(2)
    control.reset_sensor(2)
    lines.write_text("1,2\n")
    with pytest.raises(api.HailoRTInvalidArgumentException):
        control.store_sensor_config(2, 0, kind, str(lines))
    with pytest.raises(HailoRTException, match="13"):
        control.store_sensor_config(2, 0, kind, str(tmp_path / "missing.csv"))


def test_notifications(monkeypatch):
    seen, told = [], threading.Event()

    def callback(number, notification, opaque):
        seen.append((number, notification, opaque))
        told.set()

    twin = _own_twin(monkeypatch)
    with Device() as device:
        control = device.control
        kind = bound.NotificationId.HEALTH_MONITOR_TEMPERATURE_ALARM
        control.set_notification_callback(callback, kind, "opaque")
        twin.sensors.set_temperature(110.0, 108.0)
        assert control.get_chip_temperature().ts0_temperature == 110
        assert told.wait(10)
        control.remove_notification_callback(kind)
        with pytest.raises(api.HailoRTInvalidArgumentException):
            control.set_notification_callback(callback, 11, None)
    number, notification, opaque = seen[0]
    assert isinstance(number, int) and opaque == "opaque"
    assert notification.notification_id == kind
    body = notification.body.health_monitor_temperature_alarm_notification
    assert body.temperature_zone == bound.TemperatureZone.TEMPERATURE_ZONE_ORANGE
    assert body.ts0_temperature == 110
    with pytest.raises(bound.HailoRTStatusException):
        _ = notification.body.health_monitor_cpu_ecc_notification


def _own_twin(monkeypatch):
    """Open every device on one twin that the test can reach."""
    from openhailo.twin import Twin

    twin, original = Twin(), openhailo.open
    monkeypatch.setattr(openhailo, "open", lambda name=None, **options: original("twin:", twin=twin))
    return twin


# --- older objects ----------------------------------------------------------------------------------------------------


def test_pcie_device():
    (info,) = PcieDevice.scan_devices()
    assert str(info) == "ffff:01:00.0" and info == api.PcieDeviceInfo(1, 0, 0, 0xFFFF)
    with PcieDevice(info) as device:
        assert (device.name, device.is_hardware, device.device_id) == ("pcie", True, "ffff:01:00.0")
        assert device.control.identify().protocol_version == 2
        assert device == hw_object.InferenceTargets.PCIE_CONTROLLER
        assert not device.hef_loaded() and device.loaded_network_groups == []
        for question in ("sorted_output_layer_names", "model_name", "device_input_layers"):
            with pytest.raises(hw_object.HailoHWObjectException):
                getattr(device, question)
        with device.use_device():
            pass
    with pytest.raises(hw_object.HailoHWObjectException, match="released"):
        _ = device.control


def test_addresses():
    info = api.PcieDeviceInfo.from_string("04:00.1")
    assert (info.bus, info.device, info.func, info.domain) == (4, 0, 1, api.PCIE_ANY_DOMAIN)
    assert str(info) == "04:00.1" and hash(info) == hash(api.PcieDeviceInfo(4, 0, 1))
    assert "04:00.1" in repr(info)
    with pytest.raises(HailoRTException, match="bus:device"):
        api.PcieDeviceInfo.from_string("nonsense")
    with pytest.raises(Exception, match="bus:device"):
        api.PcieDeviceInfo.argument_type("nonsense")


def test_thin_handles():
    handle = api.InternalPcieDevice()
    handle.write_memory(PLACE, b"abcd")
    assert handle.read_memory(PLACE, 4) == b"abcd"
    assert isinstance(handle.create_debug_log().read(16, HailoCpuId.CPU1), bytes)
    control = control_object.PcieHcpControl(handle.device)
    assert control.identify().protocol_version == 2
    handle.release()
    with pytest.raises(HailoRTException, match="released"):
        handle.read_memory(0, 4)
    own = control_object.PcieHcpControl()
    assert own.identify().protocol_version == 2
    own.release()
