"""How frames in device format get from shared memory into a network and back: the broker's half of a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from openhailo.driver.link import BufferRange, DmaDirection, HostBuffer
from openhailo.errors import OpenHailoError
from openhailo.runtime.broker.messages import Slots
from openhailo.runtime.broker.rings import box_words, put_boxes, table
from openhailo.runtime.buffers import SLOT_ALIGNMENT
from openhailo.runtime.formats import Array
from openhailo.runtime.frame_job import Direct, Job
from openhailo.runtime.network import Network
from openhailo.runtime.nms_stream import NmsOutputStream
from openhailo.runtime.streams import BoundaryStream, InputStream, OutputStream

#: Frames below a page are copied: several of them go in one transfer of a doorbell.
IN_PLACE_BYTES = SLOT_ALIGNMENT


class Rings:
    """The rings of one model in shared memory: a table (depth, frame bytes) per stream, inputs and outputs apart."""

    def __init__(self, view: memoryview, slots: Sequence[Slots], depth: int) -> None:
        """Take the memory as it was laid out."""
        self.depth, self.slots = depth, tuple(slots)
        self.tables = {(each.name, each.is_output): table(view, each, depth) for each in slots}
        self.views = {
            (each.name, each.is_output): view[each.offset : each.offset + each.stride * depth] for each in slots
        }


class RawPlan:
    """Makes the jobs of ``network``, on one device, from frames of ``rings``. The arrays are in the network's order."""

    def __init__(self, network: Network, rings: Rings) -> None:
        """Plan; map the rings where the device can use them in place."""
        self._rings = rings
        ins = [stream for port in network.input_ports for stream in port.streams]
        outs = [stream for port in network.output_ports for stream in port.streams]
        self.inputs = [rings.tables[stream.name, False] for stream in ins]
        self.outputs = [rings.tables[stream.name, True] for stream in outs]
        boxes = {layer.name: layer.nms for layer in network.description.boundary if layer.nms is not None}
        self._writers = [_writer(stream) for stream in ins]
        self._readers: list[Any] = [
            _box_reader(boxes[s.name]) if isinstance(s, NmsOutputStream) else _reader(s) for s in outs
        ]
        self._is_boxes = [isinstance(stream, NmsOutputStream) for stream in outs]
        self._link = network.link
        self._mapped: list[HostBuffer] = []
        self._input_ranges = [self._map(stream, DmaDirection.TO_DEVICE) for stream in ins]
        self._output_ranges = [self._map(stream, DmaDirection.FROM_DEVICE) for stream in outs]
        self._is_direct = any(each is not None for each in (*self._input_ranges, *self._output_ranges))

    def _map(self, stream: InputStream | OutputStream, direction: DmaDirection) -> list[tuple[BufferRange]] | None:
        """Return a transfer per slot of the ring, None where frames are copied."""
        size = stream.ring.transfer_bytes
        if size < IN_PLACE_BYTES or (isinstance(stream, OutputStream) and not stream.is_paired):
            return None
        view = self._rings.views[stream.name, direction is DmaDirection.FROM_DEVICE]
        try:
            mapped = self._link.map_buffer(view, direction)
        except OpenHailoError:
            return None
        self._mapped.append(mapped)
        stride = view.nbytes // self._rings.depth
        return [((mapped, slot * stride, size),) for slot in range(self._rings.depth)]

    def job(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> Job:
        """Return the job of frames that are slices of `inputs` and `outputs`."""
        count = len(inputs[0])
        sinks = [out.view(np.uint64) if boxes else out for out, boxes in zip(outputs, self._is_boxes, strict=True)]
        job = Job(count, inputs, self._writers, sinks, self._readers)
        if self._is_direct:
            first = self._slot(inputs[0])
            last = first + count
            job.direct = Direct(
                [ranges and ranges[first:last] for ranges in self._input_ranges],
                [ranges and ranges[first:last] for ranges in self._output_ranges],
            )
        return job

    def _slot(self, frames: Array) -> int:
        """Return the slot at which ``frames`` begin, a slice of the first input's ring."""
        ring = self.inputs[0]
        distance = frames.__array_interface__["data"][0] - ring.__array_interface__["data"][0]
        return int(distance // ring.strides[0])

    def filler(self, count: int) -> Job:
        """Return a job of ``count`` frames of zeros that nobody wants: cycles through the contexts are whole."""
        zeros = [np.zeros((count, ring.shape[1]), np.uint8) for ring in self.inputs]
        waste = [np.zeros((count, ring.shape[1]), np.uint8) for ring in self.outputs]
        sinks = [out.view(np.uint64) if boxes else out for out, boxes in zip(waste, self._is_boxes, strict=True)]
        return Job(count, zeros, self._writers, sinks, self._readers)

    def close(self) -> None:
        """Unmap the rings; nothing may be in flight. Idempotent."""
        while self._mapped:
            with suppress(OpenHailoError):
                self._mapped.pop().close()


def _slots_of(stream: BoundaryStream) -> Array:
    slots = stream.slots
    whole = np.frombuffer(slots.view, np.uint8).reshape(-1, slots.stride)
    return whole[:, : slots.transfer_bytes]


def _writer(stream: BoundaryStream) -> Any:
    return partial(_write, _slots_of(stream))


def _reader(stream: BoundaryStream) -> Any:
    return partial(_read, _slots_of(stream))


def _write(slots: Array, frames: Array, first: int, last: int) -> None:
    slots[first:last] = frames


def _read(slots: Array, out: Array, first: int, last: int) -> None:
    out[:] = slots[first:last]


def _box_reader(nms: Any) -> Callable[[Any], Array]:
    words = box_words(nms)
    return lambda frame: put_boxes(frame, words)
