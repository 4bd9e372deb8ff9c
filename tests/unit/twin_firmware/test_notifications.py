"""Notifications byte for byte as recorded (traces: device/notifications), sequence and module words apart."""

from __future__ import annotations

from typing import Any

import pytest

from openhailo.spec.chip import CHIP
from openhailo.twin.firmware.notifications import Notifier, build_event

RECORDED: list[tuple[str, dict[str, Any], str]] = [
    (
        "HEALTH_MONITOR_TEMPERATURE_ALARM",
        {"temperature_zone": 1, "ts0_temperature": 104.5, "ts1_temperature": 103.5},
        "02000000040000001000000001000000000000000000d1420000cf42",
    ),
    (
        "HEALTH_MONITOR_CLOCK_CHANGED",
        {"previous_clock": 400_000_000, "current_clock": 350_000_000},
        "0a00000002000000080000000084d7178093dc14",
    ),
    ("HEALTH_MONITOR_LCU_ECC_CORRECTABLE", {"cluster_bitmap": 3}, "0500000001000000020000000300"),
    (
        "HEALTH_MONITOR_OVERCURRENT_PROTECTION_ALERT",
        {"overcurrent_zone": 1, "exceeded_alert_threshold": 5000.0},
        "0400000004000000090000000100000000409c4500",
    ),
    ("HEALTH_MONITOR_CPU_ECC_ERROR", {"memory_bitmap": 1}, "07000000010000000400000001000000"),
    (
        "CONTEXT_SWITCH_BREAKPOINT_REACHED",
        {"batch_index": 1, "context_index": 2, "action_index": 3},
        "09000000040000000700000000010002000300",
    ),
    (
        "D2H_HOST_INFO",
        {"connection_status": 1, "connection_type": 1, "vdma_is_active": 1},
        "0100000005000000140000000100000001000000010000000000000000000000",
    ),
    (
        "CONTEXT_SWITCH_RUN_TIME_ERROR",
        {"exit_status": 0x4013007B, "batch_index": 1, "action_index": 5},
        "0c000000050000000b0000007b00134000010000000500",
    ),
    (
        "HEALTH_MONITOR_CLOSED_STREAMS",
        {"ts0_temperature": 121.0, "ts1_temperature": 120.5},
        "0300000002000000080000000000f2420000f142",
    ),
    ("HW_INFER_MANAGER_INFER_DONE", {"infer_cycles": 7}, "0b000000010000000400000007000000"),
    ("START_UPDATE_CACHE_OFFSET", {"cache_id_bitmask": 1}, "0d00000001000000080000000100000000000000"),
    ("ETHERNET_SERVICE_RX_ERROR", {"error": 1}, "00000000030000000c000000010000000000000000000000"),
    ("HEALTH_MONITOR_LCU_ECC_UNCORRECTABLE", {"cluster_bitmap": 1}, "0600000001000000020000000100"),
    ("HEALTH_MONITOR_CPU_ECC_FATAL", {"memory_bitmap": 2}, "08000000010000000400000002000000"),
]


@pytest.mark.parametrize(("name", "fields", "expected"), RECORDED, ids=[r[0] for r in RECORDED])
def test_event(name: str, fields: dict[str, Any], expected: str) -> None:
    message = build_event(CHIP, name, sequence=1, **fields)
    assert message[:12].hex() == "000000000100000000000000"
    assert message[16:].hex() == expected
    assert len(message) <= 48


def test_all_events_are_covered() -> None:
    assert {r[0] for r in RECORDED} == {event.name for event in CHIP.events.values()}
    assert len(CHIP.events) == 14


def test_sequence_counts() -> None:
    sent: list[bytes] = []
    notifier = Notifier(CHIP, sent.append)
    notifier.run_time_error(0x4013007B, (0, 1, 0, 5))
    notifier.breakpoint_reached((0, 1, 2, 3))
    assert [m[4:8].hex() for m in sent] == ["01000000", "02000000"]
    assert sent[0][16:].hex() == "0c000000050000000b0000007b00134000010000000500"
