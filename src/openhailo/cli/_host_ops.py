"""Host operations on the command line: options of `openhailo compile`, facts for `openhailo inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openhailo.errors import InputError

if TYPE_CHECKING:
    from openhailo.compiler.host_ops.request import Nms
    from openhailo.hef.model import NetworkGroup, VStream


class Family(StrEnum):
    """How maps become boxes."""

    YOLOV5 = "yolov5"
    YOLOV5_SEG = "yolov5-seg"
    YOLOX = "yolox"
    YOLOV8 = "yolov8"
    SSD = "ssd"


NmsOption = Annotated[Family | None, typer.Option("--nms", help="Find boxes on the host; needs --classes.")]
ClassesOption = Annotated[int | None, typer.Option("--classes", help="Classes in the maps.")]
ScoreOption = Annotated[float | None, typer.Option("--score-threshold", help="Least score of a box [0.25].")]
IouOption = Annotated[float | None, typer.Option("--iou-threshold", help="Overlap that suppresses [0.45].")]
LimitOption = Annotated[int | None, typer.Option("--max-per-class", help="Most boxes of a class [100].")]
OutputsOption = Annotated[
    list[str] | None,
    typer.Option("--nms-outputs", help="Tensor to read, where shapes do not tell."),
]
AnchorsOption = Annotated[
    str | None,
    typer.Option("--anchors", help="w,h,...;w,h,... by level, lowest stride first."),
]
BinsOption = Annotated[int | None, typer.Option("--regression-length", help="YOLOv8: values per side [16].")]
BackgroundOption = Annotated[bool | None, typer.Option("--background", help="Class 0 of the maps is no result.")]
DecodingOption = Annotated[bool | None, typer.Option("--decoding-only", help="Every box, nothing suppressed.")]
SoftmaxOption = Annotated[
    list[str] | None,
    typer.Option("--softmax", help="Output (or `all`) whose softmax the host does."),
]
ArgmaxOption = Annotated[
    list[str] | None,
    typer.Option("--argmax", help="Output (or `all`) whose argmax the host does."),
]


#: Options that are fields of `openhailo.compiler.host_ops.request.Nms` by the same name.
_FIELDS = (
    "score_threshold",
    "iou_threshold",
    "max_per_class",
    "anchors",
    "regression_length",
    "background",
    "decoding_only",
)


def nms_of(options: SimpleNamespace) -> Nms | None:
    """Return what the options of the command ask for. Raises `InputError` for some that make no sense together."""
    from openhailo.compiler.host_ops.request import Nms

    given = {name: value for name in _FIELDS if (value := getattr(options, name)) is not None}
    if options.nms_outputs:
        given["outputs"] = tuple(options.nms_outputs)
    if options.nms is None:
        if given or options.classes is not None:
            names = ", ".join(sorted([*given, *([] if options.classes is None else ["classes"])]))
            raise InputError(what="--nms", detail=f"the family of boxes is needed by: {names}")
        return None
    if options.classes is None:
        raise InputError(what="--classes", detail=f"--nms {options.nms.value} needs the number of classes")
    if "anchors" in given:
        given["anchors"] = parse_anchors(given["anchors"])
    return Nms(options.nms.value, options.classes, **given)


def parse_anchors(text: str) -> Sequence[Sequence[float]]:
    """Parse ``10,13,16,30;30,61,62,45``. Raises `InputError`."""
    try:
        return tuple(tuple(float(size) for size in level.split(",")) for level in text.split(";"))
    except ValueError as error:
        raise InputError(what="--anchors", detail=f"{text!r} is not of the form w,h,w,h;w,h,w,h") from error


_METHODS = {
    "YoloNmsOp": "YOLOv5",
    "YoloSegNmsOp": "YOLOv5-seg",
    "YoloxNmsOp": "YOLOX",
    "Yolov8NmsOp": "YOLOv8",
    "SsdNmsOp": "SSD",
    "IouNmsOp": "IOU",
}


def op_facts(group: NetworkGroup, vstream: VStream) -> dict[str, Any]:
    """Describe the host op behind an output, for a table."""
    from openhailo.hef.ops import LogitsOp, NmsOp

    assert vstream.op is not None, "the caller asked"
    body = vstream.op.body
    facts: dict[str, Any] = {"group": group.name, "output": vstream.name, "kind": ""}
    facts |= dict.fromkeys(("classes", "score", "IoU", "per class"), "")
    if isinstance(body, LogitsOp):
        facts["kind"] = body.logits_type.name.lower()
    elif isinstance(body, NmsOp):
        kind = _METHODS.get(type(body.method).__name__, "unknown")
        facts["kind"] = f"{kind} boxes" if body.bbox_decoding_only else f"{kind} NMS"
        facts |= {"classes": body.output_classes, "score": body.nms_score_th, "IoU": body.nms_iou_th}
        facts["per class"] = body.max_proposals_per_class
    return {**facts, "reads": ", ".join(vstream.streams)}


def gives_real_numbers(vstream: VStream) -> bool:
    """Whether a host op makes float32 of whatever the device sends: all but argmax do (runtime-behaviour.md 14)."""
    from openhailo.hef.enums import LogitsType
    from openhailo.hef.ops import LogitsOp

    body = vstream.op.body if vstream.op else None
    return body is not None and not (isinstance(body, LogitsOp) and body.logits_type is LogitsType.ARGMAX)
