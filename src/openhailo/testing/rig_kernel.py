"""A twin behind the virtual kernel driver of one release, on the twin's own clock.

The link's threads block in the driver as they do on a real machine. So that a check sees the same thing every time,
only the check's own thread moves the clock, and before it does, the others take what has arrived for them.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from openhailo.bus.chardev import CharDevice
from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.kernel.resources import KernelOptions
from openhailo.driver.link import ChipLink
from openhailo.errors import DeviceBusy

from .rig import ALL, Rig, TwinRig, TwinSetup

if TYPE_CHECKING:
    from openhailo.bus.protocols import DeviceFile, PciFunction
    from openhailo.driver.pcie_link import PcieLink
    from openhailo.twin.facade import Twin
    from openhailo.twin.ports.devfile import VirtualDeviceFile, VirtualKernelDriver

    from .conformance.raw.ioctl_host import IoctlHost

#: What the kernel driver keeps for itself: capability -> why a check that needs it does not apply.
KEPT = {
    "function": "the kernel driver owns registers, windows and configuration space",
    "pcie": "the kernel driver loads firmware and handles interrupts, not ours",
}
#: Longest real time in which threads that were woken come back; they do within microseconds.
SETTLE_S = 10.0
#: The board configuration of a reference twin: flash that nobody wrote.
_ERASED = b"\xff" * 500


class NodeRig(Rig):
    """A rig around a node of the kernel driver, with a real card behind it."""

    capabilities = frozenset({"link", "device_file"})

    def __init__(self, link: KernelLink) -> None:
        super().__init__(link)
        self._path = link.info.name

    def _open_link(self) -> ChipLink:
        return KernelLink(CharDevice(self._path))

    def open_file(self) -> DeviceFile:
        """Open the node, any number of times; the link is closed for it."""
        self.close()
        return CharDevice(self._path)


class KernelRig(TwinRig):
    """A rig around a twin behind the virtual kernel driver of ``release``.

    ``found_running``: firmware runs already when the driver is loaded. Further arguments are the driver's.
    """

    capabilities = (ALL - KEPT.keys()) | {"device_file"}

    def __init__(
        self, release: str, setup: TwinSetup | None = None, *, found_running: bool = False, **machine: Any
    ) -> None:
        super().__init__(setup)
        self.release, self._found_running, self._machine = release, found_running, machine
        self._driver: VirtualKernelDriver | None = None
        self._file: VirtualDeviceFile | None = None
        self._host: IoctlHost | None = None

    @property
    def twin(self) -> Twin:
        """The twin; unless it is to be cold, the driver is loaded with it, and loads its firmware.

        Up to 4.19 a driver that finds firmware running loses the first notification (driver.md 4.1), so the chip is
        powered on for the driver.
        """
        if self._twin is None:
            self._twin = self._make_twin(replace(self.setup, booted=self._found_running))
            if self.setup.booted:
                self._load_driver()
        return self._twin

    @property
    def driver(self) -> VirtualKernelDriver:
        """The driver; on a chip that is to be cold it is loaded at first use."""
        _ = self.twin
        return self._driver or self._load_driver()

    def _load_driver(self) -> VirtualKernelDriver:
        from openhailo.twin.firmware.image import build_placeholder_image
        from openhailo.twin.ports.devfile import VirtualKernelDriver

        major, minor, revision = map(int, self.release.split("."))
        files = {
            "hailo/hailo8_fw.bin": self.setup.image or build_placeholder_image((major, minor, revision)),
            "hailo/hailo8_board_cfg.bin": _ERASED,
        }
        machine: dict[str, Any] = {"firmware_files": files, "settle": self._settle} | self._machine
        self._driver = VirtualKernelDriver(self.twin, self.release, **machine)
        return self._driver

    # --- links, files, hosts ------------------------------------------------------------------------------------------

    @property
    def link_options(self) -> KernelOptions:  # type: ignore[override]
        """Options that put the link on the twin's clock."""
        return KernelOptions(clock=lambda: self.now_s, pause=self.pause, rest=self._rest, **dict(self.setup.options))

    def _open_link(self) -> ChipLink:
        self.close_link()
        self._file = self.driver.open()
        self._link = KernelLink(self._file, spec=self.setup.host_spec, options=self.link_options)
        return self._link

    def open_link(self, firmware: bytes | None = None) -> PcieLink:
        """There is no link of our own driver behind the kernel's."""
        raise DeviceBusy(name=self.driver.name, detail="the kernel driver has the function")

    def open_function(self) -> PciFunction:
        """Not behind a kernel driver."""
        return Rig.open_function(self)

    def raw_host(self) -> IoctlHost:
        """Return a host that knows only requests and bytes; the link is closed for it."""
        from .conformance.raw.ioctl_host import IoctlHost

        chip = self.twin.chip
        self.close_link()
        self._file = self.driver.open()
        self._host = IoctlHost(
            self._file, self.release, wait=self.driver.wait, peek=lambda bar, at: chip.bar_read(bar, at, 4)
        )
        return self._host

    def open_file(self) -> VirtualDeviceFile:
        """Open the node, any number of times; the link is closed for it."""
        Rig.close(self)
        return self.driver.open()

    def close_link(self) -> None:
        """Close link and raw host; the driver stays loaded."""
        if self._host is not None:
            self._host.close()
            self._host = None
        Rig.close(self)
        self._file = None

    def fresh(self, **changes: Any) -> KernelRig:
        """Return a rig around another twin behind the same release; ``changes`` are fields of `TwinSetup`.

        Options of the link are added to those that are set.
        """
        if "options" in changes:
            changes["options"] = {**self.setup.options, **changes["options"]}
        return KernelRig(self.release, replace(self.setup, **changes), **self._machine)

    def on_machine(self, **machine: Any) -> KernelRig:
        """Return a rig around another twin on another machine; arguments of `KernelRig`, the caller closes it."""
        return KernelRig(self.release, self.setup, **machine)

    def close(self) -> None:
        """Unload the driver and take the twin down."""
        self.close_link()
        if self._driver is not None:
            self._driver.close()
            self._driver = None
        super().close()

    # --- time ---------------------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Let the chip work for ``seconds``; everybody takes what is theirs."""
        self.driver.wait(lambda: False, seconds)

    def _is_settled(self) -> bool:
        file = self._file
        return file is None or file.is_settled(channels=self._link is not None, notifications=True)

    def _settle(self) -> None:
        if not self.twin.chip.loop.wait_quietly(self._is_settled, SETTLE_S):
            raise RuntimeError(f"a thread of the link did not come back within {SETTLE_S:g} s")

    def _rest(self, condition: threading.Condition, seconds: float) -> None:
        """Let one event of the chip happen, at most ``seconds`` ahead (`openhailo.driver.kernel.inbox.Inbox`).

        Nobody delivers while ``condition`` is held, so what was not taken by now is waited for, and no time passes.
        """
        loop, clock = self.twin.chip.loop, self.twin.chip.clock
        with loop.lock:
            settled = self._is_settled()
        if settled:
            loop.step_until(clock.now_ns() + max(1000, round(seconds * 1e9)))
            return
        condition.release()
        try:
            self._settle()
        finally:
            condition.acquire()
