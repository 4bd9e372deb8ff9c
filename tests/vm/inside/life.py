"""The life of one function: found, bound, booted, used, broken, repaired, put to sleep, reset, removed, found again."""

from __future__ import annotations

import time
from contextlib import ExitStack

from openhailo.errors import ControlFailed, DeviceBusy, DeviceTimeout

from .bus import Function, error_of, kernel_log, rescan, wait_until
from .frames import Case

PM, MSI, EXPRESS = 0x01, 0x05, 0x10
FUNCTION_RESET_CAPABLE = 1 << 28
#: The channels of a network with one input and one output; channel 0 brings its configuration.
INPUT, OUTPUT = 1, 16


def steps(outside, settings):
    """Return the steps, in order; each finds the function bound and closed, and leaves it so."""
    life = Life(outside, settings)
    names = (
        *("enumerate", "bind", "sleep_before_use", "load_firmware_and_identify", "one_owner", "one_hundred_frames"),
        *("a_large_frame", "refused_control", "lost_answer", "lost_interrupt", "descriptor_error", "stalled_channel"),
        *("firmware_that_hangs", "reset_while_open", "sleep_and_wake", "function_level_reset", "unbind_and_rebind"),
        *("remove_and_rescan", "kernel_has_no_complaint"),
    )
    return [(name.replace("_", " "), getattr(life, name)) for name in names]


class Life:
    """The steps."""

    def __init__(self, outside, settings) -> None:
        self.function = Function(settings["ports"][0])
        self.outside = outside
        self.tiny, self.large = Case(settings["tiny"]), Case(settings["large"])

    def break_(self, **faults) -> None:
        """Have the chip break in these ways, and in no other."""
        self.outside.ask("break_", values=faults)

    # --- the bus --------------------------------------------------------------------------------------------------

    def enumerate(self):
        """Everything that a driver looks for is there (driver.md 10.1)."""
        function = self.function
        assert (function.read("vendor"), function.read("device")) == ("0x1e60", "0x2864")
        assert function.read("class") == "0x0b4000"
        spans = [[int(word, 16) for word in line.split()] for line in function.read("resource").splitlines()]
        sizes = {index: end - start + 1 for index, (start, end, _) in enumerate(spans[:6]) if end}
        assert sizes == {0: 0x4000, 2: 0x1000, 4: 0x4000}, sizes
        message_control = function.config(function.capability(MSI) + 2, 2)
        assert message_control & 0x008E == 0x0080, f"one message with a 64-bit address: 0x{message_control:04X}"
        assert function.config(function.capability(EXPRESS) + 4, 4) & FUNCTION_RESET_CAPABLE
        assert function.config(function.capability(PM) + 4, 2) & 0x8, "state survives D3hot"
        link = f"{function.read('current_link_speed')} x{function.read('current_link_width')}"
        assert link == "8.0 GT/s PCIe x4", link
        return {"link": link, "group": (function.folder / "iommu_group").readlink().name}

    def bind(self):
        self.function.bind()

    def unbind_and_rebind(self):
        self.function.unbind()
        error_of(self.function.open)
        self.function.bind()
        self.use()

    def remove_and_rescan(self):
        self.function.write("remove", "1")
        wait_until("removal", lambda: not self.function.present)
        rescan()
        wait_until("rescan", lambda: self.function.present)
        self.function.bind()
        self.use()

    def function_level_reset(self):
        self.function.write("reset", "1")
        self.use()

    def sleep_before_use(self):
        """VFIO puts what nobody uses to sleep."""
        self.function.write("power/control", "auto")
        wait_until("sleep", lambda: self.function.read("power_state") == "D3hot")

    def sleep_and_wake(self):
        with self.function.open() as device:
            device.identify()
            assert self.function.read("power_state") == "D0"
        wait_until("sleep", lambda: self.function.read("power_state") == "D3hot")
        self.use()

    def use(self) -> None:
        """Boot it and run a frame."""
        with self.function.open() as device, self.tiny.load(device) as network:
            self.tiny.run(network, count=1)

    # --- our driver -----------------------------------------------------------------------------------------------

    def load_firmware_and_identify(self):
        started = time.monotonic()
        with self.function.open() as device:
            opened_s = time.monotonic() - started
            identity = device.identify()
            assert identity.architecture == 1, identity
            logs = device.read_logs()
            assert b"firmware 4.23.0 up" in logs["app"], logs
        return {"open_s": round(opened_s, 3)}

    def one_owner(self):
        with self.function.open():
            error = error_of(self.function.open)
            assert isinstance(error, DeviceBusy), repr(error)

    def one_hundred_frames(self):
        """Bit for bit what ONNX Runtime computes: one at a time, and all at once."""
        with self.function.open() as device, self.tiny.load(device) as network:
            for index in range(len(self.tiny.frames)):
                self.tiny.run(network, index, 1)
            started = time.monotonic()
            count = self.tiny.run(network)
            return {"frames": 2 * count, "fps": round(count / (time.monotonic() - started), 1)}

    def a_large_frame(self):
        with self.function.open() as device, self.large.load(device) as network:
            return {"frames": self.large.run(network)}

    # --- faults ---------------------------------------------------------------------------------------------------

    def refused_control(self):
        with self.function.open() as device, self.tiny.load(device) as network:
            self.break_(control_status={"0": [1, 2]})
            error = error_of(device.firmware.identify)
            assert isinstance(error, ControlFailed), repr(error)
            self.break_()
            device.firmware.identify()
            self.tiny.run(network, count=1)

    def lost_answer(self):
        with self.function.open() as device:
            self.break_(drop_answers=1)
            error = error_of(device.firmware.clear_configured_apps)
            assert isinstance(error, DeviceTimeout), repr(error)
            device.firmware.identify()

    def lost_interrupt(self):
        """The message got lost, the status register shows what it was about."""
        with self.function.open() as device:
            self.break_(drop_interrupts=1)
            device.firmware.identify()

    def descriptor_error(self):
        self.broken_frames({"descriptor_errors": {INPUT: 0}})

    def stalled_channel(self):
        self.broken_frames({"stalled_channels": [OUTPUT]})

    def broken_frames(self, faults) -> None:
        """Frames fail in time and with a reason; once the fault is gone, frames come again, bit for bit."""
        with self.function.open() as device, self.tiny.load(device, timeout_s=1.0) as network:
            self.tiny.run(network, count=1)
            self.break_(**faults)
            error = error_of(lambda: self.tiny.run(network, count=4))
            self.break_()
            assert str(error)
            self.tiny.run(network, count=20)

    def firmware_that_hangs(self):
        """What does not answer is reset and booted again."""
        with self.function.open() as device:
            self.break_(drop_answers=1)
            device.link.recover()
            device.identify()

    def reset_while_open(self):
        """The firmware is gone with the reset; a driver that boots it again goes on."""
        with ExitStack() as stack:
            device = stack.enter_context(self.function.open())
            device.link.soft_reset()
            network = stack.enter_context(self.tiny.load(device))
            self.tiny.run(network, count=5)

    def kernel_has_no_complaint(self):
        lines = [line for line in kernel_log() if "vfio" in line or self.function.address in line]
        assert not lines, lines
