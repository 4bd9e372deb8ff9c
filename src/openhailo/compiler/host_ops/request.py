"""What a compilation is told about boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from openhailo.errors import InputError

Family = Literal["yolov5", "yolov5-seg", "yolox", "yolov8", "ssd"]
FAMILIES: Final[tuple[Family, ...]] = ("yolov5", "yolov5-seg", "yolox", "yolov8", "ssd")
Activation = Literal["auto", "sigmoid", "none"]
ACTIVATIONS: Final[tuple[Activation, ...]] = ("auto", "sigmoid", "none")
#: Coefficients of a mask, and prototypes (hef.md 13).
MASKS: Final = 32
MAX_CLASSES: Final = 10_000
#: Widths and heights in pixels, by level, lowest stride first: those that YOLOv5 models are published with.
YOLOV5_ANCHORS: Final = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))

#: Roles whose numbers have to be probabilities when they leave the chip; other families do without, or on the host.
ACTIVATED: Final[Mapping[Family, frozenset[str]]] = {
    "yolov5": frozenset({"out"}),
    "yolov5-seg": frozenset(),
    "yolox": frozenset({"obj", "cls"}),
    "yolov8": frozenset({"cls"}),
    "ssd": frozenset(),
}


@dataclass(frozen=True)
class Nms:
    """Boxes of one family, found and suppressed on the host.

    Attributes:
        family: how maps are read: "yolov5", "yolov5-seg", "yolox", "yolov8" or "ssd".
        classes: in the maps; with ``background`` that one too.
        score_threshold: least score of a box.
        iou_threshold: overlap from which on the worse box goes.
        max_per_class: most boxes of a class.
        outputs: tensors to read, where they are not found by their shapes.
        anchors: per level, lowest stride first, width and height in turn: pixels, for SSD fractions of the image.
        regression_length: values per side of a YOLOv8 box.
        background: whether class 0 is no result.
        decoding_only: give every box, suppress nothing (YOLOv5 and YOLOv8).
        activation: "sigmoid" puts one behind the tensors that need it, "auto" where there is none yet.
        mask_threshold: probability from which on a pixel belongs to an object.
        centers_scale, sizes_scale: what SSD divides its corrections by.
        name: of the output; by default the family's.
    """

    family: Family
    classes: int
    score_threshold: float = 0.25
    iou_threshold: float = 0.45
    max_per_class: int = 100
    outputs: Sequence[str] = ()
    anchors: Sequence[Sequence[float]] = ()
    regression_length: int = 16
    background: bool = False
    decoding_only: bool = False
    activation: Activation = "auto"
    mask_threshold: float = 0.5
    centers_scale: int = 10
    sizes_scale: int = 5
    name: str = ""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InputError(what="nms", detail=f"{self.family!r} is none of {', '.join(FAMILIES)}")
        if self.activation not in ACTIVATIONS:
            raise InputError(what="nms activation", detail=f"{self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        self._check_numbers()
        if self.decoding_only and self.family not in ("yolov5", "yolov8"):
            raise InputError(what="nms", detail=f"{self.family} cannot do without suppression; yolov5 and yolov8 can")
        object.__setattr__(self, "anchors", self._checked_anchors())
        object.__setattr__(self, "outputs", tuple(self.outputs))

    def _check_numbers(self) -> None:
        if not 1 + self.background <= self.classes <= MAX_CLASSES:
            detail = f"{self.classes}, with the background; 1 to {MAX_CLASSES} are possible"
            raise InputError(what="classes", detail=detail)
        whole = {
            "max_per_class": self.max_per_class,
            "regression_length": self.regression_length,
            "centers_scale": self.centers_scale,
            "sizes_scale": self.sizes_scale,
        }
        for name, value in whole.items():
            if value < 1:
                raise InputError(what=name, detail=f"{value} is below 1")
        for name, number in (
            ("score_threshold", self.score_threshold),
            ("iou_threshold", self.iou_threshold),
            ("mask_threshold", self.mask_threshold),
        ):
            if not 0 <= number <= 1:
                raise InputError(what=name, detail=f"{number} is not in 0..1")

    def _checked_anchors(self) -> tuple[tuple[float, ...], ...]:
        anchors = tuple(tuple(level) for level in self.anchors)
        if not anchors and self.family in ("yolov5", "yolov5-seg"):
            anchors = YOLOV5_ANCHORS
        if self.family == "ssd" and not anchors:
            raise InputError(what="anchors", detail="ssd needs them: width,height,... of each level, as fractions")
        for level in anchors:
            if not level or len(level) % 2 or not all(0 < size < math.inf for size in level):
                raise InputError(what="anchors", detail=f"{list(level)} is not width,height,... above 0")
            if self.family != "ssd" and any(size != int(size) for size in level):
                raise InputError(what="anchors", detail=f"{list(level)} must be whole pixels")
        return anchors

    def roles(self, level: int) -> dict[str, int]:
        """Return what a level consists of, role to channels."""
        count = len(self.anchors[min(level, len(self.anchors) - 1)]) // 2 if self.anchors else 0
        match self.family:
            case "yolov5":
                return {"out": count * (5 + self.classes)}
            case "yolov5-seg":
                return {"out": count * (5 + self.classes + MASKS)}
            case "yolox":
                return {"reg": 4, "obj": 1, "cls": self.classes}
            case "yolov8":
                return {"reg": 4 * self.regression_length, "cls": self.classes}
            case "ssd":
                return {"reg": 4 * count, "cls": count * self.classes}

    @property
    def output_name(self) -> str:
        """Name of the output, without the network's."""
        return self.name or f"{self.family.replace('-', '_')}_nms_postprocess"
