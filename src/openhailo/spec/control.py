"""Every control of the firmware, request and response parameter by parameter (facts: control-protocol.md 4, 5).

A message is a header (`REQUEST_HEADER`, `RESPONSE_HEADER`), then per parameter a big-endian length word and the value.
The official library overlays a response with a fixed structure, so each value must have exactly the width given here.
"""

from __future__ import annotations

from collections.abc import Mapping

from .enums import Cpu
from .layout import Struct
from .messages import (
    APPLICATION_HEADER,
    BREAKPOINT_DATA,
    FIRMWARE_VERSION,
    FUSE_INFO,
    HW_CONSTS,
    HW_INFER_CHANNELS,
    HW_INFER_RESULTS,
    MAIN_HEADER,
    PARAMETER_COUNT,
    PARAMETER_HEADER,
    REQUEST_HEADER,
    RESPONSE_HEADER,
    SENSOR_SECTIONS,
    SUPPORTED_FEATURES,
    TEMPERATURE_INFO,
    THROTTLING_LEVELS,
    Control,
    ControlRules,
    Param,
)
from .opcodes import Opcode
from .streams import NN_STREAM_CONFIG

__all__ = [
    "CONTROLS",
    "PARAMETER_COUNT",
    "PARAMETER_HEADER",
    "REQUEST_HEADER",
    "RESPONSE_HEADER",
    "Control",
    "ControlRules",
    "Opcode",
    "Param",
]

_Params = tuple[Param, ...]
_CHUNK = ControlRules().max_data_bytes


def _u8(*names: str) -> _Params:
    return tuple(Param(name, "u8") for name in names)


def _be16(*names: str) -> _Params:
    return tuple(Param(name, "be16") for name in names)


def _le16(*names: str) -> _Params:
    return tuple(Param(name, "le16") for name in names)


def _be32(*names: str) -> _Params:
    return tuple(Param(name, "be32") for name in names)


def _bei32(*names: str) -> _Params:
    return tuple(Param(name, "bei32") for name in names)


def _le32(*names: str) -> _Params:
    return tuple(Param(name, "le32") for name in names)


def _f32(*names: str) -> _Params:
    return tuple(Param(name, "f32") for name in names)


def _bytes(name: str, size: int = 0, max_size: int = 0) -> _Params:
    return (Param(name, "bytes", size, max_size),)


def _struct(name: str, layout: Struct) -> _Params:
    return (Param(name, layout),)


def _app(opcode: Opcode, request: _Params = (), response: _Params = (), *, obsolete: bool = False) -> Control:
    source = f"control-protocol.md 4, 5.{opcode.value}"
    return Control(opcode.value, opcode.name, Cpu.APP.value, request, response, obsolete, source)


def _core(opcode: Opcode, request: _Params = (), response: _Params = (), *, obsolete: bool = False) -> Control:
    source = f"control-protocol.md 4, 5.{opcode.value}"
    return Control(opcode.value, opcode.name, Cpu.CORE.value, request, response, obsolete, source)


_I2C_SLAVE = (
    *_u8("endianness"),
    *_be16("slave_address"),
    *_u8("register_address_size", "bus_index", "should_hold_bus"),
)
_POWER_TARGET = _be32("dvm", "measurement_type")

_DEVICE = (
    _app(
        Opcode.IDENTIFY,
        response=(
            *_be32("protocol_version"),
            *_struct("fw_version", FIRMWARE_VERSION),
            *_be32("logger_version"),
            *_bytes("board_name", 32),
            *_be32("device_architecture"),
            *_bytes("serial_number", 16),
            *_bytes("part_number", 16),
            *_bytes("product_name", 42),
        ),
    ),
    _app(Opcode.WRITE_MEMORY, (*_be32("address"), *_bytes("data", max_size=_CHUNK))),
    _app(Opcode.READ_MEMORY, _be32("address", "data_count"), _bytes("data", max_size=_CHUNK)),
    _app(
        Opcode.CONFIG_STREAM,
        (
            *_u8("stream_index", "is_input"),
            *_be32("communication_type"),
            *_u8("skip_nn_stream_config", "power_mode"),
            *_struct("nn_stream_config", NN_STREAM_CONFIG),
            *_bytes("communication_params", max_size=35),
        ),
        _u8("dataflow_manager_id"),
    ),
    _app(Opcode.OPEN_STREAM, _u8("dataflow_manager_id", "is_input")),
    _app(Opcode.CLOSE_STREAM, _u8("dataflow_manager_id", "is_input")),
    _app(Opcode.PHY_OPERATION, _be32("operation_type")),
    _app(Opcode.RESET, _be32("reset_type")),
    _app(Opcode.CONFIG_CORE_TOP, (*_be32("config_type"), *_u8("config_params"))),
)

