"""Imports Darknet networks: a ``.cfg`` text and a ``.weights`` file become one ONNX model.

Sections: convolutional, maxpool, avgpool, route, shortcut, upsample, dropout, softmax, yolo. The feature map that
enters a ``[yolo]`` section is an output of the model, before any activation; anchors, mask and class count travel as
JSON in the metadata of the model under ``openhailo.yolo``, the input convention under ``openhailo.preprocess``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from openhailo.errors import InputError, ModelInvalid, UnsupportedOp

OPSET: Final = 17
IR_VERSION: Final = 8
MAX_CFG_BYTES: Final = 1 << 20
MAX_SECTIONS: Final = 2000
MAX_WEIGHT_BYTES: Final = 1 << 30
MAX_TENSOR_ELEMENTS: Final = 1 << 28
# Darknet adds this to the standard deviation, not to the variance.
BN_EPSILON: Final = 1e-6

FloatArray = npt.NDArray[np.float32]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Section:
    """One ``[kind]`` block of a cfg; ``index`` counts layers from 0 (``[net]`` is -1)."""

    kind: str
    index: int
    line: int
    options: Mapping[str, str]

    @property
    def label(self) -> str:
        """Name of the section in messages and of its tensor in the graph."""
        return f"{self.kind}{self.index}"

    def text(self, key: str, default: str) -> str:
        """Return an option as text."""
        return self.options.get(key, default)

    def integer(self, key: str, default: int, *, low: int = 0, high: int = 1 << 16) -> int:
        """Return an option as an integer in ``low..high``; ModelInvalid otherwise."""
        text = self.options.get(key)
        if text is None:
            return default
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise self.invalid(f"{key}={text!r} is not an integer in {low}..{high}")
        return value

    def numbers(self, key: str) -> list[float]:
        """Return a comma-separated option as finite numbers; empty when it is missing."""
        try:
            values = [float(part) for part in self.text(key, "").split(",") if part.strip()]
        except ValueError:
            raise self.invalid(f"{key} is not a list of numbers") from None
        if not all(math.isfinite(value) for value in values):
            raise self.invalid(f"{key} is not a list of finite numbers")
        return values

    def number(self, key: str, default: float) -> float:
        """Return an option as one finite number; ModelInvalid otherwise."""
        values = self.numbers(key) if key in self.options else [default]
        if len(values) != 1:
            raise self.invalid(f"{key} is not one number")
        return values[0]

    def invalid(self, detail: str) -> ModelInvalid:
        """Build the error for a fault in this section."""
        return ModelInvalid(detail=f"section [{self.kind}] at line {self.line}: {detail}; fix the .cfg file")


def parse_cfg(text: str) -> list[Section]:
    """Split a cfg into sections, ``[net]`` first; ModelInvalid on anything that is not ``[kind]`` or ``key=value``."""
    sections: list[Section] = []
    options: dict[str, str] = {}
    for line_number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].split(";", 1)[0].strip()
        if not line:
            continue
        if line.startswith("[") and line.endswith("]"):
            options = {}
            sections.append(Section(line[1:-1].strip().lower(), len(sections) - 1, line_number, options))
        elif "=" in line and sections:
            key, value = line.split("=", 1)
            options[key.strip().lower()] = value.strip()
        else:
            raise ModelInvalid(detail=f"line {line_number} of the .cfg is neither [section] nor key=value")
        if len(sections) > MAX_SECTIONS:
            raise ModelInvalid(detail=f"the .cfg has more than {MAX_SECTIONS} sections")
    if len(sections) < 2 or sections[0].kind not in {"net", "network"}:
        raise ModelInvalid(detail="the .cfg must begin with [net] and hold at least one layer")
    return sections


class WeightReader:
    """Hands out float32 arrays in file order, and knows when the file is too short."""

    def __init__(self, data: bytes) -> None:
        """Read the header: three little-endian int32, then a u64 image counter (u32 before version 0.2)."""
        if len(data) < 16:
            raise ModelInvalid(detail=f"the .weights file has {len(data)} bytes, its header needs 16: truncated")
        major, minor, _revision = np.frombuffer(data, "<i4", 3).tolist()
        wide_counter = major * 10 + minor >= 2 and major < 1000 and minor < 1000
        header_bytes = 20 if wide_counter else 16
        body = data[header_bytes:]
        if len(body) % 4:
            raise ModelInvalid(detail="the .weights file is not a whole number of float32 values: truncated")
        self._values = np.frombuffer(body, "<f4").astype(np.float32)
        self._next = 0

    @property
    def remaining(self) -> int:
        """Float values not handed out yet."""
        return len(self._values) - self._next

    def take(self, section: Section, *shape: int) -> FloatArray:
        """Return the next ``prod(shape)`` values; ModelInvalid if they are not there or not finite."""
        count = math.prod(shape)
        if count > self.remaining:
            need, have = 4 * count, 4 * self.remaining
            raise ModelInvalid(
                detail=f"the .weights file is truncated: [{section.kind}] at line {section.line} of the .cfg needs "
                f"{need} bytes, {have} are left; check that both files belong together"
            )
        values = self._values[self._next : self._next + count]
        self._next += count
        if not np.isfinite(values).all():
            raise ModelInvalid(detail=f"weights of [{section.kind}] at line {section.line} are not finite numbers")
        return values.reshape(shape)


@dataclass
class _Graph:
    """The ONNX graph as it grows: layer outputs by number, their (channels, height, width), and the pieces."""

    weights: WeightReader
    shape: Shape
    tensor: str = "input"
    layers: list[tuple[str, Shape]] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    outputs: list[tuple[str, Shape]] = field(default_factory=list)
    heads: list[dict[str, Any]] = field(default_factory=list)

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def layer(self, section: Section, text: str) -> tuple[str, Shape]:
        """Resolve a layer reference of ``section``: negative counts back from it, others are absolute."""
        try:
            number = int(text)
        except ValueError:
            raise section.invalid(f"{text!r} is not a layer number") from None
        index = section.index + number if number < 0 else number
        if not 0 <= index < len(self.layers):
            raise section.invalid(f"layer {text.strip()} does not exist before this section")
        return self.layers[index]


def _activate(graph: _Graph, section: Section, tensor: str) -> str:
    name = section.text("activation", "linear" if section.kind == "shortcut" else "logistic").lower()
    simple = {"relu": "Relu", "logistic": "Sigmoid", "tanh": "Tanh", "elu": "Elu"}
    output = f"{section.label}_{name}"
    if name == "linear":
        return tensor
    if name in simple:
        return graph.node(simple[name], [tensor], output)
    if name == "leaky":
        return graph.node("LeakyRelu", [tensor], output, alpha=0.1)
    if name == "relu6":
        bounds = [graph.constant(f"{output}_{edge:.0f}", np.float32(edge)) for edge in (0.0, 6.0)]  # type: ignore[arg-type]
        return graph.node("Clip", [tensor, *bounds], output)
    if name == "mish":
        gate = graph.node("Tanh", [graph.node("Softplus", [tensor], f"{output}_softplus")], f"{output}_tanh")
        return graph.node("Mul", [tensor, gate], output)
    if name in {"swish", "silu"}:
        return graph.node("Mul", [tensor, graph.node("Sigmoid", [tensor], f"{output}_sigmoid")], output)
    raise UnsupportedOp(
        op=f"activation={name}", node=section.label, hint="use one of the activations in docs/compiler.md"
    )


def _window(section: Section, length: int, size: int, stride: int, padding: int) -> int:
    """Return the output length of a sliding window; ModelInvalid when nothing is left."""
    output = (length + padding - size) // stride + 1
    if output < 1:
        raise section.invalid(f"its window of {size} does not fit into {length} rows or columns")
    return output


def _convolutional(graph: _Graph, section: Section) -> None:
    filters = section.integer("filters", 1, low=1)
    size = section.integer("size", 1, low=1, high=255)
    stride = section.integer("stride", 1, low=1, high=255)
    groups = section.integer("groups", 1, low=1)
    pad = size // 2 if section.integer("pad", 0) else section.integer("padding", 0, high=255)
    channels, height, width = graph.shape
    if channels % groups or filters % groups:
        raise section.invalid(f"{groups} groups do not divide {channels} channels and {filters} filters")
    bias = graph.weights.take(section, filters)
    normalize = section.integer("batch_normalize", 0) != 0
    statistics = [graph.weights.take(section, filters) for _ in range(3)] if normalize else []
    kernel = graph.weights.take(section, filters, channels // groups, size, size)
    if statistics:
        kernel, bias = _fold_normalization(section, kernel, bias, *statistics)
    name = section.label
    inputs = [graph.tensor, graph.constant(f"{name}_weight", kernel), graph.constant(f"{name}_bias", bias)]
    tensor = graph.node(
        "Conv", inputs, name, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups
    )
    rows, columns = (_window(section, length, size, stride, 2 * pad) for length in (height, width))
    graph.shape = (filters, rows, columns)
    graph.tensor = _activate(graph, section, tensor)


def _fold_normalization(
    section: Section, kernel: FloatArray, bias: FloatArray, scale: FloatArray, mean: FloatArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (kernel, bias) that include ``scale * (x - mean) / (sqrt(variance) + epsilon) + bias``."""
    if (variance < 0).any():
        raise section.invalid("a batch variance in the .weights file is negative")
    factor = scale.astype(np.float64) / (np.sqrt(variance.astype(np.float64)) + BN_EPSILON)
    with np.errstate(over="ignore"):
        folded = (kernel * factor[:, None, None, None]).astype(np.float32)
        shift = (bias - mean * factor).astype(np.float32)
    if not (np.isfinite(folded).all() and np.isfinite(shift).all()):
        raise section.invalid("its weights and batch statistics in the .weights file give numbers beyond float32")
    return folded, shift


