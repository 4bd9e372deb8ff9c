"""Boxes that a chip or a host operation has found and suppressed already: only their form changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from openhailo.errors import ShapeMismatch
from openhailo.vision.detections import Detections

_CORNERS = ("y_min", "x_min", "y_max", "x_max")


@dataclass(frozen=True, slots=True)
class SuppressedConfig:
    """Boxes are fractions of ``input_size``, the network's (height, width)."""

    input_size: tuple[int, int]


def decode_suppressed(outputs: Sequence[Any], config: SuppressedConfig) -> Detections:
    """One output of one frame: an array (n, 5) of y_min, x_min, y_max, x_max, score per class, or records with these.

    Also something with such ``records`` (boxes with masks), and each of them in a list of one frame. Best first.

    Raises:
        ShapeMismatch: it is none of these.
    """
    if len(outputs) != 1:
        raise ShapeMismatch(name="outputs", expected=(1,), seen=(len(outputs),))
    frame = outputs[0]
    if isinstance(frame, list) and len(frame) == 1 and not _is_table(frame[0]):
        frame = frame[0]
    frame = getattr(frame, "records", frame)
    if isinstance(frame, list):
        boxes, class_ids = _joined(frame)
    elif getattr(frame, "dtype", np.dtype(np.uint8)).names:
        boxes = np.column_stack([frame[name] for name in (*_CORNERS, "score")]).astype(np.float32)
        class_ids = frame["class_id"].astype(np.int32)
    else:
        raise ShapeMismatch(
            name="boxes", expected=(-1, 5), seen=getattr(frame, "shape", ()), detail="an array per class, or records"
        )
    order = np.argsort(-boxes[:, 4], kind="stable")
    height, width = config.input_size
    corners = boxes[order][:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32)
    return Detections.of(corners, boxes[order, 4], class_ids[order])


def _is_table(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == 5


def _joined(frame: list[Any]) -> tuple[Any, Any]:
    for table in frame:
        if not _is_table(table):
            raise ShapeMismatch(
                name="boxes", expected=(-1, 5), seen=getattr(table, "shape", ()), detail="an array per class"
            )
    class_ids = np.repeat(np.arange(len(frame), dtype=np.int32), [len(table) for table in frame])
    return np.concatenate([np.empty((0, 5), np.float32), *frame]), class_ids
