"""How frames in a user's formats get into a network and out of it: planned once per network and choice of formats."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any, Protocol

import numpy as np

from openhailo.driver.link import BufferRange, ChipLink, DmaDirection
from openhailo.errors import InputError
from openhailo.runtime.description import TensorInfo
from openhailo.runtime.formats import DTYPES, Array, FormatOrder, FormatType, Quantization, UserFormat
from openhailo.runtime.frame_job import Direct, Job
from openhailo.runtime.host_ops.layouts import pack
from openhailo.runtime.memory import UserMapping, UserMemory
from openhailo.runtime.ports import InputPort, MuxOutput, OutputPort, TensorOutput

_REAL = DTYPES[FormatType.FLOAT32]
#: Orders whose frames are packed boxes of varying number (runtime-behaviour.md 15).
BOX_ORDERS = frozenset(
    {FormatOrder.HAILO_NMS_BY_CLASS, FormatOrder.HAILO_NMS_BY_SCORE, FormatOrder.HAILO_NMS_WITH_BYTE_MASK}
)
Transfers = Sequence[Sequence[BufferRange]]


@dataclass(frozen=True)
class Edge:
    """An input or output as a user's buffer holds it: ``shape`` and ``dtype`` of one frame."""

    info: TensorInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def order(self) -> FormatOrder:
        """The order of its elements."""
        return self.info.order

    @property
    def quantization(self) -> Quantization:
        """How its numbers become integers."""
        return self.info.quantization

    @property
    def type(self) -> FormatType:
        """The type of its elements."""
        return next(kind for kind, dtype in DTYPES.items() if dtype == self.dtype)

    @cached_property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def is_boxes(self) -> bool:
        """Whether a frame is packed boxes."""
        return self.order in BOX_ORDERS

    @property
    def now(self) -> Edge:
        """The edge as it is now: limits of boxes may have been changed since, and with them the size of a frame."""
        return self if self.info.nms is None else _edge(self.info)

    def empty(self, count: int) -> Array:
        """Return an array for ``count`` frames as they are now."""
        edge = self.now
        return np.empty((count, *edge.shape), edge.dtype)


