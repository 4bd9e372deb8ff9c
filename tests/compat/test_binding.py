"""What lies under the Python part, which programs rarely touch (pyhailort-api.md 16, 17, 19, 23)."""

from __future__ import annotations

import argparse
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from hailo_platform import HEF, PcieDevice, VDevice
from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort import control_object, hw_object
from hailo_platform.pyhailort import pyhailort as api
from hailo_platform.pyhailort._pyhailort._notifications import notification_of
from hailo_platform.tools.hailocli import base_utils, hailocli_commands


@pytest.fixture
def device():
    opened = bound.Device.create("twin:")
    yield opened
    opened.release()


def test_board_information(device):
    found = device.identify()
    assert isinstance(found, bound.BoardInformation)
    assert (found.board_name, found.board_name_length) == ("Hailo-8", 7)
    assert (found.part_number, found.part_number_length) == ("TWIN-PART", 9)
    assert (found.serial_number, found.serial_number_length) == ("TWIN000000000001", 16)
    assert (found.product_name, found.product_name_length) == ("OPENHAILO VIRTUAL HAILO-8", 25)
    assert (found.fw_version.major, found.fw_version.minor, found.fw_version.revision) == (4, 23, 0)
    assert (found.logger_version, found.extended_context_switch_buffer) == (0, False)
    core = device.core_identify()
    assert isinstance(core, bound.CoreInformation) and isinstance(core.fw_version, bound.FirmwareVersion)
    assert (core.fw_version.major, core.extended_context_switch_buffer, core.is_release) == (4, False, True)


def test_extended_information(device):
    found = device.get_extended_device_information()
    assert isinstance(found, bound.ExtendedDeviceInformation)
    assert (found.lcs, found.gpio_mask) == (3, 0)
    assert found.soc_id == bytes(range(32))
    assert found.eth_mac_address == bytes.fromhex("020000000001")
    assert found.unit_level_tracking_id == b"LOT00001\x01\x02\x03\x04"
    assert len(found.soc_pm_values) == 24 and not any(found.soc_pm_values)
    features = found.supported_features
    assert isinstance(features, bound.SupportedFeatures)
    assert (features.current_monitoring, features.mdio, features.mipi) == (True, False, False)
    with pytest.raises(AttributeError):
        found.lcs = 1


def test_health_information(device):
    found = device._get_health_information()
    assert isinstance(found, bound.HealthInformation)
    assert (found.overcurrent_protection_active, found.current_overcurrent_zone) == (True, 0)
    assert (found.red_overcurrent_threshold, found.overcurrent_throttling_active) == (5000.0, False)
    assert (found.temperature_throttling_active, found.current_temperature_zone) == (True, 0)
    assert found.current_temperature_throttling_level == -1
    assert (found.orange_temperature_threshold, found.orange_hysteresis_temperature_threshold) == (104, 99)
    assert (found.red_temperature_threshold, found.red_hysteresis_temperature_threshold) == (120, 116)
    assert found.requested_overcurrent_clock_freq == found.requested_temperature_clock_freq == 400_000_000
    level = found.temperature_throttling_levels[0]
    assert isinstance(level, bound.ThrottlingLevel)
    assert (level.temperature_threshold, level.hysteresis_temperature_threshold) == (104, 99)
    assert level.throttling_nn_clock_freq == 350_000_000
    # The Python part leaves levels out whose clock is another level's.
    twice = {**vars(found), "temperature_throttling_levels": [level, level]}
    assert len(api.HealthInformation(**twice).temperature_throttling_levels) == 1


def test_power_and_configuration(device):
    device.set_power_measurement(
        bound.MeasurementBufferIndex(0), bound.DvmTypes.AUTO, bound.PowerMeasurementTypes.POWER
    )
    device.start_power_measurement(bound.AveragingFactor.AVERAGE_1, bound.SamplingPeriod.PERIOD_140us)
    read = device.get_power_measurement(bound.MeasurementBufferIndex(0), True)
    assert isinstance(read, bound.PowerMeasurementData) and read.average_time_value_milliseconds >= 0
    device.stop_power_measurement()
    from openhailo.testing.conformance.boot import USER_CONFIG

    device.write_user_config(USER_CONFIG)
    info = device.examine_user_config()
    assert isinstance(info, bound.FirmwareUserConfigInformation)
    assert (info.version, info.entry_count, info.total_size) == (0, 1, len(USER_CONFIG))
    assert device.is_valid() and device.device_id == "ffff:01:00.0"


def test_slaves(device):
    slave = bound.I2CSlaveConfig(bus_index=1, slave_address=0x10, register_address_size=2, should_hold_bus=True)
    device.i2c_write(slave, 1, b"\x07", 1)
    assert device.i2c_read(slave, 1, 1) == b"\x07"
    assert (slave.bus_index, slave.slave_address, slave.should_hold_bus) == (1, 0x10, True)