def _maxpool(graph: _Graph, section: Section) -> None:
    stride = section.integer("stride", 1, low=1, high=255)
    size = section.integer("size", stride, low=1, high=255)
    padding = section.integer("padding", size - 1, high=255)
    channels, height, width = graph.shape
    # The total padding is split with the smaller half first, and only as much of the second half as windows reach.
    first = padding // 2
    rows, columns = (_window(section, length, size, stride, padding) for length in (height, width))
    last = [max(0, (n - 1) * stride + size - length - first) for n, length in ((rows, height), (columns, width))]
    pads = [first, first, *last]
    if max(pads) >= size:
        raise section.invalid(f"padding {padding} leaves windows of {size} empty")
    strides, kernel = [stride] * 2, [size] * 2
    graph.tensor = graph.node("MaxPool", [graph.tensor], section.label, kernel_shape=kernel, strides=strides, pads=pads)
    graph.shape = (channels, rows, columns)


def _avgpool(graph: _Graph, section: Section) -> None:
    graph.tensor = graph.node("GlobalAveragePool", [graph.tensor], section.label)
    graph.shape = (graph.shape[0], 1, 1)


def _route(graph: _Graph, section: Section) -> None:
    sources = [graph.layer(section, part) for part in section.text("layers", "").split(",") if part.strip()]
    if not sources:
        raise section.invalid("it names no layers")
    if len({shape[1:] for _, shape in sources}) > 1:
        raise section.invalid(f"layers of different size: {[shape for _, shape in sources]}")
    channels, (height, width) = sum(shape[0] for _, shape in sources), sources[0][1][1:]
    tensor = sources[0][0]
    if len(sources) > 1:
        tensor = graph.node("Concat", [name for name, _ in sources], section.label, axis=1)
    groups = section.integer("groups", 1, low=1)
    if groups > 1:
        tensor, channels = _channel_group(graph, section, sources, groups)
    graph.tensor, graph.shape = tensor, (channels, height, width)


