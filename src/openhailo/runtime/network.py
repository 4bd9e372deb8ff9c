"""A configured network: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from openhailo.driver.link import ChipLink
from openhailo.errors import (
    DeviceError,
    InputError,
    NoReference,
    OpenHailoError,
    ShapeMismatch,
    StateError,
    UnsupportedHef,
)
from openhailo.runtime.configure.layers import H2D, Layer
from openhailo.runtime.describe import describe, read_for
from openhailo.runtime.description import NetworkDescription, TensorInfo
from openhailo.runtime.formats import Array, FormatOrder, FormatType
from openhailo.runtime.pipeline import Job, Pipeline
from openhailo.runtime.session import Session
from openhailo.runtime.streams import InputStream, OutputRefill, OutputStream
from openhailo.runtime.transforms import FramesCopy, plan_input, plan_output
from openhailo.spec.limits import FRAME_TIMEOUT_S, MAX_BATCH_SIZE

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


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is configured.

    Args:
        batch_size: frames that a multi-context network takes at a time (0: the file's default).
        timeout_s: longest time without a frame before `DeviceTimeout`.
        queue_transfers: transfers per channel, 32, or 8 as in the vendor's packaged build (context-switch.md 13).
        performance: the ordinary power mode; False keeps small buffers (ultra performance).
        dynamic_batch_size: frames per burst that the firmware is told at the activation (0: ``batch_size``); the
            vendor's scheduler says 1 to single-context networks.
        output_refill: when output slots are handed to the device (see `openhailo.runtime.streams.OutputRefill`).
        interrupt_at_start: the host is interrupted when the device begins to read a frame as well.
        repeat_queries: ask the firmware for its constants before every list, as the vendor's library does.
        input_orders, output_orders: user's order of a layer by name, where it is not the default.
    """

    batch_size: int = 0
    timeout_s: float = FRAME_TIMEOUT_S
    queue_transfers: int = 32
    performance: bool = True
    dynamic_batch_size: int = 0
    output_refill: OutputRefill = OutputRefill.HALF
    interrupt_at_start: bool = False
    repeat_queries: bool = False
    input_orders: Mapping[str, FormatOrder] = field(default_factory=dict)
    output_orders: Mapping[str, FormatOrder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.batch_size <= MAX_BATCH_SIZE:
            raise InputError(what="batch_size", detail=f"{self.batch_size} is not in 0..{MAX_BATCH_SIZE}")
        if not 0 <= self.dynamic_batch_size <= MAX_BATCH_SIZE:
            detail = f"{self.dynamic_batch_size} is not in 0..{MAX_BATCH_SIZE}"
            raise InputError(what="dynamic_batch_size", detail=detail)
        if self.queue_transfers < 1:
            raise InputError(what="queue_transfers", detail=f"{self.queue_transfers} is below 1")
        if not self.timeout_s > 0:
            raise InputError(what="timeout_s", detail=f"{self.timeout_s} is not positive")


class _Port:
    """One input or output: the layer's view for the user and its bound copies by element type."""

    def __init__(self, info: TensorInfo, bind: Callable[[FormatType], FramesCopy]) -> None:
        self.info = info
        self._bind = bind
        self._copies: dict[FormatType, FramesCopy] = {}

    def copy(self, kind: FormatType) -> FramesCopy:
        """Return the copy for the user's element type; made when it is first used."""
        try:
            return self._copies[kind]
        except KeyError:
            copy = self._copies[kind] = self._bind(kind)
            return copy


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
        self._streams: list[InputStream | OutputStream] = []
        self._inputs: list[_Port] = []
        self._outputs: list[_Port] = []
        self._application = 0
        #: The chip cannot compute this network unless a reference is bound.
        self.needs_reference = False
        self._unbind: Callable[[], None] | None = None
        self._pad_to = max(options.batch_size, 1) if description.multi_context else 1

    @classmethod
    def plan(cls, device: Device, content: bytes | Hef, group: str | None, options: NetworkOptions) -> Network:
        """Read a HEF and choose a network group. Raises `HefError`, `InputError`."""
        architecture = device.identify().architecture
        file = read_for(content, architecture)
        clusters = device.information().partial_clusters_layout_bitmap
        description = describe(file, group, architecture, clusters)
        if any(layer.nms is not None for layer in description.boundary):
            raise UnsupportedHef(feature="boxes sorted out on the chip", hint="compile the model without on-chip NMS")
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
        inputs, outputs = [], {}
        for boundary in self._session.boundary:
            layer = boundary.layer
            if layer.direction is H2D:
                source = InputStream(link, layer.name, boundary.channel, boundary.dlist, boundary.ring)
                if self.options.interrupt_at_start:
                    source.interrupt_at_start()
                self._streams.append(source)
                inputs.append(source)
                self._inputs.append(self._input_port(source, layer))
            else:
                sink = OutputStream(link, layer.name, boundary.channel, boundary.dlist, boundary.ring)
                sink.refill = self.options.output_refill
                self._streams.append(sink)
                outputs[layer.name] = (sink, self._output_port(sink, layer))
        ordered = [outputs[name] for name in self.description.outputs]
        self._outputs = [port for _, port in ordered]
        self._pipeline = Pipeline(
            link,
            inputs,
            [sink for sink, _ in ordered],
            name=self.name,
            timeout_s=self.options.timeout_s,
            describe_failure=self._describe_failure,
        )

    def _input_port(self, stream: InputStream, layer: Layer) -> _Port:
        order = self.options.input_orders.get(layer.name, layer.user_order)
        plan_input(layer.layout, layer.quantization, order=order)

        def bind(kind: FormatType) -> FramesCopy:
            plan = plan_input(layer.layout, layer.quantization, order=order, user_type=kind)
            return plan.bind(stream.slots.view, stream.slots.stride)

        return _Port(TensorInfo.of(layer, order), bind)

    def _output_port(self, stream: OutputStream, layer: Layer) -> _Port:
        order = self.options.output_orders.get(layer.name, layer.user_order)
        plan_output(layer.layout, layer.quantization, order=order)

        def bind(kind: FormatType) -> FramesCopy:
            plan = plan_output(layer.layout, layer.quantization, order=order, user_type=kind)
            return plan.bind(stream.slots.view, stream.slots.stride)

        return _Port(TensorInfo.of(layer, order), bind)

    def _bind_reference(self, port: ProgramReference | None) -> None:
        self.needs_reference = port is not None and not self.description.is_program
        if port is not None and self.reference is not None:
            application = self._application
            port(self.reference, application=application)
            self._unbind = lambda: port(None, application=application)

    def enter(self) -> None:
        """Activate: the firmware starts the channels, then frames may flow. Raises `NoReference`."""
        if self.needs_reference and self.reference is None:
            raise NoReference(name=self.name)
        pipeline = self._require_loaded()
        self._device.firmware.enable_application(self._application, self.options.dynamic_batch_size)
        self._device.link.enable_channels(pipeline.bitmap)
        try:
            pipeline.start()
        except StateError as error:
            # A run-time error of the action lists stops the channels; its reason comes as a notification.
            reason = self._describe_failure() or str(error)
            raise DeviceError(f"{self.name} could not be activated: {reason}; check the HEF") from error

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

    def _require_loaded(self) -> Pipeline:
        if self._pipeline is None:
            raise StateError(what=f"using {self.name}", state="unloaded", hint="load it again")
        return self._pipeline

    # --- use --------------------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs, in metadata order."""
        return tuple(port.info for port in self._inputs)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs, in the order of the results."""
        return tuple(port.info for port in self._outputs)

    def __call__(self, inputs: Any, *, raw: bool = False) -> dict[str, Array]:
        """Run one frame or a batch and return the outputs by name.

        Raises `ShapeMismatch`, `InputError`, `NoReference`, `DeviceTimeout`, `DeviceError`.
        """
        job = self._job(inputs, raw)
        device = self._device
        pipeline = self._require_loaded()
        with device.lock:
            device.activate(self)
            pipeline.enqueue(job)
        pipeline.wait(job)
        return job.finish()  # type: ignore[no-any-return, misc]

    def submit(self, inputs: Any, *, raw: bool = False) -> Future[dict[str, Array]]:
        """Queue one frame or a batch; the future gives what a call returns, or raises what a call raises.

        The arrays must not be changed before the future is done.
        """
        job = self._job(inputs, raw)
        device = self._device
        pipeline = self._require_loaded()
        with device.lock:
            device.activate(self)
            return pipeline.submit(job)

    def _job(self, inputs: Any, raw: bool) -> Job:
        arrays, writers, batched = self._gather(inputs)
        count = len(arrays[0])
        padded = -(-count // self._pad_to) * self._pad_to
        if padded != count:
            arrays = [np.concatenate([a, np.zeros((padded - count, *a.shape[1:]), a.dtype)]) for a in arrays]
        kind = FormatType.AUTO if raw else FormatType.FLOAT32
        readers = [port.copy(kind) for port in self._outputs]
        results = [
            np.empty((padded, *port.info.shape), port.info.dtype if raw else np.float32) for port in self._outputs
        ]

        def finish() -> dict[str, Array]:
            kept = (result[:count] if batched else result[0] for result in results)
            return {port.info.name: result for port, result in zip(self._outputs, kept, strict=True)}

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
            array, kind, batched = _frames(port.info, inputs[port.info.name])
            arrays.append(array)
            writers.append(port.copy(kind))
            batches.add((len(array), batched))
        if len(batches) != 1:
            raise InputError(what=self.name, detail=f"inputs differ in their number of frames: {sorted(batches)}")
        return arrays, writers, batches.pop()[1]

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
        shapes = ", ".join(f"{port.info.name} {port.info.shape}" for port in (*self._inputs, *self._outputs))
        return f"<Network {self.name}: {shapes}>"


def _frames(info: TensorInfo, value: Any) -> tuple[Array, FormatType, bool]:
    """Return frames (n, *shape), their element type, and whether the caller gave a batch."""
    array = np.asarray(value)
    kind = _kind(info, array)
    if kind is FormatType.FLOAT32 and array.dtype != np.float32:
        array = array.astype(np.float32)
    shape = array.shape
    if shape[1:] == info.shape:
        return np.ascontiguousarray(array), kind, True
    if shape == info.shape:
        return np.ascontiguousarray(array)[None], kind, False
    # A missing or additional axis of length 1 (grey images, NC vectors as 1x1xC) means the same frame; an array of four
    # axes is a batch.
    bare, seen, rest = _bare(info.shape), _bare(shape), _bare(shape[1:])
    if seen == bare and len(shape) < 4:
        return np.ascontiguousarray(array).reshape(1, *info.shape), kind, False
    if shape and rest == bare:
        return np.ascontiguousarray(array).reshape(-1, *info.shape), kind, True
    raise ShapeMismatch(name=info.name, expected=info.shape, seen=shape, detail="or a batch of it with a leading axis")


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _kind(info: TensorInfo, array: Array) -> FormatType:
    if array.dtype == info.dtype:
        return FormatType.AUTO
    if array.dtype.kind == "f":
        return FormatType.FLOAT32
    if array.dtype == np.uint8 and info.dtype == np.uint16:
        return FormatType.UINT8
    raise InputError(
        what=info.name, detail=f"takes float32 or {info.dtype} (already quantised), not {array.dtype}; convert it first"
    )
