"""Watchdogs, previous state, sleep, idle time, latency, logger, debugging, BIST (control-protocol.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openhailo.twin.firmware.parts import Handler, Parts
from openhailo.twin.firmware.refusal import Refused

SLEEPING, AWAKE = 0, 1
_TOP_BLOCKS = 27
_CLUSTERS = 8
_MAX_LOG_LEVEL = 5
_LOG_INTERFACES = 3


@dataclass
class _Watchdog:
    """One CPU's watchdog."""

    enabled: bool = False
    cycles: int = 0
    mode: int = 0

    def enable(self, args: Mapping[str, Any]) -> None:
        """Opcodes 38 and 69."""
        wanted = bool(args["should_enable"])
        if wanted == self.enabled:
            cause = "WD_STATUS_ENABLE_WHILE_ENABLED" if wanted else "WD_STATUS_DISABLE_WHILE_DISABLED"
            raise Refused("CONTROL_PROTOCOL_STATUS_WD_ENABLE_FAILED", cause)
        self.enabled = wanted

    def configure(self, args: Mapping[str, Any]) -> None:
        """Opcodes 39 and 70."""
        failed = "CONTROL_PROTOCOL_STATUS_WD_CONFIG_FAILED"
        if self.enabled:
            raise Refused(failed, "WD_STATUS_CONFIG_WHILE_ENABLED")
        if args["wd_mode"] > 1:
            raise Refused(failed, "WD_STATUS_INVALID_PARAMETERS")
        if args["wd_cycles"] == 0:
            raise Refused(failed, "WD_STATUS_INVALID_WD_CYCLES")
        self.cycles, self.mode = args["wd_cycles"], args["wd_mode"]


class SystemControls:
    """Housekeeping of both CPUs."""

    def __init__(self, parts: Parts, is_idle: Callable[[], bool], latency_ns: Callable[[], int]) -> None:
        self._parts, self._is_idle, self._latency_ns = parts, is_idle, latency_ns
        self._app, self._core = _Watchdog(), _Watchdog()
        self._idle_since_ns: int | None = None
        self._measures_latency = False
        self.sleep_state = AWAKE
        self.previous_state = 0
        self.is_rma = False

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {
            "APP_WD_ENABLE": self._app.enable,
            "APP_WD_CONFIG": self._app.configure,
            "CORE_WD_ENABLE": self._core.enable,
            "CORE_WD_CONFIG": self._core.configure,
            "APP_PREVIOUS_SYSTEM_STATE": self.previous,
            "CORE_PREVIOUS_SYSTEM_STATE": self.previous,
            "SET_SLEEP_STATE": self.set_sleep_state,
            "IDLE_TIME_SET_MEASUREMENT": self.set_idle_time,
            "IDLE_TIME_GET_MEASUREMENT": self.get_idle_time,
            "NN_CORE_LATENCY_MEASUREMENT_CONFIG": self.configure_latency,
            "NN_CORE_LATENCY_MEASUREMENT_READ": self.read_latency,
            "SET_FW_LOGGER": self.set_logger,
            "ENABLE_DEBUGGING": self.enable_debugging,
            "RUN_BIST_TEST": self.run_bist,
        }

    def previous(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcodes 40 and 68: why the CPU last restarted; 0 is a clean start."""
        return {"system_state": self.previous_state}

    def set_sleep_state(self, args: Mapping[str, Any]) -> None:
        """Opcode 73."""
        if args["sleep_state"] not in (SLEEPING, AWAKE):
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_SLEEP_STATE")
        if args["sleep_state"] == SLEEPING and not self._is_idle():
            raise Refused("CONTROL_PROTOCOL_STATUS_SET_SLEEP_STATE_FAILED", "CONTROL_PROTOCOL_STATUS_DATAFLOW_NOT_IDLE")
        self.sleep_state = args["sleep_state"]

    def set_idle_time(self, args: Mapping[str, Any]) -> None:
        """Opcode 34."""
        wanted = bool(args["measurement_enable"])
        if wanted == (self._idle_since_ns is not None):
            raise Refused("CONTROL_PROTOCOL_STATUS_IDLE_TIME_MEASUREMENT_ALREADY_SET")
        self._idle_since_ns = self._parts.now_ns() if wanted else None

    def get_idle_time(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 35: nanoseconds; the virtual CPU computes in no time, so all of it is idle."""
        if self._idle_since_ns is None:
            raise Refused("CONTROL_PROTOCOL_STATUS_FAILED_IDLE_TIME_GET_MEASUREMENT")
        return {"idle_time_ns": self._parts.now_ns() - self._idle_since_ns}

    def configure_latency(self, args: Mapping[str, Any]) -> None:
        """Opcode 24."""
        self._measures_latency = bool(args["latency_measurement_en"])

    def read_latency(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 25: device time of the last frame."""
        if not self._measures_latency:
            raise Refused(
                "CONTROL_PROTOCOL_STATUS_LATENCY_READ_FAILED",
                "HAILO_DATAFLOW_STATUS_LATENCY_MEASUREMENT_READ_WHILE_DISABLED",
            )
        return {"inbound_to_outbound_latency_nsec": min(self._latency_ns(), 0xFFFFFFFF)}

    def set_logger(self, args: Mapping[str, Any]) -> None:
        """Opcode 55: level 0 trace to 5 fatal; interface bits 1 PCIe, 2 UART."""
        if args["level"] > _MAX_LOG_LEVEL:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_LOGGER_LEVEL")
        if args["logger_interface_bit_mask"] > _LOG_INTERFACES:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_LOGGER_INTERFACE")
        self._parts.log.level = args["level"]
        self._parts.log.interfaces = args["logger_interface_bit_mask"]

    def enable_debugging(self, args: Mapping[str, Any]) -> None:
        """Opcode 50."""
        self.is_rma = bool(args["is_rma"])

    def run_bist(self, args: Mapping[str, Any]) -> None:
        """Opcode 60: virtual memories never fail; arguments are checked."""
        if args["cluster_index"] >= _CLUSTERS:
            raise Refused("MBIST_STATUS_INVALID_ARGS")
        if args["top_bypass_bitmap"] >> _TOP_BLOCKS:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_BYPASS_SELECTION")

    def snapshot(self) -> dict[str, Any]:
        """Return the settings of both processors; a watchdog is (enabled, cycles, mode)."""
        app, core = self._app, self._core
        return {
            "app_watchdog": (app.enabled, app.cycles, app.mode),
            "core_watchdog": (core.enabled, core.cycles, core.mode),
            "measures_idle_time": self._idle_since_ns is not None,
            "measures_latency": self._measures_latency,
            "sleep_state": self.sleep_state,
            "is_rma": self.is_rma,
        }