# --- notifications ----------------------------------------------------------------------------------------------------

TEMPERATURES = {"ts0_temperature": 121.0, "ts1_temperature": 120.5}
MESSAGES = [
    (0, {"error": 1, "queue_number": 2, "rx_errors_count": 3}, "RxErrorNotificationMessage", "rx_error_notification"),
    (
        1,
        {"connection_status": 1, "connection_type": 2, "vdma_is_active": 3, "host_port": 4, "host_ip_addr": 5},
        "DebugNotificationMessage",
        "debug_notification",
    ),
    (
        2,
        {"temperature_zone": 1, "alarm_ts_id": 1, **TEMPERATURES},
        "HealthMonitorTemperatureAlarmNotificationMessage",
        "health_monitor_temperature_alarm_notification",
    ),
    (
        3,
        TEMPERATURES,
        "HealthMonitorDataflowShutdownNotificationMessage",
        "health_monitor_dataflow_shutdown_notification",
    ),
    (
        4,
        {"overcurrent_zone": 1, "exceeded_alert_threshold": 5000.0, "is_last_overcurrent_violation_reached": 1},
        "HealthMonitorOvercurrentAlertNotificationMessage",
        "health_monitor_overcurrent_alert_notification",
    ),
    (
        5,
        {"cluster_bitmap": 3},
        "HealthMonitorLcuEccErrorNotificationMessage",
        "health_monitor_lcu_ecc_error_notification",
    ),
    (
        6,
        {"cluster_bitmap": 4},
        "HealthMonitorLcuEccErrorNotificationMessage",
        "health_monitor_lcu_ecc_error_notification",
    ),
    (7, {"memory_bitmap": 1}, "HealthMonitorCpuEccNotificationMessage", "health_monitor_cpu_ecc_notification"),
    (8, {"memory_bitmap": 2}, "HealthMonitorCpuEccNotificationMessage", "health_monitor_cpu_ecc_notification"),
    (
        10,
        {"previous_clock": 400_000_000, "current_clock": 350_000_000},
        "HealthMonitoClockChangedNotificationMessage",
        "health_monitor_clock_changed_notification",
    ),
]
#: Event of the firmware -> number that programs know (runtime-behaviour.md 19).
NUMBERS = {0: 0, 1: 8, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7, 9: 9, 10: 10}


@pytest.mark.parametrize(("event", "values", "kind", "name"), MESSAGES)
def test_notifications(event, values, kind, name, raises_status):
    found = notification_of(SimpleNamespace(event_id=event, sequence=7, values=values))
    assert isinstance(found, bound.Notification) and isinstance(found.body, bound.NotificationMessageParameters)
    assert (int(found.notification_id), found.sequence) == (NUMBERS[event], 7)
    body = getattr(found.body, name)
    assert type(body).__name__ == kind
    seen = {field: float(getattr(body, field)) if hasattr(body, field) else None for field in values}
    renamed = float(getattr(body, "cluster_error", 0))
    assert seen == values or renamed == values["cluster_bitmap"]
    for other in {row[3] for row in MESSAGES} - {name}:
        with raises_status(6):
            getattr(found.body, other)


def test_notifications_without_a_body():
    found = notification_of(SimpleNamespace(event_id=9, sequence=1, values={"action_index": 1}))
    assert found.notification_id == bound.NotificationId.CONTEXT_SWITCH_BREAKPOINT_REACHED
    assert notification_of(SimpleNamespace(event_id=12, sequence=1, values={})) is None


# --- networks ---------------------------------------------------------------------------------------------------------


def test_streams_without_the_python_part(models):
    hef = bound.Hef.create_from_file(models.first)
    params = hef.create_configure_params(bound.StreamInterface.PCIe)
    vdevice = bound.VDevice.create(bound.Device.scan())
    (network,) = vdevice.configure(hef, params)
    assert isinstance(hef.get_network_groups_infos()[0], bound.NetworkGroupInfo)
    kind = bound.FormatType.FLOAT32
    inputs = network.InputVStreams(network.make_input_vstream_params("", kind, 1000, 2))
    outputs = network.OutputVStreams(network.make_output_vstream_params("", kind, 1000, 2))
    with network.activate() as activated, inputs as ins, outputs as outs:
        assert activated.get_invalid_frames_count() == 0
        ins.get_input_by_name("first/picture").send(models.pictures(1)[0])
        edges = outs.get_output_by_name("first/edges")
        assert edges.recv().shape == (8, 8, 2) and edges.get_user_buffer_format().type == kind
        with pytest.raises(bound.HailoRTStatusException):
            outs.get_output_by_name("nothing")
    vdevice.release()


