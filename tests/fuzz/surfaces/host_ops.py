"""Host ops whose descriptors lie, on frames of any content; and packed boxes that are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np

from openhailo.errors import HefError, InputError
from openhailo.hef import ops as o
from openhailo.hef.enums import LogitsType, PadFormatOrder, PadFormatType
from openhailo.runtime.formats import FormatOrder
from openhailo.runtime.host_ops import MaskedDetections, pack, unpack
from openhailo.runtime.host_ops.layouts import BOX_NUMBERS
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.surface import Surface, require
from tests.unit.runtime.host_ops import op_rig as rig

_ORDERS = (
    FormatOrder.HAILO_NMS_BY_CLASS,
    FormatOrder.HAILO_NMS_BY_SCORE,
    FormatOrder.HAILO_NMS_WITH_BYTE_MASK,
)
#: Family -> (method, its numbers, decoder, numbers of each decoder, layers).
_FAMILIES: Mapping[str, tuple[Any, dict[str, Any], Any, list[dict[str, Any]], list[list[int]]]] = {
    "yolov8": (
        o.Yolov8NmsOp,
        {"image_height": 32.0, "image_width": 32.0, "regression_length": 4},
        o.Yolov8BboxDecoder,
        [
            {"stride": 8, "reg_pad_index": 1, "cls_pad_index": 2},
            {"stride": 16, "reg_pad_index": 3, "cls_pad_index": 4},
        ],
        [[4, 4, 16], [4, 4, 3], [2, 2, 16], [2, 2, 3]],
    ),
    "yolov5": (
        o.YoloNmsOp,
        {"image_height": 32.0, "image_width": 32.0},
        o.YoloBboxDecoder,
        [{"stride": 8, "pad_index": 1, "w": [4, 9], "h": [6, 3]}],
        [[4, 4, 16]],
    ),
    "yolox": (
        o.YoloxNmsOp,
        {"image_height": 32.0, "image_width": 32.0},
        o.YoloxBboxDecoder,
        [{"stride": 8, "reg_pad_index": 1, "obj_pad_index": 2, "cls_pad_index": 3}],
        [[4, 4, 4], [4, 4, 1], [4, 4, 3]],
    ),
    "ssd": (
        o.SsdNmsOp,
        {
            "image_height": 32.0,
            "image_width": 32.0,
            "centers_scale_factor": 10,
            "bbox_dimensions_scale_factor": 5,
            **{"ty": 0, "tx": 1, "th": 2, "tw": 3},
        },
        o.SsdBboxDecoder,
        [{"reg_pad_index": 1, "cls_pad_index": 2, "w": [0.2, 0.5], "h": [0.3, 0.4]}],
        [[4, 4, 8], [4, 4, 6]],
    ),
    "yolov5-seg": (
        o.YoloSegNmsOp,
        {"image_height": 32.0, "image_width": 32.0, "mask_threshold": 0.5},
        o.YoloBboxDecoder,
        [{"stride": 8, "pad_index": 1, "w": [4], "h": [6]}],
        [[4, 4, 12], [8, 8, 4]],
    ),
    "logits": (o.LogitsOp, {}, None, [], [[3, 4, 9]]),
}
_BODY = {"nms_score_th": 0.4, "nms_iou_th": 0.5, "max_proposals_per_class": 5, "classes": 3}
_WHOLE = (0, 1, 2, 3, 4, 5, 8, 16, 31, 255, 256, 65535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)
_REAL = (0.0, -0.0, 0.5, 1.0, 1e-45, 1e-300, 32.0, 33.5, -1.0, 1e9, 3e38, 1e300, float("nan"), float("inf"))
_PACKED_SHARE = 0.2


def make_case(rng: Random) -> bytes:
    """Return an op with some of its numbers changed, or bytes that may be packed boxes."""
    if rng.random() < _PACKED_SHARE:
        counts = b"".join(
            np.float32(rng.choice((0, 1, 2, -1, 1e9, float("nan")))).tobytes() + bytes(20) for _ in range(3)
        )
        start = rng.choice((counts, b"\1\0" + bytes(40), b"\2\0" + rng.randbytes(80), b"\xff\xff" + bytes(90)))
        return b"P" + bytes([rng.randrange(len(_ORDERS))]) + mutate_bytes(rng, start)
    family = rng.choice(list(_FAMILIES))
    _, method, _, decoders, layers = _FAMILIES[family]
    scale, zero = rng.choice((1 / 256, 0.05, 1.0, *_REAL)), rng.choice((0.0, 128.0, *_REAL))
    numbers: dict[str, Any] = {
        "body": dict(_BODY),
        "method": dict(method),
        "decoders": [dict(decoder) for decoder in decoders],
        "background": rng.choice(([False, 0], [False, 0], [True, 0], [True, rng.choice(_WHOLE)])),
        "decoding_only": rng.random() < 0.1,
        "kind": [rng.randrange(2), rng.randrange(3), rng.choice([int(order) for order in PadFormatOrder])],
        "changes": {"iou_threshold": rng.choice(_REAL), "max_proposals_per_class": rng.choice(_WHOLE[:6])},
        "quantization": [[scale, zero] if rng.random() < 0.3 else [1 / 256, 0.0] for _ in layers],
    }
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        _change(rng, rng.choice([numbers["body"], numbers["method"], *numbers["decoders"]]))
    case = {"family": family, "layers": layers, "seed": rng.randrange(1 << 30), **numbers}
    return json.dumps(case).encode()


def _change(rng: Random, numbers: dict[str, Any]) -> None:
    if not numbers:
        return
    name = rng.choice(list(numbers))
    value = numbers[name]
    if isinstance(value, list):
        numbers[name] = [
            rng.choice(_REAL if value and isinstance(value[0], float) else _WHOLE) for _ in range(rng.randrange(4))
        ]
    else:
        numbers[name] = rng.choice(_REAL if isinstance(value, float) else _WHOLE)


def run(case: bytes) -> int:
    """Describe the op and run it on two frames; or unpack."""
    if case[:1] == b"P":
        order = _ORDERS[case[1] % len(_ORDERS)]
        found = unpack(np.frombuffer(case[2:], np.uint8), order, classes=3)
        require(len(found) <= max(3, len(case)), "more boxes than bytes")
        return 1
    given = json.loads(case)
    specs = _specs(given)
    pad = o.Pad(200, "net/op", PadFormatOrder(given["kind"][2]), format_type=tuple(PadFormatType)[given["kind"][1]])
    file = rig.file_of(_body(given), specs, pad=pad if given["family"] == "logits" else None)
    rng = np.random.default_rng(given["seed"])
    frames = {spec.name: rng.integers(0, 256, (2, *spec.shape), np.uint8) for spec in specs}
    for order in (None, *_ORDERS):
        try:
            port = rig.port_of(file, specs, frames, order)
        except InputError:
            continue  # not an order of this op
        _settle(port, given["changes"])
        for result in rig.run(port, 2):
            _judge(result, port)
    return 1


def _specs(given: Mapping[str, Any]) -> list[Any]:
    pairs = zip(given["layers"], given["quantization"], strict=True)
    return [
        rig.layer(f"net/layer{i}", tuple(shape), zero_point=zero, scale=scale)
        for i, (shape, (scale, zero)) in enumerate(pairs)
    ]


def _body(given: Mapping[str, Any]) -> o.NmsOp | o.LogitsOp:
    make, _, decoder, _, _ = _FAMILIES[given["family"]]
    if decoder is None:
        return o.LogitsOp(LogitsType(given["kind"][0]))
    lists = [{k: tuple(v) if isinstance(v, list) else v for k, v in each.items()} for each in given["decoders"]]
    method = make(**given["method"], bbox_decoders=tuple(decoder(**each) for each in lists))
    if isinstance(method, o.YoloSegNmsOp):
        info = o.YoloSegProtoInfo(4, 4, "net/layer1")
        method = make(**given["method"], bbox_decoders=method.bbox_decoders, proto_info=info)
    removal, index = given["background"]
    return o.NmsOp(
        **given["body"],
        background_removal=removal,
        background_removal_index=index,
        bbox_decoding_only=given["decoding_only"],
        method=method,
    )


def _settle(port: Any, changes: Mapping[str, Any]) -> None:
    for name, value in changes.items() if hasattr(port, "settings") else ():
        try:
            setattr(port.settings, name, value)
        except InputError:
            continue


def _judge(result: Any, port: Any) -> None:
    (info,) = port.infos
    if info.nms is None:
        require(result.shape == info.shape, "another shape than was said")
        return
    limits = info.nms.snapshot()
    if info.order is FormatOrder.HAILO_NMS_BY_CLASS:
        require(len(result) == limits.classes, "not an array per class")
        require(all(boxes.shape[1] == BOX_NUMBERS for boxes in result), "boxes of other numbers")
        require(all(len(boxes) <= limits.per_class for boxes in result), "more boxes than the limit")
    else:
        records = result.records if isinstance(result, MaskedDetections) else result
        require(len(records) <= limits.total, "more boxes than the limit")
        require((records["class_id"] < limits.classes).all(), "a class that is not there")
    if info.nms.frame_bytes < 1 << 20:
        pack(result, info.order, np.empty(info.nms.frame_bytes, np.uint8))


SURFACE = Surface("host_ops", make_case, run, (HefError, InputError))
