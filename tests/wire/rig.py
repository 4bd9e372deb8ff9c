"""Our stack on a twin that plays the recording's device, with everything written down."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np

from openhailo.bus.protocols import DmaDirection, PciFunction
from openhailo.driver.control import FirmwareClient
from openhailo.driver.link import DescriptorList, HostBuffer
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.runtime.device import Device
from openhailo.twin.clock import SteppedClock
from openhailo.twin.core import FrameInfo, PatternReference
from openhailo.twin.facade import Twin
from openhailo.twin.firmware import FirmwareConfig
from openhailo.twin.observe import ChipEvent

from .recording import BarAccess, ListGeometry, Program, Recording, Sync

ARCHITECTURES = {"1": "hailo8", "2": "hailo8l"}
ENABLE, STATUS_AT = b"\x01", 37
CHANGE_STATUS = 37
QUIET_LOG_LEVEL = 5


@dataclass(frozen=True)
class SentControl:
    """A control as the chip's mailbox received it."""

    cpu: int
    request: bytes
    digest_ok: bool


@dataclass(frozen=True)
class Fetched:
    """Descriptors that the device took, with the activation they belong to."""

    activation: int
    channel: int
    first: int
    descriptors: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Moved:
    """One frame that a channel moved: its descriptors, their place, and the register afterwards."""

    activation: int
    channel: int
    first: int
    descriptors: tuple[tuple[int, int], ...]
    size_bytes: int
    processed: int


@dataclass(frozen=True)
class RingWrite:
    """The host moved a channel's ring."""

    activation: int
    channel: int
    available: int
    control: int


@dataclass(frozen=True)
class SeenFrame:
    """One frame that the device consumed."""

    activation: int
    channel: int
    data: bytes


class Journal:
    """What the chip saw and what the driver was asked for, in order."""

    def __init__(self) -> None:
        self.controls: list[SentControl] = []
        self.order: list[object] = []
        self.ring_programs: list[Program] = []
        self.lists: list[tuple[ListGeometry, DescriptorList]] = []
        self.fetched: list[Fetched] = []
        self.moved: list[Moved] = []
        self.ring_writes: list[RingWrite] = []
        self.frames: list[SeenFrame] = []
        self.opened: list[tuple[int, Mapping[str, Any], bytes]] = []
        self.config: list[tuple[int, int, int, bytes]] = []
        self.accesses: list[BarAccess] = []
        self.doorbells: list[int] = []
        self.activation = 0
        self._pending: dict[int, list[Fetched]] = {}

    def fetch(self, fetched: Fetched) -> None:
        """Note descriptors that the device took."""
        self.fetched.append(fetched)
        self._pending.setdefault(fetched.channel, []).append(fetched)

    def move(self, channel: int, size_bytes: int, processed: int) -> None:
        """Note that the descriptors taken since the last call were one frame."""
        parts = self._pending.pop(channel, [])
        rows = tuple(row for part in parts for row in part.descriptors)
        first = parts[0].first if parts else 0
        self.moved.append(Moved(self.activation, channel, first, rows, size_bytes, processed))


