"""The virtual chip: blocks, clock and firmware wired together, and the life of the chip (driver.md 2, 3, 10)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .blocks.config import ConfigBlock
from .blocks.mailbox import DoorbellPage, Mailbox
from .blocks.msi import Msi
from .blocks.pci_config import PciConfigBlock
from .blocks.vdma import VdmaBlock
from .blocks.windows import WindowBlock
from .board import FirmwareFactory, FirmwarePort, LoadedImage, TwinConfig
from .boot import STATUS_REFUSED, STATUS_RUNNING, ImageRefused, log_bases, map_memory, read_image
from .faults import Faults
from .hostmem import HostMemory
from .loop import EventLoop
from .memory import DeviceMemory
from .observe import Observer, Observers
from .sensors import Sensors
from .violation import TwinViolation

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

ALL_ONES = 0xFFFFFFFF

# When things happen after their cause; the rules are in driver.md 10.3, the numbers are free within them.
# Well after the host restored ATR0, which it does right after the trigger, also when its process was not running for a
# while; a waiting host skips the time.
BOOT_NS = 100_000_000
BOOT_INTERRUPT_NS = 100_000
SOFT_RESET_NS = 1_000_000  # the host arms its wait after ringing
SHUTDOWN_NS = 200_000  # at most 5 ms
CONTROL_NS = 20_000


class ChipState(Enum):
    """Where the chip is in its life."""

    COLD = "waiting for firmware"
    BOOTING = "booting"
    RUNNING = "running"
    REFUSED = "firmware refused"


class Bar(Protocol):
    """A block behind a base address register."""

    def read(self, offset: int, width: int = 4) -> int:
        """Host load of ``width`` bytes."""
        ...

    def write(self, offset: int, width: int, value: int) -> None:
        """Host store of ``width`` bytes."""
        ...


class Chip:
    """A virtual Hailo-8; implements `openhailo.twin.board.Board`.

    Ports call ``bar_read``, ``bar_write``, ``config_read``, ``config_write``, ``reset_function`` and ``loop``; these
    take the lock. Everything else is for firmware and events, which hold it.

    Args:
        spec: the declaration this chip is built from; nothing else is consulted.
        loop: the chip's time and its lock.
        config: handed to firmware.
        memory: host memory, as the port registers it.
        make_firmware: builds the firmware for this board.
        boot_ns: from the trigger to running firmware. A host whose time is real needs some to restore ATR0 before.
    """

    def __init__(
        self,
        spec: ChipSpec,
        *,
        loop: EventLoop,
        config: TwinConfig,
        memory: HostMemory,
        make_firmware: FirmwareFactory,
        boot_ns: int = BOOT_NS,
    ) -> None:
        self.spec, self.config = spec, config
        self._boot_ns = boot_ns
        self.loop, self.clock = loop, loop.clock
        clock = loop.clock
        self.faults = Faults()
        self.sensors = Sensors(clock.now_ns)
        self.observers = Observers(clock.now_ns)
        self.state = ChipState.COLD
        self.memory = DeviceMemory(map_memory(spec))
        self.pci = PciConfigBlock(spec, reset_function=self._power_on, observers=self.observers)
        self.msi = Msi(may_send=lambda: self.pci.messages, faults=self.faults, observers=self.observers)
        self.registers = ConfigBlock(spec, send_message=self.msi.send, observers=self.observers)
        self.windows = WindowBlock(spec, self.registers, self.memory, self.faults)
        self.vdma = VdmaBlock(
            spec,
            memory=memory,
            may_master=lambda: self.pci.masters and not self.faults.link_down,
            raise_channel=self.registers.raise_channel,
            schedule=self.schedule,
            faults=self.faults,
            observers=self.observers,
        )
        self.mailbox = self._make_mailbox()
        self._lock = self.loop.lock
        self._bars: dict[int, Bar] = {
            spec.pci.config_bar: self.registers,
            spec.pci.vdma_bar: self.vdma,
            spec.pci.fw_access_bar: self.windows,
        }
        self.firmware: FirmwarePort = make_firmware(self, config)
        self._start_boot_code()

    def _make_mailbox(self) -> Mailbox:
        spec = self.spec
        self.memory.place(
            spec.atr.pcie_config_base,
            DoorbellPage(spec.mailbox.doorbell % spec.atr.window_size_bytes, self._doorbell),
        )
        self.memory.on_write(spec.boot.trigger, self._triggered)
        mailbox = Mailbox(
            spec,
            self.memory,
            raise_bits=self.registers.raise_status,
            status=lambda: self.registers.status,
            notification_bit=self.registers.notification,
            log_bases=log_bases(spec),
            faults=self.faults,
            observers=self.observers,
            schedule=self.loop.schedule,
        )
        self.registers.on_acknowledge(mailbox.pump)
        return mailbox

    # --- for ports ------------------------------------------------------------------------------------------------

    def bar_size(self, bar: int) -> int:
        """Return the size of ``bar`` in bytes; `KeyError` if the function does not have it."""
        return {b.index: b.size_bytes for b in self.spec.pci.bars}[bar]

    def bar_read(self, bar: int, offset: int, width: int = 4) -> int:
        """Host load; all ones while the function does not decode."""
        with self._lock:
            self.loop.on_access(reading=True)
            if self.pci.decodes and not self.faults.link_down:
                value = self._bars[bar].read(offset, width)
            else:
                value = (1 << 8 * width) - 1
            if self.observers.watched:
                self._report_access("read", bar, offset, width, value)
            return value

    def bar_write(self, bar: int, offset: int, width: int, value: int) -> None:
        """Host store; lost while the function does not decode."""
        with self._lock:
            self.loop.on_access(reading=False)
            if self.observers.watched:
                self._report_access("write", bar, offset, width, value)
            if self.pci.decodes and not self.faults.link_down:
                self._bars[bar].write(offset, width, value)

    def config_read(self, offset: int, width: int) -> int:
        """Host read of configuration space."""
        with self._lock:
            self.loop.on_access(reading=True)
            return self.pci.read(offset, width) if not self.faults.link_down else (1 << 8 * width) - 1

    def config_write(self, offset: int, width: int, value: int) -> None:
        """Host write of configuration space."""
        with self._lock:
            self.loop.on_access(reading=False)
            if not self.faults.link_down:
                self.pci.write(offset, width, value)

    def reset_function(self) -> None:
        """Reset as at power-on, as a machine reset does."""
        with self._lock:
            self._power_on()

    def observe(self, callback: Observer) -> Callable[[], None]:
        """Report every event to ``callback`` (with the lock held); returns the function that ends it."""
        return self.observers.add(callback)

    def _report_access(self, kind: str, bar: int, offset: int, width: int, value: int) -> None:
        self.observers.report(kind, {"bar": bar, "offset": offset, "width": width, "value": value})

    # --- Board: for firmware --------------------------------------------------------------------------------------

    def schedule(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Run ``action`` once, ``delay_ns`` from now."""
        self.loop.schedule(delay_ns, action)

    def offload(self, compute: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run ``compute`` without the lock, then ``then(result)`` with it."""
        self.loop.offload(compute, then)

    def notify(self, message: bytes) -> None:
        """Queue a device-to-host notification."""
        self.mailbox.notify(message)

    def write_log(self, cpu: int, data: bytes) -> None:
        """Append to the log of ``cpu``."""
        self.mailbox.write_log(cpu, data)

    def memory_read(self, address: int, size_bytes: int) -> bytes:
        """Read device memory."""
        return self.memory.read(address, size_bytes)

    def memory_write(self, address: int, data: bytes) -> None:
        """Write device memory."""
        self.memory.write(address, data)

    def trace(self, kind: str, **fields: Any) -> None:
        """Report something to observers."""
        if self.observers.watched:
            self.observers.report(kind, fields)

    def respond(self, response: bytes) -> None:
        """Put a control response into the mailbox and raise its interrupt."""
        faults = self.faults
        dropped = faults.strikes("drop_answers")
        late_ns = faults.late_by_ns if not dropped and faults.strikes("late_answers") else 0
        self.trace("response", response=response, late_ns=late_ns, dropped=dropped)
        if late_ns:
            self.schedule(late_ns, partial(self._deliver_response, response))
        elif not dropped:
            self._deliver_response(response)

    def _deliver_response(self, response: bytes) -> None:
        self.mailbox.write_response(response)
        self.registers.raise_status(self.registers.control_response)

    # --- doorbell -------------------------------------------------------------------------------------------------

    def _doorbell(self, bits: int) -> None:
        """The host rang; firmware that does not run hears nothing (driver.md 2.4, 3)."""
        bell = self.spec.doorbell
        self.trace("doorbell", bits=bits)
        rings = (
            (bell.app_cpu_control, CONTROL_NS, partial(self._control, 0)),
            (bell.core_cpu_control, CONTROL_NS, partial(self._control, 1)),
            (bell.driver_shutdown, SHUTDOWN_NS, self._driver_shutdown),
            (bell.soft_reset, SOFT_RESET_NS, self._soft_reset),
        )
        if bits & ~sum(mask for mask, _, _ in rings):
            raise TwinViolation(f"doorbell rung with 0x{bits:X}: unknown bits")
        if self.state is ChipState.RUNNING:
            for mask, delay_ns, action in rings:
                if bits & mask:
                    self.schedule(delay_ns, action)

    def _control(self, cpu: int) -> None:
        request, digest_ok = self.mailbox.read_request()
        self.trace("control", cpu=cpu, request=request, digest_ok=digest_ok)
        response = self.firmware.control(cpu, request, digest_ok)
        if response is not None:
            self.respond(response)

    def _driver_shutdown(self) -> None:
        self.firmware.driver_shutdown()
        self.vdma.close_all()
        self.trace("reset", what="driver shutdown")
        if not self.faults.shutdown_hangs:
            self.registers.raise_status(self.registers.shutdown_ack)

    def _soft_reset(self) -> None:
        self.trace("reset", what="soft reset")
        if self.faults.soft_reset_hangs:
            return
        self.firmware.soft_reset()
        self.loop.drop_all()
        self.vdma.close_all()
        self.mailbox.reset()
        self.windows.retarget(0, 0)
        self.memory.write32(self.spec.boot.trigger, 0)
        stays = self.faults.boot_status_stays
        idle = self.spec.boot.boot_status_idle if stays is None else stays
        self.memory.write32(self.spec.boot.boot_status, idle)
        self.state = ChipState.COLD
        self.registers.raise_status(self.registers.soft_reset_done)

    # --- boot -----------------------------------------------------------------------------------------------------

    def _power_on(self) -> None:
        """Everything as without power before (function-level reset: GUESS, driver.md 12 row 6)."""
        self.trace("reset", what="function")
        self.firmware.halt()
        self.loop.drop_all()
        self.pci.reset()
        self.registers.reset()
        self.vdma.reset()
        self.mailbox.reset()
        self.memory.clear()
        self.msi.pending = 0
        self.state = ChipState.COLD
        self._start_boot_code()

    def _start_boot_code(self) -> None:
        """Boot code sets up windows 1-3 and waits for an image; window 0 stays off (driver.md 2.1, 2.2, 10.3)."""
        window, mailbox = self.spec.atr.window_size_bytes, self.spec.mailbox
        self.windows.point(mailbox.doorbell // window, self.spec.atr.pcie_config_base)
        for offset, base in zip((mailbox.app_log, mailbox.core_log), log_bases(self.spec), strict=True):
            self.windows.point(offset // window, base - offset % window)
        self.memory.write32(self.spec.boot.boot_status, self.spec.boot.boot_status_idle)

    def _triggered(self, stored: int) -> None:
        if stored == self.spec.boot.trigger_value and self.state in (ChipState.COLD, ChipState.REFUSED):
            self.state = ChipState.BOOTING
            self.trace("boot", stage="trigger", detail="")
            self.schedule(self._boot_ns, self._boot)

    def _boot(self) -> None:
        if self.faults.boot_hangs:
            return
        try:
            image = read_image(self.spec, self.memory)
        except ImageRefused as refusal:
            self._refuse(str(refusal))
            return
        self.start_firmware(image)
        self.schedule(BOOT_INTERRUPT_NS, partial(self.registers.raise_status, self.registers.boot_done))

    def _refuse(self, reason: str) -> None:
        self.state = ChipState.REFUSED
        self.memory.write32(self.spec.boot.boot_status, STATUS_REFUSED)
        self.mailbox.write_log(0, f"boot: {reason}\n".encode())
        self.trace("boot", stage="refused", detail=reason)

    def start_firmware(self, image: LoadedImage) -> None:
        """Run ``image``: window 0 moves to the mailbox, which is how the host sees that firmware is there."""
        self.memory.write32(self.spec.boot.boot_status, STATUS_RUNNING)
        area = self.spec.atr.mailbox_base
        self.memory.write(area, bytes(self.spec.atr.window_size_bytes))
        self.mailbox.reset_logs()
        self.state = ChipState.RUNNING
        self.firmware.boot(image)
        self.windows.point(0, area)
        self.trace("boot", stage="running", detail=".".join(map(str, image.version)))
