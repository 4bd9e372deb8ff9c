"""Framing of controls and the structures they carry (facts: control-protocol.md 2, 3, 11).

Byte order is part of each member's type because one protocol mixes three (control-protocol.md 3.1): headers and most
scalars are big endian, blobs and floats are native little endian.
"""

from __future__ import annotations

from dataclasses import dataclass

from .layout import Field, Reg, Struct, sequential


@dataclass(frozen=True)
class Param:
    """One length-prefixed parameter.

    ``type`` is a scalar of `layout.SCALARS`, a `Struct`, or ``bytes`` of ``size`` bytes (0: as long as its length word
    says, up to ``max_size`` bytes; ``max_size`` 0 means the end of the message).
    """

    name: str
    type: str | Struct
    size: int = 0
    max_size: int = 0
    source: str = ""


@dataclass(frozen=True)
class Control:
    """One opcode: processor and parameters.

    Every one is answered, but RESET (7) for the neural core only; that depends on the reset type in the request, so it
    is behaviour (control-protocol.md 7.6). ``obsolete`` opcodes have no request builder in the official library; their
    parameters are unknown (control-protocol.md 4).
    """

    opcode: int
    name: str
    cpu: int
    request: tuple[Param, ...] = ()
    response: tuple[Param, ...] = ()
    obsolete: bool = False
    source: str = ""


@dataclass(frozen=True)
class ControlRules:
    """Constants of the framing (control-protocol.md 1, 2, 3, 8)."""

    protocol_version: int = 2
    sequence: int = 0  # PCIe: firmware ignores sequence 0 and drops a repeated other one (3.4)
    max_data_bytes: int = 1024
    max_chunk_bytes: int = 1461
    board_config_bytes: int = 500
    sensor_sections: int = 8
    any_application: int = 0xFF


REQUEST_HEADER: Struct = sequential(
    "request_header",
    "control-protocol.md 2.1",
    ("version", "be32"),
    ("flags", "be32"),
    ("sequence", "be32"),
    ("opcode", "be32"),
    ("parameter_count", "be32"),
)
#: The parameter count follows as `PARAMETER_COUNT`; a reply without parameters may end here.
RESPONSE_HEADER: Struct = sequential(
    "response_header",
    "control-protocol.md 2.2",
    ("version", "be32"),
    ("flags", "be32"),
    ("sequence", "be32"),
    ("opcode", "be32"),
    ("major_status", "be32"),
    ("minor_status", "be32"),
)
PARAMETER_COUNT: Struct = sequential("parameter_count", "control-protocol.md 2.2", ("parameter_count", "be32"))
PARAMETER_HEADER: Struct = sequential("parameter_header", "control-protocol.md 2.1", ("length", "be32"))
FLAGS = Reg("flags", 0x4, fields=(Field("ack", 0),), source="control-protocol.md 2.1, 2.2")

FIRMWARE_VERSION: Struct = sequential(
    "firmware_version", "control-protocol.md 3.2", ("major", "le32"), ("minor", "le32"), ("revision", "le32")
)
FIRMWARE_REVISION = Reg(
    "firmware_revision",
    0x8,
    fields=(
        Field("number", 0, 27),
        Field("core_cpu", 27, source="opcode 0 must answer 0, opcode 42 must answer 1"),
        Field("extended_context_switch", 29),
        Field("development", 30),
        Field("second_stage", 31),
    ),
    source="control-protocol.md 3.2",
)

