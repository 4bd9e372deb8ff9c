"""A task: how a picture becomes a network's input, and its outputs a result.

A task knows nothing of devices: whatever takes an array and returns a dictionary of arrays can stand between its two
halves, be it a network on a device or ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import ShapeMismatch
from openhailo.vision.decode import (
    CenterNetConfig,
    Classification,
    ClassifyConfig,
    SsdConfig,
    SuppressedConfig,
    YoloAnchorConfig,
    Yolov8Config,
    YoloxConfig,
    decode_centernet,
    decode_classification,
    decode_ssd,
    decode_suppressed,
    decode_yolo_anchor,
    decode_yolov8,
    decode_yolox,
)
from openhailo.vision.detections import Detections
from openhailo.vision.draw import draw_classification, draw_detections
from openhailo.vision.resize import LETTERBOX_FILL, Image, Placement, centre_crop, letterbox, stretch

Result = Detections | Classification
Decoder = (
    YoloAnchorConfig | Yolov8Config | YoloxConfig | SsdConfig | CenterNetConfig | ClassifyConfig | SuppressedConfig
)
Infer = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]]
"""(1, height, width, 3) uint8 in; outputs by name as dequantized float32 of one frame, channels last, out."""


class Tensor(Protocol):
    """What a task needs to know of an input or output."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame."""

    @property
    def order(self) -> Enum:
        """Of its elements."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture is brought to the network's size.

    Attributes:
        input_size: height and width.
        fit: ``letterbox`` keeps the aspect ratio and pads, ``stretch`` does not keep it, ``crop`` cuts the middle.
        fill: grey of the padding.
        coverage: part of each side that a letterboxed picture takes at most.
        fraction: part of the largest centred crop that is used.
        color: order of the channels the network takes.
    """

    input_size: tuple[int, int]
    fit: Literal["letterbox", "stretch", "crop"] = "letterbox"
    fill: int = LETTERBOX_FILL
    coverage: float = 1.0
    fraction: float = 1.0
    color: Literal["rgb", "bgr"] = "rgb"

    def apply(self, image: Image) -> tuple[Image, Placement]:
        """The (height, width, 3) input and where the picture lies in it."""
        height, width = self.input_size
        if self.fit == "letterbox":
            placed, placement = letterbox(image, height, width, fill=self.fill, coverage=self.coverage)
        elif self.fit == "stretch":
            placed, placement = stretch(image, height, width)
        else:
            placed, placement = centre_crop(image, height, width, fraction=self.fraction)
        return (np.ascontiguousarray(placed[..., ::-1]) if self.color == "bgr" else placed), placement


@dataclass(frozen=True, slots=True)
class Task:
    """Both halves of a job: before and after the network.

    Attributes:
        name: for messages and records.
        preprocessing: the first half.
        decoder: the second half: the config of one of the decoders of ``openhailo.vision.decode``.
        labels: names of the classes, or empty.
        outputs: names in the decoder's order; needed by CenterNet (heatmap, size, offset, landmarks) and SSD (all box
            maps, then all class maps).  A device's name may have a prefix that ends in ``/``.
    """

    name: str
    preprocessing: Preprocessing
    decoder: Decoder
    labels: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def preprocess(self, image: Image) -> tuple[NDArray[np.uint8], Placement]:
        """The (1, height, width, 3) uint8 input and where the picture lies in it.

        Raises:
            InputError: no RGB picture.
        """
        placed, placement = self.preprocessing.apply(image)
        return placed[None], placement

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], placement: Placement) -> Result:
        """The result in the picture's pixels, with labels.

        Raises:
            ShapeMismatch: outputs are missing or of other shapes than the decoder takes.
        """
        result = decode(self._ordered(outputs), self.decoder)
        if self.labels:
            result = result.with_labels(self.labels)
        return result if isinstance(result, Classification) else to_source(result, placement)

    def run(self, image: Image, infer: Infer) -> Result:
        """Preprocess, infer, postprocess one picture."""
        array, placement = self.preprocess(image)
        return self.postprocess(infer(array), placement)

    def _ordered(self, outputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs in the decoder's order."""
        if not self.outputs:
            return list(outputs.values())
        by_name = {name.rpartition("/")[2]: array for name, array in outputs.items()} | dict(outputs)
        missing = [name for name in self.outputs if name not in by_name]
        if missing:
            detail = f"missing {', '.join(missing)}; there are {', '.join(outputs)}"
            raise ShapeMismatch(name="outputs", expected=(len(self.outputs),), seen=(len(outputs),), detail=detail)
        return [by_name[name] for name in self.outputs]


def boxes_task(inputs: Sequence[Tensor], outputs: Sequence[Tensor], labels: Sequence[str] = ()) -> Task | None:
    """The task of a network that takes one RGB picture and whose only output is boxes; None for any other."""
    if len(inputs) != 1 or len(outputs) != 1 or not outputs[0].order.name.startswith("HAILO_NMS"):
        return None
    shape = inputs[0].shape
    if len(shape) != 3 or shape[2] != 3:
        return None
    size = (shape[0], shape[1])
    return Task("boxes", Preprocessing(size), SuppressedConfig(size), tuple(labels))


def _decode_ssd(outputs: Sequence[NDArray[Any]], config: SsdConfig) -> Detections:
    half = len(outputs) // 2
    return decode_ssd(outputs[:half], outputs[half:], config)


_DECODERS: Mapping[type[Any], Callable[[Sequence[Any], Any], Result]] = {
    YoloAnchorConfig: decode_yolo_anchor,
    Yolov8Config: decode_yolov8,
    YoloxConfig: decode_yolox,
    CenterNetConfig: decode_centernet,
    SsdConfig: _decode_ssd,
    ClassifyConfig: decode_classification,
    SuppressedConfig: decode_suppressed,
}


def decode(outputs: Sequence[NDArray[Any]], config: Decoder) -> Result:
    """Call the decoder that the config belongs to.

    Raises:
        ShapeMismatch: the outputs are not what it takes.
    """
    return _DECODERS[type(config)](outputs, config)


def to_source(detections: Detections, placement: Placement) -> Detections:
    """Boxes and keypoints from the network's input to the picture."""
    keypoints = detections.keypoints
    return replace(
        detections,
        boxes=placement.boxes_to_source(detections.boxes),
        keypoints=None if keypoints is None else placement.to_source(keypoints),
    )


def draw(image: Image, result: Result) -> Image:
    """The picture with the result on it."""
    if isinstance(result, Classification):
        return draw_classification(image, result)
    return draw_detections(image, result)
