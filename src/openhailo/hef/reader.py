"""Read HEF files of header versions 0 to 3 (hef.md 1 to 6).

Hostile files cost bounded time and memory and raise nothing but `HefError`: lengths and the hash come first, then a
walk over the protobuf part that bounds depth and number of fields, then the content.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import cast

from openhailo.errors import InputError, InvalidHef, UnsupportedHef

from .alternatives import NMS_METHODS
from .checker import refuse_unsafe
from .codec import decode
from .compatibility import REQUIRED_EXTENSION, SUPPORTED_EXTENSIONS, extension_name
from .container import Parts, parse_container
from .contexts import CoreOp, GroupMetadata
from .decode_contexts import ContextDecoder
from .model import (
    Extension,
    ExternalResource,
    Hef,
    HefHeader,
    IncludedFeatures,
    NetworkGroup,
    Op,
    PartialNetworkGroup,
)
from .ops import LogitsOp, NmsMethod, NmsOp, Pad, PadEdge
from .wire import parse_proto, pb

#: Network groups of a file, and cluster layouts of a group; a device holds 32 groups, and 8 clusters make 256 sets.
MAX_GROUPS = 256

Source = str | os.PathLike[str] | bytes | bytearray | memoryview


def read(source: Source, *, mapped: bool = True) -> Hef:
    """Read a HEF.

    Configuration bytes of header versions 1 to 3 are views into the file, not copies.

    Args:
        source: path of the file, or its content.
        mapped: map a path into memory. A mapped file must not be cut short while the result is in use (the operating
            system would kill the process); False reads it into memory once.

    Raises `NotAHef`, `BadChecksum`, `Truncated`, `UnsupportedHef`, `InvalidHef`; `InputError` for an unreadable path.
    """
    parts = parse_container(_content(source, mapped=mapped))
    hef = _decode_hef(parse_proto(parts.proto), parts)
    refuse_unsafe(hef)
    return hef


def _content(source: Source, *, mapped: bool) -> memoryview:
    if isinstance(source, bytes | bytearray | memoryview):
        return memoryview(source).toreadonly().cast("B")
    path = Path(source)
    if not path.is_file():  # a pipe or a device may never end
        raise InputError(what=str(path), detail="is not a regular file" if _exists(path) else "is not there")
    try:
        with path.open("rb") as file:
            if mapped and os.fstat(file.fileno()).st_size:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return memoryview(file.read())
    except OSError as error:
        raise InputError(what=str(path), detail=f"cannot be read: {error}") from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


# --- content ----------------------------------------------------------------------------------------------------------


def _decode_hef(message: pb.ProtoHEFHef, parts: Parts) -> Hef:
    _check_extensions(message)
    if not message.HasField("header"):
        raise InvalidHef(rule="header version", where="file", detail="no header")
    _bound(len(message.network_groups), "network groups", "file")
    contexts = ContextDecoder(None if parts.container.version == 0 else parts.ccws)
    groups = [_decode_group(group, contexts, f"network_groups[{i}]") for i, group in enumerate(message.network_groups)]
    flags = message.included_features
    return Hef(
        header=decode(HefHeader, message.header, "header"),
        network_groups=tuple(reversed(groups)),  # the API's order (hef.md 6)
        extensions=tuple(decode(Extension, item, "extensions") for item in message.extensions),
        optional_extensions=tuple(decode(Extension, item, "extensions") for item in message.optional_extensions),
        included_features=decode(IncludedFeatures, flags, "") if message.HasField("included_features") else None,
        external_resources=tuple(decode(ExternalResource, item, "") for item in message.external_resources),
        mapping=message.mapping,
        additional=parts.additional,
        container=parts.container,
    )


def _bound(count: int, what: str, where: str) -> None:
    if count > MAX_GROUPS:
        raise InvalidHef(rule="count", where=where, detail=f"{count} {what}, at most {MAX_GROUPS}")


def _check_extensions(message: pb.ProtoHEFHef) -> None:
    numbers = [extension.type_index for extension in message.extensions]
    for number in numbers:
        if number not in SUPPORTED_EXTENSIONS:
            raise UnsupportedHef(feature=f"extension {extension_name(number)} is not known here")
    if REQUIRED_EXTENSION not in numbers:
        raise UnsupportedHef(
            feature=f"extension {extension_name(REQUIRED_EXTENSION)} is missing",
            hint="recompile the model with a newer compiler",
        )


def _decode_group(message: pb.ProtoHEFNetworkGroup, contexts: ContextDecoder, where: str) -> NetworkGroup:
    metadata = decode(GroupMetadata, message.network_group_metadata, where)
    _bound(len(message.partial_network_groups), "partial network groups", where)
    legacy_fields = ("preliminary_config", "fused_layers_metadata")
    has_legacy = bool(message.contexts) or any(message.HasField(name) for name in legacy_fields)
    return NetworkGroup(
        metadata=metadata,
        ops=tuple(_decode_op(op, contexts, f"{where}.ops[{i}]") for i, op in enumerate(message.ops)),
        pad_edges=tuple(decode(PadEdge, edge, where) for edge in message.pad_edges),
        sorted_outputs_order=tuple(message.sorted_outputs_order),
        networks_names=tuple(message.networks_names),
        legacy=contexts.legacy_core_op(message, metadata, where) if has_legacy else None,
        partial_network_groups=tuple(
            PartialNetworkGroup(
                _decode_group(partial.network_group, contexts, f"{where}.partial_network_groups[{i}]"),
                partial.layout.partial_clusters_layout_bitmap,
            )
            for i, partial in enumerate(message.partial_network_groups)
        ),
        declared_name=message.network_group_name,
        index=message.network_group_index,
    )


def _decode_op(message: pb.ProtoHEFOp, contexts: ContextDecoder, where: str) -> Op:
    body: CoreOp | NmsOp | LogitsOp | None = None
    match message.WhichOneof("op"):
        case "core_op":
            body = contexts.core_op(message.core_op, where)
        case "nms_op":
            body = _decode_nms(message.nms_op, where)
        case "logits_op":
            body = decode(LogitsOp, message.logits_op, where)
    return Op(
        body=body,
        name=message.name,
        input_pads=tuple(decode(Pad, pad, where) for pad in message.input_pads),
        output_pads=tuple(decode(Pad, pad, where) for pad in message.output_pads),
    )


def _decode_nms(message: pb.ProtoHEFNmsOp, where: str) -> NmsOp:
    name = message.WhichOneof("nms_op")
    method = None if name is None else cast(NmsMethod, decode(NMS_METHODS[name], getattr(message, name), where))
    return decode(NmsOp, message, where, method=method)
