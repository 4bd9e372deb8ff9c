"""Write HEF files of header versions 0 to 3 (hef.md 1), the same bytes for the same content.

The result is what the vendor's library 4.23 accepts, configures and runs; `openhailo.hef.check` holds the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from openhailo.errors import InvalidHef, UnsupportedHef

from .alternatives import NMS_METHOD_NAMES
from .checker import Severity, check
from .codec import encode
from .container import build_container
from .contexts import CoreOp
from .encode_contexts import CcwSection, ContextEncoder
from .model import Hef, NetworkGroup, Op
from .operations import Operation, WriteCcw
from .ops import LogitsOp, NmsOp, Pad
from .wire import build_proto, pb


def write(hef: Hef, version: int = 2, *, timestamp: int | None = None, verify: bool = True) -> bytes:
    """Return the bytes of a HEF file.

    Args:
        hef: what to write. Its own container is ignored.
        version: header version, 0 to 3. Version 0 keeps configuration bytes in the protobuf part, version 3 begins
            their section on a 4096-byte boundary and alone has room for `Hef.additional`.
        timestamp: replaces that of the header (milliseconds since 1970), so that the caller decides on the clock.
        verify: run `openhailo.hef.check` first.

    Raises `InvalidHef` for the first error that the check finds or for a number that does not fit its field,
    `UnsupportedHef` for a version that has no place for the content.
    """
    if verify:
        _verify(hef)
    if timestamp is not None:
        hef = replace(hef, header=replace(hef.header, timestamp=timestamp))
    section = None if version == 0 else CcwSection(_ccws(hef))
    message = _encode_hef(hef, ContextEncoder(section))
    try:
        content = section.content() if section else b""
        return build_container(version, build_proto(message), content, bytes(hef.additional))
    except UnsupportedHef as error:
        raise UnsupportedHef(feature=error.feature, hint="choose version 3") from error


def _verify(hef: Hef) -> None:
    for finding in check(hef):
        if finding.severity is Severity.ERROR:
            raise InvalidHef(rule=finding.rule, where=finding.where, detail=finding.detail)


def _ccws(hef: Hef) -> Iterator[WriteCcw]:
    """Yield every configuration write in the order in which the file is written."""
    for group in reversed(hef.network_groups):
        yield from _group_ccws(group)


def _group_ccws(group: NetworkGroup) -> Iterator[WriteCcw]:
    for op in group.ops:
        if isinstance(op.body, CoreOp):
            yield from _core_ccws(op.body)
    if group.legacy is not None:
        yield from _core_ccws(group.legacy)
    for partial in group.partial_network_groups:
        yield from _group_ccws(partial.network_group)


def _core_ccws(core_op: CoreOp) -> Iterator[WriteCcw]:
    for operation in core_op.operations():
        yield from _operation_ccws(operation)
    for partial in core_op.partial_core_ops:
        yield from _core_ccws(partial.core_op)


def _operation_ccws(operation: Operation) -> Iterator[WriteCcw]:
    return (action for action in operation.actions if isinstance(action, WriteCcw))


# --- messages ---------------------------------------------------------------------------------------------------------


def _encode_hef(hef: Hef, contexts: ContextEncoder) -> pb.ProtoHEFHef:
    message = pb.ProtoHEFHef(mapping=hef.mapping)
    message.header.SetInParent()
    encode(hef.header, message.header)
    for group in reversed(hef.network_groups):  # the API's order is the file's reversed (hef.md 6)
        _encode_group(group, message.network_groups.add(), contexts)
    if hef.included_features is not None:
        message.included_features.SetInParent()
        encode(hef.included_features, message.included_features)
    for extension in hef.extensions:
        encode(extension, message.extensions.add())
    for extension in hef.optional_extensions:
        encode(extension, message.optional_extensions.add())
    for resource in hef.external_resources:
        encode(resource, message.external_resources.add())
    return message


def _encode_group(group: NetworkGroup, message: pb.ProtoHEFNetworkGroup, contexts: ContextEncoder) -> None:
    message.network_group_metadata.SetInParent()
    encode(group.metadata, message.network_group_metadata)
    for op in group.ops:
        _encode_op(op, message.ops.add(), contexts)
    for edge in group.pad_edges:
        encode(edge, message.pad_edges.add())
    message.sorted_outputs_order.extend(group.sorted_outputs_order)
    message.networks_names.extend(group.networks_names)
    if group.legacy is not None:
        contexts.core_fields(group.legacy, message)
    for partial in group.partial_network_groups:
        target = message.partial_network_groups.add()
        _encode_group(partial.network_group, target.network_group, contexts)
        target.layout.partial_clusters_layout_bitmap = partial.layout
    message.network_group_name = group.declared_name
    message.network_group_index = group.index


def _encode_op(op: Op, message: pb.ProtoHEFOp, contexts: ContextEncoder) -> None:
    message.name = op.name
    for pad in op.input_pads:
        _encode_pad(pad, message.input_pads.add())
    for pad in op.output_pads:
        _encode_pad(pad, message.output_pads.add())
    match op.body:
        case CoreOp():
            contexts.core_op(op.body, message.core_op)
        case NmsOp():
            _encode_nms(op.body, message.nms_op)
        case LogitsOp():
            message.logits_op.SetInParent()
            encode(op.body, message.logits_op)


def _encode_pad(pad: Pad, message: pb.ProtoHEFPad) -> None:
    if pad.tensor_shape is not None and pad.nms_shape is not None:
        raise InvalidHef(rule="pad shape", where=f"pad {pad.index}", detail="both of a tensor and of boxes")
    encode(pad, message)


def _encode_nms(op: NmsOp, message: pb.ProtoHEFNmsOp) -> None:
    message.SetInParent()
    encode(op, message, skip=("method",))
    if op.method is not None:
        target = getattr(message, NMS_METHOD_NAMES[type(op.method)])
        target.SetInParent()
        encode(op.method, target)