# The request of 9 and 10 is big endian, the response is read without a swap (control-protocol.md 3.1).
_POWER = (
    _app(Opcode.POWER_MEASUREMENT, _POWER_TARGET, (*_f32("power_measurement"), *_le32("dvm", "measurement_type"))),
    _app(Opcode.SET_POWER_MEASUREMENT, (*_be32("index"), *_POWER_TARGET), _le32("dvm", "measurement_type")),
    _app(
        Opcode.GET_POWER_MEASUREMENT,
        (*_be32("index"), *_u8("should_clear")),
        (
            *_be32("total_number_of_samples"),
            *_f32("min_value", "max_value", "average_value", "average_time_value_milliseconds"),
        ),
    ),
    _app(Opcode.START_POWER_MEASUREMENT, (*_be32("delay_milliseconds"), *_be16("averaging_factor", "sampling_period"))),
    _app(Opcode.STOP_POWER_MEASUREMENT),
)

_UPDATE = (
    _app(Opcode.START_FIRMWARE_UPDATE),
    _app(Opcode.WRITE_FIRMWARE_UPDATE, (*_be32("offset"), *_bytes("data", max_size=_CHUNK))),
    _app(Opcode.VALIDATE_FIRMWARE_UPDATE, (*_bytes("expected_md5", 16), *_be32("firmware_size"))),
    _app(Opcode.FINISH_FIRMWARE_UPDATE),
    _app(Opcode.EXAMINE_USER_CONFIG, response=_be32("version", "entry_count", "total_size")),
    _app(Opcode.READ_USER_CONFIG, _be32("address", "data_count"), _bytes("data", max_size=_CHUNK)),
    _app(Opcode.ERASE_USER_CONFIG),
    _app(Opcode.WRITE_USER_CONFIG, (*_be32("address"), *_bytes("data", max_size=_CHUNK))),
    _app(Opcode.READ_BOARD_CONFIG, _be32("address", "data_count"), _bytes("data", max_size=_CHUNK)),
    _app(Opcode.WRITE_BOARD_CONFIG, (*_be32("address"), *_bytes("data", max_size=_CHUNK))),
    _app(
        Opcode.WRITE_SECOND_STAGE_TO_INTERNAL_MEMORY,
        (*_be32("offset"), *_bytes("data", max_size=_CHUNK)),
    ),
    _app(Opcode.COPY_SECOND_STAGE_TO_FLASH, (*_bytes("expected_md5", 16), *_be32("second_stage_size"))),
)

_SENSORS = (
    _app(Opcode.I2C_WRITE, (*_I2C_SLAVE, *_be32("register_address"), *_bytes("data"))),
    _app(Opcode.I2C_READ, (*_I2C_SLAVE, *_be32("register_address", "data_length")), _bytes("data")),
    _app(
        Opcode.NN_CORE_LATENCY_MEASUREMENT_CONFIG,
        (
            *_u8("latency_measurement_en"),
            *_be32("inbound_start_buffer_number", "outbound_stop_buffer_number"),
            *_be32("inbound_stream_index", "outbound_stream_index"),
        ),
    ),
    _app(Opcode.NN_CORE_LATENCY_MEASUREMENT_READ, response=_be32("inbound_to_outbound_latency_nsec")),
    _app(
        Opcode.SENSOR_STORE_CONFIG,
        (
            *_be32("section_index", "is_first", "start_offset", "reset_data_size", "sensor_type", "total_data_size"),
            *_be16("config_height", "config_width", "config_fps"),
            *_bytes("config_name", 100),
            *_bytes("data", max_size=_CHUNK),
        ),
    ),
    _app(Opcode.SENSOR_GET_CONFIG, _be32("section_index", "offset", "data_size"), _bytes("data", max_size=_CHUNK)),
    _app(
        Opcode.SENSOR_SET_GENERIC_I2C_SLAVE,
        (*_be16("slave_address"), *_u8("register_address_size", "bus_index", "should_hold_bus", "endianness")),
    ),
    _app(Opcode.SENSOR_LOAD_AND_START, _be32("section_index")),
    _app(Opcode.SENSOR_RESET, _be32("section_index")),
    _app(Opcode.SENSOR_GET_SECTIONS_INFO, response=_struct("data", SENSOR_SECTIONS)),
    _app(Opcode.SENSOR_SET_I2C_BUS_INDEX, _be32("sensor_type", "i2c_bus_index")),
)

