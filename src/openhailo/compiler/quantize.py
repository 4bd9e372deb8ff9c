"""Post-training quantization: 8-bit weights per output channel, 8-bit activations, by ONNX Runtime's quantizer.

The result is a QDQ graph: ordinary ONNX operators between QuantizeLinear and DequantizeLinear nodes, which ONNX Runtime
fuses into integer kernels. Activations are uint8 and weights int8, the pair with the fastest kernels. On x86 processors
without VNNI those add pairs of products with 16-bit saturation; `reduce_range` (7-bit weights) rules that out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from openhailo.errors import ModelInvalid

from .passes.graph import copy_model
from .ranges import Range

#: Pixels enter as they are: (scale, zero point) by input name.
FixedInputs = Mapping[str, tuple[float, int]]
#: A tensor that never changes still needs a scale.
_SMALLEST_SPAN = 1e-6


def quantize(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    *,
    fixed_inputs: FixedInputs | None = None,
    exclude: Sequence[str] = (),
    per_channel: bool = True,
    reduce_range: bool = False,
) -> onnx.ModelProto:
    """Return the QDQ version of a static float model.

    Args:
        model: float32, opset 13-21.
        ranges: (low, high) of every activation.
        fixed_inputs: inputs whose quantization is given, not derived from their range.
        exclude: names of nodes that stay in float.
        per_channel: one weight scale per output channel instead of one per tensor.
        reduce_range: 7-bit weights.

    Raises:
        ModelInvalid: a name in ``exclude`` that is no node, or the quantizer fails.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    named = _name_nodes(model)
    known = {node.name for node in named.graph.node}
    unknown = sorted(set(exclude) - known)
    if unknown:
        raise ModelInvalid(detail=f"there are no nodes {unknown} to exclude from quantization")
    with _quiet_root_logger():
        quantizer = QDQQuantizer(
            copy_model(named),
            per_channel,
            reduce_range,
            QuantType.QInt8,
            QuantType.QUInt8,
            _tensors_data(ranges),
            sorted(known),
            sorted(exclude),
            _quantizable_operators(),
            _quantizer_options(fixed_inputs or {}),
        )
        try:
            quantizer.quantize_model()
        except Exception as error:
            raise ModelInvalid(detail=f"quantization failed: {' '.join(str(error).split())[:400]}") from error
    return copy_model(quantizer.model.model)


def _quantizer_options(fixed_inputs: FixedInputs) -> dict[str, Any]:
    """Return the quantizer's extra options: symmetric weights, and the inputs whose quantization is given."""
    from onnxruntime.quantization import QuantType

    overrides = {
        name: [
            {
                "quant_type": QuantType.QUInt8,
                "scale": np.array(scale, np.float32),
                "zero_point": np.array(zero, np.uint8),
            }
        ]
        for name, (scale, zero) in fixed_inputs.items()
    }
    return {
        "WeightSymmetric": True,
        "ActivationSymmetric": False,
        "ForceQuantizeNoInputCheck": True,
        "TensorQuantOverrides": overrides,
    }


def _name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every node a name of its own: the quantizer tells nodes apart by name."""
    result = copy_model(model)
    taken: set[str] = set()
    for node in result.graph.node:
        name = node.name or node.output[0]
        while name in taken:
            name += "_"
        taken.add(name)
        node.name = name
    return result


def _quantizable_operators() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


def _tensors_data(ranges: Mapping[str, Range]) -> Any:
    """Wrap ranges as the quantizer wants them, each containing zero and wide enough for a scale."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import TensorsData

    data = {}
    for name, (low, high) in ranges.items():
        bottom = min(low, 0.0)
        top = max(high, 0.0, bottom + _SMALLEST_SPAN)
        data[name] = (np.array(bottom, np.float32), np.array(top, np.float32))
    return TensorsData(CalibrationMethod.MinMax, data)


class _quiet_root_logger:  # noqa: N801 - a context manager used as a statement
    """The quantizer logs advice on preprocessing to the root logger; it is done already."""

    def __enter__(self) -> None:
        self._level = logging.root.level
        logging.root.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.root.setLevel(self._level)


def quantize_range(low: float, high: float) -> tuple[float, int]:
    """Return (scale, zero point) of uint8 for a range, zero included and exactly represented."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max(high - low, _SMALLEST_SPAN) / 255.0)
    return float(scale), int(np.clip(np.rint(-low / scale), 0, 255))
