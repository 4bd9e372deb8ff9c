"""Context-switch actions and the structures they carry (facts: context-switch.md 2, 4-9; all native little endian).

An action list is a plain concatenation: `ACTION_HEADER`, then the payload that the type fixes, no padding, no count. A
repeated block is `ACTION_HEADER` (type 24), `REPEATED_HEADER`, then ``count`` payloads without their own headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from .enums import ContextIndex, ContextType, CreditType, EdgeLayerDirection, HostBufferType, WriteDataType
from .layout import Field, Reg, Struct, sequential
from .messages import APPLICATION_HEADER, MAIN_HEADER

__all__ = [
    "ACTIONS",
    "ACTION_HEADER",
    "APPLICATION_HEADER",
    "HOST_BUFFER_INFO",
    "MAIN_HEADER",
    "PACKED_CHANNEL",
    "PACKED_LCU",
    "REPEATED_HEADER",
    "SEQUENCER_CONFIG",
    "STREAM_REG_INFO",
    "Action",
    "ActionRules",
    "ActionType",
    "ContextIndex",
    "ContextType",
    "CreditType",
    "EdgeLayerDirection",
    "HostBufferType",
    "WriteDataType",
]


class ActionType(IntEnum):
    """First byte of an action (CONTEXT_SWITCH_DEFS__ACTION_TYPE_t)."""

    FETCH_CFG_CHANNEL_DESCRIPTORS = 0
    TRIGGER_SEQUENCER = 1
    FETCH_DATA_FROM_VDMA_CHANNEL = 2
    ENABLE_LCU_DEFAULT = 3
    ENABLE_LCU_NON_DEFAULT = 4
    DISABLE_LCU = 5
    ACTIVATE_BOUNDARY_INPUT = 6
    ACTIVATE_BOUNDARY_OUTPUT = 7
    ACTIVATE_INTER_CONTEXT_INPUT = 8
    ACTIVATE_INTER_CONTEXT_OUTPUT = 9
    ACTIVATE_DDR_BUFFER_INPUT = 10
    ACTIVATE_DDR_BUFFER_OUTPUT = 11
    DEACTIVATE_VDMA_CHANNEL = 12
    CHANGE_VDMA_TO_STREAM_MAPPING = 13
    ADD_DDR_PAIR_INFO = 14
    DDR_BUFFERING_START = 15
    LCU_INTERRUPT = 16
    SEQUENCER_DONE_INTERRUPT = 17
    INPUT_CHANNEL_TRANSFER_DONE_INTERRUPT = 18
    OUTPUT_CHANNEL_TRANSFER_DONE_INTERRUPT = 19
    MODULE_CONFIG_DONE_INTERRUPT = 20
    APPLICATION_CHANGE_INTERRUPT = 21
    ACTIVATE_CFG_CHANNEL = 22
    DEACTIVATE_CFG_CHANNEL = 23
    REPEATED_ACTION = 24
    WAIT_FOR_DMA_IDLE_ACTION = 25
    WAIT_FOR_NMS = 26
    FETCH_CCW_BURSTS = 27
    VALIDATE_VDMA_CHANNEL = 28
    BURST_CREDITS_TASK_START = 29
    BURST_CREDITS_TASK_RESET = 30
    DDR_BUFFERING_RESET = 31
    OPEN_BOUNDARY_INPUT_CHANNEL = 32
    OPEN_BOUNDARY_OUTPUT_CHANNEL = 33
    ENABLE_NMS = 34
    WRITE_DATA_BY_TYPE = 35
    SWITCH_LCU_BATCH = 36
    CHANGE_BOUNDARY_INPUT_BATCH = 37
    PAUSE_VDMA_CHANNEL = 38
    RESUME_VDMA_CHANNEL = 39
    ACTIVATE_CACHE_INPUT = 40
    ACTIVATE_CACHE_OUTPUT = 41
    WAIT_FOR_CACHE_UPDATED = 42
    SLEEP = 43
    HALT = 44


@dataclass(frozen=True)
class Action:
    """One action type: its payload after the common header, and whether it may be folded into a repeated block."""

    id: int
    name: str
    payload: Struct
    repeatable: bool = False
    source: str = ""


@dataclass(frozen=True)
class ActionRules:
    """Constants of the framing (context-switch.md 2, 4, 5, 13)."""

    host_time_stamp: int = 0xFFFFFFFF
    max_repeated: int = 255
    min_repeated: int = 2
    lcu_default_kernel_done_address: int = 1
    lcu_default_kernel_done_count: int = 2


ACTION_HEADER: Struct = sequential(
    "common_action_header", "context-switch.md 4", ("action_type", "u8"), ("time_stamp", "le32")
)
REPEATED_HEADER: Struct = sequential(
    "repeated_action_header",
    "context-switch.md 4",
    ("count", "u8"),
    ("last_executed", "u8"),
    ("sub_action_type", "u8"),
)
HOST_BUFFER_INFO: Struct = sequential(
    "host_buffer_info",
    "context-switch.md 6",
    ("buffer_type", "u8"),
    ("dma_address", "le64"),
    ("desc_page_size", "le16"),
    ("total_desc_count", "le32"),
    ("bytes_in_pattern", "le32"),
)
STREAM_REG_INFO: Struct = sequential(
    "stream_reg_info",
    "context-switch.md 7",
    ("core_bytes_per_buffer", "le16"),
    ("core_buffers_per_frame", "le16"),
    ("periph_bytes_per_buffer", "le16"),
    ("periph_buffers_per_frame", "le16"),
    ("feature_padding_payload", "le16"),
    ("buffer_padding_payload", "le32"),
    ("buffer_padding", "le16"),
    ("is_core_hw_padding_config_in_dfc", "u8"),
)
SEQUENCER_CONFIG: Struct = sequential(
    "sequencer_config",
    "context-switch.md 9",
    ("initial_l3_cut", "u8"),
    ("initial_l3_offset", "le16"),
    ("active_apu", "le32"),
    ("active_ia", "le32"),
    ("active_sc", "le64"),
    ("active_l2", "le64"),
    ("l2_offset_0", "le64"),
    ("l2_offset_1", "le64"),
)

PACKED_CHANNEL = Reg(
    "packed_vdma_channel_id",
    0x0,
    width_bytes=1,
    fields=(Field("channel", 0, 5), Field("engine", 5, 2)),
    source="context-switch.md 5",
)
PACKED_LCU = Reg(
    "packed_lcu_id",
    0x0,
    width_bytes=1,
    fields=(Field("lcu", 0, 4), Field("cluster", 4, 3)),
    source="context-switch.md 5",
)

_Member = tuple[str, str | Struct]
_CHANNEL: _Member = ("packed_vdma_channel_id", "u8")
_STREAM: _Member = ("stream_index", "u8")
_NETWORK: _Member = ("network_index", "u8")
_REGISTERS: _Member = ("stream_reg_info", STREAM_REG_INFO)
_BUFFER: _Member = ("host_buffer_info", HOST_BUFFER_INFO)
_CREDIT: _Member = ("initial_credit_size", "le32")
_DIRECTION: _Member = ("edge_layer_direction", "u8")
_BUFFER_TYPE: _Member = ("host_buffer_type", "u8")
_CONFIG_STREAM: _Member = ("config_stream_index", "u8")
_LCU: _Member = ("packed_lcu_id", "u8")


def _action(kind: ActionType, *members: _Member, repeatable: bool = False) -> Action:
    source = f"context-switch.md 8, 9 ({kind.value})"
    return Action(kind.value, kind.name, sequential(kind.name.lower(), source, *members), repeatable, source)


_ALL = (
    _action(ActionType.FETCH_CFG_CHANNEL_DESCRIPTORS, ("descriptors_count", "le16"), _CHANNEL, repeatable=True),
    _action(
        ActionType.TRIGGER_SEQUENCER, ("cluster_index", "u8"), ("sequencer_config", SEQUENCER_CONFIG), repeatable=True
    ),
    _action(
        ActionType.FETCH_DATA_FROM_VDMA_CHANNEL,
        _CHANNEL,
        _STREAM,
        _NETWORK,
        ("frame_periph_size", "le32"),
        ("credit_type", "u8"),
        _BUFFER_TYPE,
    ),
    _action(ActionType.ENABLE_LCU_DEFAULT, _LCU, _NETWORK, repeatable=True),
    _action(
        ActionType.ENABLE_LCU_NON_DEFAULT,
        _LCU,
        _NETWORK,
        ("kernel_done_address", "le16"),
        ("kernel_done_count", "le32"),
        repeatable=True,
    ),
    _action(ActionType.DISABLE_LCU, _LCU, repeatable=True),
    _action(ActionType.ACTIVATE_BOUNDARY_INPUT, _CHANNEL, _STREAM, _REGISTERS, _BUFFER, _CREDIT),
    _action(ActionType.ACTIVATE_BOUNDARY_OUTPUT, _CHANNEL, _STREAM, _NETWORK, _REGISTERS, _BUFFER),
    _action(ActionType.ACTIVATE_INTER_CONTEXT_INPUT, _CHANNEL, _STREAM, _NETWORK, _REGISTERS, _BUFFER, _CREDIT),
    _action(ActionType.ACTIVATE_INTER_CONTEXT_OUTPUT, _CHANNEL, _STREAM, _NETWORK, _REGISTERS, _BUFFER),
    _action(
        ActionType.ACTIVATE_DDR_BUFFER_INPUT,
        _CHANNEL,
        _STREAM,
        _REGISTERS,
        _BUFFER,
        _CREDIT,
        ("connected_d2h_packed_vdma_channel_id", "u8"),
    ),
    _action(
        ActionType.ACTIVATE_DDR_BUFFER_OUTPUT, _CHANNEL, _STREAM, _REGISTERS, _BUFFER, ("buffered_rows_count", "le32")
    ),
    _action(
        ActionType.DEACTIVATE_VDMA_CHANNEL,
        _CHANNEL,
        _DIRECTION,
        ("check_host_empty_num_available", "u8"),
        _BUFFER_TYPE,
        _CREDIT,
    ),
    _action(ActionType.CHANGE_VDMA_TO_STREAM_MAPPING, _CHANNEL, _STREAM, ("is_dummy_stream", "u8"), repeatable=True),
    _action(
        ActionType.ADD_DDR_PAIR_INFO,
        ("h2d_packed_vdma_channel_id", "u8"),
        ("d2h_packed_vdma_channel_id", "u8"),
        _NETWORK,
        ("descriptors_per_frame", "le32"),
        ("programmed_descriptors_count", "le16"),
        repeatable=True,
    ),
    _action(ActionType.DDR_BUFFERING_START),
    _action(ActionType.LCU_INTERRUPT, _LCU),
    _action(ActionType.SEQUENCER_DONE_INTERRUPT, ("sequencer_index", "u8")),
    _action(
        ActionType.INPUT_CHANNEL_TRANSFER_DONE_INTERRUPT,
        _CHANNEL,
        _STREAM,
        _NETWORK,
        ("is_inter_context", "u8"),
        _BUFFER_TYPE,
    ),
    _action(
        ActionType.OUTPUT_CHANNEL_TRANSFER_DONE_INTERRUPT,
        _CHANNEL,
        _STREAM,
        _NETWORK,
        ("is_inter_context", "u8"),
        _BUFFER_TYPE,
    ),
    _action(ActionType.MODULE_CONFIG_DONE_INTERRUPT, ("module_index", "u8")),
    _action(ActionType.APPLICATION_CHANGE_INTERRUPT),
    _action(ActionType.ACTIVATE_CFG_CHANNEL, _CHANNEL, _CONFIG_STREAM, _BUFFER),
    _action(ActionType.DEACTIVATE_CFG_CHANNEL, _CHANNEL, _CONFIG_STREAM),
    Action(ActionType.REPEATED_ACTION.value, "REPEATED_ACTION", REPEATED_HEADER, source="context-switch.md 4, 8"),
    _action(ActionType.WAIT_FOR_DMA_IDLE_ACTION, _CHANNEL, _STREAM, ("is_inter_context", "u8"), _BUFFER_TYPE),
    _action(
        ActionType.WAIT_FOR_NMS,
        ("aggregator_index", "u8"),
        ("pred_cluster_ob_index", "u8"),
        ("pred_cluster_ob_cluster_index", "u8"),
        ("pred_cluster_ob_interface", "u8"),
        ("succ_prepost_ob_index", "u8"),
        ("succ_prepost_ob_interface", "u8"),
    ),
    _action(ActionType.FETCH_CCW_BURSTS, ("ccw_bursts", "le16"), _CONFIG_STREAM),
    _action(
        ActionType.VALIDATE_VDMA_CHANNEL,
        _CHANNEL,
        _DIRECTION,
        ("check_host_empty_num_available", "u8"),
        _BUFFER_TYPE,
        _CREDIT,
    ),
    _action(ActionType.BURST_CREDITS_TASK_START),
    _action(ActionType.BURST_CREDITS_TASK_RESET),
    _action(ActionType.DDR_BUFFERING_RESET),
    _action(
        ActionType.OPEN_BOUNDARY_INPUT_CHANNEL,
        _CHANNEL,
        _BUFFER,
        _STREAM,
        _NETWORK,
        ("periph_bytes_per_buffer", "le16"),
        ("frame_periph_size", "le32"),
    ),
    _action(ActionType.OPEN_BOUNDARY_OUTPUT_CHANNEL, _CHANNEL, _BUFFER),
    _action(
        ActionType.ENABLE_NMS,
        ("nms_unit_index", "u8"),
        _NETWORK,
        ("number_of_classes", "le16"),
        ("burst_size", "le16"),
        ("division_factor", "u8"),
        repeatable=True,
    ),
    _action(
        ActionType.WRITE_DATA_BY_TYPE,
        ("address", "le32"),
        ("data_type", "u8"),
        ("data", "le32"),
        ("shift", "u8"),
        ("mask", "le32"),
        _NETWORK,
    ),
    _action(ActionType.SWITCH_LCU_BATCH, _LCU, _NETWORK, ("kernel_done_count", "le32"), repeatable=True),
    _action(ActionType.CHANGE_BOUNDARY_INPUT_BATCH, _CHANNEL),
    _action(ActionType.PAUSE_VDMA_CHANNEL, _CHANNEL, _DIRECTION),
    _action(ActionType.RESUME_VDMA_CHANNEL, _CHANNEL, _DIRECTION),
    _action(ActionType.ACTIVATE_CACHE_INPUT, _CHANNEL, _STREAM, _NETWORK, _REGISTERS, _BUFFER, _CREDIT),
    # The only action whose identifiers come last (context-switch.md 9, notes).
    _action(ActionType.ACTIVATE_CACHE_OUTPUT, _REGISTERS, _BUFFER, ("batch_size", "le16"), _CHANNEL, _STREAM, _NETWORK),
    _action(ActionType.WAIT_FOR_CACHE_UPDATED),
    _action(ActionType.SLEEP, ("sleep_time", "le32")),
    _action(ActionType.HALT),
)

ACTIONS: Mapping[int, Action] = {action.id: action for action in _ALL}