class WatchedLink:
    """A `PcieLink` that writes down what is asked of it; ``page_limit`` plays the kernel driver's parameter."""

    def __init__(self, link: PcieLink, journal: Journal, page_limit: int) -> None:
        self._link, self._journal = link, journal
        self.info = replace(link.info, desc_max_page_size=page_limit)

        self._allocated = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def alloc_buffer(self, size_bytes: int, direction: DmaDirection) -> HostBuffer:
        self._allocated = size_bytes
        return self._link.alloc_buffer(size_bytes, direction)

    def create_descriptor_list(self, count: int, page_size: int, *, circular: bool) -> DescriptorList:
        dlist = self._link.create_descriptor_list(count, page_size, circular=circular)
        geometry = ListGeometry(count, page_size, circular)
        if not circular:
            self._journal.order.append(("memory of a list", self._allocated))
        self._journal.lists.append((geometry, dlist))
        self._journal.order.append(geometry)
        return dlist

    def program(self, dlist: DescriptorList, buffer: HostBuffer, *, size_bytes: int, **more: Any) -> int:
        used = self._link.program(dlist, buffer, size_bytes=size_bytes, **more)
        bind = bool(more.get("bind", True))
        # Without binding the offset means nothing; the recorded library leaves it out of configuration lists.
        program = Program(
            size_bytes,
            more.get("offset", 0) if bind or dlist.circular else 0,
            more.get("batch_size", 1),
            next(index for index, (_, known) in enumerate(self._journal.lists) if known is dlist),
            more["channel"],
            more.get("starting_desc", 0),
            bind,
            more.get("last_domain", 0),
            used,
        )
        (self._journal.ring_programs if dlist.circular else self._journal.order).append(program)
        return used

    def sync_buffer(self, buffer: HostBuffer, offset: int, size_bytes: int, to_device: bool) -> None:
        self._journal.order.append(Sync(to_device, offset, size_bytes))
        self._link.sync_buffer(buffer, offset, size_bytes, to_device)

    def enable_channels(self, bitmap: int) -> None:
        self._journal.order.append(("enable", bitmap))
        self._link.enable_channels(bitmap)

    def disable_channels(self, bitmap: int) -> None:
        self._journal.order.append(("disable", bitmap))
        self._link.disable_channels(bitmap)


class Rig:
    """A twin set up as the recording's device, and ways to reach it with our stack."""

    def __init__(
        self, recording: Recording, *, cold: bool = False, follow_recording: bool = True, real_time: bool = False
    ) -> None:
        """``cold``: no firmware runs yet; ``follow_recording``: recorded answers are given, failures included.

        ``real_time``: the twin's clock is the host's, for links with threads of their own.
        """
        self.recording, self.journal = recording, Journal()
        self.clock = SteppedClock()
        scripts = recording.answers() if follow_recording else {}
        self.twin = Twin(
            ARCHITECTURES[recording.probe.get("arch", "1")],
            firmware_version=(4, 23, 0),
            clock=None if real_time else self.clock,
            hw_consts=recording.hw_consts or None,
            options={"firmware": FirmwareConfig(scripted_responses=scripts)},
            booted=not cold,
        )
        self._link: PcieLink | None = None
        if not cold:
            self._quiet_log()
        self._watch_core()
        self._stop = self.twin.observe(self._note)

    # --- the stack ----------------------------------------------------------------------------------------------

    @property
    def options(self) -> LinkOptions:
        """Options that make the kernel driver's accesses on the twin's clock."""
        return LinkOptions(vendor_accesses=True, clock=self.now_s, pause=self.pause)

    def now_s(self) -> float:
        """Return the twin's time in seconds."""
        return self.clock.now_ns() / 1e9

    def pause(self, seconds: float) -> None:
        """Let the twin's time pass."""
        self.clock.advance_to(self.clock.now_ns() + int(seconds * 1e9))

    def link(self, *, firmware: bytes | None = None, **changes: Any) -> PcieLink:
        """Open the twin's PCI function with our driver."""
        options = replace(self.options, **changes)
        self._link = PcieLink(cast(PciFunction, self.twin.function()), firmware=firmware, options=options)
        return self._link

    def client(self) -> FirmwareClient:
        """Open a link and return the client of the firmware."""
        return FirmwareClient(self.link(announce_shutdown=False))

    def device(self, **options: Any) -> Device:
        """Open the runtime's device on a watched link."""
        link = WatchedLink(self.link(), self.journal, self.recording.page_limit)
        return Device(link, **options)

    def close(self) -> None:
        """Close the link if that was not done, and the twin."""
        if self._link is not None:
            self._link.close()
        self._stop()
        self.twin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what happens -------------------------------------------------------------------------------------------

    def _quiet_log(self) -> None:
        self.twin.firmware.parts.log.level = QUIET_LOG_LEVEL + 1  # type: ignore[attr-defined]

    def _watch_core(self) -> None:
        core = self.twin.firmware.core  # type: ignore[attr-defined]
        core.bind_reference(_Pattern(self.journal))
        configure = core.configure

        def watched(context: int, config_stream: int, data: bytes) -> None:
            self.journal.config.append((self.journal.activation, context, config_stream, bytes(data)))
            configure(context, config_stream, data)

        core.configure = watched

    def _note(self, event: ChipEvent) -> None:
        handler = getattr(self, f"_note_{event.kind}", None)
        if handler is not None:
            handler(event.fields)

    def _note_read(self, fields: Mapping[str, Any]) -> None:
        self.journal.accesses.append(BarAccess(False, fields["bar"], fields["offset"], fields["value"]))

    def _note_write(self, fields: Mapping[str, Any]) -> None:
        self.journal.accesses.append(BarAccess(True, fields["bar"], fields["offset"], fields["value"]))
        if fields["bar"] == 2:
            channel, _ = divmod(fields["offset"], 0x20)
            value = fields["value"]
            self.journal.ring_writes.append(RingWrite(self.journal.activation, channel, value >> 16, value & 0xFFFF))

    def _note_doorbell(self, fields: Mapping[str, Any]) -> None:
        self.journal.doorbells.append(fields["bits"])

    def _note_control(self, fields: Mapping[str, Any]) -> None:
        request = fields["request"]
        self.journal.controls.append(SentControl(fields["cpu"], request, fields["digest_ok"]))
        opcode = struct.unpack(">I", request[12:16])[0]
        self.journal.order.append(("control", opcode))
        if opcode == CHANGE_STATUS and request[24:25] == ENABLE:
            self.journal.activation += 1

    def _note_descriptors(self, fields: Mapping[str, Any]) -> None:
        descriptors = tuple(zip(fields["sizes"], fields["controls"], strict=True))
        self.journal.fetch(Fetched(self.journal.activation, fields["channel"], fields["first"], descriptors))

    def _note_transfer(self, fields: Mapping[str, Any]) -> None:
        self.journal.move(fields["channel"], fields["size_bytes"], fields["processed"])

    def _note_channel(self, fields: Mapping[str, Any]) -> None:
        if fields["action"] == "open":
            channel = fields["channel"]
            half = b"".join(
                self.twin.chip.vdma.read(channel * 0x20 + (0x10 if channel >= 16 else 0) + at, 4).to_bytes(4, "little")
                for at in range(0, 16, 4)
            )
            self.journal.opened.append((self.journal.activation, fields, half))


