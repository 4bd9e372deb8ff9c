"""What a user may change about an output of boxes: thresholds and limits (runtime-behaviour.md 9 and 15)."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import numpy as np

from openhailo.errors import InputError
from openhailo.runtime.formats import FormatOrder
from openhailo.runtime.host_ops.layouts import frame_bytes

#: Largest result of one frame: bounds what a setting makes somebody allocate.
MAX_RESULT_BYTES = 1 << 30

#: Orders of an output of boxes that was suppressed on the host.
BOX_ORDERS = (FormatOrder.HAILO_NMS_BY_CLASS, FormatOrder.HAILO_NMS_BY_SCORE)


@dataclass(frozen=True)
class NmsLimits:
    """Thresholds and limits of one op at one moment; ``classes`` are those of the result.

    ``mask_bytes`` is the room for the masks of a frame, 0 where there are none.
    """

    classes: int
    score: float
    iou: float
    per_class: int
    total: int
    mask_bytes: int = 0


class NmsSettings:
    """Thresholds and limits of an output of boxes; a change counts from the next call on. For several threads.

    Raises `InputError` for a value that cannot be, and for a limit that the output's order does not have: by class
    there is a limit per class, by score and with masks one for all.
    """

    def __init__(self, name: str, order: FormatOrder, limits: NmsLimits) -> None:
        """Begin with ``limits``, those of the HEF."""
        self._name, self._order = name, order
        self._lock = threading.Lock()
        self._limits = limits

    def snapshot(self) -> NmsLimits:
        """Return all values as they are now."""
        return self._limits

    @property
    def order(self) -> FormatOrder:
        """HAILO_NMS_BY_CLASS, HAILO_NMS_BY_SCORE or HAILO_NMS_WITH_BYTE_MASK."""
        return self._order

    @property
    def classes(self) -> int:
        """Classes of the result, without a background class that is removed."""
        return self._limits.classes

    @property
    def score_threshold(self) -> float:
        """Least score of a box."""
        return self._limits.score

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self._change(score=self._number("score_threshold", value))

    @property
    def iou_threshold(self) -> float:
        """A box goes when a better one of its class overlaps it by this much or more."""
        return self._limits.iou

    @iou_threshold.setter
    def iou_threshold(self, value: float) -> None:
        self._change(iou=self._number("iou_threshold", value))

    @property
    def max_proposals_per_class(self) -> int:
        """Most boxes of a class. With masks, setting it sets the limit for all (times the classes)."""
        return self._limits.per_class

    @max_proposals_per_class.setter
    def max_proposals_per_class(self, value: int) -> None:
        if self._order is FormatOrder.HAILO_NMS_BY_SCORE:
            raise self._refused(
                "max_proposals_per_class", "set max_proposals_total: by score there is no limit by class"
            )
        # GUESS: with masks this sets the total too; the facts say only that it is accepted there with a warning.
        count = self._count("max_proposals_per_class", value)
        self._change(per_class=count, total=count * self.classes)

    @property
    def max_proposals_total(self) -> int:
        """Most boxes of a frame."""
        return self._limits.total

    @max_proposals_total.setter
    def max_proposals_total(self, value: int) -> None:
        if self._order is FormatOrder.HAILO_NMS_BY_CLASS:
            raise self._refused("max_proposals_total", "set max_proposals_per_class: by class there is no total limit")
        self._change(total=self._count("max_proposals_total", value))

    @property
    def max_accumulated_mask_size(self) -> int:
        """Bytes that the masks of a frame may take together; 0 where there are no masks."""
        return self._limits.mask_bytes

    @max_accumulated_mask_size.setter
    def max_accumulated_mask_size(self, value: int) -> None:
        if self._order is not FormatOrder.HAILO_NMS_WITH_BYTE_MASK:
            raise self._refused("max_accumulated_mask_size", "this output has no masks")
        self._change(mask_bytes=self._count("max_accumulated_mask_size", value))

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame in the vendor's layout of this order (runtime-behaviour.md 15)."""
        return _size_of(self._order, self._limits)

    def _change(self, **values: float) -> None:
        with self._lock:
            changed = replace(self._limits, **values)  # type: ignore[arg-type]
            size = _size_of(self._order, changed)
            if size > MAX_RESULT_BYTES:
                detail = f"{values} makes a frame of {size} bytes, at most {MAX_RESULT_BYTES}"
                raise InputError(what=self._name, detail=detail)
            self._limits = changed

    def _number(self, what: str, value: object) -> float:
        if not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise self._refused(what, f"{value!r} is not a finite number")
        return float(value)

    def _count(self, what: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise self._refused(what, f"{value!r} is not a whole number above 0")
        return int(value)

    def _refused(self, what: str, detail: str) -> InputError:
        return InputError(what=f"{what} of {self._name!r}", detail=detail)

    def __repr__(self) -> str:
        return f"<NmsSettings of {self._name!r}: {self._order.name}, {self._limits}>"


def _size_of(order: FormatOrder, limits: NmsLimits) -> int:
    return frame_bytes(
        order,
        classes=limits.classes,
        max_per_class=limits.per_class,
        max_total=limits.total,
        mask_bytes=limits.mask_bytes,
    )
