"""From a model to the quantized uint8 graph that the device runs: the order of the passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from openhailo.errors import DoesNotFit, ModelInvalid

from .calibration import Calibration, CalibrationSource, load_calibration
from .frontend import Source, load_model
from .host_ops.select import HostPlan, plan_host_ops
from .options import Options, check_images, model_metadata
from .passes.batch import free_batch_axis
from .passes.cut import cut_at
from .passes.device_io import DeviceGraph, make_device_io
from .passes.drop_identity import drop_identity
from .passes.equalize import equalize, find_links
from .passes.fold_batch_norm import fold_batch_norm
from .passes.graph import float_tensors, infer_shapes
from .passes.normalize import Normalization, normalize_input
from .passes.simplify import simplify
from .quantize import quantize, quantize_range
from .ranges import Range, channel_loudness, collect_ranges
from .tensors import TensorSpec, check_layout_names, describe_inputs, describe_outputs

MAX_LAYER_NAME_BYTES = 127
#: The quantizer's time grows with the square of this; the largest detectors have a few hundred.
MAX_NODES = 4000
Frame = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Lowered:
    """Everything that is known after the last pass.

    ``float_model`` takes ``frames`` (model layout, after whatever part of the normalization the input quantization
    does); ``qdq`` is its quantized twin with float ends; ``device`` the uint8 graph with ends named by `layer_name`.
    ``pixels`` maps the inputs that take raw pixels to their quantization inside the graph. ``host`` is what the host
    does behind the outputs.
    """

    float_model: onnx.ModelProto
    qdq: onnx.ModelProto
    device: DeviceGraph
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    pixels: Mapping[str, tuple[float, int]]
    frames: tuple[Frame, ...]
    warnings: tuple[str, ...]
    metadata: Mapping[str, Any]
    host: HostPlan | None = None


def lower(source: Source, network: str, calibration: CalibrationSource | None, options: Options) -> Lowered:
    """Run the front end, the graph passes, calibration and quantization. Raises CompileError and InputError."""
    loaded = load_model(source, shapes=options.shapes, weights=options.weights)
    normalization = options.normalization(loaded)
    nhwc = frozenset(options.nhwc)
    ending, end_nodes, host = plan_host_ops(
        loaded,
        nms=options.nms,
        softmax=options.softmax,
        argmax=options.argmax,
        end_nodes=options.end_nodes,
        nhwc=nhwc,
    )
    model = prepare(ending, end_nodes)
    check_layout_names(model, nhwc)
    inputs, outputs = describe_inputs(model, nhwc), describe_outputs(model, nhwc)
    check_images(inputs, normalization)
    data = load_calibration(calibration, inputs, fit=options.fit, limit=options.max_frames)
    model, fixed = _normalize(model, inputs, data, normalization)
    frames = tuple(_model_frame(frame, fixed) for frame in data.frames)
    if options.equalize:
        model = _equalize(model, frames)
    ranges = collect_ranges(model, frames, method=options.method, percentile=options.percentile)
    qdq = quantize(
        model,
        ranges,
        fixed_inputs=fixed,
        exclude=options.exclude,
        per_channel=options.per_channel,
        reduce_range=options.reduce_range,
    )
    device = _device_graph(qdq, network, inputs, outputs, ranges, fixed)
    metadata = model_metadata(loaded)
    return Lowered(model, qdq, device, tuple(inputs), tuple(outputs), fixed, frames, data.warnings, metadata, host)


def prepare(model: onnx.ModelProto, end_nodes: Sequence[str] = ()) -> onnx.ModelProto:
    """Return the static float graph ready for quantization: cut, folded, simplified, with known shapes."""
    cut = cut_at(model, end_nodes)
    ready = simplify(fold_batch_norm(drop_identity(cut)))
    if len(ready.graph.node) > MAX_NODES:
        raise DoesNotFit(resource="operators after simplification", need=len(ready.graph.node), have=MAX_NODES)
    floats = set(float_tensors(ready))
    for value in ready.graph.output:
        if value.name not in floats:
            kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            raise ModelInvalid(
                detail=f"output {value.name!r} is {kind}, not computed as FLOAT; end before it: --end-node"
            )
    return ready


def _normalize(
    model: onnx.ModelProto, inputs: Sequence[TensorSpec], data: Calibration, normalization: Normalization | None
) -> tuple[onnx.ModelProto, dict[str, tuple[float, int]]]:
    """Fold the normalization of every image input; return the model and the fixed input quantizations.

    Without a normalization, inputs whose calibration data are uint8 take pixels as they are.
    """
    fixed: dict[str, tuple[float, int]] = {}
    for spec in inputs:
        if normalization is not None and spec.is_image:
            model = normalize_input(
                model, spec.name, normalization, channel_axis=spec.channel_axis, channels=spec.device_shape[2]
            )
            fixed[spec.name] = normalization.scale_zero() or (1.0, 0)
        elif normalization is None and spec.name in data.pixels:
            fixed[spec.name] = (1.0, 0)
    return infer_shapes(model), fixed


def _equalize(model: onnx.ModelProto, frames: Sequence[Frame]) -> onnx.ModelProto:
    links = find_links(model)
    return equalize(model, links, channel_loudness(model, [link.between for link in links], frames))


def _model_frame(frame: Frame, fixed: Mapping[str, tuple[float, int]]) -> Frame:
    """Apply to pixels what the quantization of their input stands for."""
    return {
        name: ((values - fixed[name][1]) * np.float32(fixed[name][0])).astype(np.float32) if name in fixed else values
        for name, values in frame.items()
    }


def layer_name(network: str, tensor: str) -> str:
    """Return the HEF's name of an input or output: ``network/tensor``, at most 127 bytes."""
    return f"{network}/{tensor}".encode()[:MAX_LAYER_NAME_BYTES].decode("utf-8", "ignore")


def _device_graph(
    qdq: onnx.ModelProto,
    network: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    ranges: Mapping[str, Range],
    fixed: Mapping[str, tuple[float, int]],
) -> DeviceGraph:
    names = {spec.name: layer_name(network, spec.name) for spec in (*inputs, *outputs)}
    if len(set(names.values())) != len(inputs) + len(outputs):
        raise ModelInvalid(detail=f"input and output names are not distinct in their first 127 bytes: {sorted(names)}")

    def fallback(tensor: str) -> tuple[float, int]:
        return fixed[tensor] if tensor in fixed else quantize_range(*ranges[tensor])

    device = make_device_io(qdq, inputs, outputs, names.__getitem__, fallback)
    return DeviceGraph(free_batch_axis(infer_shapes(device.model)), device.inputs, device.outputs)
