"""Every structure against fw.structs.json: member names, offsets, sizes, kinds."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.golden.literals import BIG_ENDIAN, CONTROL, EVENT_PAYLOADS, PAYLOADS, SWITCH

from openhailo.spec import actions, config, events, firmware, fw_access, messages, streams
from openhailo.spec.layout import SCALARS, Member, Struct

pytestmark = pytest.mark.facts


STRUCTS: dict[str, Struct] = {
    f"{CONTROL}hw_consts_t": messages.HW_CONSTS,
    f"{CONTROL}temperature_info_t": messages.TEMPERATURE_INFO,
    f"{CONTROL}throttling_level_t": messages.THROTTLING_LEVEL,
    "CONTROL_PROTOCOL_fuse_info_t": messages.FUSE_INFO,
    f"{CONTROL}context_switch_breakpoint_data_t": messages.BREAKPOINT_DATA,
    f"{CONTROL}hw_infer_channel_info_t": messages.HW_INFER_CHANNEL,
    f"{CONTROL}hw_infer_channels_info_t": messages.HW_INFER_CHANNELS,
    f"{CONTROL}hw_only_infer_results_t": messages.HW_INFER_RESULTS,
    f"{CONTROL}application_header_t": messages.APPLICATION_HEADER,
    f"{CONTROL}context_switch_main_header_t": messages.MAIN_HEADER,
    f"{CONTROL}response_header_t": messages.RESPONSE_HEADER,
    f"{CONTROL}host_buffer_info_t": actions.HOST_BUFFER_INFO,
    f"{CONTROL}nn_stream_config_t": streams.NN_STREAM_CONFIG,
    f"{CONTROL}udp_input_config_sync_t": streams.UDP_INPUT_SYNC,
    f"{CONTROL}udp_input_config_params_t": streams.UDP_INPUT,
    f"{CONTROL}udp_output_config_params_t": streams.UDP_OUTPUT,
    f"{CONTROL}mipi_common_config_params_t": streams.MIPI_COMMON,
    f"{CONTROL}isp_config_params_t": streams.ISP,
    f"{CONTROL}mipi_input_config_params_t": streams.MIPI_INPUT,
    f"{CONTROL}mipi_output_config_params_t": streams.MIPI_OUTPUT,
    f"{CONTROL}pcie_input_config_params_t": streams.PCIE_INPUT,
    f"{CONTROL}pcie_output_config_params_t": streams.PCIE_OUTPUT,
    f"{SWITCH}stream_reg_info_t": actions.STREAM_REG_INFO,
    f"{SWITCH}common_action_header_t": actions.ACTION_HEADER,
    f"{SWITCH}repeated_action_header_t": actions.REPEATED_HEADER,
    f"{SWITCH}sequencer_config_t": actions.SEQUENCER_CONFIG,
    "SENSOR_CONFIG__section_info_t": messages.SENSOR_SECTION,
    "SENSOR_CONFIG__operation_cfg_t": messages.SENSOR_RECORD,
    "USER_CONFIG_header_t": config.USER_CONFIG_HEADER,
    "USER_CONFIG_ENTRY_t": config.USER_CONFIG_ENTRY,
    "firmware_header_t": firmware.IMAGE_HEADER,
    "secure_boot_certificate_t": firmware.CERTIFICATE_HEADER,
    "D2H_EVENT_HEADER_t": events.EVENT_HEADER,
}
#: Framing that our declarations cut differently, unions, host-only structures, and single-field wrappers; the
#: parameters of controls (names ending in request_t / response_t) are compared in test_controls.py.
ELSEWHERE = {
    f"{CONTROL}{name}"
    for name in (
        "flags_struct_t",
        "common_header_t",
        "request_header_t",
        "status_t",
        "parameter_t",
        "payload_t",
        "communication_config_prams_t",
        "set_pause_frames_t",
        "config_ahb_to_axi_params_t",
        "config_core_top_params_t",
        "i2c_slave_config_t",
        "sensor_set_i2c_bus_index_t",
        "VALIDATION_FEATURE_LIST_t",
        "INFER_FEATURE_LIST_t",
        "config_channel_info_t",
        "response_parameters_t",
        "request_parameters_t",
        "context_switch_context_info_chunk_t",
        "message_header_t",
    )
} | {
    "CONTROL_PROTOCOL_flags_t",
    "D2H_EVENT__message_parameters_t",
    "D2H_EVENT_MESSAGE_t",
    "D2H_event_buffer_t",
    "SENSOR_I2C_SLAVE_INFO_t",
}

Leaf = tuple[int, int, str]
KINDS = {"float32_t": "float", "int8_t": "signed", "int32_t": "signed"}


def json_leaves(table: dict[str, Any], name: str, base: int = 0) -> list[tuple[str, Leaf]]:
    """(name, (offset, size, kind)) of every scalar, nested structures opened, flexible tails left out."""
    leaves: list[tuple[str, Leaf]] = []
    for field in table[name]["fields"]:
        if field["size"] is None or isinstance(field["offset"], str):
            continue
        label, at = re.sub(r"\[.*", "", field["name"]), base + field["offset"]
        nested = table.get(field["type"])
        if nested is None or nested["kind"] == "union":
            leaves.append((label, (at, field["size"], KINDS.get(field["type"], "unsigned"))))
            continue
        for index in range(field["size"] // nested["size"]):
            leaves += json_leaves(table, field["type"], at + index * nested["size"])
    return leaves


def kind_of(member: Member) -> str:
    code = "" if member.type == "bytes" else SCALARS[str(member.type)][0][1:]
    return "float" if code == "f" else "signed" if code.islower() and code else "unsigned"


def spec_leaves(struct: Struct, base: int = 0) -> list[tuple[str, Leaf]]:
    leaves: list[tuple[str, Leaf]] = []
    for member in struct.members:
        at = base + member.offset
        if isinstance(member.type, Struct):
            for index in range(member.count):
                leaves += spec_leaves(member.type, at + index * member.type.size)
        else:
            leaves.append((member.name, (at, member.size_bytes, kind_of(member))))
    return leaves


def declared() -> list[tuple[str, Struct]]:
    return [
        *STRUCTS.items(),
        *((f"{SWITCH}{name}", actions.ACTIONS[id_].payload) for id_, name in PAYLOADS.items()),
        *((f"D2H_EVENT_{name}", events.EVENTS[id_].payload) for id_, name in EVENT_PAYLOADS.items()),
    ]


#: Members whose wire definition wraps each byte in a structure of its own.
WRAPPED = {"config_channel_info": "packed_vdma_channel_id"}


def open_wrapped(leaves: list[tuple[str, Leaf]]) -> list[tuple[str, Leaf]]:
    out: list[tuple[str, Leaf]] = []
    for name, (at, size, kind) in leaves:
        if name in WRAPPED:
            out += [(WRAPPED[name], (at + i, 1, kind)) for i in range(size)]
        else:
            out.append((name, (at, size, kind)))
    return out


def test_members_match_the_wire_definition(facts, checked):
    table = facts.json("fw.structs.json")
    compared = 0
    for name, struct in declared():
        expected = json_leaves(table, name)
        assert open_wrapped(spec_leaves(struct)) == expected, name
        assert struct.size == table[name]["size"], name
        compared += 1 + 4 * len(expected)
    checked(compared, 5000)


def test_every_wire_structure_is_accounted_for(facts, checked):
    table = facts.json("fw.structs.json")
    in_controls = {name for name in table if re.search(r"(request|response)_t$", name)}
    covered = {name for name, _ in declared()} | ELSEWHERE | in_controls
    assert covered == set(table)
    checked(len(covered), 175)


def test_notification_buffer_header(facts):
    table = facts.json("fw.structs.json")["D2H_event_buffer_t"]["fields"]
    assert [(m.name, m.offset, m.size_bytes) for m in fw_access.NOTIFICATION_HEADER.members] == [
        ("in_use", table[0]["offset"], table[0]["size"]),
        ("length", table[1]["offset"], table[1]["size"]),
    ]


def test_request_header_is_the_common_header_and_the_count(facts):
    table = facts.json("fw.structs.json")
    common = [(name, leaf[:2]) for name, leaf in json_leaves(table, f"{CONTROL}common_header_t")]
    ours = [(name, leaf[:2]) for name, leaf in spec_leaves(messages.REQUEST_HEADER)]
    assert [leaf for _, leaf in ours] == [leaf for _, leaf in common] + [(16, 4)]
    assert ours[-1][0] == "parameter_count"
    assert table[f"{CONTROL}request_t"]["fields"][1]["offset"] == 16


def test_byte_order_of_every_member(checked):
    compared = 0
    for name, struct in declared():
        scalars = {m.name: str(m.type) for m in struct.members if not isinstance(m.type, Struct) and m.type != "bytes"}
        wide = {member for member, kind in scalars.items() if SCALARS[kind][1] > 1}
        expected = BIG_ENDIAN.get(name, set())
        expected = wide if expected is None else expected
        assert {member for member in wide if SCALARS[scalars[member]][0][0] == ">"} == expected, name
        compared += len(wide)
    checked(compared, 150)


def test_framing_words_are_big_endian():
    assert {m.type for m in messages.REQUEST_HEADER.members} == {"be32"}
    assert messages.PARAMETER_COUNT.pack(parameter_count=1).hex() == "00000001"
    assert messages.PARAMETER_HEADER.pack(length=0x0102).hex() == "00000102"


def test_wrapper_structures():
    """Arrays and parts that the wire definition does not name: their bytes written out."""
    levels = messages.THROTTLING_LEVELS.pack(levels=({}, {"throttling_nn_clock_freq": 1}))
    assert levels.hex() == "00" * 20 + "01000000" + "00" * 24
    assert messages.SENSOR_SECTIONS.size == 8 * 120
    assert messages.SUPPORTED_FEATURES.pack(flags=0x0C).hex() == "0000000c00000000"
    assert messages.FIRMWARE_VERSION.pack(major=4, minor=23, revision=0x08000000).hex() == "040000001700000000000008"
