"""What each action does (context-switch.md 16). A handler returns None when done, or a condition to wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from openhailo.twin.firmware.logs import CORE_CPU, DEBUG
from openhailo.twin.firmware.refusal import Refused

from .checks import check_buffer_type, check_credit, check_direction, check_opened, check_registers
from .pump import Port
from .run import ConfigChannel, Run, frame_bytes

Fields = Mapping[str, Any]
Wait = Callable[[], bool]

_CS = "CONTEXT_SWITCH_STATUS_"
_CLUSTERS = 8
BYTES, DESCRIPTORS = 1, 2
_CONSTANT, _BATCH_SIZE = 0, 1


def _nothing(run: Run, fields: Fields) -> None:
    """No host can observe whether this is done."""


# --- configuration ----------------------------------------------------------------------------------------------------


def activate_config(run: Run, fields: Fields) -> None:
    """22: open a config channel at position 0."""
    channel = run.channel(fields["packed_vdma_channel_id"], is_input=True)
    stream, buffer, header = fields["config_stream_index"], fields["host_buffer_info"], run.application.header
    if stream >= header["config_channels_count"]:
        raise Refused(_CS + "INVALID_CONFIG_STREAM_INDEX")
    if header["config_channel_info"][stream] != fields["packed_vdma_channel_id"]:
        raise Refused(_CS + "INVALID_CHANNEL_INDEX")
    if buffer["desc_page_size"] != header["csm_buffer_size"]:
        raise Refused("CSM_CONFIG_MANAGER_STATUS_INVALID_HOST_PAGE_SIZE")
    run.open(channel, buffer, managed=True)
    run.config_channels[channel] = ConfigChannel(stream, buffer["bytes_in_pattern"] // buffer["desc_page_size"])


def fetch_config(run: Run, fields: Fields) -> None:
    """0: the bytes of the next descriptors go into the core."""
    channel = run.channel(fields["packed_vdma_channel_id"], is_input=True)
    config = run.config_channels.get(channel)
    if config is None:
        raise Refused("CSM_CONFIG_MANAGER_STATUS_CSM_NOT_ENABLED_WHILE_TRYING_TO_FETCH_CONFIG")
    data = run.parts.board.vdma.fetch(channel, fields["descriptors_count"])
    config.left -= fields["descriptors_count"]
    run.core.configure(run.key, config.stream, data)


def deactivate_config(run: Run, fields: Fields) -> None:
    """23: close a config channel, of which everything was fetched."""
    channel = run.channel(fields["packed_vdma_channel_id"], is_input=True)
    config = run.config_channels.pop(channel, None)
    run.parts.board.vdma.close_channel(channel)
    if config is None or config.stream != fields["config_stream_index"]:
        raise Refused(_CS + "INVALID_CONFIG_STREAM_INDEX")
    if config.left:
        raise Refused(_CS + "MISMATCH_BETWEEN_EXPECTED_DESCRIPTOR_COUNT_AND_ACTUAL_REQUESTS")


def fetch_bursts(run: Run, fields: Fields) -> None:
    """27: pre-fetch mode does not exist on this chip (context-switch.md 8)."""
    raise Refused("CSM_CONFIG_MANAGER_STATUS_CSM_FETCH_ACTIONS_REQUEIRE_CSM_IN_PRE_FETCH_MODE")


def write_data(run: Run, fields: Fields) -> None:
    """35: a register of the core; value = (constant or batch) << shift, under the mask."""
    if fields["data_type"] not in (_CONSTANT, _BATCH_SIZE):
        raise Refused(_CS + "WRITE_DATA_BY_TYPE_ACTION_INVALID_TYPE")
    if fields["address"] % 4:
        raise Refused(_CS + "WRITE_DATA_BY_TYPE_ACTION_INVALID_MEMORY_SPACE")
    value = fields["data"] if fields["data_type"] == _CONSTANT else run.batch
    mask, address = fields["mask"], fields["address"]
    shifted = value << fields["shift"] & mask & 0xFFFFFFFF
    run.registers[address] = run.registers.get(address, 0) & ~mask | shifted


# --- clusters ---------------------------------------------------------------------------------------------------------


def _check_network(run: Run, index: int) -> None:
    if index >= run.application.header["networks_count"]:
        raise Refused(_CS + "INVALID_NETWORK_INDEX")


def enable_lcu(run: Run, fields: Fields) -> None:
    """3, 4, 36: a layer controller runs until its kernel is done this often; 36 keeps the address."""
    _check_network(run, fields["network_index"])
    lcu, rules = run.lcu(fields["packed_lcu_id"]), run.parts.spec.action_rules
    before, _ = run.lcus.get(lcu, (rules.lcu_default_kernel_done_address, 0))
    address = fields.get("kernel_done_address", before)
    run.lcus[lcu] = (address, fields.get("kernel_done_count", rules.lcu_default_kernel_done_count))


def disable_lcu(run: Run, fields: Fields) -> None:
    """5."""
    run.lcus.pop(run.lcu(fields["packed_lcu_id"]), None)


def trigger_sequencer(run: Run, fields: Fields) -> None:
    """1: the virtual sequencer is done at once; 17 asks whether it ever ran."""
    if fields["cluster_index"] >= _CLUSTERS:
        raise Refused(_CS + "INVALID_CLUSTER_INDEX")
    run.sequencers.add(fields["cluster_index"])


def sequencer_done(run: Run, fields: Fields) -> None:
    """17: a sequencer that was never triggered never finishes."""
    if fields["sequencer_index"] not in run.sequencers:
        raise Refused(_CS + "TIMEOUT_SEQUENCER")


def lcu_interrupt(run: Run, fields: Fields) -> Wait | None:
    """16: the context's computation for the batch is done."""
    return None if _is_computed(run) else partial(_is_computed, run)


