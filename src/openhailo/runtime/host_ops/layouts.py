"""Results of box ops: as NumPy sees them, and packed as the vendor's runtime lays them out (runtime-behaviour.md 15).

===================  ========================================  ==================================================
order                result                                    packed, little-endian
===================  ========================================  ==================================================
by class             list of (n, 5) float32, one per class     per class: float32 count, then its boxes
by score             `DETECTION` records, best first           uint16 count, then the records
with byte mask       `MaskedDetections`, best first            uint16 count, then per box a record and its mask
===================  ========================================  ==================================================

A box is y_min, x_min, y_max, x_max (fractions of the input image) and score. Two slips of the original are not copied:
it may write one record more than the limit by score, and with masks count one that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from openhailo.errors import InputError
from openhailo.runtime.formats import Array, FormatOrder

BOX_NUMBERS: Final = 5
#: One box by score: 22 bytes.
DETECTION: Final = np.dtype(
    [("y_min", "<f4"), ("x_min", "<f4"), ("y_max", "<f4"), ("x_max", "<f4"), ("score", "<f4"), ("class_id", "<u2")]
)
#: One box with a mask: 38 bytes, then ``mask_size`` bytes; ``mask`` is the address of those.
MASK_RECORD: Final = np.dtype([*DETECTION.descr, ("mask_size", "<u8"), ("mask", "<u8")])
COUNT_BYTES: Final = 2
MAX_COUNT: Final = 0xFFFF


@dataclass(frozen=True, eq=False)
class MaskedDetections:
    """Boxes with masks of one frame, best first.

    ``records`` are of type `DETECTION`. ``masks`` holds one (rows, columns) uint8 array of 0 and 1 per record, in
    pixels of the input image from the box's corner on. ``truncated`` tells that more boxes were found than the masks'
    room allowed; the vendor's runtime fails such a frame with HAILO_INSUFFICIENT_BUFFER.
    """

    records: Array
    masks: tuple[Array, ...] = field(repr=False)
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.records)


def frame_bytes(order: FormatOrder, *, classes: int, max_per_class: int, max_total: int, mask_bytes: int = 0) -> int:
    """Return the bytes of one packed frame, when it is full. Raises `InputError` for another order."""
    if order is FormatOrder.HAILO_NMS_BY_CLASS:
        return classes * (4 + 4 * BOX_NUMBERS * max_per_class)
    if order is FormatOrder.HAILO_NMS_BY_SCORE:
        return COUNT_BYTES + DETECTION.itemsize * max_total
    if order is FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
        return COUNT_BYTES + MASK_RECORD.itemsize * max_total + mask_bytes
    raise _no_box_order(order)


def pack(result: Any, order: FormatOrder, out: Array) -> int:
    """Write one frame's result into the bytes ``out`` (uint8, contiguous); return how many were written.

    Bytes behind them stay as they are. Raises `InputError` when they do not fit.
    """
    flat = out.reshape(-1).view(np.uint8)
    if order is FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
        return _pack_masks(result, flat)
    writers: dict[FormatOrder, Callable[[Any], list[Array]]] = {
        FormatOrder.HAILO_NMS_BY_CLASS: _by_class_parts,
        FormatOrder.HAILO_NMS_BY_SCORE: _by_score_parts,
    }
    if order not in writers:
        raise _no_box_order(order)
    parts = [np.frombuffer(np.ascontiguousarray(part), np.uint8) for part in writers[order](result)]
    size = sum(len(part) for part in parts)
    _check_room(size, flat)
    np.concatenate([np.empty(0, np.uint8), *parts], out=flat[:size])
    return size


def unpack(packed: Array, order: FormatOrder, *, classes: int = 0) -> Any:
    """Return the result that `pack` wrote; ``classes`` is needed by class. Raises `InputError` for what is no result.

    Masks are looked for behind their records: addresses in them may be those of another process.
    """
    readers: dict[FormatOrder, Callable[[Array], Any]] = {
        FormatOrder.HAILO_NMS_BY_CLASS: lambda flat: _unpack_by_class(flat, classes),
        FormatOrder.HAILO_NMS_BY_SCORE: _unpack_by_score,
        FormatOrder.HAILO_NMS_WITH_BYTE_MASK: _unpack_masks,
    }
    if order not in readers:
        raise _no_box_order(order)
    return readers[order](np.ascontiguousarray(packed).reshape(-1).view(np.uint8))


def _by_class_parts(boxes: Sequence[Array]) -> list[Array]:
    parts: list[Array] = []
    for each in boxes:
        if each.ndim != 2 or each.shape[1] != BOX_NUMBERS:
            raise InputError(what="boxes", detail=f"one (n, {BOX_NUMBERS}) array per class is needed, not {each.shape}")
        parts += [np.array([len(each)], np.float32), each.astype(np.float32, copy=False).reshape(-1)]
    return parts


def _by_score_parts(records: Array) -> list[Array]:
    if len(records) > MAX_COUNT:
        raise InputError(what="boxes", detail=f"{len(records)} boxes; this layout counts to {MAX_COUNT}")
    return [np.array([len(records)], "<u2"), np.ascontiguousarray(records, DETECTION)]


def _pack_masks(result: MaskedDetections, flat: Array) -> int:
    need = COUNT_BYTES + len(result) * MASK_RECORD.itemsize + sum(mask.size for mask in result.masks)
    if len(result) > MAX_COUNT:
        raise InputError(what="boxes", detail=f"{len(result)} boxes; this layout counts to {MAX_COUNT}")
    _check_room(need, flat)
    flat[:COUNT_BYTES] = np.frombuffer(np.array([len(result)], "<u2"), np.uint8)
    place, base = COUNT_BYTES, flat.ctypes.data
    record = np.zeros(1, MASK_RECORD)
    for values, mask in zip(result.records, result.masks, strict=True):
        for name in DETECTION.names or ():
            record[name] = values[name]
        start = place + MASK_RECORD.itemsize
        record["mask_size"], record["mask"] = mask.size, base + start
        flat[place:start] = record.view(np.uint8)
        place = start + mask.size
        flat[start:place] = mask.reshape(-1)
    return place


def _unpack_by_class(flat: Array, classes: int) -> list[Array]:
    words = flat[: len(flat) // 4 * 4].view("<f4")
    result, place = [], 0
    for _ in range(classes):
        if place >= len(words) or not 0 <= (count := float(words[place])) <= len(words) - place - 1:
            raise InputError(what="boxes by class", detail=f"no possible count at number {place} of {len(words)}")
        end = place + 1 + int(count) * BOX_NUMBERS
        if end > len(words):
            raise InputError(what="boxes by class", detail=f"{count:.0f} boxes at number {place} of {len(words)}")
        result.append(words[place + 1 : end].reshape(-1, BOX_NUMBERS).astype(np.float32))
        place = end
    return result


def _count_of(flat: Array, record_bytes: int) -> int:
    count = int(flat[:COUNT_BYTES].view("<u2")[0]) if len(flat) >= COUNT_BYTES else -1
    if not 0 <= count * record_bytes <= len(flat) - COUNT_BYTES:
        raise InputError(what="boxes", detail=f"a count of {count} in {len(flat)} bytes")
    return count


def _unpack_by_score(flat: Array) -> Array:
    count = _count_of(flat, DETECTION.itemsize)
    return flat[COUNT_BYTES : COUNT_BYTES + count * DETECTION.itemsize].view(DETECTION).copy()


def _unpack_masks(flat: Array) -> MaskedDetections:
    records, masks, place = [], [], COUNT_BYTES
    for _ in range(_count_of(flat, MASK_RECORD.itemsize)):
        start = place + MASK_RECORD.itemsize
        if start > len(flat):
            break  # the vendor's runtime may count one record that it did not write
        record = flat[place:start].view(MASK_RECORD)
        size = int(record["mask_size"][0])
        if size > len(flat) - start:
            break
        records.append(flat[place : place + DETECTION.itemsize].view(DETECTION))
        masks.append(flat[start : start + size].copy())
        place = start + size
    found = np.concatenate(records) if records else np.empty(0, DETECTION)
    return MaskedDetections(found, tuple(masks))


def _check_room(size: int, flat: Array) -> None:
    if size > len(flat):
        raise InputError(what="buffer", detail=f"{len(flat)} bytes; this frame takes {size}")


def _no_box_order(order: FormatOrder) -> InputError:
    return InputError(what="order", detail=f"{order.name} is no order of boxes")
