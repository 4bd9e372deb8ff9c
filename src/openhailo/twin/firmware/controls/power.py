"""Power measurement: opcodes 9-13 (control-protocol.md 5.9-5.13, 7.4, 12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openhailo.twin.firmware.parts import Handler, Parts
from openhailo.twin.firmware.refusal import Refused

DVM_COUNT, OVERCURRENT_PROTECTION = 10, 9
EVB_TOTAL_POWER, AUTO = 0x7FFFFFFE, 0x7FFFFFFF
SHUNT_VOLTAGE, BUS_VOLTAGE, POWER, CURRENT = range(4)
BUFFERS = 4
_PERIODS_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)
_FACTORS = (1, 4, 16, 64, 128, 256, 512, 1024)
_SHUNT_OHM = 0.001  # GUESS: only scales the shunt voltage reading


@dataclass
class _Buffer:
    """One of the four measurement buffers; statistics over the readings taken, count from the time that passed."""

    dvm: int
    kind: int
    readings: list[float] = field(default_factory=list)
    samples: int = 0


class PowerControls:
    """One sensor seen through any of the measurement points."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._buffers: dict[int, _Buffer] = {}
        self._started_ns: int | None = None
        self._interval_ns = 1

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {
            "POWER_MEASUREMENT": self.measure,
            "SET_POWER_MEASUREMENT": self.configure,
            "GET_POWER_MEASUREMENT": self.read,
            "START_POWER_MEASUREMENT": self.start,
            "STOP_POWER_MEASUREMENT": self.stop,
        }

    def _resolve(self, dvm: int, kind: int, failed: str) -> tuple[int, int]:
        """Replace AUTO as a board with current monitoring does (7.4). Raises `Refused`."""
        spec = self._parts.spec
        if not spec.feature_flags["current_monitoring"].get(self._parts.config.supported_features):
            raise Refused("CONTROL_PROTOCOL_STATUS_UNSUPPORTED_DEVICE")
        kind_out = POWER if kind == AUTO else kind
        if kind_out > CURRENT:
            raise Refused(failed, "HAILO_POWER_MEASUREMENT_STATUS_INVALID_MEASUREMENT_ARGUMENTS")
        if dvm == EVB_TOTAL_POWER:
            if "EVB" not in self._parts.config.product_name:
                raise Refused("CONTROL_PROTOCOL_STATUS_GOT_INVALID_DVM_FOR_THAT_PLATFORM")
            if kind_out != POWER:
                raise Refused("CONTROL_PROTOCOL_STATUS_ONLY_POWER_CAN_BE_SAMPLED_WITH_EVB_TOTAL_POWER_OPTION")
        elif dvm != AUTO and dvm >= DVM_COUNT:
            raise Refused(failed, "HAILO_POWER_MEASUREMENT_STATUS_INVALID_DVM")
        return (OVERCURRENT_PROTECTION if dvm == AUTO else dvm), kind_out

    def _sample(self, kind: int) -> float:
        """Read the sensor: power in W, current in mA, voltages in mV."""
        sensors = self._parts.board.sensors
        if kind == POWER:
            return sensors.read_power_w()
        if kind == CURRENT:
            return sensors.read_current_ma()
        return sensors.read_voltage_mv() if kind == BUS_VOLTAGE else sensors.read_current_ma() * _SHUNT_OHM

    def measure(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 9: one sample."""
        failed = "CONTROL_PROTOCOL_STATUS_FAILED_SINGLE_POWER_MEASUREMENT"
        dvm, kind = self._resolve(args["dvm"], args["measurement_type"], failed)
        if self._started_ns is not None and any(b.dvm == dvm for b in self._buffers.values()):
            raise Refused(failed, "HAILO_POWER_MEASUREMENT_DVM_ALREADY_IN_USE_FOR_PERIODIC_SAMPLING")
        return {"power_measurement": self._sample(kind), "dvm": dvm, "measurement_type": kind}

    def configure(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 10: what buffer ``index`` samples."""
        failed = "CONTROL_PROTOCOL_STATUS_FAILED_SET_POWER_MEASUREMENT"
        if args["index"] >= BUFFERS:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_POWER_MEASUREMENT_INDEX")
        dvm, kind = self._resolve(args["dvm"], args["measurement_type"], failed)
        self._buffers[args["index"]] = _Buffer(dvm, kind)
        return {"dvm": dvm, "measurement_type": kind}

    def start(self, args: Mapping[str, Any]) -> None:
        """Opcode 12: sample periodically; the averaging factor and period are enum ordinals (12)."""
        failed = "CONTROL_PROTOCOL_STATUS_FAILED_START_POWER_MEASUREMENT"
        if args["averaging_factor"] >= len(_FACTORS) or args["sampling_period"] >= len(_PERIODS_US):
            raise Refused(failed, "HAILO_POWER_MEASUREMENT_STATUS_INVALID_INTERVAL")
        if self._started_ns is not None:
            raise Refused(failed, "HAILO_POWER_MEASUREMENT_STATUS_ALREADY_STARTED")
        if not self._buffers:
            raise Refused(failed, "HAILO_POWER_MEASUREMENT_STATUS_INVALID_MEASUREMENT_ARGUMENTS")
        self._interval_ns = _PERIODS_US[args["sampling_period"]] * _FACTORS[args["averaging_factor"]] * 1000
        self._started_ns = self._parts.now_ns()
        for buffer in self._buffers.values():
            buffer.readings, buffer.samples = [self._sample(buffer.kind)], 0

    def stop(self, args: Mapping[str, Any]) -> None:
        """Opcode 13: stop sampling; stopping what does not run is no error (the official tool begins with it)."""
        self._collect()
        self._started_ns = None

    def _collect(self) -> None:
        """Account for the samples that fell due since the last look."""
        if self._started_ns is None:
            return
        due = (self._parts.now_ns() - self._started_ns) // self._interval_ns
        self._started_ns += due * self._interval_ns
        for buffer in self._buffers.values():
            buffer.samples += due
            if due:
                buffer.readings = [*buffer.readings[-63:], self._sample(buffer.kind)]

    def read(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 11: statistics of buffer ``index``."""
        if args["index"] >= BUFFERS:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_POWER_MEASUREMENT_INDEX")
        buffer = self._buffers.get(args["index"])
        if buffer is None:
            raise Refused(
                "CONTROL_PROTOCOL_STATUS_FAILED_GET_POWER_MEASUREMENT",
                "HAILO_POWER_MEASUREMENT_STATUS_INVALID_MEASUREMENT_ARGUMENTS",
            )
        self._collect()
        readings = buffer.readings or [0.0]
        answer = {
            "total_number_of_samples": min(buffer.samples, 0xFFFFFFFF),
            "min_value": min(readings),
            "max_value": max(readings),
            "average_value": sum(readings) / len(readings),
            "average_time_value_milliseconds": self._interval_ns / 1e6,
        }
        if args["should_clear"]:
            buffer.readings, buffer.samples = buffer.readings[-1:], 0
        return answer

    def snapshot(self) -> dict[str, Any]:
        """Return what each buffer samples and how often."""
        return {
            "buffers": {index: (buffer.dvm, buffer.kind) for index, buffer in self._buffers.items()},
            "interval_ns": self._interval_ns,
            "is_running": self._started_ns is not None,
        }