def _is_computed(run: Run) -> bool:
    flow = run.pump.flow
    return not run.is_credited or flow is None or flow.computed >= run.batch


def enable_nms(run: Run, fields: Fields) -> None:
    """34: outputs of the network are bursts of boxes."""
    _check_network(run, fields["network_index"])
    if not fields["number_of_classes"]:
        raise Refused("NMS_MANAGER_STATUS_INVALID_NUM_CLASSES_SIZE")
    if not fields["burst_size"]:
        raise Refused("NMS_MANAGER_STATUS_INVALID_BURST_SIZE")
    run.nms[fields["network_index"]] = fields


# --- boundary channels ------------------------------------------------------------------------------------------------


def open_input(run: Run, fields: Fields) -> None:
    """32: start a boundary H2D channel with fresh counters."""
    _open_boundary(run, fields, is_input=True)


def open_output(run: Run, fields: Fields) -> None:
    """33: start a boundary D2H channel with fresh counters."""
    _open_boundary(run, fields, is_input=False)


def _open_boundary(run: Run, fields: Fields, *, is_input: bool) -> None:
    channel = run.channel(fields["packed_vdma_channel_id"], is_input=is_input)
    if channel in run.boundaries:
        raise Refused(_CS + "MULTIPLE_STREAMS_USE_THE_SAME_CHANNEL")
    managed = channel in run.device_frames
    buffer = fields["host_buffer_info"]
    if managed:
        buffer = {**buffer, "total_desc_count": run.device_frames[channel]}
    run.open(channel, buffer, managed=managed)
    run.boundaries[channel] = dict(fields)


def activate_boundary_input(run: Run, fields: Fields) -> None:
    """6: bind a boundary input to its stream."""
    _bind(run, fields, is_input=True, network=run.boundaries.get(_index(run, fields), {}).get("network_index", 0))


def activate_boundary_output(run: Run, fields: Fields) -> None:
    """7: bind a boundary output to its stream."""
    _bind(run, fields, is_input=False, network=fields["network_index"])


def _index(run: Run, fields: Fields) -> int:
    return run.channel(fields["packed_vdma_channel_id"])


def _bind(
    run: Run, fields: Fields, *, is_input: bool, network: int, is_boundary: bool = True, is_cache: bool = False
) -> None:
    channel = run.channel(fields["packed_vdma_channel_id"], is_input=is_input)
    _check_network(run, network)
    if not is_cache:  # how the window of a cache relates to a frame is not public
        check_registers(fields["stream_reg_info"], fields["host_buffer_info"])
    if is_input:
        check_credit(fields["initial_credit_size"])
    if is_boundary:
        if channel not in run.boundaries:
            raise Refused(_CS + "INVALID_CHANNEL_INDEX")
        check_opened(run.boundaries[channel], fields, is_input=is_input)
    page = fields["host_buffer_info"]["desc_page_size"]
    run.bind(Port(is_input, fields["stream_index"], channel, network, frame_bytes(fields), page, is_boundary))


