"""SSD: boxes as corrections of fixed priors, classes with or without a background.

With prior ``(cx, cy, w, h)``, correction ``(x, y, w, h)`` and variances ``(v, u)``:
``centre = prior centre + x * v * prior size``, ``size = prior size * exp(w * u)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats, cxcywh_to_xyxy
from openhailo.vision.decode.maps import as_map, exp, raw_threshold, sigmoid, softmax
from openhailo.vision.decode.suppress import DEFAULT_SUPPRESSION, Candidates, Suppression, suppress
from openhailo.vision.detections import Detections


@dataclass(frozen=True, slots=True, eq=False)
class SsdConfig:
    """How to read the maps.

    Attributes:
        input_size: height and width.
        priors: (N, 4) centre and size in 0..1 of the input, in the order of the maps' cells (rows, columns, anchors).
        classes: without the background.
        background: whether class 0 of the maps is the background, which is dropped from the ids.
        activation: of the classes: ``softmax``, ``sigmoid``, or ``none`` where the network applies it.
        box_order: ``xywh``, or ``yxhw`` as TensorFlow's models have it.
        variances: of centre and size.
    """

    input_size: tuple[int, int]
    priors: Floats
    classes: int
    background: bool = True
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    box_order: Literal["xywh", "yxhw"] = "xywh"
    variances: tuple[float, float] = (0.1, 0.2)
    suppression: Suppression = DEFAULT_SUPPRESSION


def ssd_priors(
    grids: Sequence[tuple[int, int]],
    *,
    scales: tuple[float, float] = (0.2, 0.95),
    ratios: Sequence[float] = (1.0, 2.0, 0.5, 3.0, 1 / 3),
    reduced_first: bool = True,
) -> Floats:
    """The priors of TensorFlow's SSD anchor generator: (N, 4) centre and size in 0..1.

    Scales rise evenly over the levels.  Each cell has one box per ratio, and one more of ratio 1 between this scale
    and the next; the first level has three (half the least scale at ratio 1, then 2 and 1/2) if ``reduced_first``.

    Args:
        grids: (rows, columns) of each level.
        scales: least and largest, relative to the input.
        ratios: width to height.
        reduced_first: see above.
    """
    steps = [*np.linspace(*scales, len(grids)).tolist(), 1.0]
    levels = []
    for i, (rows, columns) in enumerate(grids):
        shapes = [(steps[i], ratio) for ratio in ratios] + [(float(np.sqrt(steps[i] * steps[i + 1])), 1.0)]
        if i == 0 and reduced_first:
            shapes = [(0.1, 1.0), (steps[0], 2.0), (steps[0], 0.5)]
        size = np.array([(scale * ratio**0.5, scale / ratio**0.5) for scale, ratio in shapes], np.float32)
        y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
        centre = np.stack([x, y], axis=-1).astype(np.float32).reshape(-1, 1, 2)
        cells = np.broadcast_to(centre, (rows * columns, len(size), 2))
        levels.append(np.concatenate([cells, np.broadcast_to(size, cells.shape)], axis=2).reshape(-1, 4))
    return np.concatenate(levels)


@np.errstate(over="ignore", invalid="ignore")
def decode_ssd(boxes: Sequence[NDArray[Any]], classes: Sequence[NDArray[Any]], config: SsdConfig) -> Detections:
    """Maps of corrections (H, W, anchors * 4) and of classes (H, W, anchors * C), each in the order of the priors.

    Raises:
        ShapeMismatch: the maps do not add up to the priors.
    """
    columns = config.classes + config.background
    corrections = _rows(boxes, 4, config, "boxes")
    scores = _rows(classes, columns, config, "classes")
    index, class_ids, best = _above(scores, config)
    geometry = _apply(corrections[index], config.priors[index], config)
    height, width = config.input_size
    geometry *= np.array([width, height, width, height], np.float32)
    return suppress(Candidates(cxcywh_to_xyxy(geometry), best, class_ids), config.suppression, config.input_size)


def _rows(maps: Sequence[NDArray[Any]], columns: int, config: SsdConfig, name: str) -> Floats:
    """Maps of all levels as (N, columns), one row per prior."""
    parts = []
    for array in maps:
        found = as_map(array, name)
        if found.shape[2] % columns:
            raise ShapeMismatch(
                name=name, expected=(*found.shape[:2], columns), seen=found.shape, detail="or multiples"
            )
        parts.append(found.reshape(-1, columns))
    rows = np.concatenate(parts) if parts else np.empty((0, columns), np.float32)
    if len(rows) != len(config.priors):
        raise ShapeMismatch(name=name, expected=(len(config.priors), columns), seen=rows.shape)
    return rows


def _above(scores: Floats, config: SsdConfig) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Priors whose best class passes: index, class without background, score."""
    first = int(config.background)
    if config.activation == "softmax":
        scores = softmax(scores)
    best = scores[:, first:].max(axis=1)
    index = np.flatnonzero(best >= raw_threshold(config.suppression.score, config.activation != "sigmoid"))
    value = sigmoid(best[index]) if config.activation == "sigmoid" else best[index]
    return index, scores[index, first:].argmax(axis=1), value


def _apply(corrections: Floats, priors: Floats, config: SsdConfig) -> Floats:
    """Corrected priors: (N, 4) centre and size in 0..1."""
    if config.box_order == "yxhw":
        corrections = corrections[:, [1, 0, 3, 2]]
    centre = priors[:, :2] + corrections[:, :2] * config.variances[0] * priors[:, 2:]
    size = priors[:, 2:] * exp(corrections[:, 2:] * config.variances[1])
    return np.concatenate([centre, size], axis=1)
