"""The firmware's typed client: one method per control (control-protocol.md 4, 5).

``FirmwareClient(link).identify()`` and so on. Results are frozen values of `openhailo.driver.results`. A refusal is
`ControlFailed` with the names of both status words.
"""

from __future__ import annotations

from openhailo.errors import InputError
from openhailo.spec.enums import Cpu, Dvm, PowerMeasurementType, ResetType

from . import results
from .control_maintenance import MaintenanceControls
from .control_network import NetworkControls
from .results import (
    ChipTemperature,
    DeviceInformation,
    FirmwareVersion,
    Health,
    Identity,
    PowerSample,
    PowerStatistics,
)

__all__ = ["FirmwareClient"]


class FirmwareClient(NetworkControls, MaintenanceControls):
    """All controls over one link."""

    # --- identity and state -----------------------------------------------------------------------------------------

    def identify(self) -> Identity:
        """Who the chip is and what runs on it."""
        return results.identity(self._spec, self.call("IDENTIFY"))

    def core_identify(self) -> FirmwareVersion:
        """Version of the core processor's firmware."""
        return results.firmware_version(self._spec, self.call("CORE_IDENTIFY")["fw_version"])

    def device_information(self) -> DeviceInformation:
        """Clock, features, ids and fuses."""
        return results.device_information(self._spec, self.call("GET_DEVICE_INFORMATION"))

    def health(self) -> Health:
        """Protection and throttling state."""
        return results.health(self.call("GET_HEALTH_INFORMATION"))

    def chip_temperature(self) -> ChipTemperature:
        """Read both temperature sensors."""
        info = self.call("GET_CHIP_TEMPERATURE")["info"]
        return ChipTemperature(info["ts0_temperature"], info["ts1_temperature"], info["sample_count"])

    def reset(self, kind: int = ResetType.NN_CORE, timeout_s: float | None = None) -> None:
        """Reset the neural core, or all of the chip (soft, forced soft: there is no answer, control-protocol.md 7.6).

        After a soft reset the link must be reset or opened again. A chip reset is impossible over PCIe.
        """
        if kind == ResetType.CHIP:
            raise InputError(what="reset", detail="a chip reset is not possible over PCIe; use a soft reset")
        if kind in (ResetType.SOFT, ResetType.FORCED_SOFT):
            self.call_without_answer("RESET", reset_type=int(kind), timeout_s=timeout_s)
        else:
            self.call("RESET", reset_type=int(kind), timeout_s=timeout_s)

    def previous_system_state(self, cpu: int = Cpu.APP) -> int:
        """What the processor did before it was last reset."""
        name = "CORE_PREVIOUS_SYSTEM_STATE" if cpu == Cpu.CORE else "APP_PREVIOUS_SYSTEM_STATE"
        return int(self.call(name)["system_state"])

    # --- power ------------------------------------------------------------------------------------------------------

    def power_measurement(self, dvm: int = Dvm.AUTO, measurement_type: int = PowerMeasurementType.AUTO) -> PowerSample:
        """Measure once: W, mA or mV."""
        answer = self.call("POWER_MEASUREMENT", dvm=int(dvm), measurement_type=int(measurement_type))
        return PowerSample(answer["power_measurement"], answer["dvm"], answer["measurement_type"])

    def set_power_measurement(
        self, index: int = 0, dvm: int = Dvm.AUTO, measurement_type: int = PowerMeasurementType.AUTO
    ) -> tuple[int, int]:
        """Choose what slot ``index`` (0..3) measures; return what AUTO became."""
        answer = self.call("SET_POWER_MEASUREMENT", index=index, dvm=int(dvm), measurement_type=int(measurement_type))
        return answer["dvm"], answer["measurement_type"]

    def start_power_measurement(self, averaging_factor: int = 5, sampling_period: int = 4, delay_ms: int = 1) -> None:
        """Begin to measure; factor and period are ordinals of `AveragingFactor` and `SamplingPeriod`."""
        self.call(
            "START_POWER_MEASUREMENT",
            delay_milliseconds=delay_ms,
            averaging_factor=averaging_factor,
            sampling_period=sampling_period,
        )

    def get_power_measurement(self, index: int = 0, *, clear: bool = False) -> PowerStatistics:
        """Read a slot; ``clear`` starts its statistics again."""
        answer = self.call("GET_POWER_MEASUREMENT", index=index, should_clear=int(clear))
        return PowerStatistics(
            answer["total_number_of_samples"],
            answer["min_value"],
            answer["max_value"],
            answer["average_value"],
            answer["average_time_value_milliseconds"],
        )

    def stop_power_measurement(self) -> None:
        """End all periodic measurements."""
        self.call("STOP_POWER_MEASUREMENT")

    # --- protection -------------------------------------------------------------------------------------------------

    def set_throttling(self, *, active: bool) -> None:
        """Switch temperature throttling."""
        self.call("SET_THROTTLING_STATE", should_activate=int(active))

    def throttling(self) -> bool:
        """Tell whether temperature throttling is on."""
        return bool(self.call("GET_THROTTLING_STATE")["is_active"])

    def set_overcurrent_protection(self, *, active: bool) -> None:
        """Switch over-current protection."""
        self.call("SET_OVERCURRENT_STATE", should_activate=int(active))

    def overcurrent_protection(self) -> bool:
        """Tell whether over-current protection is required."""
        return bool(self.call("GET_OVERCURRENT_STATE")["is_required"])

    def set_sleep_state(self, state: int) -> None:
        """Send the core to sleep (0) or wake it (1)."""
        self.call("SET_SLEEP_STATE", sleep_state=int(state))

    def set_clock(self, clock_hz: int) -> None:
        """Set the core's clock in Hz."""
        self.call("SET_CLOCK_FREQ", clock_freq=clock_hz)

    # --- debugging --------------------------------------------------------------------------------------------------

    def set_logger(self, level: int, interfaces: int = 1) -> None:
        """Set the firmware's log level (0 trace .. 5 fatal) and interfaces (bit 0 PCIe, bit 1 UART)."""
        self.call("SET_FW_LOGGER", level=level, logger_interface_bit_mask=interfaces)

    def enable_watchdog(self, cpu: int, *, enable: bool) -> None:
        """Switch the watchdog of a processor."""
        self.call("CORE_WD_ENABLE" if cpu == Cpu.CORE else "APP_WD_ENABLE", should_enable=int(enable))

    def config_watchdog(self, cpu: int, cycles: int, mode: int) -> None:
        """Set a watchdog's period in cycles and its mode (0 hardware and software, 1 hardware)."""
        self.call("CORE_WD_CONFIG" if cpu == Cpu.CORE else "APP_WD_CONFIG", wd_cycles=cycles, wd_mode=mode)

    def set_idle_time_measurement(self, *, enable: bool) -> None:
        """Begin or end to measure the processor's idle time."""
        self.call("IDLE_TIME_SET_MEASUREMENT", measurement_enable=int(enable))

    def idle_time_ns(self) -> int:
        """Idle time since the measurement began, in ns."""
        return int(self.call("IDLE_TIME_GET_MEASUREMENT")["idle_time_ns"])

    def config_latency_measurement(
        self, *, enable: bool, start_buffer: int, stop_buffer: int, input_stream: int, output_stream: int
    ) -> None:
        """Set up the core's own latency measurement."""
        self.call(
            "NN_CORE_LATENCY_MEASUREMENT_CONFIG",
            latency_measurement_en=int(enable),
            inbound_start_buffer_number=start_buffer,
            outbound_stop_buffer_number=stop_buffer,
            inbound_stream_index=input_stream,
            outbound_stream_index=output_stream,
        )

    def latency_ns(self) -> int:
        """Measured latency of the core, in ns."""
        return int(self.call("NN_CORE_LATENCY_MEASUREMENT_READ")["inbound_to_outbound_latency_nsec"])

    def enable_debugging(self, *, is_rma: bool = False) -> None:
        """Open the chip for debugging."""
        self.call("ENABLE_DEBUGGING", is_rma=int(is_rma))
