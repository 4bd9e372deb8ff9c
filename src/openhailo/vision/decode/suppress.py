"""The last step of every detector: drop what overlaps, cut at the borders, make the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openhailo.vision.boxes import Floats, clip
from openhailo.vision.detections import Detections
from openhailo.vision.nms import nms


@dataclass(frozen=True, slots=True)
class Suppression:
    """Which candidates become results.

    Attributes:
        score: least score.
        iou: overlap above which the worse of two boxes goes.
        limit: most results.
        class_wise: whether only boxes of the same class suppress each other.
    """

    score: float = 0.25
    iou: float = 0.45
    limit: int = 300
    class_wise: bool = True


DEFAULT_SUPPRESSION = Suppression()


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Decoded cells before suppression: (N, 4) xyxy, (N,) scores, (N,) classes and perhaps (N, K, 2) keypoints."""

    boxes: Floats
    scores: Floats
    class_ids: NDArray[np.intp]
    keypoints: Floats | None = None


def join(levels: list[Candidates]) -> Candidates:
    """The candidates of all levels."""
    keypoints = [level.keypoints for level in levels if level.keypoints is not None]
    return Candidates(
        np.concatenate([level.boxes for level in levels]),
        np.concatenate([level.scores for level in levels]),
        np.concatenate([level.class_ids for level in levels]),
        np.concatenate(keypoints) if keypoints else None,
    )


def suppress(found: Candidates, rules: Suppression, input_size: tuple[int, int]) -> Detections:
    """Results, best first; boxes are cut at the input's borders, and those with nothing left or no number go."""
    boxes = clip(found.boxes, *input_size)
    usable = np.isfinite(found.boxes).all(axis=1) & (found.scores >= rules.score)
    usable &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    index = np.flatnonzero(usable)
    class_ids = found.class_ids[index] if rules.class_wise else None
    kept = nms(boxes[index], found.scores[index], class_ids, iou_threshold=rules.iou, max_detections=rules.limit)
    index = index[kept]
    keypoints = None if found.keypoints is None else found.keypoints[index]
    return Detections.of(boxes[index], found.scores[index], found.class_ids[index], keypoints)