_CONTEXT_SWITCH = (
    _core(Opcode.CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER, _struct("application_header", APPLICATION_HEADER)),
    _core(
        Opcode.CONTEXT_SWITCH_SET_CONTEXT_INFO,
        (
            *_u8("is_first_chunk_per_context", "is_last_chunk_per_context", "context_type"),
            *_bytes("context_network_data", max_size=ControlRules().max_chunk_bytes),
        ),
    ),
    _core(
        Opcode.DOWNLOAD_CONTEXT_ACTION_LIST,
        (*_be32("network_group_id"), *_u8("context_type"), *_le16("context_index"), *_be16("action_list_offset")),
        (
            *_be32("base_address"),
            *_u8("is_action_list_end"),
            *_be32("batch_counter", "idle_time"),
            *_bytes("action_list"),
        ),
    ),
    _core(
        Opcode.CHANGE_CONTEXT_SWITCH_STATUS,
        (*_u8("state_machine_status", "application_index"), *_le16("dynamic_batch_size", "batch_count")),
    ),
    _core(Opcode.SET_DATAFLOW_INTERRUPT, _u8("interrupt_type", "interrupt_index", "interrupt_sub_index")),
    _core(
        Opcode.CONFIG_CONTEXT_SWITCH_BREAKPOINT,
        (*_le32("breakpoint_id"), *_u8("breakpoint_control"), *_struct("breakpoint_data", BREAKPOINT_DATA)),
    ),
    _core(Opcode.GET_CONTEXT_SWITCH_BREAKPOINT_STATUS, _le32("breakpoint_id"), _u8("breakpoint_status")),
    _core(Opcode.GET_CONTEXT_SWITCH_MAIN_HEADER, response=_struct("main_header", MAIN_HEADER)),
    _core(Opcode.CONFIG_CONTEXT_SWITCH_TIMESTAMP, (*_be16("batch_index"), *_u8("enable_user_configuration"))),
    _core(Opcode.CONTEXT_SWITCH_CLEAR_CONFIGURED_APPS),
    _core(Opcode.GET_HW_CONSTS, response=_struct("hw_consts", HW_CONSTS)),
    _core(
        Opcode.CHANGE_HW_INFER_STATUS,
        (
            *_u8("hw_infer_state", "application_index"),
            *_le16("dynamic_batch_size", "batch_count"),
            *_struct("channels_info", HW_INFER_CHANNELS),
            *_u8("boundary_channel_mode"),
        ),
        _struct("results", HW_INFER_RESULTS),
    ),
    _core(Opcode.CONTEXT_SWITCH_SIGNAL_CACHE_UPDATED),
)

