"""Temperature, power and clock sensors: settable, and a deterministic function of the twin's time.

The numbers are a model, not measurements: no public page states them for a board. They move a little, so that a
monitoring tool has something to show, and only with the twin's clock, so that two runs show the same.
"""

from __future__ import annotations

from collections.abc import Callable

#: Core clock of the neural core (control-protocol.md 8, opcode 51).
NN_CORE_CLOCK_HZ = 400_000_000
_RIPPLE_PERIOD_NS = 8_000_000_000


def _triangle(now_ns: int) -> float:
    """Return a triangle wave in -1..1 with a period of eight seconds."""
    phase = (now_ns % _RIPPLE_PERIOD_NS) / _RIPPLE_PERIOD_NS
    return 4 * abs(phase - 0.5) - 1


class Sensors:
    """The board's sensors.

    Args:
        now_ns: the twin's time.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        #: Means around which the readings ripple; set them to whatever a test needs.
        self.temperature_c: tuple[float, float] = (43.0, 42.0)
        self.power_w: float = 1.6
        self.supply_v: float = 3.3
        #: Half the peak-to-peak ripple; 0 makes every reading exact.
        self.temperature_ripple_c: float = 0.25
        self.power_ripple_w: float = 0.05
        self.nn_core_clock_hz: int = NN_CORE_CLOCK_HZ
        self._samples = 0

    def set_temperature(self, ts0_c: float, ts1_c: float | None = None, *, exact: bool = True) -> None:
        """Set both sensors (one value sets both); ``exact`` switches the ripple off."""
        self.temperature_c = (ts0_c, ts0_c if ts1_c is None else ts1_c)
        if exact:
            self.temperature_ripple_c = 0.0

    def set_power(self, power_w: float, *, exact: bool = True) -> None:
        """Set the power draw in watts; ``exact`` switches the ripple off."""
        self.power_w = power_w
        if exact:
            self.power_ripple_w = 0.0

    def read_temperature_c(self) -> tuple[float, float, int]:
        """Return both die temperatures in degrees Celsius and the number of samples taken so far."""
        self._samples = (self._samples + 1) & 0xFFFF
        ripple = self.temperature_ripple_c * _triangle(self._now_ns())
        ts0, ts1 = self.temperature_c
        return ts0 + ripple, ts1 + ripple, self._samples

    def read_power_w(self) -> float:
        """Return the power draw in watts."""
        return self.power_w + self.power_ripple_w * _triangle(self._now_ns())

    def read_current_ma(self) -> float:
        """Return the supply current in milliamperes."""
        return 1000.0 * self.read_power_w() / self.supply_v

    def read_voltage_mv(self) -> float:
        """Return the supply voltage in millivolts."""
        return 1000.0 * self.supply_v
