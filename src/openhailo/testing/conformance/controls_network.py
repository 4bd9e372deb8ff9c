"""Network groups and their debugger, through the typed client (control-protocol.md 5.32-5.37, 5.52-5.79)."""

from __future__ import annotations

from functools import partial

from openhailo.driver.results import ActionListDownload, HwConsts, HwInferResult
from openhailo.errors import ControlFailed, MalformedReply
from openhailo.testing.check import check, expect, expect_error
from openhailo.testing.rig import Rig

from .controls_device import received
from .raw.exchange import unhex
from .raw.lists import ACTIVATION, BATCH_SWITCHING, DYNAMIC, action

#: Every member of the application header (context-switch.md 2).
HEADER = {
    "dynamic_contexts_count": 2,
    "preliminary_run_asap": 0x11,
    "batch_register_config": 0x12,
    "can_fast_batch_switch": 0x13,
    "is_abbale_supported": 0x14,
    "networks_count": 6,
    "csm_buffer_size": 0x0203,
    "batch_size": 0x21,
    "external_action_list_address": 0,
    "boundary_channels_bitmap": (0x01020304, 0x05060708, 0x090A0B0C),
    "config_channels_count": 4,
    "config_channel_info": (0x31, 0x32, 0x33, 0x34),
}
HEADER_BYTES = unhex("0200 11 12 13 14 06 0302 2100 00000000 04030201 08070605 0c0b0a09 04 31323334")
_ABOUT = ("application_header", "CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER", "CONTEXT_SWITCH_SET_CONTEXT_INFO")


@check("controls", needs=("state",), about=(*_ABOUT, "GET_CONTEXT_SWITCH_MAIN_HEADER"))
def headers(rig: Rig) -> None:
    """A header by member and by byte; both come back."""
    client = rig.client
    client.set_application_header(HEADER)
    received(rig, "CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER", {"application_header": HEADER})
    client.set_application_header(HEADER_BYTES)
    received(rig, "CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER", {"application_header": HEADER})
    expect("main header", client.main_header(), [HEADER, HEADER])
    external = {**HEADER, "external_action_list_address": 0x01020304}
    expect_error("an external list", ControlFailed, partial(client.set_application_header, external))
    received(rig, "CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER", {"application_header": external})
    client.clear_configured_apps()
    expect("cleared", client.main_header(), [])


@check("controls", needs=("fresh",), about=("GET_CONTEXT_SWITCH_MAIN_HEADER", "application_header"))
def main_header_from_bytes(rig: Rig) -> None:
    """A count and 32 headers; an impossible count is noticed."""
    head = "00000002 00000001 00*4 00000036 00*8 00000001 00000401 "
    with rig.fresh(answers={54: [unhex(f"{head} 01 {HEADER_BYTES.hex()} 00*992")]}) as other:
        expect("main header", other.client.main_header(), [HEADER])
    with rig.fresh(answers={54: [unhex(f"{head} 21 00*1024")]}) as other:
        expect_error("33 applications", MalformedReply, other.client.main_header)


@check("controls", needs=("state",), about=(*_ABOUT, "max_chunk_bytes", "DOWNLOAD_CONTEXT_ACTION_LIST"))
def lists_are_stored_in_chunks(rig: Rig) -> None:
    """A list of 3000 bytes goes in chunks of 1461 and comes back whole (context-switch.md 3, 20)."""
    client = rig.client
    data = b"".join(action(43, number.to_bytes(4, "little")) for number in range(334))[:3006]
    client.set_application_header({**HEADER, "dynamic_contexts_count": 1})
    client.set_context_info(ACTIVATION, action(30))
    client.set_context_info(BATCH_SWITCHING, action(31))
    client.set_context_info(DYNAMIC, data)
    received(
        rig,
        "CONTEXT_SWITCH_SET_CONTEXT_INFO",
        {
            "is_first_chunk_per_context": 0,
            "is_last_chunk_per_context": 1,
            "context_type": 1,
            "context_network_data": data[2922:],
        },
    )
    seen = client.download_action_list(0, DYNAMIC, 0)
    expect("list as stored", (seen.data, seen.batch_counter, seen.idle_time), (data, 0, 0))
    last = {"network_group_id": 0, "context_type": 1, "context_index": 0, "action_list_offset": 2878}
    received(rig, "DOWNLOAD_CONTEXT_ACTION_LIST", last)
    expect("another list", client.download_action_list(0, BATCH_SWITCHING, 0).data, action(31))
    missing = partial(client.download_action_list, 0x01020304, DYNAMIC, 0x0506)
    expect_error("a list that is not there", ControlFailed, missing)
    last = {"network_group_id": 0x01020304, "context_type": 1, "context_index": 0x0506, "action_list_offset": 0}
    received(rig, "DOWNLOAD_CONTEXT_ACTION_LIST", last)


@check("controls", needs=("fresh",), about=("DOWNLOAD_CONTEXT_ACTION_LIST",))
def downloads_from_bytes(rig: Rig) -> None:
    """Base address, end, counters and bytes, in two pieces."""
    head = "00000002 00000001 00*4 00000024 00*8 00000005 "
    body = "00000004 20010203 00000001 {} 00000004 04050607 00000004 08090a0b 00000003 {}"
    pieces = [unhex(head + body.format("00", "0c0d0e")), unhex(head + body.format("01", "0f1011"))]
    with rig.fresh(answers={36: pieces}) as other:
        wanted = ActionListDownload(0x20010203, 0x04050607, 0x08090A0B, unhex("0c0d0e0f1011"))
        expect("list", other.client.download_action_list(0, 1, 0), wanted)
    empty = unhex(head + "00000004 20010203 00000001 00 00000004 00*4 00000004 00*4 00000000")
    with rig.fresh(answers={36: [empty]}) as other:
        expect_error("an empty piece", MalformedReply, partial(other.client.download_action_list, 0, 1, 0))


