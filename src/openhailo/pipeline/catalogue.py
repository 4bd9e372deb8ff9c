"""The demo models and photos: what they are, where their files are, how their outputs are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from openhailo.pipeline.assets import ASSETS
from openhailo.pipeline.tasks import Decoder, Preprocessing
from openhailo.vision.decode import (
    AnchorLevel,
    ClassifyConfig,
    Suppression,
    YoloAnchorConfig,
    centerface_config,
)


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One model of the catalogue.

    Attributes:
        name: what users call it.
        summary: one line for lists.
        form: how its files become an ONNX model.
        files: role -> name of the asset.
        preprocessing, decoder, outputs: as in ``Task``.
        labels: names of the classes, or the name of the asset that lists them.
        mean, std: what the network expects is ``(value - mean) / std`` of 0..255.
    """

    name: str
    summary: str
    form: Literal["darknet", "onnx", "efficientnet-lite0"]
    files: Mapping[str, str]
    preprocessing: Preprocessing
    decoder: Decoder
    labels: tuple[str, ...] | str
    mean: float
    std: float
    outputs: tuple[str, ...] = ()

    @property
    def licence(self) -> str:
        """Licences of its files, as their packages state them."""
        return "; ".join(dict.fromkeys(ASSETS[name].licence for name in self.files.values()))


@dataclass(frozen=True, slots=True)
class DemoPhoto:
    """One photo, and what a good detector of the catalogue finds in it."""

    name: str
    asset: str
    shows: str

    @property
    def licence(self) -> str:
        """Its licence."""
        return ASSETS[self.asset].licence


_YOLO_SIZE = (416, 416)
_FACE_SIZE = (640, 640)

MODELS: Mapping[str, DemoModel] = MappingProxyType(
    {
        "yolov3-tiny": DemoModel(
            name="yolov3-tiny",
            summary="80 kinds of everyday objects (COCO), 416x416, 8.9 M parameters",
            form="darknet",
            files={"cfg": "yolov3-tiny.cfg", "weights": "yolov3-tiny.weights"},
            # Objects that fill its whole input are larger than any the network knows: at full size it sees neither the
            # astronaut nor the cat. Half size serves close-ups; give distant scenes `coverage=1`.
            preprocessing=Preprocessing(_YOLO_SIZE, fill=127, coverage=0.5),
            decoder=YoloAnchorConfig(
                _YOLO_SIZE,
                (
                    AnchorLevel(32, ((81, 82), (135, 169), (344, 319))),
                    AnchorLevel(16, ((10, 14), (23, 27), (37, 58))),
                ),
                classes=80,
                version="v3",
                suppression=Suppression(score=0.4, iou=0.45),
            ),
            labels="coco.names",
            mean=0.0,
            std=255.0,
        ),
        "centerface": DemoModel(
            name="centerface",
            summary="faces with five landmarks, 640x640, 1.8 M parameters",
            form="onnx",
            files={"model": "centerface.onnx"},
            preprocessing=Preprocessing(_FACE_SIZE, fill=0),
            decoder=centerface_config(_FACE_SIZE, Suppression(score=0.5, iou=0.3)),
            labels=("face",),
            mean=0.0,
            std=1.0,
            outputs=("heatmap", "size", "offset", "landmarks"),
        ),
        "efficientnet-lite0": DemoModel(
            name="efficientnet-lite0",
            summary="1000 classes of ImageNet, 224x224, 4.7 M parameters",
            form="efficientnet-lite0",
            files={"checkpoint": "efficientnet-lite0.pth"},
            preprocessing=Preprocessing((224, 224), fit="crop", fraction=0.875),
            decoder=ClassifyConfig(classes=1000, activation="softmax", top=5),
            labels="imagenet.json",
            mean=127.0,
            std=128.0,
        ),
    }
)

PHOTOS: Mapping[str, DemoPhoto] = MappingProxyType(
    {
        "astronaut": DemoPhoto("astronaut", "astronaut.png", "person"),
        "chelsea": DemoPhoto("chelsea", "chelsea.png", "cat"),
        "coffee": DemoPhoto("coffee", "coffee.png", "cup"),
        "motorcycle": DemoPhoto("motorcycle", "motorcycle.png", "motorbike"),
    }
)
