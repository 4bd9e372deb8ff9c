"""Temperature, over-current, throttling and clock: opcodes 46, 61-64, 66, 67 and events 2, 3, 4, 10."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from openhailo.twin.firmware.logs import APP_CPU, WARN
from openhailo.twin.firmware.notifications import CRITICAL, INFO
from openhailo.twin.firmware.parts import Handler, Parts
from openhailo.twin.firmware.refusal import Refused

GREEN, ORANGE, RED = 0, 1, 2
OVERCURRENT_GREEN, OVERCURRENT_RED = 0, 1
NO_LEVEL = -1
#: Legal clocks of the neural core, Hz (control-protocol.md 10, fw.enums.json).
NN_CLOCKS_HZ = frozenset(mhz * 1_000_000 for mhz in (400, 375, 350, 325, 300, 275, 250, 225, 200, 100, 25))
#: GUESS: how long the red zone may last before the firmware stops the dataflow; the API only says that it does.
RED_GRACE_NS = 1_000_000_000


class HealthControls:
    """The health monitor. It looks at the sensors whenever the host asks for anything (no timers, see `board`)."""

    def __init__(self, parts: Parts, close_streams: Callable[[], bool]) -> None:
        self._parts, self._close_streams = parts, close_streams
        self.temperature_zone = GREEN
        self.overcurrent_zone = OVERCURRENT_GREEN
        self._level = NO_LEVEL
        self._throttling = True
        self._overcurrent = True
        self._red_since_ns: int | None = None
        self._nominal_hz = parts.board.sensors.nn_core_clock_hz

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {
            "GET_CHIP_TEMPERATURE": self.temperature,
            "SET_CLOCK_FREQ": self.set_clock,
            "GET_HEALTH_INFORMATION": self.information,
            "SET_THROTTLING_STATE": self.set_throttling,
            "GET_THROTTLING_STATE": self.get_throttling,
            "SET_OVERCURRENT_STATE": self.set_overcurrent,
            "GET_OVERCURRENT_STATE": self.get_overcurrent,
        }

    def look(self) -> None:
        """Compare the sensors with the thresholds and emit what the crossing calls for (9.4)."""
        ts0, ts1, _ = self._parts.board.sensors.read_temperature_c()
        self._look_at_temperature(ts0, ts1)
        self._throttle(max(ts0, ts1))
        self._look_at_current(self._parts.board.sensors.read_current_ma())

    def _zone_for(self, hottest: float) -> int:
        """Zones rise at the thresholds and fall below the hysteresis thresholds."""
        rules, zone = self._parts.spec.event_rules, self.temperature_zone
        if hottest >= rules.red_threshold_c:
            return RED
        if zone == RED and hottest >= rules.red_hysteresis_c:
            return RED
        if hottest >= rules.orange_threshold_c:
            return ORANGE
        return ORANGE if zone != GREEN and hottest >= rules.orange_hysteresis_c else GREEN

    def _look_at_temperature(self, ts0: float, ts1: float) -> None:
        zone = self._zone_for(max(ts0, ts1))
        if zone != self.temperature_zone:
            self.temperature_zone = zone
            self._red_since_ns = self._parts.now_ns() if zone == RED else None
            self._parts.log.line(APP_CPU, WARN, f"temperature zone {zone}: {ts0:.1f} C, {ts1:.1f} C")
            self._parts.notifier.emit(
                "HEALTH_MONITOR_TEMPERATURE_ALARM",
                priority=CRITICAL if zone == RED else INFO,
                temperature_zone=zone,
                alarm_ts_id=int(ts1 > ts0),
                ts0_temperature=ts0,
                ts1_temperature=ts1,
            )
        if self._red_since_ns is not None and self._parts.now_ns() - self._red_since_ns >= RED_GRACE_NS:
            self._red_since_ns = None
            self._shut_down(ts0, ts1)

    def _shut_down(self, ts0: float, ts1: float) -> None:
        """The red zone lasted: stop the dataflow and say so (event 3)."""
        if self._close_streams():
            self._parts.notifier.emit(
                "HEALTH_MONITOR_CLOSED_STREAMS", priority=CRITICAL, ts0_temperature=ts0, ts1_temperature=ts1
            )

    def _throttle(self, hottest: float) -> None:
        levels = self._parts.config.throttling_levels
        level = self._level if self._throttling else NO_LEVEL
        if self._throttling:
            while level + 1 < len(levels) and hottest >= levels[level + 1].threshold_c:
                level += 1
            while level > NO_LEVEL and hottest < levels[level].hysteresis_c:
                level -= 1
        if level != self._level:
            self._level = level
            self._change_clock(self._nominal_hz if level == NO_LEVEL else levels[level].clock_hz)

    def _change_clock(self, clock_hz: int) -> None:
        sensors = self._parts.board.sensors
        previous, sensors.nn_core_clock_hz = sensors.nn_core_clock_hz, clock_hz
        if previous != clock_hz:
            self._parts.notifier.emit("HEALTH_MONITOR_CLOCK_CHANGED", previous_clock=previous, current_clock=clock_hz)

    def _look_at_current(self, current_ma: float) -> None:
        over = self._overcurrent and current_ma > self._parts.config.red_overcurrent_ma
        zone = OVERCURRENT_RED if over else OVERCURRENT_GREEN
        if zone != self.overcurrent_zone:
            self.overcurrent_zone = zone
            self._parts.notifier.emit(
                "HEALTH_MONITOR_OVERCURRENT_PROTECTION_ALERT",
                priority=CRITICAL if over else INFO,
                overcurrent_zone=zone,
                exceeded_alert_threshold=self._parts.config.red_overcurrent_ma,
            )

    def temperature(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 46."""
        ts0, ts1, count = self._parts.board.sensors.read_temperature_c()
        return {"info": {"ts0_temperature": ts0, "ts1_temperature": ts1, "sample_count": count & 0xFFFF}}

    def set_clock(self, args: Mapping[str, Any]) -> None:
        """Opcode 61: event 10 follows."""
        if args["clock_freq"] not in NN_CLOCKS_HZ:
            raise Refused("PVT_INVALID_CLOCK_FREQUENCY")
        self._nominal_hz = args["clock_freq"]
        if self._level == NO_LEVEL:
            self._change_clock(self._nominal_hz)

    def information(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 62."""
        config, rules = self._parts.config, self._parts.spec.event_rules
        levels = tuple(
            {
                "temperature_threshold": level.threshold_c,
                "hysteresis_temperature_threshold": level.hysteresis_c,
                "throttling_nn_clock_freq": level.clock_hz,
            }
            for level in config.throttling_levels[:4]
        )
        throttled = self._level != NO_LEVEL
        return {
            "overcurrent_protection_active": int(self._overcurrent),
            "current_overcurrent_zone": self.overcurrent_zone,
            "red_overcurrent_threshold": swapped_threshold(config.red_overcurrent_ma),
            "overcurrent_throttling_active": 0,
            "temperature_throttling_active": int(self._throttling),
            "current_temperature_zone": self.temperature_zone,
            "current_temperature_throttling_level": self._level,
            "temperature_throttling_levels": {"levels": levels},
            "orange_temperature_threshold": rules.orange_threshold_c,
            "orange_hysteresis_temperature_threshold": rules.orange_hysteresis_c,
            "red_temperature_threshold": rules.red_threshold_c,
            "red_hysteresis_temperature_threshold": rules.red_hysteresis_c,
            "requested_overcurrent_clock_freq": self._nominal_hz,
            "requested_temperature_clock_freq": self._parts.board.sensors.nn_core_clock_hz
            if throttled
            else self._nominal_hz,
        }

    def set_throttling(self, args: Mapping[str, Any]) -> None:
        """Opcode 63."""
        self._throttling = bool(args["should_activate"])
        self.look()

    def get_throttling(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 64."""
        return {"is_active": int(self._throttling)}

    def set_overcurrent(self, args: Mapping[str, Any]) -> None:
        """Opcode 66."""
        self._overcurrent = bool(args["should_activate"])
        self.look()

    def get_overcurrent(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 67."""
        return {"is_required": int(self._overcurrent)}

    def snapshot(self) -> dict[str, Any]:
        """Return zones, throttling and the clock asked for."""
        return {
            "temperature_zone": self.temperature_zone,
            "overcurrent_zone": self.overcurrent_zone,
            "throttling_level": self._level,
            "throttling": self._throttling,
            "overcurrent": self._overcurrent,
            "nominal_clock_hz": self._nominal_hz,
        }


def swapped_threshold(value: float) -> float:
    """Return the float that the official host turns back into ``value`` (trap of control-protocol.md 3.1)."""
    return float(struct.unpack("<I", struct.pack(">I", int(value)))[0])
