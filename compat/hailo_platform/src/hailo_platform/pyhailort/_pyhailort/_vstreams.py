"""Virtual streams of a network group: raw frames in and out, one by one (runtime-behaviour.md 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import Cancelled, StateError
from openhailo.runtime.formats import FormatOrder as OhOrder
from openhailo.runtime.formats import FormatType as OhType
from openhailo.runtime.formats import UserFormat
from openhailo.runtime.frame_plan import Edge, FramePlan
from openhailo.runtime.network_group import NetworkGroup
from openhailo.runtime.request import FrameRequest
from openhailo.runtime.vstream_hub import VStreamHub, hub_of

from ._enums import FormatFlags, FormatOrder, FormatType
from ._errors import Translating, fail
from ._params import VStreamParams
from ._structs import NMS_ORDERS, HailoFormat, VStreamInfo

Array = NDArray[Any]
Params = Mapping[str, VStreamParams]

#: Milliseconds from which on a wait is taken for endless.
_INFINITE_MS = 0x7FFFFFFF
_FOREVER_S = 10 * 365 * 86400.0
_BYTE_ORDERS = (FormatOrder.HAILO_NMS_BY_SCORE, FormatOrder.HAILO_NMS_WITH_BYTE_MASK)


def seconds(timeout_ms: float) -> float:
    """Return a timeout in seconds; HAILO_INFINITE and the like are years."""
    return _FOREVER_S if timeout_ms >= _INFINITE_MS else max(timeout_ms, 0) / 1000


def user_format(params: VStreamParams) -> UserFormat:
    """Return the format that a program chose, in openhailo's terms."""
    chosen = params.user_buffer_format
    return UserFormat(OhType(int(chosen.type)), OhOrder(int(chosen.order)))


def edge_format(edge: Edge) -> HailoFormat:
    """Return the format of a buffer."""
    return HailoFormat(FormatType(int(edge.type)), FormatOrder(int(edge.order)), FormatFlags(0))


def edge_shape(edge: Edge) -> list[int]:
    """Return the shape of a buffer: by score and with masks the bytes of a full frame."""
    return [edge.frame_bytes] if int(edge.order) in map(int, _BYTE_ORDERS) else list(edge.shape)


def edge_dtype(edge: Edge) -> np.dtype[Any]:
    """Return the element type of a buffer: bytes, by score and with masks."""
    return np.dtype(np.uint8) if int(edge.order) in map(int, _BYTE_ORDERS) else edge.dtype


def as_frame(edge: Edge, array: Array) -> Array:
    """Return ``array``, which has the bytes of one frame, as a frame of the edge. Another size is status 2."""
    if array.nbytes != edge.frame_bytes:
        detail = f"{edge.name}: a frame has {edge.frame_bytes} bytes {edge_shape(edge)}, got {array.nbytes}"
        fail("INVALID_ARGUMENT", f"{detail} {list(array.shape)}; frames are counted by a leading axis")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).view(edge.dtype).reshape(edge.shape)


@contextmanager
def running(group: NetworkGroup) -> Iterator[None]:
    """Tell a network that is not active (69) from one that was ended (63)."""
    try:
        yield
    except StateError as error:
        if group.is_active:
            raise
        if group.vdevice.is_manual and not group.model.closed:
            fail("NETWORK_GROUP_NOT_ACTIVATED", str(error))
        fail("STREAM_ABORT", str(error))


def change_boxes(edge: Edge, name: str, value: float) -> None:
    """Change a threshold or limit of an output of boxes; status 6 where the host does not suppress them."""
    settings = edge.info.nms
    if settings is None:
        fail("INVALID_OPERATION", f"{edge.name} has no boxes that the host suppresses")
    setattr(settings, name, value)


class _VStream(Translating):
    def __init__(self, group: NetworkGroup, edge: Edge, params: VStreamParams, info: VStreamInfo) -> None:
        self._group, self._edge, self._info = group, edge, info
        self._hub: VStreamHub = hub_of(group)
        self._timeout_s = seconds(params.timeout_ms)

    @property
    def info(self) -> VStreamInfo:
        """What the stream is."""
        return self._info

    @property
    def shape(self) -> list[int]:
        """The shape of a frame's buffer."""
        return edge_shape(self._edge)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type of a frame's buffer."""
        return edge_dtype(self._edge)

    def get_user_buffer_format(self) -> HailoFormat:
        """The format of a frame's buffer."""
        return edge_format(self._edge)