class Ported(Protocol):
    """What a plan needs of a network, configured or only outlined."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def link(self) -> ChipLink:
        """The way to the chip that it is on."""
        ...

    @property
    def input_ports(self) -> Sequence[InputPort]:
        """Its inputs."""
        ...

    @property
    def output_ports(self) -> Sequence[OutputPort]:
        """Its outputs."""
        ...

    @property
    def outputs(self) -> Sequence[TensorInfo]:
        """Its outputs in the order of results."""
        ...


class FramePlan:
    """Makes the jobs of a network from arrays of frames in the formats of ``inputs`` and ``outputs``."""

    def __init__(self, network: Ported, forms: Mapping[str, UserFormat]) -> None:
        """Plan. Raises `InputError` for a format that an edge does not have, or for a name that is no edge's."""
        self._memory = UserMemory(network.link)
        ports = network.input_ports
        self._in_forms = [forms.get(port.info.name, UserFormat()) for port in ports]
        self.inputs = tuple(_edge(port.view(form)) for port, form in zip(ports, self._in_forms, strict=True))
        copies = [port.copies_as(form) for port, form in zip(ports, self._in_forms, strict=True)]
        self._writers = [copy for each in copies for copy in each]
        self._fan_out = [(index, len(each)) for index, each in enumerate(copies)]
        self._read_in_place = [
            len(each) == 1 and edge.frame_bytes >= mmap.PAGESIZE and port.takes_memory(form)
            for each, edge, port, form in zip(copies, self.inputs, ports, self._in_forms, strict=True)
        ]
        places = {info.name: index for index, info in enumerate(network.outputs)}
        self._sinks = [_sink_of(port, forms, places) for port in network.output_ports]
        edges = {edge.name: edge for sink in self._sinks for edge in sink.edges}
        self.outputs = tuple(edges[name] for name in places)
        unknown = forms.keys() - {edge.name for edge in (*self.inputs, *self.outputs)}
        if unknown:
            raise InputError(what=network.name, detail=f"has no inputs or outputs {sorted(unknown)}")
        self._in_place = any(self._read_in_place) or any(sink.in_place for sink in self._sinks)

    def job(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> Job:
        """Return the job of frames in ``inputs``, (n, *shape) each, into ``outputs``, in edge order."""
        count = len(inputs[0])
        fed = [inputs[index] for index, copies in self._fan_out for _ in range(copies)]
        sinks: list[tuple[Any, Any]] = []
        finishers: list[Callable[[], None]] = []
        for sink in self._sinks:
            found, finish = sink.begin(outputs, count)
            sinks += found
            if finish is not None:
                finishers.append(finish)
        job = Job(count, fed, self._writers, [out for out, _ in sinks], [read for _, read in sinks])
        if self._in_place:
            self._use_memory(job, inputs, outputs, finishers)
        if finishers:
            job.finish = lambda: [finish() for finish in finishers]
        return job

    def filler(self, count: int) -> Job:
        """Return a job of ``count`` frames of zeros whose results nobody wants.

        A cycle through the contexts of a network takes so many frames, no fewer (context-switch.md 15).
        """
        inputs = [np.zeros((count, *edge.shape), edge.dtype) for edge in self.inputs]
        return self.job(inputs, [edge.empty(count) for edge in self.outputs])

    def close(self) -> None:
        """Unmap memory of the user's; nothing may be in flight. Idempotent."""
        self._memory.close()

    def _use_memory(
        self, job: Job, inputs: Sequence[Array], outputs: Sequence[Array], finishers: list[Callable[[], None]]
    ) -> None:
        """Have the device use the user's memory where it can."""
        memory, held = self._memory, list[UserMapping]()

        def place(frames: Array, edge: Edge, direction: DmaDirection) -> Transfers | None:
            found = memory.acquire(frames, edge.frame_bytes, direction)
            if found is None:
                return None
            held.append(found[0])
            return found[1]

        to, back = DmaDirection.TO_DEVICE, DmaDirection.FROM_DEVICE
        ins: list[Transfers | None] = []
        for (index, copies), usable in zip(self._fan_out, self._read_in_place, strict=True):
            ins += [place(inputs[index], self.inputs[index], to) if usable else None] * copies
        outs: list[Transfers | None] = []
        for sink in self._sinks:
            edge = sink.edges[0]
            found = place(outputs[sink.places[0]], edge, back) if sink.in_place else None
            outs += [found] * sink.streams
        if held:
            job.direct = Direct(ins, outs)
            job.release = partial(memory.release, held)


class _Sink:
    """One output port: its edges, their places among the outputs, and what receives frames of it."""

    in_place = False

    def __init__(self, port: OutputPort, edges: Sequence[Edge], places: Sequence[int]) -> None:
        self._port, self.edges, self.places = port, tuple(edges), tuple(places)
        self.streams = len(port.streams)

    def begin(self, outputs: Sequence[Array], count: int) -> tuple[list[tuple[Any, Any]], Callable[[], None] | None]:
        """Return a sink per stream, and what has to be done when the frames are there."""
        port = self._port
        sinks = port.begin(count, FormatType.FLOAT32)
        outs = [out for out, _ in sinks]

        def finish() -> None:
            results = port.finish(outs, count, True)
            for edge, place, result in zip(self.edges, self.places, results, strict=True):
                _store(edge, result, outputs[place])

        return sinks, finish


class _CopySink(_Sink):
    """Frames go straight from the slots of the ring to the user's arrays, or there by themselves."""

    def __init__(
        self, port: TensorOutput | MuxOutput, edges: Sequence[Edge], places: Sequence[int], forms: Sequence[UserFormat]
    ) -> None:
        super().__init__(port, edges, places)
        self._copies, self._forms = port, tuple(forms)
        self.in_place = (
            isinstance(port, TensorOutput)
            and port.streams[0].is_paired
            and edges[0].frame_bytes >= mmap.PAGESIZE
            and port.takes_memory(forms[0])
        )

    def begin(self, outputs: Sequence[Array], count: int) -> tuple[list[tuple[Any, Any]], Callable[[], None] | None]:
        """Return the sink of the stream."""
        return [self._copies.sink([outputs[place] for place in self.places], self._forms)], None


def _sink_of(port: OutputPort, forms: Mapping[str, UserFormat], places: Mapping[str, int]) -> _Sink:
    chosen = [forms.get(info.name, UserFormat()) for info in port.infos]
    at = [places[info.name] for info in port.infos]
    if isinstance(port, TensorOutput | MuxOutput):
        return _CopySink(port, [_edge(info) for info in port.views(chosen)], at, chosen)
    for info, form in zip(port.infos, chosen, strict=True):
        if form.order not in (FormatOrder.AUTO, info.order):
            raise InputError(what=f"format {form.order.name} of {info.name!r}", detail=f"it is {info.order.name} only")
        if form.type not in (FormatType.AUTO, FormatType.FLOAT32) and info.order in BOX_ORDERS:
            raise InputError(what=f"type {form.type.name} of {info.name!r}", detail="boxes are FLOAT32")
    return _Sink(port, [_edge(_typed(info, form)) for info, form in zip(port.infos, chosen, strict=True)], at)


def _typed(info: TensorInfo, form: UserFormat) -> TensorInfo:
    """Return the result of a host op in the user's type: indices in any that holds them, real numbers as they are."""
    if form.type is FormatType.AUTO or info.order in BOX_ORDERS:
        return info
    dtype = DTYPES[form.type]
    if not np.can_cast(info.dtype, dtype):
        raise InputError(what=f"type {form.type.name} of {info.name!r}", detail=f"it is {info.dtype}")
    return replace(info, dtype=dtype)


def _edge(info: TensorInfo) -> Edge:
    """Return the edge of ``info``; boxes are packed (runtime-behaviour.md 15)."""
    by_class = info.order is FormatOrder.HAILO_NMS_BY_CLASS
    if info.nms is not None:
        size = info.nms.frame_bytes
        return Edge(info, (size // 4,), _REAL) if by_class else Edge(info, (size,), DTYPES[FormatType.UINT8])
    if by_class:
        classes, numbers, most = info.shape
        return Edge(info, (classes * (1 + numbers * most),), _REAL)
    return Edge(info, info.shape, info.dtype)


def _store(edge: Edge, result: Any, out: Array) -> None:
    """Put the frames of a result into the user's buffer."""
    if edge.is_boxes:
        for frame, place in zip(result, out, strict=True):
            pack(frame, edge.order, place)
    else:
        np.copyto(out, np.asarray(result).reshape(out.shape), casting="unsafe")
