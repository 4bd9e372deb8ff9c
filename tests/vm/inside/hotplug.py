"""Two functions in one guest; one is unplugged while it is open, one loses its server; then the guest reboots."""

from __future__ import annotations

import ctypes
import os

from openhailo.errors import DeviceLost

from .bus import Function, error_of, kernel_log, wait_until
from .frames import Case

#: Servers by number: hailo8, hailo8l, and hailo8 with older firmware, which waits for a free port.
FIRST, SECOND, SPARE = range(3)
#: LINUX_REBOOT_CMD_RESTART (reboot(2)).
_RESTART = 0x01234567


def steps(outside, settings):
    """Return the steps, in order."""
    plug = Hotplug(outside, settings)
    names = ("two_at_once", "unplug_while_open", "plug_another", "server_dies_while_open", "replace_the_dead")
    names += ("the_other_one_did_not_notice", "reboot_with_firmware_running")
    if outside.ask("boot")["number"] > 1:
        names = ("cold_after_the_reboot",)
    return [(name.replace("_", " "), getattr(plug, name)) for name in names]


class Hotplug:
    """The steps."""

    def __init__(self, outside, settings) -> None:
        self.outside = outside
        self.functions = [Function(port) for port in settings["ports"][:2]]
        self.tiny, self.tiny_8l = Case(settings["tiny"]), Case(settings["tiny_8l"])
        self.first = None

    def two_at_once(self):
        """Two drivers, two chips of different kinds, frames in turn."""
        for function in self.functions:
            function.bind()
        first, second = (function.open() for function in self.functions)
        assert (first.identify().architecture, second.identify().architecture) == (1, 2)
        networks = self.tiny.load(first), self.tiny_8l.load(second)
        for index in range(10):
            (self.tiny, self.tiny_8l)[index % 2].run(networks[index % 2], index, 1)
        second.close()
        self.first, self.network = first, networks[0]

    def unplug_while_open(self):
        """The kernel asks for the function; the driver says so, and closing gives it back."""
        function = self.functions[1]
        device = function.open()
        self.outside.ask("unplug", port=1)
        wait_until("the kernel's request", lambda: isinstance(lost_by(device), DeviceLost))
        assert function.present, "the kernel waits for us"
        device.close()
        self.outside.ask("gone", port=1)
        wait_until("removal", lambda: not function.present)
        error_of(function.open)

    def plug_another(self):
        """Another server takes the port: another chip, found and used like the first."""
        function = self.functions[1]
        self.outside.ask("plug", port=1, server=SPARE)
        wait_until("discovery", lambda: function.present)
        function.bind()
        with function.open() as device:
            identity = device.identify()
            assert (identity.architecture, identity.version.minor) == (1, 20), identity
            with self.tiny.load(device) as network:
                self.tiny.run(network, count=10)

    def server_dies_while_open(self):
        """All reads are ones: the driver says that the device is lost, and can be closed."""
        function = self.functions[1]
        device = function.open()
        # The kernel would reset what it gets back, and wait a minute for a function that is not there to come back.
        function.write("reset_method", "\n")
        self.outside.ask("kill", server=SPARE)
        error = error_of(device.identify)
        assert isinstance(error, DeviceLost), repr(error)
        device.close()
        return {"error": str(error)}

    def replace_the_dead(self):
        function = self.functions[1]
        self.outside.ask("unplug", port=1)
        self.outside.ask("gone", port=1)
        wait_until("removal", lambda: not function.present)
        self.outside.ask("plug", port=1, server=SECOND)
        wait_until("discovery", lambda: function.present)
        function.bind()
        with function.open() as device:
            assert device.identify().architecture == 2

    def the_other_one_did_not_notice(self):
        self.tiny.run(self.network, count=20)
        complaints = [line for line in kernel_log() if self.functions[0].address in line]
        assert not complaints, complaints

    def reboot_with_firmware_running(self):
        """The machine goes down with the driver at work, as after a power button."""
        self.outside.report(step="reboot", ok=True, problem="", seconds=0.0)
        os.sync()
        ctypes.CDLL(None).reboot(_RESTART)

    def cold_after_the_reboot(self):
        """Firmware is loaded again, and frames come."""
        function = self.functions[0]
        function.bind()
        with function.open() as device, self.tiny.load(device) as network:
            assert b"firmware 4.23.0 up" in device.read_logs()["app"]
            self.tiny.run(network, count=10)


def lost_by(device):
    """Return the error of a control, None if there is none."""
    try:
        device.firmware.identify()
    except Exception as error:
        return error
    return None
