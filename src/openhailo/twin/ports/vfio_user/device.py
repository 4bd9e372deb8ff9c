"""A twin as vfio-user sees a device: regions, interrupts, memory, reset, and the chip's time between messages."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.vfio_user import VFIO_USER, RegionFlag, VfioUserSpec
from openhailo.twin.blocks.pci_config import SIZE
from openhailo.twin.board import TwinConfig
from openhailo.twin.chip import Chip
from openhailo.twin.clock import Clock, WallClock
from openhailo.twin.facade import load_firmware
from openhailo.twin.loop import EventLoop
from openhailo.twin.violation import TwinViolation

from .dma import DmaTable
from .interrupts import Vectors
from .protocol import Notices, Refusal, Wire

#: Events that one call of `ServedLoop.pump` may run before messages get their turn again.
_MOST_EVENTS = 4096
#: From the boot trigger to running firmware, in real time: the host restores ATR0 meanwhile (driver.md 2.4), and a busy
#: one, or one under emulation, is slow. GUESS: the facts give an upper bound only.
BOOT_NS = 250_000_000


class ServedLoop(EventLoop):
    """An event loop that a server runs between messages: no access of the client runs anything.

    So the chip never starts DMA while the client waits for a reply, which would be a deadlock where DMA goes by message
    (vfio-user.md 9), and every reply comes at once.

    Args:
        clock: real time that does not jump; or the stepped clock, with which `pump` runs all there is.
        executor: runs a network's computations beside the messages; None: `pump` runs them.
        wake: called from the executor when a computation is done.
    """

    def __init__(self, clock: Clock, executor: Executor | None = None, wake: Callable[[], None] | None = None) -> None:
        super().__init__(clock)
        self._executor, self._wake_server = executor, wake or (lambda: None)
        self._running_work: tuple[int, Future[Any], Callable[[Any], None]] | None = None

    def on_access(self, *, reading: bool) -> None:
        """Let time pass; what becomes due is run by `pump`."""
        self.clock.tick()

    def pump(self) -> float | None:
        """Run what is due; return the seconds until there is more to do, None while only a message can bring work."""
        for _ in range(_MOST_EVENTS):
            with self.lock:
                self._run_due(self.clock.now_ns())
                if self._advance_work():
                    continue
                if not self._events:
                    return None
                if not self.clock.jumps:
                    return max(0, self._events[0][0] - self.clock.now_ns()) / 1e9
                self.clock.advance_to(self._events[0][0])
        return 0.0

    def _advance_work(self) -> bool:
        """Start or finish a computation; True when something may have become due."""
        if self._executor is None:
            return self._compute_one()
        if self._running_work is None and self._offloaded and not self._running:
            epoch, compute, then = self._offloaded.popleft()
            future = self._executor.submit(compute)
            self._running_work = epoch, future, then
            future.add_done_callback(lambda _future: self._wake_server())
        if self._running_work is None or self._running or not self._running_work[1].done():
            return False
        (epoch, future, then), self._running_work = self._running_work, None
        if epoch == self._epoch:
            self._deliver(then, future.result())
        return True


class ServedDevice:
    """A cold twin, and everything a client may do with it.

    Args:
        name: how log lines call it.
        arch: "hailo8" or "hailo8l".
        firmware_version: what the firmware says it is; None: what the loaded image says.
        clock: by default real time without jumps.
        spec: the declaration of the chip.
        protocol: the declaration of the protocol.
        executor: where networks are computed; None: between messages.
        sealed_only: see `DmaTable`.
        frame_ns: how long the core takes for a frame at least; 0: as long as this machine computes.
    """

    def __init__(
        self,
        name: str = "twin",
        arch: str = "hailo8",
        *,
        firmware_version: tuple[int, int, int] | None = None,
        clock: Clock | None = None,
        spec: ChipSpec = CHIP,
        protocol: VfioUserSpec = VFIO_USER,
        executor: Executor | None = None,
        wake: Callable[[], None] | None = None,
        sealed_only: bool = False,
        frame_ns: int = 0,
    ) -> None:
        self.name, self.wire = name, Wire(protocol)
        self.notices = Notices(name)
        self.memory = DmaTable(protocol.rules, self.notices, sealed_only=sealed_only)
        self.vectors = Vectors(protocol.rules, spec.pci.msi_vectors)
        self.loop = ServedLoop(clock or WallClock(jumps=False), executor, wake)
        config = TwinConfig(arch, firmware_version, None, {}, {"frame_ns": frame_ns} if frame_ns else {})
        self.chip = Chip(
            spec, loop=self.loop, config=config, memory=self.memory, make_firmware=load_firmware, boot_ns=BOOT_NS
        )
        self.chip.msi.on_message(self._message)
        self._widths = frozenset(protocol.rules.access_widths)
        self._config_region = protocol.rules.config_region
        self._sizes = [0] * protocol.rules.regions
        for bar in spec.pci.bars:
            self._sizes[bar.index] = bar.size_bytes
        self._sizes[self._config_region] = SIZE

    def _message(self) -> None:
        self.chip.msi.take()
        self.vectors.signal()

    # --- regions --------------------------------------------------------------------------------------------------

    def region_info(self, index: int) -> tuple[int, int]:
        """Return (flags, size in bytes) of a region; absent ones have neither. Raises `Refusal`."""
        if index >= len(self._sizes):
            raise Refusal(errno.EINVAL, f"no region {index}")
        size = self._sizes[index]
        return (RegionFlag.READ | RegionFlag.WRITE if size else 0), size

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Read a region. Raises `Refusal`."""
        self._check(region, offset, count)
        if region == self._config_region:
            load = self.chip.config_read
            return b"".join(load(at, width).to_bytes(width, "little") for at, width in _pieces(offset, count))
        self._check_width(offset, count)
        if count == 8:
            return self._read_bar(region, offset, 4) + self._read_bar(region, offset + 4, 4)
        return self._read_bar(region, offset, count)

    def _read_bar(self, bar: int, offset: int, width: int) -> bytes:
        try:
            return self.chip.bar_read(bar, offset, width).to_bytes(width, "little")
        except TwinViolation as violation:  # what a bus gives for a load that nobody answers
            self.notices.add("violation", violation)
            return b"\xff" * width

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Write a region. Raises `Refusal`."""
        count = len(data)
        self._check(region, offset, count)
        if region == self._config_region:
            pieces = [(at, width, self.chip.config_write) for at, width in _pieces(offset, count)]
        else:
            self._check_width(offset, count)
            store = partial(self.chip.bar_write, region)
            width = min(count, 4)
            pieces = [(at, width, store) for at in range(offset, offset + count, width)]
        for at, width, put in pieces:
            try:
                put(at, width, int.from_bytes(data[at - offset : at - offset + width], "little"))
            except TwinViolation as violation:
                self.notices.add("violation", violation)

    def _check(self, region: int, offset: int, count: int) -> None:
        if region >= len(self._sizes) or not count or offset + count > self._sizes[region]:
            raise Refusal(errno.EINVAL, f"{count} bytes at 0x{offset:X} of region {region}")

    def _check_width(self, offset: int, count: int) -> None:
        if count not in self._widths or offset % count:
            raise Refusal(errno.EINVAL, f"a BAR access of {count} bytes at 0x{offset:X}")

    # --- the life of the device -----------------------------------------------------------------------------------

    def pump(self) -> float | None:
        """Run the chip, see `ServedLoop.pump`; what a host provoked and no fact allows is noted."""
        try:
            return self.loop.pump()
        except TwinViolation as violation:
            self.notices.add("violation", violation)
            return 0.0

    def reset(self) -> None:
        """As after power-on; memory ranges and eventfds stay (vfio-user.md 11.4)."""
        self.chip.reset_function()

    def detach(self) -> None:
        """The client is gone, as a card that is pulled: no power, no memory, no interrupts. Idempotent."""
        self.reset()
        self.memory.unmap_all()
        self.vectors.close()

    def close(self) -> None:
        """Release everything. Idempotent."""
        self.detach()
        with self.loop.lock:
            self.loop.drop_all()
            self.chip.firmware.halt()


def _pieces(offset: int, count: int) -> list[tuple[int, int]]:
    """Split a span into aligned accesses of at most 4 bytes: (offset, width)."""
    pieces = []
    end = offset + count
    while offset < end:
        width = 4
        while offset % width or offset + width > end:
            width //= 2
        pieces.append((offset, width))
        offset += width
    return pieces