def _channel_group(graph: _Graph, section: Section, sources: list[tuple[str, Shape]], groups: int) -> tuple[str, int]:
    """Emit the slice of one channel group of a single source; return its tensor and channel count."""
    group = section.integer("group_id", 0, high=groups - 1)
    if len(sources) > 1:
        raise UnsupportedOp(
            op="[route] with groups over several layers", node=section.label, hint="route them one by one"
        )
    name, (channels, _, _) = sources[0]
    if channels % groups:
        raise section.invalid(f"{groups} groups do not divide {channels} channels")
    step = channels // groups
    bounds = [
        graph.constant(f"{section.label}_{what}", np.array([value], np.int64))
        for what, value in (("start", group * step), ("stop", (group + 1) * step), ("axis", 1))
    ]
    return graph.node("Slice", [name, *bounds], section.label), step


def _shortcut(graph: _Graph, section: Section) -> None:
    if "," in section.text("from", ""):
        raise UnsupportedOp(
            op="[shortcut] with several layers", node=section.label, hint="chain single shortcuts instead"
        )
    other, shape = graph.layer(section, section.text("from", ""))
    if shape != graph.shape:
        raise UnsupportedOp(
            op=f"[shortcut] between {graph.shape} and {shape}", node=section.label, hint="give both layers one shape"
        )
    graph.tensor = _activate(graph, section, graph.node("Add", [graph.tensor, other], section.label))


