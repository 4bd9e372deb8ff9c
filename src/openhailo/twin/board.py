"""The seam between the twin's hardware and its firmware.

`Board` is what firmware sees of the chip, `FirmwarePort` what the chip calls in firmware. Rules for firmware authors:

* Everything runs under the chip's one lock. Each `FirmwarePort` method, each ``schedule``d action, each ``on_work``
  callback and each ``then`` of `Board.offload` is called with the lock held, one at a time, so firmware needs no locks
  and no threads. They must be short; a frame's arithmetic belongs in `Board.offload`.
* Time is virtual (`Clock.now_ns`). Never sleep and never read the host's clock: `Board.schedule` an action instead.
* No self-renewing timers: a waiting host jumps from event to event, so an endless timer would spin it. Do periodic work
  lazily, when something asks for it (`Clock.now_ns` tells how much time has passed).
* Host memory is reachable only through `VdmaEngine`, device memory through ``memory_read``/``memory_write``.

A usual frame::

    def on_work(channel):                              # the host moved num_available of `channel`
        while (frame := board.vdma.pull(channel, frame_bytes)) is not None:
            board.offload(partial(core.run, frame), partial(deliver, output_channel))

    def deliver(output_channel, result):               # lock held again, frames in the order of offload()
        pending.append(result)
        while pending and board.vdma.push(output_channel, pending[0]):
            pending.popleft()                          # no room: tried again in on_work(output_channel)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

    from .clock import Clock
    from .faults import Faults
    from .hostmem import Bytes
    from .sensors import Sensors

T = TypeVar("T")

#: Destination of a pull: anything that `memoryview` accepts, writable and C-contiguous (a NumPy array for instance).
Buffer = Any


class ChannelFault(Exception):
    """A vDMA channel hit an error and stopped: bad list address, unmapped address, bad byte count, bus master off.

    By the time it is raised the hardware side is done: error byte, descriptor status, interrupt if asked for. The
    channel stays stopped until it is opened again. Firmware may let it escape: the chip then drops the event.
    """

    def __init__(self, *, channel: int, code: int, reason: str) -> None:
        self.channel, self.code, self.reason = channel, code, reason
        super().__init__(f"channel {channel}: {reason}")


class MemoryFault(Exception):
    """Firmware touched device memory that is not there."""

    def __init__(self, *, address: int, size_bytes: int) -> None:
        self.address, self.size_bytes = address, size_bytes
        super().__init__(f"no device memory at 0x{address:X} (+{size_bytes})")


@dataclass(frozen=True)
class LoadedImage:
    """The firmware image as the boot code found it in device memory (driver.md 2.2, 2.3).

    ``version`` is (major, minor, revision) of the app header. The certificates' sizes are not stored on the device:
    ``key`` and ``content`` are the whole regions.
    """

    version: tuple[int, int, int]
    app_code: bytes
    core_version: tuple[int, int, int]
    core_code: bytes
    key: bytes = b""
    content: bytes = b""
    board_config: bytes = b""
    firmware_config: bytes = b""


@dataclass
class TwinConfig:
    """What a twin is made as; the hardware passes it to firmware untouched.

    ``firmware_version`` None means: whatever the loaded image says. ``hw_consts`` None means the firmware's defaults.
    ``answers`` maps an opcode to a recorded response payload for wire tests; ``options`` is open for firmware.
    """

    arch: str = "hailo8"
    firmware_version: tuple[int, int, int] | None = None
    hw_consts: Mapping[str, int] | None = None
    answers: Mapping[int, bytes] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class VdmaEngine(Protocol):
    """The DMA engine as firmware drives it (driver.md 6, context-switch.md 16).

    Channels 0-15 move host to device, 16-31 device to host. Two kinds:

    * *boundary* (default): the host moves num_available; only ``[num_processed, num_available)`` may be used; the list
      is a ring of 2**depth descriptors; interrupts of the host domain reach the host.
    * *device managed* (config, inter-context, DDR): every descriptor of the list is valid; the position runs through
      ``desc_count`` descriptors and wraps to 0; nothing is ever raised to the host (its descriptors ask for the device
      domain only).

    Sizes are bytes. Anything wrong in the lists raises `ChannelFault`.
    """

    def open_channel(
        self, index: int, *, list_address: int, desc_count: int, page_size: int, device_managed: bool = False
    ) -> None:
        """Program both halves (address, depth, data id), zero the counters, START. An open channel starts afresh.

        ``list_address`` is the 64-bit bus address from the action, 64 KiB aligned (else `ChannelFault`).
        """
        ...

    def close_channel(self, index: int) -> None:
        """Abort the channel (control 00) and forget its list. Idempotent. Pending work callbacks are dropped."""
        ...

    def close_all(self) -> None:
        """Abort every channel."""
        ...

    def fail_channel(self, index: int, reason: str) -> None:
        """Stop a running boundary channel with an error: error byte, descriptor status, interrupt. Else nothing.

        For failures that are not the channel's own, so that the host learns of them before its frames time out.
        """
        ...

    def pause_channel(self, index: int) -> None:
        """Set the pause bit: ``pull``/``push`` move nothing until resumed."""
        ...

    def resume_channel(self, index: int) -> None:
        """Clear the pause bit; ``on_work`` fires if descriptors are waiting."""
        ...

    def is_open(self, index: int) -> bool:
        """Tell whether the channel is started (and not aborted by the host, nor stopped by an error)."""
        ...

    def available(self, index: int) -> int:
        """Return how many descriptors may be used now."""
        ...

    def on_work(self, callback: Callable[[int], None]) -> None:
        """Register the one callback ``callback(channel)``: an open boundary channel has new descriptors.

        Called from an event (never inside the host's register write), at most once per batch of writes; firmware drains
        as much as it can. Opening a channel with descriptors already waiting does not happen (counters are zero).
        """
        ...

    def pull(self, index: int, size_bytes: int, out: Buffer | None = None) -> memoryview | None:
        """H2D: consume the descriptors that total exactly ``size_bytes``; None while they are not all available.

        Bytes are counted, not descriptors (context-switch.md trap 17). Copies out of host memory, into ``out`` if given
        (``size_bytes`` long) else into fresh memory, advances num_ongoing and num_processed, writes status back, raises
        interrupts. Descriptors whose sizes step over ``size_bytes`` are a `ChannelFault`.
        """
        ...

    def push(self, index: int, data: Buffer) -> bool:
        """D2H: fill the next descriptors with one transfer, ``data``; False (nothing moved) if too few are available.

        Uses descriptors until they hold ``len(data)`` bytes; the last may be filled partly.
        """
        ...

    def pull_frames(self, index: int, out: Bytes) -> int:
        """H2D: as `pull` for up to ``len(out)`` transfers, each into a row of ``out``; return how many there were.

        The host cannot tell the difference; it costs less.
        """
        ...

    def push_frames(self, index: int, data: Bytes) -> int:
        """D2H: as `push` for each row of ``data`` until one has no room; return how many were moved."""
        ...

    def fetch(self, index: int, descriptors: int) -> bytes:
        """Device-managed H2D channel: the bytes of the next ``descriptors`` descriptors, each its own byte count.

        Going past the end of the list is a `ChannelFault`.
        """
        ...


class Board(Protocol):
    """What firmware sees of the chip."""

    spec: ChipSpec
    clock: Clock
    faults: Faults
    sensors: Sensors
    config: TwinConfig

    @property
    def vdma(self) -> VdmaEngine:
        """The DMA engine."""
        ...

    def schedule(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Run ``action`` once, ``delay_ns`` from now; events with the same due time run in the order of this call."""
        ...

    def offload(self, compute: Callable[[], T], then: Callable[[T], None]) -> None:
        """Run ``compute()`` without the lock in the thread that drives the clock, then ``then(result)`` with it.

        One compute at a time, in the order of the calls, so frames keep their order. An exception of ``compute`` is
        raised in the driving thread: catch it inside and hand it on as a result. A soft reset or function reset drops
        everything scheduled and offloaded (no ``then`` is called); a driver shutdown drops nothing, so results may
        arrive for channels that were closed meanwhile (``push`` returns False on them).
        """
        ...

    def notify(self, message: bytes) -> None:
        """Send a device-to-host notification, at most 892 bytes; queued, since the host has one buffer (4.1)."""
        ...

    def write_log(self, cpu: int, data: bytes) -> None:
        """Append to the log ring of CPU 0 (app) or 1 (core) (4.2). What does not fit is dropped."""
        ...

    def respond(self, response: bytes) -> None:
        """Answer a control later: for a `FirmwarePort.control` that returned None."""
        ...

    def memory_read(self, address: int, size_bytes: int) -> bytes:
        """Read device memory; `MemoryFault` where there is none."""
        ...

    def memory_write(self, address: int, data: bytes) -> None:
        """Write device memory; `MemoryFault` where there is none."""
        ...

    def trace(self, kind: str, **fields: Any) -> None:
        """Report something to observers (`openhailo trace`); free when nobody listens."""
        ...


class FirmwarePort(Protocol):
    """What the chip calls in firmware; always with the chip's lock held."""

    def boot(self, image: LoadedImage) -> None:
        """Start with ``image``, whose headers were checked. Called some time after the trigger (10.3)."""
        ...

    def control(self, cpu: int, request: bytes, digest_ok: bool) -> bytes | None:
        """Answer a control that came to CPU 0 (app) or 1 (core); the chip adds digest, length and interrupt.

        ``digest_ok`` False: the MD5 in the mailbox is not that of the request, or the length is over 1500 (``request``
        is then cut); answer with the documented status. None: no answer now (`Board.respond` later, or never).
        `Faults.control_status` must be honoured here (opcode -> (major, minor) to refuse it with).
        """
        ...

    def driver_shutdown(self) -> None:
        """Doorbell 4: stop everything that touches host memory. The chip aborts all channels afterwards and answers."""
        ...

    def soft_reset(self) -> None:
        """Doorbell 8: forget everything, as after power-on; the next call is ``boot``."""
        ...

    def halt(self) -> None:
        """The function was reset or the twin closed: drop state and resources; ``boot`` may follow."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return what the firmware holds, by family, as plain values that stay as they are (for tests)."""
        ...


#: How the twin makes its firmware: `openhailo.twin.firmware.Firmware(board, config)`.
FirmwareFactory = Callable[[Board, TwinConfig], FirmwarePort]
