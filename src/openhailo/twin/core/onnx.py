"""The ``onnx`` program kind: a quantized graph that ONNX Runtime executes between wire-format frame buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openhailo.errors import BadProgram

from .graph import check_graph
from .kernel import StreamPort
from .program import IoRecord, Program

#: A batch moves at most this many frame bytes: beyond it the work of one frame dwarfs the cost of a call, and several
#: frames at a time only push each other out of the processor's caches.
BATCH_BUDGET_BYTES = 1024 * 1024
MAX_BATCH = 32

_TENSOR_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint16)": np.dtype("<u2"),
}


def make_session_options() -> Any:
    """Return the ONNX Runtime options under which twin results are reproducible bit for bit.

    A comparison against ONNX Runtime alone must use the same options: the same fusions run then.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    return options


def make_session(model: bytes | memoryview) -> Any:
    """Open ``model`` (a serialized ONNX ModelProto) for the processor. Raises `BadProgram` when it cannot run."""
    import onnxruntime

    check_graph(model)
    options, providers = make_session_options(), ["CPUExecutionProvider"]
    try:
        # The fallback to another provider prints to standard output, and there is no other.
        return onnxruntime.InferenceSession(bytes(model), options, providers=providers, enable_fallback=0)
    except Exception as error:
        raise BadProgram(detail=f"ONNX Runtime refuses the graph: {error}") from error


@dataclass
class _Port:
    """Buffers of one stream: ``wire`` (frames x transfer bytes) and the tensor that the session sees.

    ``layout`` is the part of ``wire`` that carries the tensor, viewed in the tensor's axis order; None when wire and
    tensor are the same bytes.
    """

    record: IoRecord
    wire: npt.NDArray[np.uint8]
    tensor: npt.NDArray[Any]
    layout: npt.NDArray[Any] | None

    def load(self, frames: int) -> None:
        """Wire -> tensor."""
        if self.layout is not None:
            np.copyto(self.tensor[:frames], self.layout[:frames].reshape(self.tensor[:frames].shape))

    def store(self, frames: int) -> None:
        """Tensor -> wire; padding on the wire stays zero."""
        if self.layout is not None:
            np.copyto(self.layout[:frames], self.tensor[:frames].reshape(self.layout[:frames].shape))


