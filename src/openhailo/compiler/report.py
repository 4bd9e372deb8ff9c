"""How far the quantized network is from the float one, and what it costs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from openhailo._units import format_bytes

from .allocate import Stream, stream_table
from .estimate import estimate
from .lower import Frame, Lowered, layer_name
from .passes.device_io import Quantization
from .passes.graph import GraphIndex
from .ranges import observe, open_session, parts, run_session
from .tensors import TensorSpec

#: The figures settle quickly; every frame costs two runs with all tensors kept.
MAX_FRAMES: Final = 8
#: Suffix of a tensor that the quantizer inserts in front of a graph output's QuantizeLinear.
_OUTPUT_SUFFIX: Final = "_QuantizeLinear_Input"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerReport:
    """One node. ``sqnr_db`` is the signal to quantization noise ratio of its output, None where nothing is known."""

    name: str
    op: str
    parameters: int
    macs: int
    sqnr_db: float | None


@dataclass(frozen=True)
class OutputReport:
    """One output, device against float, over the calibration frames.

    ``cosine`` is the lowest similarity of any frame; ``top1_agreement`` the share of positions (one per frame for a
    classifier) whose largest feature is the same.
    """

    name: str
    cosine: float
    sqnr_db: float
    top1_agreement: float


@dataclass(frozen=True)
class Report:
    """Everything worth knowing about a compilation.

    ``contexts`` has an entry for each context of a network that was split: nodes, bytes of its program, inputs and
    outputs, and what it reads and writes of tensors in host memory, or buffers there, name to bytes of a frame.
    """

    network: str
    arch: str
    method: str
    frames: int
    batch_axis: str
    parameters: int
    macs: int
    program_bytes: int
    hef_bytes: int
    float_bytes: int
    layers: tuple[LayerReport, ...]
    outputs: tuple[OutputReport, ...]
    streams: tuple[Mapping[str, object], ...]
    warnings: tuple[str, ...]
    contexts: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `json.dumps` takes."""
        return asdict(self)

    def to_text(self, width: int = 110) -> str:
        """Return tables for a terminal."""
        return _render(self, width)


def build_report(
    lowered: Lowered,
    *,
    network: str,
    arch: str,
    method: str,
    streams: Sequence[Stream],
    program_bytes: int,
    hef_bytes: int,
    contexts: tuple[Mapping[str, Any], ...] = (),
) -> Report:
    """Run float and quantized network over the calibration frames and compare them."""
    frames = lowered.frames[:MAX_FRAMES]
    ratios = layer_sqnr(lowered.float_model, lowered.qdq, frames)
    costs = estimate(lowered.float_model)
    dims = lowered.device.model.graph.input[0].type.tensor_type.shape.dim
    return Report(
        network=network,
        arch=arch,
        method=method,
        frames=len(lowered.frames),
        batch_axis=dims[0].dim_param or str(dims[0].dim_value),
        parameters=sum(cost.parameters for cost in costs),
        macs=sum(cost.macs for cost in costs),
        program_bytes=program_bytes,
        hef_bytes=hef_bytes,
        float_bytes=lowered.float_model.ByteSize(),
        layers=tuple(LayerReport(c.name, c.op, c.parameters, c.macs, ratios.get(c.output)) for c in costs),
        outputs=tuple(compare_outputs(lowered, network, frames)),
        streams=tuple(stream_table(streams)),
        warnings=lowered.warnings,
        contexts=contexts,
    )


def layer_sqnr(float_model: onnx.ModelProto, qdq: onnx.ModelProto, frames: Sequence[Frame]) -> dict[str, float]:
    """Return the signal to noise ratio in dB of every quantized activation, by the name of the float tensor."""
    index = GraphIndex(qdq.graph)
    known = {out for node in float_model.graph.node for out in node.output}
    quantizers: dict[str, tuple[str, Quantization]] = {}
    for node in qdq.graph.node:
        name = node.input[0].removesuffix(_OUTPUT_SUFFIX) if node.op_type == "QuantizeLinear" else ""
        if name in known and name not in quantizers:
            scale, zero = (np.asarray(index.constant(parameter)) for parameter in node.input[1:3])
            quantizers[name] = (node.output[0], Quantization(float(scale), int(zero)))
    if not quantizers:
        return {}
    signal, noise = dict.fromkeys(quantizers, 0.0), dict.fromkeys(quantizers, 0.0)
    for part in parts(float_model, quantizers):
        exact = observe(float_model, part, frames)
        rough = observe(qdq, [quantizers[name][0] for name in part], frames)
        for expected, seen in zip(exact, rough, strict=True):
            for name in part:
                tensor, quantization = quantizers[name]
                error = dequantize(seen[tensor], quantization) - expected[name]
                signal[name] += float(np.square(expected[name], dtype=np.float64).sum())
                noise[name] += float(np.square(error, dtype=np.float64).sum())
    return {name: _decibels(signal[name], noise[name]) for name in quantizers}


