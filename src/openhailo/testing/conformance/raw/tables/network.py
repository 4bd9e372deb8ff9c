"""Network groups and their debugger: opcodes 32, 33, 36, 37, 52-54, 59, 71, 74, 79 (control-protocol.md 5)."""

from __future__ import annotations

from openhailo.testing.conformance.raw.exchange import CORE, Exchange, Step, unhex

APPLICATIONS: tuple[Step, ...] = (
    Exchange(
        "CONTEXT_SWITCH_SET_CONTEXT_INFO",
        CORE,
        ("00000002 00000000 00000000 00000021 00000004  00000001 01  00000001 01  00000001 03  00000005 1effffffff"),
        "00000002 00000001 00000000 00000021 40130006 00000000 00000000",
    ),
    Exchange(
        "CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER",
        CORE,
        (
            "00000002 00000000 00000000 00000020 00000001  00000020 "
            "0200111213140703023e000000000004030201080706050c0b0a090321222324"
        ),
        "00000002 00000001 00000000 00000020 00000000 00000000 00000000",
        received={
            "application_header": {
                "dynamic_contexts_count": 2,
                "preliminary_run_asap": 17,
                "batch_register_config": 18,
                "can_fast_batch_switch": 19,
                "is_abbale_supported": 20,
                "networks_count": 7,
                "csm_buffer_size": 515,
                "batch_size": 62,
                "external_action_list_address": 0,
                "boundary_channels_bitmap": (0x1020304, 0x5060708, 0x90A0B0C),
                "config_channels_count": 3,
                "config_channel_info": (33, 34, 35, 36),
            }
        },
    ),
    Exchange(
        "CONTEXT_SWITCH_SET_CONTEXT_INFO",
        CORE,
        ("00000002 00000000 00000000 00000021 00000004  00000001 01  00000001 00  00000001 03  00000005 1effffffff"),
        "00000002 00000001 00000000 00000021 00000000 00000000 00000000",
        received={
            "is_first_chunk_per_context": 1,
            "is_last_chunk_per_context": 0,
            "context_type": 3,
            "context_network_data": unhex("1effffffff"),
        },
    ),
    Exchange(
        "CONTEXT_SWITCH_SET_CONTEXT_INFO",
        CORE,
        (
            "00000002 00000000 00000000 00000021 00000004  00000001 00  00000001 01  00000001 03  "
            "00000009 2bffffffff04030201"
        ),
        "00000002 00000001 00000000 00000021 00000000 00000000 00000000",
        received={
            "is_first_chunk_per_context": 0,
            "is_last_chunk_per_context": 1,
            "context_type": 3,
            "context_network_data": unhex("2bffffffff04030201"),
        },
        state={
            "contexts": {
                "applications": [
                    {
                        "header": {
                            "dynamic_contexts_count": 2,
                            "preliminary_run_asap": 17,
                            "batch_register_config": 18,
                            "can_fast_batch_switch": 19,
                            "is_abbale_supported": 20,
                            "networks_count": 7,
                            "csm_buffer_size": 515,
                            "batch_size": 62,
                            "external_action_list_address": 0,
                            "boundary_channels_bitmap": (0x1020304, 0x5060708, 0x90A0B0C),
                            "config_channels_count": 3,
                            "config_channel_info": (33, 34, 35, 36),
                        },
                        "contexts": [(3, [("BURST_CREDITS_TASK_RESET", {}), ("SLEEP", {"sleep_time": 0x1020304})])],
                    }
                ]
            }
        },
    ),
    Exchange(
        "CONTEXT_SWITCH_SET_CONTEXT_INFO",
        CORE,
        ("00000002 00000000 00000000 00000021 00000004  00000001 01  00000001 01  00000001 01  00000005 2cffffffff"),
        "00000002 00000001 00000000 00000021 00000000 00000000 00000000",
        received={
            "is_first_chunk_per_context": 1,
            "is_last_chunk_per_context": 1,
            "context_type": 1,
            "context_network_data": unhex("2cffffffff"),
        },
    ),
    Exchange(
        "CONTEXT_SWITCH_SET_CONTEXT_INFO",
        CORE,
        ("00000002 00000000 00000000 00000021 00000004  00000001 01  00000001 01  00000001 02  00000005 1effffffff"),
        "00000002 00000001 00000000 00000021 4013006e 00000000 00000000",
    ),
    Exchange(
        "CHANGE_CONTEXT_SWITCH_STATUS",
        CORE,
        ("00000002 00000000 00000000 00000025 00000004  00000001 01  00000001 00  00000002 0000  00000002 0000"),
        "00000002 00000001 00000000 00000025 40130036 00000000 00000000",
        received={"state_machine_status": 1, "application_index": 0, "dynamic_batch_size": 0, "batch_count": 0},
    ),
    Exchange(
        "CONTEXT_SWITCH_SET_CONTEXT_INFO",
        CORE,
        ("00000002 00000000 00000000 00000021 00000004  00000001 01  00000001 01  00000001 01  00000005 15ffffffff"),
        "00000002 00000001 00000000 00000021 00000000 00000000 00000000",
    ),
    Exchange(
        "CONTEXT_SWITCH_SET_CONTEXT_INFO",
        CORE,
        ("00000002 00000000 00000000 00000021 00000004  00000001 01  00000001 01  00000001 01  00000005 15ffffffff"),
        "00000002 00000001 00000000 00000021 4013006f 00000000 00000000",
    ),
    Exchange(
        "CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER",
        CORE,
        (
            "00000002 00000000 00000000 00000020 00000001  00000020 "
            "01001112131401030201000000000004030201080706050c0b0a090121222324"
        ),
        "00000002 00000001 00000000 00000020 00000000 00000000 00000000",
        received={
            "application_header": {
                "dynamic_contexts_count": 1,
                "preliminary_run_asap": 17,
                "batch_register_config": 18,
                "can_fast_batch_switch": 19,
                "is_abbale_supported": 20,
                "networks_count": 1,
                "csm_buffer_size": 515,
                "batch_size": 1,
                "external_action_list_address": 0,
                "boundary_channels_bitmap": (0x1020304, 0x5060708, 0x90A0B0C),
                "config_channels_count": 1,
                "config_channel_info": (33, 34, 35, 36),
            }
        },
    ),
    Exchange(
        "GET_CONTEXT_SWITCH_MAIN_HEADER",
        CORE,
        "00000002 00000000 00000000 00000036 00000000",
        (
            "00000002 00000001 00000000 00000036 00000000 00000000 00000001  00000401 "
            "020200111213140703023e000000000004030201080706050c0b0a09032122232401001112131401030201000000"
            "000004030201080706050c0b0a090121222324 00*960"
        ),
        received={},
    ),
    Exchange(
        "DOWNLOAD_CONTEXT_ACTION_LIST",
        CORE,
        ("00000002 00000000 00000000 00000024 00000004  00000004 00000000  00000001 03  00000002 0000  00000002 0000"),
        (
            "00000002 00000001 00000000 00000024 00000000 00000000 00000005  00000004 20000000  00000001 "
            "01  00000004 00000000  00000004 00000000  0000000e 1effffffff2bffffffff04030201"
        ),
        received={"network_group_id": 0, "context_type": 3, "context_index": 0, "action_list_offset": 0},
    ),
    Exchange(
        "DOWNLOAD_CONTEXT_ACTION_LIST",
        CORE,
        ("00000002 00000000 00000000 00000024 00000004  00000004 00000000  00000001 01  00000002 0100  00000002 0000"),
        (
            "00000002 00000001 00000000 00000024 00000000 00000000 00000005  00000004 20040000  00000001 "
            "01  00000004 00000000  00000004 00000000  00000005 15ffffffff"
        ),
        received={"network_group_id": 0, "context_type": 1, "context_index": 1, "action_list_offset": 0},
    ),
    Exchange(
        "DOWNLOAD_CONTEXT_ACTION_LIST",
        CORE,
        ("00000002 00000000 00000000 00000024 00000004  00000004 00000000  00000001 03  00000002 0000  00000002 0005"),
        (
            "00000002 00000001 00000000 00000024 00000000 00000000 00000005  00000004 20000000  00000001 "
            "01  00000004 00000000  00000004 00000000  00000009 2bffffffff04030201"
        ),
        received={"network_group_id": 0, "context_type": 3, "context_index": 0, "action_list_offset": 5},
    ),
    Exchange(
        "DOWNLOAD_CONTEXT_ACTION_LIST",
        CORE,
        ("00000002 00000000 00000000 00000024 00000004  00000004 01020304  00000001 01  00000002 0605  00000002 0708"),
        "00000002 00000001 00000000 00000024 4013004c 00000000 00000000",
        received={
            "network_group_id": 0x1020304,
            "context_type": 1,
            "context_index": 0x506,
            "action_list_offset": 0x708,
        },
    ),
    Exchange(
        "DOWNLOAD_CONTEXT_ACTION_LIST",
        CORE,
        ("00000002 00000000 00000000 00000024 00000004  00000004 00000000  00000001 01  00000002 0200  00000002 0000"),
        "00000002 00000001 00000000 00000024 40130013 00000000 00000000",
    ),
    Exchange(
        "DOWNLOAD_CONTEXT_ACTION_LIST",
        CORE,
        ("00000002 00000000 00000000 00000024 00000004  00000004 00000000  00000001 03  00000002 0000  00000002 000e"),
        "00000002 00000001 00000000 00000024 4013003d 00000000 00000000",
    ),
    Exchange(
        "CHANGE_CONTEXT_SWITCH_STATUS",
        CORE,
        ("00000002 00000000 00000000 00000025 00000004  00000001 01  00000001 02  00000002 0403  00000002 0605"),
        "00000002 00000001 00000000 00000025 40130037 00000000 00000000",
        received={"state_machine_status": 1, "application_index": 2, "dynamic_batch_size": 772, "batch_count": 0x506},
    ),
    Exchange(
        "CHANGE_CONTEXT_SWITCH_STATUS",
        CORE,
        ("00000002 00000000 00000000 00000025 00000004  00000001 02  00000001 00  00000002 0000  00000002 0000"),
        "00000002 00000001 00000000 00000025 40130019 00000000 00000000",
    ),
    Exchange(
        "CHANGE_CONTEXT_SWITCH_STATUS",
        CORE,
        ("00000002 00000000 00000000 00000025 00000004  00000001 00  00000001 ff  00000002 0000  00000002 0000"),
        "00000002 00000001 00000000 00000025 00000000 00000000 00000000",
        received={"state_machine_status": 0, "application_index": 255, "dynamic_batch_size": 0, "batch_count": 0},
    ),
    Exchange(
        "CHANGE_HW_INFER_STATUS",
        CORE,
        (
            "00000002 00000000 00000000 0000004a 00000006  00000001 00  00000001 09  00000002 0302  "
            "00000002 0504  00000181 0200020113010403 00*376 02  00000001 00"
        ),
        "00000002 00000001 00000000 0000004a 40370001 40130037 00000000",
        received={
            "hw_infer_state": 0,
            "application_index": 9,
            "dynamic_batch_size": 515,
            "batch_count": 0x405,
            "channels_info": {
                "channel_info": (
                    {"channel_index": 2, "engine_index": 0, "desc_programed": 258},
                    {"channel_index": 19, "engine_index": 1, "desc_programed": 772},
                    *({"channel_index": 0, "engine_index": 0, "desc_programed": 0},) * 94,
                ),
                "channel_count": 2,
            },
            "boundary_channel_mode": 0,
        },
    ),
    Exchange(
        "CHANGE_HW_INFER_STATUS",
        CORE,
        (
            "00000002 00000000 00000000 0000004a 00000006  00000001 00  00000001 00  00000002 0100  "
            "00000002 0100  00000181 0200020113010403 00*376 02  00000001 01"
        ),
        "00000002 00000001 00000000 0000004a 40370005 00000000 00000000",
        received={
            "hw_infer_state": 0,
            "application_index": 0,
            "dynamic_batch_size": 1,
            "batch_count": 1,
            "channels_info": {
                "channel_info": (
                    {"channel_index": 2, "engine_index": 0, "desc_programed": 258},
                    {"channel_index": 19, "engine_index": 1, "desc_programed": 772},
                    *({"channel_index": 0, "engine_index": 0, "desc_programed": 0},) * 94,
                ),
                "channel_count": 2,
            },
            "boundary_channel_mode": 1,
        },
    ),
    Exchange(
        "CONTEXT_SWITCH_CLEAR_CONFIGURED_APPS",
        CORE,
        "00000002 00000000 00000000 00000047 00000000",
        "00000002 00000001 00000000 00000047 00000000 00000000 00000000",
        received={},
        state={"contexts": {"applications": []}},
    ),
    Exchange(
        "GET_CONTEXT_SWITCH_MAIN_HEADER",
        CORE,
        "00000002 00000000 00000000 00000036 00000000",
        "00000002 00000001 00000000 00000036 00000000 00000000 00000001  00000401 00*1025",
        received={},
    ),
)

