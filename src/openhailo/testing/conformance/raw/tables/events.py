"""Every notification as the firmware sends it (control-protocol.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Event(NamedTuple):
    """An event: number, what it says, and its payload in hexadecimal.

    The header counts ``parameters`` and names the ``module`` that sends it (control-protocol.md 13).
    """

    number: int
    name: str
    parameters: int
    module: int
    fields: Mapping[str, Any]
    payload: str


EVENTS: tuple[Event, ...] = (
    Event(
        0,
        "ETHERNET_SERVICE_RX_ERROR",
        3,
        2,
        {"error": 0x1020304, "queue_number": 0x5060708, "rx_errors_count": 0x90A0B0C},
        "04030201 08070605 0c0b0a09",
    ),
    Event(
        1,
        "D2H_HOST_INFO",
        5,
        20,
        {
            "connection_status": 0x11121314,
            "connection_type": 1,
            "vdma_is_active": 0x191A1B1C,
            "host_port": 0x1D1E1F20,
            "host_ip_addr": 0x21222324,
        },
        "14131211 01000000 1c1b1a19 201f1e1d 24232221",
    ),
    Event(
        2,
        "HEALTH_MONITOR_TEMPERATURE_ALARM",
        4,
        22,
        {"temperature_zone": 2, "alarm_ts_id": 1, "ts0_temperature": 121.5, "ts1_temperature": -2.25},
        "02000000 01000000 0000f342 000010c0",
    ),
    Event(
        3,
        "HEALTH_MONITOR_CLOSED_STREAMS",
        2,
        22,
        {"ts0_temperature": 125.5, "ts1_temperature": 124.25},
        "0000fb42 0080f842",
    ),
    Event(
        4,
        "HEALTH_MONITOR_OVERCURRENT_PROTECTION_ALERT",
        4,
        22,
        {"overcurrent_zone": 1, "exceeded_alert_threshold": 5000.0, "is_last_overcurrent_violation_reached": 7},
        "01000000 00409c45 07",
    ),
    Event(5, "HEALTH_MONITOR_LCU_ECC_CORRECTABLE", 1, 22, {"cluster_bitmap": 0x3132}, "3231"),
    Event(6, "HEALTH_MONITOR_LCU_ECC_UNCORRECTABLE", 1, 22, {"cluster_bitmap": 0x3334}, "3433"),
    Event(7, "HEALTH_MONITOR_CPU_ECC_ERROR", 1, 22, {"memory_bitmap": 0x35363738}, "38373635"),
    Event(8, "HEALTH_MONITOR_CPU_ECC_FATAL", 1, 22, {"memory_bitmap": 0x393A3B3C}, "3c3b3a39"),
    Event(
        9,
        "CONTEXT_SWITCH_BREAKPOINT_REACHED",
        4,
        19,
        {"application_index": 65, "batch_index": 0x4243, "context_index": 0x4445, "action_index": 0x4647},
        "41 4342 4544 4746",
    ),
    Event(
        10,
        "HEALTH_MONITOR_CLOCK_CHANGED",
        2,
        22,
        {"previous_clock": 0x17D78400, "current_clock": 0x14DC9380},
        "0084d717 8093dc14",
    ),
    Event(11, "HW_INFER_MANAGER_INFER_DONE", 1, 55, {"infer_cycles": 0x51525354}, "54535251"),
    Event(
        12,
        "CONTEXT_SWITCH_RUN_TIME_ERROR",
        5,
        19,
        {
            "exit_status": 0x4013007B,
            "application_index": 97,
            "batch_index": 0x6263,
            "context_index": 0x6465,
            "action_index": 0x6667,
        },
        "7b001340 61 6362 6564 6766",
    ),
    Event(13, "START_UPDATE_CACHE_OFFSET", 1, 19, {"cache_id_bitmask": 0x7172737475767778}, "7877767574737271"),
)
