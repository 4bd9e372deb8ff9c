"""A configured network: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from openhailo._units import align_up
from openhailo.driver.link import ChipLink
from openhailo.errors import (
    DeviceError,
    InputError,
    NoReference,
    OpenHailoError,
    StateError,
)
from openhailo.runtime.action_lists import ContextActions, download
from openhailo.runtime.configure.layers import H2D, Layer
from openhailo.runtime.configure.operations import Separator
from openhailo.runtime.describe import describe, read_for
from openhailo.runtime.description import NetworkDescription, TensorInfo, TensorInfos
from openhailo.runtime.formats import Array, FormatOrder, FormatType
from openhailo.runtime.frame_job import Job
from openhailo.runtime.hw_only import CoreSpeed, measure_core
from openhailo.runtime.latency import Latency, LatencyMeter, Measured
from openhailo.runtime.nms_stream import NmsOutputStream
from openhailo.runtime.options import NetworkOptions
from openhailo.runtime.pipeline import Pipeline
from openhailo.runtime.ports import InputPort, OutputPort, Ports, StreamOptions
from openhailo.runtime.session import Session
from openhailo.runtime.stages import StageTimes
from openhailo.runtime.streams import InputStream, OutputStream
from openhailo.runtime.transforms import FramesCopy

if TYPE_CHECKING:
    from openhailo.hef.model import Hef
    from openhailo.runtime.device import Device

#: Computes frames of a network that the chip itself cannot: (input stream -> frame bytes, frame) -> output stream ->
#: frame bytes, all in device format.
FrameReference = Callable[[Mapping[int, memoryview], Any], Mapping[int, bytes]]


class ProgramReference(Protocol):
    """Present where a chip executes our own programs only: binds the numerics of any other network.

    The opener of a device provides it together with the link; a card has none.
    """

    def __call__(self, reference: FrameReference | None, *, application: int | None = None) -> None:
        """Let ``reference`` compute the network group ``application``; None unbinds."""
        ...


def cycles(frames: int, most: int) -> tuple[int, int]:
    """Return how many frames each cycle through the contexts takes, at most ``most``, and in all cycles together.

    No more cycles than necessary, and as few frames too many as that allows.
    """
    if not frames:
        return most, 0
    batch = -(-frames // -(-frames // most))
    return batch, align_up(frames, batch)


class Network:
    """A network on a device. Call it with an array (one input) or a dict of arrays by input name.

    An array is one frame, or a batch with a leading axis; float32 is quantised, integers of the device's type are taken
    as they are. Results are a dict by output name: float32, or the device's integers with ``raw=True``.
    Calls may come from several threads; their frames are interleaved.
    """

    def __init__(self, device: Device, description: NetworkDescription, options: NetworkOptions) -> None:
        """Use `openhailo.runtime.device.Device.load`."""
        self._device, self.description, self.options = device, description, options
        self.name = description.name
        self.reference: FrameReference | None = None
        self._session: Session | None = None
        self._pipeline: Pipeline | None = None
        self._meter: LatencyMeter | None = None
        self._streams: list[InputStream | OutputStream] = []
        self._inputs: list[InputPort] = []
        self._outputs: list[OutputPort] = []
        self._in_order = True
        self._application = 0
        #: The chip cannot compute this network unless a reference is bound.
        self.needs_reference = False
        self._unbind: Callable[[], None] | None = None
        #: Most frames of a cycle through the contexts, and those that the firmware takes now.
        self._pad_to = max(options.batch_size, 1) if description.multi_context else 1
        self._cycle_frames = self._pad_to

    @classmethod
    def plan(cls, device: Device, content: bytes | Hef, group: str | None, options: NetworkOptions) -> Network:
        """Read a HEF and choose a network group. Raises `HefError`, `InputError`."""
        architecture = device.identify().architecture
        file = read_for(content, architecture)
        clusters = device.information().partial_clusters_layout_bitmap
        description = describe(file, group, architecture, clusters)
        if not options.host_ops:
            description = description.without_host_ops()
        return cls(device, description, options)

    # --- life, under the device's lock ------------------------------------------------------------------------------

    def configure(self, application: int, reference_port: ProgramReference | None) -> None:
        """Allocate, plan the transformations and tell the firmware; ``application`` is the index it will have."""
        device, description, options = self._device, self.description, self.options
        self._application = application
        self._session = Session(
            device.link,
            device.firmware,
            description,
            batch_size=options.batch_size,
            transfers=options.queue_transfers,
            performance=options.performance,
            repeat_queries=options.repeat_queries,
        )
        self._session.configure()
        try:
            self._make_streams(device.link)
            self._bind_reference(reference_port)
        except BaseException:
            self.free()
            raise

    def _make_streams(self, link: ChipLink) -> None:
        assert self._session is not None, "configure makes it"
        options = StreamOptions(self.options.output_refill, self.options.interrupt_at_start)
        ports = Ports(link, self.description, self.order_of, options, self._streams, self.options.output_orders.get)
        ports.open(self._session.boundary)
        self._inputs, self._outputs = ports.inputs, ports.outputs
        self._in_order = [info.name for info in self._output_infos()] == list(self.description.outputs)
        self._pipeline = Pipeline(
            link,
            [stream for port in ports.inputs for stream in port.streams],
            [stream for port in ports.outputs for stream in port.streams],
            name=self.name,
            timeout_s=self.options.timeout_s,
            describe_failure=self._describe_failure,
            clock=self._device.clock,
        )
        if self.options.measure_latency:
            self._meter = self._pipeline.meter = self._latency_meter()

    def _latency_meter(self) -> LatencyMeter:
        """Return a meter of the streams. Raises `InputError` where there is nothing to measure between."""
        if any(isinstance(stream, NmsOutputStream) for stream in self._streams):
            raise InputError(what="latency measurement", detail="boxes from the chip come in transfers of any number")
        ins = [_measured(stream) for stream in self._streams if isinstance(stream, InputStream)]
        outs = [_measured(stream) for stream in self._streams if isinstance(stream, OutputStream)]
        link: Any = self._device.link
        # Only a link over the kernel driver can have the interrupts' own times, and has them when it was asked to.
        noted = getattr(getattr(link, "options", None), "measure_timestamps", False)
        return LatencyMeter(ins, outs, self._device.clock, link.read_timestamps if noted else None)

    def latency(self, *, clear: bool = False) -> Latency | None:
        """Return the hardware's latency since the start or the last clear; None when no frame was measured.

        Raises `StateError` when it was not configured with ``measure_latency``.
        """
        if self._meter is None:
            raise StateError(what="reading latency", state="it is not measured", hint="load with measure_latency=True")
        return self._meter.read(clear=clear)

    def order_of(self, layer: Layer) -> FormatOrder:
        """Return the user's order of a layer: chosen by name, else the usual one of its device order."""
        chosen = self.options.input_orders if layer.direction is H2D else self.options.output_orders
        return chosen.get(layer.name, layer.user_order)

    def _output_infos(self) -> Iterator[TensorInfo]:
        return (info for port in self._outputs for info in port.infos)

    def _bind_reference(self, port: ProgramReference | None) -> None:
        self.needs_reference = port is not None and not self.description.is_program
        if port is not None and self.reference is not None:
            application = self._application
            port(self.reference, application=application)
            self._unbind = lambda: port(None, application=application)

    def enter(self) -> None:
        """Activate: the firmware starts the channels, then frames may flow. Raises `NoReference`."""
        self._require_reference()
        pipeline = self._require_loaded()
        usual = self._cycle_frames == self._pad_to
        batch = self.options.dynamic_batch_size if usual else self._cycle_frames
        self._device.firmware.enable_application(self._application, batch)
        self._device.link.enable_channels(pipeline.bitmap)
        try:
            pipeline.start()
        except StateError as error:
            # A run-time error of the action lists stops the channels; its reason comes as a notification.
            reason = self._describe_failure() or str(error)
            raise DeviceError(f"{self.name} could not be activated: {reason}; check the HEF") from error

    def plan_batch(self, frames: int) -> int:
        """Choose, before an activation, the number of frames of a cycle; return it."""
        self._cycle_frames, _ = cycles(frames, self._pad_to)
        return self._cycle_frames

    def take_batch(self, frames: int) -> None:
        """Let a cycle through the contexts take as many frames as suit a job of ``frames``; 0 for the usual number.

        Called under the device's lock while the network runs. Frames in flight are waited for: they belong to cycles
        of the old size. Firmware that can changes the batch as it runs, else the network is activated again
        (context-switch.md 15).
        """
        if cycles(frames, self._pad_to)[0] == self._cycle_frames:
            return
        self.drain()
        wanted = self.plan_batch(frames)
        if self.description.features.can_fast_batch_switch:
            self._device.firmware.enable_application(self._application, wanted)
        else:
            self.leave()
            self.enter()

    def leave(self) -> None:
        """Take the channels back; frames in flight are cancelled."""
        pipeline = self._require_loaded()
        try:
            self._device.link.disable_channels(pipeline.bitmap)
        finally:
            pipeline.stop()

    def drain(self) -> None:
        """Wait until no frame is in flight."""
        self._require_loaded().drain()

    def free(self) -> None:
        """Give memory and descriptor lists back; the network must not run. Idempotent."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()
        while self._streams:
            self._streams.pop().close()
        session, self._session = self._session, None
        if session is not None:
            session.close()
        unbind, self._unbind = self._unbind, None
        if unbind is not None:
            unbind()

    @property
    def broken(self) -> bool:
        """Whether frames were lost since the activation; the next call activates the network again."""
        return self._pipeline is not None and self._pipeline.broken is not None

    def _describe_failure(self) -> str:
        """Return what the firmware said on its own since somebody last asked; empty when it said nothing."""
        said = []
        with suppress(OpenHailoError):
            while (notification := self._device.read_notification(0.0)) is not None:
                values = dict(notification.values)
                status = values.pop("exit_status", None)
                name = self._device.spec.status_names.get(int(status), hex(int(status))) if status is not None else ""
                details = ", ".join(f"{key} {value}" for key, value in values.items())
                said.append(f"{notification.name} {name} ({details})".replace("  ", " "))
        return "; ".join(said)

    def _require_reference(self) -> None:
        if self.needs_reference and self.reference is None:
            raise NoReference(name=self.name)

    def _require_loaded(self) -> Pipeline:
        if self._pipeline is None:
            raise StateError(what=f"using {self.name}", state="unloaded", hint="load it again")
        return self._pipeline

    # --- use --------------------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> TensorInfos:
        """The inputs, in metadata order."""
        return TensorInfos(port.info for port in self._inputs)

    @property
    def outputs(self) -> TensorInfos:
        """The outputs, in the order of the results: ``network.outputs["boxes"].nms.score_threshold = 0.3``."""
        infos = {info.name: info for info in self._output_infos()}
        return TensorInfos(infos[name] for name in self.description.outputs if name in infos)

    @property
    def input_ports(self) -> Sequence[InputPort]:
        """What stands between a user's input arrays and the streams."""
        return self._inputs

    @property
    def output_ports(self) -> Sequence[OutputPort]:
        """What stands between the streams and a user's output arrays."""
        return self._outputs

    @property
    def pipeline(self) -> Pipeline:
        """Where jobs of the network go. Raises `StateError` when it was unloaded."""
        return self._require_loaded()

    @property
    def link(self) -> ChipLink:
        """The way to the chip that it is on."""
        return self._device.link

    @property
    def most_cycle_frames(self) -> int:
        """Most frames of a cycle through the contexts; 1 where there is one context."""
        return self._pad_to

    def missing_frames(self, frames: int) -> int:
        """Return how many frames have to be added to ``frames``, so that cycles through the contexts are full."""
        return cycles(frames, self._pad_to)[1] - frames if self._pad_to > 1 else 0

    @property
    def queue_depth(self) -> int:
        """Frames that fit into the queues of the channels (runtime-behaviour.md 2: 32, fewer when they are large)."""
        # A frame of boxes takes as many transfers as it has boxes, so those streams say nothing here.
        streams = [stream for stream in self._streams if not isinstance(stream, NmsOutputStream)]
        return max(1, min(stream.ring.depth for stream in streams))

    def __call__(self, inputs: Any, *, raw: bool = False) -> dict[str, Any]:
        """Run one frame or a batch and return the outputs by name.

        Raises `ShapeMismatch`, `InputError`, `NoReference`, `DeviceTimeout`, `DeviceError`.
        """
        job = self._job(inputs, raw)
        device = self._device
        pipeline = self._require_loaded()
        with device.lock:
            device.activate(self, frames=job.count)
            pipeline.enqueue(job)
        pipeline.wait(job)
        return job.finish()  # type: ignore[no-any-return, misc]

    def submit(self, inputs: Any, *, raw: bool = False) -> Future[dict[str, Any]]:
        """Queue one frame or a batch; the future gives what a call returns, or raises what a call raises.

        The arrays must not be changed before the future is done.
        """
        job = self._job(inputs, raw)
        device = self._device
        pipeline = self._require_loaded()
        with device.lock:
            device.activate(self, frames=job.count)
            return pipeline.submit(job)

    def measure(self) -> AbstractContextManager[StageTimes]:
        """Add up where calls spend their time while the context is open; it costs nothing otherwise."""
        return self._require_loaded().measure()

    def _job(self, inputs: Any, raw: bool) -> Job:
        arrays, writers, batched = self._gather(inputs)
        count = len(arrays[0])
        _, padded = cycles(count, self._pad_to)
        if padded != count:
            arrays = [np.concatenate([a, np.zeros((padded - count, *a.shape[1:]), a.dtype)]) for a in arrays]
        kind = FormatType.AUTO if raw else FormatType.FLOAT32
        results: list[Any] = []
        readers: list[Any] = []
        made: list[tuple[OutputPort, list[Any]]] = []
        for port in self._outputs:
            sinks = port.begin(padded, kind)
            made.append((port, [out for out, _ in sinks]))
            results += made[-1][1]
            readers += [reader for _, reader in sinks]

        def finish() -> dict[str, Any]:
            found = {
                info.name: result
                for port, outs in made
                for info, result in zip(port.infos, port.finish(outs, count, batched), strict=True)
            }
            return found if self._in_order else {name: found[name] for name in self.description.outputs}

        return Job(padded, arrays, writers, results, readers, finish)

    def _gather(self, inputs: Any) -> tuple[list[Array], list[FramesCopy], bool]:
        ports = self._inputs
        if not isinstance(inputs, Mapping):
            if len(ports) != 1:
                names = ", ".join(repr(port.info.name) for port in ports)
                raise InputError(what=self.name, detail=f"has several inputs: give a dict of arrays with {names}")
            inputs = {ports[0].info.name: inputs}
        elif inputs.keys() != {port.info.name for port in ports}:
            wanted = sorted(port.info.name for port in ports)
            raise InputError(what=self.name, detail=f"its inputs are {wanted}, got {sorted(map(str, inputs))}")
        arrays, writers = [], []
        batches = set()
        for port in ports:
            array, kind, batched = port.frames(inputs[port.info.name])
            copies = port.copies(kind)
            arrays += [array] * len(copies)
            writers += copies
            batches.add((len(array), batched))
        if len(batches) != 1:
            raise InputError(what=self.name, detail=f"inputs differ in their number of frames: {sorted(batches)}")
        return arrays, writers, batches.pop()[1]

    def measure_core(self) -> CoreSpeed:
        """Let the chip run frames of zeros without the host, as fast as it can; what ran before is stopped.

        Raises `DoesNotFit`, `NoReference`, `DeviceTimeout`, `DeviceError`, `ControlFailed`.
        """
        device = self._device
        with device.lock, device.resting():
            self._require_loaded()
            self._require_reference()
            assert self._session is not None, "it is loaded"
            return measure_core(
                device.link,
                device.firmware,
                self._session.boundary,
                self._application,
                batch_size=self._pad_to,
                read_notification=device.read_notification,
            )

    def action_lists(self) -> tuple[ContextActions, ...]:
        """Download the lists that the firmware executes for this network, with times where it was told to stamp.

        Raises `ControlFailed`, `MalformedReply`.
        """
        self._require_loaded()
        described = self.description
        steps = (step for step in described.preliminary.before if not isinstance(step, Separator))
        has_preliminary = described.features.preliminary_run_asap or any(True for _ in steps)
        lists = download(self._device.firmware, self._application, len(described.contexts), preliminary=has_preliminary)
        return tuple(lists)

    def stamp_actions(self, batch_index: int | None) -> None:
        """Have the firmware note when it does each action, in the ``batch_index``-th cycle of the next activation.

        None ends it. The network is stopped, so that the next call activates it.
        """
        device = self._device
        with device.lock, device.resting():
            device.firmware.set_timestamps(batch_index or 0, enable=batch_index is not None)

    def close(self) -> None:
        """Unload it from the device. Idempotent."""
        self._device.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        shapes = ", ".join(f"{info.name} {info.shape}" for info in (*self.inputs, *self.outputs))
        return f"<Network {self.name}: {shapes}>"


def _measured(stream: InputStream | OutputStream) -> Measured:
    return Measured(stream.channel, stream.ring.descs_per_transfer, stream.dlist.count)