class _Pattern:
    """The recording's device: any input gives the pattern (traces/README.md 1). Keeps what came in."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._reference = journal, PatternReference()

    def __call__(self, inputs: Mapping[int, memoryview], frame: FrameInfo) -> dict[int, Any]:
        for stream, data in inputs.items():
            self._journal.frames.append(SeenFrame(self._journal.activation, stream, bytes(data)))
        return self._reference(inputs, frame)


def recorded_image() -> bytes:
    """Return the firmware file of the recordings (traces/README.md 1)."""
    app, core = bytes(range(256)), b"\xc0" * 256
    header = [struct.pack("<6I", 0x1DD89DE0, 0, 4, 23, 0, 256)] * 2
    certificate = struct.pack("<2I", 16, 16)
    return header[0] + app + certificate + CERTIFICATE_KEY + CERTIFICATE_CONTENT + header[1] + core


CERTIFICATE_KEY, CERTIFICATE_CONTENT = b"K" * 16, b"C" * 16


def user_bytes(count: int, frame: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the known input of the recordings (traces/README.md 5)."""
    k = np.arange(count, dtype=np.uint64)
    return ((k * 2654435761 + frame * 40503) % 2**32 >> 24).astype(np.uint8)


def sha256(data: bytes) -> str:
    """Return the digest as the recordings write it."""
    return hashlib.sha256(data).hexdigest()


__all__ = ["DmaDirection", "Journal", "Rig", "WatchedLink", "recorded_image", "sha256", "user_bytes"]
