"""``parse-hef``: what is in a file (runtime-behaviour.md 25)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort.pyhailort import HEF

from ._output import say

_ARCHITECTURES = {0: "HAILO8_A0", 1: "HAILO8", 2: "HAILO8", 3: "HAILO8L"}
_STARS = "*" * 80
#: Orders that the original prints with another name than Python has.
_NC = bound.FormatOrder.NC


def parse_hef(args: argparse.Namespace) -> int:
    """Print a file, or every file of a folder."""
    path = Path(args.hef)
    if not path.is_dir():
        _print_file(path, args)
        return 0
    for file in sorted(path.glob("*.hef")):
        say(f"{_STARS}\nParsing {file}:")
        _print_file(file, args)
    return 0


def _print_file(path: Path, args: argparse.Namespace) -> None:
    hef = HEF(str(path))
    number = int(hef._hef.file.header.hw_arch)
    say(f"Architecture HEF was compiled for: {_ARCHITECTURES.get(number, hef._hef.file.header.hw_arch.name)}")
    for info in hef.get_network_groups_infos():
        contexts = len(hef._hef.group(info.name).core_op_for().contexts)
        kind = f"Multi Context - Number of contexts: {contexts}" if info.is_multi_context else "Single Context"
        say(f"Network group name: {info.name}, {kind}")
        for network in hef.get_networks_names(info.name):
            _print_network(hef, info.name, network, args)


def _print_network(hef: HEF, group: str, network: str, args: argparse.Namespace) -> None:
    say(f"    Network name: {network}")
    scope = network if len(hef.get_networks_names(group)) > 1 else group
    if args.parse_streams:
        say("        Stream infos:")
        for stream in hef.get_all_stream_infos(scope):
            say(_line(stream.direction, stream.name, stream.format, _stream_shape(stream)))
    if args.parse_vstreams:
        say("        VStream infos:")
        for vstream in hef.get_all_vstream_infos(scope):
            say(_line(vstream.direction, vstream.name, vstream.format, _vstream_shape(vstream)))
            _print_operation(hef, group, vstream.name)


def _line(direction: bound.StreamDirection, name: str, what: bound.HailoFormat, shape: str) -> str:
    word = "Input " if int(direction) == 0 else "Output"
    return f"            {word} {name} {what.type.name}, {shape}"


def _stream_shape(stream: bound.StreamInfo) -> str:
    order = stream.format.order
    if order == bound.FormatOrder.HAILO_NMS_ON_CHIP:
        return _boxes(order, stream.nms_shape[0], stream.nms_shape[2], stream.shape[0])
    return _plain(order, stream.shape)


def _vstream_shape(vstream: bound.VStreamInfo) -> str:
    order = vstream.format.order
    if order in (bound.FormatOrder.HAILO_NMS_BY_CLASS, bound.FormatOrder.HAILO_NMS_WITH_BYTE_MASK):
        nms = vstream.nms_shape
        size = nms.number_of_classes * (4 + 20 * nms.max_bboxes_per_class)
        if nms.max_accumulated_mask_size:
            size = 2 + 38 * nms.number_of_classes * nms.max_bboxes_per_class + nms.max_accumulated_mask_size
        return _boxes(order, nms.number_of_classes, nms.max_bboxes_per_class, size)
    return _plain(order, vstream.shape)


def _plain(order: bound.FormatOrder, shape: tuple[int, ...]) -> str:
    if order == _NC:
        return f"NC({shape[-1]})"
    numbers = (*shape, 1, 1)[:3]
    return f"{order.name}({'x'.join(map(str, numbers))})"


def _boxes(order: bound.FormatOrder, classes: int, boxes: int, size: int) -> str:
    name = order.name.replace("_", " ")
    return (
        f"{name}(number of classes: {classes}, maximum bounding boxes per class: {boxes}, maximum frame size: {size})"
    )


def _print_operation(hef: HEF, group: str, name: str) -> None:
    """Print what the host does behind an output."""
    found = next(v for v in hef._hef.group(group).vstreams if v.name == name)
    if found.op is None or found.op.body is None:
        return
    body: Any = found.op.body
    method = type(getattr(body, "method", None) or body).__name__.removesuffix("NmsOp").removesuffix("Op")
    say("            Operation:")
    say(f"                Op {method.upper()}")
    if hasattr(body, "nms_score_th"):
        say(f"                Name: {found.op.name or name}")
        say(f"                Score threshold: {body.nms_score_th:.3f}")
        say(f"                IoU threshold: {body.nms_iou_th:.2f}")
        say(f"                Classes: {body.output_classes}")
        say(f"                Max bboxes per class: {body.max_proposals_per_class}")
