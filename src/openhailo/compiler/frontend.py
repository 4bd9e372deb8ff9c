"""Reads a model, whatever it came as, into one static ONNX graph that has been checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import TensorProto, inliner, version_converter

from openhailo.errors import InputError, ModelInvalid, UnsupportedOp

from .darknet import load_darknet
from .external_data import embed_external_data
from .passes.graph import copy_model, dims_of, infer_shapes, opset_of, set_dims

MAX_MODEL_BYTES: Final = 1 << 30
MAX_NODES: Final = 50_000
MAX_TENSOR_ELEMENTS: Final = 1 << 28
MAX_INPUTS_OUTPUTS: Final = 32
OLDEST_OPSET: Final = 11
NEWEST_OPSET: Final = 21
#: Per-channel dequantization exists from here on; older models are lifted to `WORKING_OPSET`.
FIRST_PER_CHANNEL_OPSET: Final = 13
WORKING_OPSET: Final = 17

Shapes = Mapping[str, Sequence[int]]
Source = str | Path | onnx.ModelProto


def load_model(source: Source, *, shapes: Shapes | None = None, weights: str | Path | None = None) -> onnx.ModelProto:
    """Read ``source`` and make every shape static, batch 1.

    Args:
        source: an ``.onnx`` file (external data beside it is read), a Darknet ``.cfg``, or a model in memory.
        shapes: input name -> full shape, batch first, for dynamic inputs or to change a fixed one.
        weights: the ``.weights`` of a ``.cfg``; by default the file of the same name beside it.

    Returns:
        An opset 13-21 model with inferred shapes; functions inlined, weights embedded.

    Raises:
        InputError: the file cannot be read.
        ModelInvalid: damaged, contradictory, too large, or a dimension is left open.
        UnsupportedOp: an operator outside ONNX.
    """
    model = _read(source, weights)
    _check_text(model)
    _check_bounds(model)
    model = _inline(_drop_initializer_inputs(model))
    _check_onnx(model)
    model = convert_opset(model)
    model = infer_shapes(fix_shapes(model, shapes or {}))
    _check_tensors(model)
    return model


def _read(source: Source, weights: str | Path | None) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        return embed_external_data(copy_model(source), None)
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix == ".cfg":
        return load_darknet(path, weights or path.with_suffix(".weights"))
    if suffix == ".tflite":
        raise ModelInvalid(
            detail=f"{path.name} is TensorFlow Lite; convert it first: pip install tensorflow tf2onnx && "
            f"python -m tf2onnx.convert --tflite {path.name} --output {path.stem}.onnx"
        )
    model = parse_onnx(_read_bytes(path))
    return embed_external_data(model, path.parent)


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelInvalid(detail=f"{path.name} has {size} bytes, at most {MAX_MODEL_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise InputError(what=str(path), detail=error.strerror or str(error)) from error


def parse_onnx(data: bytes) -> onnx.ModelProto:
    """Parse a serialized ModelProto; ModelInvalid for anything else."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise ModelInvalid(detail=f"it is not an ONNX file ({error}); give an .onnx or .cfg file") from error
    if not model.graph.node or not model.graph.output:
        raise ModelInvalid(detail="the ONNX file holds no graph; give an .onnx or .cfg file")
    return model


def _check_text(message: Any) -> None:
    """Refuse names that are no UTF-8: protobuf takes them, and hands them out as bytes where text is expected."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in [value] if hasattr(value, "ListFields") else value:
                _check_text(child)
        elif field.type == field.TYPE_STRING:
            for text in [value] if isinstance(value, str | bytes) else value:
                if not isinstance(text, str):
                    raise ModelInvalid(detail=f"{field.name} {text!r} is not UTF-8; damaged file, fetch it again")


def _check_bounds(model: onnx.ModelProto) -> None:
    graph = model.graph
    nodes = len(graph.node) + sum(len(function.node) for function in model.functions)
    if nodes > MAX_NODES:
        raise ModelInvalid(detail=f"{nodes} nodes, at most {MAX_NODES} are taken")
    for tensor in graph.initializer:
        if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > MAX_TENSOR_ELEMENTS:
            raise ModelInvalid(detail=f"initializer {tensor.name!r} of shape {list(tensor.dims)} is too large")


def _drop_initializer_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Old exporters list weights among the inputs; keep the real inputs only."""
    result = copy_model(model)
    constants = {tensor.name for tensor in result.graph.initializer}
    inputs = [value for value in result.graph.input if value.name not in constants]
    result.graph.ClearField("input")
    result.graph.input.extend(inputs)
    return result


