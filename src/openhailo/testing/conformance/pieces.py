"""A network driven through a link: rings, lists by byte, frames (driver.md 11, context-switch.md 17.1)."""

from __future__ import annotations

import struct

from openhailo.bus.protocols import DmaDirection
from openhailo.driver.link import DescriptorList, HostBuffer
from openhailo.testing.check import Mismatch
from openhailo.testing.rig import Rig

from .raw.lists import ACTIVATION, BATCH_SWITCHING, DYNAMIC, PRELIMINARY, action, buffer, header, registers

IN_CHANNEL, OUT_CHANNEL, CONFIG_CHANNEL = 1, 16, 0
IN_BYTES, OUT_BYTES = 192, 16


class DriverNetwork:
    """Input stream 3 of 192 bytes on channel 1, output stream 2 of 16 bytes on channel 16, configuration on 0."""

    bitmap = 1 << IN_CHANNEL | 1 << OUT_CHANNEL

    def __init__(self, rig: Rig, config: bytes, *, count: int = 64) -> None:
        self._link, self._client, self.count = rig.link, rig.client, count
        self.inputs = self._link.create_descriptor_list(count, 256, circular=True)
        self.outputs = self._link.create_descriptor_list(count, 64, circular=True)
        self.source = self._link.alloc_buffer(count * 256, DmaDirection.TO_DEVICE)
        self.target = self._link.alloc_buffer(count * 64, DmaDirection.FROM_DEVICE)
        self._config, self._config_list, self._config_count = self._load(config)
        self._in_at = self._out_at = self._taken = 0

    def _load(self, config: bytes) -> tuple[HostBuffer, DescriptorList, int]:
        """Describe the configuration: all pages bound, then the exact bytes (context-switch.md 13)."""
        pages = -(-len(config) // 512)
        memory = self._link.alloc_buffer(pages * 512, DmaDirection.TO_DEVICE)
        memory.view[: len(config)] = config
        dlist = self._link.create_descriptor_list(pages + 1, 512, circular=False)
        self._link.program(dlist, memory, size_bytes=pages * 512, channel=CONFIG_CHANNEL)
        self._link.sync_buffer(memory, 0, len(config), to_device=True)
        self._link.program(dlist, memory, size_bytes=len(config), bind=False, last_domain=1, channel=CONFIG_CHANNEL)
        return memory, dlist, pages

    def lists(self) -> list[tuple[int, bytes]]:
        """Return the four context lists."""
        into = buffer(self.inputs.dma_address, 256, self.count, IN_BYTES)
        out = buffer(self.outputs.dma_address, 64, self.count, OUT_BYTES)
        config = buffer(self._config_list.dma_address, 512, self._config_count + 1, self._config_count * 512)
        activation = (
            action(30)
            + action(33, b"\x10", out)
            + action(32, b"\x01", into, b"\x03\0", struct.pack("<HI", IN_BYTES, IN_BYTES))
        )
        preliminary = (
            action(22, b"\0\0", config)
            + action(0, self._config_count.to_bytes(2, "little"), b"\0")
            + action(23, b"\0\0")
        )
        dynamic = (
            action(7, b"\x10\x02\0", registers(OUT_BYTES), out)
            + action(6, b"\x01\x03", registers(IN_BYTES), into, struct.pack("<I", 2048))
            + action(39, b"\x01\x01")
            + action(2, b"\x01\x03\0", struct.pack("<I", IN_BYTES), b"\x01\0")
            + action(29)
            + action(21)
        )
        return [
            (ACTIVATION, activation),
            (BATCH_SWITCHING, action(31) + action(37, b"\x01") + action(29)),
            (PRELIMINARY, preliminary),
            (DYNAMIC, dynamic),
        ]

    def configure(self) -> None:
        """Store the network."""
        self._client.set_application_header(header())
        for kind, data in self.lists():
            self._client.set_context_info(kind, data)

    def start(self) -> None:
        """Store, activate, and claim the channels."""
        self.configure()
        self._client.enable_application(0)
        self._link.enable_channels(self.bitmap)

    def stop(self) -> None:
        """Release the channels and deactivate."""
        self._link.disable_channels(self.bitmap)
        self._client.reset_applications()

    def send(self, data: bytes) -> None:
        """Launch one frame."""
        at = self._in_at * 256
        self.source.view[at : at + len(data)] = data
        used = self._link.launch(IN_CHANNEL, self.inputs, self._in_at, [(self.source, at, len(data))])
        self._in_at = (self._in_at + used) % self.count

    def launch_pieces(self, data: bytes, pieces: int) -> None:
        """Launch one frame as several buffers of equal size."""
        size, ranges = len(data) // pieces, []
        for number in range(pieces):
            at = (self._in_at + number) % self.count * 256
            self.source.view[at : at + size] = data[number * size : (number + 1) * size]
            ranges.append((self.source, at, size))
        used = self._link.launch(IN_CHANNEL, self.inputs, self._in_at, ranges)
        self._in_at = (self._in_at + used) % self.count

    def read(self) -> None:
        """Launch one read."""
        used = self._link.launch(OUT_CHANNEL, self.outputs, self._out_at, [(self.target, self._out_at * 64, OUT_BYTES)])
        self._out_at = (self._out_at + used) % self.count

    def receive(self) -> bytes:
        """Wait for the next output frame."""
        waited = 0
        while waited < 100:
            for event in self._link.wait_channels(self.bitmap, 1.0):
                if event.error:
                    raise Mismatch(f"channel {event.channel} failed: {event.error.name}")
                if event.channel == OUT_CHANNEL and event.completed:
                    return self._take()
            waited += 1
        raise Mismatch("no output frame came")

    def _take(self) -> bytes:
        at = self._taken * 64
        self._taken = (self._taken + 1) % self.count
        return bytes(self.target.view[at : at + OUT_BYTES])
