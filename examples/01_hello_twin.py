"""Open the first device there is, a real one or the virtual chip, and ask who it is."""

import openhailo

for candidate in openhailo.list_devices():
    print("could be opened:", candidate.name, candidate.note)

with openhailo.open() as device:
    identity, information, sensors = device.identify(), device.information(), device.sensors()
    print(f"opened {device.name}: {identity.board_name or 'a Hailo-8'}, firmware {identity.version}")
    print(f"clock {information.clock_hz / 1e6:.0f} MHz, {sensors.temperature_c:.1f} degrees Celsius")
    if sensors.power_w is not None:
        print(f"power {sensors.power_w:.2f} W")