def _upsample(graph: _Graph, section: Section) -> None:
    stride = section.integer("stride", 2, low=1, high=64)
    if section.number("scale", 1.0) != 1.0:
        raise UnsupportedOp(op="[upsample] with scale", node=section.label, hint="fold the scale into the next layer")
    scales = graph.constant(f"{section.label}_scales", np.array([1, 1, stride, stride], np.float32))
    graph.tensor = graph.node(
        "Resize",
        [graph.tensor, "", scales],
        section.label,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    channels, height, width = graph.shape
    graph.shape = (channels, height * stride, width * stride)


def _softmax(graph: _Graph, section: Section) -> None:
    if section.integer("groups", 1, low=1) != 1:
        raise UnsupportedOp(op="[softmax] with groups", node=section.label, hint="apply it on the host")
    graph.tensor = graph.node("Softmax", [graph.tensor], section.label, axis=1)


def _yolo(graph: _Graph, section: Section) -> None:
    anchors = section.numbers("anchors")
    mask = [int(value) for value in section.numbers("mask")] or list(range(len(anchors) // 2))
    classes = section.integer("classes", 20, low=1)
    if len(anchors) % 2 or not mask or any(not 0 <= number < len(anchors) // 2 for number in mask):
        raise section.invalid(f"mask {mask} does not fit {len(anchors)} anchor numbers")
    if graph.shape[0] != len(mask) * (classes + 5):
        raise section.invalid(f"{graph.shape[0]} channels enter, {len(mask) * (classes + 5)} are needed")
    pairs = [[anchors[2 * number], anchors[2 * number + 1]] for number in mask]
    head = {"output": section.label, "classes": classes, "anchors": pairs, "mask": mask}
    graph.heads.append(head | {"scale_x_y": section.number("scale_x_y", 1.0)})
    graph.outputs.append((graph.node("Identity", [graph.tensor], section.label), graph.shape))


def _nothing(graph: _Graph, section: Section) -> None:
    """A section that changes nothing at inference."""


_BUILDERS: Final[Mapping[str, Callable[[_Graph, Section], None]]] = {
    "convolutional": _convolutional,
    "conv": _convolutional,
    "maxpool": _maxpool,
    "max": _maxpool,
    "avgpool": _avgpool,
    "avg": _avgpool,
    "route": _route,
    "shortcut": _shortcut,
    "upsample": _upsample,
    "softmax": _softmax,
    "dropout": _nothing,
    "cost": _nothing,
    "yolo": _yolo,
}


def build_darknet(cfg_text: str, weights: bytes, name: str = "darknet") -> onnx.ModelProto:
    """Return the ONNX model of a Darknet network.

    The input is ``input`` (1, channels, height, width), float32, RGB scaled to 0..1. Outputs are the maps entering each
    ``[yolo]`` section (``yolo<layer>``), or the last layer's output where there is none.

    Raises:
        ModelInvalid: a cfg that breaks its own rules, or weights that do not match it.
        UnsupportedOp: a section or option without an ONNX counterpart here; the section is named.
    """
    net, *layers = parse_cfg(cfg_text)
    shape = tuple(net.integer(key, 0, low=1, high=1 << 14) for key in ("channels", "height", "width"))
    if 0 in shape:
        raise net.invalid(f"channels, height and width must all be given, got {shape}")
    graph = _Graph(WeightReader(weights), (shape[0], shape[1], shape[2]))
    for section in layers:
        builder = _BUILDERS.get(section.kind)
        if builder is None:
            raise UnsupportedOp(
                op=f"Darknet section [{section.kind}]", node=f"line {section.line}", hint="see docs/compiler.md"
            )
        builder(graph, section)
        if math.prod(graph.shape) > MAX_TENSOR_ELEMENTS:
            raise section.invalid(f"its output {graph.shape} is too large")
        graph.layers.append((graph.tensor, graph.shape))
    if graph.weights.remaining:
        raise ModelInvalid(
            detail=f"{4 * graph.weights.remaining} bytes of the .weights file are left over: it belongs to another .cfg"
        )
    return _finish(graph, name, (shape[0], shape[1], shape[2]))


def _finish(graph: _Graph, name: str, shape: Shape) -> onnx.ModelProto:
    outputs = graph.outputs or [(graph.node("Identity", [graph.tensor], "output"), graph.shape)]
    proto = helper.make_graph(
        graph.nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, *shape])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [1, *size]) for tensor, size in outputs],
        graph.initializers,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="openhailo")
    model.ir_version = IR_VERSION
    metadata: dict[str, Any] = {"openhailo.preprocess": {"mean": [0.0], "std": [255.0], "color": "rgb"}}
    if graph.heads:
        metadata["openhailo.yolo"] = graph.heads
    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def load_darknet(cfg_path: str | Path, weights_path: str | Path) -> onnx.ModelProto:
    """Read a ``.cfg`` and its ``.weights`` into an ONNX model (`build_darknet` tells the shape of it).

    Raises:
        InputError: a file cannot be read or is too large.
        ModelInvalid, UnsupportedOp: as `build_darknet`.
    """
    cfg, weights = Path(cfg_path), Path(weights_path)
    try:
        text = _read_bounded(cfg, MAX_CFG_BYTES).decode("utf-8", "replace")
        data = _read_bounded(weights, MAX_WEIGHT_BYTES)
    except OSError as error:
        raise InputError(what=str(error.filename), detail=error.strerror or str(error)) from error
    return build_darknet(text, data, cfg.stem)


def _read_bounded(path: Path, limit_bytes: int) -> bytes:
    size = path.stat().st_size
    if size > limit_bytes:
        raise InputError(what=str(path), detail=f"{size} bytes, at most {limit_bytes} are read")
    return path.read_bytes()