def change_mapping(run: Run, fields: Fields) -> None:
    """13: which stream a boundary channel feeds in this context; a dummy parks it."""
    channel = _index(run, fields)
    boundary = run.boundaries.get(channel)
    if boundary is None:
        raise Refused(_CS + "INVALID_CHANNEL_INDEX")
    run.parked.discard(channel)
    if fields["is_dummy_stream"]:
        run.parked.add(channel)
    elif is_input_stream(boundary) and boundary["stream_index"] != fields["stream_index"]:
        raise Refused("CONTEXT_SWITCH_TASK_STATUS_UNDEFINED_MAPPING_FOR_SHIMFO")


def is_input_stream(boundary: Fields) -> bool:
    """Tell an opened input from an opened output: only inputs are opened with their stream."""
    return "stream_index" in boundary


def pause(run: Run, fields: Fields) -> Wait | None:
    """38: the context is over for this input once its batch went through."""
    channel = _directed(run, fields)
    if not run.is_batch_done():
        return partial(_then, run.is_batch_done, partial(run.parts.board.vdma.pause_channel, channel))
    run.parts.board.vdma.pause_channel(channel)
    return None


def _then(condition: Wait, action: Callable[[], None]) -> bool:
    if not condition():
        return False
    action()
    return True


def resume(run: Run, fields: Fields) -> None:
    """39: this input may be consumed again."""
    run.parts.board.vdma.resume_channel(_directed(run, fields))


def _directed(run: Run, fields: Fields) -> int:
    """Unpack the channel of an action that also says its direction."""
    channel = _index(run, fields)
    check_direction(fields, from_host=channel < run.parts.spec.vdma.host_to_device_channels)
    return channel


