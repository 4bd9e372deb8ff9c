"""Writes the program image and the HEF around it (hef.md 14 to 18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import xxhash

from openhailo._units import align_up
from openhailo.errors import DoesNotFit
from openhailo.hef import model as hm
from openhailo.hef.operations import AllowInputDataflow, TriggerAllDataWasSent, TriggerNone
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.program import IoDirection, ProgramKind

from .allocate import Stream, config_pieces
from .host_ops.attach import HostOps

#: Numbers of `ProtoHEFHwArch` (hef.md 4).
HW_ARCH: Final[Mapping[str, hm.HwArch]] = {"hailo8": hm.HwArch.HAILO8P, "hailo8l": hm.HwArch.HAILO8L}
#: Working clusters that a Hailo-8L program is for; our programs use none, so any layout will do (hef.md 17).
CLUSTER_LAYOUT: Final = 0xFF
REQUIRED_EXTENSIONS: Final = (hm.ExtensionType.HAILO_NET_FLOW, hm.ExtensionType.PERIPH_CALCULATION_IN_HAILORT)
CONFIG_CHANNEL: Final = 0


def build_program(
    payload: bytes | memoryview,
    streams: Sequence[Stream],
    spec: ChipSpec = CHIP,
    *,
    kind: ProgramKind = ProgramKind.ONNX,
) -> bytes:
    """Return the program image: header, one record per stream, ``payload`` (a serialized ONNX model), zeros.

    ``kind`` says what else the payload is.

    Raises:
        DoesNotFit: more streams or payload than the image may have.
    """
    rules = spec.program
    for resource, need, have in (
        ("streams", len(streams), rules.max_io),
        ("program bytes", len(payload), rules.max_payload_bytes),
    ):
        if need > have:
            raise DoesNotFit(resource=resource, need=need, have=have)
    header = spec.program_header.pack(
        magic=rules.magic,
        kind=kind,
        io_count=len(streams),
        payload_size=len(payload),
        payload_xxh3=xxhash.xxh3_64_intdigest(payload),
        reserved=bytes(spec.program_header["reserved"].size),
    )
    image = b"".join((header, *(_record(stream, spec) for stream in streams), payload))
    return image.ljust(align_up(len(image), rules.alignment), b"\0")


def _record(stream: Stream, spec: ChipSpec) -> bytes:
    return spec.io_record.pack(
        direction=IoDirection.HOST_TO_DEVICE if stream.is_input else IoDirection.DEVICE_TO_HOST,
        stream_index=stream.index,
        order=stream.order,
        data_bytes=stream.data_bytes,
        height=stream.shape.height,
        width=stream.shape.width,
        features=stream.shape.features,
        padded_height=stream.padded_shape.height,
        padded_width=stream.padded_shape.width,
        padded_features=stream.padded_shape.features,
        transfer_bytes=stream.transfer_bytes,
        name=stream.name.encode().ljust(spec.io_record["name"].size, b"\0"),
        reserved=bytes(spec.io_record["reserved"].size),
    )


@dataclass(frozen=True)
class ContextPlan:
    """One context of several: its program, and the streams at its edge."""

    program: bytes
    streams: tuple[Stream, ...]


def build_hef(
    network: str,
    program: bytes,
    streams: Sequence[Stream],
    *,
    arch: str = "hailo8",
    contexts: Sequence[ContextPlan] = (),
    host_ops: HostOps | None = None,
) -> hm.Hef:
    """Return the HEF: ``program`` in config stream 0, one context with every stream at its edge.

    With ``contexts`` each of them loads its own program whenever its turn comes, and ``program`` is left out.
    ``host_ops`` run behind the chip. Hailo-8L files carry the same core op once more under a cluster layout, as the
    vendor's runtime expects.
    """
    largest = max(len(program), *(len(plan.program) for plan in contexts), 1)
    metadata = hm.GroupMetadata(network_group_name=network, cfg_channels_count=len(config_pieces(largest)))
    core_op = hm.CoreOp(
        metadata=metadata,
        contexts=tuple(
            _loading_context(network, number, plan, alone=len(contexts) == 1) for number, plan in enumerate(contexts)
        )
        or (_context(network, streams),),
        preliminary=() if contexts else _load_program(program),
        networks_names=(network,),
        sorted_outputs_order=_output_names(streams),
    )
    group = _with_host_ops(_group(network, core_op, streams), host_ops)
    if arch == "hailo8l":
        partial = hm.PartialCoreOp(core_op, CLUSTER_LAYOUT)
        outer = hm.CoreOp(metadata=metadata, contexts=core_op.contexts, partial_core_ops=(partial,))
        inner = hm.PartialNetworkGroup(group, CLUSTER_LAYOUT)
        group = _with_host_ops(_group(network, outer, streams, partial_network_groups=(inner,)), host_ops)
    return hm.Hef(
        header=hm.HefHeader(hw_arch=HW_ARCH[arch], sdk_version="openhailo", version=1),
        network_groups=(group,),
        extensions=tuple(hm.Extension(int(number), number.name) for number in _extensions(contexts, host_ops)),
    )


def _with_host_ops(group: hm.NetworkGroup, host_ops: HostOps | None) -> hm.NetworkGroup:
    if host_ops is None or not host_ops.ops:
        return group
    return replace(
        group,
        ops=(*group.ops, *host_ops.ops),
        pad_edges=host_ops.edges,
        sorted_outputs_order=host_ops.output_names,
    )


def _extensions(contexts: Sequence[ContextPlan], host_ops: HostOps | None) -> tuple[hm.ExtensionType, ...]:
    demanded = {*REQUIRED_EXTENSIONS, *(host_ops.extensions if host_ops else ())}
    if len(contexts) > 1:
        demanded.add(hm.ExtensionType.IS_MULTI_CONTEXTS)
    if any(stream.ddr_rows for context in contexts for stream in context.streams):
        demanded |= {hm.ExtensionType.DDR, hm.ExtensionType.PADDED_DDR_BUFFERS}
    return tuple(sorted(demanded))


def _output_names(streams: Sequence[Stream]) -> tuple[str, ...]:
    return tuple(stream.name for stream in streams if not stream.is_input and not stream.peers)


def _group(
    network: str,
    core_op: hm.CoreOp,
    streams: Sequence[Stream],
    partial_network_groups: tuple[hm.PartialNetworkGroup, ...] = (),
) -> hm.NetworkGroup:
    pads = {
        is_input: tuple(hm.Pad(index=s.index, name=s.name) for s in streams if s.is_input is is_input)
        for is_input in (True, False)
    }
    return hm.NetworkGroup(
        metadata=hm.GroupMetadata(network_group_name=network),
        ops=(hm.Op(core_op, name=network, input_pads=pads[True], output_pads=pads[False]),),
        sorted_outputs_order=_output_names(streams),
        networks_names=(network,),
        partial_network_groups=partial_network_groups,
        declared_name=network,
    )


def _load_program(program: bytes) -> tuple[hm.Operation, ...]:
    """One operation per piece: CCW writes of one operation would be fetched as one (hef.md 14).

    Each piece fills a descriptor list, and a config channel has one, so each goes through a channel of its own.
    """
    operations, offset = [], 0
    data = memoryview(program)
    for number, size in enumerate(config_pieces(len(program))):
        write = hm.WriteCcw(data=data[offset : offset + size], cfg_channel_index=CONFIG_CHANNEL + number)
        operations.append(hm.Operation(TriggerNone(), (write,)))
        offset += size
    return tuple(operations)


def _context(network: str, streams: Sequence[Stream]) -> hm.Context:
    """All inputs are let in by one operation: a second group of this kind is refused (hef.md 16)."""
    released = (stream for stream in streams if stream.is_input and not stream.ddr_rows)
    flows = tuple(AllowInputDataflow(sys_index=stream.index) for stream in released)
    return hm.Context(
        index=0,
        operations=(hm.Operation(TriggerNone(), flows),),
        edge_layers=tuple(_edge_layer(stream) for stream in streams),
        name=network,
        sorted_outputs_order=_output_names(streams),
    )


def _loading_context(network: str, number: int, plan: ContextPlan, *, alone: bool) -> hm.Context:
    """Return a context that loads its program, lets its inputs in and waits until its outputs are written.

    ``alone``: frames flow on and on, so there is nothing to wait for.
    """
    sent = tuple(
        hm.Operation(TriggerAllDataWasSent(shmifo_index=stream.index))
        for stream in plan.streams
        if not stream.is_input and not stream.ddr_rows and not alone
    )
    context = _context(network, plan.streams)
    return replace(context, index=number, operations=(*_load_program(plan.program), *context.operations, *sent))


def _switch(stream: Stream) -> hm.ContextSwitchInfo:
    if not stream.peers:
        return hm.ContextSwitchInfo(edge_connection_type=hm.Connection.BOUNDARY)
    kind = hm.Connection.DDR if stream.ddr_rows else hm.Connection.INTERMEDIATE
    ends = tuple(hm.ConnectedContext(context, sys_index=index) for context, index in stream.peers)
    return hm.ContextSwitchInfo(edge_connection_type=kind, buffers=stream.ddr_rows, connected_contexts=ends)


def _edge_layer(stream: Stream) -> hm.EdgeLayer:
    return hm.EdgeLayer(
        name=stream.name,
        direction=hm.Direction.HOST_TO_DEVICE if stream.is_input else hm.Direction.DEVICE_TO_HOST,
        shape=stream.shape,
        padded_shape=stream.padded_shape,
        format_code=stream.format_code,
        data_bytes=stream.data_bytes,
        sys_index=stream.index,
        core_bytes_per_buffer=stream.core_bytes_per_buffer,
        core_buffers_per_frame=stream.core_buffers_per_frame,
        quant=stream.quant,
        pad_index=None if stream.peers else stream.index,
        switch=_switch(stream),
        original_names=(stream.original_name,),
    )
