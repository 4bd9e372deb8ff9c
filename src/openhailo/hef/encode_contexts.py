"""Operations, contexts and core ops to protobuf messages; where configuration bytes go (hef.md 14)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .alternatives import ACTION_NAMES, TRIGGER_NAMES
from .codec import encode
from .contexts import Context, CoreOp, FusedLayers
from .encode_layers import encode_edge_layer, encode_fused_layer
from .operations import Action, DebugHalt, DebugSleep, Operation, Trigger, WriteCcw
from .wire import pb

CoreMessage = pb.ProtoHEFCoreOp | pb.ProtoHEFNetworkGroup


class RepeatedOperations(Protocol):
    """A repeated field of operations."""

    def add(self) -> pb.ProtoHEFOperation:
        """Append a new element and return it."""
        ...


class CcwSection:
    """The section of configuration bytes while it grows.

    Writes that say where they lie keep their place as long as all of them do, no place has two contents and little is
    left empty between them (a file that was read is written with the same section); else they follow one another.
    """

    def __init__(self, writes: Iterable[WriteCcw]) -> None:
        """Plan the section for ``writes``, all of the file in order."""
        pieces = [(write.offset, write.data) for write in writes]
        self._kept = _place(pieces)
        self._content = bytearray() if self._kept is None else self._kept
        self._places: dict[int, int] = {}

    def place(self, write: WriteCcw) -> int:
        """Return the offset of ``write`` in the section, adding it where its place is not fixed.

        The versions of a core op for different cluster layouts may share one object: it is stored once.
        """
        if self._kept is not None and write.offset is not None:
            return write.offset
        key = id(write.data)
        if key not in self._places:
            self._places[key] = len(self._content)
            self._content += write.data
        return self._places[key]

    def content(self) -> bytes:
        """Return the section."""
        return bytes(self._content)


def _place(pieces: list[tuple[int | None, memoryview | bytes]]) -> bytearray | None:
    """Return the section that the offsets describe, None where they do not describe one."""
    total = sum(len(data) for _, data in pieces)
    ends = [-1 if offset is None else offset + len(data) for offset, data in pieces]
    if not ends or min(ends) < 0 or max(ends) > 2 * total + 4096:
        return None
    section, written = bytearray(max(ends)), bytearray(max(ends))
    for offset, data in pieces:
        assert offset is not None
        place = slice(offset, offset + len(data))
        if any(written[place]) and not _same(section[place], written[place], data):
            return None
        section[place] = data
        written[place] = b"\1" * len(data)
    return section


def _same(section: bytearray, written: bytearray, data: memoryview | bytes) -> bool:
    return all(old == new for old, known, new in zip(section, written, data, strict=True) if known)


class ContextEncoder:
    """Encodes contexts; ``section`` takes configuration bytes, None puts them into the actions (header version 0)."""

    def __init__(self, section: CcwSection | None) -> None:
        """Take the section of header versions 1 to 3, or None for version 0."""
        self.section = section

    def core_op(self, core_op: CoreOp, message: pb.ProtoHEFCoreOp) -> None:
        """Fill ``message``."""
        message.network_group_metadata.SetInParent()
        encode(core_op.metadata, message.network_group_metadata)
        self.core_fields(core_op, message)
        message.sorted_outputs_order.extend(core_op.sorted_outputs_order)
        message.networks_names.extend(core_op.networks_names)
        for partial in core_op.partial_core_ops:
            target = message.partial_core_ops.add()
            self.core_op(partial.core_op, target.core_op)
            target.layout.partial_clusters_layout_bitmap = partial.layout

    def core_fields(self, core_op: CoreOp, message: CoreMessage) -> None:
        """Fill the fields that a core op and, before net-flow, a network group have in common."""
        if core_op.preliminary:
            self.operations(core_op.preliminary, message.preliminary_config.operation)
        for context in core_op.contexts:
            self.context(context, message.contexts.add())
        if core_op.fused_layers is not None:
            message.fused_layers_metadata.SetInParent()
            _encode_fused(core_op.fused_layers, message.fused_layers_metadata)

    def context(self, context: Context, message: pb.ProtoHEFContext) -> None:
        """Fill ``message``."""
        message.context_index = context.index
        self.operations(context.operations, message.operations)
        meta = message.metadata
        meta.name = context.name
        for layer in context.edge_layers:
            encode_edge_layer(layer, meta.edge_layers.add())
        meta.sorted_outputs_order.extend(context.sorted_outputs_order)
        for guarantee in context.cluster_end_guarantees:
            end = meta.cluster_end_guarantee.add()
            end.cluster_index = guarantee.cluster_index
            _encode_trigger(guarantee.trigger, end.trigger)
        for expected in context.trigger_order:
            ordered = meta.trigger_order.add()
            ordered.estimated_time_from_previous_ns = expected.estimated_time_from_previous_ns
            _encode_trigger(expected.triggers, ordered.triggers)
        if context.hw_package_info is not None:
            meta.hw_package_info.SetInParent()
            encode(context.hw_package_info, meta.hw_package_info)
        if context.shmiglue_info is not None:
            meta.shmiglue_info.SetInParent()
            encode(context.shmiglue_info, meta.shmiglue_info)

    def operations(self, operations: Iterable[Operation], messages: RepeatedOperations) -> None:
        """Append operations in order."""
        for operation in operations:
            message = messages.add()
            _encode_trigger(operation.trigger, message.trigger)
            for action in operation.actions:
                self.action(action, message.actions.add())

    def action(self, action: Action, message: pb.ProtoHEFAction) -> None:
        """Fill ``message``."""
        message.unique_id = action.unique_id
        match action:
            case WriteCcw():
                self._ccw(action, message)
            case DebugSleep():
                message.debug.type = pb.SLEEP
                message.debug.sleep.duration_in_usec = action.duration_in_usec
            case DebugHalt():
                message.debug.type = pb.HALT
                message.debug.halt.SetInParent()
            case _:
                target = getattr(message, ACTION_NAMES[type(action)])
                target.SetInParent()
                encode(action, target, skip=("unique_id",))

    def _ccw(self, write: WriteCcw, message: pb.ProtoHEFAction) -> None:
        if self.section is None:
            inside = message.write_data_ccw
            inside.data, inside.cfg_channel_index = bytes(write.data), write.cfg_channel_index
            return
        pointer = message.write_data_ccw_ptr
        pointer.offset, pointer.size = self.section.place(write), len(write.data)
        pointer.cfg_channel_index = write.cfg_channel_index


def _encode_trigger(trigger: Trigger | None, message: pb.ProtoHEFTrigger) -> None:
    message.SetInParent()
    if trigger is None:
        return
    message.unique_id = trigger.unique_id
    target = getattr(message, TRIGGER_NAMES[type(trigger)])
    target.SetInParent()
    encode(trigger, target, skip=("unique_id",))


def _encode_fused(fused: FusedLayers, message: pb.ProtoHEFFusedLayersMetadata) -> None:
    message.network_has_fused_layers = fused.network_has_fused_layers
    message.updated_sorted_output_names.extend(fused.updated_sorted_output_names)
    for layer in fused.fused_layers:
        encode_fused_layer(layer, message.fused_layers.add())