DEBUGGER: tuple[Step, ...] = (
    Exchange(
        "CONFIG_CONTEXT_SWITCH_BREAKPOINT",
        CORE,
        (
            "00000002 00000000 00000000 00000034 00000003  00000004 05000000  00000001 00  0000000b "
            "0002010403000605010807"
        ),
        "00000002 00000001 00000000 00000034 00000000 00000000 00000000",
        received={
            "breakpoint_id": 5,
            "breakpoint_control": 0,
            "breakpoint_data": {
                "break_at_any_application_index": 0,
                "application_index": 2,
                "break_at_any_batch_index": 1,
                "batch_index": 772,
                "break_at_any_context_index": 0,
                "context_index": 0x506,
                "break_at_any_action_index": 1,
                "action_index": 0x708,
            },
        },
        state={
            "contexts": {
                "breakpoints": {
                    5: (
                        1,
                        {
                            "break_at_any_application_index": 0,
                            "application_index": 2,
                            "break_at_any_batch_index": 1,
                            "batch_index": 772,
                            "break_at_any_context_index": 0,
                            "context_index": 0x506,
                            "break_at_any_action_index": 1,
                            "action_index": 0x708,
                        },
                    )
                }
            }
        },
    ),
    Exchange(
        "GET_CONTEXT_SWITCH_BREAKPOINT_STATUS",
        CORE,
        "00000002 00000000 00000000 00000035 00000001  00000004 05000000",
        "00000002 00000001 00000000 00000035 00000000 00000000 00000001  00000001 01",
        received={"breakpoint_id": 5},
    ),
    Exchange(
        "CONFIG_CONTEXT_SWITCH_BREAKPOINT",
        CORE,
        (
            "00000002 00000000 00000000 00000034 00000003  00000004 05000000  00000001 01  0000000b "
            "0000000000000000000000"
        ),
        "00000002 00000001 00000000 00000034 40130048 00000000 00000000",
    ),
    Exchange(
        "CONFIG_CONTEXT_SWITCH_BREAKPOINT",
        CORE,
        (
            "00000002 00000000 00000000 00000034 00000003  00000004 05000000  00000001 02  0000000b "
            "0000000000000000000000"
        ),
        "00000002 00000001 00000000 00000034 00000000 00000000 00000000",
        state={"contexts": {"breakpoints": {}}},
    ),
    Exchange(
        "GET_CONTEXT_SWITCH_BREAKPOINT_STATUS",
        CORE,
        "00000002 00000000 00000000 00000035 00000001  00000004 05000000",
        "00000002 00000001 00000000 00000035 00000000 00000000 00000001  00000001 00",
    ),
    Exchange(
        "GET_CONTEXT_SWITCH_BREAKPOINT_STATUS",
        CORE,
        "00000002 00000000 00000000 00000035 00000001  00000004 00050000",
        "00000002 00000001 00000000 00000035 40130044 00000000 00000000",
    ),
    Exchange(
        "CONFIG_CONTEXT_SWITCH_TIMESTAMP",
        CORE,
        "00000002 00000000 00000000 0000003b 00000002  00000002 0203  00000001 01",
        "00000002 00000001 00000000 0000003b 00000000 00000000 00000000",
        received={"batch_index": 515, "enable_user_configuration": 1},
        state={"contexts": {"stamped_batch": 515}},
    ),
    Exchange(
        "CONFIG_CONTEXT_SWITCH_TIMESTAMP",
        CORE,
        "00000002 00000000 00000000 0000003b 00000002  00000002 0000  00000001 00",
        "00000002 00000001 00000000 0000003b 00000000 00000000 00000000",
        state={"contexts": {"stamped_batch": -1}},
    ),
    Exchange(
        "CONFIG_CONTEXT_SWITCH_TIMESTAMP",
        CORE,
        "00000002 00000000 00000000 0000003b 00000002  00000002 0000  00000001 00",
        "00000002 00000001 00000000 0000003b 40130053 00000000 00000000",
    ),
    Exchange(
        "CONTEXT_SWITCH_SIGNAL_CACHE_UPDATED",
        CORE,
        "00000002 00000000 00000000 0000004f 00000000",
        "00000002 00000001 00000000 0000004f 00000000 00000000 00000000",
        received={},
    ),
)