def fetch_data(run: Run, fields: Fields) -> None:
    """2: credits for one batch on this input."""
    check_buffer_type(fields["host_buffer_type"])
    _check_network(run, fields["network_index"])
    port = run.ports.get((True, fields["stream_index"]))
    if port is None or port.channel != _index(run, fields):
        raise Refused("BURST_CREDITS_TASK_STATUS_FAILED_TO_FIND_STREAM_INDEX")
    if fields["credit_type"] != (BYTES if port.is_boundary else DESCRIPTORS):
        raise Refused(_CS + "INVALID_EDGE_LAYER_CREDIT_TYPE")
    wanted = port.frame_bytes if port.is_boundary else -(-port.frame_bytes // port.page_size)
    if fields["frame_periph_size"] != wanted and not run.caches:
        raise Refused(_CS + "INVALID_CREDITS_SIZE")
    run.grant()


def start_credits(run: Run, fields: Fields) -> None:
    """29: keep granting."""
    run.grant_endless()


def reset_credits(run: Run, fields: Fields) -> None:
    """30: the task grants nothing until credits are given again."""
    if run.pump.flow is not None:
        run.pump.close()
    run.is_credited = False


# --- internal channels ------------------------------------------------------------------------------------------------


def activate_inter_input(run: Run, fields: Fields) -> None:
    """8: read a tensor that another context left in host memory."""
    _open_internal(run, fields, is_input=True)
    _bind(run, fields, is_input=True, network=fields["network_index"], is_boundary=False)


def activate_inter_output(run: Run, fields: Fields) -> None:
    """9: leave a tensor in host memory for another context."""
    _open_internal(run, fields, is_input=False)
    _bind(run, fields, is_input=False, network=fields["network_index"], is_boundary=False)


def activate_cache_input(run: Run, fields: Fields) -> None:
    """40: read a window of a persistent host buffer."""
    _open_internal(run, fields, is_input=True)
    _bind(run, fields, is_input=True, network=fields["network_index"], is_boundary=False, is_cache=True)


def activate_cache_output(run: Run, fields: Fields) -> None:
    """41: write one; the host is asked to move the offset after the inference (42)."""
    run.caches |= 1 << fields["stream_index"] % 64
    _open_internal(run, fields, is_input=False)
    _bind(run, fields, is_input=False, network=fields["network_index"], is_boundary=False, is_cache=True)


def activate_ddr(run: Run, fields: Fields) -> None:
    """10, 11: a row buffer in host memory, between the programs of a context that runs several."""
    writer = fields.get("connected_d2h_packed_vdma_channel_id")
    _open_internal(run, fields, is_input=writer is not None)
    run.ddr_streams[_index(run, fields)] = fields["stream_index"]
    if writer is None and not fields["buffered_rows_count"]:
        raise Refused(_CS + "INVALID_BUFFERS_PER_FRAME_VALUE")
    if writer is not None:
        check_credit(fields["initial_credit_size"])
        if run.channel(writer, is_input=False) not in run.internals:
            raise Refused(_CS + "INVALID_CHANNEL_INDEX")


def _open_internal(run: Run, fields: Fields, *, is_input: bool) -> None:
    channel = run.channel(fields["packed_vdma_channel_id"], is_input=is_input)
    if channel in run.boundaries or channel in run.config_channels:
        raise Refused(_CS + "MULTIPLE_STREAMS_USE_THE_SAME_CHANNEL")
    run.open(channel, fields["host_buffer_info"], managed=True)
    run.internals[channel] = fields["host_buffer_info"]


def deactivate(run: Run, fields: Fields) -> Wait | None:
    """12: close a device-managed channel after its batch went through."""
    channel = _directed(run, fields)
    check_buffer_type(fields["host_buffer_type"])
    close = partial(_close_internal, run, channel)
    if fields["check_host_empty_num_available"] and not run.is_batch_done():
        return partial(_then, run.is_batch_done, close)
    close()
    return None


def _close_internal(run: Run, channel: int) -> None:
    if channel in run.boundaries:
        raise Refused(_CS + "INVALID_CHANNEL_INDEX")
    run.parts.board.vdma.close_channel(channel)
    run.internals.pop(channel, None)
    run.ddr_streams.pop(channel, None)
    run.unbind(channel)


def add_ddr_pair(run: Run, fields: Fields) -> None:
    """14: register a pair with the credit task, which must be idle."""
    if run.is_ddr_running:
        raise Refused("DDR_BUFFER_STATUS_TRYING_TO_ADD_DDR_PAIR_WHILE_NOT_IN_IDLE_STATE")
    reader = run.internals.get(run.channel(fields["h2d_packed_vdma_channel_id"], is_input=True))
    writer = run.internals.get(run.channel(fields["d2h_packed_vdma_channel_id"], is_input=False))
    if reader is None or writer is None:
        raise Refused(_CS + "INVALID_CHANNEL_INDEX")
    if reader != writer or fields["programmed_descriptors_count"] != reader["total_desc_count"]:
        raise Refused("VDMA_SERVICE_INSUFFICIENT_DESCRIPTORS_COUNT")
    if not fields["descriptors_per_frame"]:
        raise Refused("DDR_BUFFER_STATUS_OVERFLOW_IN_DESCRIPTORS_PER_BATCH")
    _check_network(run, fields["network_index"])
    run.ddr_pairs.append(fields)


def start_ddr(run: Run, fields: Fields) -> None:
    """15: run the credit task on the pairs registered."""
    if run.is_ddr_running:
        raise Refused("DDR_BUFFER_STATUS_TRYING_TO_CHANGE_STATE_TO_INFER_WHILE_ALREADY_DURING_INFER")
    if not run.ddr_pairs:
        raise Refused("DDR_BUFFER_STATUS_NO_DDR_PAIRS_TO_RUN_INFER_ON")
    run.is_ddr_running = True


def reset_ddr(run: Run, fields: Fields) -> None:
    """31: back to idle without pairs."""
    run.ddr_pairs.clear()
    run.is_ddr_running = False


# --- waits ------------------------------------------------------------------------------------------------------------


def output_done(run: Run, fields: Fields) -> Wait | None:
    """19, 25: a batch of frames went out on this D2H channel."""
    channel = run.channel(fields["packed_vdma_channel_id"], is_input=False)
    check_buffer_type(fields["host_buffer_type"])
    port = run.ports.get((False, fields["stream_index"]))
    if run.is_credited and (port is None or port.channel != channel or port.is_boundary == fields["is_inter_context"]):
        raise Refused("CONTEXT_SWITCH_TASK_STATUS_MISSMATCH_BETWEEN_TRIGGER_DIRECTION_AND_MAPPING_DIRECTION")
    done = partial(_is_output_done, run, channel)
    return None if done() else done


def _is_output_done(run: Run, channel: int) -> bool:
    flow = run.pump.flow
    if not run.is_credited or flow is None:
        return True
    return flow.delivered(channel) >= run.batch or all(port.channel != channel for port in flow.outputs)


def input_done(run: Run, fields: Fields) -> Wait | None:
    """18: a batch was consumed; 26: the NMS unit is idle. Both hold when the batch is computed."""
    return lcu_interrupt(run, fields)


def application_change(run: Run, fields: Fields) -> Wait:
    """21: park until RESET or another ENABLED."""
    return _never


def _never() -> bool:
    return False


def cache_updated(run: Run, fields: Fields) -> Wait:
    """42: tell the host (event 13) and wait for opcode 79."""
    run.is_cache_updated = False
    run.parts.notifier.emit("START_UPDATE_CACHE_OFFSET", cache_id_bitmask=run.caches)
    return partial(_is_cache_updated, run)


def _is_cache_updated(run: Run) -> bool:
    return run.is_cache_updated


def validate_channel(run: Run, fields: Fields) -> None:
    """28: only debug builds of the library send it; a channel that is not open cannot be validated."""
    run.channel(fields["packed_vdma_channel_id"])


def module_config_done(run: Run, fields: Fields) -> None:
    """20: the virtual config port accepts at once."""
    run.parts.log.line(CORE_CPU, DEBUG, f"module {fields['module_index']} configured")


#: Action name -> handler. SLEEP and HALT belong to the executor, REPEATED_ACTION to the parser.
HANDLERS: Mapping[str, Callable[[Run, Fields], Wait | None]] = {
    "FETCH_CFG_CHANNEL_DESCRIPTORS": fetch_config,
    "TRIGGER_SEQUENCER": trigger_sequencer,
    "FETCH_DATA_FROM_VDMA_CHANNEL": fetch_data,
    "ENABLE_LCU_DEFAULT": enable_lcu,
    "ENABLE_LCU_NON_DEFAULT": enable_lcu,
    "DISABLE_LCU": disable_lcu,
    "ACTIVATE_BOUNDARY_INPUT": activate_boundary_input,
    "ACTIVATE_BOUNDARY_OUTPUT": activate_boundary_output,
    "ACTIVATE_INTER_CONTEXT_INPUT": activate_inter_input,
    "ACTIVATE_INTER_CONTEXT_OUTPUT": activate_inter_output,
    "ACTIVATE_DDR_BUFFER_INPUT": activate_ddr,
    "ACTIVATE_DDR_BUFFER_OUTPUT": activate_ddr,
    "DEACTIVATE_VDMA_CHANNEL": deactivate,
    "CHANGE_VDMA_TO_STREAM_MAPPING": change_mapping,
    "ADD_DDR_PAIR_INFO": add_ddr_pair,
    "DDR_BUFFERING_START": start_ddr,
    "LCU_INTERRUPT": lcu_interrupt,
    "SEQUENCER_DONE_INTERRUPT": sequencer_done,
    "INPUT_CHANNEL_TRANSFER_DONE_INTERRUPT": input_done,
    "OUTPUT_CHANNEL_TRANSFER_DONE_INTERRUPT": output_done,
    "MODULE_CONFIG_DONE_INTERRUPT": module_config_done,
    "APPLICATION_CHANGE_INTERRUPT": application_change,
    "ACTIVATE_CFG_CHANNEL": activate_config,
    "DEACTIVATE_CFG_CHANNEL": deactivate_config,
    "WAIT_FOR_DMA_IDLE_ACTION": output_done,
    "WAIT_FOR_NMS": input_done,
    "FETCH_CCW_BURSTS": fetch_bursts,
    "VALIDATE_VDMA_CHANNEL": validate_channel,
    "BURST_CREDITS_TASK_START": start_credits,
    "BURST_CREDITS_TASK_RESET": reset_credits,
    "DDR_BUFFERING_RESET": reset_ddr,
    "OPEN_BOUNDARY_INPUT_CHANNEL": open_input,
    "OPEN_BOUNDARY_OUTPUT_CHANNEL": open_output,
    "ENABLE_NMS": enable_nms,
    "WRITE_DATA_BY_TYPE": write_data,
    "SWITCH_LCU_BATCH": enable_lcu,
    "CHANGE_BOUNDARY_INPUT_BATCH": _nothing,
    "PAUSE_VDMA_CHANNEL": pause,
    "RESUME_VDMA_CHANNEL": resume,
    "ACTIVATE_CACHE_INPUT": activate_cache_input,
    "ACTIVATE_CACHE_OUTPUT": activate_cache_output,
    "WAIT_FOR_CACHE_UPDATED": cache_updated,
}
