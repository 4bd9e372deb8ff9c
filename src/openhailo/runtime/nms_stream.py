"""Outputs whose boxes the chip sorts out: a stream of 64-bit words in transfers of its own (hef.md 11).

A frame is classes x chunks groups of box words, each closed by a delimiter. In box mode every word is a transfer, so a
frame takes as many transfers as it has boxes and delimiters; in burst mode a transfer holds bursts of words, and what
follows a delimiter in its burst is more of the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from openhailo.driver.link import ChipLink, DescriptorList
from openhailo.errors import InputError, MalformedReply
from openhailo.runtime.configure.layers import NmsStream
from openhailo.runtime.configure.requirements import Ring
from openhailo.runtime.formats import Array, Quantization
from openhailo.runtime.host_ops.layouts import MaskedDetections
from openhailo.runtime.streams import OutputStream

DELIMITER = 0xFFFF_FFFF_FFFF_FFFF
IMAGE_DELIMITER = 0xFFFF_FFFF_FFFF_FFFE
#: Padding of another family of chips; a Hailo-8 never sends it.
FOREIGN_PADDING = 0xFFFF_FFFF_FFFF_FFFD
WORD_BYTES = 8

#: Frames that may wait to be read before the device gets no more slots.
MAX_FRAMES_AHEAD = 256

#: Word -> column of a box (y_min, x_min, y_max, x_max, score): place of the lowest bit, and mask.
_FIELDS = ((36, 0xFFF), (24, 0xFFF), (12, 0xFFF), (0, 0xFFF), (48, 0xFFFF))

#: Box words of each class of one frame.
ClassWords = list[Array]


class NmsReader:
    """Puts frames together from words. Not for several threads."""

    def __init__(self, nms: NmsStream, name: str) -> None:
        self._nms, self._name = nms, name
        self._groups = nms.classes * nms.chunks
        self.reset()

    def reset(self) -> None:
        """Forget a frame that is not complete."""
        self._open: list[Array] = []
        self._boxes = 0
        self._closed: list[Array] = []
        self._frames: list[ClassWords] = []

    def feed(self, words: Array) -> list[ClassWords]:
        """Take transfers (n, words) and return the frames that are complete. Raises `MalformedReply`."""
        if self._nms.per_class_burst:
            for burst in words.reshape(-1, self._nms.burst_size):
                self._burst(burst)
        else:
            flat = words.reshape(-1)
            self._words(flat[flat != IMAGE_DELIMITER])
        frames, self._frames = self._frames, []
        return frames

    def _words(self, words: Array) -> None:
        start = 0
        for end in np.flatnonzero(words == DELIMITER).tolist():
            self._add(words[start:end])
            self._close()
            start = end + 1
        self._add(words[start:])

    def _burst(self, burst: Array) -> None:
        ends = np.flatnonzero(burst == DELIMITER)
        if not len(ends):
            self._add(burst)
            return
        first = int(ends[0])
        if len(ends) != len(burst) - first:
            raise self._malformed("a burst goes on after its delimiter")
        self._add(burst[:first])
        self._close()

    def _add(self, boxes: Array) -> None:
        if not len(boxes):
            return
        self._boxes += len(boxes)
        if self._boxes > self._nms.max_boxes:
            raise self._malformed(f"more than {self._nms.max_boxes} boxes in a class")
        if np.any(boxes >= FOREIGN_PADDING):
            raise self._malformed("a word that is neither a box nor a delimiter")
        self._open.append(boxes.copy())

    def _close(self) -> None:
        self._closed.append(np.concatenate(self._open) if self._open else np.empty(0, np.uint64))
        self._open, self._boxes = [], 0
        if len(self._closed) == self._groups:
            # GUESS: chunk after chunk, each with every class; the facts say only that chunks are merged class by class.
            classes = self._nms.classes
            self._frames.append([np.concatenate(self._closed[i::classes]) for i in range(classes)])
            self._closed = []

    def _malformed(self, detail: str) -> MalformedReply:
        return MalformedReply(what=f"stream of boxes {self._name!r}", detail=detail)


class NmsOutputStream(OutputStream):
    """Boxes on their way from the device. ``ready`` counts frames, ``in_flight`` transfers.

    Transfers are read as soon as they complete, and their slots go back many at a time, since nobody can know how many
    transfers the next frame takes.
    """

    is_paired = False

    def __init__(
        self, link: ChipLink, name: str, channel: int, dlist: DescriptorList, ring: Ring, nms: NmsStream
    ) -> None:
        """Allocate the slots. Raises `DmaMapError`."""
        self._reader = NmsReader(nms, name)
        self._frames: deque[ClassWords] = deque()
        super().__init__(link, name, channel, dlist, ring)
        table = np.frombuffer(self.slots.view, "<u8").reshape(-1, self.slots.stride // WORD_BYTES)
        self._words = table[:, : ring.transfer_bytes // WORD_BYTES]

    def rewind(self) -> None:
        """Start again at slot 0 and descriptor 0; nothing waits to be read."""
        super().rewind()
        self._reader.reset()
        self._frames.clear()

    def complete(self, count: int) -> None:
        """Read ``count`` transfers that the device has written. Raises `MalformedReply`."""
        self.in_flight -= count
        while count:
            slot = self._tail
            run = min(count, self.depth - slot)
            self._frames.extend(self._reader.feed(self._words[slot : slot + run]))
            self._tail = (slot + run) % self.depth
            count -= run
        self._refill()

    def pull(self, read: Any, out: Any, first: int, count: int) -> None:
        """Convert the ``count`` oldest frames into ``out[first : first + count]``; ``read`` takes `ClassWords`."""
        for place in range(first, first + count):
            out[place] = read(self._frames.popleft())
        self._refill()

    def _refill(self) -> None:
        self.ready = len(self._frames)
        if self.in_flight <= self.depth // 2 and self.ready < MAX_FRAMES_AHEAD:
            self.launch(self.depth - self.in_flight)


# --- boxes ------------------------------------------------------------------------------------------------------------


def unpack_boxes(words: Array) -> Array:
    """Return (n, 5) uint16 of box words: y_min, x_min, y_max, x_max, score, as quantised."""
    boxes = np.empty((len(words), len(_FIELDS)), np.uint16)
    for column, (shift, mask) in enumerate(_FIELDS):
        boxes[:, column] = (words >> np.uint64(shift)) & np.uint64(mask)
    return boxes


def pack_boxes(boxes: Array) -> Array:
    """Return the words of (n, 5) integer boxes: the reverse of `unpack_boxes`."""
    words = np.zeros(len(boxes), np.uint64)
    for column, (shift, mask) in enumerate(_FIELDS):
        words |= (boxes[:, column].astype(np.uint64) & np.uint64(mask)) << np.uint64(shift)
    return words


def raw_boxes(frame: ClassWords) -> list[Array]:
    """Return one (n, 5) uint16 array per class."""
    return [unpack_boxes(words) for words in frame]


def real_boxes(quantization: Quantization) -> Callable[[ClassWords], list[Array]]:
    """Return the conversion to one (n, 5) float32 array per class; the first pair of parameters counts for all."""
    zero_point, scale = np.float32(quantization.zero_point), np.float32(quantization.scale)
    return lambda frame: [(unpack_boxes(words).astype(np.float32) - zero_point) * scale for words in frame]


def by_class_bytes(boxes: Sequence[Array]) -> bytes:
    """Return boxes per class as the vendor's packed layout (runtime-behaviour.md 15).

    For each class its count and its boxes, all of one type: float32, or uint16 for raw boxes.
    """
    if any(
        each.ndim != 2 or each.shape[1] != len(_FIELDS) or each.dtype not in (np.float32, np.uint16) for each in boxes
    ):
        raise InputError(what="boxes", detail="one (n, 5) array of float32 or uint16 per class is needed")
    return b"".join(np.array(len(each), each.dtype).tobytes() + each.tobytes() for each in boxes)


def box_table(result: Any) -> Array:
    """Return boxes per class, or with masks, as one array (n, 6): class, y_min, x_min, y_max, x_max, score.

    A batch gives (n, 7), with the frame in front.
    """
    if isinstance(result, MaskedDetections):
        names = ("class_id", "y_min", "x_min", "y_max", "x_max", "score")
        return np.column_stack([result.records[name].astype(np.float32) for name in names])
    if result and isinstance(result[0], list | MaskedDetections):
        tables = [box_table(frame) for frame in result]
        frames = np.repeat(np.arange(len(tables), dtype=np.float32), [len(table) for table in tables])
        return np.column_stack([frames, np.concatenate(tables)])
    classes = np.repeat(np.arange(len(result), dtype=np.float32), [len(boxes) for boxes in result])
    return np.column_stack([classes, np.concatenate([np.asarray(boxes, np.float32) for boxes in result])])


def round_robin(parts: Sequence[Sequence[Array]], classes: int) -> list[Array]:
    """Put one frame of several streams together: class i comes from stream i mod n (hef.md 12)."""
    return [parts[index % len(parts)][index // len(parts)] for index in range(classes)]


def encode_frame(frame: Iterable[Array], nms: NmsStream) -> bytes:
    """Return what a device sends for (n, 5) integer boxes per class: the reverse of `NmsReader`, in one chunk."""
    groups = [pack_boxes(boxes) for boxes in frame]
    groups += [np.empty(0, np.uint64)] * (nms.classes * (nms.chunks - 1))
    delimiter = np.array([DELIMITER], np.uint64)
    pieces = [np.concatenate([group, delimiter]) for group in groups]
    if nms.per_class_burst:
        pieces = [np.pad(p, (0, -len(p) % nms.burst_size), constant_values=DELIMITER) for p in pieces]
    return np.concatenate(pieces).astype("<u8").tobytes()
