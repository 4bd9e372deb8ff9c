"""Notifications as the driver reads them, and what makes the firmware send them (control-protocol.md 9)."""

from __future__ import annotations

from functools import partial
from typing import Any

from openhailo.driver.events import Notification, parse_notification
from openhailo.errors import MalformedReply
from openhailo.testing.check import Mismatch, add_check, check, expect, expect_error
from openhailo.testing.rig import Rig

from .raw.exchange import unhex
from .raw.host import NOTIFICATION, NOTIFIED, STATUS, RawHost
from .raw.tables import events


def next_notification(rig: Rig) -> Notification:
    """Return the next notification, which must come within a second."""
    data = rig.link.read_notification(1.0)
    if data is None:
        raise Mismatch("no notification came")
    return parse_notification(rig.spec, data)


def header_of(event: events.Event, payload_bytes: int, *, sequence: int = 7, priority: int = 1) -> bytes:
    """Return 28 header bytes (control-protocol.md 9.2)."""
    words = (0, sequence, priority, 0, event.number, event.parameters, payload_bytes)
    return b"".join(word.to_bytes(4, "little") for word in words)


def _parsed(rig: Rig, *, event: events.Event) -> None:
    payload = unhex(event.payload)
    seen = parse_notification(rig.spec, header_of(event, len(payload)) + payload)
    expect("name and number", (seen.name, seen.event_id), (event.name, event.number))
    expect("sequence and priority", (seen.sequence, seen.priority), (7, 1))
    expect(f"values of {event.name}", dict(seen.values), dict(event.fields))
    cut = header_of(event, len(payload)) + payload[:-1]
    expect_error("a short payload", MalformedReply, partial(parse_notification, rig.spec, cut))
    counted = event._replace(parameters=event.parameters + 1)
    expect_error(
        "a wrong count",
        MalformedReply,
        partial(parse_notification, rig.spec, header_of(counted, len(payload)) + payload),
    )


for _event in events.EVENTS:
    add_check(f"parse_event_{_event.number}", "notifications", partial(_parsed, event=_event), about=[_event.name])


@check("notifications", about=["host_accepts_bytes", "event_header"])
def driver_refuses_strange_notifications(rig: Rig) -> None:
    """Unknown events, a header that is cut, more than 48 bytes."""
    event = events.EVENTS[1]
    payload = unhex(event.payload)
    for number in (14, 15, 255):
        data = header_of(event._replace(number=number), len(payload)) + payload
        expect_error(f"event {number}", MalformedReply, partial(parse_notification, rig.spec, data))
    expect_error("27 bytes", MalformedReply, partial(parse_notification, rig.spec, bytes(27)))
    whole = header_of(event, len(payload)) + payload
    expect("bytes of the longest event", len(whole), 48)
    expect_error("49 bytes", MalformedReply, partial(parse_notification, rig.spec, whole + b"\0"))


@check("notifications", needs=("function", "state"), about=["notification_header", "mailbox", "notification"])
def buffer_by_byte(rig: Rig) -> None:
    """Flag at 0xC80, length at 0xC82, message at 0xC84; the next one waits until the host gives the buffer back."""
    host = RawHost(rig.open_function())
    for bitmap in (0x0102, 0x0304):
        rig.emit("HEALTH_MONITOR_LCU_ECC_CORRECTABLE", cluster_bitmap=bitmap)
    expect("flag and length", host.bar4.read32(NOTIFICATION), 0x001E0001)
    expect("status", host.bar0.read32(STATUS) & NOTIFIED, NOTIFIED)
    expect("event number", host.bar4.read32(NOTIFICATION + 4 + 16), 5)
    expect("payload", host.bar4.read32(NOTIFICATION + 4 + 28) & 0xFFFF, 0x0102)
    host.bar0.write32(STATUS, NOTIFIED)
    host.settle()
    expect("the second waits", host.bar4.read32(NOTIFICATION + 4 + 28) & 0xFFFF, 0x0102)
    host.bar4.write32(NOTIFICATION, 0x001E0000)
    host.settle()
    expect("the second comes", host.bar4.read32(NOTIFICATION + 4 + 28) & 0xFFFF, 0x0304)


@check("notifications", needs=("state",), about=["notification_header", "event_header", "notification", "mailbox"])
def driver_reads_them_in_order(rig: Rig) -> None:
    """Each once, first things first; the longest has 48 bytes."""
    link = rig.link
    for number in range(5):
        rig.emit("HEALTH_MONITOR_CPU_ECC_ERROR", memory_bitmap=number)
    rig.emit("D2H_HOST_INFO", host_ip_addr=0x01020304)
    seen = [next_notification(rig) for _ in range(6)]
    expect("bitmaps", [event.values["memory_bitmap"] for event in seen[:5]], list(range(5)))
    expect("sequence", [event.sequence for event in seen], list(range(1, 7)))
    expect("the longest", seen[5].values["host_ip_addr"], 0x01020304)
    expect("nothing is left", link.read_notification(0.01), None)


