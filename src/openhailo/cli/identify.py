"""Show who a device is: architecture, firmware, serial number, clock, features."""

from __future__ import annotations

from typing import Annotated

import typer

from ._devices import UnknownDriverOption, open_device
from ._output import DeviceOption, JsonOption, print_json, print_table

NAME = "identify"


def command(
    device: DeviceOption = None,
    allow_unknown_driver: UnknownDriverOption = False,
    extended: Annotated[bool, typer.Option("--extended", help="Clock, features, ids and fuses as well.")] = False,
    json: JsonOption = False,
) -> None:
    """Run `openhailo identify`."""
    from openhailo.spec.enums import DeviceArchitecture

    with open_device(device, allow_unknown_driver=allow_unknown_driver) as chip:
        identity = chip.identify()
        architecture = DeviceArchitecture(identity.architecture).name
        facts: dict[str, object] = {
            "device": chip.name,
            "architecture": architecture,
            "firmware": str(identity.version),
            "board": identity.board_name,
            "serial number": identity.serial_number,
            "part number": identity.part_number,
            "product": identity.product_name,
            "protocol version": identity.protocol_version,
        }
        if extended:
            information = chip.information()
            facts |= {
                "clock (MHz)": information.clock_hz / 1e6,
                "features": ", ".join(sorted(information.features)),
                "boot source": information.boot_source,
                "life cycle state": information.lcs,
                "SoC id": information.soc_id.hex(),
                "MAC address": information.mac_address.hex(":"),
                "cluster layout": f"0x{information.partial_clusters_layout_bitmap:X}",
            }
    if json:
        print_json(facts)
    else:
        print_table("", ("fact", "value"), facts.items())
