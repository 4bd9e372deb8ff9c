"""Classification: the few best classes of a vector of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.boxes import Floats
from openhailo.vision.decode.maps import sigmoid, softmax
from openhailo.vision.detections import name_of


@dataclass(frozen=True, slots=True)
class ClassifyConfig:
    """How to read the vector.

    Attributes:
        classes: results wanted, names of which start at ``offset`` of the vector.
        activation: ``softmax``, ``sigmoid``, or ``none`` where the network applies it.
        top: how many results, at most.
        offset: leading entries that are no class (1 where 0 is the background).
    """

    classes: int
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    top: int = 5
    offset: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The best classes, best first: (K,) int32 ids, (K,) float32 scores, and K names or none."""

    class_ids: NDArray[np.int32]
    scores: Floats
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.class_ids)

    def with_labels(self, names: Sequence[str]) -> Classification:
        """The same with names; a class beyond ``names`` is called ``class 17``."""
        return replace(self, labels=tuple(name_of(int(i), names) for i in self.class_ids))

    def to_list(self) -> list[dict[str, Any]]:
        """One JSON-serialisable object per class."""
        items = [
            {"class_id": int(class_id), "score": round(float(score), 4)}
            for class_id, score in zip(self.class_ids, self.scores, strict=True)
        ]
        if not self.labels:
            return items
        return [{"label": label, **item} for label, item in zip(self.labels, items, strict=True)]


@np.errstate(over="ignore", invalid="ignore")
def decode_classification(outputs: Sequence[NDArray[Any]], config: ClassifyConfig) -> Classification:
    """One output of ``offset + classes`` values, of whatever shape.

    Raises:
        ShapeMismatch: another number of outputs or values.
    """
    wanted = config.offset + config.classes
    if len(outputs) != 1 or outputs[0].size != wanted:
        seen = tuple(array.size for array in outputs)
        raise ShapeMismatch(name="class scores", expected=(wanted,), seen=seen, detail="values of one output")
    values = outputs[0].reshape(-1).astype(np.float32, copy=False)
    if config.activation == "softmax":
        values = softmax(values)
    elif config.activation == "sigmoid":
        values = sigmoid(values)
    values = values[config.offset :]
    best = np.argsort(-values, kind="stable")[: config.top]
    return Classification(best.astype(np.int32), values[best])