@check("controls", needs=("state",), about=("CHANGE_CONTEXT_SWITCH_STATUS", "any_application"))
def states(rig: Rig) -> None:
    """RESET names application 255; ENABLED carries application, batch and count."""
    client = rig.client
    client.reset_applications()
    name = "CHANGE_CONTEXT_SWITCH_STATUS"
    reset = {"state_machine_status": 0, "application_index": 255, "dynamic_batch_size": 0, "batch_count": 0}
    received(rig, name, dict(reset))
    expect_error("no application 3", ControlFailed, partial(client.enable_application, 3, 0x0405, 0x0607))
    enabled = {"state_machine_status": 1, "application_index": 3, "dynamic_batch_size": 0x405, "batch_count": 0x607}
    received(rig, name, dict(enabled))
    error = expect_error("PAUSED", ControlFailed, partial(client.change_status, 2, 0))
    expect("opcode", error.opcode, 37)


@check(
    "controls",
    needs=("state",),
    about=(
        "CONFIG_CONTEXT_SWITCH_BREAKPOINT",
        "GET_CONTEXT_SWITCH_BREAKPOINT_STATUS",
        "CONFIG_CONTEXT_SWITCH_TIMESTAMP",
    ),
)
def debugger(rig: Rig) -> None:
    """Breakpoints by member, their status, and the batch whose times are kept."""
    client = rig.client
    where = {
        "break_at_any_application_index": 1,
        "application_index": 2,
        "break_at_any_batch_index": 0,
        "batch_index": 0x0304,
        "break_at_any_context_index": 1,
        "context_index": 0x0506,
        "break_at_any_action_index": 0,
        "action_index": 0x0708,
    }
    expect("before", int(client.breakpoint_status(6)), 0)
    client.set_breakpoint(6, **where)
    received(
        rig,
        "CONFIG_CONTEXT_SWITCH_BREAKPOINT",
        {"breakpoint_id": 6, "breakpoint_control": 0, "breakpoint_data": where},
    )
    expect("breakpoints", rig.state()["contexts"]["breakpoints"], {6: (1, where)})
    expect("set", int(client.breakpoint_status(6)), 1)
    expect_error("not reached", ControlFailed, partial(client.continue_breakpoint, 6))
    client.clear_breakpoint(6)
    expect("cleared", rig.state()["contexts"]["breakpoints"], {})
    client.set_timestamps(0x0102, enable=True)
    received(rig, "CONFIG_CONTEXT_SWITCH_TIMESTAMP", {"batch_index": 0x0102, "enable_user_configuration": 1})
    client.set_timestamps(0, enable=False)
    client.signal_cache_updated()
    received(rig, "CONTEXT_SWITCH_SIGNAL_CACHE_UPDATED", {})


@check("controls", needs=("fresh",), about=("GET_CONTEXT_SWITCH_BREAKPOINT_STATUS", "GET_HW_CONSTS"))
def network_answers_from_bytes(rig: Rig) -> None:
    """A reached breakpoint; constants of which no two bytes are the same."""
    reached = unhex("00000002 00000001 00*4 00000035 00*8 00000001 00000001 02")
    consts = unhex(
        "00000002 00000001 00*4 00000048 00*8 00000001 00000013 01020304 0506 0708 090a 0b0c0d0e 0f 10111213"
    )
    with rig.fresh(answers={53: [reached], 72: [consts]}) as other:
        expect("breakpoint", int(other.client.breakpoint_status(0)), 2)
        wanted = HwConsts(0x04030201, 0x0605, 0x0807, 0x0A09, 0x0E0D0C0B, 0x0F, 0x13121110)
        expect("constants", other.client.hw_consts(), wanted)


@check("controls", needs=("state",), about=("CHANGE_HW_INFER_STATUS",))
def hw_inference_requests(rig: Rig) -> None:
    """Channels, batch and mode of opcode 74 (context-switch.md 20)."""
    start = partial(
        rig.client.start_hw_infer,
        5,
        [(2, 0x0102), (17, 0x0304)],
        dynamic_batch_size=0x0506,
        batch_count=0x0708,
        mode=1,
    )
    expect_error("an application that is not there", ControlFailed, start)
    used = (
        {"channel_index": 2, "engine_index": 0, "desc_programed": 0x0102},
        {"channel_index": 17, "engine_index": 0, "desc_programed": 0x0304},
    )
    unused = ({"channel_index": 0, "engine_index": 0, "desc_programed": 0},) * 94
    wanted = {
        "hw_infer_state": 0,
        "application_index": 5,
        "dynamic_batch_size": 0x0506,
        "batch_count": 0x0708,
        "channels_info": {"channel_info": used + unused, "channel_count": 2},
        "boundary_channel_mode": 1,
    }
    received(rig, "CHANGE_HW_INFER_STATUS", wanted)


@check("controls", needs=("fresh",), about=("CHANGE_HW_INFER_STATUS",))
def hw_inference_results(rig: Rig) -> None:
    """Done and cycles from their own bytes."""
    answer = unhex("00000002 00000001 00*4 0000004a 00*8 00000001 00000005 01 02030405")
    with rig.fresh(answers={74: [answer]}) as other:
        expect("results", other.client.stop_hw_infer(), HwInferResult(True, 0x05040302))