class InputVStream(_VStream):
    """One input."""

    def send(self, frame: Array) -> None:
        """Queue one frame."""
        with running(self._group):
            if not self._hub.send(self._edge.name, as_frame(self._edge, frame), self._timeout_s):
                fail("TIMEOUT", f"no room for a frame of {self._edge.name}: receive from every output")

    def flush(self) -> None:
        """Wait until every frame was taken."""
        if not self._hub.flush(self._timeout_s):
            fail("TIMEOUT", "frames are still on their way: send to every input, receive from every output")


class OutputVStream(_VStream):
    """One output."""

    def recv(self) -> Array:
        """Return the next frame as it is."""
        with running(self._group):
            found = self._hub.recv(self._edge.name, self._timeout_s)
        if found is None:
            fail("TIMEOUT", f"no frame came out of {self._edge.name}: send to every input first")
        if isinstance(found, Cancelled):
            fail("STREAM_ABORT", str(found))
        if isinstance(found, BaseException):
            raise found
        frame: Array = found[0].reshape(-1).view(self.dtype).reshape(self.shape)
        return frame

    def set_nms_score_threshold(self, threshold: float) -> None:
        """Drop boxes with a lower score."""
        change_boxes(self._edge, "score_threshold", threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        """Drop boxes that a better one overlaps by this much."""
        change_boxes(self._edge, "iou_threshold", threshold)

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        """Keep at most so many boxes of a class."""
        change_boxes(self._edge, "max_proposals_per_class", max_proposals_per_class)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        """Give the masks of a frame so many bytes."""
        change_boxes(self._edge, "max_accumulated_mask_size", max_accumulated_mask_size)


class _VStreams(Translating):
    _is_output = False
    _kind: Callable[..., Any]

    def __init__(self, group: NetworkGroup, params: Params, infos: Mapping[str, VStreamInfo]) -> None:
        self._group, self._params, self._infos = group, dict(params), infos
        unknown = self._params.keys() - infos.keys()
        if unknown:
            fail("NOT_FOUND", f"{group.name} has no {sorted(unknown)}; it has {sorted(infos)}")
        self._streams: dict[str, Any] = {}
        self._open()

    def _open(self) -> None:
        forms = {name: user_format(params) for name, params in self._params.items()}
        sizes = {name: max(params.queue_size, 1) for name, params in self._params.items()}
        edges = hub_of(self._group).open(forms, sizes, is_output=self._is_output)
        for edge in edges:
            kind = type(self)._kind
            self._streams[edge.name] = kind(self._group, edge, self._params[edge.name], self._infos[edge.name])

    def _by_name(self, name: str) -> Any:
        return self._streams.get(name) or fail("NOT_FOUND", f"there is no vstream {name!r}")

    def clear(self) -> None:
        """Forget frames on their way."""
        hub_of(self._group).clear(10.0)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: object) -> None:
        streams, self._streams = self._streams, {}
        if streams:
            hub_of(self._group).close(streams)


class InputVStreams(_VStreams):
    """Opened inputs."""

    _kind = InputVStream

    def get_all_inputs(self) -> dict[str, InputVStream]:
        """Return them by name."""
        return dict(self._streams)

    def get_input_by_name(self, name: str) -> InputVStream:
        """Return one."""
        found: InputVStream = self._by_name(name)
        return found


class OutputVStreams(_VStreams):
    """Opened outputs."""

    _is_output = True
    _kind = OutputVStream

    def get_all_outputs(self) -> dict[str, OutputVStream]:
        """Return them by name."""
        return dict(self._streams)

    def get_output_by_name(self, name: str) -> OutputVStream:
        """Return one."""
        found: OutputVStream = self._by_name(name)
        return found