@check("notifications", needs=("function", "fresh", "state"), about=["notification_header", "max_notification_bytes"])
def driver_distrusts_the_buffer(rig: Rig) -> None:
    """A flag that is not set, or a length above 892, is dropped, and the next notification still arrives."""
    with rig.fresh() as other:
        link, chip = other.link, other.twin.chip
        for word in (0x001E0000, 893 << 16 | 1, 0xFFFF0001):
            with chip.loop.lock:
                chip.bar_write(4, NOTIFICATION, 4, word)
                chip.registers.raise_status(NOTIFIED)
            expect(f"buffer word 0x{word:08X}", link.read_notification(0.01), None)
            other.emit("HEALTH_MONITOR_CPU_ECC_FATAL", memory_bitmap=word)
            expect("the next", next_notification(other).values["memory_bitmap"], word)
        with chip.loop.lock:
            chip.bar_write(4, NOTIFICATION, 4, 892 << 16 | 1)
            chip.registers.raise_status(NOTIFIED)
        expect("892 bytes", len(link.read_notification(0.01) or b""), 892)


@check("notifications", needs=("sensors",), about=["HEALTH_MONITOR_TEMPERATURE_ALARM", "event_rules"])
def temperature_zones(rig: Rig) -> None:
    """Up at 104 and 120, down below 116 and 99 (control-protocol.md 9.4)."""
    steps = ((103.9, 0), (104.0, 1), (119.9, 1), (120.0, 2), (116.0, 2), (115.9, 1), (99.0, 1), (98.9, 0))
    client, zone = rig.client, 0
    for temperature, wanted in steps:
        rig.sensors.set_temperature(temperature, temperature - 1)
        expect(f"zone at {temperature}", client.health().temperature_zone, wanted)
        alarms = [event for event in _drain(rig) if event.event_id == 2]
        expect(f"alarms at {temperature}", len(alarms), int(zone != wanted))
        if alarms:
            _check_alarm(alarms[0], wanted, temperature)
        zone = wanted


def _check_alarm(alarm: Notification, zone: int, temperature: float) -> None:
    expect("zone", alarm.values["temperature_zone"], zone)
    expect("hotter sensor", alarm.values["alarm_ts_id"], 0)
    expect("sensor 0", round(alarm.values["ts0_temperature"], 1), temperature)
    expect("sensor 1", round(alarm.values["ts1_temperature"], 1), round(temperature - 1, 1))


def _drain(rig: Rig) -> list[Notification]:
    found = []
    while (data := rig.link.read_notification(0.01)) is not None:
        found.append(parse_notification(rig.spec, data))
    return found


@check("notifications", needs=("sensors",), about=["HEALTH_MONITOR_CLOCK_CHANGED", "SET_CLOCK_FREQ"])
def clock_changes(rig: Rig) -> None:
    """A new clock, by control and by throttling, is event 10."""
    rig.client.set_clock(300_000_000)
    _expect_clocks(rig, 400_000_000, 300_000_000)
    rig.client.set_clock(400_000_000)
    _expect_clocks(rig, 300_000_000, 400_000_000)
    rig.sensors.set_temperature(109.0)
    rig.client.health()
    _expect_clocks(rig, 400_000_000, 300_000_000)


def _expect_clocks(rig: Rig, before: int, after: int) -> None:
    seen: list[dict[str, Any]] = [dict(event.values) for event in _drain(rig) if event.event_id == 10]
    expect("clocks of event 10", seen, [{"previous_clock": before, "current_clock": after}])


@check("notifications", needs=("sensors",), about=["HEALTH_MONITOR_OVERCURRENT_PROTECTION_ALERT"])
def overcurrent(rig: Rig) -> None:
    """Above 5 A the alert comes, below it goes."""
    for power_w, zone in ((20.0, 1), (1.0, 0)):
        rig.sensors.set_power(power_w)
        expect(f"zone at {power_w} W", rig.client.health().overcurrent_zone, zone)
        (alert,) = _drain(rig)
        expect("zone and threshold", tuple(alert.values.values())[:2], (zone, 5000.0))


@check("notifications", needs=("state",), about=["D2H_HOST_INFO", "D2H_EVENT_MANAGER_SET_HOST_INFO"])
def host_info_on_request(rig: Rig) -> None:
    """Opcodes 43 and 44 make event 1."""
    rig.client.set_notification_host(1, 0x7F000001, 0x1234)
    rig.client.send_host_info_notification(1)
    event = next_notification(rig)
    expect("event", (event.event_id, event.priority, event.values["host_port"]), (1, 1, 0x1234))