def _layout_view(record: IoRecord, wire: npt.NDArray[np.uint8], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """View the payload of ``wire`` as (frames, height, width, features), padding cut off."""
    height, width, features = record.padded_shape
    payload = wire[:, : height * width * features * dtype.itemsize].view(dtype)
    if record.is_nhcw:
        view = payload.reshape(len(wire), height, features, width).transpose(0, 1, 3, 2)
    else:
        view = payload.reshape(len(wire), height, width, features)
    return view[:, : record.shape[0], : record.shape[1], : record.shape[2]]


def _make_port(record: IoRecord, tensor_shape: Sequence[int], dtype: np.dtype[Any], frames: int) -> _Port:
    if int(np.prod(tensor_shape)) != int(np.prod(record.shape)):
        raise BadProgram(detail=f"{record.name}: the graph has shape {list(tensor_shape)}, the record {record.shape}")
    wire = np.zeros((frames, record.transfer_bytes), np.uint8)
    plain = record.padded_shape == record.shape and not record.is_nhcw
    if plain and record.transfer_bytes == record.frame_bytes:
        return _Port(record, wire, wire.view(dtype).reshape(frames, *tensor_shape), None)
    tensor = np.zeros((frames, *tensor_shape), dtype)
    return _Port(record, wire, tensor, _layout_view(record, wire, dtype))


class OnnxKernel:
    """Runs an ``onnx`` program; one ``session.run`` takes every frame that is ready when the batch axis is symbolic.

    Buffers are made once and bound once per batch size, so a frame costs no allocation and, when wire and tensor
    layouts agree, no copy.
    """

    is_stable = True

    def __init__(self, program: Program) -> None:
        self._session = make_session(program.payload)
        try:
            nodes = {node.name: node for node in (*self._session.get_inputs(), *self._session.get_outputs())}
            self._check_names(program)
            self.max_batch = self._batch_limit(program, nodes)
            ports = [self._port(record, nodes[record.name]) for record in program.io]
        except UnicodeDecodeError as error:  # ONNX Runtime hands out names of tensors and axes as they are
            raise BadProgram(detail=f"a name in the graph is not UTF-8: {error}") from error
        self._inputs = [p for p in ports if p.record.is_input]
        self._outputs = [p for p in ports if not p.record.is_input]
        self.inputs = tuple(StreamPort(p.record.stream_index, p.record.transfer_bytes) for p in self._inputs)
        self.outputs = tuple(StreamPort(p.record.stream_index, p.record.transfer_bytes) for p in self._outputs)
        self._moving_in = [p for p in self._inputs if p.layout is not None]
        self._moving_out = [p for p in self._outputs if p.layout is not None]
        self._bindings: dict[int, Any] = {}

    def _check_names(self, program: Program) -> None:
        for is_input, nodes in ((True, self._session.get_inputs()), (False, self._session.get_outputs())):
            graph = sorted(node.name for node in nodes)
            records = sorted(record.name for record in program.io if record.is_input == is_input)
            if graph != records:
                raise BadProgram(detail=f"graph {'inputs' if is_input else 'outputs'} {graph}, records {records}")

    @staticmethod
    def _batch_limit(program: Program, nodes: dict[str, Any]) -> int:
        axes = [nodes[record.name].shape[0] if nodes[record.name].shape else 0 for record in program.io]
        fixed = {axis for axis in axes if isinstance(axis, int)}
        if fixed - {1}:
            raise BadProgram(detail=f"the batch axis must be symbolic or 1, it is {sorted(fixed)}")
        if fixed:
            return 1
        frame_bytes = sum(record.transfer_bytes for record in program.io)
        return max(1, min(MAX_BATCH, BATCH_BUDGET_BYTES // frame_bytes))

    def _port(self, record: IoRecord, node: Any) -> _Port:
        dtype = _TENSOR_TYPES.get(node.type)
        if dtype is None or dtype.itemsize != record.data_bytes:
            raise BadProgram(detail=f"{record.name}: {node.type} does not carry {record.data_bytes} byte(s) a value")
        shape = list(node.shape[1:])
        if not all(isinstance(axis, int) for axis in shape):
            raise BadProgram(detail=f"{record.name}: shape {node.shape} is not static")
        return _make_port(record, shape, dtype, self.max_batch)

    def input_view(self, port: int, frames: int) -> memoryview:
        """Writable wire bytes of the first ``frames`` frames of input ``port``."""
        return self._inputs[port].wire[:frames].reshape(-1).data

    def output_view(self, port: int, frames: int) -> memoryview:
        """Wire bytes of the first ``frames`` frames of output ``port``."""
        return self._outputs[port].wire[:frames].reshape(-1).data

    def compute(self, frames: int) -> None:
        """Run ``frames`` frames in one call of the session. Raises `BadProgram` when ONNX Runtime fails."""
        for port in self._moving_in:
            port.load(frames)
        binding = self._bindings.get(frames)
        if binding is None:
            binding = self._bindings[frames] = self._bind(frames)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise BadProgram(detail=f"ONNX Runtime failed: {error}") from error
        for port in self._moving_out:
            port.store(frames)

    def _bind(self, frames: int) -> Any:
        """Bind the first ``frames`` frames of every tensor; ONNX Runtime reads and writes them in place."""
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        for port in self._inputs:
            binding.bind_ortvalue_input(port.record.name, OrtValue.ortvalue_from_numpy(port.tensor[:frames]))
        for port in self._outputs:
            binding.bind_ortvalue_output(port.record.name, OrtValue.ortvalue_from_numpy(port.tensor[:frames]))
        return binding
