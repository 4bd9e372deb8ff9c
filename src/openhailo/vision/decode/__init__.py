"""Network outputs -> results.

Each decoder is a function ``decode_*(outputs, config) -> Detections`` (or ``Classification``).  ``outputs`` are the
dequantized float32 maps of one frame, (height, width, channels) with or without a leading axis of 1, in any order of
levels: a map belongs to the stride that its grid shows.  Coordinates are pixels of the network's input;
``Placement.boxes_to_source`` brings them to the picture.

The work is proportional to the cells above the threshold: scores are compared as logits, and only what passes is
decoded.
"""

from openhailo.vision.decode.centernet import CenterNetConfig, centerface_config, decode_centernet
from openhailo.vision.decode.classify import Classification, ClassifyConfig, decode_classification
from openhailo.vision.decode.ssd import SsdConfig, decode_ssd, ssd_priors
from openhailo.vision.decode.suppress import Suppression
from openhailo.vision.decode.suppressed import SuppressedConfig, decode_suppressed
from openhailo.vision.decode.yolo_anchor import AnchorLevel, YoloAnchorConfig, decode_yolo_anchor
from openhailo.vision.decode.yolov8 import Yolov8Config, decode_yolov8
from openhailo.vision.decode.yolox import YoloxConfig, decode_yolox

__all__ = [
    "AnchorLevel",
    "CenterNetConfig",
    "Classification",
    "ClassifyConfig",
    "SsdConfig",
    "SuppressedConfig",
    "Suppression",
    "YoloAnchorConfig",
    "Yolov8Config",
    "YoloxConfig",
    "centerface_config",
    "decode_centernet",
    "decode_classification",
    "decode_ssd",
    "decode_suppressed",
    "decode_yolo_anchor",
    "decode_yolov8",
    "decode_yolox",
    "ssd_priors",
]