SUPPORTED_FEATURES: Struct = sequential(
    "supported_features", "control-protocol.md 5.51, 8", ("flags", "be32"), ("reserved", "bytes", 4)
)
FEATURE_FLAGS = Reg(
    "supported_features.flags",
    0x0,
    fields=(
        Field("ethernet", 0),
        Field("mipi", 1),
        Field("pcie", 2),
        Field("current_monitoring", 3),
        Field("mdio", 4),
    ),
    source="control-protocol.md 8",
)
FUSE_INFO: Struct = sequential(
    "fuse_info", "control-protocol.md 11; printed as 12 raw bytes", ("lot_id", "bytes", 8), ("die_wafer_info", "le32")
)
HW_CONSTS: Struct = sequential(
    "hw_consts",
    "control-protocol.md 11",
    ("fifo_word_granularity_bytes", "le32"),
    ("max_periph_buffers_per_frame", "le16"),
    ("max_periph_bytes_per_buffer", "le16"),
    ("max_acceptable_bytes_per_buffer", "le16"),
    ("outbound_data_stream_size", "le32"),
    ("should_optimize_credits", "u8"),
    ("default_initial_credit_size", "le32"),
)
TEMPERATURE_INFO: Struct = sequential(
    "temperature_info",
    "control-protocol.md 3.1, 11: floats native, counter big endian",
    ("ts0_temperature", "f32"),
    ("ts1_temperature", "f32"),
    ("sample_count", "be16"),
)
THROTTLING_LEVEL: Struct = sequential(
    "throttling_level",
    "control-protocol.md 11",
    ("temperature_threshold", "f32"),
    ("hysteresis_temperature_threshold", "f32"),
    ("throttling_nn_clock_freq", "le32"),
)
THROTTLING_LEVELS: Struct = sequential("throttling_levels", "control-protocol.md 5.62", ("levels", THROTTLING_LEVEL, 4))
BREAKPOINT_DATA: Struct = sequential(
    "context_switch_breakpoint_data",
    "control-protocol.md 11",
    ("break_at_any_application_index", "u8"),
    ("application_index", "u8"),
    ("break_at_any_batch_index", "u8"),
    ("batch_index", "le16"),
    ("break_at_any_context_index", "u8"),
    ("context_index", "le16"),
    ("break_at_any_action_index", "u8"),
    ("action_index", "le16"),
)
HW_INFER_CHANNEL: Struct = sequential(
    "hw_infer_channel_info",
    "control-protocol.md 11",
    ("channel_index", "u8"),
    ("engine_index", "u8"),
    ("desc_programed", "le16"),
)
HW_INFER_CHANNELS: Struct = sequential(
    "hw_infer_channels_info", "control-protocol.md 11", ("channel_info", HW_INFER_CHANNEL, 96), ("channel_count", "u8")
)
HW_INFER_RESULTS: Struct = sequential(
    "hw_only_infer_results", "control-protocol.md 11", ("infer_done", "u8"), ("infer_cycles", "le32")
)

APPLICATION_HEADER: Struct = sequential(
    "application_header",
    "context-switch.md 2",
    ("dynamic_contexts_count", "le16"),
    ("preliminary_run_asap", "u8"),
    ("batch_register_config", "u8"),
    ("can_fast_batch_switch", "u8"),
    ("is_abbale_supported", "u8"),
    ("networks_count", "u8"),
    ("csm_buffer_size", "le16"),
    ("batch_size", "le16"),
    ("external_action_list_address", "le32"),
    ("boundary_channels_bitmap", "le32", 3),
    ("config_channels_count", "u8"),
    ("config_channel_info", "u8", 4),
)
MAIN_HEADER: Struct = sequential(
    "context_switch_main_header",
    "control-protocol.md 5.54, 11",
    ("application_count", "u8"),
    ("application_header", APPLICATION_HEADER, 32),
)

SENSOR_SECTION: Struct = sequential(
    "sensor_section_info",
    "control-protocol.md 10, 11; byte order GUESS: native, like every other blob of this protocol",
    ("sensor_type", "le32"),
    ("config_size", "le32"),
    ("reset_config_size", "le16"),
    ("is_free", "u8"),
    ("no_reset_offset", "u8"),
    ("config_height", "le16"),
    ("config_width", "le16"),
    ("config_fps", "le16"),
    ("section_version", "le16"),
    ("config_name", "bytes", 100),
)
SENSOR_SECTIONS: Struct = sequential(
    "sensor_sections_info", "control-protocol.md 5.31", ("sections", SENSOR_SECTION, 8)
)
SENSOR_RECORD: Struct = sequential(
    "sensor_operation_cfg",
    "control-protocol.md 10, 11; page 0xFF means none; byte order GUESS: native",
    ("operation", "u8"),
    ("length", "u8"),
    ("page", "u8"),
    ("address", "le32"),
    ("bitmask", "le32"),
    ("value", "le32"),
)
