"""Coming back from trouble: resets with networks, stuck channels, lost messages (driver.md 8)."""

from __future__ import annotations

from functools import partial

from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.pcie_link import PcieLink
from openhailo.driver.watchdog import Recovery
from openhailo.errors import ControlFailed, DeviceTimeout
from openhailo.testing.check import check, expect, expect_error
from openhailo.testing.rig import Rig

from .boot import image_file
from .pieces import DriverNetwork
from .raw.lists import answer_to, frame
from .vdma import SILICON, reverse


def _owner(rig: Rig) -> PcieLink | KernelLink:
    link = rig.link
    assert isinstance(link, PcieLink | KernelLink), "links of this project can recover"
    return link


@check("recovery", needs=("state", "clock"), about=["RESET", "reset_type"])
def core_reset_stops_networks(rig: Rig) -> None:
    """After a core reset a network runs again from the start."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=8)
    network.start()
    network.read()
    network.send(frame(1))
    expect("before", network.receive(), answer_to(frame(1)))
    expect("recovery", _owner(rig).recover(), Recovery.NN_CORE)
    rig.client.clear_configured_apps()
    again = DriverNetwork(rig, SILICON, count=8)
    again.start()
    again.read()
    again.send(frame(2))
    expect("afterwards", again.receive(), answer_to(frame(2)))
    again.stop()


@check("recovery", needs=("fresh", "faults", "clock"), about=["soft_reset", "boot"])
def firmware_that_hangs_is_restarted(rig: Rig) -> None:
    """When nothing is answered the firmware is reset and loaded again."""
    with rig.fresh(image=image_file()) as other:
        link = _owner(other)
        other.faults.drop_answers = 1
        expect("recovery", link.recover(), Recovery.FIRMWARE)
        expect("identity", other.client.identify().protocol_version, 2)


@check("recovery", needs=("pcie", "faults", "clock"), about=["interrupts"])
def lost_messages_are_made_up_for(rig: Rig) -> None:
    """A message that got lost delays, the status shows what it was about (driver.md 8.2 row 9)."""
    client = rig.client
    rig.faults.drop_interrupts = 1
    expect("identity", client.identify().protocol_version, 2)


@check("recovery", needs=("faults", "clock"), about=["control_status"])
def refusals_do_no_harm(rig: Rig) -> None:
    """A control that is refused changes nothing, and the next one works."""
    rig.faults.control_status[61] = (0x01020304, 0x05060708)
    error = expect_error("a refusal", ControlFailed, partial(rig.client.set_clock, 300_000_000))
    expect("status words", (error.major, error.minor), (0x01020304, 0x05060708))
    rig.faults.control_status.clear()
    expect("clock", rig.client.device_information().clock_hz, 400_000_000)


@check("recovery", needs=("state", "clock"), about=["driver_shutdown"])
def closing_leaves_the_chip_quiet(rig: Rig) -> None:
    """Channels are aborted, bus mastering is off, interrupts are masked; the next owner finds it usable."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=8)
    network.start()
    network.read()
    rig.link.close()
    chip = rig.twin.chip
    expect("open channels", [channel for channel in range(32) if chip.vdma.is_open(channel)], [])
    expect("mask", chip.registers.read(0x188), 0)
    expect("registered memory", len(rig.twin.dma), 0)
    if "pcie" in rig.capabilities:  # the kernel driver keeps mastering for as long as it is loaded (driver.md 1.1)
        expect("mastering", chip.pci.masters, False)
    rig.close_link()
    expect("the next owner", rig.client.identify().protocol_version, 2)


@check("recovery", needs=("state", "clock"), about=["DEVICE_ID"])
def stalled_channels_time_out(rig: Rig) -> None:
    """A channel that does not move brings no events, and the link stays usable."""
    rig.bind(reverse)
    network = DriverNetwork(rig, SILICON, count=8)
    network.start()
    rig.faults.stalled_channels.add(1)
    network.read()
    network.send(frame(1))
    expect("events", rig.link.wait_channels(network.bitmap, 0.5), [])
    rig.faults.stalled_channels.clear()
    network.send(frame(2))
    expect("the first frame", network.receive(), answer_to(frame(1)))
    network.stop()


@check("recovery", needs=("fresh", "faults"), about=["boot"])
def no_second_try_for_changes(rig: Rig) -> None:
    """What changes something is sent once."""
    with rig.fresh() as other:
        other.faults.drop_answers = 1
        expect_error("no answer", DeviceTimeout, other.client.clear_configured_apps)
        expect("identity", other.client.identify().protocol_version, 2)