def test_models_without_the_python_part(models):
    vdevice = bound.VDevice.create()
    model = vdevice.create_infer_model_from_file(models.boxes, "")
    output = model.output()
    output.set_format_order(bound.FormatOrder.HAILO_NMS_BY_SCORE)
    output.set_nms_max_proposals_total(2)
    configured = model.configure()
    configured.activate()
    bindings = configured.create_bindings()
    bindings.input().set_buffer(models.pixels(1, seed=9)[0])
    packed = np.zeros(output.shape(), np.uint8)
    bindings.output().set_buffer(packed)
    configured.run([bindings], timedelta(seconds=10))
    found = bound.convert_nms_by_score_buffer_to_detections(packed)
    assert 0 < len(found) <= 2 and isinstance(found[0], bound.Detection)
    vdevice.release()


def test_values():
    rectangle = bound.HailoRectangle(0.1, 0.2, 0.3, 0.4)
    masked = bound.DetectionWithByteMask(rectangle, 0.5, 1, np.ones(6, np.uint8))
    assert (masked.mask_size, masked.mask().sum(), masked.box.x_max) == (6, 6, 0.4)
    assert bound.NmsInfo(1, 2, 3, 4).chunks_per_frame == 4
    assert bound.NetworkParameters(7).batch_size == 7
    for kind in ("IntegratedInputStreamParams", "IntegratedOutputStreamParams", "PcieOutputStreamParams"):
        assert type(getattr(bound, kind)()).__name__ == kind
    assert bound.IntegratedInputStreamParams is not bound.IntegratedOutputStreamParams
    defaults = bound.HailoRTDefaults
    assert (defaults.DEVICE_BASE_INPUT_STREAM_PORT(), defaults.DEVICE_BASE_OUTPUT_STREAM_PORT()) == (32401, 32501)
    assert (defaults.BBOX_PARAMS(), defaults.HAILO_DEFAULT_ETH_CONTROL_PORT()) == (5, 22401)
    assert defaults.PCIE_ANY_DOMAIN() == 0xFFFFFFFF
    assert api.HailoSocket.MIN_UDP_PAYLOAD_SIZE == 24
    assert api.HailoFirmwareMode("develop") is api.HailoFirmwareMode.DEVELOP
    info = api.ConfiguredInferModel.NmsTfTransformationInfo(bound.FormatOrder.NC, 1, 2, 3, 4, bound.QuantInfo())
    assert info.use_tf_nms_format and info.output_dtype == np.float32
    lists = api.ConfiguredInferModel.NmsHailoTransformationInfo(bound.FormatOrder.NC, 1, 2, 3, 4, bound.QuantInfo())
    assert isinstance(lists, api.ConfiguredInferModel.NmsTransformationInfo) and not lists.use_tf_nms_format


def test_old_handles_know_their_networks(models):
    with VDevice() as vdevice, PcieDevice() as device:
        network = vdevice.configure(HEF(models.first))[0]
        device._loaded_network_groups.append(network)
        assert device.hef_loaded() and device._loaded_network_group is network
        assert (device.model_name, device.outputs_count()) == ("first", 2)
        assert device.sorted_output_layer_names == device.device_output_layers == ["first/edges", "first/halves"]
        assert device.device_input_layers == ["first/picture"]
        assert device.get_all_input_layers_dtype() == {"first/picture": np.uint8}
        assert device.get_input_shape() == device.get_input_shape("first/picture") == (8, 8, 1)
        assert device.get_output_shapes() == ((8, 8, 2), (1, 2, 1))
        indices = {device.get_index_from_name(info.name) for info in device.get_all_stream_infos()}
        assert len(indices) == 3
        assert len(device.get_input_stream_infos()) == len(device.get_input_vstream_infos()) == 1
        assert len(device.get_output_stream_infos()) == len(device.get_output_vstream_infos()) == 2
        assert len(device.get_all_vstream_infos()) == 3
        assert device.get_original_layer_to_device_layer_map()["first/edges"] == "first/edges"
        device._clear_shapes()
        for question in (lambda: device.get_input_shape("nothing"), lambda: device.get_index_from_name("nothing")):
            with pytest.raises(hw_object.HailoHWObjectException):
                question()


def test_old_names():
    assert issubclass(control_object.HcpControl, control_object.HailoControl)
    assert issubclass(control_object.HailoControl, api.Control)
    for kind in (control_object.ControlObjectException, control_object.FirmwareUpdateException):
        assert not issubclass(kind, api.HailoRTException)
    assert issubclass(api.HailoRTStreamAbortedByUser, api.HailoRTException)
    assert issubclass(base_utils.HailortCliUtilError, base_utils.CmdUtilsBaseUtilError)
    command = hailocli_commands.BoardConfigCommandCLI(argparse.ArgumentParser())
    assert command._command == "board-config"
