"""A network that a broker runs: host transformations and host operations here, frames through shared memory."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from openhailo.driver.link import ChipLink, DescriptorList
from openhailo.errors import InputError, OpenHailoError, StateError
from openhailo.hef import write
from openhailo.runtime.action_lists import ContextActions
from openhailo.runtime.broker.frames_link import FramesLink
from openhailo.runtime.broker.memory import SharedMemory
from openhailo.runtime.broker.messages import Configure, Configured, LatencyReply, Restarted, Schedule, Which
from openhailo.runtime.broker.rings import depth_of, lay_out
from openhailo.runtime.broker.streams import SharedPorts
from openhailo.runtime.broker.wire import Kind
from openhailo.runtime.configure.requirements import Ring
from openhailo.runtime.hw_only import CoreSpeed
from openhailo.runtime.latency import Latency
from openhailo.runtime.network import Network, ProgramReference
from openhailo.runtime.options import NetworkOptions
from openhailo.runtime.pipeline import Pipeline
from openhailo.runtime.ports import StreamOptions
from openhailo.runtime.scheduler import ModelParameters
from openhailo.runtime.session import BoundaryChannel
from openhailo.runtime.streams import OutputRefill

if TYPE_CHECKING:
    from openhailo.hef.model import Hef
    from openhailo.runtime.broker.device import SharedDevice
    from openhailo.runtime.device import Device

#: The broker watches the device; here a frame may wait for the turns of other processes as long as it takes.
_PATIENCE_S = 86_400.0


class SharedNetwork(Network):
    """A network of a `openhailo.runtime.broker.device.SharedDevice`.

    When the broker was lost, the next frames configure it again, at a new broker.
    """

    def __init__(self, device: Device, description: Any, options: NetworkOptions) -> None:
        """Use `openhailo.runtime.broker.device.SharedDevice.load`."""
        super().__init__(device, description, options)
        self._shared = cast("SharedDevice", device)
        #: Cycles through the contexts are filled by the broker.
        self._pad_to = self._cycle_frames = 1
        self._content: bytes | Hef = b""
        self._group = description.name
        self._memory: SharedMemory | None = None
        self._frames: FramesLink | None = None
        #: Its number at the broker, in the connection of that time.
        self.model = -1
        self._connection: object = None
        self._parameters: ModelParameters | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    def prepare(self, content: bytes | Hef) -> None:
        """Remember what the broker needs to know."""
        self._content = content

    def configure(self, application: int, reference_port: ProgramReference | None) -> None:
        """Lay out shared memory, plan the transformations, and have the broker configure it."""
        description, options = self.description, self.options
        self._depth = depth_of(description, options.queue_transfers, len(self._shared.names))
        self._slots, size_bytes = lay_out(description, self._depth)
        self._memory = SharedMemory.create(size_bytes)
        try:
            self._make_streams(cast(ChipLink, self._frames_link(self._memory)))
            self.attach()
        except BaseException:
            self.free()
            raise

    def _frames_link(self, memory: SharedMemory) -> FramesLink:
        sizes = [each.stride * self._depth for each in self._slots]
        inputs = sum(not each.is_output for each in self._slots)
        self._frames = FramesLink(memory.view, sizes, inputs, self._shared.path)
        return self._frames

    def _make_streams(self, link: ChipLink) -> None:
        options = StreamOptions(OutputRefill.PAIRED, False)
        chosen = self.options.output_orders.get
        ports = SharedPorts(link, self.description, self.order_of, options, self._streams, chosen)
        dlist = cast(DescriptorList, SimpleNamespace(count=self._depth, close=lambda: None))
        ports.open(
            [
                BoundaryChannel(layer, channel, dlist, Ring(slots.frame_bytes, 4096, self._depth, self._depth))
                for channel, (layer, slots) in enumerate(zip(self.description.boundary, self._slots, strict=True))
            ]
        )
        self._inputs, self._outputs = ports.inputs, ports.outputs
        self._in_order = [info.name for info in self._output_infos()] == list(self.description.outputs)
        self._pipeline = Pipeline(
            link,
            sorted((stream for port in ports.inputs for stream in port.streams), key=lambda stream: stream.channel),
            [stream for port in ports.outputs for stream in port.streams],
            name=self.name,
            timeout_s=_PATIENCE_S,
            clock=self._device.clock,
        )

    def attach(self) -> None:
        """Have the broker configure it, in the connection that the device has now."""
        assert self._memory is not None and self._frames is not None, "configure made them"
        connection = self._shared.connection
        options = self.options
        request = Configure(
            digest=self._shared.offer(self._as_bytes()),
            group=self._group,
            batch_size=options.batch_size,
            timeout_s=options.timeout_s,
            queue_transfers=options.queue_transfers,
            performance=options.performance,
            dynamic_batch_size=options.dynamic_batch_size,
            measure_latency=options.measure_latency,
            in_place=options.output_refill is OutputRefill.PAIRED,
            depth=self._depth,
            memory_bytes=self._memory.size_bytes,
            slots=self._slots,
        )
        made, fd = connection.ask_for_descriptor(Kind.CONFIGURE, request, Configured, self._memory.fd)
        self._frames.attach(fd)
        self.model, self._connection = made.model, connection
        if self._parameters is not None:
            self.schedule(self._parameters)

    def schedule(self, parameters: ModelParameters) -> None:
        """Tell the broker threshold, timeout and priority, and every later broker too. Raises what asking raises."""
        self._parameters = parameters
        timeout_s = parameters.timeout_s if parameters.timeout_s <= _PATIENCE_S else -1.0
        message = Schedule(self.model, parameters.threshold, timeout_s, parameters.priority)
        self._shared.connection.tell(Kind.SCHEDULE, message)

    def _as_bytes(self) -> bytes:
        if not isinstance(self._content, bytes):
            self._content = write(self._content)
        return self._content

    def enter(self) -> None:
        """Begin the rings anew, at a broker that has the network. Raises what configuring and restarting raise."""
        pipeline, frames = self._require_loaded(), self._frames
        assert frames is not None, "it is loaded"
        if self._connection is not self._shared.connection:
            pipeline.stop()
            self.attach()
        elif pipeline.broken is not None:
            self.begin_anew()
        pipeline.start()

    def begin_anew(self) -> None:
        """Cancel what the broker has of it, and begin the rings at slot 0."""
        assert self._frames is not None, "it is loaded"
        self._frames.begin_anew(self._shared.connection.ask(Kind.RESTART, Which(self.model), Restarted).epoch)

    @property
    def is_attached(self) -> bool:
        """Whether the broker of now has it, and nothing went wrong since."""
        return self._connection is self._shared.current and not (self._shared.is_lost or self.broken)

    def leave(self) -> None:
        """Cancel frames that are under way."""
        self._require_loaded().stop()

    def free(self) -> None:
        """Let the broker unload it, and give the memory back. Idempotent."""
        frames, memory = self._frames, self._memory
        if frames is not None and frames.is_attached and self._connection is self._shared.current:
            with suppress(OpenHailoError):
                self._shared.connection.tell(Kind.RELEASE, Which(self.model))
        super().free()
        self._frames = self._memory = None
        if frames is not None:
            frames.close()
        if memory is not None:
            memory.forget_descriptor()

    @property
    def frames(self) -> FramesLink:
        """The way of its frames. Raises `StateError` when it was unloaded."""
        if self._frames is None:
            raise StateError(what=f"using {self.name}", state="unloaded", hint="load it again")
        return self._frames

    @property
    def link(self) -> ChipLink:
        """The way of its frames."""
        return cast(ChipLink, self._frames) if self._frames is not None else super().link

    # --- use --------------------------------------------------------------------------------------------------------

    def latency(self, *, clear: bool = False) -> Latency | None:
        """Return the hardware's latency as the broker measures it (see `Network.latency`)."""
        if not self.options.measure_latency:
            raise StateError(what="reading latency", state="it is not measured", hint="load with measure_latency=True")
        found = self._shared.connection.ask(Kind.LATENCY, Which(self.model, clear), LatencyReply)
        return Latency(found.frames, found.mean_s, found.least_s, found.most_s) if found.frames else None

    def measure_core(self) -> CoreSpeed:
        """Others use the chip too."""
        raise _shared("measuring the core")

    def action_lists(self) -> tuple[ContextActions, ...]:
        """The lists are the broker's."""
        raise _shared("downloading action lists")

    def stamp_actions(self, batch_index: int | None) -> None:
        """The lists are the broker's."""
        raise _shared("stamping actions")

    def check_options(self, reference: object) -> None:
        """Raise `InputError` for what cannot be had through a broker."""
        if reference is not None:
            detail = "a broker does not take numerics of others; open the device without multi_process_service"
            raise InputError(what="reference", detail=detail)


def _shared(what: str) -> StateError:
    hint = "open the device without multi_process_service, when nobody else uses it"
    return StateError(what=what, state="the device is shared through a broker", hint=hint)
