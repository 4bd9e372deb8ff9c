"""Operations, contexts and core ops from protobuf messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from openhailo.errors import InvalidHef

from .alternatives import ACTIONS, TRIGGERS
from .codec import decode
from .contexts import (
    ClusterEndGuarantee,
    Context,
    CoreOp,
    FusedLayers,
    GroupMetadata,
    HwPackageInfo,
    OrderedTrigger,
    PartialCoreOp,
    ShmiglueInfo,
)
from .decode_layers import decode_edge_layer, decode_fused_layer
from .operations import Action, DebugHalt, DebugSleep, Operation, Trigger, WriteCcw
from .wire import pb

#: What holds the core op's fields: itself, or, before net-flow, the network group.
CoreMessage = pb.ProtoHEFCoreOp | pb.ProtoHEFNetworkGroup


class ContextDecoder:
    """Decodes contexts; ``ccws`` is the section of configuration bytes, None where they lie in the messages."""

    def __init__(self, ccws: memoryview | None) -> None:
        """Take the CCW section of header versions 1 to 3, or None for version 0."""
        self.ccws = ccws

    # --- operations ---------------------------------------------------------------------------------------------------

    def operations(self, messages: Iterable[pb.ProtoHEFOperation], where: str) -> tuple[Operation, ...]:
        """Return operations in order."""
        return tuple(self.operation(message, f"{where}[{i}]") for i, message in enumerate(messages))

    def operation(self, message: pb.ProtoHEFOperation, where: str) -> Operation:
        """Return one operation. A trigger or an action without alternative: `InvalidHef`."""
        trigger = decode_trigger(message.trigger, where)
        if trigger is None:
            raise InvalidHef(rule="trigger unset", where=where, detail="an operation needs a trigger, if only none")
        actions = (self.action(action, f"{where}.actions[{i}]") for i, action in enumerate(message.actions))
        return Operation(trigger, tuple(actions))

    def action(self, message: pb.ProtoHEFAction, where: str) -> Action:
        """Return one action."""
        name, number = message.WhichOneof("action"), message.unique_id
        match name:
            case None:
                raise InvalidHef(rule="action unset", where=where, detail="an action without content")
            case "write_data_ccw":
                return self._ccw_inside(message.write_data_ccw, number, where)
            case "write_data_ccw_ptr":
                return self._ccw_pointer(message.write_data_ccw_ptr, number, where)
            case "debug":
                if message.debug.HasField("halt"):
                    return DebugHalt(unique_id=number)
                return DebugSleep(message.debug.sleep.duration_in_usec, unique_id=number)
            case _:
                return cast(Action, decode(ACTIONS[name], getattr(message, name), where, unique_id=number))

    def _ccw_inside(self, message: pb.ProtoHEFActionWriteDataCcw, number: int, where: str) -> WriteCcw:
        if self.ccws is not None:
            detail = "header versions 1 to 3 keep configuration bytes in their own section"
            raise InvalidHef(rule="ccw kind", where=where, detail=detail)
        return WriteCcw(memoryview(message.data), message.cfg_channel_index, unique_id=number)

    def _ccw_pointer(self, message: pb.ProtoHEFActionWriteDataCcwPtr, number: int, where: str) -> WriteCcw:
        if self.ccws is None:
            detail = "header version 0 keeps configuration bytes in the action"
            raise InvalidHef(rule="ccw kind", where=where, detail=detail)
        start, end = message.offset, message.offset + message.size
        if end > len(self.ccws):
            detail = f"bytes {start} to {end} of a section of {len(self.ccws)}"
            raise InvalidHef(rule="ccw range", where=where, detail=detail)
        return WriteCcw(self.ccws[start:end], message.cfg_channel_index, start, unique_id=number)

    # --- contexts -----------------------------------------------------------------------------------------------------

    def context(self, message: pb.ProtoHEFContext, where: str) -> Context:
        """Return one context."""
        meta = message.metadata
        layers = enumerate(meta.edge_layers)
        return Context(
            index=message.context_index,
            operations=self.operations(message.operations, f"{where}.operations"),
            edge_layers=tuple(decode_edge_layer(layer, f"{where}.edge_layers[{i}]") for i, layer in layers),
            name=meta.name,
            sorted_outputs_order=tuple(meta.sorted_outputs_order),
            cluster_end_guarantees=tuple(
                ClusterEndGuarantee(item.cluster_index, decode_trigger(item.trigger, where))
                for item in meta.cluster_end_guarantee
            ),
            trigger_order=tuple(
                OrderedTrigger(decode_trigger(item.triggers, where), item.estimated_time_from_previous_ns)
                for item in meta.trigger_order
            ),
            hw_package_info=(
                decode(HwPackageInfo, meta.hw_package_info, where) if meta.HasField("hw_package_info") else None
            ),
            shmiglue_info=decode(ShmiglueInfo, meta.shmiglue_info, where) if meta.HasField("shmiglue_info") else None,
        )

    def legacy_core_op(self, message: pb.ProtoHEFNetworkGroup, metadata: GroupMetadata, where: str) -> CoreOp:
        """Return the core op that lies in the network group's own fields."""
        return self._core(message, metadata, where)

    def core_op(self, message: pb.ProtoHEFCoreOp, where: str) -> CoreOp:
        """Return a core op."""
        if not message.HasField("network_group_metadata"):
            raise InvalidHef(rule="core op", where=where, detail="no network_group_metadata")
        return self._core(message, decode(GroupMetadata, message.network_group_metadata, where), where)

    def _core(self, message: CoreMessage, metadata: GroupMetadata, where: str) -> CoreOp:
        own = message if isinstance(message, pb.ProtoHEFCoreOp) else pb.ProtoHEFCoreOp()
        contexts = enumerate(message.contexts)
        fused = message.fused_layers_metadata
        return CoreOp(
            metadata=metadata,
            contexts=tuple(self.context(context, f"{where}.contexts[{i}]") for i, context in contexts),
            preliminary=self.operations(message.preliminary_config.operation, f"{where}.preliminary"),
            fused_layers=decode_fused_layers(fused, where) if message.HasField("fused_layers_metadata") else None,
            sorted_outputs_order=tuple(own.sorted_outputs_order),
            networks_names=tuple(own.networks_names),
            partial_core_ops=tuple(
                PartialCoreOp(
                    self.core_op(partial.core_op, f"{where}.partial_core_ops[{i}]"),
                    partial.layout.partial_clusters_layout_bitmap,
                )
                for i, partial in enumerate(own.partial_core_ops)
            ),
        )


def decode_trigger(message: pb.ProtoHEFTrigger, where: str) -> Trigger | None:
    """Return a trigger, None when no alternative is set."""
    name = message.WhichOneof("trigger")
    if name is None:
        return None
    return cast(Trigger, decode(TRIGGERS[name], getattr(message, name), where, unique_id=message.unique_id))


def decode_fused_layers(message: pb.ProtoHEFFusedLayersMetadata, where: str) -> FusedLayers:
    """Return the fused outputs of a core op."""
    layers = enumerate(message.fused_layers)
    return FusedLayers(
        network_has_fused_layers=message.network_has_fused_layers,
        updated_sorted_output_names=tuple(message.updated_sorted_output_names),
        fused_layers=tuple(decode_fused_layer(layer, f"{where}.fused_layers[{i}]") for i, layer in layers),
    )
