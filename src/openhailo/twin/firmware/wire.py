"""Controls on the wire: requests in, responses out (control-protocol.md 2, 3).

Every malformed request has a status of its own; parsing never raises anything but `Refused` and never reads more than
the message.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openhailo.spec.layout import SCALARS, Struct

from .refusal import Refused

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec
    from openhailo.spec.control import Control, Param

_CP = "CONTROL_PROTOCOL_STATUS_"

#: Parameter name -> status for a value of the wrong width (fw.status.json, module 3).
_LENGTH_STATUS: Mapping[str, str] = {
    "address": "INVALID_ADDRESS_SIZE",
    "data_count": "INVALID_DATA_COUNT_SIZE",
    "stream_index": "INVALID_STREAM_INDEX_SIZE",
    "is_input": "INVALID_IS_INPUT_SIZE",
    "communication_type": "INVALID_COMMUNICATION_TYPE_LENGTH",
    "communication_params": "INVALID_COMMUNICATION_PARAMS_LENGTH",
    "skip_nn_stream_config": "INVALID_SKIP_NN_STREAM_CONFIG_LENGTH",
    "power_mode": "INVALID_POWER_MODE_LENGTH",
    "nn_stream_config": "INVALID_NN_STREAM_CONFIG_LENGTH",
    "dataflow_manager_id": "INVALID_DATAFLOW_MANAGER_ID_LENGTH",
    "operation_type": "INVALID_OPERATION_TYPE_SIZE",
    "reset_type": "INVALID_RESET_TYPE",
    "config_type": "INVALID_CONFIG_TYPE_LENGTH",
    "config_params": "INVALID_CONFIG_CORE_TOP_CONFIG_PARAMS_LENGTH",
    "register_address": "INVALID_REGISTER_ADDRESS_SIZE",
    "slave_address": "INVALID_SENSOR_CONFIG_SLAVE_ADDRESS_LENGTH",
    "register_address_size": "INVALID_SENSOR_CONFIG_SLAVE_REGISTERS_LENGTH",
    "bus_index": "INVALID_SENSOR_CONFIG_SLAVE_BUS_INDEX_LENGTH",
    "i2c_bus_index": "INVALID_SENSOR_CONFIG_SLAVE_BUS_INDEX_LENGTH",
    "should_hold_bus": "INVALID_SENSOR_CONFIG_SLAVE_BUS_HOLD_LENGTH",
    "endianness": "INVALID_SENSOR_CONFIG_SLAVE_ENDIANNESS_LENGTH",
    "expected_md5": "INVALID_MD5_SIZE",
    "firmware_size": "INVALID_FIRMWARE_SIZE",
    "second_stage_size": "INVALID_SECOND_STAGE_SIZE",
    "section_index": "INVALID_SENSOR_CONFIG_SECTION_INDEX_LENGTH",
    "is_first": "INVALID_SENSOR_CONFIG_IS_FIRST_LENGTH",
    "start_offset": "INVALID_SENSOR_CONFIG_START_OFFSET_LENGTH",
    "reset_data_size": "INVALID_SENSOR_CONFIG_RESET_DATA_SIZE_LENGTH",
    "sensor_type": "INVALID_SENSOR_CONFIG_SENSOR_TYPE_LENGTH",
    "total_data_size": "INVALID_SENSOR_CONFIG_TOTAL_DATA_SIZE_LENGTH",
    "data_size": "INVALID_SENSOR_CONFIG_DATA_SIZE_LENGTH",
    "application_header": "INVALID_CONTEXT_SWITCH_APP_HEADER_LENGTH",
    "is_first_chunk_per_context": "INVALID_CONTEXT_SWITCH_IS_FIRST_CONTROL_PER_CONTEXT_LENGTH",
    "is_last_chunk_per_context": "INVALID_CONTEXT_SWITCH_IS_LAST_CONTROL_PER_CONTEXT_LENGTH",
    "context_type": "INVALID_CONTEXT_SWITCH_CONTEXT_TYPE_LENGTH",
    "context_network_data": "CONTEXT_SWITCH_CONTEXT_NETWORK_DATA_LENGTH_HIGHER_THEN_MAX_CONTROL_SIZE",
    "network_group_id": "INVALID_CONTEXT_SWITCH_CONTEXT_NETWORK_GROUP_ID_LENGTH",
    "context_index": "INVALID_CONTEXT_SWITCH_CONTEXT_INDEX_LENGTH",
    "action_list_offset": "INVALID_ACTION_LIST_OFFSET_LENGTH",
    "state_machine_status": "INVALID_STATE_MACHINE_STATUS_LENGTH",
    "application_index": "INVALID_APPLICATION_INDEX_LENGTH",
    "dynamic_batch_size": "INVALID_DYNAMIC_BATCH_SIZE_LENGTH",
    "batch_count": "INVALID_BATCH_COUNT_LENGTH",
    "should_enable": "INVALID_SHOULD_ENABLE_LENGTH",
    "wd_cycles": "INVALID_WD_CYCLES_LENGTH",
    "interrupt_type": "INVALID_INTERRUPT_TYPE_LENGTH",
    "interrupt_index": "INVALID_INTERRUPT_INDEX_LENGTH",
    "interrupt_sub_index": "INVALID_INTERRUPT_SUB_INDEX_LENGTH",
    "connection_type": "D2H_EVENT_MANAGER_SET_NEW_HOST_INFO_INVALID_CONNECTION_TYPE_LENGTH",
    "host_ip_address": "D2H_EVENT_MANAGER_SET_NEW_HOST_INFO_INVALID_IP_ADDR_LENGTH",
    "host_port": "D2H_EVENT_MANAGER_SET_NEW_HOST_INFO_INVALID_PORT_LENGTH",
    "priority": "D2H_EVENT_MANAGER_HOST_INFO_INVALID_PRIORITY_LENGTH",
    "is_rma": "INVALID_IS_RMA_SIZE",
    "breakpoint_id": "INVALID_BREAKPOINT_ID_LENGTH",
    "breakpoint_control": "INVALID_BREAKPOINT_CONTROL_LENGTH",
    "breakpoint_data": "INVALID_BREAKPOINT_DATA_LENGTH",
    "level": "INVALID_LOGGER_LEVEL",
    "logger_interface_bit_mask": "INVALID_LOGGER_INTERFACE",
    "batch_index": "INVALID_BATCH_INDEX_LENGTH",
    "enable_user_configuration": "INVALID_ENABLE_USER_CONFIGURATION_LENGTH",
    "is_top_test": "INVALID_IS_TOP_TEST_LENGTH",
    "top_bypass_bitmap": "INVALID_TOP_BYPASS_BITMAP_LENGTH",
    "cluster_index": "INVALID_CLUSTER_BITMAP_LENGTH",
    "cluster_bypass_bitmap_0": "INVALID_CLUSTER_BYPASS_BITMAP_0_LENGTH",
    "cluster_bypass_bitmap_1": "INVALID_CLUSTER_BYPASS_BITMAP_1_LENGTH",
    "sleep_state": "INVALID_SLEEP_STATE_SIZE",
    "hw_infer_state": "INVALID_HW_INFER_STATE_LENGTH",
    "channels_info": "INVALID_CHANNELS_INFO_LENGTH",
    "boundary_channel_mode": "INVALID_BOUNDARY_CHANNELS_MODE_LENGTH",
}


def length_status(name: str) -> str:
    """Return the status for parameter ``name`` of the wrong width; INVALID_DATA_LENGTH where none is its own."""
    return _CP + _LENGTH_STATUS.get(name, "INVALID_DATA_LENGTH")


@dataclass(frozen=True)
class Request:
    """A request whose header was good."""

    version: int
    sequence: int
    opcode: int
    parameter_count: int


def parse_header(spec: ChipSpec, message: bytes) -> Request:
    """Read the request header. Raises `Refused`: too short, too long, foreign version, or an answer (ack set)."""
    layout = spec.request_header
    if len(message) < layout.size:
        raise Refused("HAILO_CONTROL_STATUS_OVERRUN_BEFORE_PARAMETERS")
    if len(message) > spec.mailbox.max_message_bytes:
        raise Refused(_CP + "REQUSET_LENGTH_OVERFLOW")
    header = layout.unpack(message)
    if header["version"] != spec.control_rules.protocol_version:
        raise Refused("HAILO_CONTROL_STATUS_INVALID_VERSION")
    if spec.flags["ack"].get(header["flags"]):
        raise Refused("HAILO_CONTROL_STATUS_CONTROL_ACK_RECEIVED")
    return Request(header["version"], header["sequence"], header["opcode"], header["parameter_count"])


def parse_parameters(spec: ChipSpec, control: Control, request: Request, message: bytes) -> dict[str, Any]:
    """Read the parameters of ``control``: name -> value. Raises `Refused` with the status of the first fault."""
    if request.parameter_count != len(control.request):
        raise Refused(_CP + "INCORRECT_PARAMETER_COUNT")
    values: dict[str, Any] = {}
    at = spec.request_header.size
    for param in control.request:
        value, at = _take(spec, message, at)
        values[param.name] = _decode(param, value)
    if at != len(message):
        raise Refused("CONTROL_PROTOCOL_PART_OF_THE_MESSAGE_NOT_PARSED")
    return values


def _take(spec: ChipSpec, message: bytes, at: int) -> tuple[bytes, int]:
    """Return the value of the parameter whose length word is at ``at``, and where the next one starts."""
    layout = spec.parameter_header
    start = at + layout.size
    if start > len(message):
        raise Refused("HAILO_CONTROL_STATUS_OVERRUN_AT_PARAMETER")
    end = start + int(layout.unpack(message, at)["length"])
    if end > len(message):
        raise Refused("HAILO_CONTROL_STATUS_OVERRUN_AT_PARAMETER")
    return message[start:end], end


def _decode(param: Param, value: bytes) -> Any:
    kind = param.type
    if isinstance(kind, Struct):
        _demand(param, len(value) == kind.size)
        return kind.unpack(value)
    if kind == "bytes":
        if param.size:
            _demand(param, len(value) == param.size)
        else:
            _demand(param, not param.max_size or len(value) <= param.max_size)
        return value
    code, size = SCALARS[kind]
    _demand(param, len(value) == size)
    return struct.unpack(code, value)[0]


def _demand(param: Param, holds: bool) -> None:
    if not holds:
        raise Refused(length_status(param.name))


def build_response(
    spec: ChipSpec, request: Request, control: Control | None, values: Mapping[str, Any] | None, status: tuple[int, int]
) -> bytes:
    """Serialise an answer: 24 header bytes, the parameter count, and for a success the parameters of ``control``."""
    head = spec.response_header.pack(
        version=spec.control_rules.protocol_version,
        flags=spec.flags.pack(ack=1),
        sequence=request.sequence,
        opcode=request.opcode,
        major_status=status[0],
        minor_status=status[1],
    )
    params = control.response if control is not None and values is not None and not status[0] else ()
    assert not params or set(values or ()) == {p.name for p in params}, "a handler answers every parameter"
    body = b"".join(_encode_prefixed(spec, p, (values or {})[p.name]) for p in params)
    return head + spec.parameter_count.pack(parameter_count=len(params)) + body


def _encode_prefixed(spec: ChipSpec, param: Param, value: Any) -> bytes:
    encoded = _encode(param, value)
    return spec.parameter_header.pack(length=len(encoded)) + encoded


def _encode(param: Param, value: Any) -> bytes:
    kind = param.type
    if isinstance(kind, Struct):
        return kind.pack(**value)
    if kind == "bytes":
        data = bytes(value)
        return data[: param.size].ljust(param.size, b"\0") if param.size else data
    return struct.pack(SCALARS[kind][0], value)
