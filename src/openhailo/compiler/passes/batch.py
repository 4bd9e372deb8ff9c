"""Makes the batch axis symbolic, so that one call can run several frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from .graph import Array, GraphIndex, copy_model, dims_of, set_dims

BATCH_SYMBOL = "N"
TRIAL_FRAMES = 3


def free_batch_axis(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with a symbolic batch axis if several frames in one call give each frame's own result.

    Constants that pin the batch to 1 (targets of Reshape, sizes of Resize) are rewritten; the outcome is run with
    random frames, alone and together, and thrown away unless the results are equal bit for bit. The original comes
    back in that case.
    """
    free = copy_model(model)
    _free_reshapes(free.graph)
    _free_resizes(free.graph)
    free.graph.ClearField("value_info")
    for value in (*free.graph.input, *free.graph.output):
        dims = dims_of(value)
        if not dims or dims[0] != 1:
            return model
        set_dims(value, [BATCH_SYMBOL, *dims[1:]])
    return free if _frames_are_independent(model, free) else model


def _free_reshapes(graph: onnx.GraphProto) -> None:
    """Write 0 ("as the input") for a leading 1 in the targets of Reshape nodes whose input begins with the batch."""
    index = GraphIndex(graph)
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        target = index.constant(node.input[1])
        source = index.shape(node.input[0])
        if target is None or target.size == 0 or target[0] != 1 or (source is not None and source[:1] != (1,)):
            continue
        freed = target.copy()
        freed[0] = 0
        node.input[1] = _add(graph, f"{node.output[0]}_target", freed)


def _free_resizes(graph: onnx.GraphProto) -> None:
    """Replace the fixed sizes of Resize nodes by scales, where the input shape makes the ratio exact."""
    index = GraphIndex(graph)
    for node in graph.node:
        if node.op_type != "Resize" or len(node.input) < 4 or not node.input[3]:
            continue
        sizes, shape = index.constant(node.input[3]), index.shape(node.input[0])
        if sizes is None or shape is None or len(sizes) != len(shape):
            continue
        scales = (sizes / np.array(shape)).astype(np.float32)
        if [int(np.floor(np.float32(a) * b)) for a, b in zip(shape, scales, strict=True)] == sizes.tolist():
            node.input[2] = _add(graph, f"{node.output[0]}_scales", scales)
            del node.input[3:]


def _add(graph: onnx.GraphProto, name: str, value: Array) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _session(model: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


def _frames_are_independent(alone: onnx.ModelProto, together: onnx.ModelProto) -> bool:
    rng = np.random.default_rng(0)
    frames = {
        value.name: rng.integers(0, 256, (TRIAL_FRAMES, *(int(d) for d in (dims_of(value) or [])[1:])), np.uint8)
        for value in alone.graph.input
    }
    single, several = _session(alone), None
    try:
        several = _session(together)
        batch = several.run(None, frames)
    except Exception:
        # Whatever ONNX Runtime dislikes about several frames at a time, one at a time still works.
        return False
    for number in range(TRIAL_FRAMES):
        expected = single.run(None, {name: data[number : number + 1] for name, data in frames.items()})
        pairs = zip(batch, expected, strict=True)
        if not all(len(a) == TRIAL_FRAMES and np.array_equal(a[number : number + 1], b) for a, b in pairs):
            return False
    return True
