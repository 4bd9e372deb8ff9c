"""The four kinds of action lists (context-switch.md 10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from openhailo.errors import InvalidHef
from openhailo.runtime.configure.actions import CODEC, ActionCodec, BuiltAction
from openhailo.runtime.configure.layers import D2H, H2D, BoundLayer, HostBufferInfo, LayerKind, creation_order
from openhailo.runtime.configure.operations import AllowInput, ConfigFetch, Operations, Separator, Step, WaitOutput
from openhailo.spec.actions import ActionType as A
from openhailo.spec.enums import CreditType


@dataclass(frozen=True)
class ConfigStream:
    """A config channel in one context: its list, and how many descriptors each group takes."""

    stream: int
    channel: int
    buffer: HostBufferInfo


class Recipes:
    """Builds the action lists of one network group.

    ``boundary`` are all boundary layers of the group in metadata order, inputs then outputs; ``multi_context`` is set
    when it has more than one dynamic context.
    """

    def __init__(
        self,
        boundary: Sequence[BoundLayer],
        *,
        multi_context: bool = False,
        batch_size: int = 1,
        codec: ActionCodec = CODEC,
    ) -> None:
        self._boundary = list(boundary)
        self._multi_context = multi_context
        self._batch_size = batch_size
        self._codec = codec
        self._build = codec.build

    def activation(self) -> list[bytes]:
        """ACTIVATION: open every boundary channel (10.1); never folded."""
        actions = [self._build(A.BURST_CREDITS_TASK_RESET)]
        actions += map(self._open_output, _of(self._boundary, D2H))
        actions += map(self._open_input, _of(self._boundary, H2D))
        return self._codec.buffers(actions, fold=False)

    def _open_output(self, bound: BoundLayer) -> BuiltAction:
        return self._build(
            A.OPEN_BOUNDARY_OUTPUT_CHANNEL,
            packed_vdma_channel_id=bound.channel,
            host_buffer_info=asdict(bound.buffer),
        )

    def _open_input(self, bound: BoundLayer) -> BuiltAction:
        return self._build(
            A.OPEN_BOUNDARY_INPUT_CHANNEL,
            packed_vdma_channel_id=bound.channel,
            host_buffer_info=asdict(bound.buffer),
            stream_index=bound.layer.stream,
            network_index=bound.layer.network,
            periph_bytes_per_buffer=bound.registers.periph_bytes_per_buffer,
            frame_periph_size=bound.registers.frame_bytes,
        )

    def batch_switching(self, preliminary: Operations, first_context: Iterable[BoundLayer]) -> list[bytes]:
        """BATCH_SWITCHING: re-arm LCUs and the internal channels of the first dynamic context (10.2)."""
        steps = (*preliminary.before, *preliminary.after)
        actions = [self._rearm(step) for step in steps if isinstance(step, BuiltAction) and step.type in _LCU_ENABLES]
        internal = [b for b in _ordered(first_context) if b.layer.kind in (LayerKind.DDR, LayerKind.INTER_CONTEXT)]
        actions += [self._deactivate(bound, check=False) for bound in internal]
        actions.append(self._build(A.DDR_BUFFERING_RESET))
        actions += [self._activate(bound) for bound in internal]
        actions += self._ddr_pairs(internal)
        for bound in _of(self._boundary, H2D):
            actions.append(self._build(A.CHANGE_BOUNDARY_INPUT_BATCH, packed_vdma_channel_id=bound.channel))
        actions.append(self._build(A.BURST_CREDITS_TASK_START))
        return self._codec.buffers(actions)

    def preliminary(
        self, config: Sequence[ConfigStream], operations: Operations, run_asap: Iterable[BoundLayer] | None = None
    ) -> list[bytes]:
        """PRELIMINARY: what the file wants once per activation (10.3).

        ``run_asap`` are the layers of the first dynamic context when the core starts before the first dynamic list.
        """
        actions = [self._open_config(stream) for stream in config]
        actions += self._steps(operations.before, config, ())
        if run_asap is not None:
            layers = _ordered(run_asap)
            actions += self._dataflow(operations, layers)
            actions += self._steps(operations.after, config, layers)
        elif operations.inputs:
            raise InvalidHef(rule="input dataflow", where="preliminary config", detail="input flows before a context")
        actions += [self._close_config(stream) for stream in config]
        return self._codec.buffers(actions)

    def dynamic(
        self,
        config: Sequence[ConfigStream],
        operations: Operations,
        context: Iterable[BoundLayer],
        *,
        wait_for_cache: bool = False,
    ) -> list[bytes]:
        """DYNAMIC: one context (10.4); ``wait_for_cache`` in the last context of a group with caches."""
        layers = _ordered(context)
        actions = [self._open_config(stream) for stream in config]
        actions += self._steps(operations.before, config, layers)
        actions += self._dataflow(operations, layers)
        actions += self._steps(operations.after, config, layers)
        actions += [self._close_config(stream) for stream in config]
        actions += self._context_end(layers, wait_for_cache)
        return self._codec.buffers(actions)

    def _context_end(self, layers: list[BoundLayer], wait_for_cache: bool) -> list[BuiltAction]:
        if not self._multi_context:
            return [self._build(A.APPLICATION_CHANGE_INTERRUPT)]
        actions = [self._deactivate(b, check=True) for b in layers if b.layer.kind is not LayerKind.BOUNDARY]
        actions += [
            self._build(A.PAUSE_VDMA_CHANNEL, packed_vdma_channel_id=b.channel, edge_layer_direction=H2D)
            for b in _boundary_inputs(layers)
        ]
        return [*actions, self._build(A.WAIT_FOR_CACHE_UPDATED)] if wait_for_cache else actions

    def _dataflow(self, operations: Operations, layers: list[BoundLayer]) -> list[BuiltAction]:
        """Steps 3a to 3f of 10.4."""
        actions = [self._activate(bound) for bound in layers]
        if self._multi_context:
            actions += self._mapping(layers)
        actions += self._ddr_pairs(layers)
        inputs = _boundary_inputs(layers)
        actions += [
            self._build(A.RESUME_VDMA_CHANNEL, packed_vdma_channel_id=b.channel, edge_layer_direction=H2D)
            for b in inputs
        ]
        by_stream = {b.layer.stream: b for b in layers if b.layer.direction is H2D}
        actions += [self._release(by_stream, allowed) for allowed in operations.inputs]
        return [*actions, self._build(A.BURST_CREDITS_TASK_START)] if inputs else actions

    def _mapping(self, layers: list[BoundLayer]) -> list[BuiltAction]:
        here = {(b.layer.direction, b.layer.stream) for b in layers}
        first = {direction: _of(layers, direction)[:1] for direction in (H2D, D2H)}
        actions = []
        for bound in self._boundary:
            dummy = (bound.layer.direction, bound.layer.stream) not in here
            stream = bound.layer.stream
            if dummy:
                opposite = first[D2H if bound.layer.direction is H2D else H2D]
                if not opposite:
                    raise InvalidHef(
                        rule="dummy stream", where=bound.layer.name, detail="a context has no layer to park it on"
                    )
                stream = opposite[0].layer.stream
            actions.append(
                self._build(
                    A.CHANGE_VDMA_TO_STREAM_MAPPING,
                    packed_vdma_channel_id=bound.channel,
                    stream_index=stream,
                    is_dummy_stream=int(dummy),
                )
            )
        return actions

    def _ddr_pairs(self, layers: Sequence[BoundLayer]) -> list[BuiltAction]:
        actions = []
        for bound in layers:
            if bound.layer.kind is LayerKind.DDR and bound.layer.direction is H2D:
                registers = bound.registers
                row_descs = -(-bound.buffer.bytes_in_pattern // bound.buffer.desc_page_size)
                actions.append(
                    self._build(
                        A.ADD_DDR_PAIR_INFO,
                        h2d_packed_vdma_channel_id=bound.channel,
                        d2h_packed_vdma_channel_id=bound.peer_channel,
                        network_index=bound.layer.network,
                        descriptors_per_frame=row_descs * registers.core_buffers_per_frame,
                        programmed_descriptors_count=bound.buffer.total_desc_count,
                    )
                )
        return [*actions, self._build(A.DDR_BUFFERING_START)] if actions else []

    def _activate(self, bound: BoundLayer) -> BuiltAction:
        layer = bound.layer
        kind = _ACTIVATIONS[layer.kind, layer.direction]
        fields: dict[str, object] = {
            "packed_vdma_channel_id": bound.channel,
            "stream_index": layer.stream,
            "stream_reg_info": asdict(bound.registers),
            "host_buffer_info": asdict(bound.buffer),
        }
        payload = self._codec.actions[kind].payload.by_name
        # The vendor leaves the network of an inter-context input at zero (context-switch.md 9, notes).
        optional: dict[str, object] = {
            "network_index": 0 if kind is A.ACTIVATE_INTER_CONTEXT_INPUT else layer.network,
            "initial_credit_size": bound.credit,
            "connected_d2h_packed_vdma_channel_id": bound.peer_channel,
            "buffered_rows_count": layer.buffered_rows,
            "batch_size": self._batch_size,
        }
        fields.update({name: value for name, value in optional.items() if name in payload})
        return self._build(kind, **fields)

    def _deactivate(self, bound: BoundLayer, *, check: bool) -> BuiltAction:
        return self._build(
            A.DEACTIVATE_VDMA_CHANNEL,
            packed_vdma_channel_id=bound.channel,
            edge_layer_direction=int(bound.layer.direction),
            check_host_empty_num_available=int(check),
            host_buffer_type=bound.buffer.buffer_type,
            initial_credit_size=bound.credit,
        )

    def _release(self, by_stream: Mapping[int, BoundLayer], allowed: AllowInput) -> BuiltAction:
        bound = by_stream.get(allowed.stream)
        if bound is None or bound.layer.kind is LayerKind.DDR:
            detail = f"stream {allowed.stream} is not an input that can be released"
            raise InvalidHef(rule="input dataflow", where="allow_input_dataflow", detail=detail)
        kind, buffer = bound.layer.kind, bound.buffer
        size = {
            LayerKind.BOUNDARY: bound.registers.frame_bytes,
            LayerKind.INTER_CONTEXT: -(-buffer.bytes_in_pattern // buffer.desc_page_size),
            LayerKind.CACHE: buffer.total_desc_count - 1,
        }[kind]
        return self._build(
            A.FETCH_DATA_FROM_VDMA_CHANNEL,
            packed_vdma_channel_id=bound.channel,
            stream_index=allowed.stream,
            network_index=bound.layer.network,
            frame_periph_size=size,
            credit_type=int(CreditType.BYTES if kind is LayerKind.BOUNDARY else CreditType.DESCRIPTORS),
            host_buffer_type=buffer.buffer_type,
        )

    def _rearm(self, enable: BuiltAction) -> BuiltAction:
        fields = self._codec.actions[enable.type].payload.unpack(enable.payload)
        default = self._codec.rules.lcu_default_kernel_done_count
        return self._build(
            A.SWITCH_LCU_BATCH,
            packed_lcu_id=fields["packed_lcu_id"],
            network_index=fields["network_index"],
            kernel_done_count=fields.get("kernel_done_count", default),
        )

    def _open_config(self, config: ConfigStream) -> BuiltAction:
        return self._build(
            A.ACTIVATE_CFG_CHANNEL,
            packed_vdma_channel_id=config.channel,
            config_stream_index=config.stream,
            host_buffer_info=asdict(config.buffer),
        )

    def _close_config(self, config: ConfigStream) -> BuiltAction:
        return self._build(
            A.DEACTIVATE_CFG_CHANNEL, packed_vdma_channel_id=config.channel, config_stream_index=config.stream
        )

    def _steps(
        self, steps: Iterable[Step], config: Sequence[ConfigStream], layers: Sequence[BoundLayer]
    ) -> list[BuiltAction]:
        streams = {stream.stream: stream for stream in config}
        outputs = {bound.layer.stream: bound for bound in layers if bound.layer.direction is D2H}
        actions = []
        for step in steps:
            if isinstance(step, BuiltAction):
                actions.append(step)
            elif isinstance(step, ConfigFetch):
                actions.append(self._fetch(step, streams[step.stream]))
            elif isinstance(step, WaitOutput):
                actions.append(self._wait_output(step, outputs))
            else:
                assert isinstance(step, Separator), step
        return actions

    def _fetch(self, fetch: ConfigFetch, config: ConfigStream) -> BuiltAction:
        count = -(-fetch.size_bytes // config.buffer.desc_page_size)
        return self._build(
            A.FETCH_CFG_CHANNEL_DESCRIPTORS, descriptors_count=count, packed_vdma_channel_id=config.channel
        )

    def _wait_output(self, step: WaitOutput, outputs: Mapping[int, BoundLayer]) -> BuiltAction:
        bound = outputs.get(step.stream)
        if bound is None:
            raise InvalidHef(rule="trigger", where=f"shmifo {step.stream}", detail="no output layer has this stream")
        fields = {
            "packed_vdma_channel_id": bound.channel,
            "stream_index": step.stream,
            "is_inter_context": int(bound.layer.kind is LayerKind.INTER_CONTEXT),
            "host_buffer_type": bound.buffer.buffer_type,
        }
        if step.idle:
            return self._build(A.WAIT_FOR_DMA_IDLE_ACTION, **fields)
        return self._build(A.OUTPUT_CHANNEL_TRANSFER_DONE_INTERRUPT, network_index=bound.layer.network, **fields)


_LCU_ENABLES = frozenset({A.ENABLE_LCU_DEFAULT, A.ENABLE_LCU_NON_DEFAULT, A.SWITCH_LCU_BATCH})
_ACTIVATIONS = {
    (LayerKind.DDR, D2H): A.ACTIVATE_DDR_BUFFER_OUTPUT,
    (LayerKind.BOUNDARY, D2H): A.ACTIVATE_BOUNDARY_OUTPUT,
    (LayerKind.INTER_CONTEXT, D2H): A.ACTIVATE_INTER_CONTEXT_OUTPUT,
    (LayerKind.CACHE, D2H): A.ACTIVATE_CACHE_OUTPUT,
    (LayerKind.DDR, H2D): A.ACTIVATE_DDR_BUFFER_INPUT,
    (LayerKind.BOUNDARY, H2D): A.ACTIVATE_BOUNDARY_INPUT,
    (LayerKind.INTER_CONTEXT, H2D): A.ACTIVATE_INTER_CONTEXT_INPUT,
    (LayerKind.CACHE, H2D): A.ACTIVATE_CACHE_INPUT,
}


def _of(layers: Sequence[BoundLayer], direction: int) -> list[BoundLayer]:
    return [bound for bound in layers if bound.layer.direction == direction]


def _ordered(layers: Iterable[BoundLayer]) -> list[BoundLayer]:
    return sorted(layers, key=lambda bound: creation_order(bound.layer))


def _boundary_inputs(layers: Iterable[BoundLayer]) -> list[BoundLayer]:
    return [b for b in layers if b.layer.kind is LayerKind.BOUNDARY and b.layer.direction is H2D]
