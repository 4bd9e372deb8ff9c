"""Work that the host does behind the chip: pads, box decoding, suppression, logits (hef.md 5 and 13).

Field names are those of the schema. A decoder's ``*_pad_index`` names an output pad of the core op, not an input of
its own op (hef.md 13).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .enums import LogitsType, PadDataType, PadFormatOrder, PadFormatType
from .layers import QuantInfo


@dataclass(frozen=True)
class YoloBboxDecoder:
    """Anchors ``w``, ``h`` in pixels of the layer at ``pad_index``."""

    h: tuple[int, ...] = ()
    w: tuple[int, ...] = ()
    stride: int = 0
    pad_index: int = 0


@dataclass(frozen=True)
class YoloNmsOp:
    """YOLOv3/v4/v5 boxes from anchors."""

    image_height: float = 0.0
    image_width: float = 0.0
    input_division_factor: int = 0
    bbox_decoders: tuple[YoloBboxDecoder, ...] = field(default=(), metadata={"of": YoloBboxDecoder})


@dataclass(frozen=True)
class YoloxBboxDecoder:
    """The three layers of one YOLOX scale."""

    stride: int = 0
    reg_pad_index: int = 0
    cls_pad_index: int = 0
    obj_pad_index: int = 0


@dataclass(frozen=True)
class YoloxNmsOp:
    """YOLOX boxes."""

    image_height: float = 0.0
    image_width: float = 0.0
    bbox_decoders: tuple[YoloxBboxDecoder, ...] = field(default=(), metadata={"of": YoloxBboxDecoder})


@dataclass(frozen=True)
class SsdBboxDecoder:
    """Anchors of one SSD scale, relative to the image."""

    h: tuple[float, ...] = ()
    w: tuple[float, ...] = ()
    reg_pad_index: int = 0
    cls_pad_index: int = 0


@dataclass(frozen=True)
class SsdNmsOp:
    """SSD boxes; ``ty``, ``tx``, ``th``, ``tw`` are places in a regression entry, all zero means 0, 1, 2, 3."""

    image_height: float = 0.0
    image_width: float = 0.0
    centers_scale_factor: int = 0
    bbox_dimensions_scale_factor: int = 0
    ty: int = 0
    tx: int = 0
    th: int = 0
    tw: int = 0
    bbox_decoders: tuple[SsdBboxDecoder, ...] = field(default=(), metadata={"of": SsdBboxDecoder})


@dataclass(frozen=True)
class IouNmsOp:
    """Suppression only: the boxes come sorted out by the chip."""


@dataclass(frozen=True)
class YoloSegProtoInfo:
    """The layer of mask prototypes."""

    number: int = 0
    stride: int = 0
    proto_layer: str = ""


@dataclass(frozen=True)
class YoloSegNmsOp:
    """YOLOv5 boxes with instance masks."""

    image_height: float = 0.0
    image_width: float = 0.0
    bbox_decoders: tuple[YoloBboxDecoder, ...] = field(default=(), metadata={"of": YoloBboxDecoder})
    proto_info: YoloSegProtoInfo | None = field(default=None, metadata={"of": YoloSegProtoInfo})
    mask_threshold: float = 0.0


@dataclass(frozen=True)
class Yolov8BboxDecoder:
    """The two layers of one YOLOv8 scale."""

    stride: int = 0
    reg_pad_index: int = 0
    cls_pad_index: int = 0


@dataclass(frozen=True)
class Yolov8NmsOp:
    """YOLOv8 boxes from distributions of ``regression_length`` values per side."""

    image_height: float = 0.0
    image_width: float = 0.0
    input_division_factor: int = 0
    bbox_decoders: tuple[Yolov8BboxDecoder, ...] = field(default=(), metadata={"of": Yolov8BboxDecoder})
    regression_length: int = 0


NmsMethod = YoloNmsOp | YoloxNmsOp | SsdNmsOp | IouNmsOp | YoloSegNmsOp | Yolov8NmsOp


@dataclass(frozen=True)
class NmsOp:
    """Box decoding and non-maximum suppression on the host; ``classes`` counts a background class too."""

    nms_score_th: float = 0.0
    nms_iou_th: float = 0.0
    max_proposals_per_class: int = 0
    classes: int = 0
    background_removal: bool = False
    background_removal_index: int = 0
    bbox_decoding_only: bool = False
    method: NmsMethod | None = None

    @property
    def output_classes(self) -> int:
        """Classes of the result: without the background class where that is removed (hef.md 13)."""
        return self.classes - int(self.background_removal)


@dataclass(frozen=True)
class LogitsOp:
    """Argmax or softmax on the host."""

    logits_type: LogitsType = field(default=LogitsType.ARGMAX, metadata={"of": LogitsType})


@dataclass(frozen=True)
class TensorShape:
    """Shape of a pad that carries a tensor."""

    height: int = 0
    padded_height: int = 0
    width: int = 0
    padded_width: int = 0
    features: int = 0
    padded_features: int = 0


@dataclass(frozen=True)
class NmsShape:
    """Shape of a pad that carries boxes."""

    number_of_classes: int = 0
    max_bboxes_per_class: int = 0
    bbox_size: int = 0
    division_factor: int = 0


@dataclass(frozen=True)
class Pad:
    """An input or output of an op; ``index`` is unique in the network group."""

    index: int = 0
    name: str = ""
    format_order: PadFormatOrder = field(default=PadFormatOrder.AUTO, metadata={"of": PadFormatOrder})
    data_bytes: PadDataType = field(default=PadDataType.UINT8, metadata={"of": PadDataType})
    format_type: PadFormatType = field(default=PadFormatType.AUTO, metadata={"of": PadFormatType})
    numeric_info: QuantInfo | None = field(default=None, metadata={"of": QuantInfo})
    tensor_shape: TensorShape | None = field(default=None, metadata={"of": TensorShape})
    nms_shape: NmsShape | None = field(default=None, metadata={"of": NmsShape})


@dataclass(frozen=True)
class PadEdge:
    """A wire from an output pad of the core op (``src``) to an input pad of another op (``dst``)."""

    src: int = 0
    dst: int = 0
