"""What a detector found, as one validated value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N objects, in the order of the decoder (best first).

    Attributes:
        boxes: (N, 4) float32, xyxy in pixels.
        scores: (N,) float32.
        class_ids: (N,) int32.
        labels: N names, or empty when the classes have no names.
        keypoints: (N, K, 2) float32 x, y in pixels, or None.
        masks: (N, height, width) bool, or None.

    Raises:
        ShapeMismatch: the arrays do not belong together.
    """

    boxes: Floats
    scores: Floats
    class_ids: NDArray[np.int32]
    labels: tuple[str, ...] = ()
    keypoints: Floats | None = None
    masks: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        _check("boxes", self.boxes, (count, 4), np.float32)
        _check("scores", self.scores, (count,), np.float32)
        _check("class_ids", self.class_ids, (count,), np.int32)
        if self.labels and len(self.labels) != count:
            raise ShapeMismatch(name="labels", expected=(count,), seen=(len(self.labels),))
        if self.keypoints is not None:
            _check("keypoints", self.keypoints, (count, *self.keypoints.shape[1:2], 2), np.float32)
        if self.masks is not None:
            _check("masks", self.masks, (count, *self.masks.shape[1:3]), np.bool_)

    @classmethod
    def of(
        cls, boxes: ArrayLike, scores: ArrayLike, class_ids: ArrayLike, keypoints: ArrayLike | None = None
    ) -> Detections:
        """From anything array-like, converted to the types above; empty lists are fine."""
        return cls(
            np.asarray(boxes, np.float32).reshape(-1, 4),
            np.asarray(scores, np.float32),
            np.asarray(class_ids, np.int32),
            keypoints=None if keypoints is None else np.asarray(keypoints, np.float32),
        )

    @classmethod
    def none(cls) -> Detections:
        """Nothing found."""
        return cls.of([], [], [])

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Detections:
        """Those that an index array, or a boolean array, picks."""
        chosen = np.arange(len(self))[index]
        return Detections(
            self.boxes[chosen],
            self.scores[chosen],
            self.class_ids[chosen],
            tuple(self.labels[i] for i in chosen) if self.labels else (),
            None if self.keypoints is None else self.keypoints[chosen],
            None if self.masks is None else self.masks[chosen],
        )

    def with_labels(self, names: Sequence[str]) -> Detections:
        """The same with the name of each object's class; a class beyond ``names`` is called ``class 17``."""
        return replace(self, labels=tuple(name_of(int(i), names) for i in self.class_ids))

    def to_list(self) -> list[dict[str, Any]]:
        """One JSON-serialisable object per detection."""
        return [self._item(i) for i in range(len(self))]

    def _item(self, i: int) -> dict[str, Any]:
        item: dict[str, Any] = {
            "class_id": int(self.class_ids[i]),
            "score": round(float(self.scores[i]), 4),
            "box": [round(float(v), 2) for v in self.boxes[i]],
        }
        if self.labels:
            item = {"label": self.labels[i], **item}
        if self.keypoints is not None:
            item["keypoints"] = [[round(float(v), 2) for v in point] for point in self.keypoints[i]]
        return item


def name_of(class_id: int, names: Sequence[str]) -> str:
    """The name of a class, or ``class 17`` where there is none."""
    return names[class_id] if 0 <= class_id < len(names) else f"class {class_id}"


def _check(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    if array.shape != shape:
        raise ShapeMismatch(name=name, expected=shape, seen=array.shape)
    if array.dtype != dtype:
        raise ShapeMismatch(name=name, expected=shape, seen=array.shape, detail=f"{array.dtype}, not {dtype.__name__}")