def dequantize(values: Array, quantization: Quantization) -> npt.NDArray[np.float32]:
    """Return (values - zero) * scale as float32."""
    return ((values.astype(np.float32) - quantization.zero) * np.float32(quantization.scale)).astype(np.float32)


def quantize_frame(frame: Frame, lowered: Lowered, network: str) -> dict[str, Array]:
    """Return a calibration frame as the device takes it: uint8, device layout, layer names."""
    fed = {}
    for spec in lowered.inputs:
        quantization = lowered.device.inputs[spec.name]
        scaled = np.rint(frame[spec.name] / np.float32(quantization.scale) + quantization.zero)
        values = np.clip(scaled, 0, 255).astype(np.uint8)
        fed[layer_name(network, spec.name)] = to_device_layout(values, spec)
    return fed


def to_device_layout(values: Array, spec: TensorSpec) -> Array:
    """Return one frame of the model's shape as (1, *graph_shape)."""
    if spec.layout == "nchw":
        values = values.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(values).reshape(1, *spec.graph_shape)


def compare_outputs(lowered: Lowered, network: str, frames: Sequence[Frame]) -> Iterator[OutputReport]:
    """Yield, for each output, how close the device graph comes to the float model."""
    session = open_session(lowered.device.model)
    names = [spec.name for spec in lowered.outputs]
    exact = list(observe(lowered.float_model, names, frames))
    layers = [layer_name(network, name) for name in names]
    rough = [run_session(session, layers, quantize_frame(frame, lowered, network)) for frame in frames]
    for position, spec in enumerate(lowered.outputs):
        quantization = lowered.device.outputs[spec.name]
        expected = [to_device_layout(values[spec.name], spec) for values in exact]
        seen = [dequantize(values[position], quantization) for values in rough]
        yield OutputReport(
            name=layer_name(network, spec.name),
            cosine=min(_cosine(a, b) for a, b in zip(expected, seen, strict=True)),
            sqnr_db=_decibels(
                sum(_power(a) for a in expected),
                sum(_power(np.subtract(a, b, dtype=np.float64)) for a, b in zip(expected, seen, strict=True)),
            ),
            top1_agreement=float(
                np.mean([np.mean(a.argmax(-1) == b.argmax(-1)) for a, b in zip(expected, seen, strict=True)])
            ),
        )


def _power(values: Array) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _cosine(a: Array, b: Array) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norm == 0.0:
        return 1.0 if np.array_equal(x, y) else 0.0
    return float(np.clip(x @ y / norm, -1.0, 1.0))


def _decibels(signal: float, noise: float) -> float:
    """Return the ratio in dB, cut to -200..200 so that a perfect layer stays a number JSON knows."""
    if noise == 0.0:
        return 200.0
    return float(np.clip(10.0 * np.log10(max(signal, 1e-300) / noise), -200.0, 200.0))


# --- text ---------------------------------------------------------------------------------------------------------


def _render(report: Report, width: int) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, record=True, color_system=None)
    console.print(_summary(report))
    tables = [_output_table(report), *([_context_table(report)] if report.contexts else []), _layer_table(report)]
    for table in tables:
        console.print(table)
    for warning in report.warnings:
        console.print(f"warning: {warning}")
    return console.export_text()


def _summary(report: Report) -> str:
    return (
        f"{report.network} for {report.arch}: {report.parameters:,} parameters, {report.macs / 1e6:,.1f} M MACs\n"
        f"HEF {format_bytes(report.hef_bytes)} (float model {format_bytes(report.float_bytes)}), calibrated on "
        f"{report.frames} frame(s) with {report.method}, batch axis {report.batch_axis}"
    )


def _output_table(report: Report) -> Any:
    from rich.table import Table

    table = Table("output", "cosine", "SQNR dB", "top-1 agreement", title="quantized against float")
    for output in report.outputs:
        table.add_row(output.name, f"{output.cosine:.5f}", f"{output.sqnr_db:.1f}", f"{output.top1_agreement:.1%}")
    return table


def _context_table(report: Report) -> Any:
    from rich.table import Table

    table = Table("context", "nodes", "program", "inputs", "outputs", "reads", "writes", "buffers", title="contexts")
    for number, context in enumerate(report.contexts):
        moved = [format_bytes(sum(context[way].values())) for way in ("reads", "writes", "buffers")]
        ends = [", ".join(context[way]) for way in ("inputs", "outputs")]
        table.add_row(str(number), str(context["nodes"]), format_bytes(context["program_bytes"]), *ends, *moved)
    return table


def _layer_table(report: Report) -> Any:
    from rich.table import Table

    table = Table("layer", "operator", "parameters", "M MACs", "SQNR dB", title="layers")
    for layer in report.layers:
        ratio = "" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}"
        table.add_row(layer.name, layer.op, f"{layer.parameters:,}", f"{layer.macs / 1e6:,.2f}", ratio)
    return table
