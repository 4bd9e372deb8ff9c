"""Read the board's sensors, and hear what the firmware says on its own when the chip gets hot.

Nobody wants to heat a real chip for an example, so this one always takes the virtual chip, whose sensors can be set.
"""

import openhailo
from openhailo.twin import Twin

with Twin() as twin, openhailo.open("twin:", twin=twin) as device:
    for degrees in (45.0, 108.0, 122.0, 45.0):
        twin.sensors.set_temperature(degrees)
        sensors, health = device.sensors(), device.health()
        clock = health.requested_temperature_clock_hz / 1e6
        power = "unknown" if sensors.power_w is None else f"{sensors.power_w:.2f} W"
        print(f"{sensors.temperature_c:.1f} degrees Celsius, {power}, {clock:.0f} MHz")
        while (message := device.read_notification(timeout_s=0.1)) is not None:
            print(f"  the firmware says {message.name}: {dict(message.values)}")

    logs = device.read_logs()
    print(
        f"logs of the firmware: {', '.join(f'{len(log)} bytes from the {cpu} processor' for cpu, log in logs.items())}"
    )
