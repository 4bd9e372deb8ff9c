"""How the frames of a network lie in shared memory: a ring of slots per boundary stream, in the device's own format."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np

from openhailo._units import align_up
from openhailo.errors import MalformedMessage, UnsupportedHef
from openhailo.runtime.broker.messages import Slots
from openhailo.runtime.configure.layers import D2H, Layer, NmsStream
from openhailo.runtime.description import NetworkDescription
from openhailo.runtime.formats import Array
from openhailo.runtime.nms_stream import WORD_BYTES, ClassWords
from openhailo.runtime.streams import MAX_SLOT_BYTES, MIN_SLOTS

#: Frames under way of one model of one client.
MAX_DEPTH = 128


def frame_bytes(layer: Layer) -> int:
    """Return the bytes of a slot for a frame of ``layer``; boxes have the room that they need at most."""
    if layer.nms is None:
        return layer.transfer_bytes
    return box_words(layer.nms) * WORD_BYTES


def box_words(nms: NmsStream) -> int:
    """Return the words of a frame of boxes: a count per class, then the boxes of all of them."""
    return nms.classes * (1 + nms.max_boxes * nms.chunks)


def put_boxes(frame: ClassWords, words: int) -> Array:
    """Return a frame as one row of ``words`` words."""
    row = np.zeros(words, np.uint64)
    row[: len(frame)] = [len(each) for each in frame]
    found = np.concatenate(frame)
    row[len(frame) : len(frame) + len(found)] = found
    return row


def get_boxes(row: Array, classes: int) -> ClassWords:
    """Return the frame of a row. Raises `MalformedMessage` for counts that cannot be."""
    counts = row[:classes].astype(np.int64)
    total = int(counts.sum())
    if (counts < 0).any() or (counts > len(row)).any() or total > len(row) - classes:
        raise MalformedMessage(what="boxes in shared memory", detail=f"{total} boxes in a slot for {len(row)}")
    return np.split(row[classes : classes + total].copy(), np.cumsum(counts)[:-1])


def depth_of(description: NetworkDescription, transfers: int, devices: int) -> int:
    """Return the slots of every ring: as many as each device takes of the largest frames, a power of two."""
    largest = max(frame_bytes(layer) for layer in description.boundary)
    each = min(transfers, max(MIN_SLOTS, MAX_SLOT_BYTES // largest))
    wanted = min(MAX_DEPTH, max(MIN_SLOTS, each * devices))
    return 1 << (wanted.bit_length() - 1)


def lay_out(description: NetworkDescription, depth: int) -> tuple[tuple[Slots, ...], int]:
    """Return the rings of all boundary streams and the bytes of all together."""
    slots: list[Slots] = []
    offset = 0
    for layer in description.boundary:
        size = frame_bytes(layer)
        stride = align_up(size, mmap.PAGESIZE)
        slots.append(Slots(layer.name, layer.direction is D2H, size, offset, stride))
        offset += stride * depth
    if len({(each.name, each.is_output) for each in slots}) != len(slots):
        raise UnsupportedHef(feature=f"{description.name}: streams of the same name", hint="use it without a broker")
    return tuple(slots), offset


def check_layout(told: Sequence[Slots], description: NetworkDescription, depth: int, memory_bytes: int) -> None:
    """Check what a client says against the network. Raises `MalformedMessage`."""
    if not 1 <= depth <= MAX_DEPTH or depth & (depth - 1):
        raise MalformedMessage(what="rings", detail=f"depth {depth}")
    ours, total = lay_out(description, depth)
    if tuple(told) != ours or memory_bytes != total:
        raise MalformedMessage(what="rings", detail=f"they do not fit {description.name}")


def table(view: memoryview, slots: Slots, depth: int) -> Array:
    """Return the frames of a ring, (depth, frame_bytes)."""
    whole = np.frombuffer(view, np.uint8, slots.stride * depth, slots.offset)
    return whole.reshape(depth, slots.stride)[:, : slots.frame_bytes]
