"""One activation of an application: everything that its actions set up (context-switch.md 16)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from openhailo.errors import BadProgram
from openhailo.twin.core import PRELIMINARY, Kernel, NeuralCore, OutputStream, ReferenceKernel, ReferenceRun, StreamPort
from openhailo.twin.firmware.parts import Parts
from openhailo.twin.firmware.refusal import Refused

from .lists import ListFault
from .pump import DdrPort, Flow, Port, Pump
from .store import DYNAMIC, Application, Context

_CS = "CONTEXT_SWITCH_STATUS_"
_VDMA = "VDMA_SERVICE_STATUS_"


@dataclass
class ConfigChannel:
    """An open config channel: its stream, and how many of its programmed descriptors are still to be fetched."""

    stream: int
    left: int


@dataclass
class Run:
    """State of the running application; dropped as a whole by RESET.

    ``lcus`` maps (cluster, controller) to (kernel done address, count).

    ``ports`` are the streams that the present context has activated, by (is input, stream index); ``boundaries`` the
    channels opened by ACTIVATION, ``internals`` the device-managed ones that are open; ``ddr_streams`` maps channels of
    row buffers to their streams, ``channel_ids`` packed channel ids to channels.
    """

    parts: Parts
    core: NeuralCore
    pump: Pump
    application: Application
    batch: int
    context: Context | None = None
    batch_counter: int = 0
    boundaries: dict[int, dict[str, Any]] = field(default_factory=dict)
    parked: set[int] = field(default_factory=set)
    internals: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    config_channels: dict[int, ConfigChannel] = field(default_factory=dict)
    ports: dict[tuple[bool, int], Port] = field(default_factory=dict)
    lcus: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    sequencers: set[int] = field(default_factory=set)
    nms: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    ddr_pairs: list[Mapping[str, Any]] = field(default_factory=list)
    ddr_streams: dict[int, int] = field(default_factory=dict)
    channel_ids: dict[int, int] = field(default_factory=dict)
    is_ddr_running: bool = False
    registers: dict[int, int] = field(default_factory=dict)
    caches: int = 0
    is_cache_updated: bool = False
    is_credited: bool = False
    device_frames: Mapping[int, int] = field(default_factory=dict)
    reference_run: ReferenceRun | None = None

    @property
    def key(self) -> int:
        """Configuration space of the present context: `PRELIMINARY` or the dynamic index."""
        context = self.context
        if context is None or context.kind != DYNAMIC:
            return PRELIMINARY
        return self.application.dynamic.index(context)

    # --- channels -------------------------------------------------------------------------------------------------

    def channel(self, packed: int, *, is_input: bool | None = None) -> int:
        """Unpack a channel id; ``is_input`` demands its direction. Raises `Refused`."""
        channel = self.channel_ids.get(packed)
        if channel is None:
            fields = self.parts.spec.packed_channel.unpack(packed)
            if fields["engine"]:
                raise Refused(_VDMA + "INVALID_ENGINE_INDEX")
            channel = self.channel_ids[packed] = int(fields["channel"])
        if is_input is not None and (channel < self.parts.spec.vdma.host_to_device_channels) != is_input:
            raise Refused(_CS + "PCIE_CHANNEL_INDEX_AND_DIRECTION_MISMATCH")
        return channel

    def lcu(self, packed: int) -> tuple[int, int]:
        """Unpack a layer controller's id into (cluster, controller)."""
        fields = self.parts.spec.packed_lcu.unpack(packed)
        return fields["cluster"], fields["lcu"]

    def open(self, channel: int, buffer: Mapping[str, Any], *, managed: bool) -> None:
        """Start ``channel`` on the descriptor list of a host_buffer_info (context-switch.md 6). Raises `Refused`."""
        self._check_buffer(buffer, managed)
        self.parts.board.vdma.open_channel(
            channel,
            list_address=buffer["dma_address"],
            desc_count=buffer["total_desc_count"],
            page_size=buffer["desc_page_size"],
            device_managed=managed,
        )

    def _check_buffer(self, buffer: Mapping[str, Any], managed: bool) -> None:
        rules = self.parts.spec.vdma
        page, count = buffer["desc_page_size"], buffer["total_desc_count"]
        if buffer["buffer_type"] == 1:
            raise Refused(_VDMA + "CCB_NOT_IMPLEMENTED_OVER_PCIE")
        if buffer["buffer_type"]:
            raise Refused(_CS + "INVALID_HOST_BUFFER_TYPE")
        if buffer["dma_address"] % rules.list_alignment:
            raise Refused(_CS + "HOST_DESCRITPOR_BASE_ADDRESS_IS_NOT_64KB_ALIGNED")
        if page & (page - 1) or not rules.min_page_size <= page <= rules.max_page_size:
            raise Refused(_CS + "INVALID_DESC_PAGE_SIZE")
        if not 2 <= count <= rules.max_descriptors:
            raise Refused(_CS + "INVALID_VDMA_CHANNEL_DEPTH")
        if not managed and count & (count - 1):
            raise Refused(_VDMA + "EXTERNAL_DESC_COUNT_MUST_BE_POWER_OF_2")

    # --- contexts -------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> None:
        """A context begins: its streams are to be activated again."""
        self.context = context
        self.is_credited = False
        if self.application.is_multi_context or context.kind != DYNAMIC:
            self.ports = {}
            # The buffers of a context are closed at its end, and the next one begins with an idle task (10.4).
            self.ddr_pairs, self.is_ddr_running = [], False

    def bind(self, port: Port) -> None:
        """A stream was activated."""
        if port.stream_index > 31:
            raise Refused(_CS + "INVALID_EDGE_LAYER_INDEX")
        self.ports[port.is_input, port.stream_index] = port

    def unbind(self, channel: int) -> None:
        """A device-managed channel was closed: its stream is gone from the context."""
        self.ports = {key: port for key, port in self.ports.items() if port.channel != channel or port.is_boundary}

    def grant(self) -> None:
        """Credits for one batch were given (action 2): the context's frames may flow."""
        flow = self._flow()
        if not self.is_credited:
            flow.allowance = None if flow.allowance is None else flow.taken + self.batch
        self.is_credited = True

    def grant_endless(self) -> None:
        """The burst-credits task runs (action 29): single-context networks stream on and on."""
        if self.pump.flow is not None and self.is_credited and not self.application.is_multi_context:
            self.pump.flow.allowance = None

    def change_batch(self, batch: int) -> None:
        """The batch changed while a context waits for its first frames (fast batch switch)."""
        self.batch = batch
        flow = self.pump.flow
        if flow is not None and flow.allowance is not None and self.is_credited:
            flow.allowance = batch

    def _flow(self) -> Flow:
        """Return the open flow if it already has this context's streams, else open one."""
        inputs = [port for port in self.ports.values() if port.is_input]
        outputs = [port for port in self.ports.values() if not port.is_input]
        image = self.core.image(self.key)
        flow = self.pump.flow
        ddr = list(self._ddr_ports())
        same = flow is not None and (flow.inputs, flow.outputs) == (tuple(inputs), tuple(outputs))
        if flow is not None and same and flow.image == image and (self.is_credited or self._streams_on()):
            return flow
        flow = Flow(inputs, outputs, self._loader(inputs, outputs, image), image, ddr)
        self.pump.open(flow)
        return flow

    def _ddr_ports(self) -> Iterator[DdrPort]:
        """Yield both halves of every pair that the credit task runs."""
        for pair in self.ddr_pairs if self.is_ddr_running else ():
            reader, writer = (self.channel(pair[f"{way}_packed_vdma_channel_id"]) for way in ("h2d", "d2h"))
            if reader in self.ddr_streams and writer in self.ddr_streams:
                ring = self.internals[writer]
                room = (ring["total_desc_count"] - 1) * ring["desc_page_size"]
                yield DdrPort(self.ddr_streams[writer], writer, reader, room)
                yield DdrPort(self.ddr_streams[reader], reader, writer, room)

    def _streams_on(self) -> bool:
        """Single-context networks activate their streams twice when the preliminary context runs them already."""
        return not self.application.is_multi_context

    def is_batch_done(self) -> bool:
        """Tell whether the batch that was granted has gone through; True when the context moves no frames."""
        flow = self.pump.flow
        return not self.is_credited or flow is None or flow.all_delivered() >= self.batch

    # --- kernels --------------------------------------------------------------------------------------------------

    def _loader(self, inputs: list[Port], outputs: list[Port], image: bytes | None) -> Callable[[], Kernel] | None:
        if image is not None:
            return partial(self.core.load, image)
        reference = self.core.reference(self.application.index)
        if reference is None:
            return None
        if self.reference_run is None:
            streams, sinks = self._network_boundary()
            self.reference_run = ReferenceRun(reference, streams, sinks)
        return partial(self._reference_kernel, self.reference_run, inputs, outputs)

    def _reference_kernel(self, run: ReferenceRun, inputs: list[Port], outputs: list[Port]) -> Kernel:
        return ReferenceKernel(
            run,
            [StreamPort(port.stream_index, port.frame_bytes) for port in inputs],
            [StreamPort(port.stream_index, port.frame_bytes) for port in outputs],
            frozenset(port.stream_index for port in inputs if not port.is_boundary),
            frozenset(port.stream_index for port in outputs if not port.is_boundary),
        )

    def _network_boundary(self) -> tuple[list[int], list[OutputStream]]:
        """Return the boundary input streams and outputs of all dynamic contexts. Raises `BadProgram`."""
        streams: dict[int, None] = {}
        sinks: dict[int, OutputStream] = {}
        try:
            steps = [s for context in self.application.dynamic for s in context.steps(self.parts.spec)]
        except ListFault as fault:
            raise BadProgram(detail=str(fault)) from fault
        for step in steps:
            if step.name == "ACTIVATE_BOUNDARY_INPUT":
                streams[step.fields["stream_index"]] = None
            elif step.name == "ACTIVATE_BOUNDARY_OUTPUT":
                stream = step.fields["stream_index"]
                channel = self.channel(step.fields["packed_vdma_channel_id"])
                size = 0 if step.fields["network_index"] in self.nms else frame_bytes(step.fields)
                sinks[stream] = OutputStream(stream, channel, size)
        return list(streams), list(sinks.values())

    def snapshot(self) -> dict[str, Any]:
        """Return what the actions so far have set up; a port is (channel, network, bytes of a frame)."""
        return {
            "application": self.application.index,
            "batch": self.batch,
            "batch_counter": self.batch_counter,
            "boundaries": sorted(self.boundaries),
            "internals": sorted(self.internals),
            "config_channels": dict(self.config_channels),
            "ports": {key: (port.channel, port.network, port.frame_bytes) for key, port in self.ports.items()},
            "lcus": dict(self.lcus),
            "sequencers": sorted(self.sequencers),
            "nms": {network: dict(fields) for network, fields in self.nms.items()},
            "ddr_pairs": [dict(fields) for fields in self.ddr_pairs],
            "is_ddr_running": self.is_ddr_running,
            "registers": dict(self.registers),
            "caches": self.caches,
        }


def frame_bytes(fields: Mapping[str, Any]) -> int:
    """Return the wire bytes of one frame: the pattern of the host buffer, else the periph counters (6, 7)."""
    buffer, regs = fields["host_buffer_info"], fields["stream_reg_info"]
    return int(buffer["bytes_in_pattern"] or regs["periph_bytes_per_buffer"] * regs["periph_buffers_per_frame"])