_SYSTEM = (
    _app(Opcode.IDLE_TIME_SET_MEASUREMENT, _u8("measurement_enable")),
    _app(Opcode.IDLE_TIME_GET_MEASUREMENT, response=(Param("idle_time_ns", "be64"),)),
    _app(Opcode.APP_WD_ENABLE, _u8("should_enable")),
    _app(Opcode.APP_WD_CONFIG, (*_be32("wd_cycles"), *_u8("wd_mode"))),
    _app(Opcode.APP_PREVIOUS_SYSTEM_STATE, response=_be32("system_state")),
    _core(Opcode.CORE_IDENTIFY, response=_struct("fw_version", FIRMWARE_VERSION)),
    _app(
        Opcode.D2H_EVENT_MANAGER_SET_HOST_INFO,
        (*_u8("connection_type"), *_be32("host_ip_address"), *_be16("host_port")),
    ),
    _app(Opcode.D2H_EVENT_MANAGER_SEND_EVENT_HOST_INFO, _u8("priority")),
    _app(Opcode.GET_CHIP_TEMPERATURE, response=_struct("info", TEMPERATURE_INFO)),
    _app(Opcode.ENABLE_DEBUGGING, _u8("is_rma")),
    _app(
        Opcode.GET_DEVICE_INFORMATION,
        response=(
            *_be32("neural_network_core_clock_rate"),
            *_struct("supported_features", SUPPORTED_FEATURES),
            *_be32("boot_source"),
            *_u8("lcs"),
            *_bytes("soc_id", 32),
            *_bytes("eth_mac_address", 6),
            *_struct("fuse_info", FUSE_INFO),
            *_bytes("pd_info", 24),
            *_be32("partial_clusters_layout_bitmap"),
        ),
    ),
    _app(Opcode.SET_FW_LOGGER, _u8("level", "logger_interface_bit_mask")),
    _app(Opcode.SET_PAUSE_FRAMES, _u8("rx_pause_frames_enable")),
    _app(
        Opcode.RUN_BIST_TEST,
        (
            *_u8("is_top_test"),
            *_be32("top_bypass_bitmap"),
            *_u8("cluster_index"),
            *_be32("cluster_bypass_bitmap_0", "cluster_bypass_bitmap_1"),
        ),
    ),
    _app(Opcode.SET_CLOCK_FREQ, _be32("clock_freq")),
    _app(
        Opcode.GET_HEALTH_INFORMATION,
        response=(
            *_u8("overcurrent_protection_active", "current_overcurrent_zone"),
            Param(
                "red_overcurrent_threshold",
                "f32",
                source="control-protocol.md 3.1: the host shows float(bswap32(uint32(value))), so send the inverse",
            ),
            *_u8("overcurrent_throttling_active", "temperature_throttling_active", "current_temperature_zone"),
            Param("current_temperature_throttling_level", "i8"),
            *_struct("temperature_throttling_levels", THROTTLING_LEVELS),
            *_bei32("orange_temperature_threshold", "orange_hysteresis_temperature_threshold"),
            *_bei32("red_temperature_threshold", "red_hysteresis_temperature_threshold"),
            *_be32("requested_overcurrent_clock_freq", "requested_temperature_clock_freq"),
        ),
    ),
    _app(Opcode.SET_THROTTLING_STATE, _u8("should_activate")),
    _app(Opcode.GET_THROTTLING_STATE, response=_u8("is_active")),
    _app(Opcode.SET_OVERCURRENT_STATE, _u8("should_activate")),
    _app(Opcode.GET_OVERCURRENT_STATE, response=_u8("is_required")),
    _core(Opcode.CORE_PREVIOUS_SYSTEM_STATE, response=_be32("system_state")),
    _core(Opcode.CORE_WD_ENABLE, _u8("should_enable")),
    _core(Opcode.CORE_WD_CONFIG, (*_be32("wd_cycles"), *_u8("wd_mode"))),
    _app(Opcode.SET_SLEEP_STATE, _u8("sleep_state")),
)

# No request builder exists for these in the official library (control-protocol.md 4).
_OBSOLETE = (
    _core(Opcode.SWITCH_APPLICATION, obsolete=True),
    _app(Opcode.GET_SOC_ID, obsolete=True),
    _core(Opcode.SIGNAL_DRIVER_DOWN, obsolete=True),
    _core(Opcode.CONTEXT_SWITCH_INIT_CACHE_INFO, obsolete=True),
    _core(Opcode.CONTEXT_SWITCH_GET_CACHE_INFO, obsolete=True),
    _core(Opcode.CONTEXT_SWITCH_UPDATE_CACHE_READ_OFFSET, obsolete=True),
)

CONTROLS: Mapping[int, Control] = {
    control.opcode: control
    for control in sorted(
        (*_DEVICE, *_POWER, *_UPDATE, *_SENSORS, *_CONTEXT_SWITCH, *_SYSTEM, *_OBSOLETE), key=lambda c: c.opcode
    )
}
