"""Streams of a client: the ordinary ones, on rings in shared memory that all have the same number of slots."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from openhailo.driver.link import ChipLink, DescriptorList
from openhailo.runtime.broker.rings import get_boxes
from openhailo.runtime.buffers import SlotRing
from openhailo.runtime.configure.layers import H2D, NmsStream
from openhailo.runtime.configure.requirements import Ring
from openhailo.runtime.nms_stream import WORD_BYTES, NmsOutputStream
from openhailo.runtime.ports import Ports
from openhailo.runtime.session import BoundaryChannel
from openhailo.runtime.streams import BoundaryStream, InputStream, OutputRefill, OutputStream


class _SharedStream(BoundaryStream):
    """A ring of exactly ``ring.depth`` slots."""

    def __init__(self, link: ChipLink, name: str, channel: int, dlist: DescriptorList, ring: Ring) -> None:
        self.name, self.channel, self.ring, self.dlist = name, channel, ring, dlist
        self.slots = SlotRing(link, ring.transfer_bytes, ring.depth, self.direction)
        self.depth = ring.depth
        self._launch_many = self._unmeasured = link.launch_many
        self._mask = ring.depth - 1
        self.rewind()


class SharedInput(_SharedStream, InputStream):
    """Frames for the broker."""


class SharedOutput(_SharedStream, OutputStream):
    """Frames from the broker, one for each input frame."""

    refill = OutputRefill.PAIRED


class SharedBoxes(_SharedStream, NmsOutputStream):
    """Boxes that the chip sorted out: the broker has put frames together already, one for each input frame."""

    refill = OutputRefill.PAIRED
    is_paired = True

    def __init__(
        self, link: ChipLink, name: str, channel: int, dlist: DescriptorList, ring: Ring, nms: NmsStream
    ) -> None:
        """Take the ring."""
        self._classes = nms.classes
        _SharedStream.__init__(self, link, name, channel, dlist, ring)
        whole = np.frombuffer(self.slots.view, "<u8").reshape(-1, self.slots.stride // WORD_BYTES)
        self._rows = whole[:, : ring.transfer_bytes // WORD_BYTES]

    def rewind(self) -> None:
        """Start again at slot 0."""
        OutputStream.rewind(self)

    def complete(self, count: int) -> None:
        """Account for ``count`` frames that are there."""
        OutputStream.complete(self, count)

    def pull(self, read: Any, out: Any, first: int, count: int) -> None:
        """Convert the ``count`` oldest frames into ``out[first : first + count]``."""
        self.ready -= count
        for place in range(first, first + count):
            out[place] = read(get_boxes(self._rows[self._tail], self._classes))
            self._tail = (self._tail + 1) % self.depth


class SharedPorts(Ports):
    """The ports of a network on rings in shared memory."""

    def _open(self, boundary: BoundaryChannel) -> InputStream | OutputStream:
        layer = boundary.layer
        place = (self._link, layer.name, boundary.channel, boundary.dlist, boundary.ring)
        if layer.direction is H2D:
            stream: Any = SharedInput(*place)
        else:
            stream = SharedOutput(*place) if layer.nms is None else SharedBoxes(*place, layer.nms)
        self._streams.append(stream)
        return cast("InputStream | OutputStream", stream)