class InferVStreams(Translating):
    """All inputs and outputs of a network group, for whole batches."""

    def __init__(self, network_group: Any, input_params: Params, output_params: Params) -> None:
        """Plan the formats."""
        self._owner = network_group
        self._group: NetworkGroup = network_group.group
        self._params = {**input_params, **output_params}
        known = {info.name for info in network_group.get_all_vstream_infos()}
        unknown = self._params.keys() - known
        if unknown:
            fail("NOT_FOUND", f"{self._group.name} has no {sorted(unknown)}; it has {sorted(known)}")
        self._plans: list[FramePlan] = self._group.plans({name: user_format(p) for name, p in self._params.items()})
        self._edges: dict[str, Edge] = {edge.name: edge for edge in (*self._plans[0].inputs, *self._plans[0].outputs)}

    def _edge(self, name: str) -> Edge:
        found = self._edges.get(name)
        return found if found is not None else fail("NOT_FOUND", f"there is no vstream {name!r}")

    def get_host_dtype(self, name: str) -> np.dtype[Any]:
        """The element type of a frame's buffer."""
        return edge_dtype(self._edge(name))

    def get_shape(self, name: str) -> list[int]:
        """The shape of a frame's buffer."""
        return edge_shape(self._edge(name))

    def get_user_buffer_format(self, name: str) -> HailoFormat:
        """The format of a frame's buffer."""
        return edge_format(self._edge(name))

    def infer(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array], frames: int) -> None:
        """Run ``frames`` frames from arrays (frames, ...) into others."""
        plan = self._plans[0]
        arrays = [self._batch(edge, inputs, frames) for edge in plan.inputs]
        made = {name: self._batch(self._edge(name), outputs, frames) for name in outputs}
        results = [
            made[edge.name] if edge.name in made else np.empty((frames, *edge.shape), edge.dtype)
            for edge in plan.outputs
        ]
        if not frames:
            return
        request = FrameRequest(self._plans, arrays, results, is_awaited=True)
        with running(self._group):
            self._group.submit([request], room=0)
        longest = max(seconds(params.timeout_ms) for params in self._params.values())
        if not self._group.dispatcher.wait(request, longest * frames):
            fail("TIMEOUT", f"{frames} frames took longer than {longest * frames} s")
        if request.error is not None:
            raise request.error

    def _batch(self, edge: Edge, arrays: Mapping[str, Array], frames: int) -> Array:
        array = arrays.get(edge.name)
        if array is None:
            fail("NOT_FOUND", f"no frames for {edge.name}; give all of {sorted(self._edges)}")
        if array.nbytes != frames * edge.frame_bytes:
            detail = f"{edge.name}: {frames} frames have {frames * edge.frame_bytes} bytes, got {array.nbytes}"
            fail("INVALID_ARGUMENT", f"{detail}; a frame is {edge_shape(edge)} of {edge_dtype(edge)}")
        return array.reshape(-1).view(np.uint8).view(edge.dtype).reshape(frames, *edge.shape)

    def release(self, *args: object) -> None:
        """Let go of everything. Idempotent."""
        self._edges = {}

    def _each_output_of_boxes(self, name: str, value: float) -> None:
        found = [edge for edge in self._plans[0].outputs if edge.info.nms is not None]
        if not found:
            fail("INVALID_OPERATION", f"{self._group.name} has no boxes that the host suppresses")
        for edge in found:
            change_boxes(edge, name, value)

    def set_nms_score_threshold(self, threshold: float) -> None:
        """Drop boxes with a lower score."""
        self._each_output_of_boxes("score_threshold", threshold)

    def set_nms_iou_threshold(self, threshold: float) -> None:
        """Drop boxes that a better one overlaps by this much."""
        self._each_output_of_boxes("iou_threshold", threshold)

    def set_nms_max_proposals_per_class(self, max_proposals_per_class: int) -> None:
        """Keep at most so many boxes of a class."""
        self._each_output_of_boxes("max_proposals_per_class", max_proposals_per_class)

    def set_nms_max_accumulated_mask_size(self, max_accumulated_mask_size: int) -> None:
        """Give the masks of a frame so many bytes."""
        self._each_output_of_boxes("max_accumulated_mask_size", max_accumulated_mask_size)


def is_boxes(order: FormatOrder) -> bool:
    """Whether an order is one of boxes."""
    return order in NMS_ORDERS
