"""Read temperature, power, and the state of the protections."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ._devices import UnknownDriverOption, open_device
from ._output import DeviceOption, JsonOption, print_json, print_table

NAME = "sensors"


def command(
    device: DeviceOption = None,
    allow_unknown_driver: UnknownDriverOption = False,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many readings.")] = 1,
    interval_s: Annotated[float, typer.Option("--interval", min=0.0, help="Seconds between readings.")] = 1.0,
    json: JsonOption = False,
) -> None:
    """Run `openhailo sensors`."""
    with open_device(device, allow_unknown_driver=allow_unknown_driver) as chip:
        for index in range(count):
            if index:
                time.sleep(interval_s)
            reading, health = chip.sensors(), chip.health()
            if json:
                print_json({"device": chip.name, "sensors": reading, "health": health})
                continue
            power = "not measured by this board" if reading.power_w is None else f"{reading.power_w:.2f} W"
            print_table(
                chip.name,
                ("sensor", "value"),
                [
                    ("temperature", f"{reading.temperature_c:.1f} C"),
                    *((f"temperature sensor {n}", f"{value:.1f} C") for n, value in enumerate(reading.temperatures_c)),
                    ("power", power),
                    ("temperature throttling", "active" if health.temperature_throttling_active else "idle"),
                    ("over-current throttling", "active" if health.overcurrent_throttling_active else "idle"),
                ],
            )
