"""One board under the kernel driver: probe, power, opens, suspend, removal (driver.md 1, 2)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from openhailo.errors import DeviceLost
from openhailo.twin.blocks import pci_config as pci
from openhailo.twin.facade import Twin
from openhailo.twin.firmware.image import build_placeholder_image

from .abi import build_abi
from .boot import DOORBELL, FIRMWARE_FILE, Loader
from .channels import Channels
from .files import VirtualDeviceFile
from .interrupts import Interrupts
from .memory import UserMemory
from .registers import ACCESS_BAR, Registers, failure
from .releases import parse_release

SHUTDOWN, SHUTDOWN_TIMEOUT_S = 4, 0.005
#: Largest scatter entry (driver.md 6.4).
SEGMENT_BYTES = 0x10000
#: What contiguous memory a machine without an IOMMU has at best: the largest block of the page allocator (GUESS).
CONTIGUOUS_BYTES = 4 << 20


class VirtualKernelDriver:
    """The kernel driver of one release, probed on a twin.

    Args:
        twin: the chip; the driver owns its PCI function until `close`.
        release: "4.17.0" ... "4.23.0".
        page_size: the kernel's page size, 4096 or 16384.
        allocation_mode: 0: clients bring their buffers, 1: the driver allocates them (reported only).
        force_desc_page_size: module parameter; 0: as the maximum read request says.
        board_index: the N of ``/dev/hailoN``.
        firmware_files: the firmware folder; default: a placeholder image of this release.
        support_soft_reset: module parameter of 4.20 and later.
        no_power_mode: module parameter: never D3hot.
        segment_bytes: largest scatter entry; less on machines where memory is scattered.
        contiguous_limit_bytes: the largest contiguous allocation that succeeds.
        jiffies_per_s: the kernel's HZ.
        settle: for stepped clocks: called between two events of the chip, it lets the client's threads take what is
            theirs. With it, calls that block without a time limit leave it to others to run the chip.

    Raises:
        OSError: the probe failed, with the driver's errno.
        DeviceBusy: somebody else has the function.
    """

    def __init__(
        self,
        twin: Twin,
        release: str = "4.23.0",
        *,
        page_size: int = 4096,
        allocation_mode: int = 0,
        force_desc_page_size: int = 0,
        board_index: int = 0,
        firmware_files: Mapping[str, bytes] | None = None,
        support_soft_reset: bool = True,
        no_power_mode: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        contiguous_limit_bytes: int = CONTIGUOUS_BYTES,
        jiffies_per_s: int = 250,
        settle: Callable[[], None] | None = None,
    ) -> None:
        self.settle = settle
        self.twin, self.release = twin, parse_release(release)
        if page_size not in (4096, 16384, 65536) or allocation_mode not in (0, 1):
            raise ValueError(f"page size {page_size}, allocation mode {allocation_mode}")
        if (
            force_desc_page_size < 0
            or force_desc_page_size & (force_desc_page_size - 1)
            or force_desc_page_size > 32768
        ):
            raise failure(errno.EINVAL, f"force_desc_page_size {force_desc_page_size}")
        self.page_size, self.allocation_mode = page_size, allocation_mode
        self.name = f"/dev/hailo{board_index}"
        self.chip, self.loop = twin.chip, twin.chip.loop
        self.abi = build_abi(self.release.version)
        self.user = UserMemory(page_size)
        self.segment_bytes = segment_bytes
        self.contiguous_limit_bytes, self._power = contiguous_limit_bytes, not no_power_mode
        self.files: list[VirtualDeviceFile] = []
        self.owner: VirtualDeviceFile | None = None
        self.removed = self.control_busy = False
        self._forced_page_size, self._wired = force_desc_page_size, False
        self.registers = Registers(self.chip, self.release)
        self.channels = Channels(
            self.registers, self.release, segment_bytes=segment_bytes, now_ns=self.chip.clock.now_ns
        )
        self.interrupts = Interrupts(self.registers, self.release, self.channels, self._notified)
        files = {FIRMWARE_FILE: build_placeholder_image(self.release.version)}
        self._loader = Loader(
            self.registers,
            self.release,
            files=files if firmware_files is None else firmware_files,
            soft_reset=support_soft_reset,
            jiffies_per_s=jiffies_per_s,
            wait=self.wait,
            hold=self.loop.hold,
        )
        self.function = twin.function()
        self._probe()

    # --- probe, power, suspend, removal -----------------------------------------------------------------------------

    def _probe(self) -> None:
        config = self.function.config
        command = config.read(pci.COMMAND, 2)
        config.write(pci.COMMAND, 2, command | pci.COMMAND_MEMORY | pci.COMMAND_MASTER)
        try:
            config.write(pci.PMCSR, 2, pci.D0)
            if not self.registers.is_connected():
                raise failure(errno.ENODEV, "the card does not answer")
            self._activate()
        except OSError:
            self.function.close()
            raise

    def _activate(self) -> None:
        """Load firmware if needed, then let the card sleep (1.1 "Power", 2.4)."""
        interrupts = self.interrupts

        def rearm() -> None:
            interrupts.boot_done = interrupts.soft_reset_done = False

        self._wire()
        interrupts.booting = True
        try:
            self._loader.load(rearm, lambda: interrupts.boot_done, lambda: interrupts.soft_reset_done)
        finally:
            interrupts.booting = False
            self._unwire()
        self._set_power(pci.D3HOT)

    def _set_power(self, state: int) -> None:
        if self._power:
            self.function.config.write(pci.PMCSR, 2, state)

    def _wire(self) -> None:
        """MSI on, handler in place, interrupts unmasked (5.2)."""
        self.function.irq.enable()
        self.chip.msi.on_message(self._message)
        self._wired = True
        self.interrupts.enable()

    def _unwire(self) -> None:
        self.interrupts.disable()
        self._wired = False
        self.chip.msi.on_message(self.loop.notify)
        self.function.irq.disable()

    def _message(self) -> None:
        """A message arrived: the handler runs as soon as the chip is done with what it does."""
        self.loop.schedule(0, self._interrupt)

    def _interrupt(self) -> None:
        self.chip.msi.take()
        if self._wired:
            self.interrupts.handle()
            self.loop.notify()

    def suspend(self) -> None:
        """Suspend to RAM: every open becomes invalid for ever (1.3)."""
        late = self.release.wipes_all_channels
        for file in self.files:
            file.invalid = True
        try:
            if self.files and late:
                self._unwire()
            self.shut_down(wait=self.owner is not None)
        finally:
            if self.files and not late:
                self._unwire()
            self.loop_notify()
            self._set_power(pci.D3HOT)

    def resume(self) -> None:
        """Wake: the board is activated as at the probe (1.3)."""
        self._set_power(pci.D0)
        self._activate()

    def reset_prepare(self) -> None:
        """PCI reset through sysfs: an owned board is told to shut down, nothing is loaded afterwards (1.3)."""
        self.shut_down(wait=self.owner is not None)

    def remove(self) -> None:
        """Hot removal: the node goes, notification readers wake, channel waiters do not (1.3, 8.1 row 36)."""
        with self.loop.lock:
            if self.removed:
                return
            self.removed = True
            for file in self.files:
                file.notifications_disabled = True
            if self._wired and not self.function.closed:
                self._unwire()
            self.loop.notify()
        self.function.close()

    def close(self) -> None:
        """Unload the module: what is open is closed first. Idempotent."""
        for file in list(self.files):
            file.close()
        self.remove()

    def __enter__(self) -> VirtualKernelDriver:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # --- opens --------------------------------------------------------------------------------------------------------

    def open(self) -> VirtualDeviceFile:
        """Open the node (1.3); any number of opens. Raises `OSError` ENODEV, ENXIO."""
        with self.loop.lock:
            if self.removed:
                raise failure(errno.ENODEV, f"{self.name} is gone")
            self._set_power(pci.D0)
            if not self.registers.is_connected():
                raise failure(errno.ENXIO, "the card does not answer")
            if not self._wired:
                self._wire()
            file = VirtualDeviceFile(self, os.getpid())
            self.files.append(file)
            return file

    def forget(self, file: VirtualDeviceFile) -> None:
        """Take ``file`` out; the last one switches interrupts and power off (1.3). Needs the lock."""
        self.files.remove(file)
        if not self.files and not self.removed:
            if self._wired:
                self._unwire()
            self._set_power(pci.D3HOT)

    def shut_down(self, *, wait: bool) -> None:
        """Ring "driver shutdown" and wait up to 5 ms (3); nothing unless ``wait``. Raises `OSError` ETIMEDOUT."""
        if not wait:
            return
        self.interrupts.shutdown_done = False
        self.registers.write32(ACCESS_BAR, DOORBELL, SHUTDOWN)
        if not self.wait(lambda: self.interrupts.shutdown_done, SHUTDOWN_TIMEOUT_S):
            raise failure(errno.ETIMEDOUT, "no answer to the shutdown")

    def _notified(self) -> None:
        for file in self.files:
            file.notifications += 1

    def loop_notify(self) -> None:
        """Let everybody who waits look again."""
        with self.loop.lock:
            self.loop.notify()

    def wait(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Run the chip until ``ready()`` or the time is up; True for the first."""
        clock = self.chip.clock
        deadline_ns = clock.now_ns() + int(timeout_s * 1e9)
        if self.settle is not None:
            return self._step_until(ready, deadline_ns, self.settle)
        while not self.loop.wait(ready, max(0.0, (deadline_ns - clock.now_ns()) / 1e9)):
            if clock.now_ns() >= deadline_ns:
                return False
        return True

    def _step_until(self, ready: Callable[[], bool], deadline_ns: int, settle: Callable[[], None]) -> bool:
        settle()
        while not ready():
            if self.chip.clock.now_ns() >= deadline_ns:
                return False
            self.loop.step_until(deadline_ns)
            settle()
        return True

    # --- what files in the system say ---------------------------------------------------------------------------------

    @property
    def desc_max_page_size(self) -> int:
        """The advertised largest descriptor page (6.4); 16 KiB kernels advertise too much (8.1 row 12)."""
        if self._forced_page_size:
            return self._forced_page_size
        request = 128 << (self.function.config.read(pci.DEVCTL, 2) >> 12 & 7)
        return request if request < 512 else min(self.page_size, 32768)

    def sysfs(self) -> dict[str, str]:
        """The text of the sysfs attributes of the node and of the module, by name (1.2)."""
        if self.removed:
            raise DeviceLost(name=self.name, detail="the driver let go of it")
        identity = self.chip.spec.pci
        attributes = {
            "board_location": "0000:01:00.0",
            "device_id": f"{identity.vendor_id:04x}:{identity.device_id:04x}",
            "version": self.release.text + "\n",
        }
        if self.release.version >= (4, 18, 0):
            attributes["accelerator_type"] = "0"
        return attributes