def _inline(model: onnx.ModelProto) -> onnx.ModelProto:
    if not model.functions:
        return model
    try:
        inlined = inliner.inline_local_functions(model)
    except Exception as error:
        raise ModelInvalid(detail=f"its functions cannot be inlined: {_short(error)}") from error
    if len(inlined.graph.node) > MAX_NODES:
        raise ModelInvalid(detail=f"{len(inlined.graph.node)} nodes after inlining, at most {MAX_NODES} are taken")
    return inlined


def _check_onnx(model: onnx.ModelProto) -> None:
    count = len(model.graph.input) + len(model.graph.output)
    if not model.graph.input or not model.graph.output or count > MAX_INPUTS_OUTPUTS:
        raise ModelInvalid(
            detail=f"{len(model.graph.input)} inputs and {len(model.graph.output)} outputs; "
            f"at least one of each and together at most {MAX_INPUTS_OUTPUTS} are needed"
        )
    for node in model.graph.node:
        if node.domain not in {"", "ai.onnx"}:
            raise UnsupportedOp(op=f"{node.domain}.{node.op_type}", node=node.name or ", ".join(node.output))
    try:
        if not all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
            # The checker wants the output shapes declared; exporters may leave them to inference.
            model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
    except Exception as error:
        raise ModelInvalid(detail=f"the ONNX checker refuses it: {_short(error)}") from error


def convert_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in an opset of 13-21; ModelInvalid where ONNX has no conversion for one of its operators."""
    opset = opset_of(model)
    if FIRST_PER_CHANNEL_OPSET <= opset <= NEWEST_OPSET:
        return model
    targets = [NEWEST_OPSET] if opset > NEWEST_OPSET else [WORKING_OPSET, FIRST_PER_CHANNEL_OPSET]
    causes = []
    for target in targets:
        try:
            converted = version_converter.convert_version(model, target)
            onnx.checker.check_model(converted)
            return converted
        except Exception as error:  # the converter has no error type of its own
            causes.append(_short(error))
    raise ModelInvalid(
        detail=f"opset {opset} cannot be converted to {targets[-1]} ({causes[-1]}); "
        f"export it with opset {OLDEST_OPSET}-{NEWEST_OPSET}"
    )


def fix_shapes(model: onnx.ModelProto, shapes: Shapes) -> onnx.ModelProto:
    """Give every input a static shape with batch 1; ModelInvalid names the dimension that is left open."""
    result = copy_model(model)
    inputs = {value.name: value for value in result.graph.input}
    unknown = sorted(set(shapes) - set(inputs))
    if unknown:
        raise ModelInvalid(detail=f"--shape names {unknown}, but the inputs are {sorted(inputs)}")
    for name, value in inputs.items():
        set_dims(value, _static_shape(name, dims_of(value), shapes.get(name)))
    result.graph.ClearField("value_info")
    for value in result.graph.output:
        value.type.tensor_type.ClearField("shape")
    return result


def _static_shape(name: str, declared: list[int | str] | None, wanted: Sequence[int] | None) -> list[int]:
    if wanted is not None:
        if declared is not None and len(wanted) != len(declared):
            raise ModelInvalid(detail=f"--shape {name}={list(wanted)} has {len(wanted)} dimensions, not {declared}")
        dims: list[int | str] = list(wanted)
    elif declared is None:
        raise ModelInvalid(detail=f"input {name!r} has no shape; give it with --shape {name}=1,...")
    else:
        dims = list(declared)
    if not dims:
        raise ModelInvalid(detail=f"input {name!r} is a scalar; cut the graph behind it or make it a constant")
    # Frames go through the device one by one, so the batch axis is 1 here whatever the exporter put there.
    if wanted is None:
        dims[0] = 1
    for axis, size in enumerate(dims):
        if not isinstance(size, int) or size < 1:
            example = ",".join(str(d) if isinstance(d, int) and d > 0 else "?" for d in dims)
            raise ModelInvalid(
                detail=f"dimension {axis} ({size!r}) of input {name!r} is dynamic; fix it with --shape {name}={example}"
            )
    static = [int(size) for size in dims]
    if static[0] != 1 or math.prod(static) > MAX_TENSOR_ELEMENTS:
        raise ModelInvalid(detail=f"input {name!r} of shape {static}: batch must be 1, and the size reasonable")
    return static


def _check_tensors(model: onnx.ModelProto) -> None:
    for name, dims in _known_shapes(model):
        if math.prod(dims) > MAX_TENSOR_ELEMENTS:
            raise ModelInvalid(detail=f"tensor {name!r} of shape {dims} is too large")
    for value in model.graph.input:
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            raise ModelInvalid(
                detail=f"input {value.name!r} is {kind}, only FLOAT inputs are taken; export it as float"
            )


def _known_shapes(model: onnx.ModelProto) -> Iterator[tuple[str, list[int]]]:
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        dims = dims_of(value)
        if dims is not None and all(isinstance(size, int) for size in dims):
            yield value.name, [int(size) for size in dims]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
